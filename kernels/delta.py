"""Differences of counts between tokens (DESIGN 3.2).

d_t = s_t - s_{t-1} with s_{-1} = 0. The receiver keeps its integer accumulator,
A_t = A_{t-1} + W d_t, which is W s_t exactly, whatever V_th does.
"""

import numpy as np
from numpy.typing import NDArray

from hw_models.errors import BadInput

I64 = NDArray[np.int64]
LARGEST = 2**31 - 1


def delta_encode(counts: NDArray[np.integer], *, site: str = "") -> I64:
    """Differences of counts int[T, n] -> int64[T, n]. Raises BadInput (delta_step)."""
    before = np.zeros(counts.shape[1], np.int64)
    differences = np.empty(counts.shape, np.int64)
    for token, now in enumerate(counts):
        differences[token] = delta_step(before, now, site=site, token=token)
        before = now
    return differences


def delta_step(
    previous: NDArray[np.integer], counts: NDArray[np.integer], *, site: str = "", token: int = 0
) -> I64:
    """One token's difference: int[n], int[n] -> int64[n].

    Raises BadInput naming site and token for a difference that does not fit int32.
    """
    difference = counts.astype(np.int64) - previous.astype(np.int64)
    beyond = (difference > LARGEST) | (difference < -LARGEST - 1)
    if beyond.any():
        raise BadInput(
            f"a difference of {int(difference[beyond][0])} does not fit int32",
            where=f"site {site}, token {token}",
            fix="switch delta off for this site",
        )
    return difference


def delta_decode(differences: NDArray[np.integer]) -> I64:
    """The counts that differences int[T, n] stand for: int64[T, n]."""
    return differences.cumsum(0, dtype=np.int64)
