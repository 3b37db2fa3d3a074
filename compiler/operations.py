"""Where every operation of a program runs, and why; the summary and the simulator both tell it.

event-driven    on cores, spike by spike, on integers
crossbar        in arrays of memory cells, once per token when its spikes are in
neuron program  on cores, once per token when its inputs are complete, on floats
host            outside the chip

Imports the graph and the program only: the simulator may use it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from compiler.conditions import condition_of, shares
from compiler.graph import (
    Gla,
    Linear,
    Logits,
    Parallel,
    Population,
    Residual,
    Router,
    SpikeInput,
    Stage,
    Swiglu,
    Window,
    feeds,
)
from compiler.program import HOST, Program

EVENTS: Final = "event-driven"
CROSSBAR: Final = "crossbar"
NEURONS: Final = "neuron program"
ON_HOST: Final = "host"

_SPIKING: Final = "a spike adds its row of 8-bit weights"
_DENSE: Final = "dense in the model: 16-bit values"
_DRIVEN: Final = "counts drive rows of cells, columns are converted"
_STAGES: Final = {
    Residual: "residual stream and RMS norm, floats",
    Gla: "gates and float state, token by token",
    Window: "softmax over stored keys and values",
    Parallel: "float state and softmax over stored keys, merged",
    Router: "the largest sums choose experts",
    Swiglu: "SiLU(gate) x up, floats",
    Logits: "scales sums, sends them to the host",
    SpikeInput: "sends a step's spikes",
    Population: "{neuron} neurons, state from step to step",
}


def operations(program: Program) -> dict[str, dict[str, Any]]:
    """{operation: {kind, where, why, n_cores, macs, share}} in the order of `program.ops`.

    macs are the dense model's for one token that runs the operation, `share` of all tokens: less
    than 1 for an expert. `site` is what a stage encodes and what drives a linear; a linear also
    tells its site's `threshold` and `coding`. Cores are counted once per operation; operations
    share cores.
    """
    share, runs = shares(program.graph), condition_of(program.graph)
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
                "why": "sends spikes, takes outputs"
                if program.graph.takes_spikes
                else "embedding look-up and sampling",
                "macs": 0,
            }
        found[name] = row | {"n_cores": cores[name], "share": share[runs.get(name)]}
    return found


def layer_kind(name: str) -> str:
    """'layers.12.gate_up' -> 'gate_up', 'layers.7.experts.3.down' -> 'experts.down'."""
    return re.sub(r"^experts\.\d+\.", "experts.", re.sub(r"^layers\.\d+\.", "", name))


def layer_of(name: str) -> int | None:
    """'layers.12.gate_up' -> 12; None outside the layers."""
    found = re.match(r"layers\.(\d+)\.", name)
    return int(found[1]) if found else None


def layers_folded(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Operations that differ in their layer or expert only as one row.

    `layers` is how many there are; n_cores are added up, and macs of one token on average.
    """
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name, operation in found.items():
        kind = layer_kind(name)
        same = rows.setdefault(
            (kind, operation["where"], operation["why"]),
            {
                "operation": kind,
                "where": operation["where"],
                "why": operation["why"],
                "layers": 0,
                "macs": 0.0,
                "n_cores": 0,
            },
        )
        same["layers"] += 1
        same["macs"] += operation["macs"] * operation["share"]
        same["n_cores"] += operation["n_cores"]
    return [row | {"macs": round(row["macs"])} for row in rows.values()]


def _linear(program: Program, linear: Linear) -> dict[str, Any]:
    site = program.graph.site(linear.site)
    crossbar = program.chip.array is not None
    spiking = _DRIVEN if crossbar else _SPIKING
    return {
        "kind": "linear",
        "where": CROSSBAR if crossbar else EVENTS,
        "why": _DENSE if site.threshold == "absmax16" else spiking,
        "macs": linear.macs,
        "site": site.name,
        "threshold": site.threshold,
        "coding": program.codings[site.name][0],
    }


def _stage(stage: Stage) -> dict[str, Any]:
    where = ON_HOST if isinstance(stage, SpikeInput) else NEURONS
    why = _STAGES[type(stage)].format(neuron=getattr(stage, "neuron", ""))
    row = {"kind": stage.kind, "where": where, "why": why, "macs": 0}
    sites = feeds(stage)
    return row | {"site": sites[0]} if sites else row


def _cores(program: Program) -> dict[str, int]:
    """Distinct cores of each operation's tasks; none on the host."""
    tables = program.tables
    on_chip = tables.task_kind != HOST
    pairs = np.stack([tables.task_op[on_chip], tables.task_core[on_chip]])
    n = np.bincount(np.unique(pairs, axis=1)[0], minlength=len(program.ops))
    return dict(zip(program.ops, n.tolist(), strict=True))
