"""Synapses that are integers already keep their values, and so do their sums."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from compiler.graph import Linear, Part
from compiler.kept import keep_block, verify_kept
from hw_models.errors import Bug
from kernels.linear import W8, exact_linear, linear_output

LINEAR = Linear("fc", "s", 300, 9, (Part("w", "b", (0, 4)), Part("v", None, (2, 7))), integers=True)


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    rows = {name: torch.from_numpy(rng.integers(-127, 128, (7, 300))) for name in ("w", "v")}
    rows["w"][0] = 1  # a row whose largest weight is far from 127
    return rows | {"b": torch.zeros(7)}


@pytest.mark.parametrize("cuts", [(0, 9), (0, 3, 6, 9)])
def test_a_sum_scales_back_to_that_of_the_integers(tensors, cuts):
    spikes = torch.from_numpy(np.random.default_rng(1).integers(0, 2, 300))
    whole = torch.cat([tensors["w"][:4], tensors["v"][2:7]])
    found = []
    for lo, hi in pairwise(cuts):
        block = keep_block(LINEAR, tensors, lo, hi)
        verify_kept(block, tensors)
        q, m, scale = (torch.from_numpy(a) for a in (block.q, block.m, block.row_scale))
        sums = exact_linear(spikes.int(), W8(q, m, scale))
        found.append(linear_output(sums, torch.ones(()), scale, torch.from_numpy(block.bias)))
    assert torch.cat(found).tolist() == (whole @ spikes).tolist()


@pytest.mark.parametrize("value", [128, -128, 0.5, float("nan")])
def test_what_is_no_synapse_is_refused(tensors, value):
    tensors["v"] = tensors["v"].double()
    tensors["v"][6, 299] = value
    with pytest.raises(Bug, match="no integer"):
        keep_block(LINEAR, tensors, 0, 9)


def test_a_careless_block_is_found_out(tensors):
    block = keep_block(LINEAR, tensors, 2, 9)
    for field, at, what in (
        ("q", (3, 7), "synapse"), ("m", (6, 2), "scaled"), ("row_scale", 0, "scaled"),
        ("bias", 5, "bias"),
    ):  # fmt: skip
        wrong = getattr(block, field).copy()
        wrong[at] += 1
        with pytest.raises(Bug, match=what):
            verify_kept(replace(block, **{field: wrong}), tensors)
