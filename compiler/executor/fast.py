"""The fast executor: batched, chunked, differentiable; for training, calibration, evaluation.

Modes: `float` (the checkpoint as it is), `w8` (W8 weights), `spike` (W8 weights, and every
linear of a block sees V_th * count, profile `paper`; the head W8 with 16-bit activations).
Roundings pass gradients straight through. Compared with the canonical executor by
tolerance (DESIGN 3.4).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from compiler.frontends.config import GlaSwaConfig
from hw_models.errors import Unsupported
from kernels.gla import gla_chunk, log_gate
from kernels.linear import dequantize, quantize_w8
from kernels.norm import rms_norm
from kernels.rope import rope
from kernels.swiglu import swiglu
from kernels.threshold import absmax16, mean_abs
from kernels.window import window_sequence

MATRICES = ("_proj.weight", "lm_head.weight")
NEWLINE = 10

Mode = Literal["float", "w8", "spike"]
Record = Callable[[str, Tensor], None]


def straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """The value of `rounded` with the gradient of `x`."""
    return x + (rounded - x).detach()


def spiked(x: Tensor, v_th: Tensor) -> Tensor:
    """V_th * rint(x / V_th), straight-through."""
    v_th = v_th.detach()[..., None]
    return straight_through(x, (x / v_th).round() * v_th)


def effective(weights: Mapping[str, Tensor], mode: Mode) -> dict[str, Tensor]:
    """The float32 weights a mode computes with: outside `float`, matrices rounded to W8."""
    found = {name: weight.float() for name, weight in weights.items()}
    if mode != "float":
        for name, weight in found.items():
            if name.endswith(MATRICES):
                with torch.no_grad():
                    w8 = dequantize(quantize_w8(weight))
                found[name] = straight_through(weight, w8)
    return found


@dataclass(frozen=True, slots=True)
class _Pass:
    """One forward pass: effective weights, and how sites behave."""

    weights: Mapping[str, Tensor]
    spiking: bool
    k: float
    record: Record | None

    def site(self, name: str, x: Tensor) -> Tensor:
        if self.record is not None:
            self.record(name, x)
        if not self.spiking:
            return x
        x = x.float()
        with torch.no_grad():
            v_th = absmax16(x) if name == "head_in" else mean_abs(x, self.k)
        return spiked(x, v_th)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))


def forward(
    config: GlaSwaConfig,
    weights: Mapping[str, Tensor],
    tokens: Tensor,
    mode: Mode = "float",
    k: float = 3.0,
    record: Record | None = None,
) -> Tensor:
    """Logits float32 [batch, T, vocab] of int64 tokens [batch, T].

    weights: the checkpoint's names and shapes, any float dtype. record(site, x) sees every
    encoder site's input float [batch, T, n], in the order of the model. Raises Unsupported for
    the config of another family.
    """
    return _run(config, _Pass(effective(weights, mode), mode == "spike", k, record), tokens)


def _run(config: GlaSwaConfig, run: _Pass, tokens: Tensor) -> Tensor:
    if not isinstance(config, GlaSwaConfig):
        raise Unsupported(
            f"the fast executor has no {type(config).__name__}",
            where="config",
            fix="gla_swa models, or the canonical executor: kernels.canonical.execute",
        )
    weights, eps = run.weights, config.norm_eps
    x = weights["model.embeddings.weight"][tokens]
    for i in range(config.num_hidden_layers):
        at = f"model.layers.{i}."
        a = run.site(f"layers.{i}.attn_in", rms_norm(x, weights[at + "attn_norm.weight"], eps))
        mix = _window if config.is_window(i) else _gla
        o = run.site(f"layers.{i}.o_in", mix(config, run, at + "attn.", a))
        x = x + run.linear(at + "attn.o_proj", o).float()
        m = run.site(f"layers.{i}.mlp_in", rms_norm(x, weights[at + "mlp_norm.weight"], eps))
        h = swiglu(run.linear(at + "mlp.gate_proj", m), run.linear(at + "mlp.up_proj", m))
        h = run.site(f"layers.{i}.down_in", h)
        x = x + run.linear(at + "mlp.down_proj", h).float()
    x = run.site("head_in", rms_norm(x, weights["model.norm.weight"], eps))
    return run.linear("lm_head", x).float()


def _heads(config: GlaSwaConfig, x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:2], -1, config.head_dim)


def _gla(config: GlaSwaConfig, run: _Pass, at: str, a: Tensor) -> Tensor:
    q, k, v, gate = (_heads(config, run.linear(at + f"{n}_proj", a)) for n in ("q", "k", "v", "gk"))
    group = config.num_attention_heads // config.num_key_value_heads
    g = log_gate(gate.float(), config.gate_logit_normalizer)
    k, v, g = (t.repeat_interleave(group, 2) for t in (k.relu(), v, g))
    o = gla_chunk(q.relu(), k, v, g)
    o = rms_norm(o, run.weights[at + "g_norm.weight"], config.norm_eps)
    return o.reshape(*a.shape[:2], -1)


def _window(config: GlaSwaConfig, run: _Pass, at: str, a: Tensor) -> Tensor:
    q, k, v = (_heads(config, run.linear(at + f"{n}_proj", a)) for n in ("q", "k", "v"))
    position = torch.arange(a.shape[1], device=a.device)
    q, k = rope(q, position, config.rope_theta), rope(k, position, config.rope_theta)
    o = window_sequence(q, k.to(q.dtype), v.to(q.dtype), config.sliding_window)
    return o.reshape(*a.shape[:2], -1)


@torch.inference_mode()
def bits_per_byte(
    config: GlaSwaConfig,
    weights: Mapping[str, Tensor],
    data: bytes,
    mode: Mode = "float",
    k: float = 3.0,
    window: int = 2048,
) -> float:
    """Mean -log2 p(byte) over `data`, cut into windows of `window` bytes that share no context.

    Every byte counts; the first of each window is predicted from a newline alone.
    """
    run = _Pass(effective(weights, mode), mode == "spike", k, None)
    total = 0.0
    for start in range(0, len(data), window):
        piece = torch.tensor(list(data[start : start + window]))
        before = torch.cat([torch.tensor([NEWLINE]), piece[:-1]])
        logits = _run(config, run, before[None])[0]
        total += float(cross_entropy(logits, piece, reduction="sum"))
    return total / math.log(2) / len(data)
