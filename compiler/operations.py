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

from compiler.graph import (
    Gla,
    Graph,
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
from hw_models.errors import Unsupported

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
    Swiglu: "SiLU(gate) x up, floats",
    Logits: "scales sums, sends them to the host",
    SpikeInput: "sends a step's spikes",
    Population: "{neuron} neurons, state from step to step",
}


def operations(program: Program) -> dict[str, dict[str, Any]]:
    """{operation: {kind, where, why, n_cores, macs}} in the order of `program.ops`.

    macs are the dense model's for one token. `site` is what a stage encodes and what drives a
    linear; a linear also tells its site's `threshold` and `coding`. Cores are counted once per
    operation; operations share cores.
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
                "why": "sends spikes, takes outputs"
                if program.graph.takes_spikes
                else "embedding look-up and sampling",
                "macs": 0,
            }
        found[name] = row | {"n_cores": cores[name]}
    return found


def check_mapped(graph: Graph) -> None:
    """Raises Unsupported for the first stage that passes and simulator have no place for yet."""
    for stage in graph.stages:
        match stage:
            case Router():
                what = "a mixture of experts is not mapped yet"
            case Parallel():
                what = "parallel linear and softmax attention is not mapped yet"
            case _:
                continue
        raise Unsupported(what, where=stage.name, fix="kernels.canonical.execute runs the graph")


def layer_kind(name: str) -> str:
    """'layers.12.gate_up' -> 'gate_up': what the layers have in common."""
    return re.sub(r"^layers\.\d+\.", "", name)


def layer_of(name: str) -> int | None:
    """'layers.12.gate_up' -> 12; None outside the layers."""
    found = re.match(r"layers\.(\d+)\.", name)
    return int(found[1]) if found else None


def layers_folded(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Operations that differ in their layer only as one row: macs and n_cores are added up."""
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
    return {
        name: len(np.unique(tables.task_core[on_chip & (tables.task_op == i)]))
        for i, name in enumerate(program.ops)
    }
