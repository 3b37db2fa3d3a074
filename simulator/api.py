"""Simulate a program and keep what it did: the Python face of `sbsim run`."""

import datetime
import json
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.graph import feeds
from compiler.operations import operations
from compiler.program import Program
from hw_models.chip import Sync
from hw_models.errors import BadInput, Usage
from kernels.coding import density
from simulator.analog import analog_error, exact
from simulator.drive import Simulation
from simulator.hot import state as hot
from simulator.phases import UNDER_WAY, Progress, run_steps, run_text
from simulator.reference import compare, numbers_of
from simulator.result import AnalogError, Phase, Run, SiteActivity
from simulator.run_folder import write_run
from simulator.spikes import MAKE, checked
from simulator.trace import Trace, trace_of

RUNS = Path("runs")


def simulate(
    program: Program,
    *,
    prompt: bytes | str | Sequence[int] | None = None,
    tokens: int | None = None,
    spikes: NDArray[np.generic] | None = None,
    trace: bool = False,
    check: bool = False,
    slots: int | None = None,
    sync: Sync | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Prefill the prompt, decode greedily, and write a run folder (`out`, or runs/...).

    prompt: text, or token ids. spikes: 0 or 1 of shape [steps, channels], for a network of spiking
    neurons, and only for one. sync: None for the target's. check: compare every count, sum and
    logit with the canonical executor (GateFailed). A crossbar whose sums are not exact by
    definition tells how far they are off in any case.
    Raises BadInput for a program without weights, for a prompt that is empty or not in the
    vocabulary, and for a number of tokens below 1, Usage for spikes where a prompt is wanted, or
    the other way round.
    """
    began = time.perf_counter()
    _check_input(program, spikes, prompt, tokens)
    report = progress or (lambda step, done, total: None)
    rows: list[NDArray[np.int64]] = []
    more = {
        "slots": slots,
        "sync": sync,
        "trace": rows.append if trace else None,
        "keep_sums": check or not exact(program),
    }
    if spikes is not None:
        fed: Any = checked(spikes, program.graph)
        simulation = Simulation(program, in_flight=UNDER_WAY, **more)
        run = _result(program, simulation, (), [], [run_steps(simulation, fed, report)])
    else:
        simulation, run, fed = _text(program, prompt, tokens, more, report)
    if check:
        compare(program, simulation.found, fed, report)
    if not exact(program):
        run = replace(run, analog=_analog_error(simulation, fed, report))
    events = trace_of(program, np.concatenate(rows)) if rows else None
    _write(run, simulation, out, events, time.perf_counter() - began)
    return run


def _check_input(
    program: Program,
    spikes: NDArray[np.generic] | None,
    prompt: bytes | str | Sequence[int] | None,
    tokens: int | None,
) -> None:
    """A program runs with its weights. A network of spiking neurons takes spikes and nothing else;
    a language model takes text."""
    name = program.graph.model
    if not program.has_weights:
        raise BadInput(
            "the program has no weights: it was compiled from a config alone",
            where=name,
            fix="compile a checkpoint",
        )
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
    prompt: bytes | str | Sequence[int] | None,
    tokens: int | None,
    more: dict[str, Any],
    report: Progress,
) -> tuple[Simulation, Run, tuple[int, ...]]:
    """Run a language model: the simulation, its result, and the tokens that it was fed."""
    chosen = _prompt(program, prompt)
    wanted = program.prompt.tokens if tokens is None else tokens
    if wanted < 1:
        raise BadInput(f"{wanted} tokens to decode", where="--tokens", fix="at least 1")
    simulation = Simulation(program, first_logits=len(chosen) - 1, in_flight=len(chosen), **more)
    generated, phases = run_text(simulation, chosen, wanted, report)
    run = _result(program, simulation, chosen, generated, phases)
    return simulation, run, (*chosen, *generated[:-1])


def _prompt(program: Program, given: bytes | str | Sequence[int] | None) -> tuple[int, ...]:
    """Token ids to start from; what cannot be run, or could not be told as text, is refused."""
    text = program.text
    if given is None and not program.prompt.ids:
        raise BadInput(
            "the program has no prompt of its own",
            where="--prompt",
            fix="--token-ids 1,2,3" if text.kind == "ids" else "--prompt TEXT",
        )
    return text.ids(program.prompt.ids if given is None else given)


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
        said = {"text": program.text.decode((*prompt, *generated))}
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
        sync=simulation.sync,
        **said,
    )


def _outputs(program: Program, simulation: Simulation) -> dict[str, Any]:
    """Spikes per neuron of the last population, or means of what does not spike."""
    found = simulation.found.logits
    rows = np.stack([found[step] for step in sorted(found)]).astype(np.float64)
    spikes = bool(feeds(program.graph.stages[-1]))
    values = rows.sum(0) if spikes else rows.mean(0)
    return {
        "text": ("spikes: " if spikes else "means: ") + " ".join(f"{x:.6g}" for x in values),
        "unit": program.graph.unit,
        "outputs": tuple(values.tolist()),
        "outputs_are": "spikes" if spikes else "values",
    }


def _analog_error(simulation: Simulation, tokens: Sequence[Any], report: Progress) -> AnalogError:
    """What converters and cells changed in this run."""
    program, progress = simulation.program, simulation.state.progress
    converted = tuple(int(progress[:, c].sum()) for c in (hot.CONVERTED, hot.CLIPPED))
    numbers = numbers_of(program)
    return analog_error(program, numbers, simulation.found, tokens, converted, report)


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
