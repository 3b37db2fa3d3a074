"""What a run gives, and the two ways to get it: by events, and in lock step."""

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.program import Program
from hw_models.chip import Sync
from simulator.analog import exact
from simulator.checkpoint import Job, Keeper
from simulator.counters import buffers_of
from simulator.drive import Simulation, Trajectory
from simulator.hot import state as hot
from simulator.lockstep_run import LockstepRun, course_of, run_lockstep
from simulator.phases import UNDER_WAY, Course, Progress, run_steps, run_text
from simulator.result import Buffers, Phase, Sampled
from simulator.sampled import Plan, run_sampled
from simulator.tracing import Tracer
from simulator.workload import Workload


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run, whatever ran it; sampled: tokens, or steps, whose outputs were read;
    converted: by a crossbar, and clipped."""

    found: Trajectory
    phases: list[Phase]
    generated: list[int]
    sampled: range
    sync: Sync
    events: dict[str, int]
    converted: tuple[int, int]
    buffers: Buffers | None = None


def simulated(
    program: Program,
    job: Job,
    tracer: Tracer | None,
    report: Progress,
    keeper: Keeper | None,
    workload: Workload | None,
) -> Ran:
    """Event by event."""
    simulation = _simulation(program, job, tracer, workload)
    course = keeper and keeper.attach(simulation, tracer, Course.of(simulation))
    if job.spikes is not None:
        course = run_steps(simulation, job.spikes, report, course)
    else:
        course = run_text(simulation, job.prompt, job.tokens, report, course)
    return _ran(simulation, course)


def windows(
    program: Program,
    job: Job,
    where: Plan,
    pending: Mapping[int, dict[object, object]],
    report: Progress,
    workload: Workload,
) -> tuple[Ran, Sampled]:
    """The prompt, and single tokens behind it, event by event."""
    simulation = _simulation(program, job, None, workload)
    course, found = run_sampled(simulation, job.prompt, where, pending, report)
    return _ran(simulation, course), found


def _simulation(
    program: Program, job: Job, tracer: Tracer | None, workload: Workload | None
) -> Simulation:
    return Simulation(
        program,
        slots=job.slots,
        sync=job.sync,
        first_logits=max(0, len(job.prompt) - 1),
        trace=tracer,
        keep_sums=workload is None and (job.check or not exact(program)),
        workload=workload,
        in_flight=UNDER_WAY if job.spikes is not None else len(job.prompt),
    )


def _ran(simulation: Simulation, course: Course) -> Ran:
    reg, progress = simulation.state.reg, simulation.state.progress
    return Ran(
        found=simulation.found,
        phases=course.phases,
        generated=course.generated,
        sampled=range(simulation.first_logits, simulation.started),
        sync=simulation.sync,
        events={
            "events": int(reg[hot.R_EVENTS]),
            "pending_events_high_water": int(reg[hot.R_HEAP_HIGH]),
            "busiest_core_ps": int(simulation.state.core[:, hot.BUSY].max()),
        },
        converted=(int(progress[:, hot.CONVERTED].sum()), int(progress[:, hot.CLIPPED].sum())),
        buffers=buffers_of(simulation.program, simulation.state),
    )


def stepped(
    program: Program,
    job: Job,
    tracer: Tracer | None,
    report: Progress,
    keeper: Keeper | None,
    workload: Workload | None,
) -> Ran:
    """In lock step."""
    run = LockstepRun(program, workload, tracer, keep_sums=job.check)
    course = keeper and keeper.attach(run, tracer, course_of(run))
    course = run_lockstep(run, job.spikes, report, course)
    return Ran(
        found=run.found,
        phases=course.phases,
        generated=[],
        sampled=range(run.started),
        sync="barrier",
        events={"events": run.events, "busiest_core_ps": int(run.busy_ps()[: run.n_cores].max())},
        converted=(0, 0),
    )
