"""A step lasts until its last message is worked off; queues are first come, first served."""

import heapq
from collections import defaultdict

import numpy as np
import pytest

from compiler.pipeline import compile_model
from hw_models.events import LINKS
from simulator.lockstep import Lockstep
from simulator.senders import StepCosts
from simulator.step_time import Contention, contention_free_ps, step_costs
from tests.spiking import network, random_spikes, written

COSTS = StepCosts(
    access=600, update=370, fire=3000, send=510, receive=1600, synop=38,
    held=dict.fromkeys(LINKS, 291), hop={"x": 4100, "y": 6500}, barrier=1_800_000,
)  # fmt: skip
SLOW = StepCosts(
    access=6, update=3, fire=1, send=5, receive=1, synop=1,
    held=dict.fromkeys(LINKS, 2000), hop={"x": 4100, "y": 6500}, barrier=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = written(tmp_path_factory.mktemp("nir") / "three.nir", *network())
    program = compile_model(path, "loihi1", overrides={"core.synapse_memory": "2 KiB"})
    assert program.n_cores > 12
    lockstep = Lockstep(program)
    return lockstep, lockstep.run(random_spikes(150, 12), keep_busy=True)


def messages(lockstep, steps, costs, t):
    """(ready, [(server, held, on)]) in order of core and neuron, from the program's tables."""
    t_ = lockstep.program.tables
    parts, ways = lockstep.parts, lockstep.ways
    clock, found = defaultdict(int), []
    for part in range(parts.core.size):
        layer, core = int(parts.layer[part]), int(parts.core[part])
        for j in range(int(parts.first[part]), int(parts.first[part] + parts.size[part])):
            step = t - layer
            if layer:
                clock[core] += costs.access + costs.update * int(step >= 0 and steps.busy[step, j])
            if step < 0 or not steps.raster[step, j]:
                continue
            clock[core] += costs.fire if layer else 0
            for w in np.flatnonzero(ways.part == part).tolist():
                if ways.core[w] == lockstep.program.host_core:
                    continue
                clock[core] += costs.send
                node, path = int(t_.tree_root[ways.tree[w]]), []
                while True:
                    kind = LINKS[t_.link_kind[t_.node_link[node]]] if node >= 0 else "local"
                    if kind in "xy":
                        path.append((int(t_.node_link[node]), costs.held[kind], costs.hop[kind]))
                    if node < 0 or t_.node_first_child[node] == t_.node_last_child[node]:
                        break
                    node = int(t_.node_first_child[node])
                served = costs.receive + int(ways.neurons[w]) * costs.synop
                path.append((("core", int(ways.core[w])), served, None))
                found.append((clock[core], path))
    return max(clock.values(), default=0), found


def by_event_queue(end, sent):
    """Servers take what comes in the order (time, message)."""
    free = defaultdict(int)
    queue = [(ready, m, 0) for m, (ready, _) in enumerate(sent)]
    heapq.heapify(queue)
    while queue:
        time, m, at = heapq.heappop(queue)
        server, held, on = sent[m][1][at]
        start = max(time, free[server])
        free[server] = start + held
        end = max(end, free[server])
        if on is not None:
            heapq.heappush(queue, (start + on, m, at + 1))
    return end


@pytest.mark.parametrize("costs", [COSTS, SLOW], ids=["cores", "links"])
def test_times_are_the_event_queue_s(run, costs):
    lockstep, steps = run
    found = Contention.of(lockstep, costs).times_ps(steps)
    wanted = [by_event_queue(*messages(lockstep, steps, costs, t)) for t in range(len(found))]
    assert found.tolist() == [end + costs.barrier for end in wanted]
    assert len(set(wanted)) > 6


def test_contention_costs_time_and_more_where_links_are_slow(run):
    lockstep, steps = run
    for costs, least in ((COSTS, 1), (SLOW, 1.2)):
        free = contention_free_ps(lockstep, steps, costs)
        queued = Contention.of(lockstep, costs).times_ps(steps)
        assert (queued >= free).all() and queued.sum() > least * free.sum()


def test_the_busiest_core_s_messages_are_what_a_step_without_contention_waits_for(tmp_path):
    """One spike to one core: the later of updating four neurons, and one row of four synapses."""
    import nir

    weight = np.ones((4, 4), np.float32)
    neurons = nir.IF(r=np.ones(4), v_threshold=np.full(4, 100.0))
    path = written(tmp_path / "n.nir", nir.Affine(weight, np.zeros(4)), neurons)
    lockstep = Lockstep(compile_model(path, "loihi1"))
    spikes = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = contention_free_ps(lockstep, lockstep.run(spikes), COSTS) - COSTS.barrier
    idle, updated, row = 4 * 600, 4 * 970, 1600 + 4 * 38
    assert found.tolist() == [max(idle, row), max(updated, 0), max(updated, 0)]


def test_a_target_s_own_times(run):
    lockstep, steps = run
    costs = step_costs(lockstep.program.chip)
    assert (costs.access, costs.send, costs.receive, costs.synop) == (9700, 0, 16000, 3800)
    assert (costs.held["x"], costs.hop["x"], costs.held["local"]) == (291, 4100, 5100)
    assert (contention_free_ps(lockstep, steps, costs) > 1_800_000).all()
