"""What is exported holds the program's integers, and nothing that executes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import compiler.lava.network as network
from compiler.frontends.nir import Stepping
from compiler.lava.export import export
from compiler.lava.network import mantissas
from compiler.pipeline import compile_model
from compiler.program import Program
from hw_models.errors import BadInput, SpikeloomError, Unsupported, Usage
from tests.small import TEXT, prefilled
from tests.spiking import affine, fired, lif, random_spikes, streamed, written
from tests.tiny import tiny


def compiled(folder, *nodes, integration="loihi"):
    path = written(folder / "net.nir", *nodes)
    program = compile_model(path, "toy", stepping=Stepping(integration=integration))
    program.write(folder / "net.sbx")
    return Program.read(folder / "net.sbx")


@pytest.fixture
def neurons(tmp_path):
    leaky = lif(30, 2, tau=np.full(30, 1e-3))
    return compiled(tmp_path, affine(150, 30, 1), leaky, affine(30, 5, 3), fired(5), affine(5, 3))


def held(script):
    arrays = dict(np.load(script.with_suffix(".npz"), allow_pickle=False))
    return json.loads(str(arrays["network"])), arrays


def test_a_network_of_neurons_is_in_it_whole(neurons, tmp_path):
    spikes = random_spikes(150, 7).astype(np.int32)
    names = export(neurons, tmp_path / "a.py", {"input.spikes": spikes}, ())
    net, arrays = held(tmp_path / "a.py")
    assert names == ["lif", "if", "affine_2"] == [*net["populations"], *net["readout"]]
    assert net["inputs"] == [["input.spikes", 150]] and net["model"] == "net"
    np.testing.assert_array_equal(arrays["input/0"], spikes)
    for k, name in enumerate(["affine", "affine_1", "affine_2"]):
        np.testing.assert_array_equal(arrays[f"q/{k}"], neurons.linears[name].q)
    for k, name in enumerate(["lif", "if"]):
        for key in ("du", "dv", "bias", "vth"):
            np.testing.assert_array_equal(arrays[f"{key}/{k}"], neurons.vectors[f"{name}.{key}"])
            assert arrays[f"{key}/{k}"].dtype == np.int32


def test_the_script_is_the_file_that_is_tested_and_bytes_repeat(neurons, tmp_path):
    for name in ("a", "b"):
        export(neurons, tmp_path / f"{name}.py", {}, ())
    texts = [(tmp_path / f"{name}.py").read_text() for name in ("a", "b")]
    with open(network.__file__, encoding="utf-8") as file:
        assert texts == [file.read()] * 2
    first, second = ((tmp_path / f"{name}.npz").read_bytes() for name in ("a", "b"))
    assert first == second


@pytest.mark.parametrize("integration", ["float", "language"])
def test_of_other_programs_the_integers_give_the_simulator_s_sums(tmp_path, integration):
    if integration == "float":
        nodes = affine(150, 30, 1), lif(30, 2), affine(30, 5, 3), fired(5)
        program = compiled(tmp_path, *nodes, integration="euler")
        found = streamed(program, random_spikes(150, 9)).found
    else:
        program = tiny()
        found = prefilled(program, [token % 20 for token in TEXT]).found
    counts = {site: np.stack(rows) for site, rows in found.activity.counts.items()}
    export(program, tmp_path / "a.py", counts, ())
    net, arrays = held(tmp_path / "a.py")
    assert net["linears"] == [linear.name for linear in program.graph.linears]
    for k, (name, site) in enumerate(zip(net["linears"], net["sites"], strict=True)):
        rows, q = arrays[f"input/{site}"].astype(np.int64), arrays[f"q/{k}"].astype(np.int64)
        m = np.repeat(arrays[f"m/{k}"].astype(np.int64), 128, axis=1)[:, : q.shape[1]]
        np.testing.assert_array_equal(rows @ (q * m).T, np.stack(found.sums[name]))


def test_what_cannot_be_exported_is_named(neurons, tmp_path):
    script, config = tmp_path / "a.py", tiny()
    wide = {"input.spikes": np.zeros((2, 9), np.int32)}
    for program, counts, chosen, error, what in (
        (neurons, {}, ("affine",), Usage, "all or not at all"),
        (neurons, wide, (), BadInput, "9 counts for 150 channels"),
        (config, {}, ("head",), BadInput, "no counts"),
        (config, {}, ("layers.0.oo",), BadInput, "no linear layers.0.oo"),
    ):
        with pytest.raises(error, match=what):
            export(program, script, counts, chosen)
    assert not script.exists() and not script.with_suffix(".npz").exists()


def test_more_pairs_of_decays_than_a_core_has_profiles_are_refused(tmp_path):
    many = lif(33, 2, tau=np.linspace(2e-4, 2e-3, 33))
    with pytest.raises(Unsupported, match="33 pairs of decays") as caught:
        export(compiled(tmp_path, affine(9, 33), many), tmp_path / "a.py", {}, ())
    assert caught.value.where == "lif"


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(neurons, tmp_path):
    with pytest.raises(SpikeloomError, match="cannot be written"):
        export(neurons, tmp_path / "none" / "a.py", {}, ())
    assert {p.suffix for p in tmp_path.iterdir()} == {".nir", ".sbx"}


@given(st.lists(st.tuples(st.integers(-4095, 4095), st.integers(0, 7)), min_size=1))
def test_a_bias_is_its_mantissa_times_a_power_of_two(pairs):
    bias = np.array([mantissa << exponent for mantissa, exponent in pairs])
    mantissa, exponent = mantissas(bias.astype(np.int32))
    assert [int(a) * 2 ** int(b) for a, b in zip(mantissa, exponent, strict=True)] == bias.tolist()
    assert np.abs(mantissa).max() <= 4095 and exponent.min() >= 0 and exponent.max() <= 7


@pytest.mark.parametrize("bias", [4097, -8191, 4095 * 256])
def test_a_bias_that_is_none_is_refused_and_not_rounded(bias):
    with pytest.raises(SystemExit, match="bias"):
        mantissas(np.array([0, bias], np.int32))


def test_the_script_says_what_it_misses(neurons, tmp_path):
    export(neurons, tmp_path / "a.py", {}, ())
    np.save(tmp_path / "two.npy", np.full((3, 150), 2))
    np.save(tmp_path / "narrow.npy", np.ones((3, 9)))
    for words, what in (
        ([], "no input in the network"),
        ([tmp_path / "two.npy"], "0 or 1"),
        ([tmp_path / "narrow.npy"], "shape (3, 9) for input.spikes, 150 channels"),
    ):
        command = [sys.executable, str(tmp_path / "a.py"), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1 and what in done.stderr and "Traceback" not in done.stderr
