"""Steps of a chip in lock step, message by message with one queue for everything that moves.

From a program's tables and the spikes of its neurons; slow, and nothing of ours is in it.
"""

import heapq
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from compiler.program import PARTIAL, SPIKE, TILE, VALUE
from hw_models.events import LINKS, MESSAGES


@dataclass
class Step:
    """end: ps; sent [(ps, task, class, deliveries)], served [(ps, duration, core, task, class)],
    flits by link."""

    end: int = 0
    sent: list = field(default_factory=list)
    served: list = field(default_factory=list)
    flits: dict = field(default_factory=lambda: defaultdict(int))


def chip_steps(program, rasters, lags):
    """rasters: uint8[step, n] of the host and of every population in turn; lags of the same, and
    for a population whose sums come from elsewhere they leave one step before."""
    found = []
    for now in range(len(rasters[0]) + lags[-1]):
        step, clock = Step(), defaultdict(int)
        queue = list(messages(program, rasters, lags, now, clock))
        step.end = max(clock.values(), default=0)
        for m, (ps, tree, kind, _) in enumerate(queue):
            sinks = len(below(program.tables, tree))
            step.sent.append((ps, int(program.tables.tree_task[tree]), kind, sinks))
            assert m < 1 << 24
        work_off(program, queue, clock, step)
        found.append(step)
    return found


def messages(program, rasters, lags, now, clock):
    """(ps, tree, class, values) of all that leaves: sums, then spikes and values core by core."""
    t, n_steps = program.tables, len(rasters[0])
    stages = [i for i, s in enumerate(program.graph.stages) if s.kind == "population"]
    names = [program.graph.stages[i].linear for i in stages]
    update = program.chip.timing.update_ps
    for e in np.flatnonzero((t.emit_class == PARTIAL) & (t.tree_root[t.emit_tree] >= 0)):
        task = t.tree_task[t.emit_tree[e]]
        layer = names.index(program.graph.linears[t.task_linear[task]].name) + 1
        if 0 <= now - lags[layer] + 1 < n_steps:
            per, left = program.chip.formats["partial"].values_per_message, int(t.emit_n[e])
            while left:
                clock[t.task_core[task]] += update * min(per, left)
                yield clock[t.task_core[task]], t.emit_tree[e], PARTIAL, min(per, left)
                left -= min(per, left)
    for layer, raster in enumerate(rasters):
        step = now - lags[layer]
        if layer == 0:
            blocks = [(0, raster.shape[1], program.host_core, None)]
        else:
            tasks = np.flatnonzero(t.task_gathers == stages[layer - 1])
            lo = t.task_neuron_lo[tasks]
            blocks = sorted(zip(lo, lo + t.task_neuron_n[tasks], t.task_core[tasks], tasks,
                                strict=True))  # fmt: skip
        site = [i for i, s in enumerate(program.graph.sites)][layer : layer + 1]
        for lo, hi, core, _ in blocks:
            for j in range(lo, hi):
                clock[core] += update if layer else 0
                if not 0 <= step < n_steps or not site or not raster[step, j]:
                    continue
                for e in np.flatnonzero(t.emit_class == SPIKE):
                    tree = t.emit_tree[e]
                    if t.task_site[t.tree_task[tree]] != site[0]:
                        continue
                    if t.emit_lo[e] <= j < t.emit_lo[e] + t.emit_n[e]:
                        yield clock[core], tree, SPIKE, 0
    for e in np.flatnonzero((t.emit_class == VALUE) & (t.tree_root[t.emit_tree] >= 0)):
        if 0 <= now - lags[-1] < n_steps:
            per, left = program.chip.formats["value"].values_per_message, int(t.emit_n[e])
            while left:
                core = t.task_core[t.tree_task[t.emit_tree[e]]]
                yield clock[core], t.emit_tree[e], VALUE, min(per, left)
                left -= min(per, left)


def below(t, tree):
    """Sinks of a tree."""
    found = list(range(t.tree_first_local[tree], t.tree_last_local[tree]))
    nodes = [int(t.tree_root[tree])] if t.tree_root[tree] >= 0 else []
    while nodes:
        node = nodes.pop()
        found += range(t.node_first_sink[node], t.node_last_sink[node])
        nodes += range(t.node_first_child[node], t.node_last_child[node])
    return found


def work_off(program, sent, clock, step):
    """Links and cores take what comes, in the order (time, message)."""
    t, chip = program.tables, program.chip
    queue, free, last = [], defaultdict(int, {("core", c): ps for c, ps in clock.items()}), 0

    def stand(ps, m, children, sinks):
        for where in [("link", n) for n in children] + [("core", s) for s in sinks]:
            heapq.heappush(queue, (ps, m, len(queue) + last, where))

    for m, (ps, tree, _, _) in enumerate(sent):
        root = [int(t.tree_root[tree])] if t.tree_root[tree] >= 0 else []
        stand(ps, m, root, range(t.tree_first_local[tree], t.tree_last_local[tree]))
    while queue:
        ps, m, _, (what, at) = heapq.heappop(queue)
        _, tree, kind, values = sent[m]
        if what == "link":
            link = int(t.node_link[at])
            form = chip.links[LINKS[t.link_kind[link]]]
            flits = -(-bits(program, tree, kind, values) // form.flit_bits)
            start = max(ps, free["link", link])
            free["link", link] = start + flits * form.flit_ps
            step.flits[link] += flits
            arrive = start + form.hop_ps + (flits - 1) * form.flit_ps
            children = range(t.node_first_child[at], t.node_last_child[at])
            stand(arrive, m, children, range(t.node_first_sink[at], t.node_last_sink[at]))
            step.end = max(step.end, free["link", link])
            continue
        core, task = int(t.sink_core[at]), int(t.sink_task[at])
        timing, n = chip.timing, int(t.task_neuron_n[task])
        duration = values * timing.partial_ps if kind == PARTIAL else 0
        if t.task_kind[task] == TILE:
            duration = timing.axon_ps + timing.row_ps + -(-n // chip.core.lanes) * timing.synop_ps
        start = max(ps, free["core", core])
        free["core", core] = start + duration
        step.served.append((start, duration, core, task, kind))
        step.end = max(step.end, free["core", core])


def bits(program, tree, kind, values):
    task = program.tables.tree_task[tree]
    header = program.chip.formats[MESSAGES[kind]].header_bits
    if kind == PARTIAL:
        name = program.graph.linears[program.tables.task_linear[task]].name
        return header + values * program.partial_bits[name]
    return header + values * 32 if kind == VALUE else header
