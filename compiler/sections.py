"""Named arrays in one safetensors file: written as they are made, read when they are used.

Every array is a *section*. Its sha256 is taken while it is written and checked when it is first
used, so that neither needs memory for all of them. uint16 stands for bfloat16, which NumPy lacks.
"""

import errno
import hashlib
import json
import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from hw_models.errors import BadInput, Bug

METADATA: Final = "spikeloom"
AGAIN: Final = "compile it again"

_DTYPES: Final = {
    **{"I8": "<i1", "U8": "<u1", "I16": "<i2", "I32": "<i4", "I64": "<i8"},
    **{"F16": "<f2", "BF16": "<u2", "F32": "<f4"},
}
_CODES: Final = {np.dtype(text): code for code, text in _DTYPES.items()}

Pieces = Iterable[tuple[str, NDArray[Any]]]
"""(section, its next rows): the pieces of one section come in order, those of several may mix."""


class Form(NamedTuple):
    """Type and shape of a section."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def seed(self) -> bytes:
        """What the hash of a section begins with: the same bytes of another shape are another."""
        return f"{_CODES[self.dtype]}{self.shape}".encode()


@dataclass(frozen=True)
class Stored:
    """A section of a file in place of its array: read-only, checked when it is first used."""

    name: str
    form: Form
    digest: str
    start: int
    file: "File"

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.form.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.form.shape

    @cached_property
    def array(self) -> NDArray[Any]:
        """The array, mapped from the file; BadInput if it is not what was written."""
        data = self.file.bytes(self.start, self.form.nbytes)
        if _sha256(self.form, data.data) != self.digest:
            raise altered(self.name, self.file.where)
        return data.view(self.form.dtype).reshape(self.form.shape)

    def release(self) -> None:
        """Its pages need no memory until they are used again; then they come from the file."""
        if hasattr(mmap, "MADV_DONTNEED"):
            first = self.start // mmap.PAGESIZE * mmap.PAGESIZE
            size = self.start + self.form.nbytes - first
            if size:
                self.file.mapped.madvise(mmap.MADV_DONTNEED, first, size)

    def __getitem__(self, key: Any) -> Any:
        return self.array[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.array, dtype, copy=copy)

    def copy(self) -> NDArray[Any]:
        return self.array.copy()


Array = NDArray[Any] | Stored


def altered(name: str, where: str) -> BadInput:
    """The error for a section that is not what was written."""
    return BadInput(f"section {name} is missing or altered", where=where, fix=AGAIN)


def form_of(array: Array) -> Form:
    return Form(np.dtype(array.dtype), tuple(array.shape))


def digest_of(array: Array) -> str:
    """sha256 of an array's type, shape and bytes; of a stored one as it was written."""
    if isinstance(array, Stored):
        return array.digest
    return _sha256(form_of(array), _flat(array))


def _sha256(form: Form, data: memoryview) -> str:
    found = hashlib.sha256(form.seed)
    found.update(data)
    return found.hexdigest()


def _flat(array: NDArray[Any]) -> memoryview:
    """The bytes of an array, its rows one after another."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


# ---- writing


def write(
    path: Path, forms: Mapping[str, Form], pieces: Pieces, note: Callable[[Mapping[str, str]], str]
) -> None:
    """Write a file of these sections as their pieces come, under a temporary name, then rename.

    note: the file's metadata from {section: sha256}; as long whatever the hashes are. Same
    sections, same bytes, however they are cut into pieces. Raises BadInput where the file cannot
    be written, and what `pieces` raises; then nothing is left behind.
    """
    target, starts = path.resolve(), _starts(forms)
    size = len(_head(forms, starts, note(dict.fromkeys(forms, "0" * 64))))
    try:
        _check_room(target.parent, size + sum(form.nbytes for form in forms.values()))
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".tmp")
        try:
            try:
                digests = _body(handle, size, forms, starts, pieces)
                head = _head(forms, starts, note(digests))
                if len(head) != size:
                    raise Bug(f"a head of {len(head)} bytes, {size} expected", where=str(path))
                _put(handle, head, 0)
                os.fsync(handle)
            finally:
                os.close(handle)
            Path(name).chmod(0o644)
            os.replace(name, target)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        what = error.strerror or str(error)
        what = f"cannot be written: {what[:1].lower()}{what[1:]}"
        raise BadInput(what, where=str(path)) from None
    except UnicodeEncodeError:
        raise BadInput("cannot be written: a name that is no UTF-8", where=str(path)) from None


def _check_room(folder: Path, size: int) -> None:
    """Hours of work should not end at a full disk that could be seen before."""
    free = shutil.disk_usage(folder).free
    if size > free:
        what = f"{size / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free"
        raise OSError(errno.ENOSPC, what)


def _body(
    handle: int, size: int, forms: Mapping[str, Form], starts: Mapping[str, int], pieces: Pieces
) -> dict[str, str]:
    """Write the sections behind a head of `size` bytes; {section: sha256}."""
    hashes = {name: hashlib.sha256(form.seed) for name, form in forms.items()}
    filled = dict.fromkeys(forms, 0)
    for name, piece in pieces:
        data = _flat(piece)
        if piece.dtype != forms[name].dtype or filled[name] + len(data) > forms[name].nbytes:
            raise Bug(f"{form_of(piece)} does not fit into {forms[name]}", where=name)
        hashes[name].update(data)
        _put(handle, data, size + starts[name] + filled[name])
        filled[name] += len(data)
    for name, form in forms.items():
        if filled[name] != form.nbytes:
            raise Bug(f"{filled[name]} of {form.nbytes} bytes were made", where=name)
    return {name: found.hexdigest() for name, found in hashes.items()}


def _put(handle: int, data: memoryview | bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(handle, rest, at)
        rest, at = rest[written:], at + written


def _starts(forms: Mapping[str, Form]) -> dict[str, int]:
    """Where sections begin: those of wide items first, so that all of them are aligned."""
    starts, at = {}, 0
    for name in sorted(forms, key=lambda n: (-forms[n].dtype.itemsize, n)):
        starts[name] = at
        at += forms[name].nbytes
    return starts


def _head(forms: Mapping[str, Form], starts: Mapping[str, int], note: str) -> bytes:
    """The safetensors head: length, then JSON filled up with spaces to a multiple of 8 bytes."""
    entries: dict[str, Any] = {"__metadata__": {METADATA: note}}
    for name, start in starts.items():
        form = forms[name]
        entries[name] = {
            "dtype": _CODES[form.dtype],
            "shape": form.shape,
            "data_offsets": (start, start + form.nbytes),
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


# ---- reading


@dataclass(frozen=True, eq=False)
class File:
    """A file of sections, opened: it stays the one it was where its name is given to another."""

    where: str
    note: str  # its metadata
    places: Mapping[str, tuple[Form, int]]  # of sections: where they begin
    mapped: mmap.mmap

    def stored(self, name: str, digest: str) -> Stored:
        """A section by name; BadInput if there is none of it."""
        if name not in self.places:
            raise altered(name, self.where)
        form, start = self.places[name]
        return Stored(name, form, digest, start, self)

    def bytes(self, start: int, size: int) -> NDArray[np.uint8]:
        """Some of its bytes; fewer where the file has been cut short since it was opened."""
        left = max(0, self.mapped.size() - start)
        return np.frombuffer(self.mapped, np.uint8, min(size, left), start)


def read(path: Path) -> File:
    """Open a file that `write` wrote and check its head, but no section.

    Raises BadInput if it is truncated, or another kind of file.
    """
    where = str(path)
    try:
        with safe_open(path, framework="numpy") as checked:
            note = (checked.metadata() or {}).get(METADATA)
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        places = _places(mapped) if note is not None else {}
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise BadInput(
            f"not a readable .sbx: {error}", where=where, fix="sbcompile MODEL writes one"
        ) from None
    if note is None:
        raise BadInput("a safetensors file, but not an .sbx", where=where)
    return File(where, note, places, mapped)


def _places(mapped: mmap.mmap) -> dict[str, tuple[Form, int]]:
    """Form and start of every section; safe_open has seen that they fill the file.

    One of a type that is not ours is none of ours: the file may be of another version.
    """
    (size,) = struct.unpack("<Q", mapped[:8])
    entries = json.loads(mapped[8 : 8 + size])
    del entries["__metadata__"]
    return {
        name: (
            Form(np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])),
            8 + size + entry["data_offsets"][0],
        )
        for name, entry in entries.items()
        if entry["dtype"] in _DTYPES
    }
