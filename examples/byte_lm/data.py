"""Text of the byte LM: Python's own standard library, split by whole files.

A file is held out when the hash of its name says so; training files that share many
lines with held-out ones are dropped. Large tables (encodings, keyword indexes) are left out.
"""

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path

HELDOUT_BYTES = 256 * 1024
SKIPPED = ("site-packages", "encodings", "pydoc_data", "lib2to3/tests/data", "test/cjkencodings")
SHARED_LINES = 0.3
"""A training file with more of its longer lines in the held-out text than this is dropped."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Bytes to train on, bytes never trained on, and the held-out files' names."""

    train: bytes
    heldout: bytes
    heldout_files: tuple[str, ...]


def _sources(root: Path) -> list[tuple[str, bytes]]:
    """(name, text) of every library source, in the order of a hash of its name."""
    found = []
    for path in root.rglob("*.py"):
        name = path.relative_to(root).as_posix()
        if any(part in name for part in SKIPPED) or path.stat().st_size < 200:
            continue
        found.append((name, path.read_bytes().replace(b"\r\n", b"\n")))
    return sorted(found, key=lambda item: hashlib.sha256(item[0].encode()).digest())


def _long_lines(text: bytes) -> set[bytes]:
    return {line.strip() for line in text.split(b"\n") if len(line.strip()) > 20}


def load(root: Path | None = None) -> Corpus:
    """Split the standard library of the running Python (or `root`)."""
    sources = _sources(root or Path(sysconfig.get_paths()["stdlib"]))
    heldout, names = b"", []
    rest = iter(sources)
    for name, text in rest:
        heldout += text
        names.append(name)
        if len(heldout) >= HELDOUT_BYTES:
            break
    heldout = heldout[:HELDOUT_BYTES]
    known = _long_lines(heldout)
    train = []
    for _, text in rest:
        lines = _long_lines(text)
        if not lines or len(lines & known) <= SHARED_LINES * len(lines):
            train.append(text)
    return Corpus(b"".join(train), heldout, tuple(names))
