"""The canonical executor: the graph, one token at a time, obviously right.

Every linear is one whole integer product; every float operation is the function
the simulator calls. What it returns is what a functional simulation must equal.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.linear import W8, exact_linear, linear_output
from kernels.stage import STAGES
from kernels.threshold import count, threshold


@dataclass(slots=True)
class TokenTrace:
    """Everything integer (and the logits) of one token.

    counts[site] int32[n]; v_th[site] float32; sums[linear] int64[n_post]; logits float32[vocab]:
    what the last stage gives, in a network of spiking neurons its spikes or membranes
    """

    counts: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    v_th: dict[str, np.float32] = field(default_factory=dict)
    sums: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    logits: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Numbers:
    """A quantised model's numbers: (W8, float32 bias) per linear, norm vectors, embedding."""

    linears: Mapping[str, tuple[W8, Tensor]]
    vectors: Mapping[str, Tensor]
    embedding: Tensor


@torch.inference_mode()
def execute(
    graph: Any, numbers: Numbers, tokens: Sequence[Any], k: float = 3.0
) -> Iterator[TokenTrace]:
    """Yield one trace per token; state is carried between them.

    graph: a compiler.graph.Graph (only its fields are read). tokens: ids, or vectors of 0 and 1
    for a graph that takes spikes. Raises BadInput (kernels.threshold, kernels.linear).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        memory: dict[object, Any] = {}
        for position, token in enumerate(tokens):
            yield _token(graph, numbers, memory, token, position, k)
    finally:
        torch.set_num_threads(threads)


def _token(
    graph: Any,
    numbers: Numbers,
    memory: dict[object, Any],
    token: Any,
    position: int,
    k: float,
) -> TokenTrace:
    trace = TokenTrace()
    spikes: dict[str, tuple[Tensor, Tensor]] = {}  # site -> counts, V_th
    for stage in graph.stages:
        if stage.kind == "input":
            y = torch.tensor(token, dtype=torch.float32)
        elif stage.linear is None:
            y = numbers.embedding[token]
        else:
            linear, (w8, bias) = graph.linear(stage.linear), numbers.linears[stage.linear]
            counts, v_th = spikes.pop(linear.site)
            sums = exact_linear(counts, w8)
            trace.sums[linear.name] = sums.numpy()
            y = linear_output(sums, v_th, w8.row_scale, bias)
        x = STAGES[stage.kind](stage, numbers.vectors, memory, y, position)
        if stage is graph.stages[-1]:
            trace.logits = x.numpy()
        name = getattr(stage, "site", None)
        if name is None:  # its outputs go to the host as they are
            continue
        site = graph.site(name)
        v_th = threshold(site.threshold, x, k)
        counts = count(x, v_th, site=site.name, token=position)
        spikes[site.name] = counts, v_th
        trace.counts[site.name] = counts.numpy()
        trace.v_th[site.name] = np.float32(v_th)
    return trace
