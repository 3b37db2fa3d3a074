"""Vector instructions per token of the float work around a linear, by event kind.

One table, priced once (DESIGN 4): additions (and subtractions, comparisons),
multiplications, exponentials, divisions, square roots, operands read and results
written. Counts follow the formulas of `kernels/`; logarithms count as exponentials.
"""

from collections import Counter
from collections.abc import Mapping


def scaled(n: int, **per_element: float) -> Counter[str]:
    """`n` elements times a per-element table; keys without their vec_ prefix."""
    return Counter({f"vec_{kind}": round(n * x) for kind, x in per_element.items()})


def dequantize(n: int) -> Counter[str]:
    """y = V_th * row_scale * Y * 2^-15 + b (DESIGN 3.3)."""
    return scaled(n, mul=3, add=1, read=3, write=1)


def residual(n: int) -> Counter[str]:
    """x += y; sum of squares."""
    return scaled(n, add=2, mul=1, read=2, write=1)


def normalise(n: int, norms: int = 1) -> Counter[str]:
    """x * rsqrt(mean + eps) * weight, over `norms` equal vectors of n channels in all."""
    return scaled(n, mul=2, read=2, write=1) + scaled(norms, add=1, div=2, sqrt=1)


def magnitude(n: int) -> Counter[str]:
    """sum of |x|, or max of |x|: what V_th needs."""
    return scaled(n, add=2, read=1)


def decay(d: int) -> Counter[str]:
    """Of one group: max(k, 0); log-sigmoid, division by the normalizer, exp: per key channel."""
    return scaled(d, exp=3, add=2, div=1)


def gla_query(heads: int, d: int) -> Counter[str]:
    """max(q, 0) and 1 / sqrt(d); the squares that the norm sums."""
    return scaled(heads * d, mul=2, add=2, read=3, write=1)


def gla_state(keys: int, columns: int) -> tuple[Counter[str], dict[str, int]]:
    """S = exp(g) S + k v^T and q S over keys x columns of state (of one or several heads)."""
    state = keys * columns
    return scaled(state, mul=3, add=2), {"state_read": 4 * state, "state_write": 4 * state}


def rope(n: int) -> Counter[str]:
    """Rotation of n values; sine and cosine come from a table."""
    return scaled(n, mul=2, add=1, read=3, write=1)


def quantize_kv(n: int) -> Counter[str]:
    """amax, scale, divide, round."""
    return scaled(n, add=2, div=1, read=1, write=1)


def attend(heads: int, d: int) -> Counter[str]:
    """One cached token: q.k, exp, p.v for every query head (int8 reads counted as state)."""
    return scaled(heads, exp=1, add=2, mul=2) + scaled(heads * d, mul=2, add=2)


def merge(heads: int, d: int, stripes: int) -> Counter[str]:
    """Bring (max, sum, output) of all stripes together and divide."""
    return scaled(heads * d, mul=stripes, add=stripes, div=1, write=1) + scaled(
        heads * stripes, exp=1, add=2, mul=1
    )


def sigmoid(n: int) -> Counter[str]:
    """1 / (1 + exp(-x))."""
    return scaled(n, exp=1, add=1, div=1, read=1, write=1)


def branches(n: int) -> Counter[str]:
    """w_1 a + w_2 b."""
    return scaled(n, mul=2, add=1, read=2, write=1)


def choose(n: int, top_k: int, scoring: str) -> Counter[str]:
    """The largest of n, top_k times; softmax over all of them, or a sigmoid of each chosen one."""
    scores = scaled(n, exp=1, add=2, div=1, read=1) if scoring == "softmax" else sigmoid(top_k)
    return scores + scaled(n * top_k, add=1, read=1)


def mixture(n: int, top_k: int) -> Counter[str]:
    """y += weight x output, of every chosen expert."""
    return scaled(n * top_k, mul=1, add=1, read=2, write=1)


def swiglu(n: int) -> Counter[str]:
    """gate / (1 + exp(-gate)) * up."""
    return scaled(n, exp=1, add=2, div=1, mul=1, read=2, write=1)


def total(*parts: Mapping[str, int]) -> dict[str, int]:
    """Sum of several tables, without zeros, in a fixed order."""
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part)
    return {kind: found[kind] for kind in sorted(found) if found[kind]}
