"""Dataflow tasks: what runs on a core, what it waits for and what it sends.

A *task* fires once per token, in token order, when its inputs are complete. A tile
task waits for the markers of its source trees; a vector task for a known number of
values and partial sums. A vector task that gets sums and gathers nothing adds them up
and sends them on: a chip's tiles agree on one sum per neuron before it leaves. A *unit*
is a set of tasks that share one core's memory. A *net* carries what one task sends to
one fixed set of tasks; routing makes it a tree.

Under a *condition* (compiler.graph) a task fires only for tokens whose router chooses that
expert, and a net of a task that always fires is sent only for them. What awaits sums of several
experts of a router counts those of the chosen ones.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Condition

I64 = NDArray[np.int64]

MessageClass = Literal["spike", "partial", "value"]
MESSAGES: tuple[MessageClass, ...] = get_args(MessageClass)


@dataclass(frozen=True, slots=True)
class Tile:
    """Block [post, post + n_post) x [pre, pre + n_pre) of a fused linear on one core.

    Tiles with the same number `block` are meant to share a chip. stored, driven: its synapses, and
    the inputs that have any, of a listed linear; None: all.
    """

    linear: str
    pre: int
    n_pre: int
    post: int
    n_post: int
    groups: int
    block: int = 0
    stored: int | None = None
    driven: int | None = None

    @property
    def synapses(self) -> int:
        return self.n_pre * self.n_post if self.stored is None else self.stored

    @property
    def axons(self) -> int:
        return self.n_pre if self.driven is None else self.driven


@dataclass(frozen=True, slots=True)
class Ring:
    """A stripe of a KV ring: of the last `window` tokens t, those with t % period == residue."""

    window: int
    period: int
    residue: int


@dataclass(frozen=True, slots=True)
class Task:
    """One dataflow node; every number is per token.

    need        units awaited: values and partial sums (vector), spike trees (tile)
    extra       further units, only for tokens that fall into `ring`
    neurons     (first, n) of the linears whose partial sums arrive here, if any
    rows        sums per neuron: 1, and behind a router one more per chosen expert
    gathers     its firing delivers operands of the stage's float function
    channels    (first, n) of `site` encoded here, if any
    encodes     whether they are coded here; False: they are spikes already
    resends     its counts are another task's of the same unit, sent on when a router has chosen
    condition   fires under it; None: for every token
    work        vector work by event kind; `ring_work` once more per token in the ring
    """

    name: str
    op: str
    need: int
    extra: int = 0
    ring: Ring | None = None
    tile: Tile | None = None
    neurons: tuple[int, int] | None = None
    rows: int = 1
    gathers: bool = False
    channels: tuple[int, int] | None = None
    site: str | None = None
    encodes: bool = True
    resends: bool = False
    condition: Condition | None = None
    on_host: bool = False
    work: Mapping[str, int] = field(default_factory=dict)
    ring_work: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unit:
    """Tasks that must share a core, and what they take from it.

    state_bytes holds mantissas, accumulators x token slots, float vectors and
    recurrent state; synapse_bytes one byte per weight. `place` is where it stands in
    the pipeline, counted in tiles; `block`: see Tile.
    """

    name: str
    op: str
    tasks: tuple[int, ...]
    synapse_bytes: int
    state_bytes: int
    neurons: int
    in_axons: int
    on_host: bool = False
    stream_bytes: int = 0  # of state_bytes, what each further sequence needs again: GLA, KV
    place: float = 0.0
    block: int = 0


@dataclass(frozen=True, slots=True)
class Net:
    """Messages of one class from a task to a fixed set of tasks.

    lo, n   channels of the site (spike), neurons of the linear (partial), or 0 and
            the number of values
    residue sent only for tokens with t % period == residue (KV stripes); -1: always
    condition sent only under it; None: whenever its source fires
    """

    source: int
    message: MessageClass
    lo: int
    n: int
    sinks: tuple[int, ...]
    period: int = 1
    residue: int = -1
    condition: Condition | None = None


@dataclass(frozen=True)
class NetColumns:
    """Nets as arrays, in their order: sink[first[net] : first[net + 1]] are its sinks.

    message is an index into MESSAGES.
    """

    source: I64
    message: I64
    lo: I64
    n: I64
    first: I64
    sink: I64

    @cached_property
    def net(self) -> I64:
        """Net of every sink."""
        return np.repeat(np.arange(self.source.size), np.diff(self.first))


@dataclass(frozen=True)
class Dataflow:
    """The whole model as tasks, units and nets."""

    tasks: tuple[Task, ...]
    units: tuple[Unit, ...]
    nets: tuple[Net, ...]

    @cached_property
    def columns(self) -> NetColumns:
        """The nets, for whoever looks at all of them."""

        def column(values: Iterable[int]) -> I64:
            return np.fromiter(values, np.int64)

        index = {message: i for i, message in enumerate(MESSAGES)}
        sizes = column(len(net.sinks) for net in self.nets)
        return NetColumns(
            source=column(net.source for net in self.nets),
            message=column(index[net.message] for net in self.nets),
            lo=column(net.lo for net in self.nets),
            n=column(net.n for net in self.nets),
            first=np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
            sink=column(chain.from_iterable(net.sinks for net in self.nets)),
        )
