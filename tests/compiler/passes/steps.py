"""Pass after pass, every result kept."""

from dataclasses import replace
from types import SimpleNamespace

from compiler.budget import Budget
from compiler.passes.board import on_board
from compiler.passes.dataflow import dataflow
from compiler.passes.encode import encode
from compiler.passes.nets import nets_of
from compiler.passes.pack import pack
from compiler.passes.partition import partition
from compiler.passes.place import place
from compiler.passes.route import route
from compiler.passes.router_tables import router_tables
from compiler.passes.tile import tile
from compiler.passes.traffic import messages
from compiler.statistics import shipped_profile, spiking_network


def with_dead(chip, cores):
    """The same chip with broken cores."""
    return replace(chip, layout=replace(chip.layout, dead_cores=tuple(sorted(cores))))


def passes(graph, chip, coding="bitwise"):
    """graph, chip, and the result of each pass."""
    codes = encode(graph, chip, coding, 3.0)
    statistics = spiking_network() if graph.takes_spikes else shipped_profile()
    tiles = tile(graph, codes, chip, statistics)
    flow = dataflow(graph, tiles, chip)
    packed = pack(flow, chip)
    parts = partition(packed, chip)
    weigh = messages(graph, codes, chip, statistics)
    nets = nets_of(flow, packed, weigh)
    boarded = on_board(parts, nets, Budget())
    placed = place(boarded.parts, nets, chip, Budget())
    trees = route(flow, packed, placed)
    tables = router_tables(trees, flow, placed.mesh, chip)
    return SimpleNamespace(
        graph=graph, chip=chip, codes=codes, tiles=tiles, flow=flow, packed=packed,
        parts=boarded.parts, boarded=boarded, weigh=weigh, nets=nets, placed=placed, trees=trees,
        tables=tables,
    )  # fmt: skip
