"""The shipped language model on text it has not seen: simulated = canonical, token by token."""

from functools import cache

import pytest
from typer.testing import CliRunner

from compiler.cli import app
from compiler.frontends.read import read_model
from compiler.pipeline import compile_graph
from hw_models.chip import known_chips, load_chip
from kernels.canonical import execute
from simulator.api import simulate
from simulator.drive import Simulation
from simulator.reference import numbers_of
from tests.conftest import ROOT
from tests.small import assert_equal, decoded, prefilled

TEXT = tuple((ROOT / "examples/byte_lm/heldout.txt").read_bytes()[:64])
EIGHT_SLOTS = {"core.token_slots": "8"}
# with eight slots a gated-linear-attention head needs more than the 8 KiB of state of this chip
LARGER_STATE = EIGHT_SLOTS | {"core.state_memory": "16 KiB"}


@cache
def program(target, **changed):
    """Compiled; changed are further keys of the target, with __ for the dot."""
    graph, tensors = read_model(ROOT / "examples/byte_lm/model.pt")
    keys = {key.replace("__", "."): value for key, value in changed.items()}
    chip = load_chip(target, (LARGER_STATE if target == "toy" else EIGHT_SLOTS) | keys)
    return compile_graph(graph, tensors, chip)


@cache
def canonical():
    """The canonical executor on the weights as the program holds them."""
    sbx = program("loihi-like")
    return list(execute(sbx.graph, numbers_of(sbx), TEXT, sbx.k))


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_64_tokens_streamed_on_loihi_like(slots):
    assert_equal(prefilled(program("loihi-like"), TEXT, slots), canonical())


def test_64_tokens_decoded_on_loihi_like():
    assert_equal(decoded(program("loihi-like"), TEXT), canonical())


@pytest.mark.parametrize("slots", [1, 8])
def test_a_few_tokens_streamed_on_toy(slots):
    assert_equal(prefilled(program("toy"), TEXT[:3], slots), canonical()[:3])


@pytest.mark.parametrize("target", ["hala-point-like", "seneca-like", "isaac-like"])
def test_a_few_tokens_streamed_on_other_targets(target):
    assert_equal(prefilled(program(target), TEXT[:3], 8), canonical()[:3])


REFUSED = {
    "loihi1": "graded spikes (the dense head needs 16 bits), multicast, vector work on cores",
    "truenorth-like": "8-bit weights, a coding that tiles carry",
}
"""What the other shipped targets lack, as the error tells it."""


def test_every_shipped_target_is_simulated_above_or_says_what_it_lacks():
    simulated = {"loihi-like", "toy", "hala-point-like", "seneca-like", "isaac-like"}
    with_a_stated_error = {"hermes-like"}
    assert {*known_chips()} == simulated | with_a_stated_error | REFUSED.keys()


@pytest.mark.parametrize("target", REFUSED)
def test_a_target_that_lacks_an_ability_is_refused_by_its_name(target, tmp_path):
    out = tmp_path / "model.sbx"
    told = CliRunner().invoke(
        app, [str(ROOT / "examples/byte_lm/model.pt"), "--target", target, "--out", str(out)]
    )
    assert told.exit_code == 4
    assert f"{target} lacks" in told.stderr and REFUSED[target] in told.stderr
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 2, 8])
def test_64_tokens_streamed_on_toy(slots):
    assert_equal(prefilled(program("toy"), TEXT, slots), canonical())


@pytest.mark.slow
def test_64_tokens_decoded_on_toy():
    assert_equal(decoded(program("toy"), TEXT), canonical())


def test_isaac_like_is_exact_with_an_ideal_converter_too():
    ideal = program("isaac-like", array__adc_bits="ideal")
    assert_equal(prefilled(ideal, TEXT[:3]), canonical()[:3])


def test_hermes_like_is_exact_with_ideal_converters_and_cells():
    ideal = program("hermes-like", array__adc_bits="ideal", array__noise="0 %")
    assert_equal(prefilled(ideal, TEXT[:3]), canonical()[:3])


def test_hermes_like_states_its_error(tmp_path):
    """Cells off by 4.2 % of their range: sums by some 10 to 20 %; the model still speaks."""
    run = simulate(program("hermes-like"), prompt=bytes(TEXT[:12]), tokens=3, out=tmp_path / "run")
    error = run.analog
    assert error.logits == 3 and error.clipped == 0
    assert all(0.02 < found.rms < 0.3 for found in error.linears.values())
    assert 0 < error.kl < 0.5


def test_tokens_in_the_pipeline_overlap():
    sbx = program("loihi-like")
    streamed = [prefilled(sbx, TEXT[:6], slots).now_ps for slots in (1, 8)]
    assert len({*streamed}) == 2
    assert max(streamed) < decoded(sbx, TEXT[:6]).now_ps


def test_the_first_token_starts_without_any_state():
    fresh = Simulation(program("loihi-like"), keep_sums=True)
    fresh.start(TEXT[0], 0)
    assert [token for token, _, _ in fresh.advance() if token >= 0] == [0]
    assert_equal(fresh, canonical()[:1])
