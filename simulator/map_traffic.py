"""What a decoded token puts on every link and brings every core, from the program alone.

Spikes are an expectation: channels times the spikes per channel that the mapping expected
(Program.statistics). All else is fixed. A message occupies whole flits, and so do its bits here.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import (
    AGAIN,
    node_of_sink,
    parent_of_node,
    tree_of_node,
    tree_of_sink,
)
from compiler.program import MARKER, PARTIAL, SPIKE, VALUE, Program
from hw_models.errors import BadInput
from hw_models.events import LINKS, MESSAGES

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


@dataclass(frozen=True, slots=True)
class _Parcels:
    """Messages of trees: `number` of `bits` each, of a class; several rows for a tree."""

    tree: I64
    kind: I64
    number: F64
    bits: I64


def traffic(program: Program) -> Traffic:
    """Raises BadInput for a program that does not tell the rates it was mapped for."""
    t, mesh = program.tables, program.mesh
    parcels = _parcels(program)
    n_trees, n_places = t.tree_root.size, mesh.n_cores + 1
    width = np.array([program.chip.links[kind].flit_bits for kind in LINKS], np.int64)
    on_link = np.zeros((len(LINKS), n_trees))  # bits of a tree on each link of a kind
    for kind, flit in enumerate(width.tolist()):
        whole = -(-parcels.bits // flit) * flit
        on_link[kind] = np.bincount(parcels.tree, parcels.number * whole, n_trees)
    number = np.zeros((len(MESSAGES), n_trees))
    np.add.at(number, (parcels.kind, parcels.tree), parcels.number)

    tree = tree_of_node(t, parent_of_node(t))
    kind = t.link_kind[t.node_link]
    away = node_of_sink(t) >= 0
    met = _distinct(tree_of_sink(t)[away], t.sink_core[away], n_places)
    source = t.tree_source.astype(np.int64)
    leaves = t.tree_root >= 0
    return Traffic(
        link_bits=np.bincount(t.node_link, on_link[kind, tree], mesh.n_links),
        sent=_by_place(number[:, leaves], source[leaves], n_places),
        received=_by_place(number[:, met.left], met.right, n_places),
        received_bits=np.bincount(
            met.right, on_link[LINKS.index("local"), met.left], minlength=n_places
        ),
        ways=_distinct(source[tree], t.node_link, mesh.n_links),
        reached=_distinct(source[met.left], met.right, n_places),
    )


def expected_rates(program: Program) -> F64:
    """Spikes per channel of every site, in the graph's order."""
    found = program.statistics.get("spikes_per_channel")
    rates = [found.get(s.name) for s in program.graph.sites] if isinstance(found, dict) else [None]
    for rate in rates:
        if not isinstance(rate, int | float) or not (isfinite(rate) and rate >= 0):
            what = "it does not say how many spikes its mapping expects of a site"
            raise BadInput(what, where="statistics.spikes_per_channel", fix=AGAIN)
    return np.array(rates, np.float64)


def _parcels(program: Program) -> _Parcels:
    """What every emission sends per token: spikes and their marker; or full messages of sums or
    values and a last one that is not full."""
    t, formats = program.tables, program.chip.formats
    task = t.tree_task[t.emit_tree]
    tree = t.emit_tree.astype(np.int64)
    n = t.emit_n.astype(np.int64)
    share = np.where(t.emit_residue >= 0, 1 / t.task_period[task], 1.0)

    spikes = t.emit_class == SPIKE
    site = t.task_site[task[spikes]]
    payload = np.array([program.codings[s.name][1] for s in program.graph.sites], np.int64)
    marker = formats["marker"].header_bits + formats["marker"].payload_bits
    one = np.ones(site.size)
    rows = [
        (
            tree[spikes],
            SPIKE,
            n[spikes] * expected_rates(program)[site],
            formats["spike"].header_bits + payload[site],
        ),
        (tree[spikes], MARKER, one, one.astype(np.int64) * marker),
    ]
    width = np.array([program.partial_bits[lin.name] for lin in program.graph.linears], np.int64)
    for code in (PARTIAL, VALUE):
        mine = t.emit_class == code
        form = formats[MESSAGES[code]]
        each = np.full(int(mine.sum()), form.payload_bits, np.int64)
        if code == PARTIAL:
            each = width[t.task_linear[task[mine]]]
        full, rest = np.divmod(n[mine], form.values_per_message)
        whole = form.header_bits + form.values_per_message * each
        rows.append((tree[mine], code, share[mine] * full, whole))
        rows.append((tree[mine], code, share[mine] * (rest > 0), form.header_bits + rest * each))
    return _Parcels(
        np.concatenate([row[0] for row in rows]),
        np.repeat([row[1] for row in rows], [row[0].size for row in rows]),
        np.concatenate([row[2] for row in rows]),
        np.concatenate([row[3] for row in rows]),
    )


def _by_place(number: F64, place: I64, n_places: int) -> F64:
    return np.stack([np.bincount(place, row, n_places) for row in number])


def _distinct(left: NDArray[np.integer], right: NDArray[np.integer], n_right: int) -> Pairs:
    """Different pairs, sorted."""
    return Pairs(*np.divmod(np.unique(left.astype(np.int64) * n_right + right), n_right))
