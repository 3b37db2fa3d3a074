"""How long the steps of a network take on a chip in lock step, with and without contention.

Every core takes its neurons one by one; one that fires sends a message to each destination core,
and each core works off the messages that reach it. The barrier falls when all is done. Layer k
hears in step s what layer k - 1 sent in step s - 1: it is as many steps behind the host as it is
layers away from it (`in_chip_steps`).

Without contention (the `simple` model of SANA-FE, Boyle et al., IEEE TCAD 44(8), 2025) a step is as
long as the slowest core needs for its neurons, or for its messages. With contention, messages queue
at links and at cores, first come, first served, exactly (simulator.hot.contention).

The host sends its channels' spikes like a core, without neurons to take time; what leaves for it is
not waited for.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from hw_models.chip import Chip
from hw_models.errors import DoesNotFit
from hw_models.events import LINKS
from simulator.hot import contention as hot
from simulator.hot.contention import KEY_BITS, Watched, step_ends
from simulator.lockstep import Lockstep, Steps
from simulator.routes import Roads, StepCosts, roads_of

I64 = NDArray[np.int64]

_NONE = np.zeros(0, np.int64)
NOT_WATCHED = Watched(_NONE, _NONE, _NONE, _NONE)


def step_costs(chip: Chip) -> StepCosts:
    """What a target says; it charges an update for every neuron, and nothing for a spike."""
    timing = chip.timing
    return StepCosts(
        access=timing.update_ps,
        update=0,
        fire=0,
        send=0,
        receive=timing.axon_ps + timing.row_ps,
        synop=timing.synop_ps,
        held={kind: chip.links[kind].flit_ps for kind in LINKS},
        hop={kind: chip.links[kind].hop_ps for kind in LINKS},
        barrier=timing.barrier_ps,
        partial=timing.partial_ps,
        lanes=chip.core.lanes,
        with_host=True,
        in_series=True,
    )


def in_chip_steps(lockstep: Lockstep, rows: NDArray[np.integer]) -> I64:
    """[step, part] of the network's steps -> of the chip's; what is not over by the last is left
    out."""
    out = np.zeros(rows.shape, np.int64)
    for part, lag in enumerate(lockstep.parts.lag.tolist()):
        out[lag:, part] = rows[: max(0, len(rows) - lag), part]
    return out


def contention_free_ps(lockstep: Lockstep, steps: Steps, costs: StepCosts) -> I64:
    """int64[step of the chip]."""
    parts, ways = lockstep.parts, lockstep.ways
    fired, active = in_chip_steps(lockstep, steps.fired), in_chip_steps(lockstep, steps.active)
    on_chip = (parts.layer > 0).astype(np.int64)
    n_cores = lockstep.program.host_core + 1
    sends = np.bincount(ways.part, ways.core != lockstep.program.host_core, parts.core.size)
    per_spike = on_chip * costs.fire + sends.astype(np.int64) * costs.send
    neurons = on_chip * (parts.hi - parts.lo) * costs.access
    work = fired * per_spike + active * costs.update + neurons
    per_message = np.where(
        ways.core == lockstep.program.host_core, 0, costs.receive + -(-ways.neurons // costs.lanes) * costs.synop
    )
    of_part = np.zeros((parts.core.size, n_cores), np.int64)
    np.add.at(of_part, (ways.part, ways.core), per_message)
    generation = _summed(work, parts.core)
    used = np.flatnonzero(of_part.any(0))
    reception = fired.astype(np.float64) @ of_part[:, used].astype(np.float64)  # below 2^53: exact
    slowest = np.maximum(generation.max(1), reception.max(1, initial=0).astype(np.int64))
    return slowest + costs.barrier


def _summed(rows: I64, core: I64) -> I64:
    """[step, part] -> [step, used core]."""
    order = np.argsort(core, kind="stable")
    first = np.flatnonzero(np.diff(core[order], prepend=-1))
    return np.add.reduceat(rows[:, order], first, axis=1)


@dataclass(slots=True)
class Contention:
    """The links and cores of a program as servers of its messages.

    passed: int64[stop] messages so far, at links and at the cores where they end
    """

    lockstep: Lockstep
    roads: Roads
    costs: StepCosts
    passed: I64

    @classmethod
    def of(cls, lockstep: Lockstep, costs: StepCosts) -> "Contention":
        roads = roads_of(lockstep, costs)
        return cls(lockstep, roads, costs, np.zeros(roads.link.size, np.int64))

    def times_ps(self, steps: Steps) -> I64:
        """int64[step of the chip], as many as of the network; `steps` with keep_busy."""
        n_steps = len(steps.raster)
        fires, fired = self.room(n_steps)
        self.put(fires, fired, 0, steps.raster, steps.fired)
        active = np.zeros_like(fires)
        self.put(active, fired.copy(), 0, steps.busy, steps.active)
        return self.ends_ps(fires, fired, active)[0] + self.costs.barrier

    def room(self, n_steps: int) -> tuple[NDArray[np.uint8], I64]:
        """Rows of so many steps of the chip in which nobody fires: by member, and by part."""
        senders = self.roads.senders
        members = int(max((senders.member + senders.n).max(), self.lockstep.parts.size.sum()))
        return np.zeros((n_steps, members), np.uint8), np.zeros((n_steps, senders.n.size), np.int64)

    def put(
        self, fires: NDArray[np.uint8], fired: I64, first: int, raster: NDArray[np.uint8], of: I64
    ) -> None:
        """Steps of the network into those of the chip, the first of which is `first` later than the
        chip's first; what is not of these is left out. of: int64[step, part of the Lockstep]."""
        senders = self.roads.senders
        for row, (part, lag) in enumerate(zip(senders.part, senders.lag, strict=True)):
            lo, n = int(senders.member[row]), int(senders.n[row])
            begin = first + int(lag)
            cut = max(0, -begin)
            at = slice(begin + cut, min(begin + len(raster), len(fires)))
            from_ = slice(cut, cut + max(0, at.stop - at.start))
            if at.stop <= at.start:
                continue
            fires[at, lo : lo + n] = raster[from_, lo : lo + n] if part >= 0 else 1
            fired[at, row] = of[from_, part] if part >= 0 else n

    def ends_ps(
        self,
        fires: NDArray[np.uint8],
        fired: I64,
        active: NDArray[np.uint8] | None = None,
        watch: bool = False,
    ) -> tuple[I64, Watched]:
        """When each step's work is done, from its beginning; active: who has something to do,
        where that takes time. watch: also when every copy left and was served.

        DoesNotFit for a step that lasts too long to be told.
        """
        routes = self.roads.routes
        per_part = np.diff(routes.part_way)
        owner = np.repeat(np.arange(per_part.size), per_part)
        copies, stops = (
            fired @ np.bincount(owner, of, per_part.size).astype(np.int64)
            for of in (routes.way[:, hot.W_COPIES], np.diff(routes.reach))
        )
        most, shift = int(copies.max(initial=1)), max(1, int(copies.max(initial=1)).bit_length())
        watched = NOT_WATCHED
        if watch:
            begin = np.concatenate([[0], np.cumsum(copies)]).astype(np.int64)
            watched = Watched(begin, *(np.zeros(int(begin[-1]), np.int64) for _ in range(3)))
        workers = max(1, min(numba.get_num_threads(), len(fires)))
        passed = np.zeros((workers, self.passed.size), np.int64)
        ends = step_ends(
            routes, fires, fires[:1] if active is None else active, fired, shift,
            int(stops.max(initial=1)), most, passed, watched,
        )  # fmt: skip
        self.passed += passed.sum(0)
        if (ends < 0).any():
            step, longest = int((ends < 0).argmax()), 1 << (KEY_BITS - shift)
            raise DoesNotFit(
                f"a step of {int(copies[step])} messages lasts longer than {longest} ps",
                where=f"{self.lockstep.program.graph.model}, step {step}",
            )
        return ends, watched
