"""The canonical executor on a compiled program, and the comparison of `sbsim run --check`."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from compiler.graph import Gla, Router, feeds, reads
from compiler.program import Program, widened
from hw_models.errors import GateFailed
from kernels.canonical import Numbers, execute
from kernels.linear import W8, Listed
from simulator.analog import exact, sums_of_arrays
from simulator.trajectory import Trajectory


def numbers_of(program: Program) -> Numbers:
    """A program's numbers as the canonical executor takes them."""
    linears = {}
    for name, a in program.linears.items():
        q, m, scale, bias = (torch.from_numpy(x.copy()) for x in (a.q, a.m, a.row_scale, a.bias))
        if a.first is None or a.pre is None:
            linears[name] = (W8(q, m, scale), bias)
        else:
            first, pre = torch.from_numpy(a.first.copy()), torch.from_numpy(a.pre.copy())
            linears[name] = (Listed(q, m, scale, first, pre), bias)
    vectors = {name: torch.from_numpy(v.copy()) for name, v in program.vectors.items()}
    return Numbers(linears, vectors, torch.from_numpy(widened(program.embedding[:])))


def compare(
    program: Program,
    found: Trajectory,
    tokens: Sequence[Any],
    report: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> None:
    """Every count, threshold, sum and logit must be equal; GateFailed names the first other.

    Where the head or an expert did not run, there is nothing to compare. A
    crossbar's sums are those of kernels/crossbar.py, exact ones with an ideal converter.
    """
    head = program.graph.linears[-1]
    head_from = len(tokens) - len(found.logits)
    rows: Counter[str] = Counter()  # so far; an expert has some for the tokens that chose it
    analog = None if exact(program) else sums_of_arrays(program)
    reference = execute(program.graph, numbers_of(program), tokens, program.k, analog)
    for token, want in enumerate(reference):
        skipped = (head.site, head.name) if token < head_from else ()
        for stage in program.graph.stages:  # in order of execution: the first is the cause
            for linear in reads(stage):
                if linear in want.sums and linear not in skipped:
                    sums = found.sums[linear][rows[linear]]
                    _expect((sums == want.sums[linear]).all(), "sums", f"{linear}, token {token}")
                    rows[linear] += 1
            if isinstance(stage, Router):
                equal = found.activity.chosen[stage.name][token] == want.chosen[stage.name]
                _expect(equal, "choices", f"{stage.name}, token {token}")
            if isinstance(stage, Gla):
                equal = (found.activity.active[stage.name][token] == want.active[stage.name]).all()
                _expect(equal, "active channels", f"{stage.name}, token {token}")
            for site in feeds(stage):
                if site in want.counts and site not in skipped:
                    counts, v_th = (
                        of[site][rows[site]] for of in (found.activity.counts, found.activity.v_th)
                    )
                    equal = (counts == want.counts[site]).all() and v_th == want.v_th[site]
                    _expect(equal, "counts", f"{site}, token {token}")
                    rows[site] += 1
        equal = token < head_from or (found.logits[token] == want.logits).all()
        _expect(equal, "logits", f"token {token}")
        report("check", token + 1, len(tokens))


def _expect(equal: bool, what: str, where: str) -> None:
    if not equal:
        raise GateFailed(f"{what} differ from the canonical executor's", where=where)
