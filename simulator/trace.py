"""What every core did and when, in exact picoseconds; written as a table (events.parquet)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from compiler.program import Program
from hw_models.chip import Layout
from hw_models.events import MESSAGES
from simulator.hot.state import T_FIRE, T_INJECT, T_SERVE, TRACE_COLUMNS

EVENTS: Final = {T_INJECT: "inject", T_SERVE: "serve", T_FIRE: "fire"}
_HOST: Final = -1
_COLUMN: Final = {name: i for i, name in enumerate(TRACE_COLUMNS)}


@dataclass(frozen=True, slots=True)
class Trace:
    """rows int64[n, 8], columns as hot.state.TRACE_COLUMNS; `place` is a core number.

    `count` is how many messages were served at once, or (inject) how many deliveries an
    injected message stands for, so that both add up to the same number.
    task_operation[task] names an operation; core_chip[core] is a chip number, -1 the host.
    """

    rows: NDArray[np.int64]
    task_operation: tuple[str, ...]
    core_chip: NDArray[np.int32]

    def column(self, name: str) -> NDArray[np.int64]:
        return self.rows[:, _COLUMN[name]]


@dataclass(frozen=True, slots=True)
class Slices:
    """Busy stretches, int64[n] each, by start: one operation, token and event of one core."""

    start_ps: NDArray[np.int64]
    end_ps: NDArray[np.int64]
    core: NDArray[np.int64]
    task: NDArray[np.int64]
    token: NDArray[np.int64]
    event: NDArray[np.int64]
    messages: NDArray[np.int64]


def trace_of(program: Program, rows: NDArray[np.int64]) -> Trace:
    """Name an engine's rows: sorted by time, then core."""
    order = np.lexsort((rows[:, _COLUMN["event"]], rows[:, _COLUMN["place"]], rows[:, 0]))
    operations = tuple(program.ops[i] for i in program.tables.task_op)
    n_cores = int(program.tables.task_core.max()) + 1
    return Trace(rows[order], operations, chip_numbers(program.chip.layout, n_cores))


def chip_numbers(layout: Layout, n_cores: int) -> NDArray[np.int32]:
    """int32[n_cores]: the chip (row by row) of every core; -1 for the host beyond the mesh."""
    (chips_w, chips_h), (routers_w, routers_h) = layout.chips, layout.routers
    core = np.arange(n_cores)
    router = core // layout.cores_per_router
    x, y = router % (chips_w * routers_w), router // (chips_w * routers_w)
    chip = y // routers_h * chips_w + x // routers_w
    return np.where(y < chips_h * routers_h, chip, _HOST).astype(np.int32)


def write_events(trace: Trace, path: Path) -> None:
    """One row per event: time_ps, duration_ps, event, chip, core, operation, token, message, count.

    message is null where a task fires; chip is -1 on the host.
    """
    names = sorted(set(trace.task_operation))
    operation = np.array([names.index(op) for op in trace.task_operation], np.int32)
    message = trace.column("message")
    columns = {
        "time_ps": trace.column("time_ps"),
        "duration_ps": trace.column("duration_ps"),
        "event": _words(trace.column("event"), [EVENTS[i] for i in range(len(EVENTS))]),
        "chip": trace.core_chip[trace.column("place")],
        "core": trace.column("place").astype(np.int32),
        "operation": _words(operation[trace.column("task")], names),
        "token": trace.column("token").astype(np.int32),
        "message": _words(message, list(MESSAGES), message < 0),
        "count": trace.column("count"),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def _words(
    index: NDArray[Any], words: list[str], none: NDArray[np.bool_] | None = None
) -> pa.DictionaryArray:
    codes = pa.array(index.astype(np.int32), mask=none)
    return pa.DictionaryArray.from_arrays(codes, pa.array(words))


def busy(trace: Trace) -> Slices:
    """Rows in which a core works, joined where nothing lies between them."""
    rows = trace.rows[trace.column("event") != T_INJECT]
    rows = rows[np.lexsort((rows[:, 0], rows[:, _COLUMN["place"]]))]
    time, duration, event, core, task, token, _, count = rows.T
    if not time.size:
        return Slices(*(np.zeros(0, np.int64) for _ in range(7)))
    number = {op: i for i, op in enumerate(trace.task_operation)}
    operation = np.array([number[op] for op in trace.task_operation])[task]
    end = time + duration
    new = np.ones(time.size, bool)
    new[1:] = time[1:] != end[:-1]
    for column in (core, operation, token, event):
        new[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(new)
    last = np.append(first[1:], time.size) - 1
    messages = np.add.reduceat(count, first)
    order = np.lexsort((core[first], time[first]))
    first, last, messages = first[order], last[order], messages[order]
    return Slices(
        time[first], end[last], core[first], task[first], token[first], event[first], messages
    )


def in_flight(trace: Trace, message: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(time_ps, deliveries of a message class under way or waiting from then on).

    Starts and ends at zero where the trace saw every delivery begin and end; what a core
    sends to itself is served without having been injected.
    """
    event, count = trace.column("event"), trace.column("count")
    moves = (event != T_FIRE) & (trace.column("message") == message)
    change = np.where(event == T_INJECT, count, -count)[moves]
    return _steps(trace.column("time_ps")[moves], change)


def busy_cores(slices: Slices, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], ...]:
    """(time_ps, cores at work from then on) of the chosen slices."""
    start, end = slices.start_ps[chosen], slices.end_ps[chosen]
    one = np.ones(start.size, np.int64)
    return _steps(np.concatenate([start, end]), np.concatenate([one, -one]))


def _steps(
    time: NDArray[np.int64], change: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A counter's values after every moment at which it changes."""
    moments, where = np.unique(time, return_inverse=True)
    sums = np.zeros(moments.size, np.int64)
    np.add.at(sums, where, change)
    return moments, np.cumsum(sums)
