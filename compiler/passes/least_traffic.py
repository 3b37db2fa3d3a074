"""The fewest bits on chip links per token, over all tilings that the limits allow.

Count a chip's incoming bits. A chip that holds W weights of a matrix touches a of its inputs and b
of its neurons with a * b >= W (Loomis and Whitney, 1949, in two dimensions). Every input that is
not encoded there costs its spikes (w_s bits each), and a neuron on m chips costs m - 1 partial sums
(w_p bits each). Summed over chips, with a free copy of every input and neuron:

    traffic >= sum over chips of (w_s a + w_p b) - w_s n_pre - w_p n_post

A chip holds at most `cap` weights in all, so a weight costs at least the least (w_s a + w_p b) / W
over W <= cap, and the sum is at least that rate times the matrix.

Gate and up, SwiGLU and down are bounded together: a chip spares the spikes of as many inputs of
`down` as it encodes, and it encodes no more channels than it has pairs of gate and up neurons
(owning others' costs their partial sums, which is more). With g weights of gate-up and d of down:

    f(g, d) = min over b, c of  w_s g / b + w_p b + w_p d / c + w_s max(0, c - b / 2)

where b neurons of gate-up are touched and c inputs of down are used. f(tg, td) >= t f(g, d) for
t <= 1 (b and c may exceed small matrices, which only lowers f), so only full chips matter, and the
bound is the largest r_g G + r_d D with r_g g + r_d d <= f(g, d) for all g + d = cap. f is bounded
from below on a raster of shares g / cap and of b, from the corners of every field.

Logits go to the host at chip 0. At most cap / n_pre neurons lie whole on a chip, and only so many
chips are near: the k-th nearest chip's neurons travel at least its distance. (The head's partial
sums then count w_p less a logit's bits, so that none is counted twice: when a neuron's chips lie
apart and its home on another of them, that other one's sum may save one link of the logit's way.)
"""

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from compiler.conditions import shares
from compiler.graph import Graph, Linear, Logits, Swiglu
from compiler.passes.traffic import Messages
from hw_models.chip import Chip

F64 = NDArray[np.float64]

SHARES, BREADTHS = 500, 4000
"""Fields of the raster over shares of gate-up in a chip, and over its neurons there."""


def least_chip_bits(graph: Graph, weigh: Messages, chip: Chip) -> int:
    """Bits per token on all chip links together that no mapping can go below; 0 on one chip."""
    cap = chip.layout.usable_cores * chip.core.synapse_memory
    linears = {linear.name: linear for linear in graph.linears}
    driven = {linear.site: linear for linear in graph.linears}  # SwiGLU's sites drive one
    share, done, total = shares(graph), set[str](), 0.0
    for stage in graph.stages:
        if isinstance(stage, Swiglu):
            first = linears[stage.linear]
            second = driven[stage.site]
            total += share[first.condition] * _pair(
                _size(first), _size(second),
                weigh.channel_bits(first.site, "chip_x"), weigh.channel_bits(stage.site, "chip_x"),
                weigh.sum_bits(first.name, "chip_x"), weigh.sum_bits(second.name, "chip_x"), cap,
            )  # fmt: skip
            done |= {first.name, second.name}
        elif isinstance(stage, Logits):
            head = linears[stage.linear]
            logit = weigh.value_bits("chip_x")
            total += _logits(head, logit, chip, cap)
            sums = max(0.0, weigh.sum_bits(head.name, "chip_x") - logit)
            total += _alone(_size(head), weigh.channel_bits(head.site, "chip_x"), sums, cap)
            done.add(head.name)
    for linear in graph.linears:
        if linear.name not in done:
            spikes = weigh.channel_bits(linear.site, "chip_x")
            sums = weigh.sum_bits(linear.name, "chip_x")
            total += share[linear.condition] * _alone(_size(linear), spikes, sums, cap)
    return int(total)


def _size(linear: Linear) -> tuple[int, int]:
    return linear.n_pre, linear.n_post


@cache
def _alone(size: tuple[int, int], spikes: float, sums: float, cap: int) -> float:
    """One matrix by itself: rate of the cheapest block of at most `cap` weights."""
    n_pre, n_post = size
    a = np.arange(1, n_pre + 1, dtype=np.float64)
    b = np.minimum(cap / a, n_post)
    rate = ((spikes * a + sums * b) / (a * b)).min()
    return max(0.0, float(rate * n_pre * n_post - spikes * n_pre - sums * n_post))


@cache
def _pair(
    first: tuple[int, int], second: tuple[int, int],
    x: float, h: float, up: float, down: float, cap: int,
) -> float:  # fmt: skip
    """Gate-up and down together: (n_pre, n_post) of each; x, h: bits of a channel that drives the
    first, the second; up, down: bits of their partial sums."""
    share = np.linspace(0.0, 1.0, SHARES + 1)
    least = np.array([
        _least(lo * cap, hi * cap, first, second, x, h, up, down, cap)
        for lo, hi in pairwise(share.tolist())
    ])  # fmt: skip
    # on a field, r_g g + r_d d is largest at one of its ends: hold both
    g = np.concatenate([share[:-1], share[1:]])
    limit = np.concatenate([least, least]) / cap
    best = _best_rates(g, limit, float(first[0] * first[1]), float(second[0] * second[1]))
    return max(0.0, best - up * first[1] - down * second[1] - x * first[0])


def _least(
    g_low: float, g_high: float, first: tuple[int, int], second: tuple[int, int],
    x: float, h: float, up: float, down: float, cap: int,
) -> float:  # fmt: skip
    """f(g, cap - g) for g_low <= g <= g_high, from below."""
    n_pre, n_post = first
    d_low = cap - g_high
    edges = np.linspace(0.0, max(n_post, 2 * cap / n_pre), BREADTHS + 1)
    edges = edges[np.searchsorted(edges, g_low / n_pre, side="right") - 1 :]
    b_low, b_high = np.maximum(edges[:-1], g_low / n_pre), edges[1:]
    gate_up = x * g_low / b_high + up * b_low
    if d_low <= 0:
        return float(gate_up.min())
    # over the inputs of down that are used: spikes beyond the own ones, and partial sums
    own, fewest = b_high / 2, max(1.0, d_low / second[1])
    used = np.sqrt(down * d_low / h) if h > 0 else float(second[0])
    best = np.clip(np.maximum(used, own), fewest, max(fewest, second[0]))
    cost = h * np.maximum(0.0, best - own) + down * d_low / best
    return float((gate_up + cost).min())


def _best_rates(g: F64, limit: F64, first: float, second: float) -> float:
    """max r_g G + r_d D with r_g g + r_d (1 - g) <= limit for every given g, rates >= 0."""
    # the best pair of rates lies where two of the rules meet; for a given r_g, r_d follows
    low, high = 0.0, float((limit / np.maximum(g, 1e-12)).min())

    def other(rate: float) -> float:
        inner = g < 1.0
        return max(0.0, float(((limit - rate * g)[inner] / (1.0 - g[inner])).min()))

    def value(rate: float) -> float:
        return first * rate + second * other(rate) if _holds(rate) else 0.0

    def _holds(rate: float) -> bool:
        return bool((limit - rate * g >= -1e-12 * limit).all())

    while not _holds(high) and high > 1e-30:
        high *= 0.999
    rates = np.linspace(low, high, 2001)
    return max(value(float(rate)) for rate in rates)


def _logits(head: Linear, bits: float, chip: Chip, cap: int) -> float:
    """Bits x links of the logits' ways to chip 0, from the chips nearest to it."""
    chips_w, chips_h = chip.layout.chips
    y, x = np.divmod(np.arange(chips_w * chips_h), chips_w)
    within = np.cumsum(np.bincount(x + y))  # chips at a distance of at most d
    left = np.maximum(0.0, head.n_post - within * (cap / head.n_pre))
    return float(bits * left.sum())
