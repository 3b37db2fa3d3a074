"""Pass after pass, every result kept."""

from types import SimpleNamespace

from compiler.passes.dataflow import dataflow
from compiler.passes.encode import encode
from compiler.passes.pack import pack
from compiler.passes.partition import partition
from compiler.passes.place import place
from compiler.passes.route import route
from compiler.passes.tile import tile


def passes(graph, chip, coding="bitwise"):
    """graph, chip, and the result of each pass."""
    codes = encode(graph, chip, coding, 3.0)
    tiles = tile(graph, codes, chip, 1.13)
    flow = dataflow(graph, tiles, chip)
    packed = pack(flow, chip)
    parts = partition(packed, chip)
    placed = place(parts, chip)
    trees = route(flow, packed, placed, chip)
    return SimpleNamespace(
        graph=graph, chip=chip, codes=codes, tiles=tiles, flow=flow,
        packed=packed, parts=parts, placed=placed, trees=trees,
    )  # fmt: skip
