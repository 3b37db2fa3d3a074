"""Link buffers with an end: each holds any message that comes, and links wait in no circle."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compiler.audit.deadlock import circle
from compiler.audit.trees import AGAIN, parent_of_node, tree_of_node
from compiler.program import MARKER, PARTIAL, SPIKE, VALUE, Program
from hw_models.errors import BadInput, DoesNotFit
from hw_models.events import LINKS, MESSAGES

I64 = NDArray[np.int64]


def check_buffers(program: Program) -> None:
    """Nothing where all buffers are unbounded. DoesNotFit for a message that is larger than the
    buffer of a kind of link it goes over, BadInput for links that could wait for each other."""
    if not program.chip.bounded:
        return
    t, chip = program.tables, program.chip
    parent = parent_of_node(t)
    largest = largest_messages(program)[tree_of_node(t, parent)]
    small: dict[str, str] = {}
    for kind, name in enumerate(LINKS):
        link = chip.links[name]
        bits = int(largest[t.link_kind[t.node_link] == kind].max(initial=0))
        flits = -(-bits // link.flit_bits)
        if 0 < link.buffer_flits < flits:
            small[f"link.{name}.buffer_flits={flits}"] = (
                f"buffers of {name} links hold {link.buffer_flits} flits, and a message of {bits} "
                f"bits has {flits}"
            )
    if small:
        raise DoesNotFit(
            f"messages are stored whole: {'; '.join(small.values())}",
            where=f"links of {chip.name}",
            fix=" ".join(f"--set {least}" for least in small) + " (0: unbounded)",
        )
    links = circle(t.node_link, parent)
    if links:
        raise BadInput(
            f"links wait for each other in a circle: {', '.join(named(program, links))}",
            where="trees",
            fix=f"{AGAIN}, or without buffer_flits",
        )


def largest_messages(program: Program) -> I64:
    """Bits of the largest message that every tree carries."""
    t, formats, graph = program.tables, program.chip.formats, program.graph
    task = np.repeat(np.arange(t.task_core.size), np.diff(t.task_emit))
    found = np.zeros(t.tree_root.size, np.int64)
    widths = {
        VALUE: np.full(task.size, formats["value"].payload_bits),
        PARTIAL: _of(t.task_linear[task], [program.partial_bits[x.name] for x in graph.linears]),
        SPIKE: _of(t.task_site[task], [program.codings[site.name][1] for site in graph.sites]),
        MARKER: np.full(task.size, formats["marker"].payload_bits),
    }
    for code, width in widths.items():
        form = formats[MESSAGES[code]]
        spikes = code in (SPIKE, MARKER)  # a marker follows every train
        sent = t.emit_class == (SPIKE if spikes else code)
        values = 1 if spikes else np.minimum(t.emit_n, form.values_per_message)
        bits = form.header_bits + values * width.astype(np.int64)
        np.maximum.at(found, t.emit_tree[sent], bits[sent])
    return found


def _of(index: NDArray[np.integer], table: Sequence[int]) -> I64:
    """table[index]; 0 for an index of -1."""
    values: I64 = np.array([*table, 0], np.int64)[index]
    return values


def named(program: Program, links: Sequence[int]) -> list[str]:
    """Links by kind and the places at their ends."""
    mesh = program.mesh
    ends = mesh.links

    def place(number: int) -> str:
        if number < mesh.n_routers:
            return f"router ({number % mesh.width}, {number // mesh.width})"
        core = number - mesh.n_routers
        return "the host" if core == mesh.host else f"core {core}"

    return [
        f"{LINKS[ends.kind[link]]} from {place(int(ends.begin[link]))} "
        f"to {place(int(ends.end[link]))}"
        for link in links
    ]
