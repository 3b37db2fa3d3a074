"""Trees follow the routes of the mesh and end where their nets end; any other tree is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.passes.pack import Packing
from compiler.passes.place import Placement
from compiler.passes.route import Trees, core_of_task, route, verify, verify_deadlock_free
from compiler.tasks import Dataflow, Net, Task, Unit
from hw_models.chip import load_chip
from hw_models.errors import Bug
from hw_models.mesh import EAST, NORTH, SOUTH, WEST, mesh_of
from tests.compiler.passes.steps import passes, with_dead

MESH = mesh_of(load_chip("toy", {"layout.chips": "[2, 2]"}))  # 8 x 8 routers, one core each
HOST = MESH.host


def one_net(cores, sinks, message="value"):
    """Task i on core cores[i] (or the host); task 0 sends to the tasks of `sinks`."""
    flow = Dataflow(
        tuple(Task(f"t{i}", "op", 0, on_host=c == HOST) for i, c in enumerate(cores)),
        tuple(Unit(f"u{i}", "op", (i,), 0, 0, 0, 0, c == HOST) for i, c in enumerate(cores)),
        (Net(0, message, 0, 1, tuple(sinks)),),
    )
    real = [c for c in cores if c != HOST]
    numbers = iter(range(len(real)))
    logical = tuple(-1 if c == HOST else next(numbers) for c in cores)
    return flow, Packing(logical, (0,) * len(real)), Placement(MESH, tuple(real))


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


def link(router, direction):
    return MESH.first_mesh_link + 4 * router + direction


def chip_link(chip, direction):
    return MESH.first_chip_link + 4 * chip + direction


def steps(x, y, goal_x, goal_y):
    """(x, y, direction) of every hop, x before y."""
    while x != goal_x:
        direction = EAST if goal_x > x else WEST
        yield x, y, direction
        x += 1 if direction == EAST else -1
    while y != goal_y:
        direction = SOUTH if goal_y > y else NORTH
        yield x, y, direction
        y += 1 if direction == SOUTH else -1


def way(source, goal):
    """Links from a core (or the host) to another, told slowly: to the gateway, over, and in."""
    found = {MESH.host_in if source == HOST else source}
    x, y = (0, 0) if source == HOST else (source % 8, source // 8)
    u, v = (0, 0) if goal == HOST else (goal % 8, goal // 8)
    if (x // 4, y // 4) != (u // 4, v // 4):
        gate = (x // 4 * 4, y // 4 * 4)
        found |= {link(at(a, b), d) for a, b, d in steps(x, y, *gate)}
        found |= {chip_link(b * 2 + a, d) for a, b, d in steps(x // 4, y // 4, u // 4, v // 4)}
        x, y = u // 4 * 4, v // 4 * 4
    found |= {link(at(a, b), d) for a, b, d in steps(x, y, u, v)}
    return found | ({MESH.host_out} if goal == HOST else set())


@settings(max_examples=100, deadline=None)
@given(cores=st.lists(st.integers(0, 64), min_size=2, max_size=12, unique=True))
def test_a_tree_is_the_union_of_its_ways(cores):
    flow, packed, placed = one_net(cores, range(1, len(cores)))
    trees = route(flow, packed, placed)
    verify(trees, flow, packed, placed)
    verify_deadlock_free(trees)
    wanted = set().union(*(way(cores[0], goal) for goal in cores[1:]))
    assert sorted(trees.link.tolist()) == sorted(wanted)  # each link once
    assert sorted(trees.sink_core.tolist()) == sorted(cores[1:])


def test_all_routes_together_wait_for_nobody_in_a_circle():
    """Every core sends to every other one: whatever is routed is part of this."""
    cores = list(range(64))
    flow, packed, placed = one_net(cores, range(1, 64))
    nets = tuple(Net(i, "value", 0, 1, tuple(j for j in cores if j != i)) for i in cores)
    trees = route(replace(flow, nets=nets), packed, placed)
    verify_deadlock_free(trees)


@pytest.mark.parametrize(("message", "own"), [("spike", 1), ("value", 0), ("partial", 0)])
def test_spikes_to_the_own_core_pass_its_router_and_all_else_does_not(message, own):
    flow, packed, placed = one_net([5, 5, 6], [1, 2], message)
    trees = route(flow, packed, placed)
    verify(trees, flow, packed, placed)
    assert trees.link.tolist() == [5, link(5, EAST)]
    assert (trees.last_sink - trees.first_sink).tolist() == [own, 1]
    assert int(trees.last_local[0] - trees.first_local[0]) == 1 - own


def test_a_wrong_sink_is_found(small):
    verify(small.trees, small.flow, small.packed, small.placed)
    cores = core_of_task(small.flow, small.packed, small.placed)
    for sink in range(0, small.trees.sink_task.size, 11):
        task = int(small.trees.sink_task[sink])
        other = next(i for i, c in enumerate(cores) if (i != task and c == cores[task]) or c != 0)
        if other == task:
            continue
        for cell in ({"sink_task": {sink: other}},
                     {"sink_core": {sink: int(small.trees.sink_core[sink]) ^ 1}},
                     {"sink_base": {sink: int(small.trees.sink_base[sink]) + 1}}):  # fmt: skip
            with pytest.raises(Bug):
                verify(changed(small.trees, **cell), small.flow, small.packed, small.placed)


def test_a_lost_branch(small):
    parents = np.flatnonzero(small.trees.first_child < small.trees.last_child)
    for node in parents[::23]:
        wrong = changed(small.trees, last_child={node: small.trees.last_child[node] - 1})
        with pytest.raises(Bug, match=r"jumps|two roots"):
            verify(wrong, small.flow, small.packed, small.placed)


def test_a_turn_from_y_to_x():
    flow, packed, placed = one_net([at(1, 1), at(2, 2)], [1])
    right = [
        (at(1, 1), 1, 2, 0, 0),
        (link(at(1, 1), EAST), 2, 3, 0, 0),
        (link(at(2, 1), SOUTH), 3, 3, 0, 1),
    ]
    sinks = [(at(2, 2), 1, 0)]
    verify(trees_of(right, sinks, at(1, 1)), flow, packed, placed)
    turned = [
        right[0],
        (link(at(1, 1), SOUTH), 2, 3, 0, 0),
        (link(at(1, 2), EAST), 3, 3, 0, 1),
    ]
    with pytest.raises(Bug, match="net 0 turns from y to x"):
        verify(trees_of(turned, sinks, at(1, 1)), flow, packed, placed)


def test_a_way_there_and_back():
    flow, packed, placed = one_net([at(1, 1), at(1, 2)], [1])
    rows = [
        (at(1, 1), 1, 2, 0, 0),
        (link(at(1, 1), EAST), 2, 3, 0, 0),
        (link(at(2, 1), WEST), 3, 4, 0, 0),
        (link(at(1, 1), SOUTH), 4, 4, 0, 1),
    ]
    with pytest.raises(Bug, match="net 0 turns back"):
        verify(trees_of(rows, [(at(1, 2), 1, 0)], at(1, 1)), flow, packed, placed)


def test_a_jump():
    flow, packed, placed = one_net([at(1, 1), at(3, 1)], [1])
    rows = [(at(1, 1), 1, 2, 0, 0), (link(at(2, 1), EAST), 2, 2, 0, 1)]
    with pytest.raises(Bug, match="net 0 jumps"):
        verify(trees_of(rows, [(at(3, 1), 1, 0)], at(1, 1)), flow, packed, placed)


def test_a_link_over_the_border_of_a_chip_that_is_no_gateways():
    flow, packed, placed = one_net([at(3, 1), at(4, 1)], [1])
    rows = [(at(3, 1), 1, 2, 0, 0), (link(at(3, 1), EAST), 2, 2, 0, 1)]
    with pytest.raises(Bug, match="net 0 uses a link that does not exist"):
        verify(trees_of(rows, [(at(4, 1), 1, 0)], at(3, 1)), flow, packed, placed)


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
        [link(at(0, 0), EAST), link(at(1, 0), SOUTH)],
        [link(at(1, 0), SOUTH), link(at(1, 1), WEST)],
        [link(at(1, 1), WEST), link(at(0, 1), NORTH)],
        [link(at(0, 1), NORTH), link(at(0, 0), EAST)],
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


def test_dead_cores_are_gone_round(tiny):
    dead = frozenset(range(0, 64, 2))
    done = passes(tiny.graph, with_dead(tiny.chip, dead))
    verify(done.trees, done.flow, done.packed, done.placed)
    verify_deadlock_free(done.trees)
    assert not dead & set(done.placed.physical)
