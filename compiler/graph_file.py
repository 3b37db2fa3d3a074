"""The operations of a program and what they send each other, as a graph: DOT or GraphML."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compiler.forecast import Forecast
from compiler.operations import layer_of, operations
from hw_models.events import MESSAGES
from hw_models.files import write_text
from hw_models.si import si

if TYPE_CHECKING:
    from networkx import MultiDiGraph


def write_graph(found: Forecast, path: Path) -> None:
    """GraphML where the file's name says so, else DOT."""
    form = graphml if path.suffix.lower() == ".graphml" else dot
    write_text(path, form(graph_of(found)))


def graph_of(found: Forecast) -> "MultiDiGraph[str]":
    """One node per operation, one edge per pair and class of message.

    Attributes are plain: text, whole numbers, and bits and joules per decoded token.
    """
    from networkx import MultiDiGraph

    graph: MultiDiGraph[str] = MultiDiGraph(
        model=found.program.graph.model, unit=found.program.graph.unit
    )
    for name, operation in operations(found.program).items():
        layer = layer_of(name)
        graph.add_node(
            name,
            kind=operation["kind"],
            where=operation["where"],
            cores=operation["n_cores"],
            macs=operation["macs"],
            share=operation["share"],
            energy_j=found.joules_by_operation[name],
            **({} if layer is None else {"layer": layer}),
        )
    for (sender, receiver, message), bits in found.bits_between.items():
        graph.add_edge(sender, receiver, message=MESSAGES[message], bits=bits)
    return graph


def dot(graph: "MultiDiGraph[str]") -> str:
    """Graphviz; the operations of a layer are framed together."""
    return "\n".join(["digraph {", *_lines(graph), "}", ""])


def graphml(graph: "MultiDiGraph[str]") -> str:
    """GraphML, with every attribute of nodes and edges."""
    from networkx import generate_graphml

    return "\n".join(generate_graphml(graph)) + "\n"


_COLOURS: Final = {"event-driven": "#dbe9f6", "crossbar": "#dbe9f6", "neuron program": "#fde8cf"}
_STYLES: Final = {"spike": "solid", "marker": "dotted", "partial": "dashed", "value": "solid"}


def _lines(graph: "MultiDiGraph[str]") -> Iterator[str]:
    yield f"  label={_quoted(graph.graph['model'])}; rankdir=TB;"
    yield '  node [shape=box, style="rounded,filled", fontname="Helvetica"];'
    yield '  edge [fontname="Helvetica", fontsize=9];'
    layers: dict[int | None, list[str]] = {}
    for name, node in graph.nodes.items():
        colour = _COLOURS.get(node["where"], "#eeeeee")
        size = f"{node['cores']:,} core{'s' * (node['cores'] != 1)}"
        text = f"{name}\n{node['kind']}, {size}\n{si(node['energy_j'], 'J')}/{graph.graph['unit']}"
        line = f"{_quoted(name)} [label={_quoted(text)}, fillcolor={_quoted(colour)}];"
        layers.setdefault(node.get("layer"), []).append(line)
    for layer, lines in layers.items():
        if layer is not None:
            yield f'  subgraph "cluster_{layer}" {{ label="layer {layer}"; color="#999999";'
        yield from (f"    {line}" for line in lines)
        if layer is not None:
            yield "  }"
    for sender, receiver, edge in graph.edges(data=True):
        bits = si(edge["bits"], "bit") if edge["bits"] else "on the same core"
        text = f"{edge['message']}, {bits}"
        style = _STYLES[edge["message"]]
        ends = f"{_quoted(sender)} -> {_quoted(receiver)}"
        yield f"  {ends} [label={_quoted(text)}, style={style}];"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
