"""A baseline device: energies of single operations at one technology node.

The same strict TOML as a chip (hw_models/devices), read by docs/hardware.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import StrictStr, with_config

from hw_models.cited import STRICT, known, read, validate
from hw_models.cost import EnergyRange, Range
from hw_models.quantity import PositiveBits

_FOLDER: Final = "devices"


@dataclass(frozen=True, slots=True)
class Op:
    """One operation on, or one access to, `bits` bits."""

    key: str
    bits: int
    energy: Range  # joules per operation or access
    source: str
    grade: str
    note: str


@dataclass(frozen=True, slots=True)
class Device:
    """Operation energies by key ('int8_add', 'sram_8kib'), at one node."""

    name: str
    title: str
    node: str  # technology and voltage
    ops: Mapping[str, Op]
    sources: Mapping[str, tuple[str, str]]  # dotted key of every number -> (source, grade)
    text_hash: str


@dataclass(frozen=True, slots=True)
class _OpTable:
    bits: PositiveBits
    energy: EnergyRange


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class _File:
    """A device's TOML, its citations lifted out."""

    name: StrictStr
    title: StrictStr
    node: StrictStr
    op: dict[str, _OpTable]


def known_devices() -> tuple[str, ...]:
    """Names of the shipped baseline devices."""
    return known(_FOLDER)


def load_device(name_or_path: str | Path, overrides: Mapping[str, str] | None = None) -> Device:
    """A shipped device by name, or any by path; refuses what load_chip refuses (BadInput)."""
    tree = read(_FOLDER, name_or_path, overrides or {})
    file = validate(tree, _File)
    ops = {}
    for key, op in file.op.items():
        at = f"op.{key}.energy"
        note = "; ".join(tree.notes[k] for k in ("op", f"op.{key}", at) if k in tree.notes)
        ops[key] = Op(key, op.bits, op.energy, *tree.sources[at], note)
    return Device(file.name, file.title, file.node, ops, tree.sources, tree.text_hash)
