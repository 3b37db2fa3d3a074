"""What a trace is to hold, and an account of what it leaves out.

Events of the engine pass a window (of tokens or of time), are put together (level `core`: what a
core does without a pause for one operation and token; `chip`: what a chip does for one), and are
cut after a number of rows: the first by time. All three go by the events alone, so the trace does
not depend on how many of them come at once.
"""

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from compiler.program import Program
from hw_models.errors import BadInput
from hw_models.quantity import time_ps
from simulator.hot.state import T_INJECT
from simulator.machine import TRACE_ROWS
from simulator.result import Traced
from simulator.timeline import MOST_SLICES
from simulator.trace import COLUMN, Trace, by_chip, in_time, joined, trace_of

Level = Literal["chip", "core", "spike"]
Rows = NDArray[np.int64]

LEVELS: Final = ("chip", "core", "spike")
_FIX: Final = "--trace-window 3:8 (tokens), 5: or 1us:2.5us"


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens, or picoseconds, from `first` on and before `end`; None: to the last."""

    column: Literal["token", "time_ps"]
    first: int
    end: int | None
    text: str

    def holds(self, rows: Rows) -> NDArray[np.bool_]:
        at = rows[:, COLUMN[self.column]]
        return (at >= self.first) & (True if self.end is None else at < self.end)


@dataclass(frozen=True, slots=True)
class Tracing:
    """What a trace is to hold."""

    level: Level = "spike"
    window: str = ""  # as read by `window`
    max_events: int | None = None  # rows of events.parquet

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise BadInput(f"no level '{self.level}'", where="--trace-level", fix=", ".join(LEVELS))
        if self.max_events is not None and self.max_events < 1:
            raise BadInput(
                f"{self.max_events} events", where="--trace-max-events", fix="at least 1"
            )
        window(self.window)


def window(text: str) -> Window | None:
    """'3:8' (tokens 3 to 7), '5:', ':8', '1us:2.5us'; None for ''. BadInput for anything else."""
    if not text:
        return None
    ends = [end.strip() for end in text.split(":")]
    plain = [bool(re.fullmatch(r"[0-9]{1,9}", end)) for end in ends if end]
    if len(ends) != 2 or not plain:
        raise BadInput(f"'{text}' is no window", where="--trace-window", fix=_FIX)
    try:
        read: Any = int if all(plain) else time_ps
        first, end = (read(e) if e else None for e in ends)
    except ValueError as error:
        raise BadInput(str(error), where="--trace-window", fix=_FIX) from None
    if end is not None and end <= (first or 0):
        raise BadInput(f"'{text}' holds nothing", where="--trace-window", fix=_FIX)
    return Window("token" if all(plain) else "time_ps", first or 0, end, text)


class Tracer:
    """Takes an engine's rows as they come; `pieces` is what it keeps of them.

    A piece is never changed, only replaced: what was saved of a run under way stays true.
    """

    def __init__(self, program: Program, tracing: Tracing) -> None:
        self.program, self.tracing = program, tracing
        self.window = window(tracing.window)
        self.pieces: list[Rows] = []
        self.events = self.outside = self.sends = 0
        self._names = trace_of(program, np.zeros((0, 8), np.int64))

    @property
    def counts(self) -> list[int]:
        """Events so far: all, outside of the window, and sent ones at level core."""
        return [self.events, self.outside, self.sends]

    @counts.setter
    def counts(self, found: list[int]) -> None:
        self.events, self.outside, self.sends = map(int, found)

    def __call__(self, rows: Rows) -> None:
        self.events += len(rows)
        if self.window is not None:
            inside = rows[self.window.holds(rows)]
            self.outside += len(rows) - len(inside)
            rows = inside
        if self.tracing.level == "core":
            self.sends += int((rows[:, COLUMN["event"]] == T_INJECT).sum())
        if not rows.size:
            return
        self.pieces.append(self._together(rows))
        kept, most = sum(len(p) for p in self.pieces), self.tracing.max_events
        if self.tracing.level == "chip":
            self.pieces = [self._whole()]
        elif most is not None and kept > most + TRACE_ROWS:
            rows = self._whole()
            self.pieces = [rows[in_time(rows)[:most]]]

    def finished(self) -> tuple[Trace, Traced]:
        """The trace by time, and what it holds of the run."""
        level = self.tracing.level
        trace = trace_of(self.program, self._whole(), level, self.tracing.max_events)
        rows = trace.rows
        held = len(rows) if level == "spike" else int(trace.column("events").sum())
        slices = 0 if level == "chip" else len(trace.busy.start_ps)
        return trace, Traced(
            level=level,
            window=self.tracing.window,
            max_events=self.tracing.max_events,
            events=self.events,
            outside=self.outside,
            sends=self.sends,
            beyond=self.events - self.outside - self.sends - held,
            rows=len(rows),
            only_in_table=max(0, slices - MOST_SLICES),
        )

    def _together(self, rows: Rows) -> Rows:
        level = self.tracing.level
        if level == "spike":
            return rows
        if level == "core":
            return joined(rows, self._names.task_operation)
        return by_chip(rows, self._names)

    def _whole(self) -> Rows:
        if not self.pieces:
            return self._together(np.zeros((0, 8), np.int64))
        return self._together(np.concatenate(self.pieces))
