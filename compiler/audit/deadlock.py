"""Links that wait for each other: a message holds a link while it waits for the next ones."""

import networkx as nx
import numpy as np
from numpy.typing import NDArray


def circle(link: NDArray[np.integer], parent: NDArray[np.integer]) -> list[int]:
    """Links of trees' nodes that wait for each other in a circle; none if there is no such.

    Forks count: a node's link depends on every child's link (Dally and Seitz, 1987).
    """
    below = np.flatnonzero(parent >= 0)
    pairs = np.unique(np.stack([link[parent[below]], link[below]], axis=1), axis=0)
    waits = nx.DiGraph(pairs.tolist())
    if nx.is_directed_acyclic_graph(waits):
        return []
    return [int(a) for a, _ in nx.find_cycle(waits)]
