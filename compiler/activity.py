"""Activity: what was spiked, per site and token; recorded by executors and simulations."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hw_models.errors import BadInput


@dataclass(slots=True)
class Activity:
    """Counts and thresholds of one sequence.

    counts[site]  list over tokens of int32[n]
    v_th[site]    list over tokens of float32
    """

    counts: dict[str, list[NDArray[np.int32]]] = field(default_factory=dict)
    v_th: dict[str, list[np.float32]] = field(default_factory=dict)

    def add(self, site: str, counts: NDArray[np.int32], v_th: np.float32) -> None:
        """Append the next token of a site."""
        self.counts.setdefault(site, []).append(counts)
        self.v_th.setdefault(site, []).append(v_th)

    def stacked(self, site: str) -> NDArray[np.int32]:
        """int32[tokens, n] of a site; BadInput for a site that was not recorded."""
        if site not in self.counts:
            raise BadInput(f"no counts of site {site}", fix=f"known: {', '.join(self.counts)}")
        return np.stack(self.counts[site])
