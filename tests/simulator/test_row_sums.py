"""Sums of whole linears by rows are the obvious ones."""

import numpy as np
import pytest
import torch

import simulator.row_sums
from compiler.pipeline import compile_graph
from hw_models.chip import load_chip
from hw_models.errors import BadInput
from kernels.linear import exact_linear
from simulator.reference import numbers_of
from simulator.row_sums import sums_by_rows
from tests.small import model


@pytest.fixture(scope="module")
def program():
    """Groups of 128 and 64 inputs; 288 to 480 neurons."""
    graph, tensors, _ = model(0)
    return compile_graph(graph, tensors, load_chip("toy"))


@pytest.mark.parametrize("block", [1000, 97, 96])
@pytest.mark.parametrize("most", [1, 7, 300, 32767, 2**17])
def test_they_are_the_exact_products(program, block, most, monkeypatch):
    monkeypatch.setattr(simulator.row_sums, "BLOCK", block)
    rng, numbers, sums = np.random.default_rng(most), numbers_of(program), sums_by_rows(program)
    for linear in program.graph.linears:
        counts = rng.integers(-most, most + 1, linear.n_pre).astype(np.int32)
        counts[rng.random(linear.n_pre) < 0.3] = 0
        counts = torch.from_numpy(counts)
        wanted = exact_linear(counts, numbers.linears[linear.name][0])
        assert sums(linear.name, counts).tolist() == wanted.tolist()


def test_an_accumulator_beyond_int32_is_refused_as_there(program):
    linear = program.graph.linears[0]
    numbers, sums = numbers_of(program), sums_by_rows(program)
    counts = torch.zeros(linear.n_pre, dtype=torch.int32)
    largest = int(program.linears[linear.name].q[:, 3].astype(np.int64).__abs__().max())
    counts[3] = (2**31 - 1) // largest
    w8 = numbers.linears[linear.name][0]
    assert sums(linear.name, counts).tolist() == exact_linear(counts, w8).tolist()
    counts[3] += 1
    for refusing in (lambda: sums(linear.name, counts), lambda: exact_linear(counts, w8)):
        with pytest.raises(BadInput, match="does not fit int32"):
            refusing()
