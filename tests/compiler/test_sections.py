"""A file of sections is the same bytes however it is made, and each is checked when it is used."""

import json
import os
import struct
from hashlib import sha256

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from compiler import sections
from compiler.sections import Form, Stored, digest_of, form_of, read, write
from hw_models.errors import BadInput, Bug

ARRAYS = {
    "a/long": np.arange(5, dtype=np.int64),
    "b/bytes": np.arange(7, dtype=np.int8).reshape(7, 1),
    "c/float": np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3),
    "d/bfloat16": np.arange(6, dtype=np.uint16).reshape(2, 3) << 8,
    "e/half": np.linspace(0, 1, 3, dtype=np.float16),
    "f/int": np.arange(-3, 3, dtype=np.int32),
    "g/nothing": np.zeros((0, 9), np.float32),
    "h/text": np.frombuffer(b"text", np.uint8),
}
FORMS = {name: form_of(array) for name, array in ARRAYS.items()}


def note_of(hashes):
    return json.dumps(hashes)


def written(path, pieces=None, forms=FORMS):
    write(path, forms, ARRAYS.items() if pieces is None else pieces, note_of)
    return path


def opened(path):
    """Every section of a file, by the hashes in its note."""
    file = read(path)
    return {name: file.stored(name, digest) for name, digest in json.loads(file.note).items()}


def test_what_was_written_is_read(tmp_path):
    found = opened(written(tmp_path / "a"))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        stored = found[name]
        assert isinstance(stored, Stored)
        assert (stored.dtype, stored.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(stored[:], array)
        np.testing.assert_array_equal(np.asarray(stored), array)
        np.testing.assert_array_equal(stored.copy(), array)
        assert stored.copy().flags.writeable and not stored[:].flags.writeable
        assert digest_of(stored) == digest_of(array)


def test_it_is_a_safetensors_file(tmp_path):
    with safe_open(written(tmp_path / "a"), framework="pt") as file:
        assert set(file.keys()) == set(ARRAYS)
        assert set(json.loads(file.metadata()["spikeloom"])) == set(ARRAYS)
        for name, array in ARRAYS.items():
            tensor = file.get_tensor(name)
            if name == "d/bfloat16":
                assert tensor.dtype == torch.bfloat16
                tensor = tensor.view(torch.uint16)
            np.testing.assert_array_equal(tensor.numpy(), array)


def test_every_array_is_aligned(tmp_path):
    for name, stored in opened(written(tmp_path / "a")).items():
        assert stored[:].ctypes.data % stored.dtype.itemsize == 0, name
        assert stored[:].flags.aligned


def test_the_hash_is_of_type_shape_and_bytes(tmp_path):
    file = read(written(tmp_path / "a"))
    hashes = json.loads(file.note)
    c, d = ARRAYS["c/float"], ARRAYS["d/bfloat16"]
    assert hashes["c/float"] == sha256(b"F32(4, 3)" + c.tobytes()).hexdigest()
    assert hashes["d/bfloat16"] == sha256(b"BF16(2, 3)" + d.tobytes()).hexdigest()
    assert digest_of(c) != digest_of(c.reshape(3, 4))
    assert digest_of(np.zeros(4, np.int32)) != digest_of(np.zeros(4, np.float32))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_same_sections_give_the_same_bytes_however_they_are_cut(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    queues = {}
    for name, array in ARRAYS.items():
        cuts = sorted(data.draw(st.lists(st.integers(0, len(array)), max_size=3)))
        queues[name] = [p for p in np.split(array, cuts) if len(p)]
    pieces = []
    while any(queues.values()):  # those of one section in order, sections in any
        name = data.draw(st.sampled_from([n for n, q in queues.items() if q]))
        pieces.append((name, queues[name].pop(0)))
    one, other = written(folder / "one"), written(folder / "other", pieces)
    assert one.read_bytes() == other.read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == ["one", "other"]


def test_views_are_written_as_what_they_show(tmp_path):
    matrix = np.arange(12, dtype=np.int32).reshape(3, 4)
    write(tmp_path / "a", {"t": Form(matrix.dtype, (4, 3))}, [("t", matrix.T)], note_of)
    np.testing.assert_array_equal(opened(tmp_path / "a")["t"][:], matrix.T)


def layout(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), 8 + size


@pytest.mark.parametrize("name", [n for n, a in ARRAYS.items() if a.size])
def test_one_flipped_bit_is_seen_when_its_section_is_used_and_not_before(tmp_path, name):
    path = written(tmp_path / "a")
    head, start = layout(path)
    first, last = head[name]["data_offsets"]
    for at in {first, (first + last) // 2, last - 1}:
        data = bytearray(path.read_bytes())
        data[start + at] ^= 1
        (tmp_path / "b").write_bytes(data)
        found = opened(tmp_path / "b")
        for other in ARRAYS.keys() - {name}:
            np.testing.assert_array_equal(found[other][:], ARRAYS[other])
        for use in (lambda s: s[0], lambda s: s.copy(), np.asarray):
            with pytest.raises(BadInput) as caught:
                use(found[name])
            assert caught.value.what == f"section {name} is missing or altered"
            assert caught.value.where == str(tmp_path / "b")


def test_a_section_that_is_not_there_is_named(tmp_path):
    file = read(written(tmp_path / "a"))
    with pytest.raises(BadInput, match="section elsewhere is missing"):
        file.stored("elsewhere", "0" * 64)


def test_a_file_cut_short_after_it_was_opened_is_refused(tmp_path):
    """Reading a mapped file beyond its end would end the process."""
    array = np.arange(100_000, dtype=np.int64)
    write(tmp_path / "a", {"x": form_of(array)}, [("x", array)], note_of)
    found = opened(tmp_path / "a")
    os.truncate(tmp_path / "a", 5000)
    with pytest.raises(BadInput, match="section x is missing or altered"):
        found["x"][0]


def test_an_open_file_stays_what_it_was_when_another_takes_its_name(tmp_path):
    found = opened(written(tmp_path / "a"))
    other = {name: array[::-1] for name, array in ARRAYS.items()}
    written(tmp_path / "a", other.items())
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name][:], array)
    np.testing.assert_array_equal(opened(tmp_path / "a")["f/int"][:], other["f/int"])


# ---- what goes wrong while it is written


def names(folder):
    return sorted(os.listdir(folder))


@pytest.fixture(params=[None, b"what was there"])
def target(request, tmp_path):
    """A path to write to, and a check that nothing has changed there."""
    path = tmp_path / "model.sbx"
    if request.param is not None:
        path.write_bytes(request.param)

    def unchanged():
        assert names(tmp_path) == ([] if request.param is None else ["model.sbx"])
        assert request.param is None or path.read_bytes() == request.param

    return path, unchanged


@pytest.mark.parametrize("error", [KeyboardInterrupt, BadInput("a weight"), OSError(5, "Broken")])
def test_an_error_in_the_middle_leaves_what_was_there(target, error):
    def pieces():
        yield from list(ARRAYS.items())[:4]
        raise error

    with pytest.raises((KeyboardInterrupt, BadInput)):
        written(target[0], pieces())
    target[1]()


@pytest.mark.parametrize("call", ["pwrite", "fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failing_disk_leaves_what_was_there(target, monkeypatch, call, error):
    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(sections.os, call, fail)
        with pytest.raises((KeyboardInterrupt, BadInput)) as caught:
            written(target[0])
    if isinstance(error, OSError):
        assert caught.value.what == "cannot be written: no space left on device"
        assert caught.value.where == str(target[0])
    target[1]()


def test_a_disk_without_room_is_refused_before_any_work(target, monkeypatch):
    def pieces():
        raise AssertionError
        yield

    with pytest.raises(BadInput, match=r"1,000,000\.0 GB are needed, [\d,.]+ GB are free"):
        written(target[0], pieces(), {"a": Form(np.dtype(np.int8), (10**15,))})
    target[1]()


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([("x", np.zeros(3, np.int32))], "12 of 16 bytes were made"),
        ([("x", np.zeros(5, np.int32))], "does not fit"),
        ([("x", np.zeros(4, np.float32))], "does not fit"),
        ([("x", np.zeros(4, np.int32)), ("x", np.zeros(1, np.int32))], "does not fit"),
    ],
)
def test_sections_that_are_not_as_promised_are_our_mistake(tmp_path, pieces, said):
    with pytest.raises(Bug, match=said) as caught:
        write(tmp_path / "a", {"x": Form(np.dtype(np.int32), (4,))}, pieces, note_of)
    assert caught.value.where == "x"
    assert names(tmp_path) == []


def test_a_note_that_grows_with_its_hashes_is_our_mistake(tmp_path):
    with pytest.raises(Bug, match="a head of"):
        write(tmp_path / "a", FORMS, ARRAYS.items(), lambda hashes: str(hashes).replace("0", ""))
    assert names(tmp_path) == []


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    for name in ("pwrite", "fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(
            sections.os, name, lambda *a, n=name, f=call: (done.append(n), f(*a))[1]
        )
    written(tmp_path / "a")
    assert done[-3:] == ["pwrite", "fsync", "replace"]
