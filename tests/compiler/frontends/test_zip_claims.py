"""Torch files that claim more than they hold, or hold what a reader does not tell apart."""

import shutil
import zipfile

import pytest
import torch

from compiler.frontends import files, torch_zip
from compiler.frontends.read import read_model
from hw_models.errors import BadInput
from tests.compiler.frontends.archives import rezip


@pytest.mark.parametrize("name", ["model.embeddings.weight", "model.norm.weight"])
def test_a_tensor_that_repeats_one_element_is_refused_unread(checkpoint, saved, name):
    shape = checkpoint["state_dict"][name].shape
    checkpoint["state_dict"][name] = torch.zeros(1).expand(shape)
    with pytest.raises(BadInput, match=f"tensor {name} claims .* its storage has 4"):
        read_model(saved(checkpoint))


def test_a_trillion_elements_over_four_bytes_are_refused_unread(checkpoint, saved):
    checkpoint["state_dict"]["lm_head.weight"] = torch.zeros(1).expand(10**6, 10**6)
    with pytest.raises(BadInput, match="4000000000000 bytes"):
        read_model(saved(checkpoint))


def test_tensors_that_share_one_storage_are_refused(checkpoint, saved):
    one = torch.zeros(20_000)
    state = checkpoint["state_dict"]
    for name, tensor in state.items():
        state[name] = one[: tensor.numel()].view(tensor.shape)
    state |= {f"more.{i}": one for i in range(9)}
    with pytest.raises(BadInput, match=r"tensors claim \d+ bytes"):
        read_model(saved(checkpoint))


def test_a_tensor_of_more_bytes_than_its_entry_is_refused(checkpoint, saved):
    """Mapped, it would read on into its neighbour's bytes."""
    path = rezip(saved(checkpoint), lambda n, c: c[:8] if n.endswith("data/0") else c)
    with pytest.raises(BadInput, match=r"storage '0' claims 408 bytes, the file holds 8"):
        read_model(path)


def test_entries_that_claim_more_than_the_file_are_refused_unread(checkpoint, saved):
    path = saved(checkpoint)
    content = bytearray(path.read_bytes())
    name = content.rindex(b"data/0", 0, content.rindex(b"data/1"))  # in the central directory
    record = content.rindex(b"PK\x01\x02", 0, name)
    content[record + 20 : record + 28] = b"\xff\xff\xff\x7f" * 2  # both of its sizes
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"entries claim 21\d{8} bytes"):
        read_model(path)


def test_configs_and_pickles_beyond_all_reason_are_refused_unread(
    checkpoint, saved, published, monkeypatch
):
    monkeypatch.setattr(torch_zip, "MAX_PICKLE", 1000)
    with pytest.raises(BadInput, match="larger than 1000"):
        read_model(saved(checkpoint))
    monkeypatch.setattr(files, "MAX_JSON", 100)
    with pytest.raises(BadInput, match="larger than 100"):
        read_model(published(checkpoint))


def test_compressed_entries_are_refused_unread(checkpoint, saved):
    path = rezip(saved(checkpoint), lambda _, content: content, zipfile.ZIP_DEFLATED)
    with pytest.raises(BadInput, match="is compressed"):
        read_model(path)


def test_a_changed_byte_of_a_weight_is_noticed(checkpoint, saved):
    path = saved(checkpoint)
    content = bytearray(path.read_bytes())
    weight = checkpoint["state_dict"]["lm_head.weight"].view(torch.uint8).numpy().tobytes()
    at = bytes(content).index(weight)
    content[at + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"entry \S*data/\d+ is altered"):
        read_model(path)


def test_names_twice_or_in_two_folders_are_refused(checkpoint, saved, tmp_path):
    path = saved(checkpoint)
    shutil.copy(path, tmp_path / "two.pt")
    with zipfile.ZipFile(tmp_path / "two.pt", "a") as archive:
        archive.writestr("other/data.pkl", b"\x80\x02}.")
    with pytest.raises(BadInput, match="several folders"):
        read_model(tmp_path / "two.pt")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("model/data.pkl", b"\x80\x02}.")
    with pytest.raises(BadInput, match="two of one name"):
        read_model(path)


def test_names_that_differ_by_case_are_refused(checkpoint, saved):
    """torch's reader does not tell them apart."""
    path = saved(checkpoint)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/DATA.PKL", b"\x80\x02}.")
    with pytest.raises(BadInput, match="two of one name"):
        read_model(path)
