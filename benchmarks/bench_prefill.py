"""A whole prefill of the byte LM on loihi-like, from the first embedding to the last logits."""

import pytest

from benchmarks.engine import ROOT, prefill
from compiler.pipeline import compile_model


@pytest.fixture(scope="module")
def program():
    return compile_model(ROOT / "examples/byte_lm/model.pt")


@pytest.mark.parametrize("tokens", [1, 16, 64])
def test_prefill(benchmark, program, tokens):
    text = (ROOT / "examples/byte_lm/heldout.txt").read_bytes()[:tokens]
    prefill(program, text[:1])  # compile outside the clock
    _, counts = benchmark.pedantic(prefill, (program, text), rounds=5)
    benchmark.extra_info |= counts
    assert counts["events"] > 10_000 * tokens
