"""Bounds given a placement: recounted by walking, and no routing undercuts them."""

import numpy as np
import pytest

from compiler.passes.nets import Nets
from compiler.passes.place import Placement
from compiler.passes.route import parent_of_node, tree_of_node
from compiler.passes.tree_bounds import busiest_chip_link, mesh_trees
from hw_models.chip import load_chip
from hw_models.events import LINKS
from hw_models.mesh import mesh_of

MESH = mesh_of(load_chip("toy", {"layout.chips": "[3, 3]", "layout.usable_cores": "16"}))


def on_chips(places, rows):
    """One core at the gateway of each chip; rows: (source, sinks, bits), -1 is the host."""
    n = len(places)
    cores = tuple(MESH.gateway(y * 3 + x) * MESH.cores_per_router for x, y in places)
    pins = [[n if p < 0 else p for p in (source, *sinks)] for source, sinks, _ in rows]
    bits = np.array([b for *_, b in rows], float)
    first = np.concatenate([[0], np.cumsum([len(p) for p in pins])])
    return Nets(n, first, np.concatenate(pins), bits, bits), Placement(MESH, cores)


def test_trees_of_the_mesh_are_recounted_link_by_link(small):
    links = small.placed.mesh.links.kind[small.trees.link]
    inside = np.isin(links, [LINKS.index("x"), LINKS.index("y")])
    inside &= parent_of_node(small.trees) >= 0
    per_tree = np.bincount(tree_of_node(small.trees)[inside], minlength=len(small.flow.nets))
    bits = [
        small.weigh.link_bits(net, small.flow.tasks[net.source], "x") for net in small.flow.nets
    ]
    achieved, least = mesh_trees(small.nets, small.placed)
    assert achieved == round(float(per_tree @ np.array(bits)))
    assert 0 < least <= achieved


def test_the_busiest_chip_link_is_that_of_the_routed_trees(small):
    mesh = small.placed.mesh
    between = small.trees.link >= mesh.first_chip_link
    tree = tree_of_node(small.trees)[between]
    bits = np.array([small.weigh.link_bits(net, small.flow.tasks[net.source], "chip_x")
                     for net in small.flow.nets])  # fmt: skip
    load = np.bincount(small.trees.link[between], bits[tree])
    achieved, least = busiest_chip_link(small.nets, small.placed)
    assert achieved == round(float(load[: mesh.host_out].max()))
    assert 0 < least <= achieved


def test_what_enters_the_hosts_chip_comes_over_two_links():
    """Three chips send the host 60 bits each: 180 over two links, whatever the routing."""
    nets, placed = on_chips([(1, 0), (0, 1), (1, 1)], [(i, (-1,), 60.0) for i in range(3)])
    assert busiest_chip_link(nets, placed)[1] == 90


def test_what_the_hosts_chip_sends_the_host_crosses_no_link_between_chips():
    nets, placed = on_chips([(0, 0)], [(0, (-1,), 60.0), (-1, (0,), 8.0)])
    assert busiest_chip_link(nets, placed) == (0, 0)


def test_a_chip_in_the_middle_has_four_links():
    around = [(1, 0), (0, 1), (2, 1), (1, 2), (1, 1)]
    nets, placed = on_chips(around, [(i, (4,), 100.0) for i in range(4)])
    assert busiest_chip_link(nets, placed) == (100, 100)


def test_a_multicast_leaves_its_chip_once():
    nets, placed = on_chips([(1, 1), (1, 0), (1, 2), (0, 1)], [(0, (1, 2, 3), 8.0)])
    assert busiest_chip_link(nets, placed) == (8, 2)


def test_a_corner_as_a_whole_is_a_cut():
    """Four chips around the host's corner send four others 40 bits each: over four links."""
    near = [(0, 0), (1, 0), (0, 1), (1, 1)]
    far = [(2, 0), (2, 1), (0, 2), (1, 2)]
    nets, placed = on_chips(near + far, [(i, (4 + i,), 40.0) for i in range(4)])
    assert busiest_chip_link(nets, placed)[1] == pytest.approx(40)
