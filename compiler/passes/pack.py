"""Put units on cores, block by block, under every per-core limit at once."""

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby
from math import inf

from compiler.tasks import Dataflow, Unit
from hw_models.chip import Chip
from hw_models.errors import Bug, DoesNotFit

Need = tuple[int, int, int, int, int]
"""synapse bytes, state bytes, neurons, in-axons, out-axons"""

RESOURCES = ("synapse memory", "state memory", "neurons", "in-axons", "out-axons")


@dataclass(frozen=True, slots=True)
class Packing:
    """core_of[unit] is a logical core, numbered in pipeline order; -1 is the host.

    block_of[core]: the block it was opened for (compiler.tasks.Tile).
    """

    core_of: tuple[int, ...]
    block_of: tuple[int, ...]

    @property
    def n_cores(self) -> int:
        return len(self.block_of)


@dataclass(slots=True)
class _Core:
    index: int
    place: float
    free: list[int]
    tiled: set[str] = field(default_factory=set)


def limits(chip: Chip) -> Need:
    core = chip.core
    return core.synapse_memory, core.state_memory, core.neurons, core.in_axons, core.out_axons


def needs(flow: Dataflow) -> list[Need]:
    """What every unit takes; its out-axons are the nets its tasks send."""
    sends = [0] * len(flow.tasks)
    for net in flow.nets:
        sends[net.source] += 1
    return [
        (u.synapse_bytes, u.state_bytes, u.neurons, u.in_axons, sum(sends[t] for t in u.tasks))
        for u in flow.units
    ]


def pack(flow: Dataflow, chip: Chip) -> Packing:
    """Tiles of a block first, each on the latest core with room; then what belongs to them, on the
    nearest core of the block with room, or on one of the latest chip's worth of cores.

    At most one tile of a linear per core, so that a delivered spike meets one block of synapses.
    Raises DoesNotFit for a unit beyond a core.
    """
    limit, need_of = limits(chip), needs(flow)
    core_of = [-1] * len(flow.units)
    block_of: list[int] = []
    latest: deque[_Core] = deque(maxlen=chip.layout.usable_cores)
    smallest = min((u.synapse_bytes for u in flow.units if u.synapse_bytes), default=0)

    def put(i: int, nearest: Iterable[_Core]) -> None:
        unit, need = flow.units[i], need_of[i]
        core = next((c for c in nearest if _fits(c, unit, need)), None)
        if core is None:
            _check_alone(unit, need, limit, chip)
            core = _Core(len(block_of), unit.place, list(limit))
            latest.append(core)
            block_of.append(unit.block)
        core.free = [have - take for have, take in zip(core.free, need, strict=True)]
        if unit.synapse_bytes:
            core.tiled.add(unit.op)
        core_of[i] = core.index

    on_cores = sorted(
        (i for i, unit in enumerate(flow.units) if not unit.on_host),
        key=lambda i: flow.units[i].block,
    )
    for block, members in groupby(on_cores, key=lambda i: flow.units[i].block):
        mine = list(members)
        roomy = [core for core in latest if core.free[0] >= smallest]
        for i in mine:
            if flow.units[i].synapse_bytes:
                put(i, reversed(roomy))
                if core_of[i] == len(block_of) - 1:
                    roomy = [core for core in (*roomy, latest[-1]) if core.free[0] >= smallest]
        own = [core for core in latest if block_of[core.index] == block]
        for i in mine:
            if not flow.units[i].synapse_bytes:
                put(i, chain(_nearest(own, flow.units[i].place), reversed(latest)))
    return Packing(tuple(core_of), tuple(block_of))


def _nearest(cores: list[_Core], place: float) -> Iterator[_Core]:
    """Cores in ascending order of their places: the nearest first, of equals the earlier."""
    after = bisect_right(cores, place, key=lambda core: core.place)
    before = after - 1
    while before >= 0 or after < len(cores):
        left = place - cores[before].place if before >= 0 else inf
        right = cores[after].place - place if after < len(cores) else inf
        if left <= right:
            yield cores[before]
            before -= 1
        else:
            yield cores[after]
            after += 1


def _fits(core: _Core, unit: Unit, need: Need) -> bool:
    if unit.synapse_bytes and unit.op in core.tiled:
        return False
    return all(have >= take for have, take in zip(core.free, need, strict=True))


def _check_alone(unit: Unit, need: Need, limit: Need, chip: Chip) -> None:
    for name, take, have in zip(RESOURCES, need, limit, strict=True):
        if take > have:
            key, of = name.replace(" ", "_").replace("-", "_"), "B" * name.endswith("memory")
            raise DoesNotFit(
                f"needs {take:,} of {name}, a core of {chip.name} has {have:,}",
                where=unit.name,
                fix=f"--set core.{key}={take}{of}, or a target with larger cores",
            )


def verify(packing: Packing, flow: Dataflow, chip: Chip) -> None:
    """Sum what the units of each core take, and compare with the target's limits."""
    used: dict[int, list[int]] = {}
    tiles: set[tuple[int, str]] = set()
    home = {task: i for i, unit in enumerate(flow.units) for task in unit.tasks}
    trees = Counter(packing.core_of[home[net.source]] for net in flow.nets)
    for unit, core in zip(flow.units, packing.core_of, strict=True):
        if (core < 0) != unit.on_host:
            raise Bug("host and core mixed up", where=unit.name)
        if core < 0:
            continue
        row = used.setdefault(core, [0, 0, 0, 0])
        for i, take in enumerate(
            (unit.synapse_bytes, unit.state_bytes, unit.neurons, unit.in_axons)
        ):
            row[i] += take
        if unit.synapse_bytes:
            if (core, unit.op) in tiles:
                raise Bug(f"two tiles of {unit.op} on core {core}", where=unit.name)
            tiles.add((core, unit.op))
    if sorted(used) != list(range(packing.n_cores)):
        raise Bug("empty or unnumbered cores", where="pack")
    limit = chip.core
    have = (limit.synapse_memory, limit.state_memory, limit.neurons, limit.in_axons)
    for index, row in used.items():
        if trees[index] > limit.out_axons:
            raise Bug(f"{trees[index]} trees begin at core {index}", where="pack")
        if any(take > most for take, most in zip(row, have, strict=True)):
            raise Bug(f"core {index} holds {row} of {have}", where="pack")
