"""Simulate a program and keep what it did: the Python face of `sbsim run`."""

import datetime
import json
import math
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import site_of
from compiler.operations import operations
from compiler.program import Program
from hw_models.errors import BadInput, Usage
from hw_models.events import LINKS
from kernels.coding import density
from simulator.counters import Snapshot, check_conservation, counters, tree_facts
from simulator.drive import Simulation
from simulator.hot import state as hot
from simulator.reference import compare
from simulator.result import Phase, Run, SiteActivity
from simulator.run_folder import write_run
from simulator.spikes import MAKE, checked
from simulator.trace import Trace, trace_of

Progress = Callable[[str, int, int], None]
RUNS = Path("runs")
UNDER_WAY = 64
"""Time steps in the chip at once: enough to fill the pipeline, few enough to keep in memory."""


def simulate(
    program: Program,
    *,
    prompt: bytes | None = None,
    tokens: int | None = None,
    spikes: NDArray[np.generic] | None = None,
    trace: bool = False,
    check: bool = False,
    slots: int | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Prefill the prompt, decode greedily, and write a run folder (`out`, or runs/...).

    spikes: 0 or 1 of shape [steps, channels], for a network of spiking neurons, and only for one.
    check: compare every count, sum and logit with the canonical executor (GateFailed).
    Raises BadInput for an empty prompt or a number of tokens below 1, Usage for spikes where a
    prompt is wanted, or the other way round.
    """
    began = time.perf_counter()
    _check_input(program, spikes, prompt, tokens)
    report = progress or (lambda step, done, total: None)
    rows: list[NDArray[np.int64]] = []
    more = {"slots": slots, "trace": rows.append if trace else None, "keep_sums": check}
    if spikes is not None:
        fed: Any = checked(spikes, program.graph)
        simulation = Simulation(program, in_flight=UNDER_WAY, **more)
        run = _result(program, simulation, (), [], [_steps(simulation, fed, report)])
    else:
        simulation, run, fed = _text(program, prompt, tokens, more, report)
    if check:
        compare(program, simulation.found, fed, report)
    events = trace_of(program, np.concatenate(rows)) if rows else None
    _write(run, simulation, out, events, time.perf_counter() - began)
    return run


def _check_input(
    program: Program,
    spikes: NDArray[np.generic] | None,
    prompt: bytes | None,
    tokens: int | None,
) -> None:
    """A network of spiking neurons takes spikes and nothing else; a language model takes text."""
    name = program.graph.model
    if not program.graph.takes_spikes:
        if spikes is not None:
            raise Usage(f"{name} takes text, not spikes", where="--spikes", fix="--prompt TEXT")
    elif prompt is not None or tokens is not None:
        raise Usage(
            f"{name} takes spikes, not text", where="--prompt, --tokens", fix="--spikes FILE.npy"
        )
    elif spikes is None:
        raise Usage(f"{name} takes spikes", where="--spikes", fix=f"--spikes FILE.npy: {MAKE}")


def _text(
    program: Program,
    prompt: bytes | None,
    tokens: int | None,
    more: dict[str, Any],
    report: Progress,
) -> tuple[Simulation, Run, tuple[int, ...]]:
    """Run a language model: the simulation, its result, and the tokens that it was fed."""
    chosen = tuple(program.prompt.text if prompt is None else prompt)
    wanted = program.prompt.tokens if tokens is None else tokens
    if not chosen:
        raise BadInput("the prompt is empty", where="--prompt", fix="at least one character")
    if wanted < 1:
        raise BadInput(f"{wanted} tokens to decode", where="--tokens", fix="at least 1")
    simulation = Simulation(program, first_logits=len(chosen) - 1, in_flight=len(chosen), **more)
    generated, phases = _sequence(simulation, chosen, wanted, report)
    run = _result(program, simulation, chosen, generated, phases)
    return simulation, run, (*chosen, *generated[:-1])


def _steps(simulation: Simulation, spikes: NDArray[np.uint8], report: Progress) -> Phase:
    """All steps, as fast as the chip takes them: at most UNDER_WAY between host and readout."""
    program = simulation.program
    facts = tree_facts(program)
    before, end = Snapshot.of(simulation.state), 0
    for row in spikes[:UNDER_WAY]:
        simulation.start(row, 0)
    for step, ps, _ in simulation.advance():
        if step >= 0:
            end = ps
            report("steps", step + 1, len(spikes))
            if simulation.started < len(spikes):
                simulation.start(spikes[simulation.started], ps)
    counts = counters(program, facts, Snapshot.of(simulation.state).since(before))
    room = _max_streams(program, end, _busy_ps(simulation))
    simulation.flush_trace()
    check_conservation(program, facts, simulation.state)
    return Phase("steps", len(spikes), 0, end, counts, room)


def _sequence(
    simulation: Simulation, prompt: tuple[int, ...], wanted: int, report: Progress
) -> tuple[list[int], list[Phase]]:
    """Prefill, then decode token by token; counters are cut where a phase ends."""
    program = simulation.program
    facts = tree_facts(program)
    before = Snapshot.of(simulation.state)
    for token in prompt:
        simulation.start(token, 0)
    logits = np.zeros(0, np.float32)
    end = 0
    for token, ps, found in simulation.advance():
        if token >= 0:
            logits, end = found, ps
        report("prefill", int(simulation.state.progress[:, hot.NEXT].min()), len(prompt))
    after, busy = Snapshot.of(simulation.state), _busy_ps(simulation)
    counts = counters(program, facts, after.since(before))
    room = _max_streams(program, end, busy)
    phases = [Phase("prefill", len(prompt), 0, end, counts, room)]
    generated = [int(logits.argmax())]
    start, before = end, after
    while len(generated) < wanted:
        simulation.start(generated[-1], end)
        for token, ps, found in simulation.advance():
            if token >= 0:
                logits, end = found, ps
        generated.append(int(logits.argmax()))
        report("decode", len(generated), wanted)
    if wanted > 1:
        seen = Snapshot.of(simulation.state).since(before)
        counts = counters(program, facts, seen)
        room = _max_streams(program, end - start, _busy_ps(simulation) - busy)
        phases.append(Phase("decode", wanted - 1, start, end, counts, room))
    simulation.flush_trace()
    check_conservation(program, facts, simulation.state)
    return generated, phases


def _result(
    program: Program,
    simulation: Simulation,
    prompt: tuple[int, ...],
    generated: list[int],
    phases: list[Phase],
) -> Run:
    found, reg = simulation.found, simulation.state.reg
    if program.graph.takes_spikes:
        sampled, said = range(phases[0].tokens), _outputs(program, simulation)
    else:
        sampled = range(len(prompt) - 1, len(prompt) + len(generated) - 1)
        text = bytes(t & 255 for t in (*prompt, *generated)).decode("utf-8", "replace")
        said = {"text": text}
    return Run(
        model=program.graph.model,
        target=program.chip.name,
        profile=program.graph.profile,
        coding=program.coding,
        k=program.k,
        program_hash=program.hash,
        chip=json.loads(program.chip_text),
        prompt=prompt,
        generated=tuple(generated),
        logits_ps=tuple(found.logits_ps[t] for t in sampled),
        phases=tuple(phases),
        sites=tuple(_site(program, simulation, s.name) for s in program.graph.sites),
        macs_per_token=program.graph.macs(),
        operations=operations(program),
        n_chips=program.n_chips,
        n_cores=program.n_cores,
        max_streams=phases[-1].max_streams,
        events={
            "events": int(reg[hot.R_EVENTS]),
            "pending_events_high_water": int(reg[hot.R_HEAP_HIGH]),
            "busiest_core_ps": int(simulation.state.core[:, hot.BUSY].max()),
        },
        **said,
    )


def _outputs(program: Program, simulation: Simulation) -> dict[str, Any]:
    """Spikes per neuron of the last population, or means of what does not spike."""
    found = simulation.found.logits
    rows = np.stack([found[step] for step in sorted(found)]).astype(np.float64)
    spikes = site_of(program.graph.stages[-1]) is not None
    values = rows.sum(0) if spikes else rows.mean(0)
    return {
        "text": ("spikes: " if spikes else "means: ") + " ".join(f"{x:.6g}" for x in values),
        "unit": program.graph.unit,
        "outputs": tuple(values.tolist()),
        "outputs_are": "spikes" if spikes else "values",
    }


def _busy_ps(simulation: Simulation) -> NDArray[np.int64]:
    """How long every core and every used link has been busy so far."""
    program, state = simulation.program, simulation.state
    used = program.tables.link_kind >= 0
    flit_ps = np.array([program.chip.links[kind].flit_ps for kind in LINKS], np.int64)
    links = state.link[used, hot.FLITS] * flit_ps[program.tables.link_kind[used]]
    return np.concatenate([state.core[: program.host_core, hot.BUSY], links])


def _max_streams(program: Program, phase_ps: int, busy_ps: NDArray[np.int64]) -> int:
    """Sequences the state memory holds, and the phase's busiest core and link have time for."""
    return max(1, min(program.max_streams, phase_ps // max(1, int(busy_ps.max()))))


def _site(program: Program, simulation: Simulation, name: str) -> SiteActivity:
    """Spiking of one site over all its tokens."""
    counts = simulation.found.activity.stacked(name)
    rows = [density(row, program.codings[name][0]) for row in counts]
    n = counts.shape[1]
    return SiteActivity(
        site=name,
        n=n,
        tokens=counts.shape[0],
        spikes=sum(round(d.spikes_per_channel * n) for d in rows),
        silent=sum(round(d.silent_share * n) for d in rows),
        steps=sum(d.steps for d in rows),
        max_count=int(np.abs(counts).max()),
    )


def _write(
    run: Run, simulation: Simulation, out: Path | None, trace: Trace | None, wall_s: float
) -> None:
    write_run(
        out or next_folder(run.model, run.target),
        run,
        simulation.found.activity,
        _provenance(wall_s),
        trace,
    )


def next_folder(model: str, target: str) -> Path:
    """runs/<model>-<target>-<n> with the lowest n above those there."""
    names = [p.name.rpartition("-") for p in RUNS.glob(f"{model}-{target}-*")]
    taken = [int(n) for stem, _, n in names if stem == f"{model}-{target}" and n.isdigit()]
    return RUNS / f"{model}-{target}-{max(taken, default=0) + 1}"


def _provenance(wall_s: float) -> dict[str, Any]:
    """Everything that differs between two equal runs."""
    versions = {}
    for name in ("spikeloom", "numpy", "numba", "torch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "wall_s": math.ceil(wall_s * 1000) / 1000,
        "versions": versions,
    }
