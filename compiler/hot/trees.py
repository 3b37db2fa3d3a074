"""Grow one multicast tree per net by following every sink's route (hw_models.mesh).

Two sinks share a link as long as their routes do. Nodes come out breadth first, children of a node
side by side, ordered by link.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def next_hop(router, goal, mesh):
    """(link, router behind it) of the first hop from a router to another one.

    mesh int64[8]: width, chip_w, chip_h, chips_w, first mesh link, first chip link, -, -
    """
    width, chip_w, chip_h, chips_w = mesh[0], mesh[1], mesh[2], mesh[3]
    x, y = router % width, router // width
    to_x, to_y = goal % width, goal // width
    chip_x, chip_y = x // chip_w, y // chip_h
    far_x, far_y = to_x // chip_w, to_y // chip_h
    first, step_x, step_y = mesh[4] + 4 * router, 1, 1
    if chip_x != far_x or chip_y != far_y:
        gate_x, gate_y = chip_x * chip_w, chip_y * chip_h
        if x == gate_x and y == gate_y:  # from gateway to gateway
            first, step_x, step_y = mesh[5] + 4 * (chip_y * chips_w + chip_x), chip_w, chip_h
            to_x, to_y = far_x * chip_w, far_y * chip_h
        else:
            to_x, to_y = gate_x, gate_y
    if x < to_x:
        return first, router + step_x
    if x > to_x:
        return first + 1, router - step_x
    if y > to_y:
        return first + 2, router - step_y * width
    return first + 3, router + step_y * width


@njit(cache=True)
def grow(net_first, sink_router, sink_local, source_router, source_link, host_out, mesh):
    """Trees of all nets.

    net_first     int64[nets + 1]  range of each net's sinks
    sink_router   int64[sinks]     where a sink is; -1: the host
    sink_local    bool[sinks]      on the source's core and needing no message
    source_router int64[nets], source_link int64[nets]: where a net is injected, over which link
    host_out      the link to the host
    mesh          as in next_hop

    Returns (order, tree, node): order int64[sinks] lists the sinks, a net's local ones first, then
    node by node; tree int64[nets, 3]: root or -1, first and end of local sinks; node int64[n, 5]:
    link, first and end of its children, first and end of its sinks.
    """
    n_nets, n_sinks = source_router.size, sink_router.size
    order, at = np.empty(n_sinks, np.int64), np.empty(n_sinks, np.int64)
    tree = np.empty((n_nets, 3), np.int64)
    node = np.empty((1024, 5), np.int64)
    n_nodes, n_ordered = 0, 0
    # nodes of the net at hand, in the order they were met
    link, router = np.empty(64, np.int64), np.empty(64, np.int64)
    child, sibling = np.empty(64, np.int64), np.empty(64, np.int64)
    queue, count = np.empty(64, np.int64), np.empty(64, np.int64)
    for net in range(n_nets):
        lo, hi = net_first[net], net_first[net + 1]
        tree[net, 1] = n_ordered
        size = 0
        for s in range(lo, hi):
            if sink_local[s]:
                order[n_ordered] = s
                n_ordered += 1
        tree[net, 2] = n_ordered
        tree[net, 0] = -1
        if n_ordered - tree[net, 1] == hi - lo:
            continue
        link[0], router[0], child[0], sibling[0], count[0] = (
            source_link[net], source_router[net], -1, -1, 0
        )  # fmt: skip
        size = 1
        for s in range(lo, hi):
            if sink_local[s]:
                continue
            here, goal = 0, max(0, sink_router[s])
            while link[here] != host_out:
                if router[here] != goal:
                    hop, ahead = next_hop(router[here], goal, mesh)
                elif sink_router[s] < 0:
                    hop, ahead = host_out, goal
                else:
                    break
                # children are kept in the order of their links
                before, following = -1, child[here]
                while following >= 0 and link[following] < hop:
                    before, following = following, sibling[following]
                if following < 0 or link[following] != hop:
                    if size == link.size:
                        link = np.concatenate((link, np.empty_like(link)))
                        router = np.concatenate((router, np.empty_like(router)))
                        child = np.concatenate((child, np.empty_like(child)))
                        sibling = np.concatenate((sibling, np.empty_like(sibling)))
                        queue = np.concatenate((queue, np.empty_like(queue)))
                        count = np.concatenate((count, np.empty_like(count)))
                    link[size], router[size], child[size] = hop, ahead, -1
                    sibling[size], count[size] = following, 0
                    if before < 0:
                        child[here] = size
                    else:
                        sibling[before] = size
                    following = size
                    size += 1
                here = following
            at[s] = here
            count[here] += 1
        while n_nodes + size > node.shape[0]:
            node = np.concatenate((node, np.empty_like(node)))
        # breadth first; `count` becomes where the next sink of a node goes
        tree[net, 0] = n_nodes
        queue[0] = 0
        reached = 1
        for i in range(size):
            here = queue[i]
            row = node[n_nodes + i]
            row[0], row[1] = link[here], n_nodes + reached
            following = child[here]
            while following >= 0:
                queue[reached] = following
                reached += 1
                following = sibling[following]
            row[2], row[3] = n_nodes + reached, n_ordered
            n_ordered, count[here] = n_ordered + count[here], n_ordered
            row[4] = n_ordered
        for s in range(lo, hi):
            if not sink_local[s]:
                order[count[at[s]]] = s
                count[at[s]] += 1
        n_nodes += size
    return order, tree, node[:n_nodes].copy()
