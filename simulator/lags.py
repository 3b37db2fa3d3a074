"""How many steps of the chip a layer in lock step is behind the host.

A layer hears in the step after it was sent to. Where a tile's sums go to another core, they leave
in the step after the spikes came, and are used in the one after that: each way takes one step more.
"""

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import node_of_sink, tree_of_sink
from compiler.graph import Population
from compiler.program import PARTIAL, Program
from hw_models.errors import Bug

I64 = NDArray[np.int64]


def ways_of_sums(program: Program) -> I64:
    """int64[task]: from how many cores before it, one after another, a task's sums have come."""
    t = program.tables
    sums = np.zeros(t.tree_root.size, bool)
    sums[t.emit_tree[t.emit_class == PARTIAL]] = True
    tree = tree_of_sink(t)
    sinks = np.flatnonzero(sums[tree])
    source, to = t.tree_task[tree[sinks]], t.sink_task[sinks]
    further = (node_of_sink(t)[sinks] >= 0).astype(np.int64)
    found = np.zeros(t.task_core.size, np.int64)
    for _ in range(found.size + 1):
        before = found.copy()
        np.maximum.at(found, to, before[source] + further)
        if (found == before).all():
            return found
    raise Bug("sums that wait for each other in a circle", where=program.graph.model)


def lags(program: Program, layers: tuple[Population, ...]) -> list[int]:
    """Of the host, which is 0, and of every layer."""
    t, ways, found = program.tables, ways_of_sums(program), [0]
    for layer in layers:
        blocks = t.task_gathers == program.graph.stages.index(layer)
        found.append(found[-1] + 1 + int(ways[blocks].max()))
    return found
