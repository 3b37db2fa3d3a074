"""[array]: what it says of itself, and what it refuses."""

import pytest

from hw_models.chip import load_chip
from hw_models.errors import BadInput
from hw_models.quantity import share


def refusal(**changed):
    with pytest.raises(BadInput) as caught:
        load_chip("isaac-like", {f"array.{key}": text for key, text in changed.items()})
    return caught.value.what


def array(**changed):
    return load_chip("isaac-like", {f"array.{key}": text for key, text in changed.items()}).array


@pytest.mark.parametrize(
    ("encoding", "bits", "slices", "columns", "neurons"),
    [
        ("offset", 2, 4, 4, 32),
        ("offset", 3, 3, 3, 42),
        ("offset", 8, 1, 1, 128),
        ("pairs", 2, 4, 8, 16),
        ("pairs", 7, 1, 2, 64),
        ("pairs", 1, 7, 14, 9),
    ],
)
def test_a_weight_takes_its_digits_and_both_signs(encoding, bits, slices, columns, neurons):
    found = array(encoding=encoding, bits_per_cell=f"{bits} bit")
    assert (found.slices, found.columns_per_weight) == (slices, columns)
    assert (found.neurons, found.weights) == (neurons, 128 * neurons)


def test_synapse_memory_is_what_the_arrays_hold():
    assert load_chip("isaac-like").core.synapse_memory == 96 * 128 * 32
    assert load_chip("hermes-like").core.synapse_memory == 256 * 256
    assert load_chip("isaac-like", {"array.per_core": "5"}).core.synapse_memory == 5 * 128 * 32
    with pytest.raises(BadInput, match=r"core\.synapse_memory: not of a crossbar"):
        load_chip("isaac-like", {"core.synapse_memory": "1 MiB"})


@pytest.mark.parametrize("text", ["ideal", "0"])
def test_an_ideal_converter_without_noise_is_exact_by_definition(text):
    assert array(adc_bits=text).exact
    assert not array(adc_bits="8 bit").exact
    assert not array(adc_bits=text, noise="1 %").exact


def test_a_step_takes_the_longer_of_driving_and_converting():
    assert array().step_ps == 100_000
    assert array(columns_per_adc="256").step_ps == 256 * 781
    assert array(cycle_ps="1 us").step_ps == 1_000_000


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rows_at_once": "96"}, "array.rows_at_once: 96 divides not both 128 (inputs of a group)"),
        ({"rows": "192"}, "and the 192 rows"),
        ({"bits_per_cell": "9 bit"}, "array.bits_per_cell: more than 8 bit"),
        ({"dac_bits": "9 bit"}, "array.dac_bits: more than 8 bit"),
        ({"adc_bits": "25 bit"}, "array.adc_bits: more than 24 bit"),
        ({"adc_bits": "8"}, "array.adc_bits: 8 is not a number with one of bit"),
        ({"adc_bits": "perfect"}, "array.adc_bits: 'perfect' is not a number with one of bit"),
        ({"columns": "3"}, "array.columns: 3; one weight takes 4"),
        ({"encoding": "signed"}, "array.encoding: 'signed': "),
        ({"noise": "101 %"}, "array.noise: '101 %' is more than 100 %"),
        ({"noise": "0.05"}, "array.noise: 0.05 is not a number with one of %"),
        ({"rowz": "5"}, "array.rowz: unknown key; the nearest known one is rows"),
    ],
)
def test_a_mistake_is_refused_by_key(changed, said):
    assert said in refusal(**changed)


@pytest.mark.parametrize(("text", "value"), [("4.2 %", 0.042), ("0 %", 0), ("100%", 1)])
def test_shares_are_written_in_percent(text, value):
    assert share(text) == value


def test_a_chip_without_arrays_needs_its_synapse_memory(tmp_path):
    from importlib.resources import files

    text = files("hw_models").joinpath("chips", "toy.toml").read_text()
    path = tmp_path / "toy.toml"
    path.write_text(text.replace("synapse_memory", "# synapse_memory", 1))
    with pytest.raises(BadInput, match=r"toy\.toml: core\.synapse_memory: missing"):
        load_chip(path)
    assert load_chip("toy").array is None
