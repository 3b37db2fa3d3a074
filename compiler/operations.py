"""Where every operation of a program runs, and why; the summary and the simulator both tell it.

Imports the graph and the program only: the simulator may use it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from compiler.graph import Gla, Linear, Logits, Residual, Stage, Swiglu, Window
from compiler.program import HOST, Program

EVENTS: Final = "cores, event-driven"
NEURONS: Final = "cores, neuron program"
ON_HOST: Final = "host"

_SPIKING: Final = "each spike adds its row of 8-bit weights; a silent channel costs nothing"
_DENSE: Final = "each nonzero channel sends its 16-bit value (graded); the model keeps it dense"
_STAGES: Final = {
    Residual: "adds the last sums to the residual stream, then RMS norm",
    Gla: "gates and a float state per head, in token order",
    Window: "softmax over keys and values kept on its cores",
    Swiglu: "SiLU(gate) x up, channel by channel",
    Logits: "scales the head's sums to logits and sends them to the host",
}


def operations(program: Program) -> dict[str, dict[str, Any]]:
    """{operation: {kind, where, why, n_cores, macs}} in the order of `program.ops`.

    macs are the dense model's for one token. A linear also tells the `site` that drives it and
    the site's `threshold`. Cores are counted once per operation; operations share cores.
    """
    linears = {lin.name: lin for lin in program.graph.linears}
    stages = {stage.name: stage for stage in program.graph.stages}
    cores = _cores(program)
    found: dict[str, dict[str, Any]] = {}
    for name in program.ops:
        if name in linears:
            row = _linear(program, linears[name])
        elif name in stages:
            row = _stage(stages[name])
        else:
            row = {
                "kind": "host",
                "where": ON_HOST,
                "why": "embedding look-up and sampling",
                "macs": 0,
            }
        found[name] = row | {"n_cores": cores[name]}
    return found


def layers_folded(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Operations that differ in their layer only as one row: macs and n_cores are added up."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name, operation in found.items():
        kind = re.sub(r"^layers\.\d+\.", "", name)
        same = rows.setdefault(
            (kind, operation["where"], operation["why"]),
            {
                "operation": kind,
                "where": operation["where"],
                "why": operation["why"],
                "layers": 0,
                "macs": 0,
                "n_cores": 0,
            },
        )
        same["layers"] += 1
        same["macs"] += operation["macs"]
        same["n_cores"] += operation["n_cores"]
    return list(rows.values())


def _linear(program: Program, linear: Linear) -> dict[str, Any]:
    site = program.graph.site(linear.site)
    return {
        "kind": "linear",
        "where": EVENTS,
        "why": _DENSE if site.threshold == "absmax16" else _SPIKING,
        "macs": linear.n_pre * linear.n_post,
        "site": site.name,
        "threshold": site.threshold,
        "coding": program.codings[site.name][0],
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {"kind": stage.kind, "where": NEURONS, "why": _STAGES[type(stage)], "macs": 0}


def _cores(program: Program) -> dict[str, int]:
    """Distinct cores of each operation's tasks; none on the host."""
    tables = program.tables
    on_chip = tables.task_kind != HOST
    return {
        name: len(np.unique(tables.task_core[on_chip & (tables.task_op == i)]))
        for i, name in enumerate(program.ops)
    }
