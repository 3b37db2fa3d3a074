"""The skeleton that all supported decoders share; a front end fills in names and attention:

norm -> q, k, v, ... -> attention -> o -> add, norm -> gate, up -> SwiGLU -> down -> add -> ...
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from compiler.audit.graph import verify
from compiler.graph import (
    Condition,
    Gla,
    Graph,
    Linear,
    Logits,
    Parallel,
    Part,
    Residual,
    Router,
    Scoring,
    Site,
    Stage,
    Swiglu,
    Window,
    outputs,
)


@dataclass(slots=True)
class Assembly:
    """A graph under construction, in execution order; profile `paper`: all blocks spike."""

    hidden: int
    eps: float
    stages: list[Stage] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    linears: list[Linear] = field(default_factory=list)
    stream: str | None = None  # the linear whose output joins the residual stream next
    router: str | None = None  # and whose choice of `experts` does
    experts: tuple[str, ...] = ()

    def norm(self, name: str, site: str, weight: str, dense_site: str | None = None) -> None:
        """What the last linears gave joins the stream; the norm of that drives `site`.

        dense_site: a second one, for a router.
        """
        joins = (self.router, self.experts, dense_site)
        residual = Residual(name, self.stream, site, self.hidden, weight, self.eps, *joins)
        self.stages.append(residual)
        self.router, self.experts = None, ()
        for own in filter(None, (site, dense_site)):
            # dense linears keep 16-bit activations (DESIGN 3.3)
            dense = own in ("head_in", dense_site)
            self.sites.append(Site(own, self.hidden, "absmax16" if dense else "mean-abs"))

    def attention(
        self, at: str, stage: Gla | Window | Parallel, parts: Iterable[Part], o: str
    ) -> None:
        """Fused projections into `stage`, and the output projection `o` behind it."""
        own, wide = tuple(parts), outputs(stage)
        rows = sum(p.rows[1] - p.rows[0] for p in own)
        self.linears.append(Linear(stage.linear, at + "attn_in", self.hidden, rows, own))
        self.stages.append(stage)
        self.stream = self._project(at + "o", stage.site, wide, o)

    def mlp(self, at: str, src: str, n: int) -> None:
        """SwiGLU of n channels between its linears, whose tensors' names begin with `src`."""
        self.stream = self._swiglu(at, src, n, at + "mlp_in")

    def mixture(
        self, at: str, src: str, sizes: tuple[int, int], n: int, top_k: int, scoring: Scoring
    ) -> None:
        """One SwiGLU for every token and n of which a router chooses top_k, in place of one.

        sizes: channels of the shared expert and of each other; their tensors' names begin with
        `src`, after Qwen2-MoE. The norm before drives at + "mlp_in" and at + "router_in".
        """
        part = Part(src + "gate.weight", None, (0, n))
        self.linears.append(Linear(at + "router", at + "router_in", self.hidden, n, (part,)))
        self.router = at + "route"
        self.stages.append(Router(self.router, at + "router", n, top_k, scoring))
        shared, size = sizes
        site = at + "mlp_in"
        self.stream = self._swiglu(at + "shared.", src + "shared_expert.", shared, site)
        self.experts = tuple(
            self._swiglu(f"{at}experts.{i}.", f"{src}experts.{i}.", size, site, (self.router, i))
            for i in range(n)
        )

    def _swiglu(
        self, at: str, src: str, n: int, site: str, condition: Condition | None = None
    ) -> str:
        """From `site` through gate and up, SwiGLU and down; returns the last linear."""
        parts = tuple(Part(f"{src}{name}_proj.weight", None, (0, n)) for name in ("gate", "up"))
        gated = at + "gate_up"
        self.linears.append(Linear(gated, site, self.hidden, 2 * n, parts, 2, condition))
        stage = Swiglu(at + "swiglu", gated, at + "down_in", n)
        self.stages.append(stage)
        return self._project(at + "down", stage.site, n, src + "down_proj.weight", condition)

    def _project(
        self, name: str, site: str, n_pre: int, weight: str, condition: Condition | None = None
    ) -> str:
        """A spiking linear from a stage's n_pre channels back to the residual stream."""
        self.sites.append(Site(site, n_pre, "mean-abs"))
        part = Part(weight, None, (0, self.hidden))
        linear = Linear(name, site, n_pre, self.hidden, (part,), condition=condition)
        self.linears.append(linear)
        return name

    def finish(
        self,
        model: str,
        embedding: str,
        norm: str,
        head: str,
        vocab: int,
        context: int | None = None,
    ) -> Graph:
        """The final norm and the dense head; returns the verified graph."""
        self.norm("final_norm", "head_in", norm)
        part = Part(head, None, (0, vocab))
        self.linears.append(Linear("head", "head_in", self.hidden, vocab, (part,)))
        self.stages.append(Logits("logits", "head", vocab))
        parts = (tuple(self.stages), tuple(self.sites), tuple(self.linears))
        graph = Graph(model, "paper", embedding, vocab, *parts, context)
        verify(graph)
        return graph


def by_head(
    at: str, heads: int, kv_heads: int, d: int, shared: Sequence[str], *, bias: bool
) -> Iterator[Part]:
    """Rows of q and of the `shared` projections per key/value head: a head's neurons side by side.

    at: what their names begin with, as in "model.layers.0.attn.".
    """

    def part(name: str, lo: int, n: int) -> Part:
        tensor = f"{at}{name}_proj."
        return Part(tensor + "weight", tensor + "bias" if bias else None, (lo, lo + n))

    group = d * (heads // kv_heads)
    for head in range(kv_heads):
        yield part("q", head * group, group)
        for name in shared:
            yield part(name, head * d, d)
