"""Spikes that a user hands in: 0 and 1, one row per step, and no file is trusted."""

import numpy as np
import pytest

from compiler.graph import Graph, Population, SpikeInput
from hw_models.errors import BadInput
from simulator.spikes import checked, read_spikes

GRAPH = Graph(
    "net", "NIR", None, 0,
    (SpikeInput("in", "in.spikes", 12), Population("p", "l", "p.spikes", 2, "if", ())), (), (),
)  # fmt: skip


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_zeros_and_ones_of_any_type(kind):
    spikes = np.random.default_rng(0).integers(0, 2, (5, 12)).astype(kind)
    found = checked(spikes, GRAPH)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, spikes)


def test_an_image_per_step_is_flattened_in_its_order():
    spikes = np.random.default_rng(0).integers(0, 2, (5, 3, 2, 2))
    np.testing.assert_array_equal(checked(spikes, GRAPH), spikes.reshape(5, 12))


@pytest.mark.parametrize("shape", [(12,), (5, 11), (5, 13), (0, 12), (5, 3, 3), ()])
def test_a_shape_that_does_not_fit_names_the_one_that_does(shape):
    with pytest.raises(BadInput, match=r"\[steps, 12\] expected") as caught:
        checked(np.zeros(shape), GRAPH)
    assert "numpy.save" in caught.value.fix


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan, np.inf])
def test_another_value_names_its_step_and_channel(value):
    spikes = np.zeros((5, 12))
    spikes[3, 7] = value
    with pytest.raises(BadInput, match="0 or 1, not") as caught:
        checked(spikes, GRAPH, first=10)
    assert caught.value.where == "spikes for in, step 13, channel 7"


@pytest.mark.parametrize("kind", ["U1", "S1", "complex64", "datetime64[s]"])
def test_values_that_are_no_numbers(kind):
    with pytest.raises(BadInput, match="values of type"):
        checked(np.zeros((5, 12), kind), GRAPH)


def test_a_file_is_not_read_before_it_is_used(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((5, 12), np.uint8))
    found = read_spikes(tmp_path / "a.npy")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, np.ones((5, 12)))


def header(shape, kind="|u1"):
    """A .npy file that claims a shape, with no data behind it."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"spikes",
        b"\x93NUMPY",
        header("(5, 12)"),
        header("(1000000000000, 12)"),
        header("(-5, 12)"),
        header("(5, 12"),
        header("__import__('os')"),
        header("(5, 12)", "|O") + b"x" * 480,
        b"\x93NUMPY\x09\x00" + header("(5, 12)")[8:],
        b"\x80\x04K\x01.",
    ],
    ids=["empty", "text", "magic", "no data", "huge", "negative", "cut", "code", "object",
         "version", "pickle"],
)  # fmt: skip
def test_files_that_are_no_arrays(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(BadInput, match=r"not a whole \.npy") as caught:
        read_spikes(tmp_path / "a.npy")
    assert caught.value.where == str(tmp_path / "a.npy")


def test_objects_are_not_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code was run",))

    np.save(tmp_path / "a.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(BadInput):
        read_spikes(tmp_path / "a.npy")


def test_several_arrays_and_no_file(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(3), b=np.ones(3))
    with pytest.raises(BadInput, match="several arrays"):
        read_spikes(tmp_path / "a.npz")
    for path in (tmp_path / "nowhere.npy", tmp_path):
        with pytest.raises(BadInput, match="cannot be read"):
            read_spikes(path)
