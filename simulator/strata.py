"""Which positions of a long text are simulated, and what they say of all of them.

Stratified random sampling without replacement (Cochran, Sampling Techniques, 3rd edition, 1977):
the positions are cut into strata, and two are drawn from each at random. The estimated total and
its variance (equations 5.1 and 5.6) are then unbiased whatever cost depends on position, and
the interval takes Student's t with the effective degrees of freedom of equation 5.16. Windows of
attention that fill up bend the cost: no stratum straddles the position where one is full.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import fsum, sqrt
from typing import Final

import numpy as np
from scipy.stats import t as student

from hw_models.errors import BadInput
from simulator.result import Estimate

CONFIDENCE: Final = 0.95
METHOD: Final = (
    "stratified random sampling, two tokens per stratum; 95 % interval: Student's t with effective "
    "degrees of freedom (Cochran, Sampling Techniques, 3rd ed., 1977, sections 5.3 to 5.5)"
)
LEAST: Final = 4
"""Positions to sample at least: two strata."""
SPARSE: Final = 2
"""Positions for every one that is sampled, at least: otherwise all may as well be simulated."""

Stratum = tuple[int, int]
"""Positions first to end - 1."""

_STREAM: Final = 0x73747261
"""Keeps these draws apart from those of a profile's counts, which have the same seed."""


def strata(first: int, end: int, sample: int, bends: Iterable[int] = ()) -> tuple[Stratum, ...]:
    """sample // 2 strata of positions first to end - 1, of lengths as equal as bends allow.

    bends: positions before which cost may grow otherwise than behind. BadInput for fewer than
    LEAST, and where less than SPARSE positions come to each.
    """
    n = end - first
    if sample < LEAST:
        raise BadInput(f"{sample} windows", where="--sample", fix=f"at least {LEAST}")
    if n < SPARSE * sample:
        raise BadInput(
            f"{sample} windows in {max(0, n):,} decoded tokens",
            where="--sample",
            fix="leave it out: so few can all be simulated"
            if n < SPARSE * LEAST
            else f"at most {n // SPARSE}, or leave it out",
        )
    parts, wanted = [(first, end)], sample // 2
    for bend in sorted(set(bends)):
        lo, hi = parts[-1]
        if bend - lo >= SPARSE and hi - bend >= SPARSE and len(parts) < wanted:
            parts[-1:] = [(lo, bend), (bend, hi)]
    cuts = [1] * len(parts)
    while sum(cuts) < wanted:  # where strata are longest
        longest = max(range(len(parts)), key=lambda i: (parts[i][1] - parts[i][0]) / cuts[i])
        cuts[longest] += 1
    edges = [
        np.linspace(lo, hi, k + 1).astype(int).tolist()
        for (lo, hi), k in zip(parts, cuts, strict=True)
    ]
    return tuple((lo, hi) for edge in edges for lo, hi in pairwise(edge))


def drawn(found: Sequence[Stratum], sample: int, seed: int) -> tuple[int, ...]:
    """Two positions of each stratum, rising; three of the longest where `sample` is odd."""
    rng = np.random.default_rng((seed, _STREAM))
    longest = max(range(len(found)), key=lambda h: found[h][1] - found[h][0])
    positions: list[int] = []
    for h, (lo, hi) in enumerate(found):
        n = 2 + (sample % 2 and h == longest)
        positions += sorted((lo + rng.choice(hi - lo, n, replace=False)).tolist())
    return tuple(positions)


def estimate(found: Sequence[Stratum], positions: Sequence[int], y: Sequence[float]) -> Estimate:
    """The total of y over all positions of the strata, from its values at some of them."""
    at, values = np.asarray(positions), np.asarray(y, np.float64)
    total, terms, freedom = 0.0, [], []
    simulated = fsum(y)
    for lo, hi in found:
        own = values[(at >= lo) & (at < hi)]
        size, n = hi - lo, own.size
        total += size * float(own.mean())
        terms.append(size * (size - n) / n * float(own.var(ddof=1)))
        freedom.append(n - 1)
    variance = sum(terms)
    if not variance:
        return Estimate(total, 0.0, float(sum(freedom)), simulated)
    effective = variance**2 / sum(g**2 / f for g, f in zip(terms, freedom, strict=True))
    t = float(student.ppf(0.5 + CONFIDENCE / 2, effective))
    return Estimate(total, t * sqrt(variance), effective, simulated)
