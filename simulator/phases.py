"""Feed a simulation from beginning to end; counters are cut where a phase ends."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import Snapshot, counters, tree_facts
from compiler.program import TILE, Program
from hw_models.events import LINKS
from simulator.counters import check_conservation, snapshot
from simulator.drive import Simulation
from simulator.hot import state as hot
from simulator.result import Phase

Progress = Callable[[str, int, int], None]
UNDER_WAY = 64
"""Time steps in the chip at once: enough to fill the pipeline, few enough to keep in memory."""


def run_text(
    simulation: Simulation, prompt: tuple[int, ...], wanted: int, report: Progress
) -> tuple[list[int], list[Phase]]:
    """Prefill, then decode greedily, token by token."""
    program = simulation.program
    facts = tree_facts(program)
    before = snapshot(simulation.state)
    for token in prompt:
        simulation.start(token, 0)
    logits = np.zeros(0, np.float32)
    end = 0
    for token, ps, found in simulation.advance():
        if token >= 0:
            logits, end = found, ps
        report("prefill", simulation.finished, len(prompt))
    after, busy = snapshot(simulation.state), _busy_ps(simulation)
    seen = after.since(before)
    counts, ran = counters(program, facts, seen), _ran(program, seen, len(prompt))
    room = _max_streams(program, end, busy)
    steps = simulation.steps
    phases = [Phase("prefill", len(prompt), 0, end, counts, room, steps, ran)]
    generated = [int(logits.argmax())]
    start, before = end, after
    while len(generated) < wanted:
        simulation.start(generated[-1], end)
        for token, ps, found in simulation.advance():
            if token >= 0:
                logits, end = found, ps
        generated.append(int(logits.argmax()))
        report("decode", len(generated), wanted)
    if wanted > 1:
        seen = snapshot(simulation.state).since(before)
        counts, ran = counters(program, facts, seen), _ran(program, seen, wanted - 1)
        room = _max_streams(program, end - start, _busy_ps(simulation) - busy)
        steps = simulation.steps - steps
        phases.append(Phase("decode", wanted - 1, start, end, counts, room, steps, ran))
    simulation.flush_trace()
    check_conservation(program, facts, simulation.state)
    return generated, phases


def run_steps(simulation: Simulation, spikes: NDArray[np.uint8], report: Progress) -> Phase:
    """All steps, as fast as the chip takes them: at most UNDER_WAY between host and readout."""
    program = simulation.program
    facts = tree_facts(program)
    before, end = snapshot(simulation.state), 0
    for row in spikes[:UNDER_WAY]:
        simulation.start(row, 0)
    for step, ps, _ in simulation.advance():
        if step >= 0:
            end = ps
            report("steps", step + 1, len(spikes))
            if simulation.started < len(spikes):
                simulation.start(spikes[simulation.started], ps)
    counts = counters(program, facts, snapshot(simulation.state).since(before))
    room = _max_streams(program, end, _busy_ps(simulation))
    simulation.flush_trace()
    check_conservation(program, facts, simulation.state)
    return Phase("steps", len(spikes), 0, end, counts, room, simulation.steps)


def _ran(program: Program, seen: Snapshot, tokens: int) -> dict[str, int]:
    """How many tokens a linear ran for, where it was not all of them: the head, experts."""
    t, names = program.tables, [linear.name for linear in program.graph.linears]
    tile = np.flatnonzero(t.task_kind == TILE)
    fired = np.zeros(len(names), np.int64)
    fired[t.task_linear[tile]] = seen.task_fired[tile]  # all of a linear's tiles as often
    return {name: n for name, n in zip(names, fired.tolist(), strict=True) if n != tokens}


def _busy_ps(simulation: Simulation) -> NDArray[np.int64]:
    """How long every core and every used link has been busy so far."""
    program, state = simulation.program, simulation.state
    used = program.tables.link_kind >= 0
    flit_ps = np.array([program.chip.links[kind].flit_ps for kind in LINKS], np.int64)
    links = state.link[used, hot.FLITS] * flit_ps[program.tables.link_kind[used]]
    return np.concatenate([state.core[: program.host_core, hot.BUSY], links])


def _max_streams(program: Program, phase_ps: int, busy_ps: NDArray[np.int64]) -> int:
    """Sequences the state memory holds, and the phase's busiest core and link have time for."""
    return max(1, min(program.max_streams, phase_ps // max(1, int(busy_ps.max()))))
