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
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hw_models.chip import Chip
from hw_models.errors import DoesNotFit, Unsupported
from hw_models.events import LINKS
from simulator.hot import contention as hot
from simulator.hot.contention import KEY_BITS, Room, Watched, step_ends
from simulator.hot.met import deliveries
from simulator.hot.state import FLITS
from simulator.lockstep import Lockstep, Steps
from simulator.noc import scratch_of
from simulator.routes import Roads, roads_of
from simulator.senders import StepCosts

I64 = NDArray[np.int64]

PARTS = 8
"""Of all steps: the last ones to be taken are small beside the whole."""
WORTH = 200_000
"""Messages at links and cores that take several threads less time than one."""

_NONE = np.zeros(0, np.int64)
NOT_WATCHED = Watched(_NONE, _NONE, _NONE, np.zeros((0, 4), np.int64))


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
    for lag in np.unique(lockstep.parts.lag).tolist():
        own = slice(*np.searchsorted(lockstep.parts.lag, (lag, lag + 1)))
        out[lag:, own] = rows[: max(0, len(rows) - lag), own]
    return out


@dataclass(frozen=True, slots=True)
class Delivered:
    """int64[step of the chip, core], the host left out: messages, the synapses they met, and how
    many times as many as the core has lanes."""

    messages: I64
    synops: I64
    waves: I64


def delivered(lockstep: Lockstep, steps: Steps, lanes: int = 1) -> Delivered:
    """What reaches every core."""
    parts, ways, met = lockstep.parts, lockstep.ways, lockstep.met
    kept = np.flatnonzero(ways.core != lockstep.program.host_core)
    kept = kept[np.argsort(ways.part[kept], kind="stable")]
    part = np.stack([parts.first, parts.first + parts.size, parts.lag], axis=1)
    way = np.stack([ways.core[kept], ways.neurons[kept], met.base[ways.sink[kept]]], axis=1)
    begin = np.concatenate([[0], np.cumsum(np.bincount(ways.part[kept], minlength=len(part)))])
    found = (np.zeros((len(steps.fired), lockstep.program.host_core), np.int64) for _ in range(3))
    out = Delivered(*found)
    deliveries(part, begin, way, met.n, lanes, steps.raster, steps.fired,
               out.messages, out.synops, out.waves)  # fmt: skip
    return out


def contention_free_ps(
    lockstep: Lockstep, steps: Steps, costs: StepCosts, came: Delivered | None = None
) -> I64:
    """int64[step of the chip]; came: what `delivered` finds, if that is known."""
    parts, ways = lockstep.parts, lockstep.ways
    fired, active = in_chip_steps(lockstep, steps.fired), in_chip_steps(lockstep, steps.active)
    on_chip = (parts.layer > 0).astype(np.int64)
    sends = np.bincount(ways.part, ways.core != lockstep.program.host_core, parts.core.size)
    per_spike = on_chip * costs.fire + sends.astype(np.int64) * costs.send
    neurons = on_chip * (parts.hi - parts.lo) * costs.access
    work = fired * per_spike + active * costs.update + neurons
    generation = _summed(work, parts.core)
    came = came or delivered(lockstep, steps, costs.lanes)
    reception = came.messages * costs.receive + came.waves * costs.synop
    return np.maximum(generation.max(1), reception.max(1, initial=0)) + costs.barrier


def _summed(rows: I64, core: I64) -> I64:
    """[step, part] -> [step, used core]."""
    order = np.argsort(core, kind="stable")
    first = np.flatnonzero(np.diff(core[order], prepend=-1))
    return np.add.reduceat(rows[:, order], first, axis=1)


@dataclass(slots=True)
class Contention:
    """The links and cores of a program as servers of its messages.

    Unsupported for a target whose link buffers have an end: servers would wait for those after
    them.

    flits    int64[link] so far
    counted  int64[sink, 4] so far: messages, ps of the core, synapses of lists, these in `lanes`
    """

    lockstep: Lockstep
    roads: Roads
    costs: StepCosts
    flits: I64
    counted: I64

    @classmethod
    def of(cls, lockstep: Lockstep, costs: StepCosts) -> "Contention":
        program = lockstep.program
        if program.chip.bounded:
            what = f"{program.chip.name} has link buffers with an end, which lock step has not"
            raise Unsupported(what, where=program.graph.model, fix="sbsim run --sync dataflow")
        t, roads = program.tables, roads_of(lockstep, costs)
        flits = np.zeros(t.link_kind.size, np.int64)
        return cls(lockstep, roads, costs, flits, np.zeros((t.sink_core.size, 4), np.int64))

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
        for lo, end in self._runs():
            begin = first + int(senders.lag[lo])
            cut = max(0, -begin)
            at = slice(begin + cut, min(begin + len(raster), len(fires)))
            from_ = slice(cut, cut + max(0, at.stop - at.start))
            if at.stop <= at.start:
                continue
            members = slice(senders.member[lo], senders.member[end - 1] + senders.n[end - 1])
            if senders.part[lo] < 0:
                fires[at, members], fired[at, lo:end] = 1, senders.n[lo:end]
                continue
            fires[at, members] = raster[from_, members]
            fired[at, lo:end] = of[from_, senders.part[lo] : senders.part[end - 1] + 1]

    def _runs(self) -> list[tuple[int, int]]:
        """Senders with the same lag, whose parts follow each other; or that are none."""
        part, lag = self.roads.senders.part, self.roads.senders.lag
        follows = (lag[1:] == lag[:-1]) & (part[:-1] >= 0) & (part[1:] == part[:-1] + 1)
        begins = [0, *(np.flatnonzero(~follows) + 1).tolist(), part.size]
        return list(pairwise(begins))

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
        sent, stood = (fired @ _per_part(routes.part_way, of) for of in (1, self._stops()))
        reach = fired @ self.roads.reached
        taken = reach.sum(1)
        shift = max(1, int(sent.max(initial=1)).bit_length())
        watched = NOT_WATCHED
        if watch:
            begins = [np.concatenate([[0], np.cumsum(n)]).astype(np.int64) for n in (sent, taken)]
            rows = np.zeros((int(taken.sum()), 4), np.int64)
            watched = Watched(*begins, np.zeros(int(sent.sum()), np.int64), rows)
        ends, parts = np.empty(len(fires), np.int64), max(1, min(PARTS, len(fires)))
        rooms: list[Room] = []  # those that no thread is using
        most = int(sent.max(initial=0)), int(stood.max(initial=0)), reach.max(0, initial=0)

        def work(part: int) -> None:
            try:
                room = rooms.pop()
            except IndexError:
                room = self._room(*most)
            step_ends(
                routes, np.arange(part, len(fires), parts), fires,
                fires[:1] if active is None else active, fired, shift, room, ends, watched,
            )  # fmt: skip
            rooms.append(room)

        crossings = int((fired @ _per_part(routes.part_way, self.roads.links)).sum())
        self.lockstep.helpers.share(work, parts, crossings + int(taken.sum()) >= WORTH)
        self.flits += sum(room.links[:, FLITS] for room in rooms)
        self.counted[self.roads.sink] += sum(room.counted for room in rooms)
        if (ends < 0).any():
            step, longest = int((ends < 0).argmax()), 1 << (KEY_BITS - shift)
            raise DoesNotFit(
                f"a step of {int(sent[step])} messages lasts longer than {longest} ps",
                where=f"{self.lockstep.program.graph.model}, step {step}",
            )
        return ends, watched

    def _stops(self) -> I64:
        """int64[way] stops where a message stands."""
        routes = self.roads.routes
        way = routes.way
        stood = (way[:, hot.W_LOCAL] >= 0).astype(np.int64) + (way[:, hot.W_ROOT] >= 0)
        stood += np.where(way[:, hot.W_TREE] >= 0, routes.net.tree_stops[way[:, hot.W_TREE]], 0)
        return stood

    def _room(self, sent: int, stood: int, reach: I64) -> Room:
        """For steps with so many messages, times at stops, and deliveries to cores, at most."""
        routes, taken = self.roads.routes, int(reach.sum())
        kinds, columns = routes.flits.shape
        one, n_links = columns == 1, self.flits.size
        return Room(
            *(np.empty(sent, np.int64) for _ in range(4)),
            flits=routes.flits if one else np.zeros((kinds, sent), np.int64),
            stood=np.empty((stood, 2), np.int64),
            key=np.empty(taken, np.int64),
            spare=np.empty(taken, np.int64),
            sink=np.empty(taken, np.int32),
            spare_sink=np.empty(taken, np.int32),
            begin=np.cumsum(reach) - reach,
            end=np.empty(routes.n_cores, np.int64),
            clock=np.empty(routes.n_cores, np.int64),
            waiting=scratch_of(routes.net),
            links=np.zeros((n_links, 2), np.int64),
            counted=np.zeros_like(self.counted),
        )


def _per_part(part_way: I64, of_way: I64 | int) -> I64:
    """Sums over the ways of every part."""
    before = np.concatenate([[0], np.cumsum(np.broadcast_to(of_way, int(part_way[-1])))])
    return np.diff(before[part_way]).astype(np.int64)
