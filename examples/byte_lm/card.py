"""Measure the byte LM and write its card: python -m examples.byte_lm.card

Bits per byte of heldout.txt in float32, W8, and W8 with spikes, beside what byte frequencies,
gzip and xz need for the same bytes; and what the spiking model writes after three prompts.
Results go to card.json and into the table of README.md.
"""

import gzip
import hashlib
import json
import lzma
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compiler.executor.fast import Mode, bits_per_byte, forward
from compiler.frontends.config import GlaSwaConfig
from examples.byte_lm.model import load

HERE = Path(__file__).parent
MODEL, HELDOUT, CARD, README = (
    HERE / name for name in ("model.pt", "heldout.txt", "card.json", "README.md")
)
K, WINDOW = 3.0, 2048
SHORT = 4096  # bytes that the tests measure again
PROMPTS = ("def read(path):\n", "import os\n", "class Stack:\n")
CONTINUED, TEMPERATURE = 120, 0.5
MODES: dict[Mode, str] = {
    "float": "float32 (of the bfloat16 weights)",
    "w8": "W8",
    "spike": "W8 and spikes, k = 3",
}


def compressors(text: bytes) -> dict[str, float]:
    """Bits per byte of `text` by its own byte frequencies, by gzip and by xz."""
    n = len(text)
    entropy = -sum(c / n * math.log2(c / n) for c in Counter(text).values())
    squeezed = {
        "gzip -9": gzip.compress(text, 9),
        "xz -9": lzma.compress(text, preset=9),
    }
    return {"byte frequencies": entropy} | {k: 8 * len(v) / n for k, v in squeezed.items()}


def model_bits(config: GlaSwaConfig, weights: dict[str, Tensor], text: bytes) -> dict[str, float]:
    """Bits per byte of `text` by the model in each mode."""
    return {m: bits_per_byte(config, weights, text, m, k=K, window=WINDOW) for m in MODES}


@torch.inference_mode()
def continuation(config: GlaSwaConfig, weights: dict[str, Tensor], prompt: str, seed: int) -> str:
    """What the spiking model writes after a prompt, sampled."""
    draw = torch.Generator().manual_seed(seed)
    seen = list(b"\n" + prompt.encode())
    for _ in range(CONTINUED):
        logits = forward(config, weights, torch.tensor([seen]), "spike", K)[0, -1]
        p = (logits.double() / TEMPERATURE).softmax(0)
        seen.append(int(torch.multinomial(p, 1, generator=draw)))
    return bytes(seen[1:]).decode(errors="replace")


def measure() -> dict[str, Any]:
    """Everything the card says."""
    config, weights = load(MODEL)
    text = HELDOUT.read_bytes()
    return {
        "model_sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest(),
        "heldout_sha256": hashlib.sha256(text).hexdigest(),
        "heldout_bytes": len(text),
        "parameters": sum(w.numel() for w in weights.values()),
        "protocol": f"windows of {WINDOW} bytes that share no context; every byte counts",
        "bits_per_byte": model_bits(config, weights, text),
        "bits_per_byte_of_first_4096": model_bits(config, weights, text[:SHORT]),
        "others": compressors(text),
        "continuations": [continuation(config, weights, p, i) for i, p in enumerate(PROMPTS)],
    }


def table(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    bits = card["bits_per_byte"]
    rows = [(MODES[m], bits[m], f"{bits[m] / bits['float'] - 1:+.2%}") for m in MODES]
    rows += [(name, value, "") for name, value in card["others"].items()]
    lines = ["| coder of the held-out text | bits/byte | against float32 |", "|---|---|---|"]
    lines += [f"| {name} | {value:.4f} | {change} |" for name, value, change in rows]
    samples = [f"```python\n{text.rstrip()}\n```" for text in card["continuations"]]
    told = (
        f"The spiking model goes on from the first line of each, {CONTINUED} bytes sampled at "
        f"temperature {TEMPERATURE}:"
    )
    return "\n\n".join(["\n".join(lines), told, *samples])


def main() -> None:
    card = measure()
    CARD.write_text(json.dumps(card, indent=1) + "\n")
    begin, end = "<!-- card.py writes from here -->", "<!-- to here -->"
    text = README.read_text()
    between = re.compile(re.escape(begin) + ".*" + re.escape(end), re.S)
    README.write_text(between.sub(lambda _: f"{begin}\n{table(card)}\n{end}", text))


if __name__ == "__main__":
    main()
