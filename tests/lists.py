"""Networks whose synapses are stored as lists: convolutions, and matrices with few weights."""

import nir
import numpy as np

from tests.spiking import conv, fired, image, raw_graph

TARGET = "loihi1"
WIDE = {"abilities.weight_bits": '["8 bit", "12 bit"]'}


def scarce(n_in, n_out, seed=0, largest=1000, share=0.08):
    """Whole numbers beyond 8 bits, most of them 0; one neuron and one input have none."""
    rng = np.random.default_rng(seed)
    w = rng.integers(-largest, largest + 1, (n_out, n_in)).astype(np.float32)
    w[rng.random((n_out, n_in)) >= share] = 0
    w[3], w[:, 5] = 0, 0
    return w


def convolved(path, seed=0):
    """float convolution -> neurons -> whole numbers, few -> neurons -> whole numbers, all pairs."""
    rng = np.random.default_rng(seed)
    n = 3 * 12 * 12
    given = {"v_threshold": 900.0, "v_reset": 0.0}
    few, every = scarce(n, 60, seed), rng.integers(-2000, 2000, (9, 60)).astype(np.float32)
    nodes = [
        image(2, 12, 12),
        conv(2, 3, seed=seed),
        fired(n).__class__(r=np.ones((3, 12, 12)), v_threshold=np.full((3, 12, 12), 2.0)),
        nir.Flatten({"input": np.array([3, 12, 12])}, 0, -1),
        nir.Affine(few, np.zeros(60, np.float32)),
        nir.IF(np.ones(60), **{k: np.full(60, v) for k, v in given.items()}),
        nir.Affine(every, np.zeros(9, np.float32)),
        nir.IF(np.ones(9), **{k: np.full(9, v) for k, v in given.items()}),
        nir.Output(np.array([9])),
    ]
    raw_graph(path, *nodes, shape=(2, 12, 12))
    return path, few, every
