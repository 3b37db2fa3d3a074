"""A run that ends anywhere continues from its last checkpoint to the very same files."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from compiler.pipeline import compile_model
from hw_models.errors import BadInput
from simulator.api import resume, simulate
from simulator.checkpoint import Keeper
from simulator.cli import app
from simulator.drive import Simulation
from simulator.frozen import read_frozen, write_frozen
from simulator.hot import state as h
from simulator.run_folder import PROVENANCE, UNDER_WAY, read_run
from simulator.tracing import Tracing
from tests.experts import TEXT
from tests.experts import program as experts
from tests.spiking import affine, fired, lif, random_spikes, written
from tests.tiny import tiny

ROOT = Path(__file__).resolve().parents[2]
PROMPT = bytes((3, 17, 8))
SPIKES = random_spikes(40, steps=70, seed=3)  # more steps than are under way at once
TRACES = {
    "none": False,
    "spike": True,
    "first": Tracing("spike", max_events=500),
    "core": Tracing("core", "1:4", 90),
    "chip": Tracing("chip", "200ns:"),
}


class Killed(BaseException):
    """Nothing of ours catches it."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Processes die here, not machines."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def neurons(tmp_path_factory):
    """A network of spiking neurons on several cores."""
    path = tmp_path_factory.mktemp("nir") / "n.nir"
    written(path, affine(40, 60, 1), lif(60, 2), affine(60, 10, 3), fired(10, 4))
    return compile_model(path, "toy", overrides={"core.synapse_memory": "1 KiB"})


@pytest.fixture
def kill_after(monkeypatch):
    """Runs end right after one of their moments for a checkpoint; returns these moments.

    One in five is used, and the last before the end.
    """

    def patch(most):
        written = []

        def save(keeper, *about):
            written.append(keeper)
            if len(written) == most or len(written) % 5 == 1:
                original(keeper, *about)
            if len(written) == most:
                raise Killed

        monkeypatch.setattr(Keeper, "save", save)
        return written

    original = Keeper.save
    return patch


def contents(folder):
    """Bytes of every file but the provenance; and that the run is whole."""
    read_run(folder)
    assert not (folder / UNDER_WAY).exists()
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != PROVENANCE}


def asked(kind, neurons, sync, trace):
    if kind == "experts":
        options = {"prompt": TEXT[:5], "tokens": 2, "sync": sync, "trace": TRACES[trace]}
        return experts("two of five"), options
    if kind == "text":
        return tiny(), {"prompt": PROMPT, "tokens": 4, "sync": sync, "trace": TRACES[trace]}
    return neurons, {"spikes": SPIKES, "sync": sync, "trace": TRACES[trace]}


@pytest.mark.parametrize(
    ("kind", "sync", "trace"),
    [
        ("text", "dataflow", "spike"),
        ("text", "dataflow", "first"),
        ("text", "barrier", "core"),
        ("experts", "dataflow", "none"),
        ("spikes", "dataflow", "chip"),
        ("spikes", "barrier", "none"),
    ],
)
def test_a_run_killed_at_any_checkpoint_ends_in_the_same_files(
    kind, sync, trace, neurons, tmp_path, kill_after
):
    program, options = asked(kind, neurons, sync, trace)
    simulate(program, out=tmp_path / "whole", **options)
    wanted = contents(tmp_path / "whole")
    written = kill_after(0)
    simulate(program, out=tmp_path / "kept", checkpoint_every=0, **options)
    assert contents(tmp_path / "kept") == wanted
    moments = len(written)
    assert moments > 20
    for at in (1, moments // 2, moments):
        folder = tmp_path / f"killed-{at}"
        kill_after(at)
        with pytest.raises(Killed):
            simulate(program, out=folder, checkpoint_every=0, **options)
        with pytest.raises(BadInput, match="not finished"):
            read_run(folder)
        kill_after(3)  # and again, soon after
        if at < moments - 3:
            with pytest.raises(Killed):
                resume(folder, program)
        kill_after(0)
        resume(folder, program, checkpoint_every=1e9)
        assert contents(folder) == wanted, at


def test_a_run_killed_before_its_first_checkpoint_begins_anew(tmp_path, monkeypatch):
    options = {"prompt": PROMPT, "tokens": 2}
    simulate(tiny(), out=tmp_path / "whole", **options)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Simulation, "advance", lambda _: (_ for _ in ()).throw(Killed()))
        simulate(tiny(), out=tmp_path / "killed", checkpoint_every=60, **options)
    resume(tmp_path / "killed", tiny())
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_run_killed_while_its_files_are_put_in_place_is_finished_again(
    tmp_path, kill_after, monkeypatch
):
    import simulator.run_folder as run_folder

    options = {"prompt": PROMPT, "tokens": 2, "trace": True}
    simulate(tiny(), out=tmp_path / "whole", **options)
    replace = run_folder.os.replace
    for left in range(5):
        moves = iter(range(left))

        def some(*paths, moves=moves):
            if paths[1].parent.name == "killed":  # a file of the finished run
                next(moves, None) is None and killed()
            replace(*paths)

        def killed():
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(run_folder.os, "replace", some)
            with pytest.raises(Killed):
                if left:
                    resume(tmp_path / "killed", tiny())
                else:
                    simulate(tiny(), out=tmp_path / "killed", checkpoint_every=0, **options)
        with pytest.raises(BadInput, match="not finished"):
            read_run(tmp_path / "killed")
    resume(tmp_path / "killed", tiny())
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def killed_at_random(start, again, kills, seed):
    """Start, kill after a random time, go on, kill, ..., and go on to the end; how often killed."""
    rng, died = random.Random(seed), 0
    for attempt in range(kills + 1):
        process = again() if attempt else start()
        if attempt < kills:
            try:
                process.wait(rng.uniform(0, 1))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                died += 1
        if process.wait(300) == 0:
            return died
        assert process.returncode == -signal.SIGKILL
    raise AssertionError("it never ended")


class Forked:
    """A process that has all that this one has, and does one thing; much of subprocess.Popen."""

    def __init__(self, work):
        self.pid, self.returncode = os.fork(), None
        if not self.pid:
            code = 1
            try:
                work()
                code = 0
            finally:
                os._exit(code)

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds):
        end = time.monotonic() + seconds
        while self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired("forked", seconds)
            time.sleep(0.001)
        return self.returncode


def test_a_process_killed_at_random_moments_leaves_a_run_that_can_be_resumed(tmp_path):
    options = {"prompt": PROMPT, "tokens": 150, "trace": Tracing(max_events=3000)}
    simulate(tiny(), out=tmp_path / "whole", **options)
    folder = tmp_path / "killed"

    def start():
        return Forked(lambda: simulate(tiny(), out=folder, checkpoint_every=0.02, **options))

    def again():
        if (folder / UNDER_WAY / "job").exists():
            return Forked(lambda: resume(folder, tiny()))
        shutil.rmtree(folder, ignore_errors=True)  # killed before it had begun
        return start()

    assert killed_at_random(start, again, 8, 0) > 1
    assert contents(folder) == contents(tmp_path / "whole")


def command(*words, cwd):
    program = "from simulator.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        stdout=subprocess.DEVNULL,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
@pytest.mark.parametrize("kind", ["text", "spikes"])
def test_the_command_survives_many_kills(kind, sync, neurons, tmp_path):
    if kind == "text":
        tiny().write(tmp_path / "model.sbx")
        words = ["--token-ids", "3,17,8", "--tokens", 400, "--trace"]
    else:
        neurons.write(tmp_path / "model.sbx")
        np.save(tmp_path / "spikes.npy", random_spikes(40, steps=4000))
        words = ["--spikes", "spikes.npy", "--trace-level", "core"]
    words = ["run", "model.sbx", *words, "--sync", sync]
    assert command(*words, "--out", "whole", cwd=tmp_path).wait(600) == 0

    def start():
        process = command(*words, "--out", "killed", "--checkpoint-every", "0.05", cwd=tmp_path)
        while not (tmp_path / "killed" / UNDER_WAY / "job").exists():  # imports take their time
            assert process.poll() is None
            time.sleep(0.01)
        return process

    def again():
        process = command("run", "--resume", "killed", cwd=tmp_path)
        time.sleep(4)
        return process

    assert killed_at_random(start, again, 8, 1) > 2
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def called(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_command_that_resumes_says_what_the_whole_run_would_have(
    tmp_path, kill_after, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    tiny().write(tmp_path / "model.sbx")
    words = ["run", "model.sbx", "--token-ids", "3,17,8", "--tokens", 3, "--json"]
    whole = json.loads(called(*words, "--out", "r").stdout)
    shutil.rmtree(tmp_path / "r")
    kill_after(9)
    with pytest.raises(Killed):  # no command catches it either
        CliRunner().invoke(
            app, [*map(str, words), "--out", "r", "--checkpoint-every", "0"], catch_exceptions=False
        )
    refused = called("report", "r")
    assert refused.exit_code == 3 and "sbsim run --resume" in refused.stderr
    kill_after(0)
    done = called("run", "--resume", "r", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout) == whole
    again = called("run", "--resume", "r")
    assert again.exit_code == 3 and "the run is finished" in again.stderr


@pytest.mark.parametrize(
    "more", [["--tokens", 3], ["--trace"], ["--prompt", "a"], ["--out", "s"], ["--check"]]
)
def test_a_resumed_run_is_the_one_that_was_begun(more, tmp_path):
    done = called("run", "--resume", tmp_path, *more)
    assert done.exit_code == 2 and f"--resume and {more[0]}" in done.stderr


# ---- what is not trusted


@pytest.fixture
def under_way(tmp_path, kill_after):
    """A run of TINY with a trace that was killed at its 12th checkpoint."""
    kill_after(12)
    with pytest.raises(Killed):
        simulate(
            tiny(), prompt=PROMPT, tokens=3, trace=True, out=tmp_path / "r", checkpoint_every=0
        )
    kill_after(0)
    return tmp_path / "r"


@pytest.mark.parametrize("harm", ["truncate", "alter", "remove", "empty"])
@pytest.mark.parametrize("name", ["job", "state", "found-000002", "trace-000003-0"])
def test_a_harmed_checkpoint_is_refused_by_name(under_way, name, harm):
    path = next(p for p in sorted((under_way / UNDER_WAY).iterdir()) if p.name[:5] == name[:5])
    data = path.read_bytes()
    match harm:
        case "truncate":
            path.write_bytes(data[:-3])
        case "alter":
            path.write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])
        case "remove":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
    if (name, harm) == ("state", "remove"):
        return  # no checkpoint yet, as far as anybody can tell: the run begins anew
    with pytest.raises(BadInput) as caught:
        resume(under_way, tiny())
    assert (name, harm) == ("job", "remove") or path.name in caught.value.where


def rewritten(folder, change):
    """The state with other values and a right hash, as a forger would write it."""
    from simulator.carried import TYPES
    from simulator.checkpoint import FORMAT

    path = folder / UNDER_WAY / "state"
    body = read_frozen(path, FORMAT, TYPES, "")
    change(body["carried"]["state"], body)
    write_frozen(path, FORMAT, body)


def first_event(state, bits):
    state["heap"][0, 2] = bits


FORGED = {
    "heap": lambda s, _: first_event(s, (h.ARRIVE << h.KIND_SHIFT) | (1 << 29) << h.INDEX_SHIFT),
    "message": lambda s, _: s["message"].__setitem__((slice(None), h.M_TREE), 1 << 20),
    "message_free": lambda s, _: s["message_free"].__setitem__(0, -5),
    "values_free": lambda s, _: s["values_free"].__setitem__(0, s["values_free"][1]),
    "queue": lambda s, _: s["queue"].__setitem__((0, 0), 1 << 40),
    "parked": lambda s, _: s["reg"].__setitem__(h.R_FREE_PARKED, 0),
    "progress": lambda s, _: s["progress"].__setitem__((0, h.DONE), -9),
    "inputs": lambda s, _: s.update(inputs=s["inputs"][:-1]),
    "counts": lambda s, _: s.update(counts=s["counts"].astype(np.int64)),
    "turns": lambda s, _: s["turns"].__setitem__(0, 1 << 40),
    "token_at": lambda s, _: s["token_at"].__setitem__((0, 0), -1),
    "reg": lambda s, _: s["reg"].__setitem__(h.R_HEAP, 1 << 40),
}


@pytest.mark.parametrize("array", FORGED)
def test_engine_arrays_out_of_range_are_refused_by_name(array, tmp_path, kill_after):
    program, options = asked("experts", None, "dataflow", "none")
    kill_after(12)
    with pytest.raises(Killed):
        simulate(program, out=tmp_path / "r", checkpoint_every=0, **options)
    rewritten(tmp_path / "r", FORGED[array])
    with pytest.raises(BadInput, match=f"engine array {array}\\b"):
        resume(tmp_path / "r", program)


@pytest.mark.parametrize(
    "change",
    [
        lambda s, body: body["carried"]["own"].pop("started"),
        lambda s, body: body["carried"]["own"].update(_memory=3),
        lambda s, body: body.update(course=None),
        lambda s, body: body.update(found={"../job": "0"}),
        lambda s, body: body.pop("trace"),
    ],
)
def test_a_state_of_other_parts_is_refused(under_way, change):
    rewritten(under_way, change)
    with pytest.raises(BadInput):
        resume(under_way, tiny())


def test_another_program_is_refused(under_way):
    with pytest.raises(BadInput, match="not the program"):
        resume(under_way, tiny("graded"))


def test_another_version_is_refused(under_way, monkeypatch):
    monkeypatch.setattr("simulator.checkpoint.SOURCES", "0" * 64)
    with pytest.raises(BadInput, match="begun with engine"):
        resume(under_way, tiny())


def test_two_processes_do_not_work_on_one_run(under_way):
    from simulator.checkpoint import alone
    from simulator.checkpoint import resume as found

    with alone(found(under_way)), pytest.raises(BadInput, match="another process"):
        resume(under_way, tiny())


def test_a_finished_run_and_an_empty_folder_have_nothing_to_resume(tmp_path):
    simulate(tiny(), prompt=PROMPT, tokens=1, out=tmp_path / "r")
    with pytest.raises(BadInput, match="finished"):
        resume(tmp_path / "r", tiny())
    with pytest.raises(BadInput, match="no run under way"):
        resume(tmp_path, tiny())


# ---- a disk that fills


def with_room_for(size, work):
    """Do it in a process whose files may have so many bytes; what the command line would say."""
    read, write = os.pipe()

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            work()
        except BadInput as error:
            os.write(write, str(error).encode())

    assert Forked(limited).wait(120) == 0
    os.close(write)
    with os.fdopen(read) as said:
        return said.read()


def test_a_disk_that_fills_during_a_trace_ends_in_a_sentence_and_leaves_nothing(tmp_path):
    options = {"prompt": PROMPT, "tokens": 3}
    simulate(tiny(), out=tmp_path / "before", **options)
    before = contents(tmp_path / "before")
    sizes = {name: len(data) for name, data in before.items()}
    simulate(tiny(), out=tmp_path / "traced", trace=True, **options)
    trace = (tmp_path / "traced" / "events.parquet").stat().st_size
    assert max(sizes.values()) < trace - 1000
    shutil.rmtree(tmp_path / "traced")
    said = with_room_for(
        trace - 1000, lambda: simulate(tiny(), out=tmp_path / "traced", trace=True, **options)
    )
    assert said.startswith("cannot be written: ") and str(tmp_path / "traced") in said
    assert [p.name for p in tmp_path.iterdir()] == ["before"]
    assert contents(tmp_path / "before") == before


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(under_way):
    state = under_way / UNDER_WAY / "state"
    before = state.read_bytes()
    said = with_room_for(len(before) // 2, lambda: resume(under_way, tiny(), checkpoint_every=0))
    assert said.startswith("cannot be written: ") and str(state) in said
    assert state.read_bytes() == before
    resume(under_way, tiny())
    simulate(tiny(), prompt=PROMPT, tokens=3, trace=True, out=under_way.parent / "whole")
    assert contents(under_way) == contents(under_way.parent / "whole")
