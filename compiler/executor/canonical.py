"""The canonical executor: the graph, one token at a time, obviously right.

Every linear is one whole integer product; every float operation is the function
the simulator calls. What it returns is what a functional simulation must equal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Graph, Logits, Site
from compiler.weights import Parameters
from kernels.linear import exact_linear, linear_output
from kernels.stage import STAGES
from kernels.threshold import absmax16, count, mean_abs


@dataclass(slots=True)
class TokenTrace:
    """Everything integer (and the logits) of one token.

    counts[site] int32[n]; v_th[site] float32; sums[linear] int64[n_post]; logits float32[vocab]
    """

    counts: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    v_th: dict[str, np.float32] = field(default_factory=dict)
    sums: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    logits: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


def threshold(site: Site, x: Tensor, k: float) -> Tensor:
    """V_th of one token at a site, by the site's rule (DESIGN 3.1)."""
    return absmax16(x) if site.threshold == "absmax16" else mean_abs(x, k)


@torch.inference_mode()
def execute(
    graph: Graph, parameters: Parameters, tokens: Sequence[int], k: float = 3.0
) -> Iterator[TokenTrace]:
    """Yield one trace per token; state is carried between them. Raises BadInput (kernels.threshold)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        memory: dict[object, object] = {}
        for position, token in enumerate(tokens):
            yield _token(graph, parameters, memory, token, position, k)
    finally:
        torch.set_num_threads(threads)


def _token(
    graph: Graph,
    parameters: Parameters,
    memory: dict[object, object],
    token: int,
    position: int,
    k: float,
) -> TokenTrace:
    trace = TokenTrace()
    spikes: dict[str, tuple[Tensor, Tensor]] = {}  # site -> counts, V_th
    for stage in graph.stages:
        if stage.linear is None:
            y = parameters.embedding[token]
        else:
            linear, synapses = graph.linear(stage.linear), parameters.linears[stage.linear]
            counts, v_th = spikes.pop(linear.site)
            sums = exact_linear(counts, synapses.w8)
            trace.sums[linear.name] = sums.numpy()
            y = linear_output(sums, v_th, synapses.w8.row_scale, synapses.bias)
        x = STAGES[stage.kind](stage, parameters.vectors, memory, y, position)
        if isinstance(stage, Logits):
            trace.logits = x.numpy()
            continue
        site = graph.site(stage.site)
        v_th = threshold(site, x, k)
        counts = count(x, v_th, site=site.name, token=position)
        spikes[site.name] = counts, v_th
        trace.counts[site.name] = counts.numpy()
        trace.v_th[site.name] = np.float32(v_th)
    return trace
