"""The W8 linear layer, exact under any tiling (DESIGN 3.3).

Weights are int8 with an integer mantissa per (neuron, group of 128 inputs) and one
float32 scale per neuron: w is about row_scale * m * 2^-15 * q. Whole numbers may be wider, and
synapses a list; then a neuron may have one mantissa for all of its inputs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hw_models.errors import BadInput

GROUP = 128
INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class W8:
    """q int8[out, in], m int32[out, groups] in 1..32767, row_scale float32[out]."""

    q: Tensor
    m: Tensor
    row_scale: Tensor


@dataclass(frozen=True, slots=True)
class Listed:
    """Synapses neuron by neuron: those of j are first[j] to first[j + 1], from the inputs `pre`.

    q int8 or int16 [synapses], first int64[out + 1], pre int32[synapses]; m, row_scale as above.
    """

    q: Tensor
    m: Tensor
    row_scale: Tensor
    first: Tensor
    pre: Tensor


def _grouped(x: Tensor) -> Tensor:
    """[out, in] -> [out, groups, 128], the last group filled up with zeros."""
    pad = -x.shape[1] % GROUP
    return torch.nn.functional.pad(x, (0, pad)).reshape(x.shape[0], -1, GROUP)


def quantize_w8(w: Tensor) -> W8:
    """Symmetric W8 of float weights [out, in]; computed in float64."""
    groups = _grouped(w.double())
    amax = groups.abs().amax(-1)  # [out, groups]
    # tensors: CUDA divides by a Python number through its reciprocal, which is not exact
    levels, mantissas = amax.new_full((), 127), amax.new_full((), 32767)
    scale = (amax.amax(-1) / levels * 32768 / mantissas).float()
    zero = scale < 2.0**-126
    scale = torch.where(zero, torch.ones_like(scale), scale)
    unit = scale.double()[:, None]
    m = (32768 * amax / (127 * unit)).ceil().clamp(1, 32767)
    m = torch.where(zero[:, None], torch.ones_like(m), m)
    q = (groups / (unit * m / 32768)[..., None]).round().clamp(-127, 127)
    q = torch.where(zero[:, None, None], torch.zeros_like(q), q)
    q = q.reshape(w.shape[0], -1)[:, : w.shape[1]].to(torch.int8)
    return W8(q.contiguous(), m.to(torch.int32), scale)


def dequantize(w8: W8) -> Tensor:
    """float32 [out, in] that the integers stand for."""
    step = w8.row_scale.double()[:, None] * w8.m.double() / 32768
    full = _grouped(w8.q.double()) * step[..., None]
    return full.reshape(w8.q.shape[0], -1)[:, : w8.q.shape[1]].float()


def exact_linear(counts: Tensor, w8: W8 | Listed) -> Tensor:
    """Y[o] = sum_g m[o,g] sum_i q[o,i] s[i], int64[out], from int32 counts[in].

    Raises BadInput when a group's accumulator does not fit int32.
    """
    # int64 products are exact; a product of int64 matrices never goes through floats
    if isinstance(w8, Listed):
        accumulators = _listed_sums(counts, w8)
    elif w8.m.shape[1] == 1:
        accumulators = (w8.q.long() * counts.long()).sum(-1, keepdim=True)
    else:
        accumulators = (_grouped(w8.q.long()) * _grouped(counts.long()[None])).sum(-1)
    if accumulators.abs().max() > INT32_MAX:
        raise BadInput("an accumulator does not fit int32", where="linear")
    return (accumulators * w8.m.long()).sum(-1)


def _listed_sums(counts: Tensor, rows: Listed) -> Tensor:
    """A of every neuron and group, int64."""
    n, groups = rows.m.shape
    neuron = torch.repeat_interleave(torch.arange(n), rows.first.diff())
    pre = rows.pre.long()
    group = pre // GROUP if groups > 1 else torch.zeros_like(pre)
    sums = torch.zeros(n * groups, dtype=torch.int64)
    sums.index_add_(0, neuron * groups + group, rows.q.long() * counts.long()[pre])
    return sums.reshape(n, groups)


def linear_output(sums: Tensor, v_th: Tensor, row_scale: Tensor, bias: Tensor | None) -> Tensor:
    """y = float32(((V_th * row_scale) * Y) * 2^-15) + b: float64 products, one rounding, one add.

    sums int64[out], v_th float32[], row_scale float32[out], bias float32[out] -> float32[out]
    """
    y = ((v_th.double() * row_scale.double()) * sums.double() * 2.0**-15).float()
    return y if bias is None else y + bias
