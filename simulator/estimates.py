"""From windows of a long text to all of it: seconds, joules and spikes, with an interval each."""

from dataclasses import replace

from hw_models.chip import Chip
from hw_models.cost import Range
from hw_models.ledger import ledger, static_of
from simulator.linears import SYNOPS, flat
from simulator.result import Estimate, Run, Sampled, Window
from simulator.strata import estimate

_KINDS = {
    "spike_messages": ("msg_spike",),
    "synops": SYNOPS,
    "hops": ("flit_x", "flit_y", "flit_chip_x", "flit_chip_y"),
}


def estimates(run: Run, sampled: Sampled, chip: Chip, streams: int = 1) -> dict[str, Estimate]:
    """Totals of all decoded tokens by name; `context_*` with the prompt, which was simulated.

    joules are nominal; joules_low and joules_high are those of the lowest and highest unit costs.
    streams: as in build_report; no more than the busiest core or link of a phase has time for.
    """
    price = {p.name: min(streams, p.max_streams) for p in run.phases}
    joules = [_joules(run, w, chip, price["decode"]) for w in sampled.windows]
    values: dict[str, list[float]] = {
        "seconds": [w.ps * 1e-12 for w in sampled.windows],
        "joules": [j.nominal for j in joules],
        "joules_low": [j.low for j in joules],
        "joules_high": [j.high for j in joules],
    }
    for name, kinds in _KINDS.items():
        values[name] = [float(sum(w.counts.get(k, 0) for k in kinds)) for w in sampled.windows]
    positions = [w.position for w in sampled.windows]
    found = {name: estimate(sampled.strata, positions, y) for name, y in values.items()}
    prompt = next(p for p in run.phases if p.name == "prefill")
    seconds = (prompt.end_ps - prompt.start_ps) * 1e-12
    static = static_of(chip, run.n_chips, seconds, price["prefill"])
    spent = ledger(flat(prompt), chip.costs, static=static).total().nominal
    found["context_seconds"] = _more(found["seconds"], seconds)
    found["context_joules"] = _more(found["joules"], spent)
    return found


def _joules(run: Run, window: Window, chip: Chip, streams: int) -> Range:
    counts = {("all", kind): n for kind, n in window.counts.items()}
    static = static_of(chip, run.n_chips, window.ps * 1e-12, streams)
    return ledger(counts, chip.costs, static=static).total()


def _more(found: Estimate, known: float) -> Estimate:
    return replace(found, total=found.total + known, simulated=found.simulated + known)
