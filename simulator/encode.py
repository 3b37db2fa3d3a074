"""Threshold and counts of one vector at an encoder site, as the simulation computes them."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Site
from hw_models.errors import Bug
from kernels.threshold import count, threshold
from simulator.hot.encode import OK, absmax16_count, mean_abs_count


def encode(site: Site, x: Tensor, k: float, token: int, counts: NDArray[np.int32]) -> np.float32:
    """V_th of a site's float32[n]; counts int32[n] is written. BadInput for values out of range.

    The Numba twin, so that equality with the canonical executor compares two implementations.
    """
    values = x.numpy()
    if site.threshold == "spikes":
        counts[:] = values
        return np.float32(1)
    if site.threshold == "absmax16":
        v_th, status = absmax16_count(values, counts)
    else:
        v_th, status = mean_abs_count(values, k, counts)
    if status != OK:
        count(x, threshold(site.threshold, x, k), site=site.name, token=token)  # raises, by name
        raise Bug("the encoders disagree on a value's range", where=f"{site.name}, token {token}")
    return np.float32(v_th)
