"""Gated linear attention with decays that stay pending: what it counts, and what it keeps.

A key channel that is silent for a token (query and key zero) leaves its row of the state alone,
and the decay is put aside. The row takes it when it is touched next, or when `core.pending_decays`
are pending. Tables and times are those of a step that touches every row: over a run no more is
multiplied, only later. Here is what the counts differ by.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Gla
from compiler.program import Program
from hw_models.chip import Core
from hw_models.events import KINDS

I64 = NDArray[np.int64]

UNTOUCHED, FETCHED, NO_KEY, NO_QUERY = range(4)
"""Of a stage's rows, token by token: nothing touched them; pending decays that they took later;
touched without a key (nothing to add) and without a query (nothing to read)."""
TALLIES = 4

DECAY_BYTES = 4


def pending_bytes(core: Core, channels: int) -> int:
    """State memory of the decays that can be pending: a float32 each, and a byte to count them."""
    most = core.pending_decays
    return channels * (DECAY_BYTES * most + 1) if most else 0


def spared(program: Program, tally: I64) -> Iterator[tuple[str, str, int]]:
    """(operation, event kind, count) to be added to what an eager step counts; tally[stage, 4].

    A decay that is put aside is written and read by every core that holds columns of the head.
    """
    for stage, row in zip(program.graph.stages, tally.tolist(), strict=True):
        if not isinstance(stage, Gla) or not any(row):
            continue
        untouched, fetched, no_key, no_query = row
        d, parts = stage.head_dim, _parts(program, stage)
        moved, aside = 4 * d * untouched, DECAY_BYTES * parts
        yield stage.name, "state_read", aside * fetched - moved
        yield stage.name, "state_write", aside * untouched - moved
        yield stage.name, "vec_mul", d * (fetched - 3 * untouched - no_key - no_query)
        yield stage.name, "vec_add", -d * (2 * untouched + no_key + no_query)


def _parts(program: Program, stage: Gla) -> int:
    """Cores that share a head's state: 1, or more by value columns."""
    t = program.tables
    reads = (t.work_kind == list(KINDS).index("state_read")) & (t.work_ring == 0)
    own = t.task_op[t.work_task] == program.ops.index(stage.name)
    return max(1, int((reads & own).sum()) // stage.heads)
