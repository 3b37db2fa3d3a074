"""The canonical executor on a compiled program, and the comparison of `sbsim run --check`."""

from collections.abc import Callable, Sequence

import torch

from compiler.program import Program
from hw_models.errors import GateFailed
from kernels.canonical import Numbers, execute
from kernels.linear import W8
from simulator.drive import Trajectory


def numbers_of(program: Program) -> Numbers:
    """A program's numbers as the canonical executor takes them."""
    linears = {}
    for name, a in program.linears.items():
        q, m, scale, bias = (torch.from_numpy(x.copy()) for x in (a.q, a.m, a.row_scale, a.bias))
        linears[name] = (W8(q, m, scale), bias)
    vectors = {name: torch.from_numpy(v.copy()) for name, v in program.vectors.items()}
    return Numbers(linears, vectors, torch.from_numpy(program.embedding.copy()))


def compare(
    program: Program,
    found: Trajectory,
    tokens: Sequence[int],
    report: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> None:
    """Every count, threshold, sum and logit must be equal; GateFailed names the first other."""
    reference = execute(program.graph, numbers_of(program), tokens, program.k)
    for token, want in enumerate(reference):
        for site, counts in want.counts.items():
            got = found.activity.counts[site][token]
            if (got != counts).any() or found.activity.v_th[site][token] != want.v_th[site]:
                raise _differs("counts", f"{site}, token {token}")
        for linear, sums in want.sums.items():
            if (found.sums[linear][token] != sums).any():
                raise _differs("sums", f"{linear}, token {token}")
        if (found.logits[token] != want.logits).any():
            raise _differs("logits", f"token {token}")
        report("check", token + 1, len(tokens))


def _differs(what: str, where: str) -> GateFailed:
    return GateFailed(f"{what} differ from the canonical executor's", where=where)
