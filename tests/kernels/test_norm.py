"""RMS norm."""

import numpy as np
import pytest
import torch

from kernels.norm import rms_norm

torch.set_num_threads(1)


@pytest.mark.parametrize("shape", [(1,), (5, 32), (2, 3, 8, 33)])
def test_a_row_is_divided_by_its_root_mean_square(shape):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal(shape) * 7, rng.standard_normal(shape[-1])
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight
    y = rms_norm(torch.tensor(x).float(), torch.tensor(weight).float(), 1e-6)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_silence_stays_silent():
    assert not rms_norm(torch.zeros(2, 9), torch.ones(9), 1e-6).any()


def test_half_precision_is_normalised_in_float32():
    x = torch.full((4,), 300.0, dtype=torch.float16)  # the squares leave float16
    y = rms_norm(x, torch.ones(4), 1e-6)
    assert y.dtype == torch.float32
    assert y.tolist() == pytest.approx([1.0] * 4)
