"""The same model as dense INT8 on the same chip, estimated from a run's counters.

Every channel sends one graded 8-bit message along the trees its spikes took, so synops
become MACs (`synop_mac`) and spike traffic scales by channels / spikes, site by site; a
crossbar reads all its arrays in every step that seven bits and a sign take.
Partial sums, values, markers and vector work stay. Nothing is simulated again.
"""

from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import Final

from hw_models.chip import Array, Chip
from hw_models.errors import Bug
from hw_models.ledger import Ledger, ledger, static_of
from simulator.linears import SYNOPS, Driven, linears, tokens_in
from simulator.result import Phase, Run

PAYLOAD_BITS: Final = 8
_FLITS: Final = {
    "flit_local": "local",
    "flit_x": "x",
    "flit_y": "y",
    "flit_chip_x": "chip_x",
    "flit_chip_y": "chip_y",
}
_SCALED: Final = ("msg_spike", "delivered_spike", "axon_lookup")


def dense_on_chip(
    run: Run, phase: Phase, chip: Chip, streams: int
) -> tuple[Ledger, tuple[str, ...]]:
    """Ledger of the dense run, priced by the chip's own costs, and what it takes for granted."""
    factor = _messages_per_spike(run)
    counts: Counter[tuple[str, str]] = Counter()
    for operation, kinds in phase.counters.items():
        scale = factor.get(operation)
        for kind, n in kinds.items():
            if scale is None:
                counts[operation, kind] += n
            elif kind in SYNOPS:
                counts[operation, "synop_mac"] += round(n * scale)
            elif kind in _SCALED:
                counts[operation, kind] += round(n * scale)
            elif kind in _FLITS:
                counts[operation, kind] += round(n * _flit_factor(chip, kind, kinds, scale))
            elif kind != "weight_fetch":
                counts[operation, kind] += n
        if scale is not None and "weight_fetch" in kinds:
            # one row per channel, whether or not the core keeps rows
            counts[operation, "weight_fetch"] = counts[operation, "synop_mac"]
    if chip.array is not None:
        for d in linears(run):
            if d.operation in factor:
                dict.update(counts, _reads(chip.array, d, tokens_in(phase, d)))
    seconds = (phase.end_ps - phase.start_ps) * 1e-12
    static = static_of(chip, run.n_chips, seconds, streams)
    return ledger(counts, chip.costs, static=static), (
        "estimated from the counters of this run, not simulated",
        f"one {PAYLOAD_BITS}-bit message per channel, along the trees that the spikes took",
        *(("arrays are read for 7 bits of either sign, half of them set",) if chip.array else ()),
        "spikes' share of the flits by message sizes; same wall time, so the same static energy",
        "dense layers (lm_head) stay as they are",
    )


def _reads(array: Array, driven: Driven, tokens: int) -> dict[tuple[str, str], int]:
    """What a linear's arrays do for so many tokens of 8-bit inputs, none of them zero: seven bits
    for the positive ones, seven for the negative ones, each bit set in half of them."""
    n_pre, n_post = driven.site.n, driven.macs // driven.site.n
    side_by_side = ceil(n_post / array.neurons)
    digits = ceil((PAYLOAD_BITS - 1) / array.dac_bits)
    reads = 2 * digits * ceil(n_pre / array.rows_at_once) * tokens
    columns = n_post * array.columns_per_weight + (0 if array.pairs else side_by_side)
    driving = 1 - 0.5**array.dac_bits  # digits that are not zero
    found = {
        "row_drive": round(digits * driving * n_pre * side_by_side * tokens),
        "array_read": reads * side_by_side,
        "adc_convert": reads * columns,
        "shift_add": reads * columns,
    }
    return {(driven.operation, kind): n for kind, n in found.items()}


def _messages_per_spike(run: Run) -> dict[str, float]:
    """channels / spikes of the site that each operation emits or reads; no entry: unchanged."""
    factor = {}
    for d in linears(run):
        if not d.site.spikes or d.dense:
            continue
        users = [name for name, op in run.operations.items() if op.get("site") == d.site.site]
        if users == [d.operation]:
            raise Bug("no operation says that it drives this site", where=d.site.site)
        factor |= dict.fromkeys(users, d.site.n * d.site.tokens / d.site.spikes)
    return factor


def _flit_factor(chip: Chip, kind: str, sent: Mapping[str, int], scale: float) -> float:
    """How an operation's flits on one kind of link grow when its spike messages do."""
    flit_bits = chip.links[_FLITS[kind]].flit_bits
    flits = {}
    for name, form in chip.formats.items():
        payload = PAYLOAD_BITS if name == "spike" else form.payload_bits * form.values_per_message
        flits[name] = sent.get(f"msg_{name}", 0) * ceil((form.header_bits + payload) / flit_bits)
    total = sum(flits.values())
    return 1 + (scale - 1) * flits["spike"] / total if total else 1.0
