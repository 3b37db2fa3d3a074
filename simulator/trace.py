"""What every core did and when, in exact picoseconds; written as a table (events.parquet).

Rows of level `core` and `chip` stand for several events of the engine: see simulator/tracing.py.
"""

from dataclasses import dataclass
from functools import cached_property
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
COLUMNS: Final = (*TRACE_COLUMNS, "events", "busy_ps")
COLUMN: Final = {name: i for i, name in enumerate(COLUMNS)}


@dataclass(frozen=True)
class Trace:
    """rows int64[n, 8], columns as hot.state.TRACE_COLUMNS; `place` is a core number.

    `count` is how many messages were served at once, or (inject) how many deliveries an
    injected message stands for, so that both add up to the same number.
    task_operation[task] names an operation; core_chip[core] is a chip number, -1 the host.
    level: what a row is. Those of `core` have one more column, the engine's events in it; of
    `chip` another one for the ps that cores were busy, and `place` is a chip.
    """

    rows: NDArray[np.int64]
    task_operation: tuple[str, ...]
    core_chip: NDArray[np.int32]
    level: str = "spike"

    def column(self, name: str) -> NDArray[np.int64]:
        return self.rows[:, COLUMN[name]]

    @cached_property
    def busy(self) -> "Slices":
        """Rows in which a core works, joined where nothing lies between them."""
        work = joined(self.rows, self.task_operation)
        rows = work[np.lexsort((work[:, COLUMN["place"]], work[:, 0]))]
        time, duration, event, core, task, token, _, messages, _ = rows.T
        return Slices(time, time + duration, core, task, token, event, messages)


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


def trace_of(
    program: Program, rows: NDArray[np.int64], level: str = "spike", most: int | None = None
) -> Trace:
    """Name an engine's rows: sorted by time, then core; `most` of them."""
    operations = tuple(program.ops[i] for i in program.tables.task_op)
    chips = chip_numbers(program.chip.layout, int(program.tables.task_core.max()) + 1)
    return Trace(rows[in_time(rows)[:most]], operations, chips, level)


def in_time(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order of rows by time, then place and event, then as they came."""
    return np.lexsort((rows[:, COLUMN["event"]], rows[:, COLUMN["place"]], rows[:, 0]))


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

    message is null where a task fires, and core where a row is a chip's; then duration_ps reaches
    from the first of its events to the last, and busy_ps is their sum. chip is -1 on the host.
    """
    names = sorted(set(trace.task_operation))
    operation = np.array([names.index(op) for op in trace.task_operation], np.int32)
    message, place = trace.column("message"), trace.column("place")
    of_chips = trace.level == "chip"
    columns = {
        "time_ps": trace.column("time_ps"),
        "duration_ps": trace.column("duration_ps"),
        "event": _words(trace.column("event"), [EVENTS[i] for i in range(len(EVENTS))]),
        "chip": place.astype(np.int32) if of_chips else trace.core_chip[place],
        "core": pa.nulls(place.size, pa.int32()) if of_chips else place.astype(np.int32),
        "operation": _words(operation[trace.column("task")], names),
        "token": trace.column("token").astype(np.int32),
        "message": _words(message, list(MESSAGES), message < 0),
        "count": trace.column("count"),
        **({"busy_ps": trace.column("busy_ps")} if of_chips else {}),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def _words(
    index: NDArray[Any], words: list[str], none: NDArray[np.bool_] | None = None
) -> pa.DictionaryArray:
    codes = pa.array(index.astype(np.int32), mask=none)
    return pa.DictionaryArray.from_arrays(codes, pa.array(words))


def joined(rows: NDArray[np.int64], task_operation: tuple[str, ...]) -> NDArray[np.int64]:
    """Stretches of work int64[n, 9], core by core: rows of one core, operation, token and event
    with nothing between them; `events` says how many.

    Of rows of a core in the order of their starts, whether they are joined already or not: joining
    parts first and then what came of them is joining all at once.
    """
    rows = rows[rows[:, COLUMN["event"]] != T_INJECT]
    rows = rows[np.lexsort((rows[:, 0], rows[:, COLUMN["place"]]))]
    if not rows.size:
        return np.zeros((0, len(TRACE_COLUMNS) + 1), np.int64)
    own = (
        rows[:, COLUMN["events"]] if rows.shape[1] > COLUMN["events"] else np.ones_like(rows[:, 0])
    )
    time, duration, event, core, task, token, _, count = rows[:, : len(TRACE_COLUMNS)].T
    number = {op: i for i, op in enumerate(task_operation)}
    operation = np.array([number[op] for op in task_operation])[task]
    end = time + duration
    new = np.ones(time.size, bool)
    new[1:] = time[1:] != end[:-1]
    for column in (core, operation, token, event):
        new[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(new)
    last = np.append(first[1:], time.size) - 1
    messages, events = np.add.reduceat(count, first), np.add.reduceat(own, first)
    none = np.full(first.size, -1)
    return np.stack(
        [time[first], end[last] - time[first], event[first], core[first], task[first],
         token[first], none, messages, events], axis=1,
    )  # fmt: skip


def by_chip(rows: NDArray[np.int64], names: Trace) -> NDArray[np.int64]:
    """Rows int64[n, 10] of chips: all events of one chip, operation, token, kind and message.

    From their first start to their last end; busy_ps is the time that cores spent. Rows of cores
    or of chips already: putting parts together and then what came of them is doing all at once.
    """
    if rows.shape[1] < len(COLUMNS):
        own = np.empty((len(rows), len(COLUMNS)), np.int64)
        own[:, : rows.shape[1]] = rows
        own[:, COLUMN["place"]] = names.core_chip[rows[:, COLUMN["place"]]]
        first = {op: names.task_operation.index(op) for op in set(names.task_operation)}
        task = np.array([first[op] for op in names.task_operation])
        own[:, COLUMN["task"]] = task[rows[:, COLUMN["task"]]]
        own[:, COLUMN["events"]] = 1
        work = rows[:, COLUMN["event"]] != T_INJECT
        own[:, COLUMN["busy_ps"]] = rows[:, COLUMN["duration_ps"]] * work
        rows = own
    keys = rows[:, [COLUMN[n] for n in ("place", "task", "token", "event", "message")]]
    order = np.lexsort(keys.T[::-1])
    rows, keys = rows[order], keys[order]
    if not len(rows):
        return rows
    first = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(1)))
    found = rows[first]
    start, end = rows[:, 0], rows[:, 0] + rows[:, COLUMN["duration_ps"]]
    found[:, 0] = np.minimum.reduceat(start, first)
    found[:, COLUMN["duration_ps"]] = np.maximum.reduceat(end, first) - found[:, 0]
    for name in ("count", "events", "busy_ps"):
        found[:, COLUMN[name]] = np.add.reduceat(rows[:, COLUMN[name]], first)
    return found


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
