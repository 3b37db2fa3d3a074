"""Train the byte LM on one or two CPU cores: python -m examples.byte_lm.train --minutes 110

Muon on the matrices, AdamW on the rest, bfloat16 autocast, contexts that grow, a learning
rate that falls to zero at a wall-clock deadline, and spikes (straight-through) at the end.
Checkpoints are resumable: the same command goes on where it stopped.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from compiler.executor.fast import Mode, bits_per_byte, forward
from examples.byte_lm import data
from examples.byte_lm.model import BYTE_LM, checkpoint, first_weights

LR, WARMUP_STEPS = 4e-3, 100
DECAY_FROM, SPIKES_FROM = 0.4, 0.88  # shares of the time
CONTEXTS = ((0.0, 256), (0.4, 512), (0.8, 1024))
TOKENS_PER_STEP = 2048


@dataclass
class Clock:
    """Share of the budget used, over all runs of a resumed training."""

    budget_s: float
    before_s: float = 0.0

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    @property
    def used_s(self) -> float:
        return self.before_s + time.monotonic() - self.started

    @property
    def share(self) -> float:
        return self.used_s / self.budget_s


def learning_rate(step: int, share: float) -> float:
    """Warm up by steps, hold, then fall linearly to zero at the deadline."""
    return min(1.0, (step + 1) / WARMUP_STEPS, max(0.0, (1 - share) / (1 - DECAY_FROM)))


def context(share: float) -> int:
    return next(length for start, length in reversed(CONTEXTS) if share >= start)


def optimizers(weights: dict[str, Tensor]) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for embeddings, head, norms and biases."""
    matrix = [w for n, w in weights.items() if w.ndim == 2 and ".layers." in n]
    tables = [w for n, w in weights.items() if w.ndim == 2 and ".layers." not in n]
    vectors = [w for w in weights.values() if w.ndim == 1]
    muon = torch.optim.Muon(
        matrix, lr=LR, momentum=0.95, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
    )
    groups = [{"params": tables, "lr": LR}, {"params": vectors, "lr": LR}]
    adamw = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return [muon, adamw]


def batches(text: Tensor, seed: int, clock: Clock) -> Iterator[Tensor]:
    """Random windows of the text, int64 [batch, context + 1]."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        length = context(clock.share)
        starts = torch.randint(
            text.numel() - length - 1, (TOKENS_PER_STEP // length,), generator=generator
        )
        yield torch.stack([text[s : s + length + 1] for s in starts.tolist()]).long()


def train(out: Path, minutes: float, seed: int) -> None:
    """Train until the budget is used; leave model.pt, resume.pt, heldout.txt and a log in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    corpus = data.load()
    (out / "heldout.txt").write_bytes(corpus.heldout)
    text = torch.frombuffer(bytearray(corpus.train), dtype=torch.uint8)
    weights = {n: w.requires_grad_() for n, w in first_weights(BYTE_LM, seed).items()}
    tuned = optimizers(weights)
    clock, step, resume = Clock(minutes * 60), 0, out / "resume.pt"
    if resume.exists():
        kept = torch.load(resume, weights_only=True)
        for name, w in weights.items():
            w.data.copy_(kept["weights"][name])
        for optimizer, state in zip(tuned, kept["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, clock.before_s = kept["step"], kept["used_s"]
    saved, began, tokens = time.monotonic(), time.monotonic(), 0
    for batch in batches(text, seed + step, clock):
        if clock.share >= 1:
            break
        mode: Mode = "spike" if clock.share >= SPIKES_FROM else "float"
        for optimizer in tuned:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * learning_rate(step, clock.share)
        with torch.autocast("cpu", torch.bfloat16):
            logits = forward(BYTE_LM, weights, batch[:, :-1], mode)
        loss = cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        for optimizer in tuned:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, tokens = step + 1, tokens + batch[:, 1:].numel()
        if step % 50 == 0:
            row = {
                "step": step,
                "minutes": round(clock.used_s / 60, 2),
                "bits_per_byte": round(loss.item() / math.log(2), 4),
                "context": context(clock.share),
                "mode": mode,
                "tokens_per_s": round(tokens / (time.monotonic() - began)),
            }
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
        if time.monotonic() - saved > 240:
            save(out, weights, tuned, step, clock)
            saved = time.monotonic()
    save(out, weights, tuned, step, clock)
    held = corpus.heldout[: 32 * 1024]
    for mode in ("float", "w8", "spike"):
        plain = {n: w.detach() for n, w in weights.items()}
        print(mode, bits_per_byte(BYTE_LM, plain, held, mode), flush=True)


def save(
    out: Path,
    weights: dict[str, Tensor],
    tuned: list[torch.optim.Optimizer],
    step: int,
    clock: Clock,
) -> None:
    """model.pt for users, resume.pt for the next run; each under a temporary name first."""
    plain = {n: w.detach() for n, w in weights.items()}
    kept = {
        "weights": plain,
        "optimizers": [o.state_dict() for o in tuned],
        "step": step,
        "used_s": clock.used_s,
    }
    for name, content in (("resume.pt", kept), ("model.pt", checkpoint(BYTE_LM, plain))):
        torch.save(content, out / (name + ".tmp"))
        (out / (name + ".tmp")).replace(out / name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/byte_lm"), help="output folder")
    parser.add_argument("--minutes", type=float, default=110, help="time budget")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch; 1 where other work runs beside it")
    chosen = parser.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    train(chosen.out, chosen.minutes, chosen.seed)
