"""What the same model and tokens cost without spikes, level by level.

`DEVICE:fp16` and `DEVICE:int8` price every dense MAC, weight and vector operation with
a device's table (fp16 = cmos45:fp16, int8 = cmos45:int8); `dense-int8-on-chip` sends one
8-bit message per channel through the very same mapping. Each is a ledger: count x unit
cost x source. A level that the device has no numbers for is named, never a silent zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hw_models.chip import Chip
from hw_models.cost import Range
from hw_models.device import Device, known_devices, load_device
from hw_models.errors import BadInput
from hw_models.events import LEVELS
from hw_models.ledger import STATIC, Ledger, Row, Unpriced
from simulator.dense_on_chip import dense_on_chip
from simulator.linears import flat, linears, tokens_in
from simulator.ranges import times
from simulator.result import Phase, Run

ON_CHIP: Final = "dense-int8-on-chip"
ALIASES: Final = {"fp16": "cmos45:fp16", "int8": "cmos45:int8"}
FORMATS: Final = ("fp16", "int8")

_BYTES: Final = {"fp16": 2, "int8": 1}
_MULTIPLY: Final = {"fp16": "fp16_mult", "int8": "int8_mult"}
_ADD: Final = {
    ("fp16", 16): "fp16_add",
    ("fp16", 32): "fp32_add",
    ("int8", 8): "int8_add",
    ("int8", 32): "int32_add",
}
_USUAL: Final = {"fp16": 16, "int8": 32}  # the paper's FP16 MAC; int8 sums overflow 8 bits
_MEMORY: Final = "sram_8kib"
_VECTOR: Final = {"vec_add": "fp32_add", "vec_mul": "fp32_mult"}
_BY_BYTES: Final = {"vec_read": 4, "vec_write": 4, "state_read": 1, "state_write": 1}
_NO_PRICE: Final = ("vec_exp", "vec_div", "vec_sqrt")


@dataclass(frozen=True, slots=True)
class Baseline:
    """One way to run the same tokens; joules are per stream and phase, as in the run's ledger.

    missing[level] says why a level is not in the ledger; assumes lists what is taken for granted.
    """

    name: str
    title: str
    accumulate_bits: int
    skips_silent: bool
    ledger: Ledger
    missing: Mapping[str, str] = field(default_factory=dict)
    assumes: tuple[str, ...] = ()
    usual: bool = False  # the variant shown where there is room for one

    def levels(self) -> dict[str, Range | None]:
        """Cumulative joules per level; None from the first level on that is missing."""
        found = self.ledger.levels()
        out: dict[str, Range | None] = {}
        for level in (*LEVELS, STATIC):
            broken = level in self.missing or None in out.values()
            out[level] = None if broken else found.get(level)
        return out


def known_baselines() -> tuple[str, ...]:
    """Every name that build_baselines takes."""
    priced = [f"{device}:{form}" for device in known_devices() for form in FORMATS]
    return (*ALIASES, *priced, ON_CHIP)


def build_baselines(
    names: Sequence[str], run: Run, phase: Phase, chip: Chip, streams: int = 1
) -> tuple[Baseline, ...]:
    """All variants of the named baselines for one phase; BadInput for an unknown name."""
    wanted = dict.fromkeys(ALIASES.get(name, name) for name in names)
    found: list[Baseline] = []
    for name in wanted:
        if name not in known_baselines():
            raise BadInput(
                f"no baseline is called {name!r}", fix=f"one of {', '.join(known_baselines())}"
            )
        if name == ON_CHIP:
            ledger, assumes = dense_on_chip(run, phase, chip, streams)
            title = f"dense INT8 on {chip.name}"
            found.append(Baseline(name, title, 32, False, ledger, {}, assumes, usual=True))
            continue
        device_name, form = name.split(":")
        found += variants(load_device(device_name), form, run, phase, streams)
    return tuple(found)


def variants(device: Device, form: str, run: Run, phase: Phase, streams: int = 1) -> list[Baseline]:
    """A format on a device: two accumulator widths, with and without skipping silent channels."""
    return [
        _priced(device, form, bits, skips, run, phase, streams)
        for bits in (b for f, b in _ADD if f == form)
        for skips in (False, True)
    ]


def _priced(
    device: Device, form: str, bits: int, skips: bool, run: Run, phase: Phase, streams: int
) -> Baseline:
    macs = _macs(run, phase, skips)
    rows: list[Row] = []
    missing = {
        "network": f"{device.name} has no wires between cores",
        STATIC: f"{device.name} has no leakage and no clock",
    }
    sums = (_MULTIPLY[form], _ADD[form, bits])
    if all(key in device.ops for key in sums):
        rows += [_row(device, op, key, n, "arithmetic") for op, n in macs.items() for key in sums]
    else:
        missing["arithmetic"] = f"{device.name} has no {' or '.join(sums)}"
    if _MEMORY in device.ops:
        rows += [_weights(device, op, n, form, phase, streams) for op, n in macs.items()]
    else:
        missing["memory"] = f"{device.name} has no {_MEMORY}"
    vector, unpriced = _vector_work(device, phase)
    if not vector and unpriced:
        missing["rest"] = f"{device.name} prices no vector work"
    accumulate = f"{bits}-bit sums"
    skipping = ", silent channels skipped" if skips else ""
    return Baseline(
        name=f"{device.name}:{form}",
        title=f"{form.upper()}, {accumulate}{skipping} ({device.name})",
        accumulate_bits=bits,
        skips_silent=skips,
        ledger=Ledger(tuple(rows + vector), (), tuple(unpriced)),
        missing=missing,
        assumes=_assumes(form, skips, phase, streams),
        usual=bits == _USUAL[form] and not skips,
    )


def _macs(run: Run, phase: Phase, skips: bool) -> dict[str, int]:
    """Dense MACs of the phase per linear, less those of silent channels where they are skipped."""
    return {
        d.operation: round(tokens_in(phase, d) * d.macs * (1 - d.silent_share if skips else 1))
        for d in linears(run)
    }


def _row(device: Device, operation: str, key: str, count: int, level: str) -> Row:
    op = device.ops[key]
    return _priced_row(operation, key, level, count, op.energy, key, device)


def _weights(
    device: Device, operation: str, macs: int, form: str, phase: Phase, streams: int
) -> Row:
    """One weight per MAC; `low` holds a weight in the array for the whole prompt."""
    reads = _BYTES[form] * 8 / device.ops[_MEMORY].bits
    unit = times(device.ops[_MEMORY].energy, reads / streams)
    held = phase.tokens if phase.name == "prefill" else 1
    span = Range(unit.low / max(1, held), unit.nominal, unit.high)
    return _priced_row(operation, f"{form} weight", "memory", macs, span, _MEMORY, device)


def _vector_work(device: Device, phase: Phase) -> tuple[list[Row], list[Unpriced]]:
    """The run's own norms, attention and gates, in 32-bit floats."""
    rows: list[Row] = []
    unpriced: list[Unpriced] = []
    for (operation, kind), n in sorted(flat(phase).items()):
        if kind in _VECTOR and _VECTOR[kind] in device.ops:
            unit, key = device.ops[_VECTOR[kind]].energy, _VECTOR[kind]
        elif kind in _BY_BYTES and _MEMORY in device.ops:
            memory = device.ops[_MEMORY]
            unit, key = times(memory.energy, 8 * _BY_BYTES[kind] / memory.bits), _MEMORY
        else:
            if kind in (*_VECTOR, *_BY_BYTES, *_NO_PRICE) and n:
                unpriced.append(Unpriced(operation, kind, n))
            continue
        rows.append(_priced_row(operation, kind, "rest", n, unit, key, device))
    return rows, unpriced


def _priced_row(
    operation: str, kind: str, level: str, count: int, unit: Range, key: str, device: Device
) -> Row:
    op = device.ops[key]
    joules = times(unit, count)
    return Row(operation, kind, level, count, key, unit, op.source, op.grade, joules, op.note)


def _assumes(form: str, skips: bool, phase: Phase, streams: int) -> tuple[str, ...]:
    found = ["every weight lies in an 8 KiB SRAM beside its multiplier (64-bit reads)"]
    if streams > 1:
        found.append(f"one read of a weight serves all {streams} streams")
    if phase.name == "prefill":
        found.append("low: a weight is read once for the whole prompt; else once per token")
    if skips and form == "fp16":
        found.append("an FP16 model has few exact zeros: the channels silent here are left out")
    found.append("norm, attention and gates as counted in this run, 32-bit floats")
    return tuple(found)
