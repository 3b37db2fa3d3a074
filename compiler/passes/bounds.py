"""Lower bounds: what no mapping of this model on this target can go below."""

from collections.abc import Mapping

from compiler.graph import Graph
from compiler.passes.arrays import array_bounds
from compiler.passes.board import Boarded
from compiler.passes.least_traffic import least_chip_bits
from compiler.passes.nets import Nets
from compiler.passes.pack import RESOURCES, limits, needs
from compiler.passes.place import Placement
from compiler.passes.router_tables import RouterTables
from compiler.passes.traffic import Messages
from compiler.passes.tree_bounds import busiest_chip_link, mesh_trees
from compiler.tasks import Dataflow
from hw_models.chip import Chip

Row = Mapping[str, float]


def core_bounds(flow: Dataflow, chip: Chip) -> dict[str, int]:
    """Cores each resource needs when cores were filled to the last unit of it."""
    totals = [0] * len(RESOURCES)
    for unit, need in zip(flow.units, needs(flow), strict=True):
        if not unit.on_host:
            totals = [a + b for a, b in zip(totals, need, strict=True)]
    return {
        name: -(-total // have)
        for name, total, have in zip(RESOURCES, totals, limits(chip), strict=True)
    }


def bounds(
    graph: Graph,
    flow: Dataflow,
    nets: Nets,
    boarded: Boarded,
    placement: Placement,
    tables: RouterTables,
    weigh: Messages,
    chip: Chip,
) -> dict[str, dict[str, float]]:
    """{what: {achieved, bound, ratio}}; what a resource alone would need has a bound only.

    Bits are per decoded token.
    """
    by_resource = core_bounds(flow, chip)
    routers = -(-tables.entries.router.size // chip.core.table_entries)
    by_resource["table entries"] = max(0, routers - 1) * chip.layout.cores_per_router + 1
    least = max(1, *by_resource.values())
    chips = -(-least // chip.layout.usable_cores)
    mesh_bits, mesh_least = mesh_trees(nets, placement)
    link_bits, link_least = busiest_chip_link(nets, placement)
    found = {
        "cores": _row(len(placement.physical), least),
        "chips": _row(placement.n_chips, chips),
        "bits on chip links": _row(round(boarded.link_bits), least_chip_bits(graph, weigh, chip)),
        "bits on the busiest chip link": _row(link_bits, link_least),
        "bits x links of the mesh": _row(mesh_bits, mesh_least),
        **(array_bounds(flow, chip) if chip.array else {}),
    }
    return found | {f"cores by {name}": {"bound": n} for name, n in by_resource.items()}


def _row(achieved: float, bound: float) -> dict[str, float]:
    row = {"achieved": achieved, "bound": bound}
    return row | {"ratio": achieved / bound} if bound else row
