"""A run that ends anywhere continues from its last checkpoint to the very same files."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from hw_models.errors import BadInput
from simulator import lockstep_run
from simulator.api import resume, simulate
from simulator.cli import app
from simulator.drive import Simulation
from simulator.run_folder import UNDER_WAY, read_run
from simulator.tracing import Tracing
from tests.simulator.under_way import PROMPT, ROOT, Forked, Killed, asked, contents
from tests.spiking import random_spikes
from tests.tiny import tiny

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.parametrize(
    ("kind", "sync", "trace"),
    [
        ("text", "dataflow", "spike"),
        ("text", "dataflow", "first"),
        ("text", "barrier", "core"),
        ("experts", "dataflow", "none"),
        ("spikes", "dataflow", "chip"),
        ("spikes", "barrier", "none"),
        ("spikes", "barrier", "core"),
        ("replay", "dataflow", "none"),
        ("profile", "barrier", "core"),
    ],
)
def test_a_run_killed_at_any_checkpoint_ends_in_the_same_files(
    kind, sync, trace, neurons, tmp_path, kill_after, monkeypatch
):
    for most in ("STEPS", "TRACED"):  # in lock step a checkpoint is due between so many steps
        monkeypatch.setattr(lockstep_run, most, 3)
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


def killed_at_random(start, again, kills, seed, seconds):
    """Start, kill within so many seconds, go on, kill, ... and go on to the end; how often."""
    rng, died = random.Random(seed), 0
    for attempt in range(kills + 1):
        process = again() if attempt else start()
        if attempt < kills:
            try:
                process.wait(rng.uniform(0, seconds))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                died += 1
        if process.wait(300) == 0:
            return died
        assert process.returncode == -signal.SIGKILL
    raise AssertionError("it never ended")


def test_a_process_killed_at_random_moments_leaves_a_run_that_can_be_resumed(tmp_path):
    options = {"prompt": PROMPT, "tokens": 150, "trace": Tracing(max_events=3000)}
    simulate(tiny(), out=tmp_path / "first", **options)  # kernels are compiled, or loaded
    began = time.perf_counter()
    simulate(tiny(), out=tmp_path / "whole", **options)
    seconds = time.perf_counter() - began
    folder = tmp_path / "killed"

    def start():
        return Forked(lambda: simulate(tiny(), out=folder, checkpoint_every=0.02, **options))

    def again():
        if (folder / UNDER_WAY / "job").exists():
            return Forked(lambda: resume(folder, tiny()))
        shutil.rmtree(folder, ignore_errors=True)  # killed before it had begun
        return start()

    assert killed_at_random(start, again, 8, 0, seconds / 4) > 1
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
        state = tmp_path / "killed" / UNDER_WAY / "state"
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = command("run", "--resume", "killed", cwd=tmp_path)
        while process.poll() is None:
            with contextlib.suppress(FileNotFoundError):
                if state.stat().st_mtime_ns > before:
                    break
            time.sleep(0.01)
        return process

    assert killed_at_random(start, again, 8, 1, seconds=0.2) > 2
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
