"""What a decoded token is expected to put on every link and to bring every core
(compiler.expected). A message occupies whole flits, and so do its bits here."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import flits_per_link, tree_facts
from compiler.audit.trees import node_of_sink, parent_of_node, tree_of_node, tree_of_sink
from compiler.expected import TOKENS, expected
from compiler.program import Program
from hw_models.events import LINKS

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two columns of equal length, without repetitions: a tree or a core, and what it meets."""

    left: I64
    right: I64


@dataclass(frozen=True, slots=True)
class Traffic:
    """Per decoded token; cores by their number, the host behind them.

    link_bits  by number of the link; the first ones are those from each core into its router
    sent, received  messages [class of events.MESSAGES, core]; what stays on a core is neither
    received_bits   by core, in flits of its own link to the router
    ways       (core, link) that a core's trees use
    reached    (core, core) of source and destination, each other's only
    """

    link_bits: F64
    sent: F64
    received: F64
    received_bits: F64
    ways: Pairs
    reached: Pairs


def traffic(program: Program) -> Traffic:
    """Raises BadInput for a program that does not tell the rates it was mapped for."""
    t, mesh = program.tables, program.mesh
    facts = tree_facts(program)
    seen = expected(program, facts)
    number, n_places = seen.tree_sent.T / TOKENS, mesh.n_cores + 1
    flit_bits = np.array([program.chip.links[kind].flit_bits for kind in LINKS])
    on_link = (flits_per_link(program, facts, seen) / TOKENS * flit_bits).T

    tree = tree_of_node(t, parent_of_node(t))
    kind = t.link_kind[t.node_link]
    away = node_of_sink(t) >= 0
    met = _distinct(tree_of_sink(t)[away], t.sink_core[away], n_places)
    source = t.tree_source.astype(np.int64)
    return Traffic(
        link_bits=np.bincount(t.node_link, on_link[kind, tree], mesh.n_links),
        sent=_by_place(number, source, n_places),
        received=_by_place(number[:, met.left], met.right, n_places),
        received_bits=np.bincount(met.right, on_link[LINKS.index("local"), met.left], n_places),
        ways=_distinct(source[tree], t.node_link, mesh.n_links),
        reached=_distinct(source[met.left], met.right, n_places),
    )


def _by_place(number: F64, place: I64, n_places: int) -> F64:
    return np.stack([np.bincount(place, row, n_places) for row in number])


def _distinct(left: NDArray[np.integer], right: NDArray[np.integer], n_right: int) -> Pairs:
    """Different pairs, sorted."""
    return Pairs(*np.divmod(np.unique(left.astype(np.int64) * n_right + right), n_right))
