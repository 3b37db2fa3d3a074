"""How fast a program can decode at best: its busiest core or link, and the longest way of a token.

Both are lower bounds for the expected counts: no message waits for another on its way, and a core
starts to take in a task's inputs when the first sender is done. Under barrier sync every step adds
its barrier and the neurons of the core that has most of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compiler.accounting import Snapshot, TreeFacts, flits_per_link
from compiler.audit.trees import node_of_sink, parent_of_node, tree_of_node, tree_of_sink
from compiler.expected import (
    TOKENS,
    array_reads,
    expected_steps,
    in_lockstep,
    shares_of,
    values_sent,
)
from compiler.longest import longest_ways
from compiler.program import HOST, MARKER, PARTIAL, SPIKE, TILE, VALUE, Program
from hw_models.events import KINDS, LINKS

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pace:
    """Picoseconds per decoded token.

    core_ps[core] and link_ps[link] are busy, updates of steps left out: all sequences share them.
    Tokens of independent sequences follow each other in busiest_ps, those of one in token_ps.
    steps: of a token under barrier sync.
    """

    core_ps: F64
    link_ps: F64
    busiest_ps: float
    token_ps: float
    steps: float


def pace(program: Program, facts: TreeFacts, seen: Snapshot) -> Pace:
    """seen: the expected counts, of TOKENS tokens."""
    t = program.tables
    barrier = program.chip.sync == "barrier"
    updates = update_ps(program)
    own = t.task_ps - updates * barrier + t.task_ring_ps * (seen.task_ring / TOKENS)
    if in_lockstep(program):  # what a tile's own core has need not be summed up to be sent
        sends = np.zeros(t.task_core.size, bool)
        sends[t.tree_task[(facts.message == PARTIAL) & (t.tree_root >= 0)]] = True
        own = np.where((t.task_kind == TILE) & ~sends, 0, own)
    works = np.where(t.task_kind == HOST, 0, own + array_reads(program).ps)
    served = _service_ps(program, facts, seen)
    task_share, tree_share = shares_of(program)
    n_cores = program.mesh.n_cores + 1
    core_ps = np.bincount(t.sink_core, served, n_cores)
    core_ps += np.bincount(t.task_core, works * task_share, n_cores)
    flit_ps = np.array([program.chip.links[kind].flit_ps for kind in LINKS])
    flits = flits_per_link(program, facts, seen) / TOKENS * flit_ps
    tree, kind = tree_of_node(t, parent_of_node(t)), t.link_kind[t.node_link]
    link_ps = np.bincount(t.node_link, flits[tree, kind], program.mesh.n_links)
    # a token's way leads over experts that are chosen
    sending = (flits[:, LINKS.index("local")] / tree_share)[tree_of_sink(t)]
    ends = longest_ways(
        program, works, served / task_share[t.sink_task], sending + _way_ps(program)
    )
    longest, steps = float(ends[t.task_kind == HOST].max()), 0.0
    if barrier:
        steps, barrier_ps = expected_steps(program, facts), program.chip.timing.barrier_ps
        updated = np.bincount(t.task_core, updates, n_cores)
        longest += steps * float(updated.max() + barrier_ps)
    busiest = float(max(core_ps[:-1].max(), link_ps.max()))
    if in_lockstep(program):  # a step of the network is one of the chip
        busiest = float(max((core_ps + updated)[:-1].max(), link_ps.max())) + barrier_ps
    return Pace(_f64(core_ps[:-1]), _f64(link_ps), busiest, max(longest, busiest), steps)


def update_ps(program: Program) -> F64:
    """By task: what one update of all its neurons takes."""
    t = program.tables
    neurons = t.work_kind == list(KINDS).index("neuron_update")
    found = np.bincount(t.work_task[neurons], t.work_count[neurons], t.task_core.size)
    return _f64(found * program.chip.timing.update_ps)


def _service_ps(program: Program, facts: TreeFacts, seen: Snapshot) -> F64:
    """By sink: how long its core takes in what a token brings it (DESIGN section 5)."""
    t, chip = program.tables, program.chip
    timing, task, tree = chip.timing, t.sink_task, tree_of_sink(t)
    spikes, markers = seen.sink_got[:, SPIKE], seen.sink_got[:, MARKER]
    met = t.task_synapses[task] / np.maximum(t.task_axons[task], 1)  # by a spike
    waves = np.where(t.task_kind[task] == TILE, np.ceil(met / chip.core.lanes), 0)
    adds = waves * timing.synop_ps if chip.array is None else 0
    fed = np.bincount(task, spikes, t.task_core.size)
    rows = np.divide(seen.task_rows, fed, out=np.zeros(fed.size), where=fed > 0)[task] * spikes
    numbers, message = values_sent(program)[tree], facts.message[tree]
    taken = (message == VALUE) & (facts.tree_of_sink >= 0) & (t.task_kind[task] != HOST)
    return (
        _f64(
            spikes * (timing.axon_ps + adds)
            + markers * timing.axon_ps
            + rows * timing.row_ps
            + numbers * (message == PARTIAL) * timing.partial_ps
            + numbers * taken * timing.value_ps
        )
        / TOKENS
    )


def _f64(numbers: ArrayLike) -> F64:
    return np.asarray(numbers, np.float64)


def _way_ps(program: Program) -> F64:
    """By sink: the hops of an empty network; none on the source's own core."""
    t = program.tables
    hop_ps = np.array([program.chip.links[kind].hop_ps for kind in LINKS], np.float64)
    way, above = hop_ps[t.link_kind[t.node_link]], parent_of_node(t)
    while (above >= 0).any():  # jump twice as far each time
        more = above >= 0
        way = way + np.where(more, way[above], 0)
        above = np.where(more, above[above], -1)
    node = node_of_sink(t)
    return np.where(node >= 0, way[node], 0.0)
