"""A NIR graph as typed: sbcompile, sbsim run --spikes, sbsim report."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from compiler.cli import app as sbcompile
from compiler.program import Program
from simulator.api import simulate
from simulator.cli import app as sbsim
from simulator.phases import UNDER_WAY
from simulator.run_folder import read_run
from tests.spiking import affine, fired, lif, random_spikes, simulated, written

STEPS = UNDER_WAY + 6  # more than are under way at once


def call(app, *words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with net.nir and spikes.npy."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "net.nir", affine(12, 9, 1), lif(9, 2), affine(9, 4, 3, gain=3), fired(4))
    np.save("spikes.npy", random_spikes(12, STEPS))
    return tmp_path


@pytest.fixture
def compiled(folder):
    done = call(sbcompile, "net.nir", "--target", "toy")
    assert done.exit_code == 0, done.stderr
    return folder


def result_of(done, name):
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["format"], found["version"]) == (f"spikeloom-{name}", 1)
    return found["result"]


def test_the_mapping_speaks_of_steps(folder):
    done = call(sbcompile, "net.nir", "--target", "toy")
    assert done.exit_code == 0, done.stderr
    assert "net on toy (profile NIR, dt = 0.0001, euler, binary)" in done.stdout
    assert "12 channels of 0 and 1 per step: --spikes" in done.stdout
    assert "MACs/step" in done.stdout and "token" not in done.stdout
    found = result_of(call(sbcompile, "net.nir", "--target", "toy", "--json"), "mapping")
    assert (found["unit"], found["input_channels"], found["tokens"]) == ("step", 12, None)
    assert found["macs_per_token"] == 12 * 9 + 9 * 4


def test_neurons_in_fixed_point_are_chosen_as_typed(folder):
    done = call(sbcompile, "net.nir", "--target", "toy", "--integration", "loihi")
    assert done.exit_code == 0, done.stderr
    assert "net on toy (profile NIR, dt = 0.0001, loihi, binary)" in done.stdout
    done = call(sbsim, "run", "--spikes", "spikes.npy", "--check")
    assert done.exit_code == 0, done.stderr
    assert {stage.neuron for stage in Program.read(folder / "net.sbx").graph.stages[1:]} == {
        "loihi"
    }


def test_a_run_tells_the_class_and_what_a_step_costs(compiled):
    program = Program.read(compiled / "net.sbx")
    counts = simulated(program, np.load("spikes.npy")).sum(0)
    done = call(sbsim, "run", "--spikes", "spikes.npy", "--check")
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert f"class {counts.argmax()} " in shown
    assert f"output spikes {' '.join(str(int(n)) for n in counts)} " in shown
    assert "energy per step" in shown and "token" not in done.stdout
    assert f"steps: {STEPS} of {STEPS}" in done.stderr and "check: " in done.stderr


def test_json_of_a_run(compiled):
    found = result_of(call(sbsim, "run", "--spikes", "spikes.npy", "--json"), "run")
    stored = read_run(compiled / found["run_dir"]).run
    assert found["steps"] == STEPS and found["outputs_are"] == "spikes"
    assert found["outputs"] == [int(x) for x in stored.outputs]
    assert found["class"] == int(np.argmax(found["outputs"])) == stored.winner
    assert found["seconds_per_step"] == pytest.approx(found["seconds"] / STEPS)
    assert found["steps_per_s"] == pytest.approx(1 / found["seconds_per_step"])
    assert found["joules_per_step"]["nominal"] > 0
    assert len(stored.logits_ps) == STEPS and stored.logits_ps == tuple(sorted(stored.logits_ps))
    assert stored.phases[0].end_ps == stored.logits_ps[-1]


def test_the_run_folder_holds_every_step_s_spikes(compiled):
    run = simulate(Program.read(compiled / "net.sbx"), spikes=np.load("spikes.npy"))
    activity = read_run(compiled / "runs" / "net-toy-1").activity
    np.testing.assert_array_equal(activity.stacked("input.spikes"), np.load("spikes.npy"))
    assert activity.stacked("if.spikes").sum(0).tolist() == list(run.outputs)
    assert set(activity.v_th["lif.spikes"]) == {np.float32(1)}


def test_a_report_of_steps(compiled):
    assert call(sbsim, "run", "--spikes", "spikes.npy", "--trace").exit_code == 0
    done = call(sbsim, "report", "--baseline", "fp16", "--baseline", "dense-int8-on-chip")
    assert done.exit_code == 0, done.stderr
    for words in ("energy per step (steps)", "J/step", f"{STEPS} steps in", "steps per step"):
        assert words in done.stdout, words
    assert "token" not in done.stdout
    page = (compiled / "report.html").read_text()
    assert "Energy per step" in page and "Outputs" in page and "token" not in page
    assert "end of the prompt" not in page
    found = result_of(call(sbsim, "report", "--json"), "report")
    (phase,) = found["phases"]
    assert (phase["name"], phase["unit"], phase["tokens"]) == ("steps", "step", STEPS)
    assert phase["macs"] == STEPS * (12 * 9 + 9 * 4)  # what the baselines are charged for


def test_a_run_in_common_steps(compiled):
    """Barriers are no steps: both are told, and a step of the network takes one barrier or more."""
    flow = result_of(call(sbsim, "run", "--spikes", "spikes.npy", "--json"), "run")
    words = ("run", "--spikes", "spikes.npy", "--sync", "barrier", "--check")
    found = result_of(call(sbsim, *words, "--json"), "run")
    assert (flow["sync"], found["sync"]) == ("dataflow", "barrier")
    assert found["outputs"] == flow["outputs"] and flow["barriers_per_step"] == 0
    assert found["steps"] == STEPS and found["barriers_per_step"] >= 1
    shown = call(sbsim, *words).stdout
    assert "barriers per step" in shown and "token" not in shown
    report = call(sbsim, "report").stdout
    assert "barriers per step" in report and "token" not in report
    page = (compiled / "report.html").read_text()
    assert "barriers per step" in page and "token" not in page


def test_equal_runs_are_equal_files(compiled):
    for _ in range(2):
        assert call(sbsim, "run", "--spikes", "spikes.npy").exit_code == 0
    first, second = (
        {p.name: p.read_bytes() for p in (compiled / "runs" / f"net-toy-{i}").iterdir()}
        for i in (1, 2)
    )
    assert first.keys() == second.keys()
    assert {n for n in first if first[n] != second[n]} <= {"provenance.json"}


def test_silent_outputs_are_no_class(compiled):
    np.save("none.npy", np.zeros((3, 12), np.uint8))
    found = result_of(call(sbsim, "run", "--spikes", "none.npy", "--json"), "run")
    assert (found["class"], found["outputs"]) == (None, [0, 0, 0, 0])
    assert "none: no output neuron spiked" in call(sbsim, "run", "--spikes", "none.npy").stdout
    assert call(sbsim, "report").exit_code == 0


def test_membranes_are_read_as_means(folder):
    import nir

    leaky = nir.LI(tau=np.full(4, 1e-3), r=np.ones(4), v_leak=np.zeros(4))
    written(folder / "net.nir", affine(12, 9, 1), lif(9, 2), affine(9, 4, 3), leaky)
    assert call(sbcompile, "net.nir", "--target", "toy").exit_code == 0
    wanted = simulated(Program.read(folder / "net.sbx"), np.load("spikes.npy")).mean(0, dtype=float)
    done = call(sbsim, "run", "--spikes", "spikes.npy", "--check", "--json")
    found = result_of(done, "run")
    assert found["outputs_are"] == "values" and found["class"] == int(wanted.argmax())
    assert found["outputs"] == pytest.approx(wanted.tolist())
    assert "mean outputs" in call(sbsim, "run", "--spikes", "spikes.npy").stdout


def test_a_longer_step_is_another_program(folder):
    done = call(sbcompile, "net.nir", "--target", "toy", "--dt", "2e-4", "--integration", "exact")
    assert done.exit_code == 0, done.stderr
    assert Program.read(folder / "net.sbx").graph.profile == "NIR, dt = 0.0002, exact"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--coding ternary", 2, ["--coding"]),
        ("--k 2", 2, ["--k"]),
        ("--prompt a", 2, ["--prompt"]),
        ("--tokens 3", 2, ["--tokens"]),
        ("--token-ids 1,2", 2, ["--prompt"]),
        ("--context 7", 2, ["--context"]),
        ("--target truenorth-like", 4, ["lacks 8-bit weights"]),
        ("--target isaac-like", 4, ["isaac-like lacks digital synapses"]),
        ("--target hermes-like", 4, ["hermes-like lacks digital synapses"]),
        ("--dt 0", 3, ["--dt", "above 0"]),
        ("--dt 1", 3, ["longer than tau", "node lif"]),
        ("--integration magic", 2, ["--integration"]),
        ("--set core.state_memory=40B", 5, ["state"]),
    ],
)
def test_what_a_nir_graph_cannot_be_compiled_with(folder, words, code, said):
    done = call(sbcompile, "net.nir", "--target", "toy", *words.split())
    assert done.exit_code == code, done.stderr
    assert [w for w in said if w not in done.stderr] == []
    assert "internal error" not in done.stderr and not (folder / "net.sbx").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("", 2, ["takes spikes", "--spikes FILE"]),
        ("--prompt a", 2, ["not text", "--spikes"]),
        ("--tokens 3", 2, ["not text", "--spikes"]),
        ("--spikes spikes.npy --prompt a", 2, ["not text"]),
        ("--spikes nowhere.npy", 3, ["nowhere.npy"]),
        ("--spikes net.nir", 3, ["net.nir", ".npy"]),
        ("--spikes wide.npy", 3, ["[steps, 12] expected"]),
        ("--spikes two.npy", 3, ["step 1, channel 2"]),
    ],
)
def test_what_a_network_cannot_be_run_with(compiled, words, code, said):
    np.save("wide.npy", np.zeros((4, 13)))
    np.save("two.npy", np.eye(12)[[0, 2]] * [[1], [2]])
    done = call(sbsim, "run", *words.split())
    assert done.exit_code == code, done.stderr
    assert [w for w in said if w not in done.stderr] == []
    assert "internal error" not in done.stderr and not (compiled / "runs").exists()


def test_a_language_model_takes_no_spikes_and_has_no_steps(folder, tiny_model):
    done = call(sbcompile, tiny_model, "--target", "toy", "--dt", "1e-3")
    assert done.exit_code == 2 and "only NIR graphs" in done.stderr
    assert call(sbcompile, tiny_model, "--target", "toy", "--out", "lm.sbx").exit_code == 0
    done = call(sbsim, "run", "lm.sbx", "--spikes", "spikes.npy")
    assert done.exit_code == 2 and "takes text, not spikes" in done.stderr
