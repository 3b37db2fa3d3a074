"""Networks whose arithmetic is the same in ours and in SANA-FE: integers, and halves of them."""

import tempfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import torch
from scipy.sparse import csr_array

from compiler.frontends.nir import Stepping, read_nir
from compiler.graph import Graph, Linear, Part, Population, Site, SpikeInput, vectors
from compiler.pipeline import compile_graph, compile_model
from compiler.program import Program
from hw_models.chip import load_chip
from kernels.neurons import NEURONS
from tests.spiking import DT, raw_graph, written

GROUP = 128


@dataclass(frozen=True, slots=True)
class Case:
    program: Program
    weights: list[np.ndarray | csr_array]  # [input, neuron] per layer
    spikes: np.ndarray
    lead: int = (
        0  # steps of ours before the first of SANA-FE, whose neurons with a bias wait for none
    )


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
        weights.append(csr_array(w.T) if density < 1 else w.T)
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


def driven(graph: Graph, tensors, bias: np.ndarray, threshold: float, leak: float = 1.0):
    """The graph with its inputs as neurons of their own, each with a bias; the host is silent."""
    given, n = graph.stages[0], graph.stages[0].n
    values = {"a_mem": np.full(n, 1 - leak), "r": np.full(n, 1 / (1 - leak) if leak < 1 else 1)}
    values |= {"v_leak": np.zeros(n), "v_threshold": np.full(n, threshold), "v_reset": np.zeros(n)}
    neuron = "lif" if leak < 1 else "if"
    names = {key: f"{given.name}.{key}" for key in NEURONS[neuron].parameters}
    own = {names[key]: torch.from_numpy(values[key].astype(np.float32)) for key in names}
    own |= {"bias.weight": torch.zeros(n, 1), "bias.bias": torch.from_numpy(np.float32(bias))}
    population = Population(given.name, "bias", given.site, n, neuron, tuple(names.values()))
    linear = Linear("bias", "silent.spikes", 1, n, (Part("bias.weight", "bias.bias", (0, n)),))
    stages = (SpikeInput("silent", "silent.spikes", 1), population, *graph.stages[1:])
    sites = (Site("silent.spikes", 1, "spikes"), *graph.sites)
    linears = (linear, *graph.linears)
    return replace(graph, stages=stages, sites=sites, linears=linears), {**tensors, **own}


def scattered(
    n_cores, per_core, *, messages, synapses, share, steps, seed=0, overrides=None
) -> Case:
    """Half of the cores hold neurons that fire in every step, as many as `share`; each has
    `synapses` on each of `messages` of the other cores, whose neurons do not remember."""
    rng = np.random.default_rng(seed)
    half = n_cores // 2
    n = half * per_core
    cores = rng.random((n, half)).argsort(1)[:, :messages]
    within = rng.random((n, messages, per_core)).argsort(2)[:, :, :synapses]
    post = (cores[:, :, None] * per_core + within).reshape(n, -1)
    values = rng.integers(-8, 9, post.shape).astype(np.float32)
    values[values == 0] = 9
    first = np.arange(n + 1) * post.shape[1]
    weight = csr_array((values.ravel(), post.ravel(), first), (n, n))  # [input, neuron]
    weight.sort_indices()
    names = [f"out.{key}" for key in NEURONS["lif"].parameters]
    graph = Graph(
        "scattered", "-", None, 0,
        (SpikeInput("in", "in.spikes", n),
         Population("out", "w", "out.spikes", n, "lif", (*names,))),
        (Site("in.spikes", n, "spikes"), Site("out.spikes", n, "spikes")),
        (Linear("w", "in.spikes", n, n, (Part("w", None, (0, n)),), multiplied=weight.nnz),),
    )  # fmt: skip
    ones = {"out.v_leak": 0.0, "out.v_threshold": 8.5, "out.v_reset": 0.0}
    tensors = {name: torch.full((n,), ones.get(name, 1.0)) for name in names}
    bias = (rng.random(n) < share).astype(np.float64)
    graph, tensors = driven(graph, tensors, bias, 0.5, leak=0.0)
    by_neuron = weight.T.tocsr()
    by_neuron.sort_indices()
    side = {"core.neurons": str(per_core)} | (overrides or {})
    chip = load_chip("loihi1", side)
    program = compile_graph(graph, tensors, chip, synapses={"w": lambda: by_neuron})
    return Case(program, [np.zeros((1, n)), weight], np.zeros((steps + 1, 1), np.uint8), lead=1)


def gesture(path: Path, steps: int, *, leak_decay: int = 0) -> Case:
    """SANA-FE's DVS gesture network from the weights, thresholds and input of its package: pixels
    with a bias, four convolutions, one dense layer. Its weights need 10 bits.

    leak_decay: of 4096, what every membrane loses in a step; its network file has 1.
    """
    held = np.load(path)
    kernels = [held[f"conv{k}"].astype(np.float32) for k in range(1, 5)]  # [y, x, in, out]
    thresholds = held["thresholds"].astype(np.float64)
    nodes, side = [nir.Input(np.array([1, 32, 32]))], 32
    for k, kernel in enumerate(kernels):
        stride, out = 1 + (k == 0), kernel.shape[3]
        side = (side - 3) // stride + 1
        nodes.append(
            nir.Conv2d(
                None, kernel.transpose(3, 2, 0, 1), stride, 0, 1, 1, np.zeros(out, np.float32)
            )
        )
        shape = (out, side, side)
        nodes.append(nir.IF(np.ones(shape), np.full(shape, thresholds[k + 1]), np.zeros(shape)))
    dense = held["dense1"].astype(np.float32)  # rows: channel, y, x
    n = dense.shape[1]
    nodes += [nir.Flatten({"input": np.array(shape)}, 0, -1), nir.Linear(dense.T.copy())]
    nodes += [nir.IF(np.ones(n), np.full(n, thresholds[5]), np.zeros(n))]
    nodes += [nir.Output(np.array([n]))]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gesture.nir"
        raw_graph(file, *nodes, shape=(1, 32, 32))
        graph, tensors, synapses = read_nir(file, Stepping())
        synapses = {name: made() for name, made in synapses.items()}
        tensors = {name: tensors[name] for s in graph.stages for name in vectors(s)} | {
            part.bias: tensors[part.bias] for lin in graph.linears for part in lin.parts
        }
    graph, tensors = driven(graph, tensors, held["inputs"], thresholds[0])
    if leak_decay:
        graph, tensors = in_fixed_point(graph, tensors, leak_decay)
    wide = {"abilities.weight_bits": '["8 bit", "10 bit"]', "core.in_axons": "8192"}
    program = compile_graph(
        graph, tensors, load_chip("loihi1", wide),
        synapses={name: lambda m=m: m for name, m in synapses.items()},
    )  # fmt: skip
    weights = [np.zeros((1, 1024)), *(stored(program, lin) for lin in program.graph.linears[1:])]
    return Case(program, weights, np.zeros((steps + 1, 1), np.uint8), lead=1)


def in_fixed_point(graph: Graph, tensors, decay: int):
    """The same integers in Loihi's neurons, which lose `decay` / 4096 in a step."""
    stages = []
    for stage in graph.stages:
        if isinstance(stage, Population):
            bias = graph.linear(stage.linear).parts[0].bias
            own = dict(zip(NEURONS[stage.neuron].parameters, stage.parameters, strict=True))
            values = {
                "du": torch.full((stage.n,), 4095.0),
                "dv": torch.full((stage.n,), decay * 1.0),
            }
            values |= {"bias": 64 * tensors[bias], "vth": tensors[own["v_threshold"]]}
            tensors |= {f"{stage.name}.{key}": value for key, value in values.items()}
            tensors[bias] = torch.zeros(stage.n)
            names = tuple(f"{stage.name}.{key}" for key in NEURONS["loihi"].parameters)
            stage = replace(stage, neuron="loihi", parameters=names)  # noqa: PLW2901
        stages.append(stage)
    return replace(graph, stages=tuple(stages)), tensors


def stored(program: Program, linear: Linear) -> np.ndarray | csr_array:
    """[input, neuron] as the program has it."""
    arrays = program.linears[linear.name]
    if linear.listed is None:
        return arrays.q[:].astype(np.float64).T
    form = (arrays.q[:].astype(np.float64), arrays.pre[:], arrays.first[:])
    return csr_array(form, (linear.n_post, linear.n_pre)).T.tocsr()
