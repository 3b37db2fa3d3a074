"""Small networks of spiking neurons as NIR files, run here and, independently, in float64."""

from itertools import pairwise
from pathlib import Path

import nir
import numpy as np

from compiler.program import Program
from simulator.drive import Simulation

DT = 1e-4


def lif(n, seed=0, **fixed):
    rng = np.random.default_rng(seed)
    values = {
        "tau": rng.uniform(2e-4, 2e-3, n),
        "r": rng.uniform(1, 4, n),
        "v_leak": rng.uniform(-0.1, 0.1, n),
        "v_threshold": rng.uniform(0.2, 0.6, n),
        "v_reset": rng.uniform(-0.1, 0.1, n),
    }
    return nir.LIF(**values | fixed)


def cubalif(n, seed=0):
    leaky = lif(n, seed)
    rng = np.random.default_rng(seed + 99)
    return nir.CubaLIF(
        tau_syn=rng.uniform(2e-4, 1e-3, n),
        w_in=rng.uniform(1, 3, n),
        tau_mem=leaky.tau,
        **{key: getattr(leaky, key) for key in ("r", "v_leak", "v_threshold", "v_reset")},
    )


def fired(n, seed=0):
    """IF neurons that now and then fire."""
    rng = np.random.default_rng(seed)
    return nir.IF(r=rng.uniform(0.2, 0.6, n), v_threshold=rng.uniform(1, 2, n))


def affine(n_in, n_out, seed=0, gain=1.5):
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, gain / np.sqrt(n_in / 4), (n_out, n_in))
    return nir.Affine(weight, rng.normal(0, 0.05, n_out))


def network(n_in=150, hidden=140, out=10):
    """Three populations; 150 and 140 inputs are two groups of weights each."""
    return [
        affine(n_in, hidden, 1),
        lif(hidden, 2),
        affine(hidden, 90, 3),
        cubalif(90, 4),
        affine(90, out, 5, gain=3),
        fired(out, 6),
    ]


def written(path: Path, *nodes) -> Path:
    nir.write(path, nir.NIRGraph.from_list(*nodes))
    return path


def image(*shape):
    return nir.Input(np.array(shape))


def conv(n_in, n_out, taps=(3, 3), seed=0, **options):
    rng = np.random.default_rng(seed)
    groups = options.get("groups", 1)
    given = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1} | options
    weight = rng.normal(0, 1, (n_out, n_in // groups, *taps)).astype(np.float32)
    return nir.Conv2d(
        input_shape=None, weight=weight, bias=rng.normal(0, 1, n_out).astype(np.float32), **given
    )


def raw_graph(path, *nodes, shape):
    """Written without nir's own inference, which knows square kernels only."""
    names = [f"n{i}" for i in range(len(nodes))]
    parts = dict(zip(names, nodes, strict=True))
    edges = list(pairwise(names))
    graph = nir.NIRGraph(parts, edges, type_check=False)
    for node in nodes:
        if isinstance(node, nir.Conv2d) and node.input_shape is None:
            node.input_shape = np.array(shape)  # nir cannot write None
    nir.write(path, graph)


def matrix_of(graph, tensors, k=0):
    """W and b of a linear."""
    part = graph.linears[k].parts[0]
    return tensors[part.weight].numpy(), tensors[part.bias].numpy()


def random_spikes(n, steps=24, seed=0, share=0.25):
    return (np.random.default_rng(seed).random((steps, n)) < share).astype(np.uint8)


def streamed(program: Program, spikes, **options) -> Simulation:
    """All steps started at once."""
    simulation = Simulation(program, keep_sums=True, in_flight=len(spikes), **options)
    for row in spikes.reshape(len(spikes), -1):
        simulation.start(row, 0)
    for _ in simulation.advance():
        pass
    return simulation


def simulated(program: Program, spikes, **options) -> np.ndarray:
    """Outputs [steps, neurons] of the last stage."""
    found = streamed(program, spikes, **options).found.logits
    return np.stack([found[step] for step in range(len(spikes))])


def float64(program: Program, nodes, spikes, dt=DT):
    """Spikes of every population, [steps, n], and the least distance of a membrane from its
    threshold: NIR's equations by forward Euler in float64, on the weights that the program holds.
    """
    weights = [_weights(linear) for linear in program.linears.values()]
    neurons = [node for node in nodes if not isinstance(node, nir.Affine)]
    state = [{"v": getattr(node, "v_leak", 0.0) * np.ones(len(b)), "i": np.zeros(len(b))}
             for node, (_, b) in zip(neurons, weights, strict=True)]  # fmt: skip
    out, nearest = [[] for _ in neurons], np.inf
    for step in spikes.astype(np.float64):
        s = step
        for k, (node, (w, b)) in enumerate(zip(neurons, weights, strict=True)):
            drive, now = w @ s + b, state[k]
            if isinstance(node, nir.CubaLIF):
                now["i"] += dt / node.tau_syn * (node.w_in * drive - now["i"])
                drive = now["i"]
            if isinstance(node, nir.IF):
                now["v"] = now["v"] + node.r * drive
            else:
                tau = node.tau if isinstance(node, nir.LIF) else node.tau_mem
                now["v"] = now["v"] + dt / tau * (node.v_leak - now["v"] + node.r * drive)
            nearest = min(nearest, np.abs(now["v"] - node.v_threshold).min())
            s = (now["v"] > node.v_threshold).astype(np.float64)
            now["v"] = np.where(s == 1, node.v_reset, now["v"])
            out[k].append(s)
    return [np.stack(rows) for rows in out], nearest


def _weights(linear):
    """What the integers of a linear stand for: W float64 [n_post, n_pre] and its bias."""
    step = np.repeat(linear.m.astype(np.float64) / 2**15, 128, axis=1)[:, : linear.q.shape[1]]
    scale = linear.row_scale.astype(np.float64)[:, None]
    return linear.q.astype(np.float64) * step * scale, linear.bias.astype(np.float64)
