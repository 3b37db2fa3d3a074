"""A run in lock step: steps of the network and the chip's, their times, and what was counted.

A step of the chip begins at rest everywhere. Neurons take their step with what came in the one
before, spikes travel, cores take in what reaches them; when all is done the barrier falls. So the
barrier says that everything has come, and nothing announces it: there are no markers.

What happened is counted twice: spikes by the neurons, and messages by the links and cores that they
pass (simulator.counters.check_counts compares).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import Snapshot, tree_facts
from compiler.audit.trees import tree_of_sink
from compiler.graph import SpikeInput, feeds
from compiler.program import SPIKE, TILE, Program
from hw_models.errors import BadInput
from hw_models.events import LINKS, MESSAGES
from simulator.counters import check_counts
from simulator.drive import Rows
from simulator.hot import contention as hot
from simulator.hot.state import N_LAZY
from simulator.lockstep import Lockstep, Steps
from simulator.phases import Course, Progress
from simulator.senders import StepCosts
from simulator.step_time import Contention, step_costs
from simulator.step_trace import step_rows
from simulator.trajectory import Trajectory
from simulator.workload import Workload

I64 = NDArray[np.int64]

STEPS, MEMBERS, TRACED = 256, 1 << 24, 8
"""Most steps that are taken at once, and most spikes or silences of them; steps of a trace."""


@dataclass(slots=True)
class LockstepRun:
    """One sequence on one program, a network of spiking neurons on a target that waits for
    barriers.

    trace: takes rows of hot.state's TRACE_COLUMNS; keep_sums: for a comparison; workload: spikes
    that are known instead of computed ones.
    """

    program: Program
    workload: Workload | None = None
    trace: Callable[[Rows], None] | None = None
    keep_sums: bool = False
    found: Trajectory = field(default_factory=Trajectory)
    pause: Callable[[], None] | None = None  # called where all there is stands here
    started: int = 0  # steps of the network so far
    steps: int = 0  # of the chip
    now_ps: int = 0
    costs: StepCosts = field(init=False)
    lockstep: Lockstep = field(init=False)
    contention: Contention = field(init=False)
    _fired: I64 = field(init=False)  # by sender
    _raster: NDArray[np.uint8] = field(init=False)  # of steps that are not over everywhere
    _of_parts: I64 = field(init=False)  # the same, by part

    def __post_init__(self) -> None:
        program = self.program
        self.costs = step_costs(program.chip)
        if not self.costs.barrier:
            raise BadInput(
                f"{program.chip.name} does not say how long a barrier takes",
                where="timing.barrier_ps",
                fix='sbcompile --set "timing.barrier_ps=465 ns"',
            )
        self.lockstep = Lockstep(program, values=self.workload is None)
        self.contention = Contention.of(self.lockstep, self.costs)
        parts = self.lockstep.parts
        self._fired = np.zeros(self.contention.roads.senders.n.size, np.int64)
        self._raster = np.zeros((0, int(parts.size.sum())), np.uint8)
        self._of_parts = np.zeros((0, parts.size.size), np.int64)

    @property
    def depth(self) -> int:
        """Steps of the chip from the host to the last population."""
        return int(self.lockstep.parts.lag.max())

    def run(self, spikes: NDArray[np.uint8]) -> Iterator[int]:
        """All steps from the first that has not been taken; yields how many are over."""
        most = TRACED if self.trace else STEPS
        some = max(1, min(most, MEMBERS // self._raster.shape[1]))
        while self.started < len(spikes) or self.steps < len(spikes) + self.depth:
            if self.pause is not None:
                self.pause()
            end = min(len(spikes), self.started + some)
            steps = self._of_network(spikes[self.started : end])
            last = end + self.depth if end == len(spikes) else end
            self._on_chip(steps, last)
            yield self.started

    def _of_network(self, spikes: NDArray[np.uint8]) -> Steps:
        """What neurons do, kept as what has come out of the run."""
        if self.workload is None:
            steps = self.lockstep.run(spikes, keep_busy=False, keep_sums=self.keep_sums)
        else:
            steps = self.lockstep.spiked(self._known(self.workload, len(spikes)))
        graph, before = self.program.graph, 0
        given = next(stage for stage in graph.stages if isinstance(stage, SpikeInput))
        for stage in (given, *self.lockstep.layers):
            own = slice(before, before + stage.n)
            if steps.sums.size and stage is not given:
                self.found.sums.setdefault(str(stage.linear), []).extend(steps.sums[:, own])
            for site in feeds(stage):
                for step in range(len(spikes)):
                    counts, v_th = steps.raster[step, own], np.float32(1)
                    if self.workload is not None:
                        counts, v_th = self.workload.counts(site, self.started + step)
                    self.found.activity.add(site, self.started + step, counts, v_th)
            before += stage.n
        if self.workload is None:
            self.found.logits |= dict(enumerate(steps.outputs, self.started))
        return steps

    def _known(self, workload: Workload, n_steps: int) -> NDArray[np.uint8]:
        """BadInput for a count that is no spike."""
        raster = np.zeros((n_steps, self._raster.shape[1]), np.uint8)
        before = 0
        for site in self.program.graph.sites:
            for step in range(n_steps):
                counts, _ = workload.counts(site.name, self.started + step)
                if ((counts < 0) | (counts > 1)).any():
                    where = f"site {site.name}, step {self.started + step}"
                    raise BadInput("a neuron spikes once per step at most", where=where)
                raster[step, before : before + site.n] = counts
            before += site.n
        return raster

    def _on_chip(self, steps: Steps, end: int) -> None:
        """Steps of the chip up to `end`, with those of the network that have come by then."""
        raster = np.concatenate([self._raster, steps.raster])
        of_parts = np.concatenate([self._of_parts, steps.fired])
        first = self.started - len(self._raster) - self.steps
        fires, fired = self.contention.room(end - self.steps)
        self.contention.put(fires, fired, first, raster, of_parts)
        watch = self.trace is not None
        ends, watched = self.contention.ends_ps(fires, fired, watch=watch)
        over = self.now_ps + np.cumsum(ends + self.costs.barrier)
        begins = over - ends - self.costs.barrier
        if self.trace is not None:
            self.trace(
                step_rows(
                    self.program, self.contention.roads, range(self.steps, end), begins,
                    self.started + len(steps.raster), fired, watched,
                )
            )  # fmt: skip
        for step, ps in enumerate(over.tolist(), self.steps - self.depth):
            if step >= 0:
                self.found.logits_ps[step] = ps
        self.started += len(steps.raster)
        self.steps, self.now_ps = end, int(over[-1]) if over.size else self.now_ps
        self._fired += fired.sum(0)
        kept = len(raster) - min(self.depth, len(raster))
        self._raster, self._of_parts = raster[kept:].copy(), of_parts[kept:].copy()

    @property
    def n_cores(self) -> int:
        return self.program.host_core

    @property
    def events(self) -> int:
        """Links crossed, messages taken in, and populations' blocks updated."""
        blocks = int((self.lockstep.parts.layer > 0).sum())
        per_way = np.repeat(self._fired, np.diff(self.contention.roads.senders.begin))
        crossed = int(per_way @ self.contention.roads.links)
        return crossed + int(self.contention.counted[:, hot.GOT].sum()) + self.steps * blocks

    # ---- what was counted

    def snapshot(self) -> Snapshot:
        """Raw counts so far: what was sent by the neurons that fired, what was taken in by the
        cores that took it in."""
        t, counted = self.program.tables, self.contention.counted
        senders, facts = self.contention.roads.senders, tree_facts(self.program)
        tree_sent = np.zeros((t.tree_root.size, len(MESSAGES)), np.int64)
        per_way = np.repeat(self._fired, np.diff(senders.begin))
        np.add.at(tree_sent, (senders.tree, facts.message[senders.tree]), per_way)
        tree_sent[t.tree_root < 0] = 0
        sink_got = np.zeros((t.sink_core.size, len(MESSAGES)), np.int64)
        kind = facts.message[tree_of_sink(t)]
        sink_got[np.arange(kind.size), kind] = counted[:, hot.GOT]
        rows = np.zeros(t.task_core.size, np.int64)
        tiles = np.flatnonzero(t.task_kind[t.sink_task] == TILE)
        np.add.at(rows, t.sink_task[tiles], sink_got[tiles, SPIKE])
        none, synops = np.zeros_like(rows), np.zeros_like(rows)
        np.add.at(synops, t.sink_task, counted[:, hot.MET])
        fired, updates = np.full_like(rows, self.started), np.full_like(rows, self.steps)
        no_state = np.zeros((len(self.program.graph.stages), N_LAZY), np.int64)
        return Snapshot(tree_sent, sink_got, rows, fired, *[none] * 4, updates, synops, no_state)

    def busy_ps(self) -> I64:
        """How long every core and every used link has been busy so far."""
        t, roads = self.program.tables, self.contention.roads
        parts = roads.routes.part
        cores = np.zeros(self.program.host_core, np.int64)
        own = roads.core[parts[:, hot.P_CORE]]
        ps = parts[:, hot.P_ACCESS] * roads.senders.n * self.steps
        ps += parts[:, hot.P_FIRE] * self._fired
        on_chip = own < cores.size
        np.add.at(cores, own[on_chip], ps[on_chip])
        on_chip = t.sink_core < cores.size
        served = self.contention.counted[on_chip, hot.BUSY]
        np.add.at(cores, t.sink_core[on_chip], served)
        used = t.link_kind >= 0
        flit_ps = np.array([self.program.chip.links[kind].flit_ps for kind in LINKS], np.int64)
        flits = self.contention.flits[used]
        return np.concatenate([cores, flits * flit_ps[t.link_kind[used]]])

    # ---- a run under way

    def carried(self) -> dict[str, Any]:
        """What it takes from one step to the next, beside what has come out of it."""
        arrays = {"flits": self.contention.flits, "counted": self.contention.counted}
        arrays |= {"v": self.lockstep.v, "i": self.lockstep.i}
        arrays |= {"fired": self._fired, "raster": self._raster}
        return arrays | {"started": self.started, "steps": self.steps, "now_ps": self.now_ps}

    def restore(self, found: dict[str, Any]) -> None:
        """Continue there, as a fresh run of the same program. BadInput for what none carries."""
        fresh = self.carried()
        if set(found) != set(fresh):
            raise BadInput("other parts than a run in lock step has")
        for name, own in fresh.items():
            value, rows = found[name], int(name == "raster")  # so many dimensions grow
            right = type(value) is type(own)
            if right and isinstance(own, np.ndarray):
                right = value.dtype == own.dtype and value.shape[rows:] == own.shape[rows:]
            if not right or (name not in ("v", "i") and np.min(value, initial=0) < 0):
                raise BadInput(f"{name} is not what a run of this program carries")
        raster, started = found["raster"], found["started"]
        if len(raster) != min(started, self.depth) or raster.max(initial=0) > 1:
            raise BadInput("no spikes of the last steps")
        if found["steps"] - started not in (0, self.depth):
            raise BadInput(f"{found['steps']} steps of the chip for {started} of the network")
        self.contention.flits, self.contention.counted = found["flits"], found["counted"]
        self._fired, self._raster = found["fired"], found["raster"]
        self.lockstep.v, self.lockstep.i = found["v"], found["i"]
        self.started, self.steps, self.now_ps = started, found["steps"], found["now_ps"]
        self._of_parts = self.lockstep.spiked(raster).fired


def run_lockstep(
    run: LockstepRun,
    spikes: NDArray[np.uint8],
    report: Progress,
    course: Course | None = None,
) -> Course:
    """All steps, one per barrier; `course`: from there on."""
    course, facts = course or course_of(run), tree_facts(run.program)
    for over in run.run(spikes):
        report("steps", over, len(spikes))
    course.end = run.now_ps
    counted = run.snapshot(), run.busy_ps(), run.steps
    check_counts(run.program, facts, counted[0], run.contention.flits)
    course.close(run.program, facts, "steps", len(spikes), counted)
    return course


def course_of(run: LockstepRun) -> Course:
    return Course(run.snapshot(), run.busy_ps())
