"""Tasks, units and nets under construction, and what every float stage ends in: its encoders.

Every block of a stage is a unit of its own. V_th needs all channels of a site: with several
blocks the local magnitudes go to a root, which sends V_th back before the first spike leaves
(DESIGN 3.1); with one block nothing travels.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from compiler.graph import Stage
from compiler.passes import vector_work as vw
from compiler.tasks import Dataflow, Net, Task, Tile, Unit
from hw_models.chip import Chip
from hw_models.errors import DoesNotFit


@dataclass(slots=True)
class Plan:
    """The dataflow so far.

    Units are packed in the order of the pipeline: a tile's place is its number among all tiles,
    a home's is the middle of the tiles that feed it, so that sums have a short way.
    """

    chip: Chip
    tasks: list[Task] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    nets: list[Net] = field(default_factory=list)
    tiles: list[tuple[Tile, int]] = field(default_factory=list)  # of the last linear, their tasks
    homes: list[int] = field(default_factory=list)  # tasks of the last stage that take sums
    encoders: list[int] = field(default_factory=list)  # of the last stage
    blocks: list[int] = field(default_factory=list)  # of all tiles so far
    tile_bytes: int = 0  # most state that a tile takes

    @property
    def neuron_bytes(self) -> int:
        """int64 sum per token slot, float32 row scale and bias."""
        return 8 * self.chip.core.token_slots + 8

    @property
    def channel_bytes(self) -> int:
        """Per token slot the stream's float32 and the one that waits for V_th; a norm weight."""
        return 8 * self.chip.core.token_slots + 4

    def task(self, task: Task) -> int:
        self.tasks.append(task)
        return len(self.tasks) - 1

    def home(self, task: Task) -> int:
        """A task that owns neurons: the tiles of the last linear send it their sums."""
        self.homes.append(self.task(task))
        return self.homes[-1]

    def unit(self, unit: Unit) -> None:
        """Raises DoesNotFit for what is larger than a core."""
        core = self.chip.core
        if not unit.on_host and (
            unit.state_bytes > core.state_memory or unit.neurons > core.neurons
        ):
            raise DoesNotFit(
                f"{unit.state_bytes} bytes of state and {unit.neurons} neurons on one core; "
                f"{self.chip.name} has {core.state_memory} and {core.neurons}",
                where=unit.name,
                fix="--set core.state_memory=... or a target with larger cores",
            )
        self.units.append(unit)

    def middle(self, lo: int, n: int) -> float:
        """Place of the middle tile among those with neurons lo .. lo + n of the last linear."""
        first = len(self.blocks) - len(self.tiles)
        found = [
            first + i
            for i, (t, _) in enumerate(self.tiles)
            if t.post < lo + n and t.post + t.n_post > lo
        ]
        return found[len(found) // 2] + 0.5 if found else len(self.blocks) - 0.5

    def cut(self, n: int, bytes_each: int, per_channel: int = 1) -> Iterator[tuple[int, int]]:
        """Near-equal ranges of n channels that leave half of a core's state to its neighbours.

        None crosses a border between blocks of the last linear's tiles (per_channel neurons
        belong to a channel), so that sums reach their home without leaving a chip.
        """
        core = self.chip.core
        most = min(core.state_memory // 2 // bytes_each, core.neurons // per_channel)
        if most < 1:
            raise DoesNotFit(
                f"one channel needs {bytes_each} bytes of state",
                where=self.chip.name,
                fix="--set core.state_memory=...",
            )
        starts: dict[int, int] = {}  # block -> its first neuron
        for tile, _ in self.tiles:
            starts[tile.block] = min(tile.post, starts.get(tile.block, tile.post))
        borders = sorted({0, n} | {-(-s // per_channel) for s in starts.values()})
        for first, end in pairwise(b for b in borders if b <= n):
            size = -(-(end - first) // -(-(end - first) // most))
            yield from ((lo, min(size, end - lo)) for lo in range(first, end, size))

    def partials(self, linear: str) -> None:
        """Every tile of the last linear sends each home the sums of the neurons it owns.

        A neuron whose sum is made on several blocks, thus chips, is first summed within each.
        """
        columns: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
        ranges: dict[int, tuple[int, int]] = {}
        first = len(self.blocks) - len(self.tiles)
        for i, (tile, task) in enumerate(self.tiles):
            columns[tile.post, tile.block].append((task, first + i + 0.5))
            ranges[tile.post] = (tile.post, tile.n_post)
        spread = Counter(post for post, _ in columns)
        homes = _Homes.of((self.tasks[i].neurons or (0, 0), i) for i in self.homes)
        for (post, block), tiles in columns.items():
            lo, n = ranges[post]
            sources = [task for task, _ in tiles]
            if spread[post] > 1 and len(tiles) > 1:
                total = self.task(Task(f"{linear}[{post}].sum {block}", linear, 0, neurons=(lo, n)))
                size = 8 * self.chip.core.token_slots * n
                place = tiles[len(tiles) // 2][1]
                self.unit(
                    Unit(self.tasks[total].name, linear, (total,), 0, size, n, 0, place=place)
                )
                self.nets += [Net(task, "partial", lo, n, (total,)) for task in sources]
                sources = [total]
            for source in sources:
                for home, a, b in homes.meeting(lo, lo + n):
                    self.nets.append(Net(source, "partial", a, b - a, (home,)))

    def finish(self) -> Dataflow:
        """Units in the order of their places; what every task awaits, counted from the nets.

        A unit belongs to the block of the tile at its place.
        """
        need, extra = [0] * len(self.tasks), [0] * len(self.tasks)
        for net in self.nets:
            units = 1 if net.message == "spike" else net.n
            due = need if net.residue < 0 else extra
            for sink in net.sinks:
                due[sink] += units
        tasks = tuple(
            replace(t, need=a, extra=b) for t, a, b in zip(self.tasks, need, extra, strict=True)
        )
        last = len(self.blocks) - 1
        ordered = tuple(
            replace(unit, block=self.blocks[min(max(0, int(unit.place)), last)])
            for unit in sorted(self.units, key=lambda unit: unit.place)
        )
        return Dataflow(tasks, ordered, tuple(self.nets))


@dataclass(frozen=True, slots=True)
class _Homes:
    """Home tasks by the neurons they own, in order."""

    starts: list[int]
    ends: list[int]
    tasks: list[int]

    @classmethod
    def of(cls, owned: Iterable[tuple[tuple[int, int], int]]) -> "_Homes":
        rows = sorted(owned)
        return cls(
            [lo for (lo, _), _ in rows], [lo + n for (lo, n), _ in rows], [i for _, i in rows]
        )

    def meeting(self, a: int, b: int) -> Iterator[tuple[int, int, int]]:
        """(home, first, end) of what each home owns of neurons a .. b."""
        for i in range(max(0, bisect_right(self.starts, a) - 1), bisect_left(self.starts, b)):
            if self.ends[i] > a:
                yield self.tasks[i], max(a, self.starts[i]), min(b, self.ends[i])


@dataclass(slots=True)
class Block:
    """A unit being filled: the task whose firing completes its channels, and its size."""

    name: str
    ready: int
    channels: tuple[int, int]
    place: float
    tasks: list[int]
    state_bytes: int
    neurons: int
    stream_bytes: int = 0


def encode_blocks(plan: Plan, stage: Stage, blocks: list[Block]) -> None:
    """Reduce the magnitudes to V_th and give every block its encoder."""
    op = stage.name
    plan.encoders = [
        plan.task(Task(f"{b.name}.encode", op, 0, channels=b.channels)) for b in blocks
    ]
    root = blocks[0].ready
    if len(blocks) > 1:
        work = vw.total(vw.scaled(len(blocks), add=1), vw.scaled(1, div=1))
        root = plan.task(Task(f"{op}.v_th", op, 0, work=work))
        # a local sum of |x| is an int64: two values
        plan.nets += [Net(b.ready, "value", 0, 2, (root,)) for b in blocks]
        blocks[0].tasks.append(root)
    plan.nets.append(Net(root, "value", 0, 1, tuple(plan.encoders)))
    for block, encoder in zip(blocks, plan.encoders, strict=True):
        close(plan, op, block, (encoder,))


def close(plan: Plan, op: str, block: Block, more: Iterable[int] = ()) -> None:
    """A block becomes a unit."""
    unit = Unit(
        block.name,
        op,
        (*block.tasks, *more),
        synapse_bytes=0,
        state_bytes=block.state_bytes,
        neurons=block.neurons,
        in_axons=0,
        stream_bytes=block.stream_bytes,
        place=block.place,
    )
    plan.unit(unit)
