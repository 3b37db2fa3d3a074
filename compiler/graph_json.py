"""A graph as the JSON of a program's header, and back."""

import dataclasses
from typing import Any

from compiler.graph import (
    Gla,
    Graph,
    Linear,
    Logits,
    Parallel,
    Part,
    Population,
    Residual,
    Router,
    Site,
    SpikeInput,
    Swiglu,
    Window,
)

_STAGES = {
    cls.kind: cls
    for cls in (
        *(Residual, Gla, Window, Parallel, Router, Swiglu, Logits),
        *(SpikeInput, Population),
    )
}


_USUAL = {"multiplied": None, "integers": False, "bits": 8, "listed": None}
"""Of a linear: what is not written."""


def graph_json(graph: Graph) -> dict[str, Any]:
    found = dataclasses.asdict(graph)
    for stage, row in zip(graph.stages, found["stages"], strict=True):
        row["kind"] = stage.kind
    if graph.context is None:
        del found["context"]
    for row in found["linears"]:
        for key, usual in _USUAL.items():
            if row[key] == usual:
                del row[key]
    return found


def graph_of(found: dict[str, Any]) -> Graph:
    stages = tuple(_STAGES[row.pop("kind")](**_tuples(row)) for row in found["stages"])
    sites = tuple(Site(**row) for row in found["sites"])
    linears = tuple(
        Linear(**_tuples(row) | {"parts": tuple(_part(p) for p in row["parts"])})
        for row in found["linears"]
    )
    return Graph(**found | {"stages": stages, "sites": sites, "linears": linears})


def _part(row: dict[str, Any]) -> Part:
    return Part(**_tuples(row))


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples: its lists were some."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}
