"""The operation graph: what a spiking language model computes for one token.

The graph is bipartite. A *stage* is vector work on float32 (norm, attention,
SwiGLU, logits) and ends in an encoder *site*; a *linear* takes the spikes of one
site to integer sums that the next stage scales back to float32. Linears that read
the same site are fused, so one site drives exactly one linear:

    host embedding -> residual -> [attn_in] qkvg -> gla | window -> [o_in] o
      -> residual -> [mlp_in] gate_up -> swiglu -> [down_in] down -> residual
      ... -> residual -> [head_in] head -> logits -> host sampling

A network of spiking neurons is the same alternation, one token per time step:

    host spikes -> [in.spikes] fc1 -> population -> [lif1.spikes] fc2 -> population -> host

Tensors never live here; nodes name them.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from hw_models.errors import BadInput, Bug

Threshold = Literal["mean-abs", "absmax16", "spikes"]
Neuron = Literal["if", "lif", "cubalif", "threshold", "i", "li", "cubali"]


@dataclass(frozen=True, slots=True)
class Site:
    """An encoder: one float32[n] vector per token becomes n integer counts (DESIGN 3.1).

    `spikes`: the vector holds 0 and 1, its own counts, and V_th is 1.
    """

    name: str
    n: int
    threshold: Threshold

    def __post_init__(self) -> None:
        if not 1 <= self.n <= 65_536:
            raise BadInput(f"a site of {self.n} channels; 1 to 65,536 can be", where=self.name)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one checkpoint tensor that a fused linear takes, in their new order."""

    weight: str
    bias: str | None
    rows: tuple[int, ...]  # (start, stop) pairs, flattened


@dataclass(frozen=True, slots=True)
class Linear:
    """All-to-all synapses from one site: Y[o] = sum_i q[o, i] * s[i], then scales and bias.

    `align` is the number of consecutive neurons that belong to one output channel
    of the next stage (2 for interleaved gate and up), so that no cut parts them. A matrix
    unrolled from a convolution holds zeros that the model does not multiply by: `multiplied`.
    """

    name: str
    site: str
    n_pre: int
    n_post: int
    parts: tuple[Part, ...]
    align: int = 1
    multiplied: int | None = None  # multiply-accumulates of the model; None: one per synapse

    def __post_init__(self) -> None:
        if min(self.n_pre, self.n_post) < 1:
            raise BadInput(f"empty weight matrix {self.n_post}x{self.n_pre}", where=self.name)
        rows = sum(
            b - a for p in self.parts for a, b in zip(p.rows[::2], p.rows[1::2], strict=True)
        )
        if rows != self.n_post:
            raise Bug(f"{rows} rows named for {self.n_post} neurons", where=self.name)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense model for one token."""
        return self.n_pre * self.n_post if self.multiplied is None else self.multiplied


@dataclass(frozen=True, slots=True)
class Residual:
    """x += y (or x = embedding); out = x / sqrt(mean(x^2) + eps) * weight."""

    kind: ClassVar[str] = "residual"
    name: str
    linear: str | None  # None: the host's embedding starts the stream
    site: str
    n: int
    weight: str
    eps: float


@dataclass(frozen=True, slots=True)
class Gla:
    """Gated linear attention, one token: S = exp(g) S + k v^T, o = q S / sqrt(d), head norm.

    The linear's neurons come per key/value head: its query heads, then k, v, gate.
    """

    kind: ClassVar[str] = "gla"
    name: str
    linear: str
    site: str
    heads: int
    kv_heads: int
    head_dim: int
    normalizer: int
    weight: str  # norm over one head's outputs
    eps: float


@dataclass(frozen=True, slots=True)
class Window:
    """Softmax attention over the last `window` tokens, itself included; int8 keys and values.

    The linear's neurons come per key/value head: its query heads, then k, v. theta and scaling:
    kernels.rope.
    """

    kind: ClassVar[str] = "window"
    name: str
    linear: str
    site: str
    heads: int
    kv_heads: int
    head_dim: int
    window: int
    theta: float
    scaling: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Swiglu:
    """h[i] = silu(gate[i]) * up[i]; the linear's neurons interleave gate and up."""

    kind: ClassVar[str] = "swiglu"
    name: str
    linear: str
    site: str
    n: int


@dataclass(frozen=True, slots=True)
class Logits:
    """The head's outputs, sent to the host, which samples."""

    kind: ClassVar[str] = "logits"
    name: str
    linear: str
    n: int


@dataclass(frozen=True, slots=True)
class SpikeInput:
    """The host's spikes: 0 or 1 per channel and time step."""

    kind: ClassVar[str] = "input"
    linear: ClassVar[None] = None  # nothing on the chip comes before it
    name: str
    site: str
    n: int


@dataclass(frozen=True, slots=True)
class Population:
    """n neurons with float32 state from step to step; the equations: kernels.neurons.

    Its linear's outputs are their input currents. Only neurons that spike have a site; the
    others (i, li, cubali) end a network, and the host reads their membranes.
    """

    kind: ClassVar[str] = "population"
    name: str
    linear: str
    site: str | None
    n: int
    neuron: Neuron
    parameters: tuple[str, ...]  # vectors of n values, in the order of kernels.neurons.NEURONS


Stage = Residual | Gla | Window | Swiglu | Logits | SpikeInput | Population


@dataclass(frozen=True, slots=True)
class Graph:
    """One model, in execution order; `embedding` names the host's look-up table.

    A network of spiking neurons has neither embedding nor vocabulary.
    """

    model: str
    profile: str
    embedding: str | None
    vocab: int
    stages: tuple[Stage, ...]
    sites: tuple[Site, ...]
    linears: tuple[Linear, ...]

    def site(self, name: str) -> Site:
        return next(s for s in self.sites if s.name == name)

    def linear(self, name: str) -> Linear:
        return next(lin for lin in self.linears if lin.name == name)

    def linear_from(self, site: str) -> Linear:
        return next(lin for lin in self.linears if lin.site == site)

    def driven_by(self, stage: Stage) -> Linear | None:
        """The linear that a stage's spikes drive; None for the last stage."""
        site = site_of(stage)
        return next((lin for lin in self.linears if lin.site == site), None)

    @property
    def takes_spikes(self) -> bool:
        """Whether the host sends spikes, step by step, instead of tokens."""
        return isinstance(self.stages[0], SpikeInput)

    @property
    def unit(self) -> str:
        """What the model takes one of at a time: a `token` or a time `step`."""
        return "step" if self.takes_spikes else "token"

    def macs(self) -> int:
        """Multiply-accumulates of the dense model's linears for one token."""
        return sum(lin.macs for lin in self.linears)


def outputs(stage: Stage) -> int:
    """Channels a stage hands to its site (or, for logits, to the host)."""
    match stage:
        case Gla() | Window():
            return stage.heads * stage.head_dim
        case Residual() | Swiglu() | Logits() | SpikeInput() | Population():
            return stage.n


def site_of(stage: Stage) -> str | None:
    """The site that a stage ends in; None where its outputs go to the host as values."""
    return None if isinstance(stage, Logits) else stage.site


def vectors_of(stage: Stage) -> tuple[str, ...]:
    """The tensors that a stage computes with besides its linear's."""
    match stage:
        case Residual() | Gla():
            return (stage.weight,)
        case Population():
            return stage.parameters
        case _:
            return ()


def verify(graph: Graph) -> None:
    """Sites, linears and stages alternate and their widths agree; raises Bug."""
    sites = {s.name: s for s in graph.sites}
    linears = {lin.name: lin for lin in graph.linears}
    if len(sites) != len(graph.sites) or len(linears) != len(graph.linears):
        raise Bug("two sites or two linears share a name", where=graph.model)
    fed: set[str] = set()
    read: set[str] = set()
    for stage in graph.stages:
        if stage.linear is not None:
            if stage.linear not in linears or linears[stage.linear].site not in fed:
                raise Bug(f"{stage.linear} is read before it is driven", where=stage.name)
            read.add(stage.linear)
        if isinstance(stage, Population) and linears[stage.linear].n_post != stage.n:
            raise Bug(f"{stage.n} neurons read {stage.linear}", where=stage.name)
        site = site_of(stage)
        if site is not None:
            if outputs(stage) != sites[site].n:
                raise Bug(f"{outputs(stage)} outputs into {site}", where=stage.name)
            fed.add(site)
    for lin in graph.linears:
        if lin.n_pre != sites[lin.site].n:
            raise Bug(f"{lin.n_pre} inputs from a site of {sites[lin.site].n}", where=lin.name)
    if fed != set(sites) or read != set(linears):
        raise Bug("a site or a linear is left unused", where=graph.model)
    if len({lin.site for lin in graph.linears}) != len(linears):
        raise Bug("one site drives two linears", where=graph.model)
