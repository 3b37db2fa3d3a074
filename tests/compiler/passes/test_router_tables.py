"""Every key reaches its sinks and nothing else, in tables as short as they must be."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.audit.replay import Entries
from compiler.passes.router_tables import router_tables, verify
from hw_models.chip import load_chip
from hw_models.errors import Bug, DoesNotFit
from tests.tiny import TINY_CORE


def entries_with(tables, **columns):
    """The tables with some entries of their columns replaced."""
    found = tables.entries._asdict()
    for name, cells in columns.items():
        found[name] = found[name].copy()
        for row, value in cells.items():
            found[name][row] = value
    return replace(tables, entries=Entries(**found))


def test_a_router_needs_no_entry_for_what_goes_straight_on(small):
    verify(small.tables, small.trees, small.placed.mesh, small.chip)
    n_nodes = small.trees.link.size
    assert small.tables.entries.router.size < n_nodes
    assert small.tables.longest[0] == small.tables.longest[1]  # nothing to merge


@pytest.mark.parametrize("limit", [32, 31, 29])
def test_crowded_tables_are_merged_until_they_fit(small, limit):
    assert small.tables.longest[0] > limit
    chip = load_chip("toy", {"core.table_entries": str(limit), "core.in_axons": "200"})
    merged = router_tables(small.trees, small.flow, small.placed.mesh, chip)
    verify(merged, small.trees, small.placed.mesh, chip)
    before, now = merged.longest
    assert before == small.tables.longest[0] > limit >= now
    full = np.bincount(small.tables.entries.router, minlength=1024) <= limit
    same = np.bincount(merged.entries.router, minlength=1024)[full]
    assert (same == np.bincount(small.tables.entries.router, minlength=1024)[full]).all()


@pytest.mark.parametrize("limit", [1, 4])
def test_a_router_whose_table_is_full_is_named_with_what_fills_it(small, limit):
    chip = load_chip("toy", {"core.table_entries": str(limit)})
    with pytest.raises(DoesNotFit, match=f"the router's table has {limit}; most are of ") as caught:
        router_tables(small.trees, small.flow, small.placed.mesh, chip)
    assert caught.value.where.startswith("router (")
    assert "table_entries" in caught.value.fix


def test_every_single_change_to_an_entry_is_found(tiny):
    """Another port, another key, an entry less: some key then goes elsewhere, or nowhere."""
    mesh, chip = tiny.placed.mesh, load_chip("toy", TINY_CORE)
    verify(tiny.tables, tiny.trees, mesh, chip)
    entries = tiny.tables.entries
    for row in range(0, entries.router.size, 17):
        ports = int(entries.ports[row])
        for wrong in (ports ^ 1, ports ^ (1 << 9), ports << 1):
            with pytest.raises(Bug, match="router tables"):
                verify(entries_with(tiny.tables, ports={row: wrong}), tiny.trees, mesh, chip)
        fewer = Entries(*(np.delete(column, row) for column in entries))
        with pytest.raises(Bug, match=r"dropped|reaches other"):
            verify(replace(tiny.tables, entries=fewer), tiny.trees, mesh, chip)


def test_two_trees_with_one_key(tiny):
    key = tiny.tables.key.copy()
    key[0] = key[1]
    with pytest.raises(Bug, match="two trees with one key"):
        verify(replace(tiny.tables, key=key), tiny.trees, tiny.placed.mesh, tiny.chip)


def test_a_table_longer_than_the_target_allows(tiny):
    few = load_chip("toy", TINY_CORE | {"core.table_entries": "3"})
    with pytest.raises(Bug, match="a table of"):
        verify(tiny.tables, tiny.trees, tiny.placed.mesh, few)
