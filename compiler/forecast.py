"""What a program is expected to do per decoded token: events, joules, picoseconds, bits by net.

A run counts; this is for before it. One sequence is decoded, with the spikes that the mapping
looked at, and no message waits for another: time and static energy are lower bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import Counts, Snapshot, TreeFacts, counters, tree_facts, tree_traffic
from compiler.audit.trees import tree_of_sink
from compiler.expected import TOKENS, expected
from compiler.pace import Pace, pace
from compiler.program import Program
from hw_models.cost import Range
from hw_models.ledger import Ledger, ledger, static_of


@dataclass(frozen=True)
class Forecast:
    """counts and ledger are of TOKENS tokens; everything else is per token."""

    program: Program
    facts: TreeFacts
    seen: Snapshot
    counts: Counts
    ledger: Ledger
    pace: Pace

    @property
    def joules(self) -> Range:
        """Per token, static power of the used chips included."""
        return per_token(self.ledger.total())

    def levels(self) -> dict[str, Range]:
        """Joules per token, added up level by level (hw_models.ledger)."""
        return {name: per_token(found) for name, found in self.ledger.levels().items()}

    def events(self, operation: str) -> dict[str, float]:
        """{event kind: number} per token."""
        return {kind: n / TOKENS for kind, n in self.counts.get(operation, {}).items()}

    def joules_of(self, operation: str) -> dict[str, Range]:
        """{event kind: joules} per token of what is priced."""
        rows = (row for row in self.ledger.priced if row.operation == operation)
        return {row.kind: per_token(row.joules) for row in rows}

    @cached_property
    def joules_by_operation(self) -> Mapping[str, float]:
        """Nominal, events only: static power belongs to chips."""
        found = dict.fromkeys(self.program.ops, 0.0)
        for row in self.ledger.priced:
            if row.operation in found:
                found[row.operation] += row.joules.nominal / TOKENS
        return found

    @cached_property
    def bits_between(self) -> Mapping[tuple[str, str, int], float]:
        """{(sender, receiver, message class): bits sent per token}; each message counts once."""
        t, ops = self.program.tables, self.program.ops
        _, bits = tree_traffic(self.program, self.facts, self.seen)
        tree = tree_of_sink(t)
        pairs = np.stack([tree, t.task_op[t.sink_task]], axis=1)
        found: dict[tuple[str, str, int], float] = {}
        for one, receiver in np.unique(pairs, axis=0).tolist():
            sender = ops[int(t.task_op[t.tree_task[one]])]
            key = sender, ops[receiver], int(self.facts.message[one])
            found[key] = found.get(key, 0.0) + float(bits[one]) / TOKENS
        return found

    def busy_ps(self, cores: NDArray[np.integer]) -> float:
        """The most that one of these cores is busy per token."""
        found = self.pace.core_ps[cores]
        return float(found.max(initial=0.0))


def forecast(program: Program) -> Forecast:
    """Raises BadInput for a program that does not tell the rates it was mapped for."""
    facts = tree_facts(program)
    seen = expected(program, facts)
    counts, speed = counters(program, facts, seen), pace(program, facts, seen)
    follows = program.graph.takes_spikes  # the next step waits for none before
    seconds = (speed.busiest_ps if follows else speed.token_ps) * 1e-12 * TOKENS
    chip = program.chip
    static = static_of(chip, program.n_chips, seconds)
    flat = {(op, kind): n for op, kinds in counts.items() for kind, n in kinds.items()}
    priced = ledger(flat, chip.costs, static=static)
    return Forecast(program, facts, seen, counts, priced, speed)


def per_token(found: Range) -> Range:
    """Of joules of TOKENS tokens."""
    return Range(found.low / TOKENS, found.nominal / TOKENS, found.high / TOKENS)
