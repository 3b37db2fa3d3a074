"""Gated linear attention (Yang et al., arXiv 2312.06635), as SpikingBrain-7B uses it.

Per head: S_t = diag(exp(g_t)) S_{t-1} + k_t^T v_t;  o_t = d_k^-1/2 q_t S_t.
The decay acts on the key dimension before the current token is added.

A key channel whose key and query are zero (both are rectified) takes nothing from its row of the
state and adds nothing to it. `lazy_step` leaves such a row alone and remembers the decay.
"""

from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

FORGOTTEN = -104.0
"""exp of this is zero in float32: a log decay at or below it erases the state."""


def log_gate(gate: Tensor, normalizer: int) -> Tensor:
    """log of the decay per key channel: logsigmoid(gate) / normalizer, at most 0."""
    return logsigmoid(gate) / normalizer


def gla_step(
    state: Tensor, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor
) -> tuple[Tensor, Tensor]:
    """One token: (out [h, d_v], new state [h, d_k, d_v]); q, k, log_decay [h, d_k], v [h, d_v]."""
    return decay_step(state, q, k, v, log_decay.exp())


def decay_step(
    state: Tensor, q: Tensor, k: Tensor, v: Tensor, decay: Tensor
) -> tuple[Tensor, Tensor]:
    """The same with the decay itself: what SpikingBrain-76B ties to the key, 1 - k.

    Elementwise products and one sum over d_k; no BLAS, so that the bits do not
    depend on a library's blocking. float32.
    """
    state = state * decay[..., None] + k[..., None] * v[..., None, :]
    return read_out(state, q), state


def read_out(state: Tensor, q: Tensor) -> Tensor:
    """d_k^-1/2 q S. A row whose query is zero adds zero, whatever it holds."""
    scaled = q * q.shape[-1] ** -0.5
    return (scaled[..., None] * state).sum(-2)


def active(q: Tensor, k: Tensor) -> Tensor:
    """Who touches a row: bit 0 a query that is not zero, bit 1 a key; uint8, of the same shape."""
    return (q != 0).to(torch.uint8) + 2 * (k != 0).to(torch.uint8)


Pending = list[list[list[Tensor]]]
"""Decays by head and key channel, in token order, that the state has yet to be multiplied by."""


def lazy_step(
    state: Tensor, pending: Pending, q: Tensor, k: Tensor, v: Tensor, decay: Tensor, most: int
) -> Tensor:
    """decay_step where silent channels cost no access: state and pending are changed in place.

    A row is brought up to date when a key or query touches it, or when `most` decays are pending:
    multiplied by one after the other in token order, as decay_step does it, so the values are the
    same.
    """
    for head, channel in product(range(q.shape[0]), range(q.shape[1])):
        row, late = state[head, channel], pending[head][channel]
        touched = q[head, channel] != 0 or k[head, channel] != 0
        late.append(decay[head, channel])
        if not touched and len(late) <= most:
            continue
        for each in late:
            row *= each
        late.clear()
        row += k[head, channel] * v[head]
    return read_out(state, q)


def gla_sequence(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor) -> Tensor:
    """Token after token from an empty state: [batch, T, heads, d] -> [batch, T, heads, d_v]."""
    batch, length, heads, d_k = q.shape
    state = q.new_zeros(batch, heads, d_k, v.shape[-1])
    out = []
    for t in range(length):
        o, state = gla_step(state, q[:, t], k[:, t], v[:, t], log_decay[:, t])
        out.append(o)
    return torch.stack(out, 1)


def gla_chunk(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, chunk: int = 32) -> Tensor:
    """The same by chunks, with autograd: matrix products inside a chunk, the state between.

    With c_t the running sum of log decays inside a chunk, token t sees token s <= t
    through exp(c_t - c_s) on every key channel. Both factors are taken relative to the
    chunk's middle; where a chunk's decay would still take one of them out of float32, the
    chunks are halved.
    """
    batch, length, heads, d_k = q.shape
    d_v = v.shape[-1]
    log_decay = log_decay.clamp_min(FORGOTTEN)
    whole = q, k, v, log_decay
    pad = -length % chunk
    if pad:
        q, k, v, log_decay = (
            torch.nn.functional.pad(a, (0, 0, 0, 0, 0, pad)) for a in (q, k, v, log_decay)
        )
    n = (length + pad) // chunk

    def by_chunk(a: Tensor) -> Tensor:
        return a.float().reshape(batch, n, chunk, heads, -1).permute(0, 3, 1, 2, 4)

    q, k, v, g = by_chunk(q * d_k**-0.5), by_chunk(k), by_chunk(v), by_chunk(log_decay)
    c = g.cumsum(-2)  # [batch, heads, n, chunk, d_k]
    total = c[..., -1:, :]
    if chunk > 1 and total.detach().min() < FORGOTTEN:
        return gla_chunk(*whole, chunk // 2)
    middle = total / 2
    inside = (q * (c - middle).exp()) @ (k * (middle - c).exp()).transpose(-1, -2)
    inside = inside.tril() @ v
    added = (k * (total - c).exp()).transpose(-1, -2) @ v  # [batch, heads, n, d_k, d_v]
    decay = total.squeeze(-2).exp()[..., None]
    state = q.new_zeros(batch, heads, d_k, d_v)
    before = []
    for i in range(n):
        before.append(state)
        state = state * decay[:, :, i] + added[:, :, i]
    across = (q * c.exp()) @ torch.stack(before, 2)
    out = (inside + across).permute(0, 2, 3, 1, 4).reshape(batch, n * chunk, heads, d_v)
    return out[:, :length]
