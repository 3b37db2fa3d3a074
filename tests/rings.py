"""A program whose messages go round in a circle, as no route of ours does."""

import numpy as np

from compiler.program import Program
from hw_models.events import LINKS
from hw_models.mesh import EAST, NORTH, SOUTH, WEST
from tests.buffers import smallest, with_buffers
from tests.timing.story import actors, chip, stage
from tests.tiny import changed

CORNERS = {"a": (0, 0), "b": (1, 0), "c": (1, 1), "d": (0, 1)}
WAYS = {"a": (EAST, SOUTH), "b": (SOUTH, WEST), "c": (WEST, NORTH), "d": (NORTH, EAST)}


def ring(values: int = 20) -> Program:
    """Each corner of a square sends `values` to the opposite one, all clockwise: two ways go x
    before y, and the other two are turned by hand. Buffers hold one message."""
    story = stage()
    actors(story, **{name: (*at, 0) for name, at in CORNERS.items()})
    actors(story, **{f"at {name}": (*at, 0) for name, at in CORNERS.items()})
    story.send("norm", "value", *CORNERS)
    for name, to in zip("abcd", "cdab", strict=True):
        story.send(name, "value", f"at {to}", n=values)
    program = story._program(chip())
    t, mesh = program.tables, program.mesh
    links, kinds = {}, {}
    for name, way in WAYS.items():
        task = program.task_names.index(name)
        (tree,) = np.flatnonzero(t.tree_task == task)
        x, y = CORNERS[name]
        for i, side in enumerate(way, start=1):
            link = mesh.first_mesh_link + 4 * (y * mesh.width + x) + side
            links[int(t.tree_root[tree]) + i] = link
            kinds[link] = LINKS.index("x" if side in (EAST, WEST) else "y")
            x, y = x + (side == EAST) - (side == WEST), y + (side == SOUTH) - (side == NORTH)
    program = changed(program, node_link=links, link_kind=kinds)
    return with_buffers(program, smallest(program))
