"""Links join what they say they join; chips are entered at their gateways only."""

from itertools import pairwise

import numpy as np
import pytest

from hw_models.chip import load_chip
from hw_models.events import LINKS
from hw_models.mesh import mesh_of, snake

LAYOUT = {
    "layout.chips": "[3, 2]",
    "layout.routers": "[4, 2]",
    "layout.cores_per_router": "2",
    "layout.usable_cores": "16",
}
MESH = mesh_of(load_chip("toy", LAYOUT))


def xy(router):
    return router % 12, router // 12


def test_links_by_kind():
    kinds = MESH.links.kind
    counted = {name: int((kinds == i).sum()) for i, name in enumerate(LINKS)}
    assert counted == {
        "local": 96,
        "host": 2,
        "x": 6 * 2 * (3 * 2),  # both ways between 4 routers in each of 2 rows
        "y": 6 * 2 * 4,
        "chip_x": 2 * 2 * 2,
        "chip_y": 2 * 3,
    }


@pytest.mark.parametrize("direction", range(4))
def test_a_link_of_the_mesh_ends_at_the_neighbour_and_stays_on_its_chip(direction):
    step = ((1, 0), (-1, 0), (0, -1), (0, 1))[direction]
    for router in range(MESH.n_routers):
        link = MESH.first_mesh_link + 4 * router + direction
        (x, y), end = xy(router), int(MESH.links.end[link])
        goal = (x + step[0], y + step[1])
        same_chip = goal[0] // 4 == x // 4 and goal[1] // 2 == y // 2
        if not (0 <= goal[0] < 12 and 0 <= goal[1] < 4 and same_chip):
            assert end == -1 == MESH.links.kind[link]
            continue
        assert MESH.links.begin[link] == router
        assert xy(end) == goal


def test_chip_links_join_gateways():
    gates = [MESH.gateway(chip) for chip in range(6)]
    assert [xy(g) for g in gates] == [(0, 0), (4, 0), (8, 0), (0, 2), (4, 2), (8, 2)]
    ends = MESH.links.end[MESH.first_chip_link : MESH.host_out].reshape(6, 4)
    assert ends.tolist() == [
        [gates[1], -1, -1, gates[3]],
        [gates[2], gates[0], -1, gates[4]],
        [-1, gates[1], -1, gates[5]],
        [gates[4], -1, gates[0], -1],
        [gates[5], gates[3], gates[1], -1],
        [-1, gates[4], gates[2], -1],
    ]


def test_the_host_is_beside_the_first_gateway():
    assert MESH.host == MESH.n_cores == 96
    assert MESH.links.end[MESH.host_in] == 0 == MESH.links.begin[MESH.host_out]
    assert MESH.routers_of(np.array([MESH.host])) == [0]
    assert MESH.chip_of(MESH.host) == 0


def test_every_core_is_on_one_chip_and_its_grid_is_in_order():
    seen = []
    for chip in range(6):
        grid = MESH.grid_of(chip).tolist()
        assert grid == sorted(grid) == sorted(MESH.cores_of(chip))
        assert set(MESH.chips_of(np.array(grid)).tolist()) == {chip}
        seen += grid
    assert sorted(seen) == list(range(96))


def test_a_snake_steps_to_neighbours():
    way = list(snake(3, 4))
    assert len(set(way)) == 12
    for (a, b), (c, d) in pairwise(way):
        assert abs(a - c) + abs(b - d) == 1
