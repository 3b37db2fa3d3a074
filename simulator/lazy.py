"""Gated linear attention as a core does it: decays of silent channels stay pending.

What comes out equals the canonical executor's, which multiplies every row by every decay at once;
what is counted of the state are the rows that were touched. Where only counts are known, the rows
that an activity names are counted the same way.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Gla
from compiler.program import Program
from hw_models.errors import BadInput
from kernels.gla import active, read_out
from kernels.stage import Vectors, gla_norm, gla_operands
from simulator.hot.lazy import lazy_update
from simulator.hot.state import N_LAZY

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
Memory = MutableMapping[object, Any]
"""A stage's name -> state float32[heads, d, values], pending decays [heads, d, most], how many."""


def lazy_gla(
    stage: Gla, vectors: Vectors, memory: Memory, y: Tensor, most: int, tally: I64
) -> tuple[Tensor, U8]:
    """One token: (float32[heads * d], which channels were active uint8[heads, d]).

    most: decays of a channel that can be pending; tally: a row of the engine's `lazy`.
    """
    q, k, v, decay = gla_operands(stage, y)
    state, late, n_late = memory[stage.name] = _carried(stage, memory, stage.head_dim, most)
    lazy_update(state, late, n_late, *(a.numpy() for a in (q, k, v, decay)), tally)
    return gla_norm(stage, vectors, read_out(torch.from_numpy(state), q)), active(q, k).numpy()


@dataclass(slots=True)
class Decays:
    """Which decays are pending after some tokens of which only the active channels are known."""

    program: Program
    memory: dict[object, object] = field(default_factory=dict)

    def take(self, active: Callable[[Gla], U8]) -> None:
        """One token more."""
        most, nowhere = self.program.chip.core.pending_decays, np.zeros(N_LAZY, np.int64)
        for stage in self.program.graph.stages:
            if isinstance(stage, Gla):
                count_gla(stage, self.memory, active(stage), most, nowhere)


def count_gla(stage: Gla, memory: Memory, touched: U8, most: int, tally: I64) -> None:
    """The same of a token of which only the active channels are known."""
    state, late, n_late = memory[stage.name] = _carried(stage, memory, 0, most)
    q, k = ((touched & bit).astype(np.float32) for bit in (1, 2))
    lazy_update(state, late, n_late, q, k, state[:, 0], np.ones_like(q), tally)


def _carried(
    stage: Gla, memory: Memory, values: int, most: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], I64]:
    """What the token before left; BadInput for what it cannot have left, as from a file."""
    shape = (stage.heads, stage.head_dim)
    fresh = (
        np.zeros((*shape, values), np.float32),
        np.zeros((*shape, most), np.float32),
        np.zeros(shape, np.int64),
    )
    found: Any = memory.get(stage.name, fresh)
    same = isinstance(found, tuple) and len(found) == len(fresh)
    same = same and all(
        isinstance(a, np.ndarray) and (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(found, fresh, strict=True)
    )
    if not same or not ((found[2] >= 0) & (found[2] <= most)).all():
        raise BadInput("a state that no token can have left", where=stage.name)
    return found[0], found[1], found[2]
