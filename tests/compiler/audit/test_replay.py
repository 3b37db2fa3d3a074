"""Messages go where entries say, straight on without one, and nowhere for ever."""

import numpy as np
import pytest

from compiler.audit.replay import CORE_PORT, HOST_PORT, Entries, replay
from hw_models.chip import load_chip
from hw_models.mesh import EAST, SOUTH, WEST, mesh_of

MESH = mesh_of(load_chip("toy", {"layout.chips": "[2, 2]"}))  # 8 x 8 routers, one core each
ALL = 255


def tables(*rows):
    """(router, key, mask, ports) in order."""
    return Entries(*np.array(sorted(rows), np.int64).reshape(-1, 4).T)


def sent(entries, key, source):
    return replay(entries, np.array([key]), np.array([source]), MESH)


def port(*numbers):
    return sum(1 << n for n in numbers)


def test_one_entry_to_start_and_one_to_end():
    entries = tables((0, 5, ALL, port(EAST)), (3, 5, ALL, port(CORE_PORT)))
    found = sent(entries, 5, 0)
    assert (found.tree.tolist(), found.core.tolist()) == ([0], [3])
    assert found.dropped.size == found.looping.size == 0


def test_a_fork_reaches_both_and_a_masked_entry_takes_its_whole_range():
    entries = tables(
        (0, 4, ALL - 3, port(EAST, SOUTH, CORE_PORT)),
        (1, 6, ALL - 1, port(CORE_PORT)),
        (8, 4, ALL - 3, port(CORE_PORT)),
    )
    found = sent(entries, 7, 0)
    assert found.core.tolist() == [0, 1, 8]
    assert found.dropped.size == 0


def test_a_message_without_an_entry_where_it_starts_is_dropped():
    assert sent(tables((0, 4, ALL, port(EAST))), 5, 0).dropped.tolist() == [0]


def test_a_message_that_goes_straight_on_into_the_border_of_a_chip_is_dropped():
    assert sent(tables((0, 5, ALL, port(EAST))), 5, 0).dropped.tolist() == [0]


def test_from_gateway_to_gateway_and_to_the_host():
    entries = tables(
        (4, 9, ALL, port(4 + WEST)),  # gateway of chip 1
        (0, 9, ALL, port(HOST_PORT)),
    )
    found = sent(entries, 9, 4)
    assert found.core.tolist() == [MESH.host]


def test_the_host_injects_beside_its_gateway():
    found = sent(tables((0, 1, ALL, port(CORE_PORT))), 1, MESH.host)
    assert found.core.tolist() == [0]


def test_a_message_that_goes_round_is_found_out():
    entries = tables((0, 5, ALL, port(EAST)), (1, 5, ALL, port(WEST)))
    assert sent(entries, 5, 0).looping.tolist() == [0]


def test_unsorted_entries_are_refused():
    rows = tables((0, 5, ALL, 1), (1, 5, ALL, 1))
    with pytest.raises(ValueError, match="not sorted"):
        sent(Entries(*(column[::-1] for column in rows)), 5, 0)
