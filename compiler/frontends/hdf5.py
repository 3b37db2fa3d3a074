"""HDF5 files, read without trusting them.

A file may claim arrays of any size, point into other files, and ask for filters that are loaded
from a plugin path. So links must be plain, filters must be the library's own, and a size is
checked before memory is taken.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compiler.frontends.files import damage_to
from compiler.frontends.hdf5_strings import referenced
from compiler.frontends.torch_zip import AGAIN, printable
from hw_models.errors import BadInput

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
MOST_ITEMS: Final = 100_000
MOST_BYTES: Final = 1 << 29  # of one array
MOST_INFLATED: Final = 1100  # bytes per byte of the file; deflate reaches 1,032

_FILTERS: Final = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 32_000: "lzf"}


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do."""
    with damage_to(path):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)).startswith(MAGIC[:4])


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file's root group; BadInput for whatever goes wrong while it is open."""
    import h5py

    with damage_to(path), h5py.File(path, "r") as file:
        yield file


def names(group: Any) -> list[str]:
    """What lies in a group."""
    if len(group) > MOST_ITEMS:
        raise BadInput(f"{len(group)} entries", where=_place(group))
    return list(group)


def subgroup(group: Any, name: str) -> Any:
    """A group in a group; BadInput if it is missing, or anything else."""
    import h5py

    return _item(group, name, h5py.Group)


def shape_of(group: Any, name: str) -> tuple[int, ...]:
    """Shape of an array, or () of a single value, without reading it."""
    import h5py

    return tuple(_item(group, name, h5py.Dataset).shape or ())


def text(group: Any, name: str) -> str:
    """A string."""
    found = strings(group, name)
    if found.ndim:
        raise BadInput("not a single string", where=f"{_place(group)}/{name}")
    return str(found[()])


def strings(group: Any, name: str) -> NDArray[Any]:
    """Strings of any shape, as Python objects; an empty array holds none."""
    import h5py

    item = _checked(_item(group, name, h5py.Dataset))
    if item.size == 0:
        return np.empty(item.shape, object)
    if h5py.check_string_dtype(item.dtype) is None:
        raise BadInput("no text", where=f"{_place(group)}/{name}")
    if item.dtype.kind == "O":
        found = referenced(Path(item.file.filename), _offset(item), item.size, _place(item))
        return np.array(found, object).reshape(item.shape)
    return np.asarray(item.asstr()[()], object)


def is_text(group: Any, name: str) -> bool:
    """Whether a value is a string."""
    import h5py

    return h5py.check_string_dtype(_item(group, name, h5py.Dataset).dtype) is not None


def numbers(group: Any, name: str, most: int) -> NDArray[np.float64]:
    """At most `most` numbers of any shape, as float64."""
    import h5py

    item = _checked(_item(group, name, h5py.Dataset))
    where = f"{_place(group)}/{name}"
    if item.dtype.kind not in "fiub":
        raise BadInput(f"no numbers, but {item.dtype}", where=where)
    if item.size is None or item.size > most:
        raise BadInput(f"{item.size} numbers; {most} at most", where=where)
    with np.errstate(invalid="ignore"):  # whether values are finite is for others to ask
        return np.asarray(item[()], np.float64)


def _item(group: Any, name: str, kind: type) -> Any:
    """An entry of the file itself: no link leads to it but the group's own."""
    import h5py

    where = f"{_place(group)}/{name}"
    link = group.get(name, getlink=True)
    if link is None:
        raise BadInput(f"no {printable(name)}", where=where)
    if not isinstance(link, h5py.HardLink):
        raise BadInput("a link, perhaps into another file", where=where, fix="save plain data")
    item = group[name]
    if not isinstance(item, kind):
        raise BadInput(f"a {type(item).__name__} instead of a {kind.__name__}", where=where)
    return item


def _checked(item: Any) -> Any:
    """A dataset whose bytes lie in this file, as many as it claims."""
    where = _place(item)
    if item.external or item.is_virtual:
        raise BadInput("data in another file", where=where, fix="save plain data")
    made = item.id.get_create_plist()
    for i in range(made.get_nfilters()):
        code = made.get_filter(i)[0]
        if code not in _FILTERS:
            known = ", ".join(_FILTERS.values())
            raise BadInput(f"filter {code}, not one of {known}", where=where)
    n_bytes = item.nbytes or 0
    chunk = int(np.prod(item.chunks, dtype=float)) * item.dtype.itemsize if item.chunks else 0
    size = Path(item.file.filename).stat().st_size
    if max(n_bytes, chunk) > min(MOST_BYTES, MOST_INFLATED * size):
        raise BadInput(f"claims {max(n_bytes, chunk)} bytes, the file has {size}", where=where)
    if n_bytes and not item.id.get_storage_size():
        raise BadInput(f"claims {n_bytes} bytes, the file holds none", where=where, fix=AGAIN)
    return item


def _offset(item: Any) -> int:
    """Where the data of a dataset stand in the file, in one piece."""
    at = item.id.get_offset()
    if at is None or item.file.id.get_create_plist().get_sizes() != (8, 8):
        raise BadInput("strings in another form than nir.write's", where=_place(item))
    return int(at)


def _place(entry: Any) -> str:
    """File and entry, for messages."""
    return f"{entry.file.filename}: {printable(entry.name.rstrip('/'))}"
