"""Integer functions give the integers they gave before: python -m tests.golden.test_integers
writes the file anew, and the change that needs it says why.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from kernels.coding import CODINGS, encode
from kernels.linear import exact_linear, quantize_w8

FILE = Path(__file__).with_name("integers.json")


def weights() -> torch.Tensor:
    """96 x 300 float32 values that are exact in binary, with an all-zero row and a short group."""
    o, i = np.indices((96, 300))
    w = ((i * 7919 + o * 104729) % 2001 - 1000) / 1024
    w[5] = 0
    return torch.tensor(w, dtype=torch.float32)


def counts() -> np.ndarray:
    """300 counts from -40 to 40, many of them 0."""
    n = np.arange(300)
    return ((n * n * 31 + n * 17) % 81 - 40) * (n % 3 > 0)


def integers() -> dict:
    w8 = quantize_w8(weights())
    sums = exact_linear(torch.tensor(counts(), dtype=torch.int32), w8)
    found = {
        "q": hashlib.sha256(w8.q.numpy().tobytes()).hexdigest(),
        "m": w8.m[:4].tolist(),
        "sums": sums[:8].tolist(),
    }
    for name in sorted(CODINGS):
        train = encode(counts()[:12], name, bits=8)
        events = zip(train.channel, train.payload, train.times, strict=True)
        found[name] = {
            "events": [[int(x) for x in event] for event in events],
            "steps": train.steps,
            "zero_point": train.zero_point,
        }
    return found


def test_integer_functions_give_the_same_integers():
    assert integers() == json.loads(FILE.read_text("utf-8"))


if __name__ == "__main__":
    FILE.write_text(json.dumps(integers(), indent=1, sort_keys=True) + "\n", "utf-8")
