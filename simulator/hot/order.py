"""What is known of trees over links before any message is: an order of links, and straight ways."""

import numpy as np

from simulator.hot.jit import entry


@entry
def rank(above, below, n_links):
    """Links, each behind all that hand on to it, and how many: fewer than there are in a circle.

    A link comes as soon after those before it as it can: then few streams wait at a time.

    above, below   int64[edges], sorted by `above`
    """
    waits = np.zeros(n_links, np.int64)
    first = np.zeros(n_links + 1, np.int64)
    for e in range(above.size):
        waits[below[e]] += 1
        first[above[e] + 1] += 1
    order, ready = np.empty(n_links, np.int64), np.empty(n_links, np.int64)
    done, n = 0, 0
    for link in range(n_links):
        first[link + 1] += first[link]
    for link in range(n_links - 1, -1, -1):
        if waits[link] == 0:
            ready[n] = link
            n += 1
    while n:
        n -= 1
        link = ready[n]
        order[done] = link
        done += 1
        for e in range(first[link], first[link + 1]):
            waits[below[e]] -= 1
            if waits[below[e]] == 0:
                ready[n] = below[e]
                n += 1
    return order, done


@entry
def straighten(child, straight, most):
    """How many links go straight on behind each node, `most` at most, and the node behind them.

    child     int64[nodes]: of a node that goes straight on the next one, whose number is larger
    straight  bool[nodes]: does it?
    """
    left, end = np.zeros(child.size, np.int64), np.arange(child.size)
    for node in range(child.size - 1, -1, -1):
        if straight[node] and left[child[node]] < most:
            left[node], end[node] = left[child[node]] + 1, end[child[node]]
    return left, end
