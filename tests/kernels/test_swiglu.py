"""SwiGLU."""

import math

import pytest
import torch

from kernels.swiglu import swiglu


def test_the_gate_is_weighted_by_its_sigmoid():
    gates, ups = [-20.0, -1.5, 0.0, 0.3, 4.0, 60.0], [2.0, -3.0, 5.0, 0.5, -1.0, 1.0]
    expected = [g / (1 + math.exp(-g)) * u for g, u in zip(gates, ups, strict=True)]
    assert swiglu(torch.tensor(gates), torch.tensor(ups)).tolist() == pytest.approx(expected)
