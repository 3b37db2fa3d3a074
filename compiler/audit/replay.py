"""Send every key through the routers' tables and see where it comes out.

A router that finds no entry for a key passes the message straight on. Ports of an entry are bits:
0 to 3 the links east, west, north, south; 4 to 7 those between chips (at a gateway); 8 the host;
9 and on the router's own cores.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hw_models.mesh import Mesh

I64 = NDArray[np.int64]

HOST_PORT = 8
CORE_PORT = 9


class Entries(NamedTuple):
    """Tables of all routers, sorted by (router, key): a key matches if key & mask == entry's key.

    The entries of a router match disjoint ranges of keys.
    """

    router: I64
    key: I64
    mask: I64
    ports: I64


class Arrivals(NamedTuple):
    """What came out: message `tree[i]` at `core[i]` (the host has its number), sorted.

    dropped, looping: trees that met a router they could not leave, or came back to one.
    """

    tree: I64
    core: I64
    dropped: I64
    looping: I64


def replay(entries: Entries, key: I64, source: I64, mesh: Mesh) -> Arrivals:
    """Inject every key at its source core (or the host) and follow it, all trees at once."""
    link_end = _ends(mesh)
    start = np.stack([entries.router, entries.key], axis=1)
    order = np.lexsort(start.T[::-1])
    if (order != np.arange(order.size)).any():
        raise ValueError("entries are not sorted")
    shift = int(max(key.max(initial=0), entries.key.max(initial=0))).bit_length()
    sorted_start = (entries.router << shift) | entries.key
    tree, router = np.arange(key.size), mesh.routers_of(source)
    came = np.full(key.size, -1, np.int64)
    out_tree, out_core, dropped = [], [], []
    for _ in range(2 * (mesh.width + mesh.height) + mesh.chips_w + mesh.chips_h + 4):
        if tree.size == 0:
            break
        at = np.searchsorted(sorted_start, (router << shift) | key[tree], side="right") - 1
        near = np.maximum(at, 0)
        hit = (at >= 0) & (entries.router[near] == router)
        hit &= (key[tree] & entries.mask[near]) == entries.key[near]
        ports = np.where(hit, entries.ports[near], np.where(came >= 0, 1 << np.maximum(came, 0), 0))
        dropped.append(tree[ports == 0])
        next_tree, next_router, next_came = [], [], []
        for port in range(CORE_PORT + mesh.cores_per_router):
            leaves = (ports >> port) & 1 == 1
            if port == HOST_PORT:
                out_tree.append(tree[leaves])
                out_core.append(np.full(int(leaves.sum()), mesh.host))
            elif port > HOST_PORT:
                out_tree.append(tree[leaves])
                out_core.append(router[leaves] * mesh.cores_per_router + port - CORE_PORT)
            else:
                end = link_end[router[leaves], port]
                dropped.append(tree[leaves][end < 0])
                next_tree.append(tree[leaves][end >= 0])
                next_router.append(end[end >= 0])
                next_came.append(np.full(int((end >= 0).sum()), port))
        tree, router, came = map(np.concatenate, (next_tree, next_router, next_came))
    found_tree, found_core = np.concatenate(out_tree), np.concatenate(out_core)
    order = np.lexsort([found_core, found_tree])
    return Arrivals(
        found_tree[order], found_core[order], np.unique(np.concatenate(dropped)), np.unique(tree)
    )


def _ends(mesh: Mesh) -> I64:
    """int64[routers, 8]: the router behind every port, -1 where there is none."""
    found = np.full((mesh.n_routers, 8), -1, np.int64)
    end = mesh.links.end
    found[:, :4] = end[mesh.first_mesh_link : mesh.first_chip_link].reshape(-1, 4)
    gates = [mesh.gateway(number) for number in range(mesh.n_chips)]
    found[gates, 4:] = end[mesh.first_chip_link : mesh.host_out].reshape(-1, 4)
    return found
