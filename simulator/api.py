"""Simulate a program and keep what it did: the Python face of `sbsim run`."""

import datetime
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import Snapshot, counters, tree_facts
from compiler.operations import operations
from compiler.program import TILE, Program
from hw_models.chip import Sync
from hw_models.errors import BadInput
from hw_models.events import LINKS
from kernels.coding import density
from simulator.analog import analog_error, exact
from simulator.counters import check_conservation, snapshot
from simulator.drive import Simulation
from simulator.hot import state as hot
from simulator.reference import compare, numbers_of
from simulator.result import AnalogError, Phase, Run, SiteActivity
from simulator.run_folder import write_run
from simulator.trace import Trace, trace_of

Progress = Callable[[str, int, int], None]
RUNS = Path("runs")


def simulate(
    program: Program,
    *,
    prompt: bytes | str | Sequence[int] | None = None,
    tokens: int | None = None,
    trace: bool = False,
    check: bool = False,
    slots: int | None = None,
    sync: Sync | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Prefill the prompt, decode greedily, and write a run folder (`out`, or runs/...).

    prompt: text, or token ids. sync: None for the target's. check: compare every count, sum and
    logit with the canonical executor (GateFailed). A crossbar whose sums are not exact by
    definition tells how far they are off in any case.
    Raises BadInput for a program without weights, for a prompt that is empty or not in the
    vocabulary, and for a number of tokens below 1.
    """
    began = time.perf_counter()
    chosen = _prompt(program, prompt)
    wanted = program.prompt.tokens if tokens is None else tokens
    if wanted < 1:
        raise BadInput(f"{wanted} tokens to decode", where="--tokens", fix="at least 1")
    rows: list[NDArray[np.int64]] = []
    simulation = Simulation(
        program,
        slots=slots,
        sync=sync,
        first_logits=len(chosen) - 1,
        trace=rows.append if trace else None,
        keep_sums=check or not exact(program),
        in_flight=len(chosen),
    )
    report = progress or (lambda step, done, total: None)
    generated, phases = _sequence(simulation, chosen, wanted, report)
    seen = (*chosen, *generated[:-1])
    if check:
        compare(program, simulation.found, seen, report)
    run = _result(program, simulation, chosen, generated, phases)
    if not exact(program):
        run = replace(run, analog=_analog_error(simulation, seen, report))
    events = trace_of(program, np.concatenate(rows)) if rows else None
    _write(run, simulation, out, events, time.perf_counter() - began)
    return run


def _prompt(program: Program, given: bytes | str | Sequence[int] | None) -> tuple[int, ...]:
    """Token ids to start from; what cannot be run, or could not be told as text, is refused."""
    if not program.has_weights:
        raise BadInput(
            "the program has no weights: it was compiled from a config alone",
            where=program.graph.model,
            fix="compile a checkpoint",
        )
    text = program.text
    if given is None and not program.prompt.ids:
        raise BadInput(
            "the program has no prompt of its own",
            where="--prompt",
            fix="--token-ids 1,2,3" if text.kind == "ids" else "--prompt TEXT",
        )
    return text.ids(program.prompt.ids if given is None else given)


def _sequence(
    simulation: Simulation, prompt: tuple[int, ...], wanted: int, report: Progress
) -> tuple[list[int], list[Phase]]:
    """Prefill, then decode token by token; counters are cut where a phase ends."""
    program = simulation.program
    facts = tree_facts(program)
    before = snapshot(simulation.state)
    for token in prompt:
        simulation.start(token, 0)
    logits = np.zeros(0, np.float32)
    end = 0
    for token, ps, found in simulation.advance():
        if token >= 0:
            logits, end = found, ps
        report("prefill", simulation.finished, len(prompt))
    after, busy = snapshot(simulation.state), _busy_ps(simulation)
    seen = after.since(before)
    counts, ran = counters(program, facts, seen), _ran(program, seen, len(prompt))
    room = _max_streams(program, end, busy)
    steps = simulation.steps
    phases = [Phase("prefill", len(prompt), 0, end, counts, room, steps, ran)]
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
        seen = snapshot(simulation.state).since(before)
        counts, ran = counters(program, facts, seen), _ran(program, seen, wanted - 1)
        room = _max_streams(program, end - start, _busy_ps(simulation) - busy)
        steps = simulation.steps - steps
        phases.append(Phase("decode", wanted - 1, start, end, counts, room, steps, ran))
    simulation.flush_trace()
    check_conservation(program, facts, simulation.state)
    return generated, phases


def _ran(program: Program, seen: Snapshot, tokens: int) -> dict[str, int]:
    """How many tokens a linear ran for, where it was not all of them: the head, experts."""
    t, names = program.tables, [linear.name for linear in program.graph.linears]
    tile = np.flatnonzero(t.task_kind == TILE)
    fired = np.zeros(len(names), np.int64)
    fired[t.task_linear[tile]] = seen.task_fired[tile]  # all of a linear's tiles as often
    return {name: n for name, n in zip(names, fired.tolist(), strict=True) if n != tokens}


def _result(
    program: Program,
    simulation: Simulation,
    prompt: tuple[int, ...],
    generated: list[int],
    phases: list[Phase],
) -> Run:
    found, reg = simulation.found, simulation.state.reg
    sampled = range(len(prompt) - 1, len(prompt) + len(generated) - 1)
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
        text=program.text.decode((*prompt, *generated)),
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
        sync=simulation.sync,
    )


def _analog_error(simulation: Simulation, tokens: Sequence[int], report: Progress) -> AnalogError:
    """What converters and cells changed in this run."""
    program, progress = simulation.program, simulation.state.progress
    converted = tuple(int(progress[:, c].sum()) for c in (hot.CONVERTED, hot.CLIPPED))
    numbers = numbers_of(program)
    return analog_error(program, numbers, simulation.found, tokens, converted, report)


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
    counts = simulation.found.activity.counts.get(name, [])  # none: an expert never chosen
    rows = [density(row, program.codings[name][0]) for row in counts]
    n = program.graph.site(name).n
    return SiteActivity(
        site=name,
        n=n,
        tokens=len(counts),
        spikes=sum(round(d.spikes_per_channel * n) for d in rows),
        silent=sum(round(d.silent_share * n) for d in rows),
        steps=sum(d.steps for d in rows),
        max_count=max((int(np.abs(row).max()) for row in counts), default=0),
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
