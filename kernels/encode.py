"""A spiking encoder: threshold and counts of whole rows at once (DESIGN 3.1).

The reference of the Triton twin in `encode_triton`.
"""

from torch import Tensor

from kernels.threshold import count, mean_abs


def encode(x: Tensor, k: float, *, site: str = "", token: int = 0) -> tuple[Tensor, Tensor]:
    """mean-abs V_th and counts: float32 [..., n] -> float32 [...], int32 [..., n].

    Raises BadInput (kernels.threshold.count).
    """
    v_th = mean_abs(x, k)
    return v_th, count(x, v_th, site=site, token=token)
