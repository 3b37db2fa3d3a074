"""Whether a linear's list of synapses is one, and its tiles hold what they say they do."""

import numpy as np

from compiler.audit.trees import tree_of_sink
from compiler.program import SPIKE, TILE, Program


def wrong_list(program: Program, index: int) -> str:
    """What is wrong with the list of linear `index`, or nothing."""
    t, linear = program.tables, program.graph.linears[index]
    arrays = program.linears[linear.name]
    first, pre = np.asarray(arrays.first), np.asarray(arrays.pre)
    if first.shape != (linear.n_post + 1,) or pre.shape != (linear.listed,):
        return "a list of another length"
    sizes = np.diff(first)
    if first[0] != 0 or first[-1] != pre.size or (sizes < 0).any():
        return "neurons that overlap"
    if pre.size and not (pre.min() >= 0 and pre.max() < linear.n_pre):
        return "an input beyond the site"
    post = np.repeat(np.arange(linear.n_post), sizes)
    place = post * linear.n_pre + pre
    if (np.diff(place) <= 0).any():
        return "a list out of order"
    tiles = np.flatnonzero((t.task_kind == TILE) & (t.task_linear == index))
    drives = _driving(program)
    for tile in tiles.tolist():
        lo, end = (
            first[t.task_neuron_lo[tile]],
            first[t.task_neuron_lo[tile] + t.task_neuron_n[tile]],
        )
        own, start = pre[lo:end], int(t.task_pre[tile])
        own = own[(own >= start) & (own < start + t.task_n_pre[tile])]
        if own.size != t.task_synapses[tile]:
            return (
                f"{own.size} synapses in {program.task_names[tile]}, {t.task_synapses[tile]} told"
            )
        if not np.isin(own, drives.get(tile, own[:0])).all():
            return f"a synapse of {program.task_names[tile]} that no spike reaches"
    return ""


def _driving(program: Program) -> dict[int, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """Channels whose spikes reach a task."""
    t = program.tables
    lo, n = (np.zeros(t.tree_root.size, np.int64) for _ in range(2))
    spikes = t.emit_class == SPIKE
    lo[t.emit_tree[spikes]], n[t.emit_tree[spikes]] = t.emit_lo[spikes], t.emit_n[spikes]
    tree = tree_of_sink(t)
    size = n[tree]
    before = np.cumsum(size) - size
    channel = np.repeat(lo[tree] - before, size) + np.arange(int(size.sum()))
    task = np.repeat(t.sink_task.astype(np.int64), size)
    order = np.argsort(task, kind="stable")
    tasks, at = np.unique(task[order], return_index=True)
    return dict(zip(tasks.tolist(), np.split(channel[order], at[1:]), strict=True))
