"""Raw counts of the engine, and whether they are consistent; compiler.accounting reads them."""

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import Snapshot, TreeFacts, tree_traffic
from compiler.program import Program
from hw_models.errors import Bug
from hw_models.events import LINKS, MESSAGES
from simulator.hot.state import (
    B_HIGH,
    B_MOST_WAITING,
    B_STALLED,
    CONVERTED,
    DRIVEN,
    FIRED,
    FLITS,
    MOST_IN_LINE,
    R_STEPS,
    READS,
    RING,
    ROWS,
    SYNOPS,
    State,
)
from simulator.result import Buffers, BufferUse


def snapshot(state: State) -> Snapshot:
    """What the engine has counted so far."""
    of_tasks = (ROWS, FIRED, RING, DRIVEN, READS, CONVERTED)
    columns = [state.progress[:, c].copy() for c in of_tasks]
    steps = int(state.reg[R_STEPS])
    fired = columns[1]
    updates = fired if steps < 0 else np.full_like(fired, steps)
    return Snapshot(
        state.tree_sent.copy(),
        state.sink_got.copy(),
        *columns,
        updates,
        state.progress[:, SYNOPS].copy(),
        state.lazy.copy(),
    )


def check_conservation(program: Program, facts: TreeFacts, state: State) -> None:
    """What the engine has counted agrees with itself; raises Bug when it does not."""
    check_counts(program, facts, snapshot(state), state.link[:, FLITS])


def check_counts(
    program: Program, facts: TreeFacts, seen: Snapshot, flits_of_link: NDArray[np.int64]
) -> None:
    """Sent x fan-out = delivered per tree and class, and the links carried what was sent.

    Messages sent, deliveries and flits of links are counted each on their own; Bug names what
    differs.
    """
    delivered = np.zeros_like(seen.tree_sent)
    remote = facts.tree_of_sink >= 0
    np.add.at(delivered, facts.tree_of_sink[remote], seen.sink_got[remote])
    wrong = np.argwhere(delivered != seen.tree_sent * facts.fan_out[:, None])
    if wrong.size:
        tree, code = map(int, wrong[0])
        raise Bug(
            f"{int(seen.tree_sent[tree, code])} {MESSAGES[code]} messages sent to "
            f"{int(facts.fan_out[tree])} cores, {int(delivered[tree, code])} delivered",
            where=f"tree {tree} of {program.task_names[program.tables.tree_task[tree]]}",
        )
    flits, _ = tree_traffic(program, facts, seen)
    kinds = program.tables.link_kind
    for kind, name in enumerate(LINKS):
        carried = int(flits_of_link[kinds == kind].sum())
        if carried != int(flits[:, kind].sum()):
            raise Bug(f"{name} links carried {carried} flits, {int(flits[:, kind].sum())} sent")


def buffers_of(program: Program, state: State) -> Buffers | None:
    """High-water marks and stalls of a run; None where no buffer has an end."""
    if not program.chip.bounded:
        return None
    t, found = program.tables, {}
    for kind, name in enumerate(LINKS):
        mine = state.link[t.link_kind == kind]
        if mine.size:
            found[name] = BufferUse(
                program.chip.links[name].buffer_flits,
                int(mine[:, B_HIGH].max()),
                int(mine[:, B_STALLED].sum()),
            )
    entries = t.node_link[t.tree_root[t.tree_root >= 0]]
    return Buffers(
        found,
        injection_high_water=int(state.link[entries, B_MOST_WAITING].max(initial=0)),
        ejection_high_water=int(state.core[:, MOST_IN_LINE].max(initial=0)),
    )
