"""Lava's own simulator gives what ours does, bit for bit. `make test-lava` names its Python."""

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import compiler.lava.network as network
from compiler.cli_export import app as export
from compiler.frontends.nir import Stepping
from compiler.pipeline import compile_model
from kernels import loihi
from simulator.drive import Simulation
from tests.small import SMALL, TEXT, prefilled
from tests.spiking import affine, cubalif, fired, lif, random_spikes, written

LAVA = os.environ.get("SPIKELOOM_LAVA")
LIMIT_S = 300

pytestmark = pytest.mark.skipif(not LAVA, reason="no Lava: make test-lava")


def exported(folder: Path, *options) -> Path:
    """The script of folder/net.sbx, as the command line writes it."""
    words = [folder / "net.sbx", "--lava", "--out", folder / "net.py", *options]
    done = CliRunner().invoke(export, [str(word) for word in words])
    assert done.exit_code == 0, done.stderr
    return folder / "net.py"


def answers(script: Path, *options):
    """What Lava makes of it, in a process of its own and under a time limit."""
    out = script.with_name("answers.npz")
    words = [str(LAVA), str(script), *map(str, options), "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(out, allow_pickle=False)


def simulated(program, spikes):
    """Spikes, currents and membranes of every population, and all sums, step after step."""
    simulation, end = Simulation(program, keep_sums=True), 0
    names = [stage.name for stage in program.graph.stages if stage.kind == "population"]
    found = {f"{key}/{k}": [] for k in range(len(names)) for key in ("spikes", "u", "v")}
    blocks = list(simulation._blocks.values())
    for row in spikes:
        simulation.start(row, end)
        *_, (_, end, _) = simulation.advance()
        for k, name in enumerate(names):
            own = sorted((b for b in blocks if b.stage.name == name), key=lambda b: b.lo)
            for key, held in (("u", "i"), ("v", "v")):
                parts = [b.memory[name][held].numpy() for b in own]
                found[f"{key}/{k}"].append(np.concatenate(parts))
    for k, name in enumerate(names):
        found[f"spikes/{k}"] = simulation.found.activity.counts[f"{name}.spikes"]
    return {key: np.stack(rows) for key, rows in found.items()}, simulation.found.sums


def test_spikes_currents_and_membranes_of_neurons_are_the_same(tmp_path):
    """Three kinds of neurons, several decays in each population, several blocks, a readout."""
    leaky, synaptic = lif(140, 2), cubalif(90, 4)
    leaky = dataclasses.replace(leaky, tau=np.resize([3e-4, 1e-3, 2e-3], 140))
    synaptic.tau_mem = np.resize([5e-4, 8e-4], 90)
    synaptic.tau_syn = np.full(90, 2.5e-4)
    nodes = [affine(150, 140, 1), leaky, affine(140, 90, 3), synaptic, affine(90, 10, 5, gain=3)]
    path = written(tmp_path / "net.nir", *nodes, fired(10, 6), affine(10, 4, 7))
    sizes = {"core.synapse_memory": "1536 B", "core.state_memory": "1536 B"}
    program = compile_model(path, "toy", stepping=Stepping(integration="loihi"), overrides=sizes)
    assert sum(name.startswith("lif[") for name in program.task_names) > 2
    program.write(tmp_path / "net.sbx")
    spikes = random_spikes(150, 40)
    np.save(tmp_path / "spikes.npy", spikes)
    wanted, sums = simulated(program, spikes)
    found = answers(exported(tmp_path), tmp_path / "spikes.npy")
    for key, rows in wanted.items():
        np.testing.assert_array_equal(found[key], rows, err_msg=key)
    for k in range(3):
        assert 0.05 < found[f"spikes/{k}"].mean() < 0.8
    np.testing.assert_array_equal(found["sums/3"], np.stack(sums["affine_3"]))
    assert found["names"].tolist() == ["lif", "cubalif", "if", "affine_3"]


@pytest.mark.parametrize("name", ["snntorch_cubalif", "sinabs_cnn"])
def test_networks_of_other_frameworks_are_the_same(name, root, tmp_path):
    stored = root / "tests" / "nir" / name
    dt = 1.0 if name.startswith("sinabs") else 1e-4
    way = Stepping(dt, integration="loihi")
    program = compile_model(stored.with_suffix(".nir"), "toy", stepping=way)
    program.write(tmp_path / "net.sbx")
    spikes = np.load(stored.with_suffix(".npz"))["spikes"]
    np.save(tmp_path / "spikes.npy", spikes)
    wanted, _ = simulated(program, spikes.reshape(len(spikes), -1))
    found = answers(exported(tmp_path), tmp_path / "spikes.npy")
    assert {"spikes/1", "u/1", "v/1"} <= set(wanted) == set(found) - {"names"}
    for key, rows in wanted.items():
        assert rows.any()
        np.testing.assert_array_equal(found[key], rows, err_msg=key)


def test_currents_that_wrap_around_and_membranes_at_their_limits_are_the_same(tmp_path):
    """Decays at the ends of their ranges, inputs and biases as large as they can be."""
    rng = np.random.default_rng(0)
    n, n_in, steps = 64, 2000, 60
    decays = np.array([[0, 0], [4095, 0], [0, 4095], [4095, 4095], [1, 1], [4094, 4094], [40, 7]])
    du, dv = decays[np.arange(n) % len(decays)].T
    mantissa = rng.integers(-4095, 4096, n)
    p = {
        "du": du,
        "dv": dv,
        "bias": mantissa << rng.integers(0, 8, n),
        "vth": np.resize([131071, 131071, 60000, 1, 0], n),
    }
    q = rng.integers(-127, 128, (n, n_in)).astype(np.int8)
    q[::2] = np.abs(q[::2])
    q[1::4] = -np.abs(q[1::4])
    spikes = (rng.random((steps, n_in)) < np.linspace(0, 1, steps)[:, None]).astype(np.int32)
    net = {"populations": ["p"], "readout": [], "linears": [], "sites": [], "inputs": [["s", n_in]]}
    arrays = {f"{key}/0": values.astype(np.int32) for key, values in p.items()}
    np.savez(tmp_path / "net.npz", network=json.dumps(net), **arrays, **{"q/0": q})
    shutil.copy(network.__file__, tmp_path / "net.py")
    np.save(tmp_path / "spikes.npy", spikes)
    found = answers(tmp_path / "net.py", tmp_path / "spikes.npy")

    tensors = {key: torch.from_numpy(values) for key, values in p.items()}
    state = {key: torch.zeros(n, dtype=torch.int32) for key in ("i", "v")}
    wrapped, held = 0, 0
    for t, row in enumerate(spikes):
        a = torch.from_numpy(q.astype(np.int64) @ row)
        before = state["i"].long()
        state, fired = loihi.step(tensors, state, a)
        wrapped += int(((state["i"].sign() != before.sign()) & (a.sign() == before.sign())).sum())
        held += int((state["v"].abs() == 2**23 - 1).sum())
        for key, values in (("u", state["i"]), ("v", state["v"]), ("spikes", fired)):
            np.testing.assert_array_equal(found[f"{key}/0"][t], values, err_msg=f"{key}, step {t}")
    assert wrapped > 50 and held > 50


def test_sums_of_a_language_model_s_linears_are_the_same(tmp_path):
    """Graded spikes, several groups of inputs, W8A16 in the head."""
    from compiler.pipeline import compile_graph
    from hw_models.chip import load_chip
    from simulator.activity_table import write_table
    from tests.small import model

    graph, tensors, _ = model(0, SMALL)
    program = compile_graph(graph, tensors, load_chip("toy"))
    program.write(tmp_path / "net.sbx")
    simulation = prefilled(program, TEXT[:4])
    write_table(tmp_path / "activity.parquet", simulation.found.activity)
    linears = ["layers.0.qkvg", "layers.1.down", "head"]
    ops = [word for name in linears for word in ("--op", name)]
    found = answers(exported(tmp_path, "--activity", tmp_path / "activity.parquet", *ops))
    assert found["names"].tolist() == linears
    for k, name in enumerate(linears):
        wanted = np.stack(simulation.found.sums[name])
        assert np.abs(wanted).max() > 2**24  # more than mere accumulators
        np.testing.assert_array_equal(found[f"sums/{k}"], wanted, err_msg=name)


def test_a_run_that_takes_too_long_ends_and_says_so(tmp_path):
    nodes = affine(9, 8, 1), lif(8, 2, tau=np.full(8, 1e-3))
    path = written(tmp_path / "net.nir", *nodes)
    program = compile_model(path, "toy", stepping=Stepping(integration="loihi"))
    program.write(tmp_path / "net.sbx")
    np.save(tmp_path / "spikes.npy", random_spikes(9, 10_000))
    script = exported(tmp_path)
    words = [str(LAVA), str(script), str(tmp_path / "spikes.npy"), "--seconds", "4"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Lava did not finish in 4 s" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "answers.npz").exists()
