"""Tasks, units and nets under construction: where sums go, how state is cut into blocks.

Units are packed in the order of the pipeline: a tile's place is its number among all tiles, a
home's is the middle of the tiles that feed it, so that sums have a short way.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Condition, Graph, Linear, Router
from compiler.tasks import Dataflow, Net, Task, Tile, Unit
from hw_models.chip import Chip
from hw_models.errors import DoesNotFit

I64 = NDArray[np.int64]


@dataclass(slots=True)
class Tiled:
    """A linear and its tiles, numbered from `first` on among all; task: of its first tile."""

    linear: Linear
    first: int
    tiles: Sequence[Tile]
    lo: I64  # neurons of every tile
    end: I64
    task: int = -1

    @property
    def starts(self) -> list[int]:
        """First neuron of every block."""
        found: dict[int, int] = {}
        for tile in self.tiles:
            found[tile.block] = min(tile.post, found.get(tile.block, tile.post))
        return list(found.values())


def tiled(graph: Graph, tiles: tuple[Tile, ...]) -> dict[str, Tiled]:
    """Every linear with its tiles, which lie one after another."""
    linears = {linear.name: linear for linear in graph.linears}
    found, first = {}, 0
    for name, run in groupby(tiles, key=lambda tile: tile.linear):
        own = tuple(run)
        ranges = np.array([(t.post, t.post + t.n_post) for t in own], np.int64)
        found[name] = Tiled(linears[name], first, own, ranges[:, 0], ranges[:, 1])
        first += len(own)
    return found


@dataclass(slots=True)
class Plan:
    """The dataflow so far."""

    graph: Graph
    chip: Chip
    tiled: Mapping[str, Tiled]
    tile_bytes: int  # most state that a tile takes
    blocks: Sequence[int]  # of all tiles
    tasks: list[Task] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    nets: list[Net] = field(default_factory=list)
    homes: list[int] = field(default_factory=list)  # tasks of the stage at hand that take sums
    condition: Condition | None = None  # of the stage at hand
    # who sends a site's spikes: at once, or when the named router has chosen
    encoders: dict[tuple[str, str | None], list[int]] = field(default_factory=dict)
    routers: dict[str, tuple[Router, int]] = field(default_factory=dict)  # and their homes

    @property
    def neuron_bytes(self) -> int:
        """int64 sum per token slot, float32 row scale and bias."""
        return 8 * self.chip.core.token_slots + 8

    @property
    def channel_bytes(self) -> int:
        """Per token slot the stream's float32 and the one that waits for V_th; a norm weight."""
        return 8 * self.chip.core.token_slots + 4

    def task(self, task: Task) -> int:
        """A task of the stage at hand, or with a condition of its own."""
        if self.condition is not None and task.condition is None:
            task = replace(task, condition=self.condition)
        self.tasks.append(task)
        return len(self.tasks) - 1

    def home(self, task: Task) -> int:
        """A task that owns neurons: the tiles of what the stage reads send it their sums."""
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

    def middle(self, linear: str | None, lo: int, n: int) -> float:
        """Place of the middle one of a linear's tiles with neurons lo .. lo + n."""
        if linear is None:
            return -0.5
        own = self.tiled[linear]
        found = np.flatnonzero((own.lo < lo + n) & (own.end > lo))
        return own.first + float(found[found.size // 2]) + 0.5

    def cut(
        self, linear: str | None, n: int, bytes_each: int, per_channel: int = 1
    ) -> Iterator[tuple[int, int]]:
        """Near-equal ranges of n channels that leave half of a core's state to its neighbours.

        None crosses a border between blocks of the linear's tiles (per_channel neurons belong to
        a channel), so that sums reach their home without leaving a chip.
        """
        core = self.chip.core
        most = min(core.state_memory // 2 // bytes_each, core.neurons // per_channel)
        if most < 1:
            raise DoesNotFit(
                f"one channel needs {bytes_each} bytes of state",
                where=self.chip.name,
                fix="--set core.state_memory=...",
            )
        starts = [] if linear is None else self.tiled[linear].starts
        borders = sorted({0, n} | {-(-s // per_channel) for s in starts})
        for first, end in pairwise(b for b in borders if b <= n):
            size = -(-(end - first) // -(-(end - first) // most))
            yield from ((lo, min(size, end - lo)) for lo in range(first, end, size))

    def partials(self, name: str) -> None:
        """Every tile of a linear sends each home the sums of the neurons it owns.

        A neuron whose sum is made on several blocks, thus chips, is first summed within each. If
        the linear is an expert's and the home is not, all are summed up, chip after chip: sums
        have a long way, and of whichever expert is chosen the home awaits as many.
        """
        own, slots = self.tiled[name], self.chip.core.token_slots
        columns: dict[tuple[int, int], list[int]] = defaultdict(list)  # by first neuron and block
        for i, tile in enumerate(own.tiles):
            columns[tile.post, tile.block].append(i)
        spread = Counter(post for post, _ in columns)
        far = own.linear.condition != self.condition
        homes = _Homes.of((self.tasks[i].neurons or (0, 0), i) for i in self.homes)
        below: dict[int, int] = {}  # the sum of the blocks before
        for (post, _), tiles in columns.items() if not far else reversed(columns.items()):
            tile, sources = own.tiles[tiles[0]], [own.task + i for i in tiles]
            if post in below:
                sources.append(below.pop(post))
            spread[post] -= far
            if len(sources) > 1 and (far or spread[post] > 1):
                sources = [self._sum(own, tiles, sources, 8 * slots * tile.n_post)]
            if far and spread[post]:
                below[post] = sources[0]
                continue
            for source in sources:
                for home, a, b in homes.meeting(post, post + tile.n_post):
                    self.nets.append(Net(source, "partial", a, b - a, (home,)))

    def _sum(self, own: Tiled, tiles: list[int], sources: list[int], size: int) -> int:
        """A task beside these tiles, with as many bytes of state, that adds up what comes."""
        tile, linear = own.tiles[tiles[0]], own.linear
        lo, n = tile.post, tile.n_post
        name, place = f"{linear.name}[{lo}].sum {tile.block}", tiles[len(tiles) // 2]
        task = Task(name, linear.name, 0, neurons=(lo, n), condition=linear.condition)
        total = self.task(task)
        at = own.first + place + 0.5
        self.unit(Unit(name, linear.name, (total,), 0, size, n, 0, place=at))
        self.nets += [Net(source, "partial", lo, n, (total,)) for source in sources]
        return total

    def finish(self) -> Dataflow:
        """Units in the order of their places; what every task awaits, counted from the nets.

        A unit belongs to the block of the tile at its place.
        """
        need, extra = [0] * len(self.tasks), [0] * len(self.tasks)
        for net in self.nets:
            awaited = 1 if net.message == "spike" else net.n
            due = need if net.residue < 0 else extra
            condition = net.condition or self.tasks[net.source].condition
            # experts are alike: what awaits those of a router counts as many as it chooses
            counts = condition is None or condition[1] < self.routers[condition[0]][0].top_k
            for sink in net.sinks:
                if counts or condition == self.tasks[sink].condition:
                    due[sink] += awaited
        tasks = tuple(
            task if (task.need, task.extra) == (a, b) else replace(task, need=a, extra=b)
            for task, a, b in zip(self.tasks, need, extra, strict=True)
        )
        units = sorted(self.units, key=lambda unit: unit.place)
        last = len(self.blocks) - 1
        blocks = [self.blocks[min(max(0, int(unit.place)), last)] for unit in units]
        ordered = tuple(
            unit if unit.block == block else replace(unit, block=block)
            for unit, block in zip(units, blocks, strict=True)
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
