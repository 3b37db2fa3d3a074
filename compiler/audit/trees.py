"""Who is above a node or a sink of a program's multicast trees."""

import numpy as np
from numpy.typing import NDArray

from compiler.program import I32, I64, Tables
from hw_models.errors import BadInput

AGAIN = "compile it again"


def ranges(first: NDArray[np.integer], last: NDArray[np.integer]) -> I64:
    """All numbers of half-open ranges, one range after another."""
    sizes = (last - first).astype(np.int64)
    ends = np.cumsum(sizes)
    starts: I64 = np.repeat(first - (ends - sizes), sizes)
    return np.arange(starts.size) + starts


def owners(n: int, first: I32, last: I32, what: str) -> I64:
    """owner[i] = the row whose range [first, last) holds i, or -1; none is held twice.

    Raises BadInput for ranges that overlap or leave 0 .. n - 1.
    """
    if (first > last).any() or (first < 0).any() or (last > n).any():
        row = int(np.flatnonzero((first > last) | (first < 0) | (last > n))[0])
        raise BadInput(f"a range of {what} beyond the table", where=f"row {row}", fix=AGAIN)
    held = ranges(first, last)
    if held.size > n or np.bincount(held, minlength=1).max(initial=0) > 1:
        raise BadInput(f"trees share {what}", where="trees", fix=AGAIN)
    owner = np.full(n, -1, np.int64)
    owner[held] = np.repeat(np.arange(first.size), (last - first).astype(np.int64))
    return owner


def parent_of_node(t: Tables) -> I64:
    """Node above every node; -1 for a root."""
    return owners(t.node_link.size, t.node_first_child, t.node_last_child, "a node")


def tree_of_node(t: Tables, parent: I64) -> I64:
    """Tree of every node; parents come before their children.

    Raises BadInput for a node below no tree, or two.
    """
    tree = owners(t.node_link.size, np.maximum(t.tree_root, 0), t.tree_root + 1, "a root")
    if ((parent < 0) == (tree < 0)).any():
        raise BadInput("a tree node below no tree, or two", where="node_first_child", fix=AGAIN)
    if (parent >= np.arange(parent.size)).any():
        raise BadInput("a tree node before its parent", where="node_first_child", fix=AGAIN)
    at = np.where(parent < 0, np.arange(parent.size), parent)
    while (parent[at] >= 0).any():  # jump twice as far each time
        at = at[at]
    return tree[at]


def tree_of_sink(t: Tables) -> I64:
    """Tree of every sink, on the source's own core or not."""
    node = node_of_sink(t)
    local = owners(t.sink_core.size, t.tree_first_local, t.tree_last_local, "a sink")
    if ((node < 0) == (local < 0)).any():
        raise BadInput("a sink below no tree, or two", where="sink_task", fix=AGAIN)
    return np.where(node < 0, local, tree_of_node(t, parent_of_node(t))[node])


def node_of_sink(t: Tables) -> I64:
    """Node that every sink hangs on; -1 for sinks on the source's own core."""
    return owners(t.sink_core.size, t.node_first_sink, t.node_last_sink, "a sink")
