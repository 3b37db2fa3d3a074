"""A long text of which single decoded tokens are simulated, each at its own position.

A decoded token starts when the one before has left, on a chip at rest: simulated alone it takes
the picoseconds and counts of the whole run, where the same spikes come. Of the text before it an
event only sees how full the rings of keys and values are. Spikes depend on it where they are
computed: then the canonical executor walks the text, and the windows count what it found there.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from compiler.accounting import Counts, counters, tree_facts
from compiler.graph import Gla, Parallel, Router
from compiler.graph import Window as Attention
from compiler.program import Program
from hw_models.errors import BadInput, DoesNotFit
from kernels.canonical import TokenTrace, execute
from simulator.analog import exact, sums_of_arrays
from simulator.counters import check_conservation, snapshot
from simulator.drive import Simulation
from simulator.lazy import Decays
from simulator.phases import Course, Progress, counted, run_text
from simulator.reference import numbers_of
from simulator.result import Sampled, Window
from simulator.row_sums import sums_by_rows
from simulator.strata import CONFIDENCE, METHOD, Stratum, drawn, strata
from simulator.workload import Counts as SiteCounts
from simulator.workload import Workload

FARTHEST: Final = 65_536
"""Positions that are walked, token by token, to compute what spikes at the last of them."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How many decoded tokens of a text are simulated, and what they are drawn with."""

    windows: int
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Positions to simulate of a text of `context`, whose first `prompt` are prefilled."""

    context: int
    prompt: int
    seed: int
    strata: tuple[Stratum, ...]
    positions: tuple[int, ...]


def plan(program: Program, context: int, prompt: int, sampling: Sampling) -> Plan:
    """Where to look. BadInput for more windows than the text has room for; as check_context."""
    check_context(program, context)
    if sampling.seed < 0:
        raise BadInput(f"a seed of {sampling.seed}", where="--seed", fix="0 or more")
    full = [s.window - 1 for s in program.graph.stages if isinstance(s, Attention | Parallel)]
    found = strata(prompt, context, sampling.windows, full)
    at = drawn(found, sampling.windows, sampling.seed)
    return Plan(context, prompt, sampling.seed, found, at)


def check_context(program: Program, context: int) -> None:
    """DoesNotFit where full attention is compiled for a shorter text."""
    most = program.graph.context
    if most is not None and context > most:
        raise DoesNotFit(
            f"a context of {context:,} tokens; full attention was compiled for {most:,}",
            where="--context",
            fix=f"sbcompile --context {context}, as far as the model's own limit allows",
        )


def decoded(context: int, prompt: int) -> int:
    """Tokens to decode, so that so many tokens of prompt become a text of `context`."""
    if context < prompt:
        what = f"a context of {context:,} tokens for a prompt of {prompt:,}"
        raise BadInput(what, where="--context", fix=f"at least {prompt:,}")
    return context - prompt + 1  # the last one is sampled, and not fed back


def run_sampled(
    simulation: Simulation,
    prompt: tuple[int, ...],
    where: Plan,
    pending: Mapping[int, dict[object, object]],
    report: Progress,
) -> tuple[Course, Sampled]:
    """Prefill the prompt, then decode one token at each position of the plan.

    pending: decays of linear attention that wait there, where any do.
    """
    course = run_text(simulation, prompt, 1, report)
    program, facts = simulation.program, tree_facts(simulation.program)
    before, windows = course.before, []
    for position in where.positions:
        simulation.move_to(position, pending.get(position, {}))
        start = course.end
        simulation.start(0, start)
        for token, ps, _ in simulation.advance():
            if token >= 0:
                course.end = ps
        seen = snapshot(simulation.state)
        counts = by_kind(counters(program, facts, seen.since(before)))
        windows.append(Window(position, course.end - start, counts))
        before = seen
        report("windows", len(windows), len(where.positions))
    course.close(program, facts, "decode", len(windows), counted(simulation))
    check_conservation(program, facts, simulation.state)
    parts = (where.context, where.prompt, where.seed, where.strata, tuple(windows))
    return course, Sampled(*parts, CONFIDENCE, METHOD)


def pending_at(
    program: Program, workload: Workload, where: Plan
) -> dict[int, dict[object, object]]:
    """Decays that wait at the plan's positions, by what a workload says of all before them."""
    decays, found = Decays(program), dict[int, dict[object, object]]()
    for position in range(where.context):
        if position in where.positions:
            found[position] = deepcopy(decays.memory)
        decays.take(lambda stage, at=position: workload.active(stage, at))
    return found


def by_kind(found: Counts) -> dict[str, int]:
    """Operations added up."""
    total: dict[str, int] = {}
    for kinds in found.values():
        for kind, n in kinds.items():
            total[kind] = total.get(kind, 0) + n
    return dict(sorted(total.items()))


def computed(
    program: Program, prompt: tuple[int, ...], where: Plan, report: Progress
) -> tuple[Workload, tuple[int, ...], dict[int, dict[object, object]]]:
    """What the canonical executor spikes at the plan's positions, the text it decodes, and which
    decays are pending there.

    Its float work, its thresholds and the integers of its sums are those of a functional run.
    BadInput for a text that is too long to be walked, or empty.
    """
    if where.context > FARTHEST:
        raise BadInput(
            f"position {where.context - 1:,} is computed from all before it: at most {FARTHEST:,}",
            where="--context",
            fix="--workload profile, which needs none of them",
        )
    wanted = {*range(len(prompt)), *where.positions}
    kept: dict[int, TokenTrace] = {}
    generated: list[int] = []
    decays = Decays(program)
    pending: dict[int, dict[object, object]] = {}
    threads = numba.get_num_threads()
    numba.set_num_threads(1)  # as torch does there: linears of one token are small
    try:
        for position, trace in enumerate(_text(program, prompt, where.context, generated)):
            if position in wanted:
                kept[position] = replace(trace, sums={})
                pending[position] = deepcopy(decays.memory)
            decays.take(lambda stage, of=trace.active: of[stage.name])
            report("compute", position + 1, where.context)
    finally:
        numba.set_num_threads(threads)

    def counts(site: str, position: int) -> SiteCounts:
        return kept[position].counts[site], kept[position].v_th[site]

    def chosen(router: Router, position: int) -> tuple[int, ...]:
        return kept[position].chosen[router.name]

    def active(stage: Gla, position: int) -> NDArray[np.uint8]:
        return kept[position].active[stage.name]

    origin = f"computed by the canonical executor, all {where.context} tokens"
    tokens = decoded(where.context, len(prompt))
    ways = counts, chosen, active
    found = Workload("functional", origin, len(prompt), tokens, *ways, {})
    return found, tuple(generated), pending


def _text(
    program: Program, prompt: Sequence[int], context: int, generated: list[int]
) -> Iterator[TokenTrace]:
    """Traces of the prompt, and of what is most likely to follow, which is added to `generated`."""

    def tokens() -> Iterator[int]:
        yield from prompt
        for _ in range(len(prompt), context):
            yield generated[-1]

    sums = sums_by_rows(program) if exact(program) else sums_of_arrays(program)
    walk = execute(program.graph, numbers_of(program), tokens(), program.k, sums)
    for position, trace in enumerate(walk):
        if position >= len(prompt) - 1:
            generated.append(int(np.argmax(trace.logits)))
        yield trace
