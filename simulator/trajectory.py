"""What comes out of a run."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compiler.activity import Activity


@dataclass(slots=True)
class Trajectory:
    """What came out of the engine, token by token.

    sums[linear]: int64[n_post] per token whose linear ran, with keep_sums; logits[token],
    logits_ps[token]: of tokens whose head ran; of spiking neurons, the last population's spikes
    or membranes. What runs under a condition (compiler.conditions) has a row per token for which
    it holds.
    """

    activity: Activity = field(default_factory=Activity)
    sums: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    logits: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    logits_ps: dict[int, int] = field(default_factory=dict)
