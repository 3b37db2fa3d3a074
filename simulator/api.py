"""Simulate a program and keep what it did: the Python face of `sbsim run`."""

import datetime
import json
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.expected import in_lockstep
from compiler.graph import feeds
from compiler.operations import operations
from compiler.program import Program
from hw_models.chip import Sync
from hw_models.errors import BadInput, Usage
from kernels.coding import density
from simulator.analog import analog_error, exact
from simulator.checkpoint import Job, Keeper, alone, begin, check_program, drop, made_with, placed
from simulator.checkpoint import resume as resumed
from simulator.drive import Trajectory
from simulator.estimates import estimates
from simulator.phases import Progress
from simulator.ran import Ran, simulated, stepped, windows
from simulator.reference import compare, numbers_of
from simulator.result import AnalogError, Run, SiteActivity
from simulator.run_folder import write_run
from simulator.sampled import Sampling, check_context, computed, decoded, pending_at, plan
from simulator.spikes import MAKE, checked
from simulator.tracing import Tracer, Tracing
from simulator.workload import Workload, again, lengthened

RUNS = Path("runs")


def simulate(
    program: Program,
    *,
    prompt: bytes | str | Sequence[int] | None = None,
    tokens: int | None = None,
    context: int | None = None,
    sample: Sampling | None = None,
    spikes: NDArray[np.generic] | None = None,
    workload: Workload | None = None,
    trace: bool | Tracing = False,
    check: bool = False,
    slots: int | None = None,
    sync: Sync | None = None,
    out: Path | None = None,
    checkpoint_every: float | None = None,
    source: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Prefill the prompt, decode greedily, and write a run folder (`out`, or runs/...).

    prompt: text, or token ids. spikes: 0 or 1 of shape [steps, channels], for a network of spiking
    neurons, and only for one. workload: counts in place of a prompt or spikes (simulator.workload);
    no weights are needed and nothing is computed. sync: None for the target's. check: compare every
    count, sum and logit with the canonical executor (GateFailed). A crossbar whose sums are not
    exact by definition tells how far they are off in any case. checkpoint_every: seconds; a run
    that was killed continues with `resume`, and `source` tells it where the program lies.
    context: in place of tokens: how long the text becomes, its prompt included. sample: simulate
    some of the decoded tokens only (simulator.sampled).
    Raises BadInput for a program without weights and no workload, for a prompt that is empty or not
    in the vocabulary, and for a number of tokens below 1, Usage for spikes where a prompt is
    wanted, or the other way round; DoesNotFit for a context that attention was not compiled for.
    """
    began = time.perf_counter()
    if slots is not None and in_lockstep(program, sync):
        what = "in lock step a core takes one step at a time: there are no slots to choose"
        raise Usage(what, where="--slots", fix="leave it out, or --sync dataflow")
    _check_input(program, spikes, prompt, tokens, workload, check)
    if context is not None or sample is not None:
        kept = check or bool(trace) or checkpoint_every is not None
        _check_length(program, context, sample, workload, tokens, kept)
    if context is not None and workload is not None:
        workload = lengthened(workload, decoded(context, workload.prompt))
    elif context is not None:
        tokens = decoded(context, len(_prompt(program, prompt)))
    if workload is not None:
        prompt, tokens, spikes = _stand_ins(program, workload)
    job = Job(
        program="" if source is None else str(source.resolve()),
        program_hash="" if checkpoint_every is None else program.hash,
        made_with=made_with(),
        every_s=checkpoint_every or 0.0,
        prompt=() if spikes is not None else _prompt(program, prompt),
        tokens=0 if spikes is not None else _wanted(program, tokens),
        spikes=None if spikes is None else checked(spikes, program.graph),
        workload=workload and workload.asked,
        slots=slots,
        sync=sync,
        tracing=(trace if isinstance(trace, Tracing) else Tracing()) if trace else None,
        check=check,
    )
    folder = out or next_folder(program.graph.model, program.chip.name)
    if sample is not None:
        return _run_sampled(program, job, folder, progress, began, workload, sample)
    if checkpoint_every is None:
        return _run(program, job, folder, progress, began, workload)
    keeper = begin(folder, job)
    with alone(keeper):
        return _run(program, job, keeper.folder, progress, began, workload, keeper)


def resume(
    folder: Path,
    program: Program | None = None,
    *,
    checkpoint_every: float | None = None,
    progress: Progress | None = None,
) -> Run:
    """Continue a run that was begun with checkpoints, from its last one.

    program: where it no longer lies where it lay; checkpoint_every: None for as it was begun. The
    folder's files become those of a run that nothing interrupted, but for provenance.json.
    Raises BadInput for a folder without such a run, for a broken checkpoint, and for another
    program.
    """
    began = time.perf_counter()
    keeper = resumed(folder)
    job = keeper.job
    with alone(keeper):
        if checkpoint_every is not None:
            keeper.job = job = replace(job, every_s=checkpoint_every)
        if program is None:
            if not job.program:
                raise BadInput("nobody said where its program lies", where=str(folder))
            program = Program.read(Path(job.program))
        check_program(job, program, job.program)
        with placed(keeper.where / "job"):
            workload = None if job.workload is None else again(program, job.workload)
        return _run(program, job, keeper.folder, progress, began, workload, keeper)


def _run(
    program: Program,
    job: Job,
    folder: Path,
    progress: Progress | None,
    began: float,
    workload: Workload | None,
    keeper: Keeper | None = None,
) -> Run:
    """From the beginning, or from the keeper's last checkpoint, to a finished folder."""
    report = progress or (lambda step, done, total: None)
    tracer = job.tracing and Tracer(program, job.tracing)
    ran = (stepped if in_lockstep(program, job.sync) else simulated)(
        program, job, tracer, report, keeper, workload
    )
    fed: Any = job.spikes if job.spikes is not None else (*job.prompt, *ran.generated[:-1])
    said = ((), []) if workload else (job.prompt, ran.generated)
    run = _result(program, ran, *said, workload)
    if job.check:
        compare(program, ran.found, fed, report)
    if workload is None and not exact(program):
        run = replace(run, analog=_analog_error(program, ran, fed, report))
    events, traced = tracer.finished() if tracer else (None, None)
    run = replace(run, trace=traced)
    wall_s = keeper.seconds if keeper else time.perf_counter() - began
    activity, under_way = ran.found.activity, keeper is not None
    write_run(folder, run, activity, _provenance(wall_s), events, under_way=under_way)
    if keeper:
        drop(keeper)
    return run


def _run_sampled(
    program: Program,
    job: Job,
    folder: Path,
    progress: Progress | None,
    began: float,
    workload: Workload | None,
    sample: Sampling,
) -> Run:
    """The prompt, then tokens at some positions of the text; no activity: it would have gaps."""
    report = progress or (lambda step, done, total: None)
    prompt = job.prompt
    where = plan(program, len(prompt) + job.tokens - 1, len(prompt), sample)
    said: dict[str, Any] = {}
    pending: dict[int, dict[object, object]] = {}
    if workload is None:
        workload, generated, pending = computed(program, prompt, where, report)
        text = program.text.decode((*prompt, *generated))
        said = {"prompt": prompt, "generated": generated, "text": text}
    elif workload.name == "replay":
        pending = pending_at(program, workload, where)
    ran, found = windows(program, job, where, pending, report, workload)
    run = replace(_result(program, ran, (), [], workload), **said)
    run = replace(run, sampled=replace(found, estimates=estimates(run, found, program.chip)))
    write_run(folder, run, None, _provenance(time.perf_counter() - began))
    return run


def _check_length(
    program: Program,
    context: int | None,
    sample: Sampling | None,
    workload: Workload | None,
    tokens: int | None,
    kept: bool,
) -> None:
    """A text has a length or a number of tokens; of a sample nothing is kept but what it costs."""
    given = "--context" if context is not None else "--sample"
    if program.graph.takes_spikes:
        raise Usage(f"{program.graph.model} takes spikes, not text", where=given)
    if context is not None and tokens is not None:
        raise Usage("two lengths", where="--context and --tokens", fix="give one of them")
    if context is not None and workload is not None and workload.name == "replay":
        raise Usage("an activity says how many tokens there are", where="--context")
    if sample is not None and kept:
        what = "windows of a text are neither traced, checked nor kept in checkpoints"
        where = "--sample and --trace, --check, --checkpoint-every"
        raise Usage(what, where=where, fix="leave them out")
    if context is not None:
        check_context(program, context)


def _check_input(
    program: Program,
    spikes: NDArray[np.generic] | None,
    prompt: bytes | str | Sequence[int] | None,
    tokens: int | None,
    workload: Workload | None,
    check: bool,
) -> None:
    """A program runs with its weights, or with counts. A network of spiking neurons takes spikes
    and nothing else; a language model takes text."""
    name = program.graph.model
    if workload is not None:
        if check or not (spikes is prompt is tokens is None):
            what = f"the workload {workload.name} has counts, no text, spikes or values"
            where = "--prompt, --spikes, --check"
            raise Usage(what, where=where, fix="leave them out")
        return
    if not program.has_weights:
        raise BadInput(
            "the program has no weights: it was compiled from a config alone",
            where=name,
            fix="compile a checkpoint, or run it with --workload profile",
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


def _wanted(program: Program, tokens: int | None) -> int:
    wanted = program.prompt.tokens if tokens is None else tokens
    if wanted < 1:
        raise BadInput(f"{wanted} tokens to decode", where="--tokens", fix="at least 1")
    return wanted


def _stand_ins(
    program: Program, workload: Workload
) -> tuple[tuple[int, ...] | None, int | None, NDArray[np.uint8] | None]:
    """Prompt, tokens and spikes as many as the workload's, of no matter otherwise."""
    if program.graph.takes_spikes:
        return None, None, np.zeros((workload.tokens, program.graph.sites[0].n), np.uint8)
    return (0,) * workload.prompt, workload.tokens, None


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
    ran: Ran,
    prompt: tuple[int, ...],
    generated: list[int],
    workload: Workload | None,
) -> Run:
    if workload is not None:
        said: dict[str, Any] = {"workload": workload.name, "counts_from": workload.origin}
        said |= {"text": "", "unit": program.graph.unit}
    elif program.graph.takes_spikes:
        said = _outputs(program, ran.found)
    else:
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
        logits_ps=tuple(ran.found.logits_ps[t] for t in ran.sampled),
        phases=tuple(ran.phases),
        sites=tuple(_site(program, ran.found, s.name) for s in program.graph.sites),
        macs_per_token=program.graph.macs(),
        operations=operations(program),
        n_chips=program.n_chips,
        n_cores=program.n_cores,
        max_streams=ran.phases[-1].max_streams,
        events=ran.events,
        sync=ran.sync,
        buffers=ran.buffers,
        **said,
    )


def _outputs(program: Program, found: Trajectory) -> dict[str, Any]:
    """Spikes per neuron of the last population, or means of what does not spike."""
    rows = np.stack([found.logits[step] for step in sorted(found.logits)]).astype(np.float64)
    spikes = bool(feeds(program.graph.stages[-1]))
    values = rows.sum(0) if spikes else rows.mean(0)
    return {
        "text": ("spikes: " if spikes else "means: ") + " ".join(f"{x:.6g}" for x in values),
        "unit": program.graph.unit,
        "outputs": tuple(values.tolist()),
        "outputs_are": "spikes" if spikes else "values",
    }


def _analog_error(
    program: Program, ran: Ran, tokens: Sequence[Any], report: Progress
) -> AnalogError:
    """What converters and cells changed in this run."""
    numbers = numbers_of(program)
    return analog_error(program, numbers, ran.found, tokens, ran.converted, report)


def _site(program: Program, found: Trajectory, name: str) -> SiteActivity:
    """Spiking of one site over all its tokens."""
    counts = found.activity.counts.get(name, [])  # none: an expert never chosen
    n = program.graph.site(name).n
    if program.codings[name][0] == "binary" and (all_of := _of_neurons(name, counts)):
        return all_of
    rows = [density(row, program.codings[name][0]) for row in counts]
    return SiteActivity(
        site=name,
        n=n,
        tokens=len(counts),
        spikes=sum(round(d.spikes_per_channel * n) for d in rows),
        silent=sum(round(d.silent_share * n) for d in rows),
        steps=sum(d.steps for d in rows),
        max_count=max((int(np.abs(row).max()) for row in counts), default=0),
    )


def _of_neurons(name: str, rows: list[NDArray[np.int32]]) -> SiteActivity | None:
    """The same of counts that are 0 or 1, all steps at once; None where some are not."""
    counts = np.stack(rows)
    tokens, n = counts.shape
    if counts.min() < 0 or counts.max() > 1:
        return None
    spikes, steps = int(counts.sum(dtype=np.int64)), int(counts.any(1).sum())
    return SiteActivity(name, n, tokens, spikes, n * tokens - spikes, steps, int(spikes > 0))


def next_folder(model: str, target: str) -> Path:
    """runs/<model>-<target>-<n> with the lowest n above those there."""
    names = [p.name.rpartition("-") for p in RUNS.glob(f"{model}-{target}-*")]
    taken = [int(n) for stem, _, n in names if stem == f"{model}-{target}" and n.isdigit()]
    return RUNS / f"{model}-{target}-{max(taken, default=0) + 1}"


def _provenance(wall_s: float) -> dict[str, Any]:
    """Everything that differs between two equal runs."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "wall_s": math.ceil(wall_s * 1000) / 1000,
        "versions": {name: v for name, v in made_with().items() if name != "engine"},
    }
