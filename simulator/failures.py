"""Why a run cannot go on: which operation, task, core and token."""

import numpy as np
from numpy.typing import NDArray

from compiler.audit.buffers import named
from compiler.audit.deadlock import circle
from compiler.audit.trees import tree_of_sink
from compiler.program import TILE, Program
from hw_models.errors import Bug, DoesNotFit, SpikeloomError
from simulator.hot import state as hot
from simulator.hot.state import Fixed, State

_MESSAGES = {
    hot.E_LOST_SPIKES: "the marker announces {place} spikes, {detail} arrived",
    hot.E_NO_AXON: "core {place} has no axon {detail} here",
    hot.E_NO_NEURON: "a partial sum for neuron {detail} reached core {place}",
    hot.E_LATE: "a message of class {detail} came to core {place} after the token had fired",
    hot.E_TOO_MANY: "core {place} got {detail} inputs, more than it awaits",
    hot.E_NOT_CHOSEN: "core {place} got inputs of an expert that was not chosen",
}


def check_finished(program: Program, fixed: Fixed, state: State, started: int) -> None:
    """An empty queue with an open (operation, token) is an error that names it."""
    fired, condition = state.progress[:, hot.NEXT], fixed.task[:, hot.CONDITION]
    known = np.append(state.turns, started)[condition]  # -1, no condition, is the last one
    behind = np.flatnonzero(fired < known)
    if behind.size == 0:
        return
    tokens, under = fired[behind], condition[behind]
    some = under >= 0
    tokens[some] = state.token_at[under[some], tokens[some]]
    token = int(tokens.min())
    task = _first_in_want(program, behind[tokens == token])
    got = int(state.got[task, fired[task] % int(fixed.service[hot.SLOTS])])
    t = program.tables
    kinds = "markers" if t.task_kind[task] == TILE else "values and sums"
    raise Bug(
        f"token {token} never finished: got {got} of {int(t.task_need[task])} {kinds}; "
        f"missing from {', '.join(_senders(program, task)) or 'no sender'}",
        where=place_of(program, task),
    )


def _first_in_want(program: Program, tasks: NDArray[np.int64]) -> int:
    """Of tasks that wait for the same token, one that waits for none of the others."""
    t = program.tables
    theirs = np.isin(t.tree_task, tasks)[tree_of_sink(t)]
    first = tasks[~np.isin(tasks, t.sink_task[theirs])]
    return int((first if first.size else tasks)[0])


def place_of(program: Program, task: int) -> str:
    """Operation, task and core."""
    t = program.tables
    return (
        f"operation {program.ops[t.task_op[task]]}, "
        f"task {program.task_names[task]}, core {int(t.task_core[task])}"
    )


def _senders(program: Program, task: int) -> list[str]:
    """Tasks that were to send to `task` and, for this token, have not or were lost."""
    names, t = program.task_names, program.tables
    trees = np.unique(tree_of_sink(t)[t.sink_task == task])
    found = [f"tree {tree} of {names[int(t.tree_task[tree])]}" for tree in trees]
    return found[:4] + (["..."] if len(found) > 4 else [])


def error_of(program: Program, state: State) -> SpikeloomError:
    """What the engine stopped for."""
    code, task, token, place, detail = (
        int(state.reg[r]) for r in (hot.R_ERROR, hot.R_E1, hot.R_E2, hot.R_E3, hot.R_E4)
    )
    where = f"{place_of(program, task)}, token {token}"
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
        stage = program.graph.stages[place].name
        return too_many_in_flight(f"operands of {stage}", detail, where)
    return Bug(_MESSAGES[code].format(place=place, detail=detail), where=where)


def stuck(program: Program, state: State) -> Bug:
    """Messages wait for room in buffers, and nothing can happen any more: who waits for whom."""
    waits = np.ones(state.copies.shape[0], bool)
    waits[state.copies[: state.reg[hot.R_FREE_COPIES], hot.Y_FREE]] = False
    copies = state.copies[waits]
    number = np.cumsum(waits) - 1
    above = np.where(copies[:, hot.Y_ABOVE] < 0, -1, number[copies[:, hot.Y_ABOVE]])
    links = circle(program.tables.node_link[copies[:, hot.Y_NODE]], above)
    names = named(program, links)
    return Bug(
        f"{len(copies)} messages wait for each other in buffers: {', '.join(names)}"
        if names
        else f"{len(copies)} messages wait for room in buffers that nobody clears",
        where=f"links at {int(state.reg[hot.R_NOW])} ps",
    )


def check_sent(program: Program, fixed: Fixed, state: State, site: int, token: int) -> None:
    """Counts share a row with those of a token before, which must have been sent by now."""
    before = token - state.counts.shape[0]
    if before < 0:
        return
    encoders = program.tables.task_site == site
    progress = state.progress[encoders]
    sent = progress[:, hot.NEXT] - (progress[:, hot.SYMBOL] > 0)
    due, condition = before + 1, int(fixed.task[encoders, hot.CONDITION].min())
    if condition >= 0:
        due = int((state.turn[condition, :due] >= 0).sum())
    if (sent < due).any():
        name = program.graph.sites[site].name
        raise too_many_in_flight(f"counts of {name}", before, f"token {token}")


def check_time(program: Program, now_ps: int) -> None:
    """The times of events are below LATER, those to come too: DoesNotFit from 26 days on."""
    most = hot.LATER >> 1
    if now_ps > most:
        raise DoesNotFit(
            f"{now_ps / 1e12:.0f} s of simulated time; {most / 1e12:.0f} s at most",
            where=program.graph.model,
            fix=f"a target with shorter times than {program.chip.name}, or fewer tokens",
        )


def too_many_in_flight(what: str, token: int, where: str) -> DoesNotFit:
    return DoesNotFit(
        f"the {what} for token {token} are still in use",
        where=where,
        fix="a shorter prompt, or fewer token slots: --slots 1",
    )
