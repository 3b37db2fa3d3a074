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

from kernels.experts import choose, mixture
from kernels.gla import decay_step, log_gate
from kernels.neurons import population
from kernels.norm import rms_norm
from kernels.rope import rope
from kernels.swiglu import swiglu
from kernels.window import quantize_kv, window_step

Vectors = Mapping[str, Tensor]
Memory = MutableMapping[object, Any]
"""What a sequence carries: ("x", position) -> residual stream; a stage's name -> its state;
(a router's name, position) -> the chosen experts and their weights, until they are added."""
Ring = list[Tensor]
"""Keys, their scales, values, their scales (kernels.window) of the tokens kept, oldest first."""


def residual(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """Add to the residual stream and normalise: float32[n] -> float32[n].

    Behind a router y is float32[1 + top_k, n]: the linear's output, then the chosen experts'.
    """
    if op.router is not None:
        _, weights = memory.pop((op.router, position))
        y = mixture(y[0], weights, y[1:])
    x = y if op.linear is None else memory["x", position] + y
    memory["x", position] = x
    return rms_norm(x, vectors[op.weight], op.eps)


def split_heads(op: Any, y: Tensor, shared: int) -> list[Tensor]:
    """[kv_heads * (group + shared) * d] -> q [heads, d] and `shared` tensors [kv_heads, d]."""
    group = op.heads // op.kv_heads
    parts = y.reshape(op.kv_heads, group + shared, op.head_dim)
    q = parts[:, :group].reshape(op.heads, op.head_dim)
    return [q, *(parts[:, group + i].contiguous() for i in range(shared))]


def gla_operands(op: Any, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, v and decay of a linear's output, each float32[heads, d]; q and k are rectified."""
    q, k, v, gate = split_heads(op, y, 3)
    shared = k.relu(), v, log_gate(gate, op.normalizer).exp()
    k, v, decay = (a.repeat_interleave(op.heads // op.kv_heads, 0) for a in shared)
    return q.relu(), k, v, decay


def gla_norm(op: Any, vectors: Vectors, out: Tensor) -> Tensor:
    """The heads' outputs, each normalised, side by side: [heads, d] -> [heads * d]."""
    return rms_norm(out, vectors[op.weight], op.eps).reshape(-1)


def gla(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """One step of gated linear attention: float32[n] -> float32[heads * d]."""
    state = memory.get(op.name)
    if state is None:
        state = torch.zeros(op.heads, op.head_dim, op.head_dim)
    out, memory[op.name] = decay_step(state, *gla_operands(op, y))
    return gla_norm(op, vectors, out)


def window(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """One step of window attention: float32[n] -> float32[heads * d]."""
    q, k, v = split_heads(op, y, 2)
    q, k = (rope(a, position, op.theta, op.scaling) for a in (q, k))
    memory[op.name] = _kept(memory.get(op.name), k, v, op.window)
    return window_step(q, *memory[op.name]).reshape(-1)


def _kept(ring: Ring | None, k: Tensor, v: Tensor, window: int) -> Ring:
    """The ring with this token's key and value [kv_heads, d] as its last, `window` at most."""
    new = [a[None] for a in _stored(k, v)]
    if ring is None:
        return new
    old = (a[max(0, a.shape[0] - window + 1) :] for a in ring)
    return [torch.cat([a, b]) for a, b in zip(old, new, strict=True)]


def _stored(k: Tensor, v: Tensor) -> Ring:
    return [*quantize_kv(k), *quantize_kv(v)]


def parallel(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """One step of linear and of window attention on the same q, k, v, merged head by head:

    w_1 norm(o_1) + w_2 norm(o_2), each product rounded first; float32[n] -> float32[heads * d].
    """
    group, d = op.heads // op.kv_heads, op.head_dim
    q, k, v = split_heads(op, y, 2)
    state, ring = memory.get(op.name, (torch.zeros(op.heads, d, d), None))
    feature, value = (a.repeat_interleave(group, 0) for a in (k.sigmoid(), v))
    linear, state = decay_step(state, q.sigmoid(), feature, value, 1 - feature)
    q, k = (rope(a, op.sinks + position, op.theta) for a in (q, k))
    ring = _kept(ring, k, v, op.window)
    memory[op.name] = state, ring
    sinks = _stored(vectors[op.sink_key], vectors[op.sink_value])
    soft = window_step(q, *(torch.cat(pair) for pair in zip(sinks, ring, strict=True)))
    linear = rms_norm(linear, vectors[op.linear_norm], op.eps)
    soft = rms_norm(soft, vectors[op.window_norm], op.eps)
    return (op.merge[0] * linear + op.merge[1] * soft).reshape(-1)


def router(op: Any, vectors: Vectors, memory: Memory, y: Tensor, position: int) -> Tensor:
    """Choose experts for the token, kept in memory; returns their weights: float32[top_k]."""
    memory[op.name, position] = choose(y, op.top_k, op.scoring)
    return memory[op.name, position][1]


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
    "parallel": parallel,
    "router": router,
    "swiglu": gated,
    "logits": logits,
    "input": spike_input,
    "population": population,
}
