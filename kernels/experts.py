"""Mixture of experts: a router's choice, and the sum of what was chosen (arXiv 2509.05276, 3.2)."""

import torch
from torch import Tensor


def choose(logits: Tensor, top_k: int, scoring: str) -> tuple[tuple[int, ...], Tensor]:
    """The top_k experts of the largest logits, ascending, and their weights: float32[top_k].

    Equal logits go to the lower index. A weight is softmax over all logits, or the sigmoid of
    its own; the weights of several are not made to add up to 1.
    """
    ranked = torch.sort(logits, descending=True, stable=True).indices
    experts = sorted(ranked[:top_k].tolist())
    scores = logits.softmax(-1) if scoring == "softmax" else logits.sigmoid()
    return tuple(experts), scores[experts]


def mixture(shared: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
    """((shared + w_0 y_0) + w_1 y_1) + ...: each product rounded, then each sum; float32[n].

    chosen float32[top_k, n]: the experts' outputs in ascending order, as their weights.
    """
    y = shared
    for weight, output in zip(weights, chosen, strict=True):
        y = y + weight * output
    return y
