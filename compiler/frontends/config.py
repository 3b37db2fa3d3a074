"""Shapes of the model families that are read; a config that exists is consistent."""

from dataclasses import dataclass
from typing import Final

from compiler.graph import Scoring
from hw_models.errors import BadInput

MOST_EXPERTS: Final = 1 << 16
"""Experts of all layers together, above which a config is a mistake."""


@dataclass(frozen=True, slots=True)
class GlaSwaConfig:
    """Sizes of a hybrid of gated linear attention (even layers) and window attention (odd).

    Names are those of the published config.json (SpikingBrain-7B, `GLAswaConfig`).
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    sliding_window: int
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    gate_logit_normalizer: int = 16

    def __post_init__(self) -> None:
        _positive(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads,
            intermediate_size=self.intermediate_size,
            sliding_window=self.sliding_window,
            gate_logit_normalizer=self.gate_logit_normalizer,
        )
        equal_heads(self.hidden_size, self.num_attention_heads)
        _heads(self.num_attention_heads, self.num_key_value_heads, self.head_dim)

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def kv_size(self) -> int:
        return self.num_key_value_heads * self.head_dim

    def is_window(self, layer: int) -> bool:
        """Odd layers attend to a window; even ones are gated linear attention."""
        return layer % 2 == 1


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes of a decoder with full attention in every layer (Llama, Qwen2).

    context: tokens the key/value rings are made for. Attention is the model's own up to that
    length; beyond it, a token sees the last `context` ones.
    rope_scaling: Llama 3.1's (factor, low_freq_factor, high_freq_factor, original length).
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    context: int
    rope_theta: float
    norm_eps: float
    rope_scaling: tuple[float, float, float, float] | None = None
    qkv_bias: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        _positive(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            intermediate_size=self.intermediate_size,
            context=self.context,
        )
        _heads(self.num_attention_heads, self.num_key_value_heads, self.head_dim)
        if self.rope_scaling is not None:
            factor, low, high, original = self.rope_scaling
            if not (factor >= 1 and 0 < low < high and original >= 1):
                raise BadInput(
                    f"rope_scaling with factor {factor}, low_freq_factor {low}, "
                    f"high_freq_factor {high}, original length {original}",
                    where="config",
                    fix="factor and length of at least 1, 0 < low_freq_factor < high_freq_factor",
                )


@dataclass(frozen=True, slots=True)
class SpikingBrainMoeConfig:
    """Sizes of a mixture of experts with linear and softmax attention side by side.

    Layers are numbered from 0: softmax attention sees `context` tokens in the
    full_attention_layers and `sliding_window` in the others; the feed-forward part is dense in
    the mlp_only_layers and a mixture in the others. branch_weights: of linear and of softmax
    attention.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    sliding_window: int
    context: int
    full_attention_layers: tuple[int, ...]
    mlp_only_layers: tuple[int, ...]
    num_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    shared_expert_intermediate_size: int
    num_sink_tokens: int
    scoring_func: Scoring = "softmax"
    branch_weights: tuple[float, float] = (0.5, 0.5)
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        _positive(
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads,
            intermediate_size=self.intermediate_size,
            sliding_window=self.sliding_window,
            context=self.context,
            num_experts=self.num_experts,
            num_experts_per_tok=self.num_experts_per_tok,
            moe_intermediate_size=self.moe_intermediate_size,
            shared_expert_intermediate_size=self.shared_expert_intermediate_size,
            num_sink_tokens=self.num_sink_tokens,
        )
        equal_heads(self.hidden_size, self.num_attention_heads)
        _heads(self.num_attention_heads, self.num_key_value_heads, self.head_dim)
        if self.num_experts_per_tok > self.num_experts:
            raise BadInput(
                f"num_experts_per_tok is {self.num_experts_per_tok}, num_experts is "
                f"{self.num_experts}",
                where="config",
            )
        if (self.num_hidden_layers - len(self.mlp_only_layers)) * self.num_experts > MOST_EXPERTS:
            raise BadInput(
                f"{self.num_hidden_layers} layers of {self.num_experts} experts",
                where="config",
                fix=f"at most {MOST_EXPERTS:,} experts in all layers together",
            )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def kv_size(self) -> int:
        return self.num_key_value_heads * self.head_dim


def equal_heads(hidden_size: int, heads: int) -> int:
    """Channels of a head when the heads share the hidden size; BadInput if they cannot."""
    if hidden_size % heads:
        raise BadInput(
            f"hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}",
            where="config",
        )
    return hidden_size // heads


def _positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise BadInput(f"{name} is {value}, at least 1 needed", where="config")


def _heads(heads: int, kv_heads: int, head_dim: int) -> None:
    if heads % kv_heads:
        raise BadInput(
            f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}",
            where="config",
        )
    if head_dim % 2:
        raise BadInput(f"head size {head_dim} is odd; RoPE needs an even one", where="config")
