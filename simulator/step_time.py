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

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from compiler.program import Program
from hw_models.chip import Chip
from hw_models.errors import Bug, DoesNotFit, Unsupported
from hw_models.events import LINKS
from simulator.hot.contention import Routes, step_ends
from simulator.lockstep import Lockstep, Steps

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StepCosts:
    """ps: per neuron and step, per neuron with something to do, per spike, message sent, message
    received, synop; per crossing of a link of each kind how long it is held and how long a message
    is on its way; per barrier."""

    access: int
    update: int
    fire: int
    send: int
    receive: int
    synop: int
    held: dict[str, int]
    hop: dict[str, int]
    barrier: int


def step_costs(chip: Chip) -> StepCosts:
    """What a target says; it charges an update for every neuron, and nothing for a spike."""
    timing, bits = chip.timing, chip.formats["spike"].header_bits
    flits = {kind: -(-bits // chip.links[kind].flit_bits) for kind in LINKS}
    held = {kind: flits[kind] * chip.links[kind].flit_ps for kind in LINKS}
    hop = {k: chip.links[k].hop_ps + (flits[k] - 1) * chip.links[k].flit_ps for k in LINKS}
    return StepCosts(timing.update_ps, 0, 0, held["local"], timing.axon_ps + timing.row_ps,
                     timing.synop_ps, held, hop, timing.barrier_ps)  # fmt: skip


def in_chip_steps(lockstep: Lockstep, rows: NDArray[np.integer]) -> I64:
    """[step, part] of the network's steps -> of the chip's; what is not over by the last is left
    out."""
    out = np.zeros(rows.shape, np.int64)
    for part, layer in enumerate(lockstep.parts.layer.tolist()):
        out[layer:, part] = rows[: len(rows) - layer, part]
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
        ways.core == lockstep.program.host_core, 0, costs.receive + ways.neurons * costs.synop
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
    """The links and cores of a program as servers of its spikes.

    Unsupported for a target with multicast: a message would have several ways at once; and for one
    whose link buffers have an end: servers would wait for those after them.
    """

    lockstep: Lockstep
    routes: Routes
    barrier_ps: int
    n_servers: int

    @classmethod
    def of(cls, lockstep: Lockstep, costs: StepCosts) -> "Contention":
        program, parts, ways = lockstep.program, lockstep.parts, lockstep.ways
        if program.chip.abilities.multicast:
            raise Unsupported(f"{program.chip.name} has multicast", where=program.graph.model)
        if program.chip.bounded:
            what = f"{program.chip.name} has link buffers with an end"
            raise Unsupported(what, where=program.graph.model, fix="sbsim run simulates them")
        kinds = [LINKS[kind] for kind in program.tables.link_kind]
        kept = np.flatnonzero(ways.core != program.host_core)
        kept = kept[np.argsort(ways.part[kept], kind="stable")]
        paths = [_path(program, int(tree)) for tree in ways.tree[kept]]
        cores = (len(kinds) + ways.core[kept]).tolist()
        rank, n_servers = _ranks([*path, core] for path, core in zip(paths, cores, strict=True))
        rows, first = [], [0]
        for path, core, met in zip(paths, cores, ways.neurons[kept].tolist(), strict=True):
            rows += [(rank[at], costs.held[kinds[at]], costs.hop[kinds[at]]) for at in path]
            rows.append((rank[core], costs.receive + met * costs.synop, -1))
            first.append(len(rows))
        per_part = np.bincount(ways.part[kept], minlength=parts.core.size)
        servers = np.array(rows, np.int64).reshape(-1, 3).T.copy()
        ends = parts.first + parts.size
        routes = Routes(
            part=np.stack(
                [parts.core, parts.first, ends, parts.layer == 0], axis=1, dtype=np.int64
            ),
            way=np.concatenate([[0], np.cumsum(per_part)]).astype(np.int64),
            path=np.array(first, np.int64),
            server=servers[0],
            busy_ps=servers[1],
            on_ps=servers[2],
            cost=np.array([costs.access, costs.update, costs.fire, costs.send], np.int64),
        )
        return cls(lockstep, routes, costs.barrier, n_servers)

    def times_ps(self, steps: Steps) -> I64:
        """int64[step of the chip]; `steps` must have been run with keep_busy."""
        fired = in_chip_steps(self.lockstep, steps.fired)
        raster, busy = (self._in_chip_steps(rows) for rows in (steps.raster, steps.busy))
        path, way = self.routes.path, self.routes.way
        n_messages, n_entries = fired @ np.diff(way), fired @ np.diff(path[way])
        room, most = int(n_entries.max(initial=1)), int(n_messages.max(initial=1))
        ends = step_ends(
            self.routes, raster, busy, fired,
            np.zeros(self.n_servers + 1, np.int64), np.zeros(self.n_servers + 1, np.int64),
            np.zeros(self.lockstep.program.host_core + 1, np.int64),
            np.zeros(room, np.int64), np.zeros(room, np.int64), np.zeros(most, np.int64),
        )  # fmt: skip
        if (ends < 0).any():
            raise DoesNotFit(
                f"{int(n_messages.max())} messages in a step; 16,777,215 at most",
                where=self.lockstep.program.graph.model,
            )
        return ends + self.barrier_ps

    def _in_chip_steps(self, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out, parts = np.zeros_like(rows), self.lockstep.parts
        for layer in range(int(parts.layer.max()) + 1):
            mine = parts.layer == layer
            lo, hi = parts.first[mine].min(), (parts.first + parts.size)[mine].max()
            out[layer:, lo:hi] = rows[: len(rows) - layer, lo:hi]
        return out


def _path(program: Program, tree: int) -> list[int]:
    """Links between routers that a tree without forks crosses."""
    t, path = program.tables, []
    node = int(t.tree_root[tree])
    while node >= 0:
        if LINKS[t.link_kind[t.node_link[node]]] not in ("local", "host"):
            path.append(int(t.node_link[node]))
        children = range(int(t.node_first_child[node]), int(t.node_last_child[node]))
        if len(children) > 1:
            raise Bug(f"tree {tree} forks, without multicast", where=program.graph.model)
        node = children[0] if children else -1
    return path


def _ranks(paths: Iterable[list[int]]) -> tuple[dict[int, int], int]:
    """Numbers that rise along every path."""
    order = nx.DiGraph()
    for path in paths:
        nx.add_path(order, path)
    return {server: i for i, server in enumerate(nx.topological_sort(order))}, len(order)
