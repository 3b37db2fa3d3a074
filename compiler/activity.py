"""Activity: what was spiked, chosen and touched, token by token; recorded by simulations."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hw_models.errors import BadInput


@dataclass(slots=True)
class Activity:
    """Counts and thresholds of one sequence, and what counts do not tell.

    counts[site]   list over its tokens of int32[n]: an expert's are those that chose it
    v_th[site]     list over the same tokens of float32
    tokens[site]   the tokens' numbers, rising
    chosen[router] list over all tokens of experts, ascending
    active[gla]    list over all tokens of uint8[heads, d]: which key channels touch the state, by
                   query (bit 0) and by key (bit 1)
    """

    counts: dict[str, list[NDArray[np.int32]]] = field(default_factory=dict)
    v_th: dict[str, list[np.float32]] = field(default_factory=dict)
    tokens: dict[str, list[int]] = field(default_factory=dict)
    chosen: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    active: dict[str, list[NDArray[np.uint8]]] = field(default_factory=dict)

    def add(self, site: str, token: int, counts: NDArray[np.int32], v_th: np.float32) -> None:
        """Append the next token of a site."""
        self.counts.setdefault(site, []).append(counts)
        self.v_th.setdefault(site, []).append(v_th)
        self.tokens.setdefault(site, []).append(token)

    def stacked(self, site: str) -> NDArray[np.int32]:
        """int32[tokens, n] of a site; BadInput for a site that was not recorded."""
        if site not in self.counts:
            raise BadInput(f"no counts of site {site}", fix=f"known: {', '.join(self.counts)}")
        return np.stack(self.counts[site])
