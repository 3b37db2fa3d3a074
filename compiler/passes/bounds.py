"""Lower bounds for cores and chips: what no mapping of these units on this target can go below."""

from compiler.passes.arrays import array_bounds
from compiler.passes.pack import RESOURCES, limits, needs
from compiler.passes.place import Placement
from compiler.tasks import Dataflow
from hw_models.chip import Chip


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


def bounds(flow: Dataflow, placement: Placement, chip: Chip) -> dict[str, dict[str, float]]:
    """{what: {achieved, bound, ratio}} for cores and chips, and the bound by resource."""
    by_resource = core_bounds(flow, chip)
    least = max(1, *by_resource.values())
    chips = -(-least // chip.layout.usable_cores)
    achieved = len(placement.physical)
    return {
        "cores": {"achieved": achieved, "bound": least, "ratio": achieved / least},
        "chips": {
            "achieved": placement.n_chips,
            "bound": chips,
            "ratio": placement.n_chips / chips,
        },
        **{f"cores by {name}": {"bound": n} for name, n in by_resource.items()},
        **(array_bounds(flow, chip) if chip.array else {}),
    }
