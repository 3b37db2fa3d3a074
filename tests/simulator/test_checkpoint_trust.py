"""Checkpoints are not trusted, and a disk that fills harms none."""

import os
import resource
import shutil
import signal

import numpy as np
import pytest

from hw_models.errors import BadInput
from simulator.api import resume, simulate
from simulator.frozen import read_frozen, write_frozen
from simulator.hot import state as h
from simulator.run_folder import UNDER_WAY
from tests.simulator.under_way import PROMPT, Forked, Killed, asked, contents
from tests.tiny import tiny

pytestmark = pytest.mark.usefixtures("quick")


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
    "wave": lambda s, _: s.update(wave=s["wave"][:-1]),
    "due": lambda s, _: s.update(due=s["due"][:, :1]),
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
        lambda s, body: body["carried"]["own"]["_memory"]["layers.0.gla"][2].fill(99),
        lambda s, body: body["carried"]["own"]["_memory"].update({"layers.0.gla": (1, 2, 3)}),
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
