"""SwiGLU: the gated product between the two halves of a feed-forward layer."""

from torch import Tensor
from torch.nn.functional import silu


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, elementwise."""
    return silu(gate) * up
