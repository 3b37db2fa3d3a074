"""Window attention over int8 keys and values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels.window import dequantize_kv, quantize_kv, window_sequence, window_step

torch.set_num_threads(1)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=80, deadline=None)
@given(hnp.arrays(np.float32, (3, 9), elements=st.floats(-1e4, 1e4, width=32)))
def test_a_stored_vector_is_within_half_a_step(x):
    q, scale = quantize_kv(torch.from_numpy(x))
    assert q.dtype == torch.int8
    assert q.min() >= -127
    error = np.abs(dequantize_kv(q, scale).double().numpy() - x)
    assert (error <= scale.double().numpy()[:, None] * 0.50001).all()


def test_the_largest_value_is_stored_as_127_and_zeros_stay_zeros():
    q, scale = quantize_kv(torch.tensor([[0.0, 3.0, -6.0], [0.0, 0.0, 0.0]]))
    assert q.tolist() == [[0, 64, -127], [0, 0, 0]]
    assert scale[0].item() == np.float32(6) / np.float32(127)
    assert torch.isfinite(dequantize_kv(q, scale)).all()


def test_values_too_small_for_a_scale_are_stored_as_zeros():
    q, scale = quantize_kv(torch.tensor([[0.0, 1e-44, -1e-45]]))  # a 127th of these is 0
    assert scale.item() == 1
    assert not q.any()


def attention(q, keys, values):
    """One query head over a list of keys, float64."""
    score = keys @ q / np.sqrt(q.size)
    p = np.exp(score - score.max())
    return p / p.sum() @ values


@pytest.mark.parametrize(("heads", "kv_heads", "n"), [(4, 2, 1), (6, 2, 7), (3, 3, 20)])
def test_a_step_is_softmax_attention_over_its_group(heads, kv_heads, n):
    d = 8
    q = normal(0, heads, d) * 3
    k, k_scale = quantize_kv(normal(1, n, kv_heads, d))
    v, v_scale = quantize_kv(normal(2, n, kv_heads, d))
    found = window_step(q, k, k_scale, v, v_scale)
    for head in range(heads):
        kv = head // (heads // kv_heads)
        keys = k[:, kv].numpy() * k_scale[:, kv, None].double().numpy()
        values = v[:, kv].numpy() * v_scale[:, kv, None].double().numpy()
        expected = attention(q[head].double().numpy(), keys, values)
        np.testing.assert_allclose(found[head].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("window", [1, 3, 10, 50])
def test_a_sequence_is_its_steps_over_the_last_window_of_tokens(window):
    length = 10
    q, k, v = normal(3, 2, length, 4, 8), normal(4, 2, length, 2, 8), normal(5, 2, length, 2, 8)
    found = window_sequence(q, k, v, window)
    for b in range(2):
        for t in range(length):
            past = slice(max(0, t + 1 - window), t + 1)
            kept = (*quantize_kv(k[b, past]), *quantize_kv(v[b, past]))
            torch.testing.assert_close(
                found[b, t], window_step(q[b, t], *kept), atol=2e-6, rtol=1e-5
            )


def test_gradients_pass_the_rounding_of_keys_and_values():
    q, k, v = (normal(i, 1, 6, 2, 4).requires_grad_() for i in (6, 7, 8))
    window_sequence(q, k, v, 4).square().sum().backward()
    for a in (q, k, v):
        assert a.grad.abs().min() > 0
