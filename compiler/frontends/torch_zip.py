"""`.pt` files without running code: the archive and its pickle are checked before torch opens them.

`weights_only=True` alone is not enough: it inflates compressed entries, calls `bytearray` with any
size, and accepts a tensor of 10^12 elements over a storage of four bytes.
"""

import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from reprlib import repr as shown
from typing import Final

import torch

from compiler.frontends.claims import check_claims
from hw_models.errors import BadInput

CONVERT: Final = (
    'save plain tensors: torch.save({"format": "spikeloom-checkpoint-1", "config": {...}, '
    '"state_dict": model.state_dict()}, "model.pt"), or use safetensors'
)
AGAIN: Final = "copy or save the file again"
EXPORTED: Final = f"where you trust it, take torch.export.load(path).state_dict, and {CONVERT}"
SCRIPTED: Final = f"where you trust it, take torch.jit.load(path).state_dict(), and {CONVERT}"

MAX_ENTRIES: Final = 100_000
MAX_PICKLE: Final = 1 << 24  # bytes; names and shapes of 100,000 tensors need less

_PLAIN: Final = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(parameter|tensor_v[23])"
    r"|torch\.nn\.parameter Parameter"
    r"|torch(\.storage)? \w+Storage"
    r"|torch (b?float|u?int|half|double|long|short|bool)\w*"
)
"""What the pickle of a state dict names: `module name`."""

_CALLS: Final = {"GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}


def printable(name: str) -> str:
    """A name from a file, safe for a terminal."""
    return name if name.isprintable() and len(name) <= 100 else shown(name)


def load_zip(path: Path) -> tuple[object, int]:
    """What torch.save wrote (dicts, numbers, text, tensors over the mapped file), and how many
    bytes of tensor data the archive holds.

    Raises BadInput for an archive that is altered, compressed, not torch's, or holds code; and
    what zipfile, pickletools and torch raise on one that is truncated.
    """
    if path.suffix == ".safetensors":  # torch.load would go by the name
        raise BadInput("a torch file named .safetensors", where=str(path), fix="rename it to .pt")
    pickle, held = _checked_archive(path)
    refuse_code(pickle, path)
    if pickle[:2] != b"\x80\x02":
        raise BadInput(
            "not pickle protocol 2, which is torch.save's",
            where=str(path),
            fix="save it again without pickle_protocol",
        )
    check_claims(pickle, held, str(path))
    with warnings.catch_warnings(action="ignore"):  # it remarks on odd pickles that it then refuses
        found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    return found, sum(held.values())


def refuse_code(pickle: bytes, path: Path) -> None:
    """BadInput if a pickle names anything but tensors and their storages; nothing is run."""
    named: dict[str, None] = {}
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(pickle):
        if "UNICODE" in opcode.name:
            strings.append(str(argument))
        elif opcode.name == "STACK_GLOBAL":  # takes module and name from the stack
            if not _PLAIN.fullmatch(" ".join(strings[-2:])):
                named[".".join(strings[-2:])] = None
        elif opcode.name in _CALLS and not _PLAIN.fullmatch(str(argument)):
            named[str(argument).replace(" ", ".", 1)] = None
    if named:
        most = 5
        listed = ", ".join(map(printable, list(named)[:most])) + (
            ", ..." if len(named) > most else ""
        )
        raise BadInput(
            f"holds code or objects, not only tensors: it names {listed}",
            where=str(path),
            fix=CONVERT,
        )


def _checked_archive(path: Path) -> tuple[bytes, dict[str, int]]:
    """data.pkl, and the bytes of each storage; every entry is plain, whole and inside the file."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [e.filename for e in entries]
        folder = names[0].partition("/")[0] if names else ""
        # torch 2.7 and newer, and those before
        if {f"{folder}/archive_format", "serialized_exported_program.json"} & set(names):
            raise BadInput(
                "a torch.export archive (.pt2), whose loader can execute code",
                where=str(path),
                fix=EXPORTED,
            )
        if f"{folder}/data.pkl" not in names:
            raise BadInput(
                "a zip archive, but not one that torch.save wrote", where=str(path), fix=CONVERT
            )
        if any(not name.startswith(f"{folder}/") for name in names):
            raise BadInput("an archive of several folders", where=str(path), fix=CONVERT)
        if f"{folder}/constants.pkl" in names:
            raise BadInput("a TorchScript archive, which holds code", where=str(path), fix=SCRIPTED)
        _check_entries(entries, path)
        if archive.getinfo(f"{folder}/data.pkl").file_size > MAX_PICKLE:
            raise BadInput(f"data.pkl is larger than {MAX_PICKLE} bytes", where=str(path))
        broken = archive.testzip()
        if broken is not None:
            raise BadInput(
                f"entry {printable(broken)} is altered (checksum)", where=str(path), fix=AGAIN
            )
        data = f"{folder}/data/"
        held = {
            e.filename[len(data) :]: e.file_size for e in entries if e.filename.startswith(data)
        }
        return archive.read(f"{folder}/data.pkl"), held


def _check_entries(entries: list[zipfile.ZipInfo], path: Path) -> None:
    if len(entries) > MAX_ENTRIES or len({e.filename.lower() for e in entries}) < len(entries):
        raise BadInput("too many entries, or two of one name", where=str(path))
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise BadInput(
                f"entry {printable(entry.filename)} is compressed; torch.save stores plainly",
                where=str(path),
                fix="save it with torch.save, without zipping it again",
            )
    claimed, size = sum(e.file_size for e in entries), path.stat().st_size
    if claimed > size:
        raise BadInput(
            f"entries claim {claimed} bytes, the file has {size}", where=str(path), fix=AGAIN
        )
