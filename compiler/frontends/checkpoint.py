"""Checkpoint files, recognised by content, read without running code from them.

model.pt              torch.save({"format": "spikeloom-checkpoint-1", "config", "state_dict"}),
                      or a bare state dict with config.json beside it
model.safetensors     with config.json beside it
folder                config.json and model.safetensors, as published models come, or the
                      latter in several files with model.safetensors.index.json
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shown
from typing import Any, Final

import torch
from torch import Tensor

from compiler.frontends.files import MAX_JSON, damage_to, json_object
from compiler.frontends.model import Form
from compiler.frontends.shards import INDEX, WEIGHTS, Stores, indexed, one_file
from compiler.frontends.torch_zip import AGAIN, CONVERT, load_zip, printable, refuse_code
from hw_models.errors import BadInput, Unsupported

FORMAT: Final = "spikeloom-checkpoint-1"
CONFIG: Final = "config.json"

_HEAVY: Final = (
    *(".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth"),
    *(".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt2", ".nir"),
)
"""Names of files that weights come in, also where they are not read: a folder that has one is not
a mere config."""

_OTHERS: Final = {b"GGUF": "a GGUF file"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a file holds; tensors lie in the file until they are used.

    forms: of every tensor, known without reading it. folder: where its config.json is, if it is
    not in the checkpoint itself.
    """

    name: str  # of the model, for outputs
    where: str  # for messages
    config: Mapping[str, Any]
    forms: Mapping[str, Form]
    tensors: Mapping[str, Tensor]
    folder: Path | None


def model_name(path: Path) -> str:
    """The folder's name (also for its config.json), or the file's without its suffix."""
    path = path.resolve()
    if path.name == CONFIG:
        return path.parent.name
    return path.name if path.is_dir() else path.stem


def open_checkpoint(path: Path) -> Checkpoint:
    """Read a file or folder.

    Raises BadInput for what is missing, damaged or unsafe, Unsupported for other formats.
    """
    with damage_to(path):
        return _folder(path) if path.is_dir() else _file(path, _start(path))


def is_config(path: Path) -> bool:
    """Whether a path is a config without weights: a JSON file (or what is called one), or a folder
    with nothing else.

    Raises BadInput for a path that is neither a file nor a folder.
    """
    with damage_to(path):
        if path.is_dir():
            names = [p.name for p in path.iterdir()]
            return CONFIG in names and not any(name.endswith(_HEAVY) for name in names)
        if path.name == CONFIG:
            return True
        start = _start(path)
        # a safetensors file begins with a length, which never is larger than the file
        length = int.from_bytes(start[:8], "little")
        return start.lstrip()[:1] == b"{" and length > path.stat().st_size


def _start(path: Path) -> bytes:
    """The first bytes of a file that is there and not empty."""
    if not path.exists():
        raise BadInput("no such model", where=str(path), fix="check the path")
    if not path.is_file():
        raise BadInput("neither a file nor a folder", where=str(path))
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise BadInput("the file is empty", where=str(path), fix=AGAIN)
    return start


def _folder(path: Path) -> Checkpoint:
    config = json_object(path / CONFIG)
    if (path / WEIGHTS).is_file():
        return _stored(path, config, one_file(path / WEIGHTS))
    if (path / INDEX).is_file():
        return _stored(path, config, indexed(path / INDEX))
    raise BadInput(f"the folder has no {WEIGHTS}", where=str(path), fix=f"add {WEIGHTS}")


def _stored(path: Path, config: Mapping[str, Any], stores: Stores) -> Checkpoint:
    folder = path if path.is_dir() else path.parent
    return Checkpoint(model_name(path), str(path), config, *stores, folder)


def _file(path: Path, start: bytes) -> Checkpoint:
    if start.startswith(b"PK\x03\x04"):
        return _torch(path)
    if start[8:9] == b"{":  # after the length of the header
        stores = one_file(path)
        return _stored(path, _config_beside(path), stores)
    if start.startswith(b"\x80"):
        with path.open("rb") as file:
            refuse_code(file.read(MAX_JSON), path)
        raise BadInput("a bare pickle, not torch's zip format", where=str(path), fix=CONVERT)
    for magic, name in _OTHERS.items():
        if start.startswith(magic):
            raise Unsupported(f"{name} is not read", where=str(path), fix=CONVERT)
    raise BadInput(
        f"neither a torch nor a safetensors file: it begins with {start!r}",
        where=str(path),
        fix=f"a .pt file, a .safetensors file, or a folder with {CONFIG}",
    )


def _torch(path: Path) -> Checkpoint:
    found, n_bytes = load_zip(path)
    if isinstance(found, dict) and {"format", "config", "state_dict"} <= set(found):
        if found["format"] != FORMAT:
            raise BadInput(
                f"format {shown(found['format'])}, this version reads {FORMAT!r}", where=str(path)
            )
        config, tensors, folder = found["config"], found["state_dict"], None
        if not (isinstance(config, dict) and _plain(config)):
            raise BadInput("config is not a dict of plain values", where=str(path), fix=CONVERT)
    else:
        config, tensors, folder = _config_beside(path), found, path.parent
    named = isinstance(tensors, dict) and all(
        isinstance(n, str) and isinstance(t, Tensor) for n, t in tensors.items()
    )
    if not named:
        raise BadInput("no state dict: not a dict of tensors", where=str(path), fix=CONVERT)
    _check_storage(tensors, n_bytes, path)
    detached = {name: tensor.detach() for name, tensor in tensors.items()}
    forms = {name: _form(tensor) for name, tensor in detached.items()}
    return Checkpoint(model_name(path), str(path), config, forms, detached, folder)


def _form(tensor: Tensor) -> Form:
    kind = tensor.dtype if tensor.layout == torch.strided else tensor.layout
    return Form(tuple(tensor.shape), str(kind).removeprefix("torch."))


def _plain(config: object) -> bool:
    """Whether a config.json could say it: no tensors inside, which compare to no truth value."""
    waiting, seen = [config], set()  # a pickle's lists may hold themselves
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            if id(value) not in seen:
                seen.add(id(value))
                waiting += [*value, *value.values()] if isinstance(value, dict) else value
        elif not (value is None or isinstance(value, bool | int | float | str)):
            return False
    return True


def _check_storage(tensors: Mapping[str, Tensor], n_bytes: int, path: Path) -> None:
    """Every element has bytes of its own among the archive's, so that copies stay as small."""
    claimed = 0
    for name, tensor in tensors.items():
        needed, held = tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes()
        if needed > held:
            raise BadInput(
                f"tensor {printable(name)} claims {needed} bytes, its storage has {held}",
                where=str(path),
                fix="save contiguous tensors",
            )
        claimed += needed
    if claimed > n_bytes:
        raise BadInput(
            f"tensors claim {claimed} bytes, the file holds {n_bytes} for them",
            where=str(path),
            fix="save clones of tensors that share a storage: {name: tensor.clone() for ...}",
        )


def _config_beside(path: Path) -> dict[str, Any]:
    config = path.with_name(CONFIG)
    if not config.exists():
        raise BadInput(
            "weights without the model's shape",
            where=str(path),
            fix=f"put {CONFIG} beside it, or {CONVERT}",
        )
    return json_object(config)
