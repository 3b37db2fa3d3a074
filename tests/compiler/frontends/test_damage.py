"""A checkpoint damaged anywhere gives a model or a sentence, never another exception."""

import io
import json
import random
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from compiler.frontends.read import read_model
from hw_models.errors import BadInput, SpikeloomError


def damaged(content, seed):
    """One byte changed, bits flipped, or the end cut off, somewhere that matters."""
    rng = random.Random(seed)
    at = rng.randrange(len(content))
    match seed % 3:
        case 0:
            return content[:at]
        case 1:
            return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
        case _:
            noise = rng.randbytes(rng.randrange(1, 40))
            return content[:at] + noise + content[at + len(noise) :]


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_damage_anywhere_gives_a_model_or_a_sentence(checkpoint, kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(checkpoint["config"]))
    path = tmp_path / f"model.{kind}"
    if kind == "pt":
        torch.save(checkpoint, path)
    else:
        save_file(checkpoint["state_dict"], path)
    content = path.read_bytes()
    outcomes = set()
    for seed in range(60):
        path.write_bytes(damaged(content, seed))
        try:
            _, tensors = read_model(path)
        except SpikeloomError as refused:
            outcomes.add(type(refused))
            assert refused.what and refused.where
        else:
            outcomes.add("read")
            assert all(t.float().sum() is not None for t in tensors.values())
    assert BadInput in outcomes


def test_damage_to_the_pickle_under_a_valid_checksum_gives_a_model_or_a_sentence(
    checkpoint, tmp_path
):
    """Checksums stop accidents; an author writes a valid one."""
    path = tmp_path / "model.pt"
    torch.save(checkpoint, path)
    content = path.read_bytes()
    refusals = 0
    for seed in range(60):
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                entry = old.read(name)
                new.writestr(name, damaged(entry, seed) if name.endswith("data.pkl") else entry)
        try:
            _, tensors = read_model(path)
            io.BytesIO(b"".join(t.float().numpy().tobytes() for t in tensors.values()))
        except SpikeloomError:
            refusals += 1
    assert refusals > 30
