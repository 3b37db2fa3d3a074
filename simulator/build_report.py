"""A run's energy, speed and sparsity as one frozen report: counts x cited costs, beside baselines.

build_report does all arithmetic; report_text and report_html only show it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from compiler.operations import layer_kind
from hw_models.chip import Chip, chip_from_text
from hw_models.cost import Range
from hw_models.device import load_device
from hw_models.errors import BadInput
from hw_models.events import MESSAGES
from hw_models.ledger import ledger, static_of
from hw_models.si import share, si, whole
from simulator.baselines import FORMATS, build_baselines, variants
from simulator.density import densities
from simulator.estimates import estimates
from simulator.linears import SYNOPS, flat, linears, tokens_in
from simulator.paper import PaperTable, paper_table, target_steps
from simulator.report_data import Events, Mapped, PhaseReport, Report, headline_phase
from simulator.result import Phase, Run


def build_report(run: Run, baselines: Sequence[str] = ("fp16", "int8"), streams: int = 1) -> Report:
    """Price a run and set it beside baselines.

    streams: independent sequences that share the static power. Raises BadInput for an unknown
    baseline, for streams below 1 or above run.max_streams, for a run without tokens.
    """
    if not 1 <= streams <= run.max_streams:
        raise BadInput(
            f"{streams} streams; this program can run 1 to {run.max_streams}",
            where=run.target,
            fix=f"--streams {max(1, min(streams, run.max_streams))}",
        )
    chip = chip_from_text(json.dumps(run.chip, sort_keys=True), run.target)
    phases = tuple(
        _phase(run, p, chip, baselines, streams) for p in run.phases if p.tokens and p.counters
    )
    if not phases:
        raise BadInput("the run holds no tokens", where=run.model)
    main = headline_phase(phases)
    original = next(p for p in run.phases if p.name == main.name)
    return Report(
        model=run.model,
        target=run.target,
        title=chip.title,
        profile=run.profile,
        coding=run.coding,
        k=run.k,
        program_hash=run.program_hash,
        text=run.text,
        prompt_tokens=sum(p.tokens for p in run.phases if p.name == "prefill"),
        generated_tokens=len(run.logits_ps) if run.unit == "token" else 0,
        streams=streams,
        max_streams=run.max_streams,
        n_chips=run.n_chips,
        n_cores=run.n_cores,
        macs_per_token=run.macs_per_token,
        time_to_first_token_s=run.time_to_first_token_s if run.logits_ps else float("nan"),
        tokens_per_s=run.tokens_per_s,
        sync=run.sync,
        phases=phases,
        paper=_paper(run, main, original),
        density=densities(run),
        mapping=_mapping(run),
        assumptions=_assumptions(run, chip, phases),
        chip=run.chip,
        analog=run.analog,
        workload=run.workload,
        trace=run.trace,
        buffers=run.buffers,
        sampled=run.sampled
        and replace(run.sampled, estimates=estimates(run, run.sampled, chip, streams)),
    )


def _phase(
    run: Run, phase: Phase, chip: Chip, baselines: Sequence[str], streams: int
) -> PhaseReport:
    seconds = (phase.end_ps - phase.start_ps) * 1e-12
    streams = min(streams, phase.max_streams)
    static = static_of(chip, run.n_chips, seconds, streams)
    return PhaseReport(
        name=phase.name,
        tokens=phase.tokens,
        seconds=seconds,
        steps=phase.steps,
        barrier_seconds=phase.steps * chip.timing.barrier_ps * 1e-12,
        macs=sum(d.macs * tokens_in(phase, d) for d in linears(run)),
        streams=streams,
        events=_events(phase),
        ledger=ledger(flat(phase), chip.costs, static=static),
        baselines=build_baselines(baselines, run, phase, chip, streams),
    )


def _events(phase: Phase) -> Events:
    def count(*kinds: str) -> int:
        return sum(n for (_, kind), n in flat(phase).items() if kind in kinds)

    crossings = ("flit_chip_x", "flit_chip_y")
    return Events(
        spike_messages=count("msg_spike"),
        delivered=count("delivered_spike"),
        synops=count(*SYNOPS),
        messages=count(*(f"msg_{name}" for name in MESSAGES)),
        hops=count("flit_x", "flit_y", *crossings),
        chip_hops=count(*crossings),
        conversions=count("adc_convert"),
    )


def _paper(run: Run, phase: PhaseReport, original: Phase) -> PaperTable:
    """The paper's steps, then this run's ledger beside 45 nm at the levels both have."""
    device = load_device("cmos45")
    usual = {
        form: next(b for b in variants(device, form, run, original, phase.streams) if b.usual)
        for form in FORMATS
    }

    def per_mac(levels: Mapping[str, Range | None]) -> dict[str, float | None]:
        return {k: v.nominal * 1e12 / phase.macs if v else None for k, v in levels.items()}

    own = {k: v.nominal * 1e12 / phase.macs for k, v in phase.ledger.levels().items()}
    fp16, int8 = (per_mac(usual[form].levels()) for form in FORMATS)
    return paper_table(run, device, target_steps(run.target, own, fp16, int8))


def _mapping(run: Run) -> tuple[Mapped, ...]:
    groups: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for name, op in run.operations.items():
        key = (layer_kind(name), str(op["kind"]), str(op["where"]), str(op.get("why", "")))
        groups.setdefault(key, []).append(op)
    return tuple(
        Mapped(
            *key,
            layers=len(ops),
            macs=sum(int(op.get("macs", 0)) for op in ops),
            cores=sum(int(op.get("n_cores", 0)) for op in ops),
        )
        for key, ops in groups.items()
    )


def _model_notes(run: Run) -> tuple[str, str]:
    """What runs on the host, and how the model was read."""
    if run.unit == "step":
        return (
            "Spikes come from the host and go back to it; only the bits carried are counted.",
            f"Model profile '{run.profile}', {run.coding} spikes; batch 1.",
        )
    return (
        "Embedding look-up and sampling run on the host; only the bits carried there are counted.",
        f"Model profile '{run.profile}', coding '{run.coding}', k = {run.k:g}; batch 1.",
    )


WORKLOADS = {
    "replay": "spike counts are those of an earlier run, nothing was computed",
    "profile": "spike counts were drawn at random, nothing was computed",
}


def _assumptions(run: Run, chip: Chip, phases: Sequence[PhaseReport]) -> tuple[str, ...]:
    """What a reader must know before quoting a number of this report."""
    source, grade = chip.sources["static_power"]
    shares = ", ".join(f"{share(p.ledger.assumed_share())} in {p.name}" for p in phases)
    shared = ", ".join(f"{p.streams} in {p.name}" for p in phases) + " (streams)"
    found = [
        f"Joules that rest on costs of grade 'assumed': {shares}.",
        f"Static energy: {run.n_chips} x {si(chip.static_power.nominal, 'W')} (chips that hold a "
        f"tile) x wall time, over {shared}. "
        f"Source: {source} ({grade}).",
        *_model_notes(run),
    ]
    if run.sampled:
        s = run.sampled
        found.insert(
            0,
            f"Sampled: {len(s.windows)} of {whole(s.decoded)} decoded tokens were simulated, each "
            "at its own position; all tables but the estimates are of these alone. The interval is "
            f"about the choice of positions, by {s.method}; what costs are off is not in it.",
        )
    if run.workload != "functional":
        found.insert(0, f"Workload {run.workload}: {WORKLOADS[run.workload]} ({run.counts_from}).")
    if run.sync == "barrier":
        source, grade = chip.sources["timing.barrier_ps"]
        found.append(
            f"Barrier sync: every step ends with {si(chip.timing.barrier_ps * 1e-12, 's')}. "
            f"Source: {source} ({grade}). What a barrier takes in energy has no price."
        )
    if run.sync != chip.sync:
        found.append(f"Run with --sync {run.sync}; the target's own is {chip.sync}.")
    included = {e.cost for p in phases for e in p.ledger.included}
    for cost in chip.costs:
        if cost.key in included:
            others = ", ".join(kind for kind in cost.covers if kind not in cost.per)
            found.append(f"The cost '{cost.key}' holds {others} already: it is not counted again.")
    for note in dict.fromkeys(n for p in phases for b in p.baselines for n in b.assumes):
        found.append(f"Baselines: {note}.")
    return tuple(found)
