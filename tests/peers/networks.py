"""Networks whose arithmetic is the same in ours and in SANA-FE: integers, and halves of them."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np

from compiler.frontends.nir import Stepping
from compiler.pipeline import compile_model
from compiler.program import Program
from tests.spiking import DT, written

GROUP = 128


@dataclass(frozen=True, slots=True)
class Case:
    program: Program
    weights: list[np.ndarray]  # float64[input, neuron] per layer
    spikes: np.ndarray


def integers(rng, n_in, n_out, largest=8, density=1.0):
    """[neuron, input] with a 127 or -127 per neuron and group: then W8 keeps integers exactly."""
    w = rng.integers(-largest, largest + 1, (n_out, n_in)).astype(np.float64)
    w[rng.random((n_out, n_in)) >= density] = 0
    for first in range(0, n_in, GROUP):
        at = first + rng.integers(0, min(GROUP, n_in - first), n_out)
        w[np.arange(n_out), at] = rng.choice([-127, 127], n_out)
    return w


def case(
    path: Path,
    sizes,
    steps,
    *,
    share=0.3,
    leak=1.0,
    density=1.0,
    seed=0,
    overrides=None,
    fixed_point=False,
) -> Case:
    """Layers of `sizes`, of which `share` fires in a step: thresholds are quantiles of what
    membranes reach.

    leak: what is left of a membrane after a step. 1: integrators, 0: no memory.
    fixed_point: Loihi's neurons instead, with weights and thresholds as they come out of that.
    """
    rng = np.random.default_rng(seed)
    spikes = (rng.random((steps, sizes[0])) < share).astype(np.uint8)
    rows, weights, nodes = spikes.astype(np.float64), [], []
    for n_in, n in pairwise(sizes):
        w = integers(rng, n_in, n, density=density)
        currents = rows @ w.T
        threshold = np.floor(np.quantile(currents, 1 - share)) + 0.5
        v, out = np.zeros(n), []
        for current in currents:
            v = leak * v + current
            out.append(v > threshold)
            v = np.where(out[-1], 0.0, v)
        rows = np.stack(out).astype(np.float64)
        weights.append(w.T)
        given = {"v_threshold": np.full(n, threshold), "v_reset": np.zeros(n)}
        if leak == 1:
            neuron = nir.IF(r=np.ones(n), **given)
        else:
            neuron = nir.LIF(
                tau=np.full(n, DT / (1 - leak)),
                r=np.full(n, 1 / (1 - leak)),
                v_leak=np.zeros(n),
                **given,
            )
        nodes += [nir.Affine(w.astype(np.float32), np.zeros(n, np.float32)), neuron]
    stepping = Stepping(DT, "loihi" if fixed_point else "euler")
    program = compile_model(written(path, *nodes), "loihi1", overrides=overrides, stepping=stepping)
    if fixed_point:
        linears = [program.linears[linear.name] for linear in program.graph.linears]
        weights = [linear.q[:].astype(np.float64).T for linear in linears]
    return Case(program, weights, spikes)
