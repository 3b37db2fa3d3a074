"""How many synapses a delivered spike meets: of a list, as many as its channel has on that core."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import plain_tasks
from compiler.audit.trees import ranges, tree_of_sink
from compiler.graph import feeds
from compiler.program import SPIKE, TILE, Program
from simulator.listed import joined

I64 = NDArray[np.int64]

NONE = -1 << 62


@dataclass(frozen=True, slots=True)
class Met:
    """base: int64[sink]; n[base + member] synapses are met there by a spike of that member, the
    host's channels and all populations' neurons numbered one after another. NONE: all neurons of
    the tile are, or it is none.
    """

    base: I64
    n: NDArray[np.int32]


def met_of(program: Program) -> Met:
    """Of every sink."""
    t, graph = program.tables, program.graph
    listed = (t.task_kind == TILE) & ~plain_tasks(program)
    tree = tree_of_sink(t)
    lo, n, spikes = (np.zeros(t.tree_root.size, np.int64) for _ in range(3))
    lo[t.emit_tree], n[t.emit_tree] = t.emit_lo, t.emit_n
    spikes[t.emit_tree] = t.emit_class == SPIKE
    base = np.full(tree.size, NONE)
    sinks = np.flatnonzero(listed[t.sink_task] & (spikes[tree] > 0))
    if not sinks.size:
        return Met(base, np.zeros(0, np.int32))
    sinks = sinks[np.argsort(t.sink_core[sinks], kind="stable")]  # as a core looks them up
    size = n[tree[sinks]]
    begins = np.cumsum(size) - size
    found = np.zeros(int(size.sum()), np.int32)
    channel = ranges(lo[tree[sinks]], lo[tree[sinks]] + size)
    task = np.repeat(t.sink_task[sinks].astype(np.int64), size)
    for index, linear in enumerate(graph.linears):
        own = np.flatnonzero(t.task_linear[task] == index)
        if not own.size:
            continue
        matrix = joined(program, linear)
        post = np.repeat(np.arange(linear.n_post), np.diff(matrix.indptr))
        tiles = np.flatnonzero(listed & (t.task_linear == index))
        of = _tile_of(program, tiles, post, matrix.indices)
        keys, counts = np.unique(of * linear.n_pre + matrix.indices, return_counts=True)
        wanted = np.searchsorted(tiles, task[own]) * linear.n_pre + channel[own]
        at = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
        found[own] = np.where(keys[at] == wanted, counts[at], 0)
    first, before = np.zeros(len(graph.sites), np.int64), 0
    for stage in graph.stages:
        for site in feeds(stage):
            first[[s.name for s in graph.sites].index(site)] = before
        before += int(getattr(stage, "n", 0))
    site = t.task_site[t.tree_task[tree[sinks]]]
    base[sinks] = begins - lo[tree[sinks]] - first[site]
    return Met(base, found)


def _tile_of(program: Program, tiles: I64, post: I64, pre: NDArray[np.integer]) -> I64:
    """Number among these tiles of the one that holds each synapse."""
    t = program.tables
    found = np.zeros(post.size, np.int64)
    for strip in np.unique(t.task_pre[tiles]).tolist():
        mine = np.flatnonzero(t.task_pre[tiles] == strip)
        mine = mine[np.argsort(t.task_neuron_lo[tiles[mine]])]
        held = pre >= strip
        at = np.searchsorted(t.task_neuron_lo[tiles[mine]], post[held], "right") - 1
        found[held] = mine[at]
    return found
