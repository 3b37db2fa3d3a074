"""The operation graph: what a spiking language model computes for one token.

The graph is bipartite. A *stage* is vector work on float32 (norm, attention,
SwiGLU, logits) and ends in an encoder *site*; a *linear* takes the spikes of one
site to integer sums that the next stage scales back to float32. Linears that read
the same site are fused, so one site drives exactly one linear:

    host embedding -> residual -> [attn_in] qkvg -> gla | window -> [o_in] o
      -> residual -> [mlp_in] gate_up -> swiglu -> [down_in] down -> residual
      ... -> residual -> [head_in] head -> logits -> host sampling

In a mixture of experts the norm is encoded twice, for the experts and for the router, and the
site of the experts drives one linear of each. Those under a *condition* (router, index) do
nothing for a token, nor does what follows from them, unless the router chooses the index:

      -> residual -> [router_in] router -> route
                  -> [mlp_in] shared.gate_up -> swiglu -> [down_in] shared.down -> residual
                           if experts.e.gate_up -> swiglu -> [down_in] experts.e.down -> it too
A network of spiking neurons is the same alternation, one token per time step:

    host spikes -> [in.spikes] fc1 -> population -> [lif1.spikes] fc2 -> population -> host

Tensors never live here; nodes name them.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, get_args

from hw_models.errors import BadInput, Bug

Threshold = Literal["mean-abs", "absmax16", "spikes"]
Scoring = Literal["softmax", "sigmoid"]
Condition = tuple[str, int]
"""A router's stage and the index of one of its experts."""
GROUP: Final = 128  # inputs that share a mantissa
Neuron = Literal["if", "lif", "cubalif", "threshold", "i", "li", "cubali", "loihi"]


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

    `align` is the number of consecutive neurons that belong to one output channel of the next stage
    (2 for interleaved gate and up), so that no cut parts them. With a `condition` it runs for the
    tokens whose router chooses that expert. An unrolled convolution holds zeros that the model does
    not multiply by: `multiplied`. `integers`: the tensors hold the synapses themselves, and a sum
    is what it is; `bits`: of each. `listed`: of all pairs so many are stored; None: every one.
    """

    name: str
    site: str
    n_pre: int
    n_post: int
    parts: tuple[Part, ...]
    align: int = 1
    condition: Condition | None = None
    multiplied: int | None = None  # multiply-accumulates of the model; None: one per synapse
    integers: bool = False
    bits: int = 8
    listed: int | None = None

    def __post_init__(self) -> None:
        if min(self.n_pre, self.n_post) < 1:
            raise BadInput(f"empty weight matrix {self.n_post}x{self.n_pre}", where=self.name)
        if not 8 <= self.bits <= 16 or (self.bits > 8 and not self.integers):
            raise BadInput(f"{self.bits}-bit weights", where=self.name)
        rows = sum(
            b - a for p in self.parts for a, b in zip(p.rows[::2], p.rows[1::2], strict=True)
        )
        if rows != self.n_post:
            raise Bug(f"{rows} rows named for {self.n_post} neurons", where=self.name)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense model for one token."""
        return self.n_pre * self.n_post if self.multiplied is None else self.multiplied

    @property
    def synapses(self) -> int:
        return self.n_pre * self.n_post if self.listed is None else self.listed

    @property
    def plain(self) -> bool:
        """8 bits, every pair: what a core adds up row by row."""
        return self.bits == 8 and self.listed is None

    @property
    def group(self) -> int:
        """Inputs per accumulator: integers that are not plain have one."""
        return self.n_pre if self.integers and not self.plain else GROUP


@dataclass(frozen=True, slots=True)
class Residual:
    """x += y (or x = embedding); out = x / sqrt(mean(x^2) + eps) * weight.

    Behind a router, y is the linear's output and, added one by one in ascending order, weight
    x output of the chosen `experts` (one linear per index; kernels.experts). `dense_site` encodes
    the same vector once more, for a router to come.
    """

    kind: ClassVar[str] = "residual"
    name: str
    linear: str | None  # None: the host's embedding starts the stream
    site: str
    n: int
    weight: str
    eps: float
    router: str | None = None
    experts: tuple[str, ...] = ()
    dense_site: str | None = None

    def __post_init__(self) -> None:
        if (self.router is None) != (not self.experts) or (self.experts and self.linear is None):
            raise BadInput("experts need a router, and a linear to add to", where=self.name)


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
class Parallel:
    """Linear and softmax attention side by side: o = w_1 norm(o_1) + w_2 norm(o_2) per head.

    o_1 is gated linear attention of sigmoid(q) and k' = sigmoid(k) with decay 1 - k'. o_2 is
    attention as of `Window`, where every token also sees `sinks` tokens that come before the
    text: positions 0 .. sinks - 1, keys and values stored, [sinks, kv_heads, head_dim], for they
    do not depend on the text. The linear's neurons come as for `Window`; both branches read them.
    """

    kind: ClassVar[str] = "parallel"
    name: str
    linear: str
    site: str
    heads: int
    kv_heads: int
    head_dim: int
    window: int
    theta: float
    sinks: int
    sink_key: str  # after RoPE
    sink_value: str
    linear_norm: str  # norms over one head's outputs
    window_norm: str
    eps: float
    merge: tuple[float, float]

    def __post_init__(self) -> None:
        if min(self.heads, self.kv_heads, self.head_dim, self.window, self.sinks) < 1:
            raise BadInput("heads, channels, window and sinks are 1 or more", where=self.name)
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise BadInput(
                f"{self.heads} heads of {self.head_dim} channels over {self.kv_heads} keys",
                where=self.name,
            )


@dataclass(frozen=True, slots=True)
class Router:
    """Chooses `top_k` of n experts by the linear's outputs: the largest, ties to the lower index.

    A chosen expert weighs softmax over all n outputs, or the sigmoid of its own.
    """

    kind: ClassVar[str] = "router"
    name: str
    linear: str
    n: int
    top_k: int
    scoring: Scoring

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= self.n:
            raise BadInput(f"{self.top_k} of {self.n} experts chosen", where=self.name)
        if self.scoring not in get_args(Scoring):
            raise BadInput(f"experts scored by {self.scoring!r}", where=self.name)


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
    """n neurons with state from step to step; the equations: kernels.neurons.

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


Stage = (
    Residual | Gla | Window | Parallel | Router | Swiglu | Logits  # of language models
    | SpikeInput | Population
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Graph:
    """One model, in execution order; `embedding` names the host's look-up table.

    context: tokens that full attention looks back on, as compiled; None: every memory is bounded by
    the model itself. A network of spiking neurons has neither embedding nor vocabulary.
    """

    model: str
    profile: str
    embedding: str | None
    vocab: int
    stages: tuple[Stage, ...]
    sites: tuple[Site, ...]
    linears: tuple[Linear, ...]
    context: int | None = None

    def site(self, name: str) -> Site:
        return next(s for s in self.sites if s.name == name)

    def linear(self, name: str) -> Linear:
        return next(lin for lin in self.linears if lin.name == name)

    def linear_from(self, site: str) -> Linear:
        """What a site drives for every token."""
        return next(lin for lin in self.linears if lin.site == site and lin.condition is None)

    def sites_of(self, stage: Stage) -> tuple[Site, ...]:
        return tuple(self.site(name) for name in feeds(stage))

    @property
    def takes_spikes(self) -> bool:
        """Whether the host sends spikes, step by step, instead of tokens."""
        return isinstance(self.stages[0], SpikeInput)

    @property
    def unit(self) -> str:
        """What the model takes one of at a time: a `token` or a time `step`."""
        return "step" if self.takes_spikes else "token"

    def macs(self) -> int:
        """Multiply-accumulates of the dense model's linears for one token.

        A router's experts are alike (verify): as many count as it chooses.
        """
        top_k = {s.name: s.top_k for s in self.stages if isinstance(s, Router)}
        return sum(
            lin.macs
            for lin in self.linears
            if lin.condition is None or lin.condition[1] < top_k[lin.condition[0]]
        )


def outputs(stage: Stage) -> int:
    """Channels a stage hands to its sites (or, for logits, to the host)."""
    match stage:
        case Gla() | Window() | Parallel():
            return stage.heads * stage.head_dim
        case Residual() | Router() | Swiglu() | Logits() | SpikeInput() | Population():
            return stage.n


def inputs(stage: Stage) -> int:
    """Neurons of each linear that a stage reads."""
    match stage:
        case Gla():
            return (stage.heads + 3 * stage.kv_heads) * stage.head_dim
        case Window() | Parallel():
            return (stage.heads + 2 * stage.kv_heads) * stage.head_dim
        case Swiglu():
            return 2 * stage.n
        case Residual() | Router() | Logits() | SpikeInput() | Population():
            return stage.n


def reads(stage: Stage) -> tuple[str, ...]:
    """Linears that a stage scales back to float32."""
    experts = stage.experts if isinstance(stage, Residual) else ()
    return experts if stage.linear is None else (stage.linear, *experts)


def feeds(stage: Stage) -> tuple[str, ...]:
    """Sites that encode what a stage computes; none where it goes to the host as values."""
    match stage:
        case Residual(dense_site=str(dense)):
            return stage.site, dense
        case Router() | Logits():
            return ()
        case Population():
            return () if stage.site is None else (stage.site,)
        case _:
            return (stage.site,)


def vectors(stage: Stage) -> tuple[str, ...]:
    """Tensors of a stage that stay float."""
    match stage:
        case Residual() | Gla():
            return (stage.weight,)
        case Parallel():
            return stage.linear_norm, stage.window_norm, stage.sink_key, stage.sink_value
        case Population():
            return stage.parameters
        case _:
            return ()
