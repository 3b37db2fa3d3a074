"""The floorplan: what the passes charged to cores, task by task."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.passes.pack import RESOURCES, limits, needs
from compiler.program import TILE, VECTOR
from hw_models.chip import load_chip
from hw_models.errors import BadInput
from simulator.map_data import TASK_COLUMNS, Limit, floorplan
from simulator.map_traffic import traffic
from tests.compiler.passes.steps import passes
from tests.small import model
from tests.tiny import TINY, TINY_CORE, changed, tiny


@pytest.fixture(params=["toy", "isaac-like"])
def target(request):
    return request.param


def test_cores_hold_what_packing_charged_them(target):
    done = passes(model(0, TINY)[0], load_chip(target, TINY_CORE if target == "toy" else {}))
    wanted = {}
    for unit, core, need in zip(
        done.flow.units, done.packed.core_of, needs(done.flow), strict=True
    ):
        if core >= 0:
            row = wanted.setdefault(done.placed.physical[core], np.zeros(5, np.int64))
            row += need
            if unit.name.startswith("layers.0.attn_norm"):
                row[2] -= unit.neurons  # its channels come from the host: no sums arrive
    plan = floorplan(tiny(target=target))
    assert plan.cores.number.tolist() == [*sorted(wanted), plan.program.mesh.host]
    for at, (name, most) in enumerate(zip(RESOURCES, limits(done.chip), strict=True)):
        used = [wanted[core][at] for core in sorted(wanted)]
        assert plan.cores.used[at].tolist() == [*used, 0], name
        assert plan.limits[at] == Limit(name, most, "core")


def test_table_entries_are_those_of_the_core_s_router():
    plan = floorplan(tiny())
    mesh, routers = plan.program.mesh, plan.program.tables.entry_router.tolist()
    wanted = [routers.count(core // mesh.cores_per_router) for core in plan.cores.number[:-1]]
    assert plan.cores.used[-1].tolist() == [*wanted, 0]
    entries = plan.program.chip.core.table_entries
    assert plan.limits[-1] == Limit("table entries", entries, "router")


def test_every_task_stands_with_its_core(target):
    program = tiny(target=target)
    plan, t = floorplan(program), program.tables
    names = []
    for i, core in enumerate(plan.cores.number.tolist()):
        mine = range(plan.first_task[i], plan.first_task[i + 1])
        names += [plan.names[row] for row in mine]
        on_core = [j for j, c in enumerate(t.task_core.tolist()) if c == core]
        assert [plan.names[row] for row in mine] == [program.task_names[j] for j in on_core]
        for column in TASK_COLUMNS:
            values = getattr(t, f"task_{column}")
            assert [plan.tasks[column][row] for row in mine] == [values[j] for j in on_core], column
    assert sorted(names) == sorted(program.task_names)


@pytest.mark.parametrize("memory", ["1 KiB", "3 KiB"])  # a tile to a core, and several
def test_a_core_is_named_after_its_largest_tile_and_the_vector_work_with_the_most_state(memory):
    plan = floorplan(tiny(core__synapse_memory=memory, core__state_memory="8 KiB"))
    none = len(plan.program.ops)
    for i in range(plan.cores.number.size):
        tiles, work = {}, {}
        for row in range(plan.first_task[i], plan.first_task[i + 1]):
            task = {name: int(column[row]) for name, column in plan.tasks.items()}
            if task["kind"] == TILE:
                tiles.setdefault(task["n_pre"] * task["neuron_n"], task["op"])
            elif task["kind"] == VECTOR:
                work.setdefault(task["state"], task["op"])
        assert plan.cores.tile_op[i] == tiles.get(max(tiles, default=0), none)
        assert plan.cores.work_op[i] == work.get(max(work, default=0), none)
    assert plan.cores.tile_op[-1] == plan.cores.work_op[-1] == none  # the host


def test_links_are_those_with_traffic_and_no_core_s_own():
    plan = floorplan(tiny())
    mesh, t = plan.program.mesh, plan.program.tables
    used = {int(link) for link in t.node_link if link >= mesh.n_cores}
    assert set(plan.links.number.tolist()) == used
    assert (plan.links.bits > 0).all()
    assert plan.links.kind.tolist() == mesh.links.kind[plan.links.number].tolist()


def test_cores_send_and_receive_what_travels():
    plan = floorplan(tiny())
    found, number = traffic(plan.program), plan.cores.number.tolist()
    cores = plan.cores
    assert cores.sent.tolist() == [[row[c] for c in number] for row in found.sent.tolist()]
    assert cores.received.tolist() == [[row[c] for c in number] for row in found.received.tolist()]
    assert cores.sent_bits.tolist() == [found.link_bits[c] for c in number]
    assert cores.received_bits.tolist() == [found.received_bits[c] for c in number]
    assert [number[i] for i in plan.ways.left] == found.ways.left.tolist()
    assert plan.ways.right.tolist() == found.ways.right.tolist()
    assert [number[i] for i in plan.reached.left] == found.reached.left.tolist()
    assert [number[i] for i in plan.reached.right] == found.reached.right.tolist()


def test_operations_know_their_layer_and_what_layers_have_in_common():
    plan = floorplan(tiny())
    of = dict(zip(plan.program.ops, zip(plan.layers, plan.kinds, strict=True), strict=True))
    assert of["layers.1.gate_up"] == (1, "gate_up")
    assert of["host"] == (-1, "host") and of["head"] == (-1, "head")


def test_broken_tables_are_refused():
    with pytest.raises(BadInput):
        floorplan(changed(tiny(), sink_core={0: 10**6}))


def test_no_weight_is_needed():
    program = tiny()
    bare = replace(program, linears={}, vectors={}, embedding=np.zeros((0, 0), np.float32))
    assert not bare.has_weights
    assert floorplan(bare).cores.used.tolist() == floorplan(program).cores.used.tolist()
