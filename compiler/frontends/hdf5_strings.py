"""Strings of any length in an HDF5 file, taken from its bytes.

The library believes what a reference says of a string's length, and follows a damaged heap for
ever; so references and heaps are read here (HDF5 File Format Specification 3.0, sections III.E,
"Global Heap", and IV.A.2.d, variable-length data).
"""

import os
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from compiler.frontends.torch_zip import AGAIN
from hw_models.errors import BadInput

REFERENCE: Final = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])
_HEAP: Final = np.dtype([("magic", "S4"), ("version", "u1"), ("pad", "V3"), ("size", "<u8")])
_OBJECT: Final = np.dtype([("index", "<u2"), ("uses", "<u2"), ("pad", "V4"), ("size", "<u8")])
_ALIGN: Final = 8


def referenced(path: Path, at: int, n: int, where: str) -> list[str]:
    """The n strings whose references stand in the file from byte `at` on."""
    heaps: dict[int, dict[int, bytes]] = {}
    found = []
    with path.open("rb") as file:
        references = np.frombuffer(_read(file, at, n * REFERENCE.itemsize, where), REFERENCE)
        for length, address, index in references.tolist():
            if address not in heaps:
                heaps[address] = _heap(file, address, where)
            text = heaps[address].get(index, b"")
            if len(text) < length:
                raise BadInput(f"a string of {length} bytes that is not in the file", where=where)
            found.append(text[:length].decode("utf-8"))
    return found


def _read(file: BinaryIO, at: int, n: int, where: str) -> bytes:
    """n bytes of the file, which must be there."""
    if at + n > os.fstat(file.fileno()).st_size:
        raise BadInput("text beyond the end of the file", where=where, fix=AGAIN)
    file.seek(at)
    return file.read(n)


def _heap(file: BinaryIO, address: int, where: str) -> dict[int, bytes]:
    """Objects of a collection by their index."""
    head = np.frombuffer(_read(file, address, _HEAP.itemsize, where), _HEAP)
    magic, version, _, size = head[0].tolist()
    if magic != b"GCOL" or version != 1:
        raise BadInput("a damaged heap of strings", where=where, fix=AGAIN)
    raw = _read(file, address, size, where)
    found: dict[int, bytes] = {}
    at = _HEAP.itemsize
    while at + _OBJECT.itemsize <= len(raw):
        index, _, _, size = np.frombuffer(raw, _OBJECT, 1, at)[0].tolist()
        at += _OBJECT.itemsize
        if index == 0:  # the rest is free
            break
        if at + size > len(raw):
            raise BadInput("a damaged heap of strings", where=where, fix=AGAIN)
        found[index] = raw[at : at + size]
        at += -(-size // _ALIGN) * _ALIGN
    return found
