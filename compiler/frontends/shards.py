"""Safetensors files, one or several with an index; their tensors are read one at a time.

Only headers are read at first. The format itself excludes overlaps and code.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from reprlib import repr as shown
from typing import Any, Final

from safetensors import safe_open
from torch import Tensor

from compiler.frontends.files import damage_to, json_object
from compiler.frontends.model import Form, Lazy
from compiler.frontends.torch_zip import printable
from hw_models.errors import BadInput

WEIGHTS: Final = "model.safetensors"
INDEX: Final = f"{WEIGHTS}.index.json"
DOWNLOAD: Final = "download or save the whole model again"

Stores = tuple[Mapping[str, Form], Mapping[str, Tensor]]
"""The form of every tensor, and the tensors, each read when it is asked for."""

_KINDS: Final = {
    **{"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"},
    **{"I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8"},
    **{"BOOL": "bool", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}


def one_file(path: Path) -> Stores:
    """All tensors of one file; BadInput if it is damaged, or a program of ours."""
    forms = _forms(path)
    return forms, Lazy({name: partial(_read, path, name) for name in forms})


def indexed(index: Path) -> Stores:
    """The tensors of the files that an index names, all in the index's own folder.

    Raises BadInput for a file outside of it or missing, and for a tensor that is not in the one
    file that the index names, or is in several.
    """
    listed = _weight_map(index)
    held: dict[str, str] = {}  # tensor -> the shard it lies in
    forms: dict[str, Form] = {}
    for shard in sorted(set(listed.values())):
        path = index.with_name(shard)
        if not path.is_file():
            raise BadInput(f"{printable(shard)} is missing", where=str(index), fix=DOWNLOAD)
        own = _forms(path)
        for name in own:
            if name in held:
                raise BadInput(
                    f"tensor {printable(name)} is in {printable(held[name])} as well",
                    where=str(path),
                    fix=DOWNLOAD,
                )
            if listed.get(name) != shard:
                said = printable(listed[name]) if name in listed else "no file"
                raise BadInput(
                    f"tensor {printable(name)}, which the index puts in {said}",
                    where=str(path),
                    fix=DOWNLOAD,
                )
            held[name] = shard
        forms |= own
    absent = sorted(listed.keys() - held.keys())
    if absent:
        raise BadInput(
            f"tensor {printable(absent[0])} is not in {printable(listed[absent[0]])}",
            where=str(index),
            fix=DOWNLOAD,
        )
    lazy = Lazy({name: partial(_read, index.with_name(held[name]), name) for name in forms})
    return forms, lazy


def _weight_map(index: Path) -> dict[str, str]:
    found: Any = json_object(index).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise BadInput("no weight_map", where=str(index), fix=DOWNLOAD)
    for shard in found.values():
        if not (isinstance(shard, str) and _plain_name(shard)):
            raise BadInput(
                f"{shown(shard)} is no safetensors file of this folder",
                where=str(index),
                fix="file names without a path, as in model-00001-of-00002.safetensors",
            )
    return found


def _plain_name(shard: str) -> bool:
    """Whether it can only mean a file beside the index (which may itself be a link)."""
    inside = not any(c in "/\\:" or not c.isprintable() for c in shard)
    return inside and shard.endswith(".safetensors") and len(shard) <= 255


def _forms(path: Path) -> dict[str, Form]:
    with damage_to(path), safe_open(path, framework="pt") as file:
        if "spikeloom" in (file.metadata() or {}):
            raise BadInput("a compiled program, not a model", where=str(path), fix="sbsim run")
        found = {}
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            kind = part.get_dtype()
            found[name] = Form(tuple(part.get_shape()), _KINDS.get(kind, kind))
        return found


def _read(path: Path, name: str) -> Tensor:
    """One tensor; the file is open only for as long as its tensors are alive."""
    with damage_to(path), safe_open(path, framework="pt") as file:
        found: Tensor = file.get_tensor(name)
        return found
