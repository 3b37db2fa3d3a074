"""Loihi's neuron in fixed point, bit for bit as Lava's LIF (tag fixed_pt) computes it.

All state and all parameters are integers; a is the step's synaptic input, sum of weight x spike:

    u' = decayed(u, du + 1) + 64 a             current, 24 bits: wraps around
    v' = decayed(v, dv) + u' + bias            membrane, 24 bits: stays at its limits
    decayed(x, d) = sign(x) (|x| (4096 - d) >> 12)

A neuron spikes where v' > 64 vth, strictly, and v' is 0 afterwards. A sequence begins with u = v
= 0. du and dv have 12 bits, vth 17; a bias is a mantissa of 13 bits times 2^0 to 2^7. With du =
4095 nothing of the last step's current is left; with du = 0 a 4096th of it still leaks.

The equations: Davies et al., IEEE Micro 38(1), 2018, and Michaelis et al., Frontiers in
Neuroinformatics 16, 2022. How decays round is Lava's: 0.10 documents its LIF as bit-accurate
(lava/proc/lif/models.py) and rounds them towards zero.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

UNITY_BITS: Final = 12  # of decay constants
ALIGN_BITS: Final = 6  # synaptic input and thresholds against u and v
LIMIT: Final = 1 << 23
MOST_DECAY: Final = 4095
MOST_THRESHOLD: Final = (1 << 17) - 1
MOST_MANTISSA: Final = 4095
MOST_EXPONENT: Final = 7


def step(
    p: Mapping[str, Tensor], old: Mapping[str, Tensor], a: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """State after one step, int32, and which neurons fired. old["i"] is u, as of other neurons.

    p: du, dv, bias, vth, whole numbers of any type; a: whole numbers, |a| at most 2^18.
    """
    du, dv, bias, vth = (p[key].long() for key in ("du", "dv", "bias", "vth"))
    u = _decayed(old["i"].long(), du + 1) + (a.long() << ALIGN_BITS)
    u = torch.where(u > LIMIT, u - 2 * LIMIT, torch.where(u <= -LIMIT, u + 2 * LIMIT, u))
    v = (_decayed(old["v"].long(), dv) + u + bias).clamp(1 - LIMIT, LIMIT - 1)
    fired = v > vth << ALIGN_BITS
    return {"v": torch.where(fired, 0, v).int(), "i": u.int()}, fired


def _decayed(x: Tensor, decay: Tensor) -> Tensor:
    """int64 -> int64, rounded towards zero."""
    return x.sign() * (x.abs() * ((1 << UNITY_BITS) - decay) >> UNITY_BITS)
