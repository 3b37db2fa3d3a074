"""Drive the event engine: compute what stages ask for, sample, and start the next token.

The engine carries the integers; this is where float work is done once per (operation,
token) on the gathered vector, with the very functions the canonical executor uses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.activity import Activity
from compiler.audit.tables import check_tables
from compiler.audit.trees import tree_of_sink
from compiler.conditions import first_of
from compiler.graph import Logits, Residual, Router, Site, Stage, feeds
from compiler.program import Program
from hw_models.chip import Sync
from hw_models.errors import BadInput, Bug, DoesNotFit, SpikeloomError
from kernels.linear import linear_output
from kernels.stage import STAGES
from kernels.threshold import count, threshold
from simulator.hot import state as hot
from simulator.hot.encode import OK, absmax16_count, mean_abs_count
from simulator.hot.engine import run as run_events
from simulator.hot.engine import start_token
from simulator.machine import (
    choose,
    enlarged,
    fixed_arrays,
    fresh_state,
    head_site,
    margin_of,
    remembering,
)

BATCH = 1 << 18
"""Events between two looks at the clock (and at Ctrl-C)."""

Rows = NDArray[np.int64]


@dataclass(slots=True)
class Trajectory:
    """What came out of the engine, token by token.

    sums[linear]: int64[n_post] per token whose linear ran, with keep_sums; logits[token],
    logits_ps[token]: of tokens whose head ran. What runs under a condition (compiler.conditions)
    has a row per token for which it holds; chosen[router]: experts, token by token.
    """

    activity: Activity = field(default_factory=Activity)
    sums: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    logits: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    logits_ps: dict[int, int] = field(default_factory=dict)
    chosen: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)


class Simulation:
    """One sequence on one program. Feed it tokens; it yields logits with their times.

    slots: token slots per core (at most the target's); sync: None for the target's;
    first_logits: the first token whose head runs (the last of the prompt is enough to sample);
    trace: takes rows of hot.state's TRACE_COLUMNS; keep_sums: keep every linear's sums, for a
    comparison; in_flight: tokens that will be started before the first of them is finished.
    """

    def __init__(
        self,
        program: Program,
        *,
        slots: int | None = None,
        sync: Sync | None = None,
        first_logits: int = 0,
        trace: Callable[[Rows], None] | None = None,
        keep_sums: bool = False,
        in_flight: int = 64,
    ) -> None:
        most = program.chip.core.token_slots
        slots = most if slots is None else slots
        if not 1 <= slots <= most:
            more = f", or compile with --set core.token_slots={slots}" if slots > most else ""
            raise BadInput(
                f"{slots} token slots; the program was compiled for {most}",
                where="--slots",
                fix=f"1 to {most}{more}",
            )
        self.program, self.first_logits, self.trace = program, first_logits, trace
        self.sync: Sync = sync or program.chip.sync
        self.keep_sums = keep_sums
        check_tables(program)
        self.fixed = fixed_arrays(program, slots, self.sync)
        self.state = fresh_state(program, self.fixed, first_logits, trace is not None, in_flight)
        self.found = Trajectory()
        self.started = 0
        self._margin = margin_of(program)
        self._head_site = head_site(program)
        self.embed = program.task_names.index("host.embed")
        self._sites = {
            site.name: (i, site, _columns(self.fixed.site[i, hot.OFFSET], site.n))
            for i, site in enumerate(program.graph.sites)
        }
        self._operands = {
            linear.name: (linear, _columns(self.fixed.linear[i, hot.L_OFFSET], linear.n_post))
            for i, linear in enumerate(program.graph.linears)
        }
        self._tokens: list[int] = []
        self._memory: dict[object, object] = {}
        self._v_th: dict[int, dict[str, Tensor]] = {}  # by token, until its head has run
        self._first_condition = first_of(program.graph)
        self._vectors = {n: torch.from_numpy(v.copy()) for n, v in program.vectors.items()}
        self._linears = {
            name: (torch.from_numpy(a.row_scale.copy()), torch.from_numpy(a.bias.copy()))
            for name, a in program.linears.items()
        }

    @property
    def now_ps(self) -> int:
        return int(self.state.reg[hot.R_NOW])

    @property
    def finished(self) -> int:
        """Tokens that every task is done with, those of experts left out."""
        always = self.fixed.task[:, hot.CONDITION] < 0
        return int(self.state.progress[always, hot.NEXT].min())

    @property
    def events(self) -> int:
        return int(self.state.reg[hot.R_EVENTS])

    @property
    def steps(self) -> int:
        """Barriers that have fallen; 0 under dataflow."""
        return max(0, int(self.state.reg[hot.R_STEPS]))

    def start(self, token: int, time_ps: int) -> None:
        """The host sends a token's embedding at `time_ps`. BadInput for an unknown token id.

        Under barrier sync one leaves per step: a token that is started while others wait
        leaves after them, whatever `time_ps`.
        """
        if not 0 <= token < self.program.graph.vocab:
            raise BadInput(
                f"token id {token}; the vocabulary has {self.program.graph.vocab}",
                where=f"token {self.started}",
            )
        self._tokens.append(token)
        self._make_room()
        self.state = remembering(self.state, self.started + 1)
        self._v_th[self.started] = {}
        start_token(self.fixed, self.state, self.embed, self.started, time_ps)
        self.started += 1

    def _make_room(self) -> None:
        reg = self.state.reg
        while (
            reg[hot.R_HEAP] + self._margin > self.state.heap.shape[0]
            or min(reg[hot.R_FREE], reg[hot.R_FREE_VALUES]) < self._margin
        ):
            self.state = enlarged(self.state)
            reg = self.state.reg
        if reg[hot.R_TRACE] + 2 * self._margin > self.state.trace.shape[0]:
            self.flush_trace()

    @torch.inference_mode()
    def advance(self) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Run until every started token is finished; yields (token, ps, logits) as they reach
        the host, and (-1, ps, empty) now and then so that a caller can show progress.

        Raises the run's own errors: lost or late messages, overflow, an unfinished token.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            while True:
                why = run_events(self.fixed, self.state, self._margin, BATCH)
                if why == hot.EMPTY:
                    break
                if why == hot.ERROR:
                    raise self._error()
                if why == hot.GROW:
                    self.state = enlarged(self.state)
                elif why == hot.TRACE_FULL:
                    self.flush_trace()
                elif why == hot.PAUSE:
                    yield -1, self.now_ps, np.zeros(0, np.float32)
                else:
                    yield from self._answer()
        finally:
            torch.set_num_threads(threads)
        self._check_finished()

    def flush_trace(self) -> None:
        """Hand the trace rows gathered so far to the trace's owner."""
        rows = int(self.state.reg[hot.R_TRACE])
        if self.trace is not None and rows:
            self.trace(self.state.trace[:rows].copy())
            self.state.reg[hot.R_TRACE] = 0

    def _answer(self) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Compute stages that are ready; report logits that reached the host."""
        reg = self.state.reg
        queue = self.state.ready[: reg[hot.R_READY]].tolist()
        reg[hot.R_READY] = 0
        for what, index, token, ps in queue:
            if what == hot.STAGE:
                self._stage(self.program.graph.stages[index], index, token)
            else:
                self.found.logits_ps[token] = ps
                yield token, ps, self.found.logits[token]

    def _stage(self, stage: Stage, index: int, token: int) -> None:
        """One stage of one token, on the whole vector; its counts go back to the engine."""
        row = token % self.state.stage_left.shape[1]
        self.state.stage_left[index, row] = self.state.stage_all[index]
        x = STAGES[stage.kind](
            stage, self._vectors, self._memory, self._operand(stage, token, row), token
        )
        if isinstance(stage, Logits):
            self.found.logits[token] = x.numpy()
            del self._v_th[token]
        elif isinstance(stage, Router):
            chosen, _ = self._memory[stage.name, token]
            choose(self.state, self._first_condition[stage.name], chosen, token)
            self.found.chosen.setdefault(stage.name, []).append(chosen)
        for name in feeds(stage):
            position, site, columns = self._sites[name]
            if name == self._head_site and token < self.first_logits:
                self._memory.pop(("x", token), None)
                del self._v_th[token]
                continue
            self._check_sent(position, token)
            counts = self.state.counts[row, columns]
            v_th = encode(site, x, self.program.k, token, counts)
            self._v_th[token][name] = torch.tensor(v_th)
            self.found.activity.add(name, counts.copy(), v_th)

    def _check_sent(self, site: int, token: int) -> None:
        """Counts share a row with those of a token before, which must have been sent by now."""
        before = token - self.state.counts.shape[0]
        if before < 0:
            return
        encoders = self.program.tables.task_site == site
        progress = self.state.progress[encoders]
        sent = progress[:, hot.NEXT] - (progress[:, hot.SYMBOL] > 0)
        due, condition = before + 1, int(self.fixed.task[encoders, hot.CONDITION].min())
        if condition >= 0:
            due = int((self.state.turn[condition, :due] >= 0).sum())
        if (sent < due).any():
            name = self.program.graph.sites[site].name
            raise _too_many_in_flight(f"counts of {name}", before, f"token {token}")

    def _operand(self, stage: Stage, token: int, row: int) -> Tensor:
        """The preceding linear's float output, or the token's embedding."""
        if stage.linear is None:
            return torch.from_numpy(self.program.embed(self._tokens[token]))
        y = self._output(stage, stage.linear, token, row)
        if not isinstance(stage, Residual) or stage.router is None:
            return y
        chosen, _ = self._memory[stage.router, token]
        experts = (self._output(stage, stage.experts[i], token, row) for i in chosen)
        return torch.stack([y, *experts])

    def _output(self, stage: Stage, name: str, token: int, row: int) -> Tensor:
        """Float output of a linear that a stage reads."""
        linear, columns = self._operands[name]
        sums = self.state.stage_sums[row, columns].copy()
        if self.keep_sums:
            self.found.sums.setdefault(name, []).append(sums)
        v_th = self._v_th[token].get(linear.site)
        if v_th is None:
            stages = self.program.graph.stages
            home = int((self.program.tables.task_gathers == stages.index(stage)).argmax())
            raise Bug(
                f"sums are complete before {linear.site} has spiked",
                where=f"{self._place(home)}, token {token}",
            )
        return linear_output(torch.from_numpy(sums), v_th, *self._linears[name])

    def _check_finished(self) -> None:
        """An empty queue with an open (operation, token) is an error that names it."""
        fired, condition = self.state.progress[:, hot.NEXT], self.fixed.task[:, hot.CONDITION]
        known = np.append(self.state.turns, self.started)[condition]
        behind = np.flatnonzero(fired < known)
        if behind.size == 0:
            return
        turn, under = fired[behind], condition[behind]
        tokens = turn.copy()
        tokens[under >= 0] = self.state.token_at[under[under >= 0], turn[under >= 0]]
        token = int(tokens.min())
        task = self._first_in_want(behind[tokens == token])
        got = int(self.state.got[task, fired[task] % int(self.fixed.service[hot.SLOTS])])
        tables = self.program.tables
        kinds = "markers" if tables.task_kind[task] == 0 else "values and sums"
        raise Bug(
            f"token {token} never finished: got {got} of {int(tables.task_need[task])} {kinds}; "
            f"missing from {', '.join(self._senders(task)) or 'no sender'}",
            where=self._place(task),
        )

    def _first_in_want(self, tasks: NDArray[np.int64]) -> int:
        """Of tasks that wait for the same token, one that waits for none of the others."""
        tables = self.program.tables
        theirs = np.isin(tables.tree_task, tasks)[tree_of_sink(tables)]
        first = tasks[~np.isin(tasks, tables.sink_task[theirs])]
        return int((first if first.size else tasks)[0])

    def _place(self, task: int) -> str:
        """Operation, task and core, for errors."""
        tables = self.program.tables
        return (
            f"operation {self.program.ops[tables.task_op[task]]}, "
            f"task {self.program.task_names[task]}, core {int(tables.task_core[task])}"
        )

    def _senders(self, task: int) -> list[str]:
        """Tasks that were to send to `task` and, for this token, have not or were lost."""
        names, tables = self.program.task_names, self.program.tables
        trees = np.unique(tree_of_sink(tables)[tables.sink_task == task])
        found = [f"tree {tree} of {names[int(tables.tree_task[tree])]}" for tree in trees]
        return found[:4] + (["..."] if len(found) > 4 else [])

    def _error(self) -> SpikeloomError:
        reg = self.state.reg
        code, task, token, place, detail = (
            int(reg[r]) for r in (hot.R_ERROR, hot.R_E1, hot.R_E2, hot.R_E3, hot.R_E4)
        )
        where = f"{self._place(task)}, token {token}"
        if code == hot.E_ACCUMULATOR:
            return DoesNotFit(
                f"the accumulator of neuron {place} would be {detail}, beyond int32",
                where=where,
                fix="a smaller --k, or smaller activations: check the checkpoint",
            )
        if code == hot.E_PARTIAL:
            return DoesNotFit(
                f"partial sum {detail} of neuron {place} is too wide",
                where=where,
                fix="a smaller --k, or smaller activations: check the checkpoint",
            )
        if code == hot.E_RING:
            stage = self.program.graph.stages[place].name
            return _too_many_in_flight(f"operands of {stage}", detail, where)
        return Bug(_MESSAGES[code].format(place=place, detail=detail), where=where)


_MESSAGES = {
    hot.E_LOST_SPIKES: "the marker announces {place} spikes, {detail} arrived",
    hot.E_NO_AXON: "core {place} has no axon {detail} here",
    hot.E_NO_NEURON: "a partial sum for neuron {detail} reached core {place}",
    hot.E_LATE: "a message of class {detail} came to core {place} after the token had fired",
    hot.E_TOO_MANY: "core {place} got {detail} inputs, more than it awaits",
    hot.E_NOT_CHOSEN: "core {place} got inputs of an expert that was not chosen",
}


def _too_many_in_flight(what: str, token: int, where: str) -> DoesNotFit:
    return DoesNotFit(
        f"the {what} for token {token} are still in use",
        where=where,
        fix="a shorter prompt, or fewer token slots: --slots 1",
    )


def _columns(first: np.int64, n: int) -> slice:
    """Where a site's counts or a linear's sums lie in a row of the engine's arrays."""
    return slice(int(first), int(first) + n)


def encode(site: Site, x: Tensor, k: float, token: int, counts: NDArray[np.int32]) -> np.float32:
    """V_th of a site's float32[n]; counts int32[n] is written. BadInput for values out of range.

    The Numba twin, so that equality with the canonical executor compares two implementations.
    """
    values = x.numpy()
    if site.threshold == "absmax16":
        v_th, status = absmax16_count(values, counts)
    else:
        v_th, status = mean_abs_count(values, k, counts)
    if status != OK:
        count(x, threshold(site.threshold, x, k), site=site.name, token=token)  # raises, by name
        raise Bug("the encoders disagree on a value's range", where=f"{site.name}, token {token}")
    return np.float32(v_th)
