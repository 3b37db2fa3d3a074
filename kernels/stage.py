"""The float work between two linears, one token at a time.

The canonical executor and the simulator call these very functions on operands of
the same shapes, one thread, no BLAS, so that their results are equal with ==
(DESIGN 3.4). `op` is a stage of the operation graph; only its fields are read.
`y` is the preceding linear's float32 output in the linear's neuron order.
"""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor

from kernels.gla import gla_step, log_gate
from kernels.neurons import population
from kernels.norm import rms_norm
from kernels.rope import rope
from kernels.swiglu import swiglu
from kernels.window import quantize_kv, window_step

Vectors = Mapping[str, Tensor]
Memory = MutableMapping[object, Any]
"""What a sequence carries: ("x", position) -> residual stream; a stage's name -> its state."""


def residual(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """Add to the residual stream and normalise: float32[n] -> float32[n]."""
    x = y if op.linear is None else memory["x", position] + y
    memory["x", position] = x
    return rms_norm(x, vectors[op.weight], op.eps)


def split_heads(op: Any, y: Tensor, shared: int) -> list[Tensor]:
    """[kv_heads * (group + shared) * d] -> q [heads, d] and `shared` tensors [kv_heads, d]."""
    group = op.heads // op.kv_heads
    parts = y.reshape(op.kv_heads, group + shared, op.head_dim)
    q = parts[:, :group].reshape(op.heads, op.head_dim)
    return [q, *(parts[:, group + i].contiguous() for i in range(shared))]


def gla(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """One step of gated linear attention: float32[n] -> float32[heads * d]."""
    group, d = op.heads // op.kv_heads, op.head_dim
    q, k, v, gate = split_heads(op, y, 3)
    state = memory.get(op.name)
    if state is None:
        state = torch.zeros(op.heads, d, d)
    k, v, gate = (
        a.repeat_interleave(group, 0) for a in (k.relu(), v, log_gate(gate, op.normalizer))
    )
    out, memory[op.name] = gla_step(state, q.relu(), k, v, gate)
    return rms_norm(out, vectors[op.weight], op.eps).reshape(-1)


def window(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """One step of window attention: float32[n] -> float32[heads * d]."""
    q, k, v = split_heads(op, y, 2)
    q, k = (rope(a, position, op.theta, op.scaling) for a in (q, k))
    new = [a[None] for pair in (quantize_kv(k), quantize_kv(v)) for a in pair]
    if op.name in memory:
        old = (a[max(0, a.shape[0] - op.window + 1) :] for a in memory[op.name])
        new = [torch.cat([a, b]) for a, b in zip(old, new, strict=True)]
    memory[op.name] = new
    return window_step(q, *new).reshape(-1)


def gated(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """SwiGLU of interleaved gate and up: float32[2 n] -> float32[n]."""
    pairs = y.reshape(op.n, 2)
    return swiglu(pairs[:, 0].contiguous(), pairs[:, 1].contiguous())


def logits(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """The head's outputs as they are; the token's residual stream ends here."""
    memory.pop(("x", position), None)
    return y


def spike_input(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """The host's spikes of one step, 0 or 1, as they are: float32[n]."""
    return y


STAGES: dict[str, Callable[[Any, Vectors, Memory, Tensor, int], Tensor]] = {
    "residual": residual,
    "gla": gla,
    "window": window,
    "swiglu": gated,
    "logits": logits,
    "input": spike_input,
    "population": population,
}
