"""Counts at random: of all distributions with the figures a program was mapped for, the one of
largest entropy.

Known of a site's |n| are the share of silent channels, the mean, spikes per channel, and perhaps
how many are at most 7 and 16. Of the active channels, p(n) is then proportional to
exp(sum of multiplier x feature(n)); the multipliers minimise a convex function (Jaynes, Physical
Review 106, 1957). Beyond what is known, the tail is no more than that. Signs are even.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from compiler.program import Program
from hw_models.errors import BadInput

F64 = NDArray[np.float64]

MOST = 4095
"""Counts of spikes are at most this; the shipped profile has less than 1e-200 beyond it."""
DENSE = 32767
"""16-bit values are taken as uniform, none of them zero."""

_FLAT = 1e-12


def pmfs(program: Program) -> dict[str, F64]:
    """By site: probability of |n| = 0, 1, ...; BadInput where no distribution has the figures."""
    return {site.name: _of_site(program, site.name) for site in program.graph.sites}


def draw(rng: np.random.Generator, n: int, pmf: F64) -> NDArray[np.int32]:
    """n counts; below 0 as often as above, but where the largest is one: spikes have no sign."""
    size = np.searchsorted(np.cumsum(pmf), rng.random(n), side="right")
    size = np.minimum(size, pmf.size - 1)
    sign = rng.integers(0, 2, n) * 2 - 1 if pmf.size > 2 else 1
    found: NDArray[np.int32] = (size * sign).astype(np.int32)
    return found


def _of_site(program: Program, site: str) -> F64:
    if program.graph.site(site).threshold == "absmax16":
        return np.append(0.0, np.full(DENSE, 1 / DENSE))
    found = program.statistics
    coding, _ = program.codings[site]
    try:
        active, spikes, mean = (
            float(found[key][site]) for key in ("active_share", "spikes_per_channel", "mean_count")
        )
        at_most = {int(k): float(v) for k, v in found.get("at_most", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        what = "it does not say what its mapping expects of a site"
        raise BadInput(what, where=f"statistics of {site}", fix="compile it again") from None
    if coding == "binary":
        return np.array([1 - spikes, spikes])
    of_bits = spikes if coding == "bitwise" else None
    try:
        return largest_entropy(active, mean, of_bits, tuple(sorted(at_most.items())))
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        figures = f"{active:g} active, mean {mean:g}, {spikes:g} spikes, {at_most}"
        raise BadInput(
            f"no distribution of counts has these figures: {figures}", where=site
        ) from None


@lru_cache(maxsize=64)
def largest_entropy(
    active: float, mean: float, bits: float | None, at_most: tuple[tuple[int, float], ...] = ()
) -> F64:
    """Probability of |n| = 0 ... MOST.

    active: share of channels with a spike; mean of |n|, and of set bits (None: not known), over all
    channels; at_most: (limit, share of all channels whose |n| is not above it).
    Raises ValueError, ArithmeticError or LinAlgError where there is none.
    """
    if not 0 < active <= 1:
        raise ValueError("no channel is active")
    n = np.arange(1, MOST + 1)
    features = [n] if bits is None else [n, np.bitwise_count(n)]
    wanted = [mean] if bits is None else [mean, bits]
    features += [n <= limit for limit, _ in at_most]
    wanted += [share - (1 - active) for _, share in at_most]
    p = _fit(np.stack(features, 1).astype(np.float64), np.array(wanted) / active)
    return np.append(1 - active, active * p)


def _fit(features: F64, wanted: F64) -> F64:
    """Newton's method on the logarithm of the partition function; a step never goes uphill."""
    multiplier = np.zeros(wanted.size)
    multiplier[0] = -1 / wanted[0]

    def value(at: F64) -> float:
        z = features @ at
        return float(np.log(np.exp(z - z.max()).sum()) + z.max() - at @ wanted)

    for _ in range(200):
        z = features @ multiplier
        p = np.exp(z - z.max())
        p /= p.sum()
        off = features.T @ p - wanted
        if np.abs(off).max() < _FLAT:
            return p
        centred = features - features.T @ p
        step = np.linalg.solve((centred * p[:, None]).T @ centred, off)
        size = 1.0
        while value(multiplier - size * step) > value(multiplier) + 1e-14 and size > _FLAT:
            size /= 2
        multiplier = multiplier - size * step
    raise ValueError("no distribution has these figures")
