"""Softmax attention over the last `window` tokens, the current one included.

Keys and values are kept as int8 with one float32 scale per token and head (DESIGN 3.4).
"""

import torch
from torch import Tensor


def quantize_kv(x: Tensor) -> tuple[Tensor, Tensor]:
    """float32 [..., d] -> int8 [..., d] and float32 scale [...] = amax / 127 (1 for zeros)."""
    amax = x.abs().amax(-1)
    # a tensor: CUDA divides by a Python number through its reciprocal, which is not exact
    scale = amax / amax.new_full((), 127)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # amax / 127 may underflow
    return (x / scale[..., None]).round().clamp(-127, 127).to(torch.int8), scale


def dequantize_kv(q: Tensor, scale: Tensor) -> Tensor:
    """int8 [..., d] and float32 [...] -> float32 [..., d]."""
    return q.float() * scale[..., None]


def window_step(q: Tensor, k: Tensor, k_scale: Tensor, v: Tensor, v_scale: Tensor) -> Tensor:
    """One token's attention: q [heads, d] over n cached tokens, oldest first -> [heads, d].

    k, v int8 [n, kv_heads, d]; k_scale, v_scale float32 [n, kv_heads]. Products and
    sums elementwise (no BLAS), so that the bits do not depend on a library.
    """
    heads, d = q.shape
    group = heads // k.shape[1]
    keys = dequantize_kv(k, k_scale).repeat_interleave(group, 1)  # [n, heads, d]
    values = dequantize_kv(v, v_scale).repeat_interleave(group, 1)
    score = (keys * (q * d**-0.5)).sum(-1)  # [n, heads]
    p = (score - score.amax(0)).exp()
    p = p / p.sum(0)
    return (p[..., None] * values).sum(0)


def fake_quantize_kv(x: Tensor) -> Tensor:
    """quantize_kv and back, with a straight-through gradient."""
    return x + (dequantize_kv(*quantize_kv(x.detach())) - x.detach())


def window_sequence(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """A whole sequence: q [batch, T, heads, d], k, v [batch, T, kv_heads, d] -> like q.

    For training and the fast executor; differentiable. Queries go in blocks of `window`
    tokens, each over its own and the preceding block of keys: all that they can see.
    """
    (batch, length, heads, d), group = q.shape, q.shape[2] // k.shape[2]
    k, v = (fake_quantize_kv(a).repeat_interleave(group, 2) for a in (k, v))
    size = min(window, length)
    n = -(-length // size)

    def by_block(a: Tensor) -> Tensor:
        a = torch.nn.functional.pad(a, (0, 0, 0, 0, 0, n * size - length))
        return a.reshape(batch, n, size, heads, d).transpose(2, 3)

    def with_previous(a: Tensor) -> Tensor:
        return torch.cat([torch.nn.functional.pad(a, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1], a], 3)

    out = torch.nn.functional.scaled_dot_product_attention(
        by_block(q).flatten(0, 1),
        with_previous(by_block(k)).flatten(0, 1),
        with_previous(by_block(v)).flatten(0, 1),
        attn_mask=_visible(n, size, window, q.device).repeat(batch, 1, 1, 1),
    )
    return out.unflatten(0, (batch, n)).transpose(2, 3).flatten(1, 2)[:, :length]


def _visible(n: int, size: int, window: int, device: torch.device) -> Tensor:
    """Which keys of two blocks a block's queries see: bool [n, 1, size, 2 * size]."""
    query = torch.arange(size, 2 * size, device=device)[:, None]
    key = torch.arange(2 * size, device=device)
    seen = (key <= query) & (key > query - window)
    first = torch.arange(n, device=device)[:, None, None] == 0
    return (seen & ~(first & (key < size)))[:, None]
