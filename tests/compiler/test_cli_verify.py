"""`sbcompile verify`: sound programs pass, every kind of damage is found and named."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from compiler.cli_verify import app
from compiler.frontends.spikingbrain_moe import spikingbrain_moe
from compiler.pipeline import compile_graph, compile_model
from hw_models.chip import load_chip
from tests import experts
from tests.spiking import network, written
from tests.tiny import changed, tiny

CUT = {"core.synapse_memory": "1536 B", "core.state_memory": "1536 B", "core.neurons": "64"}
"""Of spiking neurons many blocks and tiles."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


def asked(folder, program, *options):
    """What the command says of a program that is written as it is."""
    path = folder / "some.sbx"
    program.write(path)
    return CliRunner().invoke(app, [str(path), *options])


@pytest.mark.parametrize("target", ["toy", "loihi-like", "isaac-like"])
def test_what_the_compiler_writes_passes(folder, target):
    done = asked(folder, tiny(target=target), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["result"]["checks"]
    assert len(found) >= 12
    assert [row for row in found if row["problem"]] == []


@pytest.mark.parametrize("target", ["toy", "loihi-like", "hermes-like"])
@pytest.mark.parametrize("name", experts.CONFIGS)
def test_mixtures_of_experts_pass(folder, name, target):
    done = asked(folder, experts.program(name, target), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["result"]["checks"]
    assert len(found) >= 12


def test_homes_without_room_for_the_sums_of_chosen_experts_are_found(folder):
    """Or without their scales, on top of everything else that they keep."""
    program = experts.program()
    t, slots = program.tables, program.chip.core.token_slots
    homes = np.flatnonzero(t.task_rows > 1)
    for less in (8 * slots, 4 * 4):  # one sum per slot; a scale for each of four experts
        charged = {task: t.task_state[task] - less * t.task_neuron_n[task] for task in homes}
        done = asked(folder, changed(program, task_state=charged))
        assert done.exit_code == 6 and "charged too little" in done.stdout


def test_parallel_attention_without_room_for_its_linear_states_is_found(folder):
    """Six heads of 32 x 32 floats, charged to the homes of their queries."""
    graph = spikingbrain_moe(experts.CONFIG | {"hidden_size": 192}, "wide heads", 8).graph
    program = compile_graph(graph, None, load_chip("loihi-like"))
    t = program.tables
    assert asked(folder, program).exit_code == 0
    states = 4 * t.task_neuron_n * 32
    own = t.task_op == program.ops.index("layers.0.parallel")
    homes = np.flatnonzero(own & (t.task_gathers >= 0) & (t.task_state > states))
    assert t.task_neuron_n[homes].sum() == 192
    charged = {task: t.task_state[task] - states[task] for task in homes.tolist()}
    done = asked(folder, changed(program, task_state=charged))
    assert done.exit_code == 6 and "layers.0.parallel" in done.stdout


@pytest.mark.parametrize("target", ["toy", "loihi-like", "loihi1"])
def test_networks_of_spiking_neurons_pass(folder, target):
    path = written(folder / "net.nir", *network())
    done = asked(folder, compile_model(path, target, overrides=CUT), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["result"]["checks"]
    assert len(found) >= 12


def test_neurons_that_are_charged_for_their_sums_alone_are_found(folder):
    """Their parameters and membranes take memory, too."""
    path = written(folder / "net.nir", *network())
    program = compile_model(path, "toy", overrides=CUT)
    t, slots = program.tables, program.chip.core.token_slots
    mine = np.flatnonzero((t.task_gathers >= 0) & (t.task_neuron_n > 0))
    sums = {task: (8 * slots + 8) * t.task_neuron_n[task] for task in mine.tolist()}
    done = asked(folder, changed(program, task_state=sums))
    assert done.exit_code == 6 and "charged too little" in done.stdout


def test_it_runs_as_a_command_of_sbcompile(folder):
    path = folder / "sound.sbx"
    tiny().write(path)
    words = [sys.executable, "-m", "compiler.cli", "verify", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 12
    assert all(line.endswith(": ok") for line in lines)


def first(column, rule):
    return int(np.flatnonzero(rule(column))[0])


def crowded_core(program):
    """A unit of a core grows beyond its state memory."""
    return changed(program, task_state={0: 0, 5: 1 << 20})


def uncharged_core(program):
    t = program.tables
    return changed(program, task_state=dict.fromkeys(np.flatnonzero(t.task_state).tolist(), 0))


def lost_entry(program):
    t, found = program.tables, {}
    for name in ("router", "key", "mask", "ports"):
        found[f"entry_{name}"] = np.delete(getattr(t, f"entry_{name}"), 7)
    return replace(program, tables=replace(t, **found))


def other_port(program):
    return changed(program, entry_ports={3: int(program.tables.entry_ports[3]) ^ 3})


def same_key(program):
    t = program.tables
    a, b = np.flatnonzero(t.tree_root >= 0)[:2]
    return changed(program, tree_key={a: t.tree_key[b]})


def wrong_number_of_cores(program):
    return replace(program, n_cores=program.n_cores + 1)


def weight_of_minus_128(program):
    name = program.graph.linears[0].name
    arrays = program.linears[name]
    q = np.array(arrays.q)
    q[0, 0] = -128
    return replace(program, linears={**program.linears, name: replace(arrays, q=q)})


def a_sink_too_few(program):
    return changed(program, node_last_sink={5: int(program.tables.node_last_sink[5]) - 1})


@pytest.mark.parametrize(
    ("damage", "check", "said"),
    [
        (crowded_core, "state memory per core", "holds"),
        (uncharged_core, "state is charged", "too little"),
        (lost_entry, "every key reaches exactly its sinks", "tree"),
        (other_port, "every key reaches exactly its sinks", "tree"),
        (same_key, "every key reaches exactly its sinks", "share a key"),
        (wrong_number_of_cores, "cores exist", "the program says"),
        (weight_of_minus_128, "weights in range", "a weight of -128"),
        (a_sink_too_few, "tables", "compile it again"),
    ],
)
def test_a_broken_promise_is_named_and_exits_with_6(folder, damage, check, said):
    done = asked(folder, damage(tiny()), "--json")
    assert done.exit_code == 6
    rows = json.loads(done.stdout)["result"]["checks"]
    broken = {row["check"]: row["problem"] for row in rows if row["problem"]}
    assert check in broken
    assert said in broken[check]


def test_two_tiles_that_change_places_leave_gaps(folder):
    """Sizes and sums still add up: only the painted matrix shows it."""
    program = tiny()
    t = program.tables
    tiles = np.flatnonzero(t.task_kind == 0)
    a = next(i for i in tiles if t.task_neuron_lo[i] > 0)
    b = next(i for i in tiles if t.task_linear[i] == t.task_linear[a] and t.task_neuron_lo[i] == 0)
    twice = changed(program, task_neuron_lo={a: t.task_neuron_lo[b]})
    done = asked(folder, twice)
    assert done.exit_code == 6
    assert "BROKEN" in done.stdout


def test_an_altered_section_is_named(folder):
    path = folder / "altered.sbx"
    tiny().write(path)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(bytes(data))
    done = CliRunner().invoke(app, [str(path)])
    assert done.exit_code in (3, 6)
    assert "altered" in done.output + done.stderr


def test_no_such_file(folder):
    done = CliRunner().invoke(app, [str(folder / "nothing.sbx")])
    assert done.exit_code == 3
