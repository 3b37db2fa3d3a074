"""Every promise that a compiled program makes, checked from its file alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from compiler.audit.buffers import check_buffers, largest_messages
from compiler.audit.cover import gap_or_overlap
from compiler.audit.deadlock import circle
from compiler.audit.limits import least_state, recurrent_state, uses
from compiler.audit.lists import wrong_list
from compiler.audit.replay import Entries, replay
from compiler.audit.tables import check_tables
from compiler.audit.trees import parent_of_node, tree_of_sink
from compiler.program import TILE, Program
from hw_models.errors import BadInput, DoesNotFit

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: what was looked at, and what is wrong (nothing, if it holds)."""

    name: str
    looked_at: str
    problem: str = ""


def verify(program: Program, report: Progress = lambda step, done, total: None) -> list[Check]:
    """All checks, in order; later ones are left out once the tables cannot be trusted."""
    steps: tuple[tuple[str, Callable[[Program], Iterator[Check]]], ...] = (
        ("sections", _sections),
        ("tables", _tables),
        ("tiles", _tiles),
        ("limits", _limits),
        ("routes", _routes),
        ("deadlock", _deadlock),
        ("weights", _weights),
    )
    found: list[Check] = []
    for done, (name, step) in enumerate(steps):
        report(name, done, len(steps))
        found += step(program)
        if name in ("sections", "tables") and found[-1].problem:
            break
    report(steps[-1][0], len(steps), len(steps))
    return found


def _sections(program: Program) -> Iterator[Check]:
    """Every section is what was written: reading it checks its hash."""
    sizes = 0
    try:
        for array in program.arrays.values():
            sizes += np.asarray(array).nbytes
    except BadInput as error:
        yield Check("sections", f"{sizes:,} bytes", str(error))
        return
    yield Check("sections", f"{len(program.arrays)} sections, {sizes:,} bytes")


def _tables(program: Program) -> Iterator[Check]:
    """References and ranges; who is awaited is sent (compiler.audit.tables)."""
    t = program.tables
    looked = f"{t.task_core.size:,} tasks, {t.tree_root.size:,} trees, {t.sink_core.size:,} sinks"
    try:
        check_tables(program)
    except BadInput as error:
        yield Check("tables", looked, str(error))
        return
    yield Check("tables", looked)


def _tiles(program: Program) -> Iterator[Check]:
    """Tiles cover every matrix exactly once."""
    t = program.tables
    tiles = t.task_kind == TILE
    columns = (t.task_pre, t.task_n_pre, t.task_neuron_lo, t.task_neuron_n)
    blocks = np.stack([c[tiles].astype(np.int64) for c in columns], axis=1)
    linear_of = t.task_linear[tiles]
    problems = [
        f"{linear.name}: {wrong}"
        for i, linear in enumerate(program.graph.linears)
        if (wrong := gap_or_overlap(linear.n_pre, linear.n_post, blocks[linear_of == i]))
    ]
    looked = f"{int(tiles.sum()):,} tiles of {len(program.graph.linears):,} matrices"
    yield Check("tiles cover each matrix once", looked, "; ".join(problems[:3]))


def _limits(program: Program) -> Iterator[Check]:
    """No core and no router holds more than the target has; none is dead or beyond the chip."""
    for use in uses(program):
        place = int(use.used.argmax())
        most = int(use.used[place])
        problem = f"{use.where} {place} holds {most:,}" if most > use.limit else ""
        yield Check(
            f"{use.resource} per {use.where}", f"at most {most:,} of {use.limit:,}", problem
        )
    state = next(use.used for use in uses(program) if use.resource == "state memory")
    short = np.flatnonzero(least_state(program) > state)
    problem = f"core {int(short[0])} is charged too little" if short.size else ""
    lacking = [
        f"{name}: {charged:,} of {least:,} bytes"
        for name, charged, least in recurrent_state(program)
        if charged < least
    ]
    yield Check("state is charged", f"{int(state.sum()):,} bytes", problem or "; ".join(lacking))
    yield _places(program)


def _places(program: Program) -> Check:
    """Cores and chips in use are as many as the program says, and as a chip has."""
    mesh, t = program.mesh, program.tables
    cores = np.unique(t.task_core[t.task_core != mesh.host])
    chips, held = np.unique(mesh.chips_of(cores), return_counts=True)
    looked = f"{cores.size:,} cores on {chips.size:,} chips"
    usable = program.chip.layout.usable_cores
    if cores.size and int(cores[-1]) > mesh.host:
        return Check("cores exist", looked, f"core {int(cores[-1])} does not")
    if (cores.size, chips.size) != (program.n_cores, program.n_chips):
        said = f"the program says {program.n_cores:,} on {program.n_chips:,}"
        return Check("cores exist", looked, said)
    if held.max(initial=0) > usable:
        return Check("cores exist", looked, f"{int(held.max())} on a chip of {usable}")
    dead = np.intersect1d(cores, np.array(program.chip.layout.dead_cores, np.int64))
    return Check("cores exist", looked, f"core {int(dead[0])} is dead" if dead.size else "")


def _routes(program: Program) -> Iterator[Check]:
    """Every key, sent through the routers' tables, comes out at its tree's sinks, nowhere else."""
    t, mesh = program.tables, program.mesh
    columns = (t.entry_router, t.entry_key, t.entry_mask, t.entry_ports)
    sent = np.flatnonzero(t.tree_root >= 0)
    looked = f"{sent.size:,} keys through {t.entry_router.size:,} entries"
    name = "every key reaches exactly its sinks"
    if np.unique(t.tree_key[sent]).size != sent.size:
        yield Check(name, looked, "two trees share a key")
        return
    try:
        found = replay(
            Entries(*(column.astype(np.int64) for column in columns)),
            t.tree_key[sent].astype(np.int64),
            t.tree_source[sent].astype(np.int64),
            mesh,
        )
    except (ValueError, IndexError) as error:
        yield Check(name, looked, f"the routers' tables are broken: {error}")
        return
    owner, remote = tree_of_sink(t), np.ones(t.sink_core.size, bool)
    for first, last in zip(t.tree_first_local.tolist(), t.tree_last_local.tolist(), strict=True):
        remote[first:last] = False
    wanted = np.unique(np.stack([owner[remote], t.sink_core[remote]]), axis=1)
    problem = ""
    for what, which in (("is dropped", found.dropped), ("goes round", found.looping)):
        if which.size:
            problem = f"the key of tree {int(sent[which[0]])} {what}"
    got = np.stack([sent[found.tree], found.core])
    if not problem and not np.array_equal(got, wanted):
        problem = f"{got.shape[1]:,} deliveries for {wanted.shape[1]:,} sinks, or to others"
    yield Check(name, looked, problem)


def _deadlock(program: Program) -> Iterator[Check]:
    """Links do not wait for each other in a circle; what waits has room where it does."""
    t = program.tables
    links = circle(t.node_link, parent_of_node(t))
    problem = f"links {links[:6]} wait for each other" if links else ""
    yield Check("no circle of waiting links", f"{np.unique(t.node_link).size:,} links", problem)
    if program.chip.bounded and not links:
        try:
            check_buffers(program)
        except DoesNotFit as error:
            problem = str(error)
        most = int(largest_messages(program).max(initial=0))
        yield Check("link buffers hold any message", f"at most {most:,} bits", problem)


def _weights(program: Program) -> Iterator[Check]:
    """Shapes as the graph says, mantissas and weights in their ranges, lists as tiles hold them."""
    if not program.has_weights:
        return
    problems, n = [], 0
    for i, linear in enumerate(program.graph.linears):
        arrays = program.linears[linear.name]
        n += linear.synapses
        q, most = np.asarray(arrays.q), (1 << linear.bits - 1) - 1
        shape = (linear.n_post, linear.n_pre) if linear.listed is None else (linear.listed,)
        if q.shape != shape:
            problems.append(f"{linear.name}: weights {q.shape}")
        elif (beyond := q[(q < -most) | (q > most)]).size:
            problems.append(f"{linear.name}: a weight of {beyond[0]}")
        elif linear.listed is not None and (wrong := wrong_list(program, i)):
            problems.append(f"{linear.name}: {wrong}")
        m = np.asarray(arrays.m)
        groups = 1 if linear.integers and not linear.plain else -(-linear.n_pre // 128)
        if m.shape != (linear.n_post, groups) or m.min() < 1 or m.max() > 32767:
            problems.append(f"{linear.name}: mantissas {m.shape} or out of 1 .. 32767")
        if not np.isfinite(np.asarray(arrays.row_scale)).all():
            problems.append(f"{linear.name}: a scale that is no number")
    yield Check("weights in range", f"{n:,} weights", "; ".join(problems[:3]))
