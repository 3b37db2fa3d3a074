"""What a program is expected to do, before any run: raw counts of many decoded tokens.

Spikes are an expectation: channels times the spikes per channel that the mapping looked at
(Program.statistics). A router's experts are taken to be chosen alike often. All else is fixed by
the program. KV rings are taken as full, and all channels of linear attention as active. Under
barrier sync neurons update in every step of the longest way of a token. Networks of spiking neurons
have steps for tokens, and take one per barrier: they go in lock step, without markers.
"""

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import Snapshot, TreeFacts, plain_tasks
from compiler.audit.arrivals import condition_of_tree
from compiler.audit.trees import tree_of_sink
from compiler.conditions import conditions, shares
from compiler.expected_arrays import Reads, expected_reads
from compiler.lazy_decay import TALLIES
from compiler.longest import longest_ways
from compiler.program import MARKER, SPIKE, TILE, Program
from hw_models.chip import Sync
from hw_models.errors import BadInput
from hw_models.events import MESSAGES

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

TOKENS = 1_000_000
"""Counts are whole numbers, of so many tokens: rates and rare firings are rounded at the end."""


def expected(program: Program, facts: TreeFacts) -> Snapshot:
    """Raw counts of TOKENS decoded tokens.

    Raises BadInput for a program that does not tell the rates it was mapped for.
    """
    t = program.tables
    n_tasks, n_trees = t.task_core.size, t.tree_root.size
    task_share, tree_share = shares_of(program)
    share = tree_share[t.emit_tree]
    sent = np.zeros((n_trees, len(MESSAGES)), np.int64)
    spiking = t.emit_class == SPIKE
    sites = t.task_site[t.tree_task[t.emit_tree]]
    rates, active = (_by_site(program, key) for key in ("spikes_per_channel", "active_share"))
    tree = t.emit_tree
    np.add.at(
        sent,
        (tree[spiking], SPIKE),
        _whole(t.emit_n[spiking] * rates[sites[spiking]] * share[spiking] * TOKENS),
    )
    if not in_lockstep(program):
        np.add.at(sent, (tree[spiking], MARKER), _whole(share[spiking] * TOKENS))
    per = np.array([program.chip.formats[name].values_per_message for name in MESSAGES])
    messages = -(-t.emit_n[~spiking].astype(np.int64) // per[t.emit_class[~spiking]])
    np.add.at(
        sent, (tree[~spiking], t.emit_class[~spiking]), messages * _firings(program)[~spiking]
    )

    owner, local = tree_of_sink(t), facts.tree_of_sink < 0
    got = sent[owner]
    counted_here = np.isin(np.arange(len(MESSAGES)), (SPIKE, MARKER))
    got[local] *= counted_here  # sums and values that stay on a core are no delivery
    sent[t.tree_root < 0] = 0

    fed = (t.task_kind[t.sink_task] == TILE) & (facts.message[owner] == SPIKE)
    rows = got[:, SPIKE]
    if program.chip.abilities.row_buffer:
        rows = _whole(facts.n * active[t.task_site[t.tree_task]] * tree_share * TOKENS)[owner]
    task_rows = np.zeros(n_tasks, np.int64)
    if program.chip.array is None:
        np.add.at(task_rows, t.sink_task[fed], rows[fed])
    fired = _whole(task_share * TOKENS)
    kept = np.where(t.task_window > 0, t.task_window / np.maximum(t.task_period, 1), 0)
    updates = fired
    if program.chip.sync == "barrier":
        steps = 1.0 if in_lockstep(program) else expected_steps(program, facts)
        updates = np.full(n_tasks, round(steps * TOKENS))
    arrays = array_reads(program)
    return Snapshot(
        tree_sent=sent,
        sink_got=got,
        task_rows=task_rows,
        task_fired=fired,
        task_ring=_whole(kept * TOKENS),
        task_driven=_whole(arrays.driven * task_share * TOKENS),
        task_reads=_whole(arrays.reads * task_share * TOKENS),
        task_converted=_whole(arrays.converted * task_share * TOKENS),
        task_updates=updates,
        task_synops=_synops(program, got[:, SPIKE]),
        lazy=np.zeros((len(program.graph.stages), TALLIES), np.int64),
    )


def _synops(program: Program, spikes: I64) -> I64:
    """By task, of spikes at sinks: as many as an axon of its tile has synapses on average."""
    t = program.tables
    fed = np.zeros(t.task_core.size, np.int64)
    np.add.at(fed, t.sink_task, spikes)
    listed = (t.task_axons > 0) & ~plain_tasks(program)
    return _whole(fed * (t.task_synapses / np.maximum(t.task_axons, 1)) * listed)


def array_reads(program: Program) -> Reads:
    """Of a crossbar's arrays, per token that a tile fires for."""
    mean = _by_site(program, "mean_count")
    dense = [site.threshold == "absmax16" for site in program.graph.sites]
    return expected_reads(program, np.where(dense, np.nan, mean))


def in_lockstep(program: Program, sync: Sync | None = None) -> bool:
    """Whether a step of the network is one of the chip. sync: None for the target's."""
    return program.graph.takes_spikes and (sync or program.chip.sync) == "barrier"


def expected_steps(program: Program, facts: TreeFacts) -> float:
    """Steps of a token under barrier sync: messages are taken in one step after they were sent,
    tasks act one later, and every further symbol of a train takes one more. In lock step neurons
    use in one step what was sent in the last."""
    t = program.tables
    symbols = _by_site(program, "symbols")[t.task_site[t.tree_task]]
    spikes = (facts.message == SPIKE) | (facts.message == MARKER)
    delay = (2 + np.where(spikes, symbols - 1, 0))[tree_of_sink(t)]
    if in_lockstep(program):
        delay = (spikes[tree_of_sink(t)] | (facts.tree_of_sink >= 0)).astype(np.float64)
    nothing = np.zeros(t.task_core.size), np.zeros(t.sink_core.size)
    return float(longest_ways(program, *nothing, delay).max())


def values_sent(program: Program) -> I64:
    """By tree, spikes left out: sums or values that TOKENS tokens send."""
    t = program.tables
    found = np.zeros(t.tree_root.size, np.int64)
    counted = t.emit_class != SPIKE
    np.add.at(found, t.emit_tree[counted], (t.emit_n * _firings(program))[counted])
    return found


def _firings(program: Program) -> I64:
    """How often every emission is sent: a stripe of a KV ring stores one token in `period`."""
    t = program.tables
    period = t.task_period[t.tree_task[t.emit_tree]]
    _, share = shares_of(program)
    rate = np.where(t.emit_residue >= 0, 1 / np.maximum(period, 1), 1.0)
    return _whole(rate * share[t.emit_tree] * TOKENS)


def shares_of(program: Program) -> tuple[F64, F64]:
    """Of all tokens, those for which every task fires and every tree is used."""
    t, share = program.tables, shares(program.graph)
    every = np.array([share[c] for c in (*conditions(program.graph), None)])  # -1 is the last one
    return every[t.task_condition], every[condition_of_tree(t)]


def _by_site(program: Program, key: str) -> F64:
    found = program.statistics.get(key)
    rates = [found.get(s.name) for s in program.graph.sites] if isinstance(found, dict) else [None]
    for rate in rates:
        if not isinstance(rate, int | float) or not 0 <= rate < 1e6:
            what = "it does not say how many spikes its mapping expects of a site"
            raise BadInput(what, where=f"statistics.{key}", fix="compile it again")
    return np.array(rates, np.float64)


def _whole(numbers: NDArray[np.floating]) -> I64:
    found: I64 = np.rint(numbers).astype(np.int64)
    return found
