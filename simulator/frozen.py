"""Plain values in a file that is whole or refused: what a run under way is kept in.

A frozen file is a line of JSON (a tree of values, and type and shape of every array), then the
arrays one after another, then the sha256 of it all. Types are a closed list: numbers, text, lists,
tuples, dicts, NumPy arrays and scalars, tensors, and the dataclasses that a caller names. Nothing
that is read is executed; what a value means is for the caller to check.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from hw_models.errors import BadInput, Bug

_DTYPES: Final = ("|b1", "|i1", "|u1", "<u2", "<i4", "<i8", "<f4", "<f8")
_ALIGNED: Final = 8
_DIGEST: Final = 32  # bytes

Types = Mapping[str, type]


def write_frozen(path: Path, form: str, value: Any, fix: str = "") -> str:
    """Write under a temporary name, then rename; returns the sha256. BadInput where the file
    cannot be written: then an earlier one of that name is as it was."""
    arrays: list[NDArray[Any]] = []
    tree = _frozen(value, arrays)
    head = {"format": form, "tree": tree, "arrays": [[a.dtype.str, a.shape] for a in arrays]}
    line = (json.dumps(head, separators=(",", ":")) + "\n").encode()
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    digest = hashlib.sha256()
    try:
        with work.open("wb") as file:
            for piece in (line, *(a.reshape(-1).view(np.uint8).data for a in arrays)):
                for data in (piece, b"\0" * (-len(piece) % _ALIGNED)):
                    digest.update(data)
                    file.write(data)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(work, path)
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise BadInput(what, where=str(path), fix=fix) from None
    finally:
        work.unlink(missing_ok=True)
    return digest.hexdigest()


def read_frozen(path: Path, form: str, types: Types, fix: str, digest: str | None = None) -> Any:
    """The value; BadInput for a file that is missing, truncated, altered or of another format.

    types: dataclasses that may be in it, by name. digest: the sha256 it must have.
    """
    where = str(path)
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", where=where, fix=fix) from None
    body, found = data[:-_DIGEST], hashlib.sha256(data[:-_DIGEST]).digest()
    if data.size <= _DIGEST or found != data[-_DIGEST:].tobytes():
        raise BadInput("truncated or altered", where=where, fix=fix)
    if digest is not None and found.hex() != digest:
        raise BadInput("not the one that was written with the others", where=where, fix=fix)
    try:
        end = int((body == ord("\n")).argmax()) + 1
        head = json.loads(body[:end].tobytes())
        if head["format"] != form:
            what = f"format {head['format']}, this version reads {form}"
            raise BadInput(what, where=where, fix=fix)
        arrays = _arrays(body, end + -end % _ALIGNED, head["arrays"])
        return _thawed(head["tree"], arrays, types)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise BadInput(f"not what this version writes: {error}", where=where, fix=fix) from None


def _arrays(body: NDArray[np.uint8], at: int, forms: list[Any]) -> list[NDArray[Any]]:
    found = []
    for code, shape in forms:
        if code not in _DTYPES or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError(f"an array of {code}, {shape}")
        size = prod(shape) * np.dtype(code).itemsize
        if at + size > body.size:
            raise ValueError("an array beyond the end")
        found.append(body[at : at + size].view(code).reshape(shape))
        at += size + -size % _ALIGNED
    return found


def _frozen(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """A value as JSON: what JSON has not is a list that begins with its kind."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        if not value.is_contiguous():
            raise Bug("a tensor in strides: another layout could round otherwise")
        return ["tensor", *_array(value.numpy(), arrays)]
    if isinstance(value, np.ndarray):
        return ["array", *_array(value, arrays)]
    if isinstance(value, np.generic):
        return ["scalar", *_array(np.asarray(value), arrays)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(_frozen(v, arrays) for v in value)]
    if isinstance(value, Mapping):
        return ["dict", *([_frozen(k, arrays), _frozen(v, arrays)] for k, v in value.items())]
    if is_dataclass(value):
        own = {f.name: _frozen(getattr(value, f.name), arrays) for f in fields(value)}
        return ["dataclass", type(value).__name__, own]
    raise Bug(f"a {type(value).__name__} cannot be kept in a checkpoint")


def _array(value: NDArray[Any], arrays: list[NDArray[Any]]) -> list[int]:
    if value.dtype.str not in _DTYPES:
        raise Bug(f"an array of {value.dtype} cannot be kept in a checkpoint")
    arrays.append(np.ascontiguousarray(value).reshape(value.shape))
    return [len(arrays) - 1]


def _thawed(value: Any, arrays: list[NDArray[Any]], types: Types) -> Any:
    if not isinstance(value, list):
        return value
    kind, rest = value[0], value[1:]
    if kind == "tensor":
        return torch.from_numpy(arrays[rest[0]].copy())
    if kind == "array":
        return arrays[rest[0]].copy()
    if kind == "scalar":
        return arrays[rest[0]][()]
    if kind in ("list", "tuple"):
        found = [_thawed(v, arrays, types) for v in rest]
        return tuple(found) if kind == "tuple" else found
    if kind == "dict":
        return {_thawed(k, arrays, types): _thawed(v, arrays, types) for k, v in rest}
    if kind == "dataclass":
        name, own = rest
        return types[name](**{k: _thawed(v, arrays, types) for k, v in own.items()})
    raise ValueError(f"a value of kind {kind}")
