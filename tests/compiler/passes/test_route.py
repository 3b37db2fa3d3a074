"""Trees go along x, then along y, and end where their nets end; any other tree is refused."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.passes.pack import Packing
from compiler.passes.partition import grid_of, partition
from compiler.passes.place import Placement, place
from compiler.passes.route import Links, Trees, core_of_task, route, verify, verify_deadlock_free
from compiler.tasks import Dataflow, Net, Task, Unit
from hw_models.chip import load_chip
from hw_models.errors import Bug, DoesNotFit

CHIP = load_chip("toy", {"layout.chips": "[2, 2]"})  # 8 x 8 routers, one core each
GRID = grid_of(CHIP)
LINKS = Links(GRID)
EAST, WEST, NORTH, SOUTH = range(4)


def one_net(cores, sinks, message="value"):
    """Task i on core cores[i]; task 0 sends to the tasks of `sinks`."""
    n = len(cores)
    flow = Dataflow(
        tuple(Task(f"t{i}", "op", 0) for i in range(n)),
        tuple(Unit(f"u{i}", "op", (i,), 0, 0, 0, 0) for i in range(n)),
        (Net(0, message, 0, 1, tuple(sinks)),),
    )
    return flow, Packing(tuple(range(n)), n), Placement(GRID, tuple(cores))


def trees_of(rows, sinks, source):
    """Trees of one net: nodes (link, first child, last child, first sink, last sink)."""
    columns = [np.array(c, np.int32) for c in zip(*rows, strict=True)]
    ends = [np.array(c, np.int32) for c in zip(*sinks, strict=True)]
    heads = [np.array([v], np.int32) for v in (0, source, 0, 0)]
    return Trees(*heads, *columns, *ends)


def changed(trees, **columns):
    found = {}
    for name, cells in columns.items():
        found[name] = getattr(trees, name).copy()
        for row, value in cells.items():
            found[name][row] = value
    return replace(trees, **found)


def at(x, y):
    return y * 8 + x


@settings(max_examples=60, deadline=None)
@given(cores=st.lists(st.integers(0, 63), min_size=2, max_size=8, unique=True))
def test_a_tree_is_the_union_of_the_xy_ways(cores):
    flow, packed, placed = one_net(cores, range(1, len(cores)))
    trees = route(flow, packed, placed, CHIP)
    verify(trees, flow, packed, placed)
    verify_deadlock_free(trees)
    wanted = {cores[0]}  # the injection link
    for core in cores[1:]:
        x, y = cores[0] % 8, cores[0] // 8
        while x != core % 8:
            direction = EAST if core % 8 > x else WEST
            wanted.add(LINKS.out_of(at(x, y), direction))
            x += 1 if direction == EAST else -1
        while y != core // 8:
            direction = SOUTH if core // 8 > y else NORTH
            wanted.add(LINKS.out_of(at(x, y), direction))
            y += 1 if direction == SOUTH else -1
    assert sorted(trees.link.tolist()) == sorted(wanted)  # each link once
    assert sorted(trees.sink_core.tolist()) == sorted(cores[1:])


@pytest.mark.parametrize(("message", "own"), [("spike", 1), ("value", 0), ("partial", 0)])
def test_spikes_to_the_own_core_pass_its_router_and_all_else_does_not(message, own):
    flow, packed, placed = one_net([5, 5, 6], [1, 2], message)
    trees = route(flow, packed, placed, CHIP)
    verify(trees, flow, packed, placed)
    assert trees.link.tolist() == [5, LINKS.out_of(5, EAST)]
    assert (trees.last_sink - trees.first_sink).tolist() == [own, 1]
    assert int(trees.last_local[0] - trees.first_local[0]) == 1 - own


def test_a_wrong_sink_is_named_with_its_net(small):
    verify(small.trees, small.flow, small.packed, small.placed)
    cores = core_of_task(small.flow, small.packed, small.placed)
    for sink in range(0, small.trees.sink_task.size, 11):
        task = int(small.trees.sink_task[sink])
        other = next(i for i, c in enumerate(cores) if (c == cores[task] and i != task) or c != 0)
        if other == task:
            continue
        wrong = changed(small.trees, sink_task={sink: other})
        with pytest.raises(Bug, match=r"net \d+ (reaches|leaves)"):
            verify(wrong, small.flow, small.packed, small.placed)
        wrong = changed(small.trees, sink_core={sink: int(small.trees.sink_core[sink]) ^ 1})
        with pytest.raises(Bug, match=r"net \d+ (leaves core|has a local sink)"):
            verify(wrong, small.flow, small.packed, small.placed)


def test_a_lost_branch(small):
    parents = np.flatnonzero(small.trees.first_child < small.trees.last_child)
    for node in parents[::23]:
        wrong = changed(small.trees, last_child={node: small.trees.last_child[node] - 1})
        with pytest.raises(Bug, match="reaches"):
            verify(wrong, small.flow, small.packed, small.placed)


def test_a_turn_from_y_to_x():
    flow, packed, placed = one_net([at(1, 1), at(2, 2)], [1])
    right = [
        (at(1, 1), 1, 2, 0, 0),
        (LINKS.out_of(at(1, 1), EAST), 2, 3, 0, 0),
        (LINKS.out_of(at(2, 1), SOUTH), 3, 3, 0, 1),
    ]
    sinks = [(at(2, 2), 1, 0)]
    verify(trees_of(right, sinks, at(1, 1)), flow, packed, placed)
    turned = [
        right[0],
        (LINKS.out_of(at(1, 1), SOUTH), 2, 3, 0, 0),
        (LINKS.out_of(at(1, 2), EAST), 3, 3, 0, 1),
    ]
    with pytest.raises(Bug, match="net 0 turns from y to x"):
        verify(trees_of(turned, sinks, at(1, 1)), flow, packed, placed)


def test_a_jump():
    flow, packed, placed = one_net([at(1, 1), at(3, 1)], [1])
    rows = [(at(1, 1), 1, 2, 0, 0), (LINKS.out_of(at(2, 1), EAST), 2, 2, 0, 1)]
    with pytest.raises(Bug, match=rf"net 0 jumps from router {at(1, 1)} to {at(2, 1)}"):
        verify(trees_of(rows, [(at(3, 1), 1, 0)], at(1, 1)), flow, packed, placed)


def test_two_nodes_swapped(small):
    """Whole rows change places: something jumps, or is missing elsewhere."""
    columns = ("link", "first_child", "last_child", "first_sink", "last_sink")
    leaves = np.flatnonzero(small.trees.first_sink < small.trees.last_sink)
    for a, b in zip(leaves[::17], leaves[5::17], strict=False):
        if small.trees.link[a] == small.trees.link[b]:
            continue
        swap = {c: {a: getattr(small.trees, c)[b], b: getattr(small.trees, c)[a]} for c in columns}
        with pytest.raises(Bug):
            verify(changed(small.trees, **swap), small.flow, small.packed, small.placed)


def test_links_that_wait_for_each_other():
    """Four trees that each turn from y to x around one square."""
    around = [
        [LINKS.out_of(at(0, 0), EAST), LINKS.out_of(at(1, 0), SOUTH)],
        [LINKS.out_of(at(1, 0), SOUTH), LINKS.out_of(at(1, 1), WEST)],
        [LINKS.out_of(at(1, 1), WEST), LINKS.out_of(at(0, 1), NORTH)],
        [LINKS.out_of(at(0, 1), NORTH), LINKS.out_of(at(0, 0), EAST)],
    ]
    rows = []
    for first, second in around:
        rows += [
            (first, len(rows) + 1, len(rows) + 2, 0, 0),
            (second, len(rows) + 2, len(rows) + 2, 0, 0),
        ]
    with pytest.raises(Bug, match="wait for each other"):
        verify_deadlock_free(trees_of(rows, [(0, 0, 0)], 0))
    verify_deadlock_free(trees_of(rows[:6], [(0, 0, 0)], 0))


@pytest.mark.parametrize("entries", [1, 5])
def test_a_router_whose_table_is_full_is_named(small, entries):
    chip = load_chip("toy", {"core.table_entries": str(entries)})
    with pytest.raises(DoesNotFit, match=f"table has {entries} entries") as caught:
        route(small.flow, small.packed, small.placed, chip)
    assert caught.value.where.startswith("router (")
    assert "table_entries" in caught.value.fix


def test_links_are_numbered_without_gaps_and_named_by_what_they_join():
    kinds = [LINKS.kind(link) for link in range(LINKS.n_links)]
    assert kinds.count("local") == 64
    assert kinds.count("host") == 2
    assert kinds[LINKS.host_in] == kinds[LINKS.host_out] == "host"
    for y in range(8):
        for x in range(8):
            east, south = (kinds[LINKS.out_of(at(x, y), d)] for d in (EAST, SOUTH))
            assert east == ("chip_x" if x in (3, 7) else "x")
            assert south == ("chip_y" if y in (3, 7) else "y")


def test_placing_elsewhere_routes_as_well(tiny):
    dead = frozenset(range(0, 64, 2))
    parts = partition(tiny.packed, tiny.chip, dead)
    placed = place(parts, tiny.chip, dead)
    trees = route(tiny.flow, tiny.packed, placed, tiny.chip)
    verify(trees, tiny.flow, tiny.packed, placed)
    verify_deadlock_free(trees)
    assert {f.name for f in fields(Trees)} >= {"root", "link", "sink_core"}
    assert trees.link.size > tiny.trees.link.size  # ways around dead cores are longer
