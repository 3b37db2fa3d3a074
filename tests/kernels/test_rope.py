"""Rotary position embedding."""

import cmath

import pytest
import torch

from kernels.rope import frequencies, rope

torch.set_num_threads(1)


@pytest.mark.parametrize("position", [0, 1, 17, 100_000])
def test_channel_pairs_turn_as_complex_numbers(position):
    d, theta = 8, 10_000.0
    x = torch.randn(3, d, generator=torch.Generator().manual_seed(0))
    y = rope(x, position, theta)
    for head in range(3):
        for i in range(d // 2):
            z = complex(x[head, i].item(), x[head, i + d // 2].item())
            z *= cmath.exp(1j * position * theta ** (-2 * i / d))
            found = complex(y[head, i].item(), y[head, i + d // 2].item())
            assert found == pytest.approx(z, abs=1e-6)


def test_products_depend_on_the_distance_only():
    q, k = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(1))
    near = (rope(q, 9, 1e6) * rope(k, 4, 1e6)).sum().item()
    far = (rope(q, 5009, 1e6) * rope(k, 5004, 1e6)).sum().item()
    assert near == pytest.approx(far, abs=1e-4)


def test_a_batch_of_positions_is_each_position_alone():
    x = torch.randn(2, 5, 3, 8, generator=torch.Generator().manual_seed(2))
    y = rope(x, torch.arange(5), 1e6)
    for b in range(2):
        for t in range(5):
            assert torch.equal(y[b, t], rope(x[b, t], t, 1e6))


def test_llama_3_1_slows_the_slow_pairs_only():
    """Wavelengths beyond the original context grow by the factor, short ones stay."""
    theta, scaling = 500_000.0, (8.0, 1.0, 4.0, 8192.0)
    plain, scaled = frequencies(64, theta), frequencies(64, theta, scaling)
    turns = 8192 * plain / (2 * cmath.pi)
    assert torch.equal(scaled[turns > 4], plain[turns > 4])
    assert torch.equal(scaled[turns < 1], plain[turns < 1] / 8)
    between = (turns > 1) & (turns < 4)
    assert between.any() and (turns > 4).any() and (turns < 1).any()
    share = (scaled / plain)[between]
    assert ((share > 1 / 8) & (share < 1)).all() and (share.diff() < 0).all()


def test_scaled_frequencies_are_the_ones_that_turn():
    x, scaling = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), (4.0, 1.0, 2.0, 1000.0)
    slowed, plain = rope(x, 12, 10_000.0, scaling), rope(x, 12, 10_000.0)
    assert torch.equal(slowed, plain)  # the fastest pair
    x = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    assert not torch.equal(rope(x, 12, 1e9, scaling), rope(x, 12, 1e9))
    assert torch.allclose(rope(x, 12, 1e9, scaling), rope(x, 3, 1e9), atol=1e-7)
