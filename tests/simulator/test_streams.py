"""Dataflow with events in line behind those of their link or core: the run of a heap of all."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.pipeline import compile_model
from simulator import drive
from simulator.drive import Simulation
from simulator.hot import state as h
from simulator.workload import profile
from tests import experts
from tests.spiking import affine, fired, lif, random_spikes, written
from tests.tiny import tiny

TEXT = (3, 17, 17, 8, 0, 19, 4, 4, 11)
TABLES = ("progress", "got", "tree_sent", "sink_got", "received", "counts", "turn", "stage_sums")
ZERO = {
    f"timing__{name}": "0 ps"
    for name in ("axon_ps", "row_ps", "synop_ps", "update_ps", "encode_ps", "vector_ps")
} | {"timing__partial_ps": "0 ps", "timing__value_ps": "0 ps"}
EVEN = {f"link__{kind}__hop_ps": "4 ns" for kind in ("local", "x", "y", "chip_x", "chip_y")} | {
    f"timing__{name}": "4 ns" for name in ("axon_ps", "row_ps", "update_ps", "encode_ps")
}
"""All takes as long as a hop: exact ties everywhere."""


def ran(program, inputs, together=True, **options):
    """A simulation of all of the inputs (or of one after another), and its trace as files have it:
    by time, then core; what happens on one core is in the engine's own order."""
    rows = []
    simulation = Simulation(program, sync="dataflow", trace=rows.append, **options)
    for one in inputs:
        simulation.start(one, simulation.now_ps)
        if not together:
            list(simulation.advance())
    list(simulation.advance())
    simulation.flush_trace()
    trace = np.concatenate(rows)
    return simulation, trace[np.lexsort((trace[:, 3], trace[:, 0]))]


def alike(program, inputs, together=True, **options):
    (lines, traced), (heap, wanted) = (
        ran(program, inputs, together, streams=on, **options) for on in (True, False)
    )
    assert lines.fixed.service[h.STREAMS] == 1 and heap.fixed.service[h.STREAMS] == 0
    for name in TABLES:
        found, other = getattr(lines.state, name), getattr(heap.state, name)
        np.testing.assert_array_equal(found, other, name)
    np.testing.assert_array_equal(lines.state.link, heap.state.link)  # all streams are idle again
    np.testing.assert_array_equal(lines.state.core, heap.state.core)
    np.testing.assert_array_equal(traced, wanted)
    assert (lines.now_ps, lines.events) == (heap.now_ps, heap.events)
    assert lines.found.logits_ps == heap.found.logits_ps
    assert set(lines.found.logits) == set(heap.found.logits)
    for token, logits in heap.found.logits.items():
        np.testing.assert_array_equal(lines.found.logits[token], logits)
    return lines, heap


@pytest.mark.parametrize("coding", ["bitwise", "ternary", "graded"])
def test_a_run_is_the_heaps_event_by_event(coding):
    alike(tiny(coding), TEXT)


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_so_is_prefill_with_any_token_slots(slots):
    alike(tiny(core__token_slots="8", core__state_memory="8 KiB"), TEXT, slots=slots)


def test_so_is_decode():
    alike(tiny(), TEXT, together=False)


@pytest.mark.parametrize("times", [ZERO, EVEN, {**ZERO, **EVEN}], ids=["none", "even", "some"])
@pytest.mark.parametrize("slots", [1, 2])
def test_so_it_is_with_many_exact_ties(times, slots):
    alike(tiny(**times), TEXT, slots=slots)


@settings(max_examples=8, deadline=None)
@given(
    hops=st.lists(st.integers(1, 4), min_size=5, max_size=5),
    services=st.lists(st.integers(0, 4), min_size=6, max_size=6),
    flit=st.integers(1, 3),
    mesh=st.sampled_from(("[2,8]", "[4,4]", "[8,2]")),
    tokens=st.lists(st.integers(0, 19), min_size=1, max_size=5),
)
def test_so_it_is_on_any_small_mesh_of_few_times(hops, services, flit, mesh, tokens):
    """Times of a handful of nanoseconds, on meshes of all forms."""
    links = dict(zip(("local", "x", "y", "chip_x", "chip_y"), hops, strict=True))
    cores = dict(zip(("axon", "row", "synop", "update", "encode", "value"), services, strict=True))
    alike(
        tiny(
            layout__routers=mesh,
            **{f"link__{kind}__hop_ps": f"{ns} ns" for kind, ns in links.items()},
            **{f"link__{kind}__flit_ps": f"{flit} ns" for kind in links},
            **{f"timing__{what}_ps": f"{ns} ns" for what, ns in cores.items()},
        ),
        tokens,
    )


@pytest.mark.parametrize("target", ["loihi-like", "isaac-like"])
def test_so_it_is_on_other_targets(target):
    alike(tiny(target=target), TEXT)


def test_so_it_is_of_spiking_neurons(tmp_path):
    path = written(
        tmp_path / "net.nir", affine(12, 9, 1), lif(9, 2), affine(9, 4, 3, gain=3), fired(4)
    )
    alike(compile_model(path, "toy"), random_spikes(12, 30), in_flight=30)


def test_so_it_is_of_counts_alone():
    alike(tiny(), [0] * 5, workload=profile(tiny(), prompt=5, tokens=1))


@pytest.mark.parametrize("counted", [False, True])
def test_so_it_is_of_experts(counted):
    program = experts.program("two of five")
    more = {"workload": profile(program, prompt=10, tokens=1)} if counted else {}
    alike(program, experts.TEXT, **more)


def test_so_it_is_when_the_engine_stops_after_every_event():
    """Between two sinks of a node, too."""
    with patch.object(drive, "BATCH", 1):
        alike(tiny(), TEXT[:3])


def test_only_the_next_event_of_a_link_or_core_is_in_the_heap():
    lines, heap = alike(tiny(), TEXT)
    program = Simulation(tiny())
    program.start(3, 0)
    for token in TEXT:
        program.start(token, 0)
    with patch.object(drive, "BATCH", 50):
        for _ in program.advance():
            state = program.state
            kinds = state.heap[: state.reg[h.R_HEAP], 2] >> h.KIND_SHIFT
            streams = np.count_nonzero(state.link[:, h.LAST]) + np.count_nonzero(
                state.core[:, h.C_LAST]
            )
            assert streams == np.isin(kinds, (h.HOP, h.LOCAL, h.RELEASE)).sum()
    assert lines.state.reg[h.R_EVENTS_HIGH] <= heap.state.reg[h.R_EVENTS_HIGH]
