"""SpikingBrain's energy arithmetic, reproduced, and what is left of it step by step.

arXiv 2509.05276, section 5.5, eq. 24: 1.13 spikes x 0.03 pJ (one 8-bit addition at 45 nm)
= 0.0339 pJ per MAC, printed as 0.034, against 1.5 pJ (FP16) and 0.23 pJ (INT8). Every
price here comes from the device table, every count of the run from its counters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hw_models.device import Device
from hw_models.ledger import STATIC
from simulator.linears import linears, total, weighted_silent
from simulator.result import Run

SPIKES: Final = 1.13
SILENT: Final = 0.184
SOURCE: Final = (
    "SpikingBrain, arXiv 2509.05276, section 5.5, eq. 24 (7B): 1.13 spikes per channel, "
    "18.4 % of channels silent"
)

_ON_TOP: Final = {
    "arithmetic": (
        "arithmetic",
        "this run's ledger from here on, at the target's own prices and node",
    ),
    "memory": (
        "+ memory",
        "weights, axon tables and sums, where the price of arithmetic does not hold them",
    ),
    "network": ("+ network", "messages injected, flits over links, deliveries"),
    "rest": (
        "+ vector work",
        "neuron updates, encoding, norms, attention, gates, state, host bits",
    ),
    STATIC: ("+ static", "power of all chips that hold a tile, over the wall time"),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """pJ per dense MAC of a spiking model and of the same model in FP16 and INT8."""

    spiking_pj: float
    fp16_pj: float | None
    int8_pj: float | None

    @property
    def vs_fp16(self) -> float | None:
        """-0.977: spiking takes 97.7 % less."""
        return self.spiking_pj / self.fp16_pj - 1 if self.fp16_pj else None

    @property
    def vs_int8(self) -> float | None:
        return self.spiking_pj / self.int8_pj - 1 if self.int8_pj else None


@dataclass(frozen=True, slots=True)
class Step:
    """One row: what is counted, how, at the paper's activity and at this run's."""

    name: str
    how: str
    paper: Cell | None
    run: Cell | None


@dataclass(frozen=True, slots=True)
class Spiking:
    """What one dense MAC becomes: additions, multiply-accumulates, and skipped channels."""

    adds: float
    macs: float
    silent: float

    @property
    def events(self) -> float:
        return self.adds + self.macs


@dataclass(frozen=True, slots=True)
class PaperTable:
    """The first table of a report. measured is None for a run without spiking linears."""

    steps: tuple[Step, ...]
    quoted: Spiking
    measured: Spiking | None
    sources: tuple[str, ...]


def measure(run: Run) -> Spiking | None:
    """Synops per dense MAC and MAC-weighted silent share of the spike-coded linears.

    On crossbars: those that the same spikes would be, were they added one by one.
    """
    spiking = tuple(d for d in linears(run) if not d.dense)
    macs = sum(d.macs * d.site.tokens for d in spiking)
    if not macs:
        return None

    def per_mac(*kinds: str) -> float:
        return sum(total(run.phases, d.operation, k) for d in spiking for k in kinds) / macs

    adds, products = per_mac("synop_add", "synop_shift"), per_mac("synop_mac")
    if not adds + products:  # a crossbar counts no synops: what its spikes would have been
        adds = sum(d.macs * d.site.spikes / d.site.n for d in spiking) / macs
    return Spiking(adds, products, weighted_silent(spiking))


def paper_table(run: Run, device: Device, on_chip: Sequence[Step] = ()) -> PaperTable:
    """Arithmetic at the device's prices (cmos45 in the paper), then the rows of the target."""
    quoted, measured = Spiking(SPIKES, 0.0, SILENT), measure(run)
    keys = ("int8_add", "int32_add", "int8_mult", "fp16_add", "fp16_mult", "sram_8kib")
    cited = dict.fromkeys(f"{device.name}: {device.ops[key].source}" for key in keys)
    steps = (*_steps(device, quoted, measured), *on_chip)
    return PaperTable(steps, quoted, measured, (SOURCE, *cited))


def _steps(device: Device, quoted: Spiking, measured: Spiking | None) -> tuple[Step, ...]:
    pj = {key: op.energy.nominal * 1e12 for key, op in device.ops.items()}
    add8, add32, multiply = pj["int8_add"], pj["int32_add"], pj["int8_mult"]
    fp16 = pj["fp16_mult"] + pj["fp16_add"]
    byte = pj["sram_8kib"] * 8 / device.ops["sram_8kib"].bits

    def spikes(at: Spiking, add: float) -> float:
        return at.adds * add + at.macs * (multiply + add)

    def published(at: Spiking) -> Cell:
        return Cell(spikes(at, add8), fp16, multiply + add8)

    def wide(at: Spiking) -> Cell:
        return Cell(spikes(at, add32), fp16, multiply + add8)

    def both_wide(at: Spiking) -> Cell:
        return Cell(spikes(at, add32), fp16, multiply + add32)

    def fetch_per_spike(at: Spiking) -> Cell:
        fetched = spikes(at, add32) + at.events * byte
        return Cell(fetched, fp16 + 2 * byte, multiply + add32 + byte)

    def fetch_per_channel(at: Spiking) -> Cell:
        fetched = spikes(at, add32) + (1 - at.silent) * byte
        return Cell(fetched, fp16 + 2 * byte, multiply + add32 + byte)

    def all_skip(at: Spiking) -> Cell:
        kept = 1 - at.silent
        fetched = spikes(at, add32) + kept * byte
        return Cell(fetched, kept * (fp16 + 2 * byte), kept * (multiply + add32 + byte))

    rounded = round(SPIKES * add8, 3)
    first = (
        f"{SPIKES:g} x {add8:g} pJ = {SPIKES * add8:.4f} pJ, printed as {rounded:g}: "
        f"{100 * (rounded / fp16 - 1):.1f} %, {100 * (rounded / (multiply + add8) - 1):.1f} %"
    )
    rows = (
        ("as published: 8-bit additions", first, published),
        ("32-bit sums for the spikes", f"an addition takes {add32:g} pJ", wide),
        ("32-bit sums for INT8 too", f"{multiply:g} + {add32:g} pJ", both_wide),
        (
            "+ weights, fetched per spike",
            f"{byte:g} pJ a byte, 8 KiB SRAM; FP16 reads two",
            fetch_per_spike,
        ),
        ("+ weights, per active channel", "as with a row buffer", fetch_per_channel),
        ("silent channels skipped by all", "INT8 and FP16 skip them too", all_skip),
    )
    return tuple(
        Step(name, how, of(quoted), of(measured) if measured else None) for name, how, of in rows
    )


def target_steps(
    target: str,
    levels: Mapping[str, float],
    fp16: Mapping[str, float | None],
    int8: Mapping[str, float | None],
) -> tuple[Step, ...]:
    """Cumulative pJ per MAC of the run's ledger, beside the same level of 45 nm baselines."""
    return tuple(
        Step(
            f"on {target}: {_ON_TOP[level][0]}",
            _ON_TOP[level][1],
            None,
            Cell(pj, fp16.get(level), int8.get(level)),
        )
        for level, pj in levels.items()
    )
