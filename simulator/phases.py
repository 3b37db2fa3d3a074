"""Feed a simulation from beginning to end; counters are cut where a phase ends."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import Snapshot, TreeFacts, counters, tree_facts
from compiler.program import TILE, Program
from hw_models.events import LINKS
from simulator.counters import check_conservation, snapshot
from simulator.drive import Simulation
from simulator.hot import state as hot
from simulator.result import Phase

Progress = Callable[[str, int, int], None]
UNDER_WAY = 64
"""Time steps in the chip at once: enough to fill the pipeline, few enough to keep in memory."""


@dataclass(slots=True)
class Course:
    """How far a run has come, beside what its simulation knows."""

    before: Snapshot  # counters when the phase under way began
    busy: NDArray[np.int64]  # ps until then, per core and link
    steps: int = 0  # barriers until then
    start: int = 0  # ps when the phase began, and when its last logits reached the host
    end: int = 0
    generated: list[int] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)

    @classmethod
    def of(cls, simulation: Simulation) -> "Course":
        return cls(snapshot(simulation.state), _busy_ps(simulation))

    def close(
        self,
        program: Program,
        facts: TreeFacts,
        name: str,
        tokens: int,
        counted: tuple[Snapshot, NDArray[np.int64], int],
    ) -> None:
        """The phase under way ends here, where so much is counted (raw counts, busy ps, barriers);
        another one begins."""
        seen, busy, steps = counted
        own = seen.since(self.before)
        counts, ran = counters(program, facts, own), _ran(program, own, tokens)
        room = _max_streams(program, self.end - self.start, busy - self.busy)
        self.phases.append(
            Phase(name, tokens, self.start, self.end, counts, room, steps - self.steps, ran)
        )
        self.before, self.busy, self.steps, self.start = seen, busy, steps, self.end


def counted(simulation: Simulation) -> tuple[Snapshot, NDArray[np.int64], int]:
    """What `Course.close` takes."""
    return snapshot(simulation.state), _busy_ps(simulation), simulation.steps


def run_text(
    simulation: Simulation,
    prompt: tuple[int, ...],
    wanted: int,
    report: Progress,
    course: Course | None = None,
) -> Course:
    """Prefill, then decode greedily, token by token; `course`: from there on."""
    course = course or Course.of(simulation)
    program, facts = simulation.program, tree_facts(simulation.program)
    if not simulation.started:
        for token in prompt:
            simulation.start(token, 0)
    while len(course.generated) < wanted:
        if simulation.started < len(prompt) + len(course.generated):
            simulation.start(course.generated[-1], course.end)
        for token, ps, _ in simulation.advance():
            if token >= 0:
                course.end = ps
            if not course.phases:
                report("prefill", simulation.finished, len(prompt))
        if not course.phases:
            course.close(program, facts, "prefill", len(prompt), counted(simulation))
        course.generated.append(_sampled(simulation))
        if len(course.generated) > 1:
            report("decode", len(course.generated), wanted)
    if wanted > 1:
        course.close(program, facts, "decode", wanted - 1, counted(simulation))
    simulation.flush_trace()
    check_conservation(simulation.program, facts, simulation.state)
    return course


def _sampled(simulation: Simulation) -> int:
    """The most likely next token; any where only counts are known."""
    logits = simulation.found.logits.get(simulation.started - 1)
    return 0 if logits is None else int(logits.argmax())


def run_steps(
    simulation: Simulation,
    spikes: NDArray[np.uint8],
    report: Progress,
    course: Course | None = None,
) -> Course:
    """All steps, as fast as a chip without common ones takes them: at most UNDER_WAY between host
    and readout."""
    course = course or Course.of(simulation)
    facts = tree_facts(simulation.program)
    if not simulation.started:
        for row in spikes[:UNDER_WAY]:
            simulation.start(row, 0)
    for step, ps, _ in simulation.advance():
        if step >= 0:
            course.end = ps
            report("steps", step + 1, len(spikes))
            if simulation.started < len(spikes):
                simulation.start(spikes[simulation.started], ps)
    course.close(simulation.program, facts, "steps", len(spikes), counted(simulation))
    simulation.flush_trace()
    check_conservation(simulation.program, facts, simulation.state)
    return course


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
