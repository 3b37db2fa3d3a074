"""Tiny programs for timing tests: a few tasks on named cores, every constant a small prime.

A story is one linear layer of ones, written by hand: host.embed -> norm -> encoders ->
tiles -> home -> host.logits, and whatever a test adds. Integers are chosen so that a
token's counts are the numbers the test names. Times are read from the engine's trace.

Messages in flits (bits / bits of a flit, rounded up), for the sums in the tests:

                      bits   local   x    y   chip_x  chip_y  host
    spike              33      3     5    3      2       1      1
    marker             44      3     6    4      2       2      1
    value, n = 1       42      3     6    4      2       2      1
    value, n = 2       74      5    10    7      3       3      2
    partial, n = 1     52      4     7    5      2       2      1
    partial, n = 2     92      6    12    9      3       3      2
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from compiler.graph import Graph, Linear, Logits, Part, Residual, Site
from compiler.passes.pack import Packing
from compiler.passes.place import Placement
from compiler.passes.route import route
from compiler.passes.router_tables import router_tables
from compiler.passes.schedule import op_names, schedule
from compiler.program import LinearArrays, Program, Prompt
from compiler.tasks import Dataflow, Net, Task, Tile, Unit
from hw_models.chip import Chip, load_chip
from hw_models.events import MESSAGES
from hw_models.mesh import mesh_of
from simulator.drive import Simulation


class Wire(NamedTuple):
    """One kind of link: width of a flit in bits; ps a flit holds it; ps of a hop."""

    bits: int
    flit: int
    hop: int


AXON, ROW, SYNOP, PARTIAL, VALUE, UPDATE, ENCODE, VECTOR = 2, 3, 5, 7, 11, 13, 17, 19  # ps
LANES = 2
LOCAL, X, Y = Wire(16, 23, 29), Wire(8, 31, 37), Wire(11, 41, 43)
CHIP_X, CHIP_Y, HOST = Wire(32, 47, 53), Wire(33, 59, 61), Wire(64, 67, 71)
SPIKE_BITS = 13  # behind a header of 20

WIRES = {"local": LOCAL, "x": X, "y": Y, "chip_x": CHIP_X, "chip_y": CHIP_Y, "host": HOST}
TIMES = {
    "axon_ps": AXON,
    "row_ps": ROW,
    "synop_ps": SYNOP,
    "partial_ps": PARTIAL,
    "value_ps": VALUE,
    "update_ps": UPDATE,
    "encode_ps": ENCODE,
    "vector_ps": VECTOR,
}
FORMATS = {  # bits of header, bits of payload, values per message
    "spike": (20, 32, 1),
    "partial": (12, 64, 2),
    "value": (10, 32, 2),
    "marker": (4, 40, 1),
}


def chip(**changed: str) -> Chip:
    """2 x 2 chips of 3 x 2 routers with 2 cores each; keys to change have __ for the dot."""
    found = {
        "layout.chips": "[2, 2]",
        "layout.routers": "[3, 2]",
        "layout.cores_per_router": "2",
        "layout.usable_cores": "12",
        "core.lanes": str(LANES),
    }
    for name, wire in WIRES.items():
        found |= {
            f"link.{name}.flit_bits": f"{wire.bits} bit",
            f"link.{name}.flit_ps": f"{wire.flit} ps",
            f"link.{name}.hop_ps": f"{wire.hop} ps",
        }
    for name, (header, payload, values) in FORMATS.items():
        found |= {
            f"format.{name}.header_bits": f"{header} bit",
            f"format.{name}.payload_bits": f"{payload} bit",
            f"format.{name}.values_per_message": str(values),
        }
    found |= {f"timing.{name}": f"{ps} ps" for name, ps in TIMES.items()}
    return load_chip("toy", found | {k.replace("__", "."): v for k, v in changed.items()})


Place = tuple[int, int, int]
"""x and y of the router (0, 0 is the host's), and which of its two cores."""


class Row(NamedTuple):
    """What one core did."""

    start: int
    duration: int
    event: str
    task: str
    token: int
    message: str
    count: int

    @property
    def end(self) -> int:
        return self.start + self.duration


@dataclass(frozen=True, slots=True)
class Told:
    """Rows of the trace in time order, when each token's logits reached the host, and steps."""

    rows: tuple[Row, ...]
    logits_ps: dict[int, int]
    steps: int

    def fired(self, task: str, token: int = 0) -> Row:
        (row,) = (r for r in self.rows if (r.event, r.task, r.token) == ("fire", task, token))
        return row

    def served(self, task: str, message: str = "", token: int | None = None) -> list[Row]:
        return self._moves("serve", task, message, token)

    def injected(self, task: str, message: str = "", token: int | None = None) -> list[Row]:
        return self._moves("inject", task, message, token)

    def _moves(self, event: str, task: str, message: str, token: int | None) -> list[Row]:
        return [
            r
            for r in self.rows
            if r.event == event and r.task == task
            if message in ("", r.message) and token in (None, r.token)
        ]


@dataclass(slots=True)
class Story:
    """Tasks and nets under construction; `counts` are every token's integers at the encoders."""

    counts: Sequence[Sequence[int]]
    coding: str = "graded"
    neurons: int = 1  # of all tiles together
    tasks: list[Task] = field(default_factory=list)
    places: list[Place | None] = field(default_factory=list)
    nets: list[Net] = field(default_factory=list)

    def task(self, name: str, at: Place | None, op: str, **fields: Any) -> None:
        """`at` None: the host."""
        self.tasks.append(Task(name, op, 0, on_host=at is None, **fields))
        self.places.append(at)

    def send(self, source: str, message: str, *sinks: str, n: int = 1, **fields: Any) -> None:
        number = {task.name: i for i, task in enumerate(self.tasks)}
        to = tuple(number[s] for s in sinks)
        self.nets.append(Net(number[source], message, fields.pop("lo", 0), n, to, **fields))

    def tell(
        self,
        *,
        starts: Sequence[int] | None = None,
        decode: bool = False,
        on: Chip | None = None,
        **changed: str,
    ) -> Told:
        """Start token i at starts[i] ps (all at 0), or (decode) when the token before it is
        finished, and run to the end. `changed` goes to the chip, if it is not another (`on`)."""
        program = self._program(on or chip(**changed))
        rows: list[np.ndarray] = []
        simulation = Simulation(program, trace=rows.append, in_flight=len(self.counts))
        for token, ps in enumerate(starts or [0] * len(self.counts)):
            simulation.start(
                token, simulation.found.logits_ps[token - 1] if decode and token else ps
            )
            if decode:
                _run(simulation)
        _run(simulation)
        simulation.flush_trace()
        for site in simulation.found.activity.counts.values():
            assert [list(c) for c in site] == [list(c) for c in self.counts], "counts as told"
        table = np.concatenate(rows)
        return Told(
            tuple(_row(program, r) for r in table[np.argsort(table[:, 0], kind="stable")].tolist()),
            simulation.found.logits_ps,
            simulation.steps,
        )

    def _program(self, chip: Chip) -> Program:
        graph, mesh = self._graph(), mesh_of(chip)
        units = tuple(
            Unit(t.name, t.op, (i,), 0, 0, 0, 0, t.on_host) for i, t in enumerate(self.tasks)
        )
        cores = sorted({self._core(p, mesh.width) for p in self.places if p is not None})
        placement = Placement(mesh, tuple(cores))
        flow = Dataflow(self._awaiting(), units, tuple(self.nets))
        packing = Packing(
            tuple(-1 if p is None else cores.index(self._core(p, mesh.width)) for p in self.places),
            (0,) * len(cores),
        )
        trees = route(flow, packing, placement)
        tables = router_tables(trees, flow, mesh, chip)
        return Program(
            graph=graph,
            chip_text=chip.text,
            coding=self.coding,
            k=float(np.mean(np.abs(self.counts[0]))) or 1.0,  # then a vector's counts are itself
            codings={"site": (self.coding, SPIKE_BITS)},
            partial_bits={"linear": 40},
            ops=op_names(graph),
            task_names=tuple(t.name for t in self.tasks),
            n_cores=len(cores),
            n_chips=4,
            max_streams=1,
            bounds={},
            statistics={},
            prompt=Prompt(b"", 1),
            tables=schedule(graph, flow, packing, placement, trees, tables, chip),
            linears={"linear": self._ones()},
            vectors={"weight": np.ones(len(self.counts[0]), np.float32)},
            embedding=np.array(self.counts, np.float32),
            source={},
        )

    @staticmethod
    def _core(at: Place, width: int) -> int:
        x, y, k = at
        return 2 * (width * y + x) + k

    def _awaiting(self) -> tuple[Task, ...]:
        """Tasks with what they await: a marker per spike net, otherwise every unit sent."""
        need, extra = [0] * len(self.tasks), [0] * len(self.tasks)
        for net in self.nets:
            for sink in net.sinks:
                waits = need if net.residue < 0 else extra
                waits[sink] += 1 if net.message == "spike" else net.n
        return tuple(
            replace(t, need=a, extra=b) for t, a, b in zip(self.tasks, need, extra, strict=True)
        )

    def _graph(self) -> Graph:
        n = len(self.counts[0])
        return Graph(
            model="story",
            profile="paper",
            embedding="embedding",
            vocab=len(self.counts),
            stages=(
                Residual("norm", None, "site", n, "weight", 1e-9),
                Logits("logits", "linear", self.neurons),
            ),
            sites=(Site("site", n, "mean-abs"),),
            linears=(
                Linear("linear", "site", n, self.neurons, (Part("w", None, (0, self.neurons)),)),
            ),
        )

    def _ones(self) -> LinearArrays:
        n = self.neurons
        return LinearArrays(
            q=np.ones((n, len(self.counts[0])), np.int8),
            m=np.ones((n, 1), np.int32),
            row_scale=np.ones(n, np.float32),
            bias=np.zeros(n, np.float32),
        )


def _run(simulation: Simulation) -> None:
    for _ in simulation.advance():
        pass


def _row(program: Program, row: list[int]) -> Row:
    time, duration, event, _, task, token, message, count = row
    return Row(
        time,
        duration,
        ("inject", "serve", "fire")[event],
        program.task_names[task],
        token,
        MESSAGES[message] if message >= 0 else "",
        count,
    )


def layer(
    counts: Sequence[Sequence[int]],
    *,
    encoders: Sequence[Place] = ((0, 0, 0),),
    tiles: Sequence[Place] = ((1, 0, 0),),
    neurons: int = 1,
    norm: Place = (0, 0, 1),
    home: Place = (0, 1, 0),
    coding: str = "graded",
) -> Story:
    """The usual cast; encoders share the channels equally, every tile has `neurons` of its own.

    The norm sends one value to all encoders; every encoder multicasts to all tiles.
    """
    n = len(counts[0])
    each = n // len(encoders)
    story = Story(counts, coding, neurons * len(tiles))
    story.task("host.embed", None, "host")
    story.task("norm", norm, "norm", gathers=True)
    for i, at in enumerate(encoders):
        story.task(f"encoder {i}", at, "norm", channels=(i * each, each), site="site")
    for i, at in enumerate(tiles):
        tile = Tile("linear", 0, n, i * neurons, neurons, 1)
        story.task(f"tile {i}", at, "linear", tile=tile)
    story.task("home", home, "logits", neurons=(0, neurons * len(tiles)), gathers=True)
    story.task("host.logits", None, "host")
    story.send("host.embed", "value", "norm", n=n)
    story.send("norm", "value", *(f"encoder {i}" for i in range(len(encoders))))
    for i in range(len(encoders)):
        to = (f"tile {j}" for j in range(len(tiles)))
        story.send(f"encoder {i}", "spike", *to, lo=i * each, n=each)
    for i in range(len(tiles)):
        story.send(f"tile {i}", "partial", "home", lo=i * neurons, n=neurons)
    story.send("home", "value", "host.logits", n=neurons * len(tiles))
    return story


HERE: Place = (0, 0, 1)


def stage(counts: Sequence[Sequence[int]] = ((1,),)) -> Story:
    """A story whose own layer lives on one core and uses no link but that core's and the host's.

    Everything else is free for actors: vector tasks that the norm starts (see `actor`).
    """
    return layer(counts, norm=HERE, encoders=[HERE], tiles=[HERE], home=HERE)


def actors(story: Story, **places: Place) -> None:
    """Vector tasks; they do what their last input starts, without time of their own."""
    for name, at in places.items():
        story.task(name, at, "norm")
