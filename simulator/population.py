"""Populations of spiking neurons in a simulation: each block of a core computed by itself.

A block is elementwise work on its own sums, so it is computed as soon as its task has fired,
whatever the other blocks wait for; its bits are those of the whole population (kernels.neurons).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Population
from compiler.program import Program
from kernels.linear import linear_output
from kernels.neurons import population

ONE = torch.ones(())
"""V_th of spikes."""


@dataclass(frozen=True, slots=True)
class Block:
    """Neurons [lo, lo + n) of a population, on the core of one task."""

    stage: Population
    lo: int
    n: int
    vectors: dict[str, Tensor]
    row_scale: Tensor
    bias: Tensor
    memory: dict[object, Any] = field(default_factory=dict)

    @property
    def own(self) -> slice:
        return slice(self.lo, self.lo + self.n)

    def step(self, sums: NDArray[np.int64], token: int) -> NDArray[np.float32]:
        """Spikes or membranes of its neurons from their sums of this step."""
        y = linear_output(torch.from_numpy(sums), ONE, self.row_scale, self.bias)
        return population(self.stage, self.vectors, self.memory, y, token).numpy()


@dataclass(slots=True)
class Outputs:
    """What the blocks of one population were given and gave for one step."""

    sums: NDArray[np.int64]
    x: NDArray[np.float32]
    missing: int

    @classmethod
    def none(cls, n: int) -> "Outputs":
        return cls(np.empty(n, np.int64), np.empty(n, np.float32), n)

    def add(self, block: Block, sums: NDArray[np.int64], x: NDArray[np.float32]) -> bool:
        """Whether this was the last block."""
        self.sums[block.own], self.x[block.own] = sums, x
        self.missing -= block.n
        return self.missing == 0


def blocks(program: Program) -> dict[int, Block]:
    """Every block by its task."""
    t, found = program.tables, {}
    for task in np.flatnonzero(t.task_gathers >= 0).tolist():
        stage = program.graph.stages[t.task_gathers[task]]
        if not isinstance(stage, Population):
            continue
        lo, n = int(t.task_neuron_lo[task]), int(t.task_neuron_n[task])
        linear = program.linears[stage.linear]
        vectors = {name: _part(program.vectors[name], lo, n) for name in stage.parameters}
        scale, bias = _part(linear.row_scale, lo, n), _part(linear.bias, lo, n)
        found[task] = Block(stage, lo, n, vectors, scale, bias)
    return found


def _part(values: NDArray[np.float32], lo: int, n: int) -> Tensor:
    return torch.from_numpy(values[lo : lo + n].copy())
