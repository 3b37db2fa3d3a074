"""An .sbx is the same bytes for the same program, and is read whole or not at all."""

import dataclasses
import hashlib
import json
import struct

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from compiler import sections, weights
from compiler.frontends.gla_swa import build
from compiler.pipeline import compile_graph, compile_model, map_graph, save
from compiler.program import FORMAT, Program, Tables, widened
from hw_models.chip import load_chip
from hw_models.errors import BadInput
from tests.small import model
from tests.spiking import affine, cubalif, lif
from tests.spiking import written as nir_file
from tests.tiny import TINY, tiny


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "tiny.sbx"
    tiny().write(path)
    return path


@pytest.fixture
def copy(written, tmp_path):
    """A copy to damage: write(bytes) and get its path back."""
    path = tmp_path / "damaged.sbx"

    def write(data):
        path.write_bytes(data)
        return path

    return write


def layout(data):
    """(JSON head, start of the arrays) of a safetensors file."""
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), 8 + size


def assert_same(a, b):
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in a.arrays.items():
        assert array.dtype == b.arrays[name].dtype
        assert np.array_equal(array, b.arrays[name]), name
    for field in dataclasses.fields(Program):
        if field.name not in ("tables", "linears", "vectors", "embedding", "tokenizer"):
            assert getattr(a, field.name) == getattr(b, field.name), field.name
    assert a.hash == b.hash


def test_what_was_written_is_read(written):
    found = Program.read(written)
    assert_same(found, tiny())
    assert found.chip == tiny().chip


def test_a_network_of_spiking_neurons_is_read_as_it_was_written(tmp_path):
    """Without embedding, vocabulary and prompt; with neurons' parameters among the vectors."""
    nodes = (affine(9, 7), lif(7), affine(7, 5, 1), cubalif(5))
    program = compile_model(nir_file(tmp_path / "net.nir", *nodes), "toy")
    program.write(tmp_path / "net.sbx")
    found = Program.read(tmp_path / "net.sbx")
    assert_same(found, program)
    assert (found.prompt, found.embedding.size, found.coding) == (None, 0, "binary")
    assert found.graph == program.graph and found.graph.takes_spikes
    wanted = {"lif.a_mem", "lif.r", "lif.v_leak", "lif.v_threshold", "lif.v_reset"}
    assert {name for name in found.vectors if name.startswith("lif.")} == wanted
    assert found.statistics["origin"].startswith("assumed")


def test_the_same_program_gives_the_same_bytes(written, tmp_path):
    graph, tensors, _ = model(0, TINY)
    again = compile_graph(graph, tensors, tiny().chip)
    again.write(tmp_path / "again.sbx")
    Program.read(written).write(tmp_path / "read.sbx")
    for name in ("again.sbx", "read.sbx"):
        assert (tmp_path / name).read_bytes() == written.read_bytes()


def mapped():
    """tiny() without its weights."""
    return map_graph(tiny().graph, tiny().chip)


@pytest.mark.parametrize("block", [1, 999, 1 << 22])
def test_weights_that_never_were_in_memory_give_the_same_bytes(
    written, tmp_path, monkeypatch, block
):
    _, tensors, _ = model(0, TINY)
    monkeypatch.setattr(weights, "BLOCK", block)
    path = tmp_path / "streamed.sbx"
    save(mapped(), tensors, path, lambda step, done, total: None)
    assert path.read_bytes() == written.read_bytes()
    assert Program.read(path).hash == tiny().hash


def test_a_program_without_weights_says_so_and_is_read_again(tmp_path):
    assert not mapped().has_weights and tiny().has_weights
    mapped().write(tmp_path / "bare.sbx")
    found = Program.read(tmp_path / "bare.sbx")
    assert not found.has_weights
    assert set(found.arrays) == {f"tables/{f.name}" for f in dataclasses.fields(Tables)}
    assert_same(found, mapped())
    assert found.hash != tiny().hash


def test_reading_a_program_touches_no_weight(written, copy):
    """All of them are altered: only who uses one notices."""
    data = bytearray(written.read_bytes())
    head, start = layout(data)
    heavy = [name for name in head if name.startswith(("linears/", "embedding"))]
    for name in heavy:
        first, last = head[name]["data_offsets"]
        data[start + first : start + last] = b"\x55" * (last - first)
    found = Program.read(copy(data))
    assert found.hash == tiny().hash
    assert found.chip == tiny().chip and found.has_weights
    for name in heavy:
        with pytest.raises(BadInput, match=f"section {name} is"):
            found.arrays[name].copy()
    with pytest.raises(BadInput, match="section embedding is"):
        found.embed(3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_embedding_is_as_large_as_the_checkpoints_and_as_exact(tmp_path, dtype):
    graph, tensors, _ = model(0, TINY)
    table = tensors[graph.embedding].to(dtype)
    program = compile_graph(graph, tensors | {graph.embedding: table}, tiny().chip)
    program.write(tmp_path / "a.sbx")
    for found in (program, Program.read(tmp_path / "a.sbx")):
        assert found.embedding[:].nbytes == table.nbytes
        for token in (0, 7, 19):
            row = found.embed(token)
            assert row.dtype == np.float32
            assert row.tolist() == table[token].tolist()


def test_widening_bfloat16_is_what_pytorch_does():
    bits = np.arange(1 << 16, dtype=np.uint16)
    want = torch.from_numpy(bits).view(torch.bfloat16).float()
    np.testing.assert_array_equal(widened(bits).view(np.uint32), want.view(torch.uint32).numpy())


def test_another_program_has_another_hash():
    graph, tensors, _ = model(1, TINY)
    hashes = {
        tiny().hash,
        tiny("ternary").hash,
        tiny(core__lanes="5").hash,
        compile_graph(graph, tensors, load_chip("toy")).hash,
        compile_graph(build(TINY, "renamed"), tensors, load_chip("toy")).hash,
    }
    assert len(hashes) == 5


def test_one_flipped_bit_in_any_section_is_named(written, copy):
    data = written.read_bytes()
    head, start = layout(data)
    sections = [name for name in head if name != "__metadata__"]
    assert set(sections) == set(tiny().arrays)
    for name in sections:
        first, last = head[name]["data_offsets"]
        if first == last:
            continue
        for at in {first, (first + last) // 2, last - 1}:
            flipped = bytearray(data)
            flipped[start + at] ^= 1
            with pytest.raises(BadInput) as caught:
                for array in Program.read(copy(flipped)).arrays.values():
                    array[:]
            assert caught.value.what == f"section {name} is missing or altered"


def test_a_flipped_bit_anywhere_in_the_head_is_refused(written, copy):
    data = written.read_bytes()
    _, start = layout(data)
    for at in range(0, start, max(1, start // 300)):
        flipped = bytearray(data)
        flipped[at] ^= 1
        with pytest.raises(BadInput):
            Program.read(copy(flipped))


def renamed(data, old, new):
    """The file with a section's name changed in the safetensors head."""
    head, start = layout(data)
    head = {new if name == old else name: entry for name, entry in head.items()}
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data[start:]


def test_a_missing_section_is_named(written, copy):
    for name in ("tables/sink_task", "embedding"):
        with pytest.raises(BadInput, match=f"section {name} is missing"):
            Program.read(copy(renamed(written.read_bytes(), name, "elsewhere")))


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 0.5, 0.999999])
def test_a_truncated_file(written, copy, keep):
    data = written.read_bytes()
    size = int(keep * len(data)) if isinstance(keep, float) else keep
    with pytest.raises(BadInput, match=r"not a readable \.sbx"):
        Program.read(copy(data[:size]))


def test_bytes_at_the_end(written, copy):
    with pytest.raises(BadInput, match=r"not a readable \.sbx"):
        Program.read(copy(written.read_bytes() + b"\0"))


def test_another_version_says_which(written, tmp_path):
    head, _ = layout(written.read_bytes())
    body = json.loads(head["__metadata__"]["spikeloom"].partition(" ")[2])
    body["header"]["format"] = "spikeloom-program-0"
    text = json.dumps(body)
    note = f"{hashlib.sha256(text.encode()).hexdigest()} {text}"
    save_file({"a": np.zeros(3)}, tmp_path / "old.sbx", metadata={"spikeloom": note})
    with pytest.raises(BadInput, match=f"spikeloom-program-0, this version reads {FORMAT}"):
        Program.read(tmp_path / "old.sbx")


def test_files_of_other_kinds(tmp_path):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "weights.sbx")
    with pytest.raises(BadInput, match=r"a safetensors file, but not an \.sbx"):
        Program.read(tmp_path / "weights.sbx")
    others = {"text": b"hello, world", "empty": b"", "zip": b"PK\x03\x04" + b"\0" * 60}
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadInput, match=r"not a readable \.sbx"):
            Program.read(tmp_path / name)
    for name in ("nowhere.sbx", "."):
        with pytest.raises(BadInput, match="no such program") as caught:
            Program.read(tmp_path / name)
        assert "sbcompile" in caught.value.fix


@pytest.mark.parametrize("before", [None, b"the program that was there"])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, before):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "model.sbx"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(sections.os, "pwrite", full)
    with pytest.raises(BadInput, match="cannot be written: no space left"):
        tiny().write(path)
    assert [p.name for p in tmp_path.iterdir()] == ([] if before is None else ["model.sbx"])
    assert before is None or path.read_bytes() == before


def test_the_host_sits_beyond_every_core():
    t = tiny().tables
    columns, rows = tiny().chip.layout.chips
    width, height = tiny().chip.layout.routers
    assert tiny().host_core == columns * rows * width * height
    assert {f.name for f in dataclasses.fields(Tables)} == {
        n.removeprefix("tables/") for n in tiny().arrays if n.startswith("tables/")
    }
    placed = zip(tiny().task_names, t.task_core, strict=True)
    hosted = [name for name, core in placed if core == tiny().host_core]
    assert hosted == ["host.embed", "host.logits"]
