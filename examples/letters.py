"""Four letters of 5 x 5 pixels, told apart by spiking neurons: a NIR graph from NumPy to joules.

    pip install nir
    python -m examples.letters X          # one of T, L, X, O

Writes letters.nir (as snnTorch, Norse or Sinabs would), letters.sbx and a run folder here.
"""

import sys
from pathlib import Path

import nir
import numpy as np

from compiler import compile_model
from hw_models.si import si
from simulator import report, simulate

LETTERS = {
    "T": "##### ..#.. ..#.. ..#.. ..#..",
    "L": "#.... #.... #.... #.... #####",
    "X": "#...# .#.#. ..#.. .#.#. #...#",
    "O": ".###. #...# #...# #...# .###.",
}
PIXELS = {name: np.array([c == "#" for c in text if c != " "]) for name, text in LETTERS.items()}


def network() -> nir.NIRGraph:
    """Edge detectors, then one leaky neuron per letter that its own pixels drive."""
    kernels = np.zeros((3, 1, 3, 3), np.float32)
    kernels[0, 0, 1, 1] = 1  # the pixel itself, a horizontal and a vertical stroke
    kernels[1, 0, 1], kernels[2, 0, :, 1] = 0.4, 0.4
    image = (3, 5, 5)
    conv = nir.Conv2d((5, 5), kernels, 1, 1, 1, 1, np.zeros(3, np.float32))
    features = nir.IF(r=np.ones(image), v_threshold=np.full(image, 0.9))
    seen = np.stack([_features(kernels, pixels.reshape(5, 5)) for pixels in PIXELS.values()])
    weights = seen / np.linalg.norm(seen, axis=1, keepdims=True)
    tau = np.full(4, 1e-3)  # ten steps of the default 1e-4
    letters = nir.LIF(tau, r=1e4 * tau, v_leak=0 * tau, v_threshold=12e3 * tau)
    flat = nir.Flatten({"input": np.array(image)}, start_dim=0)
    return nir.NIRGraph.from_list(
        nir.Input(np.array([1, 5, 5])), conv, features, flat, nir.Linear(weights), letters
    )


def _features(kernels: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """What the kernels see of a picture, less its mean."""
    padded = np.pad(picture.astype(float), 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    seen = np.einsum("oyx,hwyx->ohw", kernels[:, 0], windows).reshape(-1)
    return seen - seen.mean()


def noisy(letter: str, steps: int = 60, seed: int = 0) -> np.ndarray:
    """Its pixels spike in seven of ten steps, all others in one of ten."""
    chance = np.where(PIXELS[letter], 0.7, 0.1)
    spikes = np.random.default_rng(seed).random((steps, 25)) < chance
    return spikes.reshape(steps, 1, 5, 5)


def main(letter: str = "X") -> str:
    """The letter that the network saw."""
    nir.write("letters.nir", network())
    program = compile_model("letters.nir", target="loihi-like")
    program.write(Path("letters.sbx"))
    run = simulate(program, spikes=noisy(letter))
    counts = {name: int(n) for name, n in zip(LETTERS, run.outputs, strict=True)}
    found = list(LETTERS)[run.winner]
    step = report(run, baselines=()).main
    print(f"shown {letter}, seen {found}: output spikes {counts}")
    print(
        f"{si(step.seconds / step.tokens, 's')} and {si(step.joules_per_token.nominal, 'J')} a step"
    )
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
