"""How much every task is sent per token, where some of it is sent for some tokens only."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph, Router
from compiler.program import I64, Tables


class Arrivals(NamedTuple):
    """units[task]: what arrives for a token for which the task fires.

    stray: sinks of trees that are used under another condition than their task fires under.
    uneven: tasks that one expert of a router sends more than another.
    """

    units: I64
    stray: I64
    uneven: I64


def condition_of_tree(t: Tables) -> I64:
    """Number of the condition under which a tree is used: its net's, or else its source's."""
    found = t.task_condition[t.tree_task].astype(np.int64)
    found[t.emit_tree] = np.where(t.emit_condition < 0, found[t.emit_tree], t.emit_condition)
    return found


def arrivals(t: Tables, graph: Graph, tree: I64, units: I64, which: NDArray[np.bool_]) -> Arrivals:
    """tree and units of every sink; only those of `which` count.

    A task that always fires gets top_k times what one expert sends, if all send alike.
    """
    routers = [stage for stage in graph.stages if isinstance(stage, Router)]
    router = np.repeat(np.arange(len(routers)), [r.n for r in routers])  # of every condition
    sent = condition_of_tree(t)[tree]
    fires = t.task_condition[t.sink_task]
    same = sent == fires
    found = np.bincount(t.sink_task[which & same], units[which & same], t.task_core.size)
    some = np.flatnonzero(which & ~same & (fires < 0))  # sent < 0 would be the same
    key = t.sink_task[some].astype(np.int64) * router.size + sent[some]
    key, at = np.unique(key, return_inverse=True)
    each = np.bincount(at, units[some], key.size)
    task, condition = np.divmod(key, max(1, router.size))
    group, first = np.unique(task * len(routers) + router[condition], return_index=True)
    n_experts = np.diff(np.append(first, key.size))
    of = np.array([(r.n, r.top_k) for r in routers], np.int64).reshape(-1, 2)
    task, which_router = np.divmod(group, max(1, len(routers)))
    least, most = (
        f.reduceat(each, first) if first.size else each for f in (np.minimum, np.maximum)
    )
    np.add.at(found, task, of[which_router, 1] * least)
    uneven = task[(n_experts != of[which_router, 0]) | (least != most)]
    return Arrivals(found.astype(np.int64), np.flatnonzero(which & ~same & (fires >= 0)), uneven)
