"""A program on its chips: what every core holds and does, and what travels, as flat arrays.

The page (simulator.map_page) draws these; the summary (simulator.map_summary) adds them up.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.audit.limits import uses
from compiler.audit.tables import check_tables
from compiler.operations import layer_kind, layer_of
from compiler.program import HOST, TILE, Program
from simulator.map_traffic import Pairs, traffic

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

TASK_COLUMNS = (
    *("kind", "op", "neuron_lo", "neuron_n", "pre", "n_pre", "channel_lo", "channel_n"),
    *("window", "period", "state", "gathers"),
)


@dataclass(frozen=True, slots=True)
class Limit:
    """What a target limits per core, or per router and thus for its cores together."""

    resource: str
    most: int
    of: str  # "core" or "router"

    @property
    def in_bytes(self) -> bool:
        return self.resource.endswith("memory")


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores in use, by ascending number; the host comes last and holds nothing that is limited.

    used[limit]       one row for each of the floorplan's limits
    tile_op, work_op  operation of the largest tile, and of the vector work with the largest
                      state; the number of operations where there is none
    sent, received    expected messages per token by class (events.MESSAGES)
    sent_bits, received_bits  in flits of the link between core and router
    """

    number: I64
    used: I64
    tile_op: I64
    work_op: I64
    sent: F64
    received: F64
    sent_bits: F64
    received_bits: F64


@dataclass(frozen=True, slots=True)
class Links:
    """Links that trees use, by ascending number; those from a core into its router left out."""

    number: I64
    kind: I64  # index into events.LINKS
    bits: F64  # expected, per token


@dataclass(frozen=True, slots=True)
class Floorplan:
    """Everything that is drawn.

    first_task  tasks of core i are first_task[i] .. first_task[i + 1]; tasks[column] in that order
    ways        (index of a core, number of a link): links that the core's trees use
    reached     (index of a core, index of a core): who sends to whom
    layers      of every operation: its layer, or -1; kinds: what layers have in common
    """

    program: Program
    cores: Cores
    links: Links
    limits: tuple[Limit, ...]
    first_task: I64
    tasks: dict[str, I64]
    names: tuple[str, ...]
    ways: Pairs
    reached: Pairs
    layers: tuple[int, ...]
    kinds: tuple[str, ...]


def floorplan(program: Program) -> Floorplan:
    """Read a program's tables; BadInput where they are broken, or do not tell expected rates."""
    check_tables(program)
    t, mesh = program.tables, program.mesh
    found = traffic(program)
    number = np.append(np.unique(t.task_core[t.task_kind != HOST]), mesh.host).astype(np.int64)
    place = np.full(mesh.n_cores + 1, -1, np.int64)
    place[number] = np.arange(number.size)
    core_of_task = place[t.task_core]
    order = np.argsort(core_of_task, kind="stable")
    carrying = np.flatnonzero(found.link_bits[mesh.first_mesh_link :]) + mesh.first_mesh_link
    if found.link_bits[mesh.host_in]:
        carrying = np.append(mesh.host_in, carrying)
    return Floorplan(
        program=program,
        cores=Cores(
            number=number,
            used=_used(program, number),
            tile_op=_foremost(program, core_of_task, number.size, tiles=True),
            work_op=_foremost(program, core_of_task, number.size, tiles=False),
            sent=found.sent[:, number],
            received=found.received[:, number],
            sent_bits=found.link_bits[number],  # a core's own link has its number
            received_bits=found.received_bits[number],
        ),
        links=Links(carrying, mesh.links.kind[carrying], found.link_bits[carrying]),
        limits=tuple(Limit(use.resource, use.limit, use.where) for use in uses(program)),
        first_task=np.append(0, np.cumsum(np.bincount(core_of_task, minlength=number.size))),
        tasks={name: getattr(t, f"task_{name}")[order].astype(np.int64) for name in TASK_COLUMNS},
        names=tuple(program.task_names[i] for i in order),
        ways=Pairs(place[found.ways.left], found.ways.right),
        reached=Pairs(place[found.reached.left], place[found.reached.right]),
        layers=tuple(-1 if (n := layer_of(name)) is None else n for name in program.ops),
        kinds=tuple(re.sub(r"\d+", "*", layer_kind(name)) for name in program.ops),
    )


def _used(program: Program, number: I64) -> I64:
    """[limits, cores]; the host has none."""
    cores = number[:-1]
    place = {"core": cores, "router": program.mesh.routers_of(cores)}
    return np.stack([np.append(use.used[place[use.where]], 0) for use in uses(program)])


def _foremost(program: Program, core: I64, n_cores: int, tiles: bool) -> I64:
    """By core, the operation of the task with the most weights, or of the vector task with the
    most state; of equals the first."""
    t = program.tables
    size = t.task_synapses if tiles else t.task_state
    mine = np.flatnonzero((t.task_kind != HOST) & ((t.task_kind == TILE) == tiles))
    ordered = mine[np.lexsort((mine, -size[mine], core[mine]))]
    cores, first = np.unique(core[ordered], return_index=True)
    found = np.full(n_cores, len(program.ops), np.int64)
    found[cores] = t.task_op[ordered[first]]
    return found
