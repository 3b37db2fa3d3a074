"""The canonical executor: the graph, one token at a time, obviously right.

Every linear is one whole integer product; every float operation is the function
the simulator calls. What it returns is what a functional simulation must equal.
Experts that a token's router does not choose neither encode nor sum anything.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.gla import active
from kernels.linear import W8, Listed, exact_linear, linear_output
from kernels.stage import STAGES, gla_operands
from kernels.threshold import count, threshold


@dataclass(slots=True)
class TokenTrace:
    """Everything integer (and the logits) of one token.

    counts[site] int32[n]; v_th[site] float32; sums[linear] int64[n_post]; logits float32[vocab]:
    what the last stage gives, in a network of spiking neurons its spikes or membranes;
    chosen[router] = experts, ascending. Sites and linears of the others have no entry.
    active[gla] uint8[heads, d]: which key channels touch the state (kernels.gla.active).
    """

    counts: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    v_th: dict[str, np.float32] = field(default_factory=dict)
    sums: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    chosen: dict[str, tuple[int, ...]] = field(default_factory=dict)
    active: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    logits: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Numbers:
    """A quantised model's numbers: (synapses, float32 bias) per linear, norm vectors, embedding."""

    linears: Mapping[str, tuple[W8 | Listed, Tensor]]
    vectors: Mapping[str, Tensor]
    embedding: Tensor


Sums = Callable[[str, Tensor], Tensor]
"""Int64 sums of a linear, by name, from its int32 counts."""


@torch.inference_mode()
def execute(
    graph: Any,
    numbers: Numbers,
    tokens: Iterable[Any],
    k: float = 3.0,
    analog: Sums | None = None,
) -> Iterator[TokenTrace]:
    """Yield one trace per token; state is carried between them.

    graph: a compiler.graph.Graph (only its fields are read). tokens: ids, or vectors of 0 and 1
    for a graph that takes spikes; each is asked for when the one before has been yielded. analog:
    what adds up in place of exact_linear. Raises BadInput (kernels.threshold, kernels.linear).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        memory: dict[object, Any] = {}
        for position, token in enumerate(tokens):
            yield _token(graph, numbers, memory, token, position, k, analog)
    finally:
        torch.set_num_threads(threads)


def _token(
    graph: Any,
    numbers: Numbers,
    memory: dict[object, Any],
    token: Any,
    position: int,
    k: float,
    analog: Sums | None,
) -> TokenTrace:
    trace = TokenTrace()
    spikes: dict[str, tuple[Tensor, Tensor]] = {}  # site -> counts, V_th

    def output(linear: Any) -> Tensor:
        w8, bias = numbers.linears[linear.name]
        counts, v_th = spikes[linear.site]
        sums = analog(linear.name, counts) if analog else exact_linear(counts, w8)
        trace.sums[linear.name] = sums.numpy()
        return linear_output(sums, v_th, w8.row_scale, bias)

    for stage in graph.stages:
        if stage.kind == "input":
            y = torch.tensor(token, dtype=torch.float32)
        elif stage.linear is None:
            y = numbers.embedding[token].float()
        else:
            linear = graph.linear(stage.linear)
            if linear.condition is not None:
                router, expert = linear.condition
                if expert not in trace.chosen[router]:
                    continue
            y = output(linear)
        if stage.kind == "residual" and stage.router is not None:
            chosen = (stage.experts[i] for i in trace.chosen[stage.router])
            y = torch.stack([y, *(output(graph.linear(name)) for name in chosen)])
        x = STAGES[stage.kind](stage, numbers.vectors, memory, y, position)
        if stage.kind == "gla":
            trace.active[stage.name] = active(*gla_operands(stage, y)[:2]).numpy()
        if stage.kind == "router":
            trace.chosen[stage.name] = memory[stage.name, position][0]
        if stage is graph.stages[-1]:
            trace.logits = x.numpy()
        for site in graph.sites_of(stage):
            v_th = threshold(site.threshold, x, k)
            counts = count(x, v_th, site=site.name, token=position)
            spikes[site.name] = counts, v_th
            trace.counts[site.name] = counts.numpy()
            trace.v_th[site.name] = np.float32(v_th)
    return trace
