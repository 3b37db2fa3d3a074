"""Drive the event engine: compute what stages ask for, sample, and start the next token.

The engine carries the integers; this is where float work is done once per (operation,
token) on the gathered vector, with the very functions the canonical executor uses.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.audit.buffers import check_buffers
from compiler.audit.tables import check_tables
from compiler.conditions import first_of
from compiler.graph import Gla, Population, Residual, Router, SpikeInput, Stage, feeds
from compiler.program import Program
from hw_models.chip import Sync
from hw_models.errors import BadInput, Bug
from kernels.linear import linear_output
from kernels.stage import STAGES
from simulator.adders import add_up
from simulator.encode import encode
from simulator.failures import (
    check_finished,
    check_sent,
    check_time,
    error_of,
    place_of,
    stuck,
)
from simulator.growth import enlarged, remembering
from simulator.helpers import Helpers
from simulator.hot import state as hot
from simulator.hot.engine import run as run_events
from simulator.hot.engine import start_token
from simulator.lazy import count_gla, lazy_gla
from simulator.machine import (
    choose,
    fixed_arrays,
    fresh_state,
    head_site,
    margin_of,
)
from simulator.noc import carry_wave, net_of, scratch_of
from simulator.population import ONE, Block, Outputs, blocks
from simulator.spikes import checked
from simulator.trajectory import Trajectory
from simulator.workload import Workload

BATCH = 1 << 18
"""Turns of the event loop between two looks at the clock (and at Ctrl-C)."""

Rows = NDArray[np.int64]

_NONE = np.zeros(0, np.float32)
_NEEDS_SUMS = (hot.SUMS, hot.WAVE, hot.EMPTY, hot.ERROR)
"""What comes next needs the sums of tiles that have closed, or (an error) may be told by them."""


class Simulation:
    """One sequence on one program. Feed it tokens (or steps of spikes); it yields logits (or the
    last stage's outputs) with their times.

    slots: token slots per core (at most the target's); sync: None for the target's;
    first_logits: the first token whose head runs (the last of the prompt is enough to sample);
    trace: takes rows of hot.state's TRACE_COLUMNS; keep_sums: keep every linear's sums, for a
    comparison; in_flight: tokens that will be started before the first of them is finished;
    workload: counts instead of values; then tokens are of no matter, and logits are empty;
    waves: False for the event queue alone, also where a step's messages can do without;
    streams: False for a queue that is a heap of all events.
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
        workload: Workload | None = None,
        waves: bool = True,
        streams: bool = True,
    ) -> None:
        most = program.chip.core.token_slots
        slots = most if slots is None else slots
        if not 1 <= slots <= most:
            more = f", or compile with --set core.token_slots={slots}" if slots > most else ""
            what = f"{slots} token slots; the program was compiled for {most}"
            raise BadInput(what, where="--slots", fix=f"1 to {most}{more}")
        self.program, self.first_logits, self.trace = program, first_logits, trace
        self.sync: Sync = sync or program.chip.sync
        self.keep_sums, self.workload = keep_sums, workload
        check_tables(program)
        check_buffers(program)
        waves = waves and self.sync == "barrier" and not program.chip.bounded
        self._net = net_of(program) if waves else None
        self._scratch = self._net and scratch_of(self._net)
        in_waves = self._net is not None
        self.fixed = fixed_arrays(program, slots, self.sync, workload is None, in_waves, streams)
        self.state = fresh_state(program, self.fixed, first_logits, trace is not None, in_flight)
        self.found = Trajectory()
        self._helpers = Helpers()
        self.started = 0
        self.pause: Callable[[], None] | None = None  # called where all there is stands here
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
        self._tokens: list[int | NDArray[np.uint8]] = []
        self._blocks = {} if workload else blocks(program)
        self._outputs: dict[tuple[int, int], Outputs] = {}
        self._memory: dict[object, object] = {}
        self._v_th: dict[int, dict[str, Tensor]] = {}  # by token, until its head has run
        self._first_condition = first_of(program.graph)
        self._vectors = {n: torch.from_numpy(v.copy()) for n, v in program.vectors.items()}
        self._linears = {
            name: (torch.from_numpy(a.row_scale.copy()), torch.from_numpy(a.bias.copy()))
            for name, a in (program.linears.items() if workload is None else ())
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

    def start(self, token: int | NDArray[np.integer], time_ps: int) -> None:
        """The host sends a token's embedding, or a time step's spikes, at `time_ps`.

        Under barrier sync one leaves per step: a token that is started while others wait
        leaves after them, whatever `time_ps`. BadInput for an unknown token id, and for what is
        not 0 or 1 per channel.
        """
        if self.workload is None and self.program.graph.takes_spikes:
            spikes = checked(np.asarray(token)[None], self.program.graph, first=self.started)
            self._tokens.append(spikes[0])
        elif self.workload is None:
            self._tokens.append(self._known(token))
        self._make_room()
        self.state = remembering(self.state, self.started + 1)
        self._v_th[self.started] = {}
        start_token(self.fixed, self.state, self.embed, self.started, time_ps)
        self.started += 1

    def move_to(self, position: int, pending: dict[object, object]) -> None:
        """The next token to be started stands at this position of the text, not behind the last.

        What lies between is not simulated. Counts need none of it but how full KV rings are, and
        which decays are pending there (simulator.lazy).
        """
        if self.workload is None or self.finished < self.started:
            raise Bug("only counts can be taken up elsewhere, with no token under way")
        self.state.reg[hot.R_OFFSET] = position - self.started
        self._memory.update(pending)

    def _known(self, token: Any) -> int:
        vocab = self.program.graph.vocab
        if not 0 <= token < vocab:
            what = f"token id {token}; the vocabulary has {vocab}"
            raise BadInput(what, where=f"token {self.started}")
        return int(token)

    def _make_room(self) -> None:
        reg = self.state.reg
        while (
            reg[hot.R_HEAP] + self._margin > self.state.heap.shape[0]
            or min(reg[[hot.R_FREE, hot.R_FREE_VALUES, hot.R_FREE_COPIES, hot.R_FREE_WAITING]])
            < self._margin
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
                if self.pause is not None:
                    self.pause()
                why = run_events(self.fixed, self.state, self._margin, BATCH)
                check_time(self.program, self.now_ps)
                if why in _NEEDS_SUMS:
                    add_up(self.fixed, self.state, self._helpers)
                    why = hot.ERROR if self.state.reg[hot.R_ERROR] else why
                if why == hot.EMPTY:
                    break
                if why == hot.ERROR:
                    raise error_of(self.program, self.state)
                if why == hot.STUCK:
                    raise stuck(self.program, self.state)
                if why == hot.GROW:
                    self.state = enlarged(self.state)
                elif why == hot.WAVE and self._net and self._scratch:
                    self.state = carry_wave(self._net, self._scratch, self.fixed, self.state)
                elif why == hot.TRACE_FULL:
                    self.flush_trace()
                elif why == hot.PAUSE:
                    yield -1, self.now_ps, _NONE
                elif why == hot.SUMS:
                    continue
                else:
                    yield from self._answer()
        finally:
            torch.set_num_threads(threads)
        check_finished(self.program, self.fixed, self.state, self.started)

    def add_up(self) -> None:
        """Sum what has closed: nothing is put off any longer. Raises for a sum too wide."""
        add_up(self.fixed, self.state, self._helpers)
        if self.state.reg[hot.R_ERROR]:
            raise error_of(self.program, self.state)

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
        for what, index, token, ps, task in queue:
            if what == hot.STAGE and self.workload is not None:
                self._counted(self.workload, index, token, task)
            elif task in self._blocks and what == hot.STAGE:
                self._block(self._blocks[task], index, token)
            elif what == hot.STAGE:
                self._stage(self.program.graph.stages[index], index, token)
            else:
                self.found.logits_ps[token] = ps
                yield token, ps, self.found.logits.get(token, _NONE)

    def _stage(self, stage: Stage, index: int, token: int) -> None:
        """One stage of one token, on the whole vector; its counts go back to the engine."""
        row = token % self.state.stage_left.shape[1]
        self.state.stage_left[index, row] = self.state.stage_all[index]
        y, activity, sites = self._operand(stage, token, row), self.found.activity, feeds(stage)
        if isinstance(stage, Gla):
            most, tally = self.program.chip.core.pending_decays, self.state.lazy[index]
            x, touched = lazy_gla(stage, self._vectors, self._memory, y, most, tally)
            activity.active.setdefault(stage.name, []).append(touched)
        else:
            x = STAGES[stage.kind](stage, self._vectors, self._memory, y, token)
        if isinstance(stage, Router):
            chosen, _ = self._memory[stage.name, token]
            choose(self.state, self._first_condition[stage.name], chosen, token)
            activity.chosen.setdefault(stage.name, []).append(chosen)
        elif not sites:
            self.found.logits[token] = x.numpy()
            del self._v_th[token]
        for name in sites:
            position, site, columns = self._sites[name]
            if name == self._head_site and token < self.first_logits:
                self._memory.pop(("x", token), None)
                del self._v_th[token]
                return
            check_sent(self.program, self.fixed, self.state, position, token)
            counts = self.state.counts[row, columns]
            v_th = encode(site, x, self.program.k, token, counts)
            self._v_th[token][name] = torch.tensor(v_th)
            activity.add(name, token, counts.copy(), v_th)

    def _counted(self, workload: Workload, index: int, token: int, task: int) -> None:
        """A stage is due whose counts are known: of all its channels, or of a block of neurons."""
        state, t, stage = self.state, self.program.tables, self.program.graph.stages[index]
        activity = self.found.activity
        row = token % state.stage_left.shape[1]
        at = token + int(state.reg[hot.R_OFFSET])
        state.stage_left[index, row] = state.stage_all[index]
        own = slice(None)
        if isinstance(stage, Population):
            own = _columns(t.task_neuron_lo[task], int(t.task_neuron_n[task]))
        if isinstance(stage, Router):
            chosen = workload.chosen(stage, at)
            choose(state, self._first_condition[stage.name], chosen, token)
            activity.chosen.setdefault(stage.name, []).append(chosen)
        if isinstance(stage, Gla):
            most, touched = self.program.chip.core.pending_decays, workload.active(stage, at)
            count_gla(stage, self._memory, touched, most, state.lazy[index])
            activity.active.setdefault(stage.name, []).append(touched)
        for name in feeds(stage):
            position, _, columns = self._sites[name]
            if name == self._head_site and token < self.first_logits:
                continue
            check_sent(self.program, self.fixed, self.state, position, token)
            counts, v_th = workload.counts(name, at)
            state.counts[row, columns][own] = counts[own]
            if own == slice(None) or len(activity.counts.get(name, ())) == token:
                activity.add(name, token, counts, v_th)  # of blocks, the first to get there

    def _block(self, block: Block, index: int, token: int) -> None:
        """One block of a population for one step; its spikes go back to the engine."""
        state, stage = self.state, block.stage
        row = token % state.stage_left.shape[1]
        state.stage_left[index, row] = state.stage_all[index]
        linear, columns = self._operands[stage.linear]
        sums = state.stage_sums[row, columns][block.own].copy()
        x = block.step(sums, token)
        if stage.site is not None:
            position, _, channels = self._sites[stage.site]
            check_sent(self.program, self.fixed, self.state, position, token)
            state.counts[row, channels][block.own] = x
        whole = self._outputs.setdefault((index, token), Outputs.none(stage.n))
        if not whole.add(block, sums, x):
            return
        del self._outputs[index, token]
        self._v_th_of(linear.site, stage, token)
        if self.keep_sums:
            self.found.sums.setdefault(linear.name, []).append(whole.sums)
        if stage.site is not None:
            self.found.activity.add(stage.site, token, whole.x.astype(np.int32), np.float32(1))
        if index == len(self.program.graph.stages) - 1:
            self.found.logits[token] = whole.x
            del self._v_th[token]
        elif stage.site is not None:
            self._v_th[token][stage.site] = ONE

    def _operand(self, stage: Stage, token: int, row: int) -> Tensor:
        """The preceding linear's float output, or the token's embedding."""
        if isinstance(stage, SpikeInput):
            return torch.from_numpy(self._tokens[token].astype(np.float32))
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
        v_th = self._v_th_of(linear.site, stage, token)
        return linear_output(torch.from_numpy(sums), v_th, *self._linears[name])

    def _v_th_of(self, site: str, stage: Stage, token: int) -> Tensor:
        """V_th of a token's spikes, whose sums are complete."""
        v_th = self._v_th[token].get(site)
        if v_th is None:
            stages = self.program.graph.stages
            home = int((self.program.tables.task_gathers == stages.index(stage)).argmax())
            raise Bug(
                f"sums are complete before {site} has spiked",
                where=f"{place_of(self.program, home)}, token {token}",
            )
        return v_th


def _columns(first: np.int64, n: int) -> slice:
    """Where a site's counts or a linear's sums lie in a row of the engine's arrays."""
    return slice(int(first), int(first) + n)
