"""Files: every format reads alike, and damaged or unsafe ones are refused before they matter."""

import os
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from compiler.frontends.read import read_model, read_source
from hw_models.errors import BadInput, Unsupported
from tests.compiler.frontends.archives import rezip


def same(found, expected):
    return found.keys() == expected.keys() and all(
        found[n].dtype == t.dtype and torch.equal(found[n], t) for n, t in expected.items()
    )


class Runs:
    """Unpickled by the usual reader, this makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


# ---- what is read


def test_a_pt_file_gives_its_own_tensors(checkpoint, saved):
    graph, tensors = read_model(saved(checkpoint, "small.one.pt"))
    assert graph.model == "small.one" and graph.vocab == 17
    assert same(tensors, checkpoint["state_dict"])


def test_content_decides_not_the_suffix(checkpoint, saved, published):
    assert same(read_model(saved(checkpoint, "model.bin"))[1], checkpoint["state_dict"])
    weights = published(checkpoint) / "model.safetensors"
    renamed = weights.rename(weights.with_suffix(".pt"))
    assert same(read_model(renamed)[1], checkpoint["state_dict"])
    with pytest.raises(BadInput, match="torch file named") as refused:
        read_model(saved(checkpoint, "model.safetensors"))
    assert "rename" in refused.value.fix


def test_a_folder_gives_the_same_graph_and_tensors(checkpoint, saved, published):
    folder = published(checkpoint)
    graph, tensors = read_model(folder)
    assert graph.model == "SpikingBrain-0B-v1.5"
    assert same(tensors, checkpoint["state_dict"])
    assert graph.stages == read_model(saved(checkpoint))[0].stages


def test_weights_alone_read_with_the_config_beside_them(checkpoint, saved, published):
    folder = published(checkpoint)
    assert same(read_model(folder / "model.safetensors")[1], checkpoint["state_dict"])
    torch.save(OrderedDict(checkpoint["state_dict"]), folder / "weights.bin")
    assert same(read_model(folder / "weights.bin")[1], checkpoint["state_dict"])


def test_a_source_has_the_tokenizer_that_lies_beside_its_config(checkpoint, saved, published):
    folder = published(checkpoint)
    assert read_source(folder).tokenizer == b""
    (folder / "tokenizer.json").write_bytes(b"its own")
    torch.save(checkpoint["state_dict"], folder / "weights.bin")
    for path in (folder, folder / "model.safetensors", folder / "weights.bin"):
        found = read_source(path)
        assert found.tokenizer == b"its own"
        assert same(found.tensors, checkpoint["state_dict"])
    torch.save(checkpoint, folder / "whole.pt")  # a config of its own: not that folder's model
    assert read_source(folder / "whole.pt").tokenizer == b""


def test_parameters_read_like_tensors(checkpoint, saved):
    plain = checkpoint["state_dict"]
    checkpoint["state_dict"] = {n: torch.nn.Parameter(t) for n, t in plain.items()}
    _, tensors = read_model(saved(checkpoint))
    assert same(tensors, plain)
    assert not any(t.requires_grad for t in tensors.values())


# ---- what is missing


def test_missing_empty_and_strange_paths(tmp_path):
    (tmp_path / "empty.pt").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("nowhere.pt", "no such model"),
        ("empty.pt", "empty"),
        ("folder", "config.json"),
        ("pipe", "neither a file nor a folder"),
        ("x" * 300, "cannot be read"),
    ):
        with pytest.raises(BadInput, match=said) as refused:
            read_model(tmp_path / name)
        assert name in refused.value.where


def test_a_folder_without_weights_is_refused(checkpoint, published):
    folder = published(checkpoint)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        read_model(folder)


def test_weights_without_a_config_are_refused(checkpoint, saved, tmp_path):
    save_file(checkpoint["state_dict"], tmp_path / "alone.safetensors")
    for path in (tmp_path / "alone.safetensors", saved(checkpoint["state_dict"])):
        with pytest.raises(BadInput, match="without the model's shape") as refused:
            read_model(path)
        assert "config.json" in refused.value.fix


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_a_config_that_is_no_json_object(checkpoint, published, text):
    folder = published(checkpoint)
    (folder / "config.json").write_text(text)
    with pytest.raises(BadInput) as refused:
        read_model(folder)
    assert "config.json" in refused.value.where


# ---- what is not a checkpoint


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"These are my notes.\n", BadInput, "begins with b'These are my"),
        (b'{"model_type": "gla_swa"}', BadInput, "neither a torch nor a safetensors file"),
        (b"GGUF\x03\x00\x00\x00", Unsupported, "GGUF"),
        (b"\x89HDF\r\n\x1a\n", BadInput, "cannot be read"),
        (b"PK\x03\x04", BadInput, "truncated"),
        (b"\x80\x02", BadInput, "truncated"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{", BadInput, "truncated"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{", BadInput, "truncated"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, error, said):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(error, match=said) as refused:
        read_model(path)
    assert refused.value.where == str(path)


def test_a_zip_that_is_not_torchs(tmp_path):
    path = tmp_path / "photos.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photos/sea.jpg", b"1")
    with pytest.raises(BadInput, match="not one that torch"):
        read_model(path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(BadInput):
        read_model(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {1: torch.zeros(1)}, torch.zeros(3), None])
def test_a_pt_file_that_is_no_state_dict(saved, content, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gla_swa"}')
    with pytest.raises(BadInput, match="no state dict"):
        read_model(saved(content))


def test_another_format_version_is_named(checkpoint, saved):
    checkpoint["format"] = "spikeloom-checkpoint-9"
    with pytest.raises(BadInput, match=r"checkpoint-9.*checkpoint-1"):
        read_model(saved(checkpoint))


def test_a_compiled_program_is_not_a_model(tmp_path):
    path = tmp_path / "a.sbx"
    save_file({"a": torch.zeros(1)}, path, metadata={"spikeloom": "x"})
    with pytest.raises(BadInput, match="a compiled program") as refused:
        read_model(path)
    assert "sbsim run" in refused.value.fix


# ---- what would run code


def test_code_in_a_pickle_is_named_and_never_run(checkpoint, saved, tmp_path):
    trap = tmp_path / "made"
    checkpoint["config"]["extra"] = Runs(trap)
    with pytest.raises(BadInput, match=r"holds code.*mkdir") as refused:
        read_model(saved(checkpoint))
    assert "state_dict" in refused.value.fix
    assert not trap.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_pickle_with_code_is_named_and_never_run(tmp_path, protocol):
    trap, path = tmp_path / "made", tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"a": Runs(trap)}, protocol))
    said = "mkdir" if protocol >= 2 else "neither a torch nor"
    with pytest.raises(BadInput, match=said):
        read_model(path)
    assert not trap.exists()


def test_a_whole_module_is_refused_with_the_way_to_convert_it(saved):
    path = saved(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    with pytest.raises(BadInput, match=r"torch\.nn\.modules\.\w+\.\w+") as refused:
        read_model(path)
    assert "model.state_dict()" in refused.value.fix


def test_an_exported_program_is_refused_with_the_way_to_convert_it(tmp_path):
    """What torch.export.save writes; loading it can run code."""
    names = ("m/data/weights/weight_0", "m/models/model.json", "m/archive_format", "m/version")
    old = ("serialized_exported_program.json", "serialized_state_dict.pt", "version")
    for entries in (names, old):
        path = tmp_path / "model.pt2"
        with zipfile.ZipFile(path, "w") as archive:
            for name in entries:
                archive.writestr(name, b"pt2")
        with pytest.raises(BadInput, match=r"a torch\.export archive \(\.pt2\)") as refused:
            read_model(path)
        assert "torch.export.load(path).state_dict" in refused.value.fix
        assert "spikeloom-checkpoint-1" in refused.value.fix


@pytest.mark.slow
def test_what_torch_exports_is_recognised(tmp_path):
    exported = torch.export.export(torch.nn.Linear(3, 2), (torch.zeros(1, 3),))
    torch.export.save(exported, tmp_path / "m.pt2")
    with pytest.raises(BadInput, match=r"torch\.export archive"):
        read_model(tmp_path / "m.pt2")


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/m.py"):
            archive.writestr(name, pickle.dumps(()))
    with pytest.raises(BadInput, match="TorchScript"):
        read_model(path)


def test_torchscript_with_its_compressed_code_is_named_for_what_it_is(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/m.py"):
            archive.writestr(name, b"x" * 1000)
    with pytest.raises(BadInput, match="TorchScript"):
        read_model(path)


@pytest.mark.parametrize("key", ["attn_layers", "head_dim", "hidden_size", "hidden_act", "any"])
def test_a_config_that_holds_tensors_is_refused(checkpoint, saved, key):
    for value in (torch.zeros(3), [torch.zeros(3)], {"a": (torch.zeros(3),)}):
        checkpoint["config"][key] = value
        with pytest.raises(BadInput, match="not a dict of plain values"):
            read_model(saved(checkpoint))


def test_a_config_that_holds_itself_is_read_in_finite_time(checkpoint, saved):
    config = checkpoint["config"]
    config["itself"] = wide = [config]
    for _ in range(60):
        wide = [wide, wide, wide]
    config["wide"] = wide
    assert read_model(saved(checkpoint))[0].vocab == 17


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_another_pickle_protocol_is_refused_in_a_sentence(checkpoint, tmp_path, protocol):
    path = tmp_path / "model.pt"
    torch.save(checkpoint, path, pickle_protocol=protocol)
    with pytest.raises(BadInput, match="protocol 2") as refused:
        read_model(path)
    assert "pickle_protocol" in refused.value.fix


def test_the_old_torch_format_is_refused_in_a_sentence(checkpoint, tmp_path):
    path = tmp_path / "model.pt"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    with pytest.raises(BadInput, match="a bare pickle"):
        read_model(path)


def test_no_pickle_may_ask_for_memory_of_its_own(checkpoint, saved):
    """bytearray(10^13) passes weights_only=True."""
    path = saved(checkpoint)
    greedy = b"\x80\x02cbuiltins\nbytearray\n\x8a\x06" + (10**13).to_bytes(6, "little") + b"\x85R."
    rezip(path, lambda name, content: greedy if name.endswith("data.pkl") else content)
    with pytest.raises(BadInput, match=r"builtins\.bytearray"):
        read_model(path)
