"""Threshold rules at the ends of their ranges; test_encode.py holds the bits in between."""

import numpy as np
import pytest
import torch

from hw_models.errors import BadInput
from kernels.encode import encode
from kernels.threshold import absmax16, calibrate_fixed, count, threshold

torch.set_num_threads(1)
BELOW_2_18 = float(np.nextafter(np.float32(2**18), np.float32(0)))


def test_the_largest_site_at_the_largest_value_does_not_overflow():
    v_th, counts = encode(torch.full((65_536,), BELOW_2_18), 1.0)
    assert v_th.item() == BELOW_2_18
    assert (counts == 1).all()


def test_counts_reach_the_end_of_int32_and_no_further():
    unit = torch.tensor(2.0**-16)
    largest = 2.0**31 - 128  # the float32 below 2^31
    x = torch.tensor([largest, -largest]) * unit
    assert count(x, unit).tolist() == [2**31 - 128, -(2**31) + 128]
    with pytest.raises(BadInput, match=r"2\^31"):
        count(torch.tensor([2.0**15]), unit)


def test_absmax16_of_silence_is_its_least_threshold():
    least = np.float32(1e-30) / np.float32(32767)
    for silent in (torch.zeros(3), torch.full((3,), 1e-42)):
        v_th = absmax16(silent)
        assert v_th.item() == least
        assert not count(silent, v_th).any()


def test_a_fixed_threshold_is_the_mean_of_the_calibrated_ones():
    v = np.random.default_rng(3).uniform(0.01, 2, 57).astype(np.float32)
    total = 0.0
    for value in v:
        total += float(value)
    assert calibrate_fixed(torch.from_numpy(v)).item() == np.float32(total / 57)
    assert calibrate_fixed(torch.full((3,), 1e-9)).item() == np.float32(1e-5)


def test_a_rule_is_found_by_its_name():
    x = torch.tensor([1.0, -2.0, 3.0, 6.0])
    assert threshold("mean-abs", x, 3.0).item() == 1
    assert threshold("absmax16", x, 3.0).item() == np.float32(6) / np.float32(32767)
