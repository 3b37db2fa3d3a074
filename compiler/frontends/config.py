"""Shape of a gla_swa model (SpikingBrain-7B's family)."""

from dataclasses import dataclass

from hw_models.errors import BadInput


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
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "intermediate_size",
            "sliding_window",
            "gate_logit_normalizer",
        ):
            if getattr(self, name) < 1:
                raise BadInput(
                    f"{name} is {getattr(self, name)}, at least 1 needed", where="config"
                )
        if self.hidden_size % self.num_attention_heads:
            raise BadInput(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}",
                where="config",
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise BadInput(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}",
                where="config",
            )
        if self.head_dim % 2:
            raise BadInput(
                f"head size {self.head_dim} is odd; RoPE needs an even one", where="config"
            )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def kv_size(self) -> int:
        return self.num_key_value_heads * self.head_dim

    def is_window(self, layer: int) -> bool:
        """Odd layers attend to a window; even ones are gated linear attention."""
        return layer % 2 == 1
