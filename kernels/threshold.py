"""Thresholds and counts of an encoder site (DESIGN 3.1; SpikingBrain, arXiv 2509.05276, eq. 19-21).

V_th comes from an integer sum, which is associative: any reduction tree, tiling,
library or device gives the same bits. All functions work over the last axis and
broadcast over the others; x is float32.
"""

import torch
from torch import Tensor

from hw_models.errors import BadInput

FLOOR = 1e-5
SCALE = 2.0**28
LARGEST = 2.0**18
"""|x| at and above which a value is refused; below it a sum of 65,536 values fits int64."""


def check(x: Tensor, site: str = "", token: int = 0) -> None:
    """Raise BadInput for values no threshold is defined for; rows are numbered on from `token`."""
    bad = ~(x.abs() < LARGEST)
    if bad.any():
        row = _first_row(bad)
        finite = torch.isfinite(x.reshape(-1, x.shape[-1])[row]).all()
        what = "a value is 2^18 or more in size" if finite else "a value is not finite"
        raise BadInput(what, where=f"site {site}, token {token + row}")


def _first_row(bad: Tensor) -> int:
    return int(bad.reshape(-1, bad.shape[-1]).any(-1).nonzero()[0, 0])


def mean_abs(x: Tensor, k: float) -> Tensor:
    """V_th = mean|x| / k, at least 1e-5: float32 [..., n] -> float32 [...]."""
    total = (x.abs().double() * SCALE).round().to(torch.int64).sum(-1)
    # a tensor: CUDA divides by a Python number through its reciprocal, which is not exact
    divisor = total.new_full((), float(x.shape[-1]) * k * SCALE, dtype=torch.float64)
    mean = total.double() / divisor
    return mean.float().clamp_min(FLOOR)


def calibrate_fixed(v_th: Tensor) -> Tensor:
    """V0 = mean of the tokens' mean-abs thresholds, float64 in token order: [T] -> []."""
    total = 0.0
    for value in v_th.double().tolist():
        total += value
    return torch.tensor(total / v_th.numel()).float().clamp_min(FLOOR)


def absmax16(x: Tensor) -> Tensor:
    """V_th that puts the largest |x| at 32767: float32 [..., n] -> float32 [...]."""
    return x.abs().amax(-1).clamp_min(1e-30) / x.new_full((), 32767)


def count(x: Tensor, v_th: Tensor, *, site: str = "", token: int = 0) -> Tensor:
    """rint(x / V_th), half to even, int32, not clipped: [..., n] and [...] -> [..., n].

    Raises BadInput naming site and token for |x| >= 2^18, a value that is not finite,
    or a quotient of 2^31 or more. Rows of a batch are numbered on from `token`.
    """
    check(x, site, token)
    quotient = (x / v_th[..., None]).round()
    bad = ~(quotient.abs() < 2.0**31)
    if bad.any():
        where = f"site {site}, token {token + _first_row(bad)}"
        raise BadInput("a count of 2^31 or more", where=where)
    return quotient.to(torch.int32)


def threshold(rule: str, x: Tensor, k: float) -> Tensor:
    """V_th of a site by its rule: `absmax16`, `mean-abs`, or 1 for `spikes`."""
    if rule == "spikes":
        return x.new_ones(x.shape[:-1])
    return absmax16(x) if rule == "absmax16" else mean_abs(x, k)
