"""A run in lock step: one step of the network per barrier, counted and timed message by message."""

import threading
import time
from dataclasses import fields

import nir
import numba
import numpy as np
import pytest

from compiler.accounting import counters, tree_facts
from compiler.pipeline import compile_model
from compiler.program import MARKER, SPIKE
from hw_models.errors import BadInput, Bug, DoesNotFit, Usage
from simulator import lockstep, lockstep_run, step_time
from simulator.api import simulate
from simulator.counters import snapshot
from simulator.hot.contention import GOT
from simulator.hot.state import T_FIRE, T_INJECT, T_SERVE
from simulator.lockstep_run import LockstepRun, run_lockstep
from simulator.run_folder import read_run
from tests.simulator.chip_steps import chip_steps
from tests.spiking import affine, lif, network, random_spikes, simulated, streamed, written

SMALL = {"core.synapse_memory": "1536 B", "core.state_memory": "4 KiB", "core.neurons": "64"}
CASES = {  # lags of the host and of the three populations
    "toy": ("toy", SMALL, [0, 2, 4, 5]),  # sums over cores, multicast, two chips
    "unicast": ("toy", SMALL | {"abilities.multicast": "false"}, [0, 2, 4, 5]),
    "one": ("loihi-like", {"sync": "barrier"}, [0, 1, 2, 3]),  # all on one core
    "loihi1": ("loihi1", SMALL, [0, 1, 2, 3]),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return written(tmp_path_factory.mktemp("nir") / "three.nir", *network())


@pytest.fixture(scope="module", params=CASES)
def case(request, path):
    """(program, lags, spikes, run in lock step, the event engine's, trace rows)."""
    target, overrides, lags = CASES[request.param]
    program = compile_model(path, target, overrides={"sync": "barrier"} | overrides)
    spikes, rows = random_spikes(150, 30), []
    run = LockstepRun(program, trace=rows.append)
    run_lockstep(run, spikes, lambda *_: None)
    return program, lags, spikes, run, streamed(program, spikes, sync="dataflow"), rows


def rasters(simulation):
    return [np.stack(rows) for rows in simulation.found.activity.counts.values()]


def test_outputs_and_spikes_are_the_event_engine_s(case):
    _, _, spikes, run, simulation, _ = case
    for a, b in zip(rasters(run), rasters(simulation), strict=True):
        np.testing.assert_array_equal(a, b)
    for step in range(len(spikes)):
        np.testing.assert_array_equal(run.found.logits[step], simulation.found.logits[step])


def without_markers(seen):
    for table in (seen.tree_sent, seen.sink_got):
        table[:, MARKER] = 0
    return seen


def test_all_that_does_not_depend_on_time_is_counted_as_by_the_event_engine(case):
    """But for markers, which a barrier makes needless, and neuron updates: once per barrier."""
    program, lags, spikes, run, simulation, _ = case
    found, wanted = run.snapshot(), without_markers(snapshot(simulation.state))
    for f in fields(found):
        if f.name != "task_updates":
            np.testing.assert_array_equal(getattr(found, f.name), getattr(wanted, f.name), f.name)
    facts = tree_facts(program)
    counted = [counters(program, facts, seen) for seen in (found, wanted)]
    sizes = {"lif": 140, "cubalif": 90, "if": 10}
    for by_operation, times in zip(counted, (len(spikes) + lags[-1], len(spikes)), strict=True):
        for name, n in sizes.items():
            assert by_operation[name].pop("neuron_update") == n * times
    assert counted[0] == counted[1] and run.steps == len(spikes) + lags[-1]
    assert found.tree_sent[:, SPIKE].sum() + (len(program.task_names) < 20) > 0


def test_times_links_and_cores_are_those_of_one_queue_for_all(case):
    program, lags, spikes, run, simulation, rows = case
    steps = chip_steps(program, rasters(simulation), lags)
    barrier, begin, served, sent, ends = program.chip.timing.barrier_ps, 0, [], [], []
    flits = np.zeros(program.tables.link_kind.size, np.int64)
    for step in steps:
        served += [(begin + ps, *row) for ps, *row in step.served]
        sent += [(begin + ps, task, kind, n) for ps, task, kind, n in step.sent]
        begin += step.end + barrier
        ends.append(begin)
        for link, n in step.flits.items():
            flits[link] += n
    assert [run.found.logits_ps[s] for s in range(len(spikes))] == ends[lags[-1] :]
    np.testing.assert_array_equal(run.contention.flits, flits)
    trace = np.concatenate(rows)
    found = trace[trace[:, 2] == T_SERVE][:, [0, 1, 3, 4, 6]]
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, np.array(served).tolist()))
    assert trace[trace[:, 2] == T_INJECT, 7].sum() == sum(n for *_, n in sent) == len(served)


def test_a_core_does_one_thing_after_another(case):
    program, *_, rows = case
    trace = np.concatenate(rows)
    work = trace[(trace[:, 2] != T_INJECT) & (trace[:, 1] > 0)]
    for core in np.unique(work[:, 3]):
        mine = work[work[:, 3] == core]
        mine = mine[np.argsort(mine[:, 0])]
        assert (mine[1:, 0] >= mine[:-1, 0] + mine[:-1, 1]).all()
        assert core < program.host_core  # there nothing takes time


def test_a_trace_has_every_update_of_what_steps_cause(case):
    program, _, spikes, _, _, rows = case
    trace = np.concatenate(rows)
    t = program.tables
    fires = trace[trace[:, 2] == T_FIRE]
    homes = fires[np.isin(t.task_gathers[fires[:, 4]], np.flatnonzero(
        [s.kind == "population" for s in program.graph.stages]))]  # fmt: skip
    assert homes[:, 1].sum() == 240 * len(spikes) * program.chip.timing.update_ps
    assert set(fires[:, 5]) == set(range(len(spikes)))


def folder(out):
    return {p.name: p.read_bytes() for p in out.iterdir() if p.name != "provenance.json"}


@pytest.mark.parametrize("some", [1, 7])
def test_files_do_not_depend_on_how_many_steps_are_taken_at_once(some, path, tmp_path, monkeypatch):
    program = compile_model(path, "toy", overrides=SMALL)
    options = {"spikes": random_spikes(150, 20), "sync": "barrier", "trace": True, "check": True}
    simulate(program, out=tmp_path / "a", **options)
    monkeypatch.setattr(lockstep_run, "TRACED", some)
    simulate(program, out=tmp_path / "b", **options)
    assert folder(tmp_path / "a") == folder(tmp_path / "b")


def test_any_number_of_threads_gives_the_same_bytes(path, tmp_path, monkeypatch):
    monkeypatch.setattr(lockstep, "BLOCK", 16)  # more blocks than threads
    for module in (lockstep, step_time):
        monkeypatch.setattr(module, "WORTH", 0)
    program, taken = compile_model(path, "toy", overrides=SMALL | {"sync": "barrier"}), set()
    for kernel, module in (("run_block", lockstep), ("step_ends", step_time)):
        monkeypatch.setattr(module, kernel, told(getattr(module, kernel), taken))
    for n in (1, 2, 4):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", n)
        taken.clear()
        out = tmp_path / str(n)
        simulate(program, spikes=random_spikes(150, 40), trace=True, check=True, out=out)
        assert (len({thread for _, thread in taken}) > 1) == (n > 1)
    one, two, four = (folder(tmp_path / str(n)) for n in (1, 2, 4))
    assert one == two == four and "events.parquet" in one


def told(kernel, taken):
    """The kernel; and by which thread it was called."""

    def call(*about):
        taken.add((kernel, threading.get_ident()))
        time.sleep(0.001)  # others have a chance
        return kernel(*about)

    return call


def test_a_trace_changes_nothing_else(path, tmp_path):
    program, spikes = compile_model(path, "loihi1"), random_spikes(150, 20)
    plain = simulate(program, spikes=spikes, out=tmp_path / "a")
    traced = simulate(program, spikes=spikes, trace=True, out=tmp_path / "b")
    assert plain.trace is None and traced.trace.events == traced.trace.rows > 1000
    for name in ("counters.json", "activity.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert plain.logits_ps == traced.logits_ps


def test_membranes_go_to_the_host_as_values(tmp_path):
    silent = nir.LI(tau=np.full(4, 5e-4), r=np.ones(4), v_leak=np.full(4, 0.125))
    nodes = [affine(30, 20, 1), lif(20, 2), affine(20, 4, 5), silent]
    program = compile_model(written(tmp_path / "n.nir", *nodes), "toy")
    spikes = random_spikes(30, 12)
    run = simulate(program, spikes=spikes, sync="barrier", check=True, out=tmp_path / "run")
    assert run.outputs == tuple(simulated(program, spikes).mean(0, dtype=float).tolist())
    counted = run.phases[0].counters["li"]
    assert (counted["msg_value"], counted["delivered_value"]) == (12, 12)
    found = rasters(streamed(program, spikes, sync="dataflow"))
    steps = chip_steps(program, [*found, np.zeros((12, 4))], [0, 1, 2])
    assert run.logits_ps[-1] == sum(s.end + program.chip.timing.barrier_ps for s in steps)


def test_a_lost_message_is_found(path, monkeypatch):
    program = compile_model(path, "loihi1", overrides=SMALL)
    run = LockstepRun(program)
    original = run.contention.ends_ps

    def lossy(*about, **more):
        found = original(*about, **more)
        got = run.contention.counted[:, GOT]
        got[got.argmax()] -= 1
        return found

    monkeypatch.setattr(type(run.contention), "ends_ps", lambda _, *a, **m: lossy(*a, **m))
    with pytest.raises(Bug, match=r"delivered|carried"):
        run_lockstep(run, random_spikes(150, 5), lambda *_: None)


def test_a_step_that_lasts_for_weeks_is_refused(path):
    program = compile_model(
        path, "loihi1", overrides=SMALL | {"timing.synop_ps": "1e3 s", "timing.barrier_ps": "1 us"}
    )
    with pytest.raises(DoesNotFit, match="lasts longer than"):
        run_lockstep(LockstepRun(program), random_spikes(150, 5), lambda *_: None)


@pytest.mark.parametrize(
    ("name", "forged"),
    [
        ("raster", lambda x: x + 2),
        ("raster", lambda x: x[1:]),
        ("raster", lambda x: x[:, 1:]),
        ("raster", lambda x: x.astype(np.int64)),
        ("counted", lambda x: x - 1),
        ("flits", lambda x: x[:-1]),
        ("v", lambda x: x[None]),
        ("fired", lambda x: 7),
        ("started", lambda x: x + 1),
        ("steps", lambda x: x - 1),
        ("now_ps", lambda x: -1),
        ("more", lambda _: 1),
    ],
)
def test_what_no_run_carries_is_refused(path, name, forged):
    program = compile_model(path, "loihi1")
    run = LockstepRun(program)
    next(run.run(random_spikes(150, 1000)))
    found = run.carried()
    LockstepRun(program).restore(found)
    with pytest.raises(BadInput):
        LockstepRun(program).restore(found | {name: forged(found.get(name))})


def test_slots_are_refused(path, tmp_path):
    program = compile_model(path, "loihi1")
    with pytest.raises(Usage, match="no slots") as caught:
        simulate(program, spikes=random_spikes(150, 2), slots=1, out=tmp_path / "run")
    assert "--sync dataflow" in caught.value.fix and not (tmp_path / "run").exists()


def test_a_neuron_of_a_workload_spikes_once_per_step(path, tmp_path):
    from simulator.workload import replay

    program = compile_model(path, "loihi1")
    simulate(program, spikes=random_spikes(150, 3), out=tmp_path / "run")
    activity = read_run(tmp_path / "run").activity
    counts = replay(program, activity)
    activity.counts["lif.spikes"][1] = activity.counts["lif.spikes"][1] + 2
    with pytest.raises(BadInput, match="once per step"):
        simulate(program, workload=counts, out=tmp_path / "again")
