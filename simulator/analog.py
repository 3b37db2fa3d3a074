"""What converters and cells of a crossbar change: sums by the oracle, and how far a run is off."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Linear
from compiler.program import Program
from kernels.canonical import Numbers, Sums, execute
from kernels.crossbar import read
from kernels.linear import exact_linear
from simulator.crossbar import programmed
from simulator.drive import Trajectory
from simulator.result import AnalogError, LinearError


def exact(program: Program) -> bool:
    """Whether sums are exact by definition: digital cores, or an ideal converter and no noise."""
    return program.chip.array is None or program.chip.array.exact


def sums_of_arrays(program: Program) -> Sums:
    """The sums of every linear as its arrays give them, by kernels/crossbar.py."""
    array, graph = program.chip.array, program.graph
    held = {lin.name: programmed(program, i) for i, lin in enumerate(graph.linears)}
    coding = {lin.name: program.codings[lin.site][0] for lin in graph.linears}

    def sums(name: str, counts: Tensor) -> Tensor:
        found = read(counts.numpy(), coding[name], held[name], array).sums
        return torch.from_numpy((found * program.linears[name].m).sum(1))

    return sums


def analog_error(
    program: Program,
    numbers: Numbers,
    found: Trajectory,
    tokens: Sequence[int],
    converted: tuple[int, int],
    report: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> AnalogError:
    """How far a run with kept sums is off; converted: columns, and those clipped.

    Sums are compared with the exact ones of the counts that the run itself drove, logits with
    those of an executor that never left exact sums.
    """
    linears = {}
    for linear in program.graph.linears:
        if linear.name not in found.sums:  # an expert that was never chosen
            continue
        w8, _ = numbers.linears[linear.name]
        counts = driving(found, linear)
        wanted = np.stack([exact_linear(torch.from_numpy(c), w8).numpy() for c in counts])
        linears[linear.name] = linear_error(np.stack(found.sums[linear.name]), wanted)
    kl, same = [], []
    for token, ideal in enumerate(execute(program.graph, numbers, tokens, program.k)):
        if token in found.logits:
            kl.append(divergence(ideal.logits, found.logits[token]))
            same.append(ideal.logits.argmax() == found.logits[token].argmax())
        report("error", token + 1, len(tokens))
    return AnalogError(*converted, linears, len(kl), float(np.mean(kl)), float(np.mean(same)))


def driving(found: Trajectory, linear: Linear) -> list[NDArray[np.int32]]:
    """Counts of the tokens for which a linear ran."""
    counts = found.activity.counts[linear.site]
    if len(counts) == len(found.sums[linear.name]):
        return counts
    router, expert = linear.condition or ("", 0)
    choices = found.activity.chosen[router]
    return [c for c, chosen in zip(counts, choices, strict=True) if expert in chosen]


def linear_error(found: NDArray[np.int64], wanted: NDArray[np.int64]) -> LinearError:
    """Errors of sums [token, neuron] in units of the wanted ones' root mean square."""
    off = np.abs(found.astype(np.float64) - wanted)
    unit = float(np.sqrt(np.mean(np.square(wanted.astype(np.float64))))) or 1.0
    return LinearError(float(np.sqrt(np.mean(off**2))) / unit, float(off.max()) / unit)


def divergence(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """KL(wanted | found) of two rows of logits, in nats."""
    p, q = (torch.from_numpy(x).double().log_softmax(0) for x in (wanted, found))
    return max(0.0, float((p.exp() * (p - q)).sum()))
