"""One operation of a program: where it is, what it needs, what it costs, who it talks to."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.audit.limits import synapse_bytes, uses
from compiler.forecast import Forecast
from compiler.operations import operations
from compiler.program import HOST, TILE, Program
from hw_models.cited import nearest
from hw_models.errors import BadInput
from hw_models.events import MESSAGES


def check_operation(program: Program, operation: str) -> None:
    """Raises BadInput for one that the program does not have."""
    if operation not in program.ops:
        raise BadInput(
            "no such operation", where=f"--explain {operation}", fix=nearest(operation, program.ops)
        )


def explain(found: Forecast, operation: str) -> dict[str, Any]:
    """Plain JSON values: sizes in bytes, time in picoseconds, energy in joules, all else numbers.

    Events, bits, time and energy are per decoded token, or per step (unit). fullest_core: by
    resource, the most that one of the operation's cores uses, whatever for, and the limit.
    """
    check_operation(found.program, operation)
    cores = cores_of(found.program, operation)
    uses_of_cores = {
        use.resource: {"used": int(use.used[cores].max()), "limit": use.limit}
        for use in uses(found.program)
        if use.where == "core" and cores.size
    }
    return account(found, operation) | {"fullest_core": uses_of_cores}


def cores_of(program: Program, operation: str) -> NDArray[np.integer]:
    """Cores that hold a part of it, ascending; none for what runs on the host."""
    t = program.tables
    mine = (t.task_op == program.ops.index(operation)) & (t.task_kind != HOST)
    return np.unique(t.task_core[mine])


def account(found: Forecast, operation: str) -> dict[str, Any]:
    """What is the operation's own, without what it shares cores with."""
    program = found.program
    mine = np.flatnonzero(program.tables.task_op == program.ops.index(operation))
    on_chip = mine[program.tables.task_kind[mine] != HOST]
    cores = cores_of(program, operation)
    joules = found.joules_of(operation)
    paid_by = {row.kind: row.cost for row in found.ledger.included if row.operation == operation}
    return {
        "operation": operation,
        "unit": program.graph.unit,
        **operations(program)[operation],
        "chips": _chips(program, cores),
        "tiles": _tiles(program, on_chip),
        "needs": _needs(program, on_chip),
        "busy_ps": found.busy_ps(cores),
        "events": [
            {
                "kind": kind,
                "number": number,
                "energy_j": joules[kind].nominal if kind in joules else None,
                "paid_by": paid_by.get(kind),
            }
            for kind, number in found.events(operation).items()
        ],
        "energy_j": found.joules_by_operation[operation],
        "receives": _talks(found, operation, at=1),
        "sends": _talks(found, operation, at=0),
    }


def _chips(program: Program, cores: NDArray[np.integer]) -> list[dict[str, int]]:
    """Chips by number, and how many of their cores take part."""
    chips, n_cores = np.unique(program.mesh.chips_of(cores), return_counts=True)
    return [{"chip": int(c), "cores": int(n)} for c, n in zip(chips, n_cores, strict=True)]


def _tiles(program: Program, tasks: NDArray[np.integer]) -> list[dict[str, int]]:
    """Shapes of the tiles that a matrix is cut into, the most frequent first."""
    t = program.tables
    tiles = tasks[t.task_kind[tasks] == TILE]
    shapes = Counter(
        zip(t.task_n_pre[tiles].tolist(), t.task_neuron_n[tiles].tolist(), strict=True)
    )
    return [{"inputs": pre, "neurons": n, "times": k} for (pre, n), k in shapes.most_common()]


def _needs(program: Program, tasks: NDArray[np.integer]) -> dict[str, int]:
    """What its tasks take of the cores' resources, all together."""
    t = program.tables
    tiles = tasks[t.task_kind[tasks] == TILE]
    held = synapse_bytes(program) if program.chip.array is None else t.task_synapses
    return {
        "synapse memory": int(held[tiles].sum()),
        "state memory": int(t.task_state[tasks].sum()),
        "neurons": int(t.task_neuron_n[tasks].sum()),
        "in-axons": int(t.task_axons[tiles].sum()),
        "out-axons": int(np.isin(t.tree_task, tasks).sum()),
    }


def _talks(found: Forecast, operation: str, at: int) -> list[dict[str, Any]]:
    """Nets to or from other operations, those with the most bits first."""
    rows = [
        {"operation": key[1 - at], "message": MESSAGES[key[2]], "bits": bits}
        for key, bits in found.bits_between.items()
        if key[at] == operation and key[1 - at] != operation
    ]
    return sorted(rows, key=lambda row: -row["bits"])
