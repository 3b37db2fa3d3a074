"""A chip: one strict TOML file under hw_models/chips becomes one frozen Chip.

docs/hardware.md says what each key means. A new chip is a new file, never new code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from pydantic import StrictBool, StrictStr, with_config

from hw_models.array import Array, check_array
from hw_models.cited import STRICT, Tree, known, nearest, read, read_text, validate
from hw_models.cost import Cost, EnergyRange, PowerRange, Range
from hw_models.events import KINDS, LINKS, MESSAGES
from hw_models.quantity import (
    Bits,
    Count,
    Picoseconds,
    Positive,
    PositiveBits,
    PositiveBytes,
    PositivePicoseconds,
)

__all__ = [
    "Abilities",
    "Array",
    "Chip",
    "Core",
    "Cost",
    "Format",
    "Layout",
    "Link",
    "Range",
    "Timing",
    "chip_from_text",
    "known_chips",
    "load_chip",
]

Sync = Literal["dataflow", "barrier"]
Coding = Literal["binary", "ternary", "bitwise", "bitwise-2c", "graded"]

_FOLDER: Final = "chips"
MOST_PENDING: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What one core holds."""

    synapse_memory: PositiveBytes = 0  # of a crossbar: what its arrays hold, not written
    state_memory: PositiveBytes  # accumulators, recurrent state, KV
    neurons: Positive
    in_axons: Positive  # rows a delivered spike can address
    out_axons: Positive  # routing trees that can begin here
    table_entries: Positive  # routing-tree entries
    token_slots: Positive  # tokens whose sums a core can hold at once
    lanes: Positive  # synops done in parallel
    index_bits: Bits = 0  # of a neuron's number in a list of synapses; 0: holds no lists
    pending_decays: Count = 0  # per key channel of linear attention; 0: applied at once


@dataclass(frozen=True, slots=True)
class Layout:
    """A mesh of chips, each a mesh of routers with some cores; sizes are (width, height).

    dead_cores: broken ones that hold nothing, numbered over all chips (hw_models.mesh).
    """

    chips: tuple[Positive, Positive]
    routers: tuple[Positive, Positive]  # per chip
    cores_per_router: Positive
    usable_cores: Positive  # per chip
    dead_cores: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """One kind of link: a message of f flits holds it for f * flit_ps (DESIGN section 5)."""

    flit_bits: PositiveBits
    flit_ps: PositivePicoseconds
    hop_ps: PositivePicoseconds
    buffer_flits: Count  # where the link ends; 0 = unbounded


@dataclass(frozen=True, slots=True)
class Format:
    """One class of message: header once, then up to values_per_message payloads."""

    header_bits: Bits
    payload_bits: Bits  # per value; the most a program may use (spike: graded payload)
    values_per_message: Positive


@dataclass(frozen=True, slots=True)
class Timing:
    """Service times of a core: axon_ps + rows * row_ps + ceil(synops / lanes) * synop_ps."""

    axon_ps: Picoseconds  # per spike message
    row_ps: Picoseconds  # per synapse row
    synop_ps: Picoseconds  # per `lanes` synops
    partial_ps: Picoseconds  # per received partial sum
    value_ps: Picoseconds  # per received value
    update_ps: Picoseconds  # per neuron
    encode_ps: Picoseconds  # per channel
    vector_ps: Picoseconds  # per vector instruction (event kinds vec_*)
    barrier_ps: Picoseconds = 0  # end of a step, when sync is 'barrier'


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a core can do; the compiler refuses the rest."""

    weight_bits: tuple[PositiveBits, ...]
    codings: tuple[Coding, ...]
    graded_bits: Bits  # widest graded payload
    multicast: StrictBool
    vector: StrictBool  # norm, attention, gates on the core
    row_buffer: StrictBool  # a row is fetched once per active channel, not once per spike


@dataclass(frozen=True, slots=True)
class Chip:
    """A target. `text` is the resolved file (TOML plus overrides) and text_hash its sha256.

    To change a number use load_chip's overrides: they keep sources, text and hash in step.
    """

    name: str
    title: str
    sync: Sync
    core: Core
    layout: Layout
    links: Mapping[str, Link]  # keys: events.LINKS
    formats: Mapping[str, Format]  # keys: events.MESSAGES
    timing: Timing
    abilities: Abilities
    static_power: Range  # watts per chip
    costs: tuple[Cost, ...]
    sources: Mapping[str, tuple[str, str]]  # dotted key of every number -> (source, grade)
    text_hash: str
    text: str = ""
    all_in: bool = False  # the single cost holds everything, static power too
    array: Array | None = None  # cores are crossbars

    @property
    def bounded(self) -> bool:
        """Whether some link has a buffer with an end."""
        return any(link.buffer_flits for link in self.links.values())


@dataclass(frozen=True, slots=True)
class _Price:
    """A [cost.*] table."""

    covers: tuple[StrictStr, ...]
    energy: EnergyRange
    per: tuple[StrictStr, ...] = ()


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class _File:
    """A chip's TOML, its citations lifted out."""

    name: StrictStr
    title: StrictStr
    sync: Sync
    core: Core
    layout: Layout
    link: dict[str, Link]
    format: dict[str, Format]
    timing: Timing
    abilities: Abilities
    static_power: PowerRange
    cost: dict[str, _Price]
    all_in: StrictBool = False
    array: Array | None = None


def known_chips() -> tuple[str, ...]:
    """Names of the shipped chips."""
    return known(_FOLDER)


def load_chip(name_or_path: str | Path, overrides: Mapping[str, str] | None = None) -> Chip:
    """A shipped chip by name, or any by the path of its TOML file.

    overrides: dotted key -> value as text, {'core.synapse_memory': '256 KiB'}; the new
    number's source is the user and its grade 'assumed'. Raises BadInput for an unknown
    name, a key or value that is wrong, a number without source or grade.
    """
    return _chip(read(_FOLDER, name_or_path, overrides or {}))


def chip_from_text(text: str, file: str = "chip") -> Chip:
    """The chip whose `text` this is (as stored in a program); BadInput if it is broken."""
    return _chip(read_text(text, file))


def _chip(tree: Tree) -> Chip:
    _check_names(tree, "link", LINKS)
    _check_names(tree, "format", MESSAGES)
    file = validate(tree, _File)
    _check_layout(tree, file.layout)
    if file.sync == "barrier" and file.timing.barrier_ps == 0:
        raise tree.refuse("timing.barrier_ps", "missing; sync = 'barrier' needs it")
    costs = tuple(_cost(tree, key, price) for key, price in file.cost.items())
    _check_costs(tree, costs)
    if file.all_in and (len(costs) != 1 or file.static_power.high > 0):
        raise tree.refuse(
            "all_in", "the one cost of an all-in profile holds everything: no further terms"
        )
    return Chip(
        name=file.name,
        title=file.title,
        sync=file.sync,
        core=_core(tree, file),
        layout=file.layout,
        links={name: file.link[name] for name in LINKS},
        formats={name: file.format[name] for name in MESSAGES},
        timing=file.timing,
        abilities=file.abilities,
        static_power=file.static_power,
        costs=costs,
        sources=tree.sources,
        text_hash=tree.text_hash,
        text=tree.text,
        all_in=file.all_in,
        array=file.array,
    )


def _core(tree: Tree, file: _File) -> Core:
    """The core; weights of a crossbar take what its arrays hold."""
    core, array = file.core, file.array
    if core.pending_decays > MOST_PENDING:
        what = f"{core.pending_decays}; a byte counts them, so {MOST_PENDING} at most"
        raise tree.refuse("core.pending_decays", what)
    if array is None:
        if not core.synapse_memory:
            raise tree.refuse("core.synapse_memory", "missing")
        return core
    check_array(tree, array)
    if core.synapse_memory:
        raise tree.refuse(
            "core.synapse_memory", "not of a crossbar: array.per_core says what its arrays hold"
        )
    return replace(core, synapse_memory=array.per_core * array.weights)


def _cost(tree: Tree, key: str, price: _Price) -> Cost:
    energy = f"cost.{key}.energy"
    source, grade = tree.sources[energy]
    note = "; ".join(tree.notes[at] for at in (f"cost.{key}", energy) if at in tree.notes)
    per = price.per or price.covers[:1]
    return Cost(key, price.covers, per, price.energy, source, grade, note)


def _check_costs(tree: Tree, costs: tuple[Cost, ...]) -> None:
    """Every kind exists and is paid for at most once; `per` is part of `covers`."""
    payer: dict[str, str] = {}
    for cost in costs:
        at = f"cost.{cost.key}.covers"
        if not cost.covers:
            raise tree.refuse(at, "empty; a cost covers at least one kind of event")
        for kind in cost.covers:
            if kind not in KINDS:
                raise tree.refuse(at, f"no event kind {kind!r}; {nearest(kind, list(KINDS))}")
            if kind in payer:
                raise tree.refuse(at, f"{kind} is covered by cost.{payer[kind]} already")
            payer[kind] = cost.key
        for kind in cost.per:
            if kind not in cost.covers:
                raise tree.refuse(f"cost.{cost.key}.per", f"{kind!r} is not among its covers")


def _check_names(tree: Tree, table: str, wanted: tuple[str, ...]) -> None:
    """A chip has exactly these links, or message formats."""
    found = tree.values.get(table, {})
    if not isinstance(found, dict):
        raise tree.refuse(table, f"{found!r} is not a table of {', '.join(wanted)}")
    for name in found:
        if name not in wanted:
            raise tree.refuse(f"{table}.{name}", f"unknown {table}; {nearest(name, wanted)}")
    for name in wanted:
        if name not in found:
            raise tree.refuse(f"{table}.{name}", f"missing; a chip has {', '.join(wanted)}")


def _check_layout(tree: Tree, layout: Layout) -> None:
    width, height = layout.routers
    cores = width * height * layout.cores_per_router
    if layout.usable_cores > cores:
        raise tree.refuse(
            "layout.usable_cores", f"{layout.usable_cores} of only {cores} cores per chip"
        )
    every = cores * layout.chips[0] * layout.chips[1]
    beyond = [core for core in layout.dead_cores if core >= every]
    if beyond:
        raise tree.refuse("layout.dead_cores", f"no core {beyond[0]}: there are {every:,}")
