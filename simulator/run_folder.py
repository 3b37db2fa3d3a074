"""A run as a folder: written whole or not at all, checked when it is read.

    run.json          what was run, format version, times (everything of Run but counters)
    counters.json     {phase: {operation: {kind: count}}}
    activity.parquet  counts of every site and token (simulator/activity_table.py)
    events.parquet, timeline.perfetto   with a trace
    SHA256SUMS        of all files above (`sha256sum -c SHA256SUMS` works)
    provenance.json   host, date, versions, wall time, and the checksum of these
    checkpoint/       while the run is under way (simulator/checkpoint.py)

All but provenance.json are the same bytes for the same run.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from compiler.activity import Activity
from hw_models.errors import BadInput
from simulator.activity_table import read_table, write_table
from simulator.result import Run
from simulator.timeline import write_timeline
from simulator.trace import Trace, write_events

FORMAT: Final = "spikeloom-run-3"
RUN, COUNTERS, ACTIVITY = "run.json", "counters.json", "activity.parquet"
EVENTS, TIMELINE = "events.parquet", "timeline.perfetto"
SUMS, PROVENANCE = "SHA256SUMS", "provenance.json"
UNDER_WAY: Final = "checkpoint"

_HASHED: Final = (RUN, COUNTERS, ACTIVITY, EVENTS, TIMELINE)
_AGAIN: Final = "run sbsim run again"


@dataclass(frozen=True, slots=True)
class Stored:
    """A run read back; activity is None where none was recorded."""

    run: Run
    activity: Activity | None
    provenance: Mapping[str, Any]
    files: tuple[str, ...]


def write_run(
    folder: Path,
    run: Run,
    activity: Activity | None,
    provenance: Mapping[str, Any],
    trace: Trace | None = None,
    under_way: bool = False,
) -> Path:
    """Write a run under a temporary name beside `folder`, then rename.

    under_way: the folder is there, with checkpoints; the files go into it, their sums last.
    Returns the folder. BadInput if it exists already or cannot be written.
    """
    folder = folder.resolve()
    if folder.exists() and not under_way:
        raise BadInput("already exists", where=str(folder), fix="another --out, or remove it")
    parent = folder / UNDER_WAY if under_way else folder.parent
    work = parent / f".{folder.name}.{uuid.uuid4().hex}"
    try:
        work.mkdir(parents=True)
        _write(work, run, activity, provenance, trace)
        if under_way:
            for path in sorted(work.iterdir(), key=lambda p: p.name == SUMS):
                os.replace(path, folder / path.name)
        else:
            os.replace(work, folder)
    except OSError as e:
        fix = f"make room, then sbsim run --resume {folder}" if under_way else ""
        raise BadInput(f"cannot be written: {e.strerror}", where=str(folder), fix=fix) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def read_run(folder: Path) -> Stored:
    """Read and check a run; BadInput names the file that is missing, truncated or altered."""
    sums = _sums(folder)
    for name, digest in sums.items():
        path = folder / name
        if not path.is_file():
            raise BadInput(f"{name} is missing", where=str(folder), fix=_AGAIN)
        with path.open("rb") as file:
            if file_digest(file, "sha256").hexdigest() != digest:
                raise BadInput(f"{name} is truncated or altered", where=str(folder), fix=_AGAIN)
    run = _run(folder)
    activity = read_table(folder / ACTIVITY) if ACTIVITY in sums else None
    return Stored(run, activity, _provenance(folder), (*sums, SUMS, PROVENANCE))


def read_activity(path: Path) -> Activity:
    """The activity of a run folder, checked, or of a table alone."""
    if path.is_file():
        return read_table(path)
    found = read_run(path).activity
    if found is None:
        raise BadInput(f"the run has no {ACTIVITY}", where=str(path), fix=_AGAIN)
    return found


def finished(folder: Path) -> bool:
    """Whether a run folder is whole: its sums come last."""
    return (folder / SUMS).exists()


def newest_run(folder: Path) -> Path:
    """The run folder inside `folder` that was finished last; BadInput if there is none."""
    found = [p.parent for p in folder.glob(f"*/{SUMS}")] if folder.is_dir() else []
    if not found:
        raise BadInput("no run here", where=str(folder), fix="sbsim run")
    return max(found, key=lambda p: ((p / SUMS).stat().st_mtime_ns, p.name))


def _write(
    work: Path,
    run: Run,
    activity: Activity | None,
    provenance: Mapping[str, Any],
    trace: Trace | None,
) -> None:
    head = asdict(run)
    counters = {p["name"]: p.pop("counters") for p in head["phases"]}
    # operations stay in the order in which the model meets them
    _write_text(work / RUN, json.dumps({"format": FORMAT} | head, indent=1) + "\n")
    _write_text(work / COUNTERS, _json(counters))
    if activity is not None:
        write_table(work / ACTIVITY, activity)
    if trace is not None:
        write_events(trace, work / EVENTS)
        if trace.level != "chip":
            write_timeline(trace, work / TIMELINE)
    lines = [f"{_digest(work / name)}  {name}\n" for name in _HASHED if (work / name).exists()]
    _write_text(work / SUMS, "".join(lines))
    body = {"provenance": dict(provenance), "sums": _digest(work / SUMS)}
    _write_text(work / PROVENANCE, _json(body | {"sha256": _own_hash(body)}))


def _write_text(path: Path, text: str) -> None:
    """The text, on the disk when this returns."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sums(folder: Path) -> dict[str, str]:
    """{file: sha256} as SHA256SUMS says; only our own names, and the needed ones among them."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        if (folder / UNDER_WAY).is_dir():
            fix = f"sbsim run --resume {folder}"
            raise BadInput("the run is not finished", where=str(folder), fix=fix) from None
        raise BadInput("not a run folder", where=str(folder), fix="sbsim run") from None
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    if not {RUN, COUNTERS} <= set(sums) <= set(_HASHED):
        raise BadInput(f"{SUMS} is truncated or altered", where=str(folder), fix=_AGAIN)
    return sums


def _run(folder: Path) -> Run:
    head, counters = _load(folder, RUN), _load(folder, COUNTERS)
    found = head.pop("format", None)
    if found != FORMAT:
        raise BadInput(
            f"format {found}, this version reads {FORMAT}", where=str(folder / RUN), fix=_AGAIN
        )
    try:
        for phase in head["phases"]:
            phase["counters"] = counters[phase["name"]]
        return TypeAdapter(Run).validate_python(head)
    except (ValidationError, KeyError, TypeError) as e:
        what = f"{len(e.errors())} wrong values" if isinstance(e, ValidationError) else f"no {e}"
        raise BadInput(f"{RUN} does not describe a run: {what}", where=str(folder)) from None


def _provenance(folder: Path) -> Mapping[str, Any]:
    body = _load(folder, PROVENANCE)
    own = body.pop("sha256", None)
    if own != _own_hash(body) or body.get("sums") != _digest(folder / SUMS):
        raise BadInput(f"{PROVENANCE} is truncated or altered", where=str(folder), fix=_AGAIN)
    return dict(body["provenance"])


def _load(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise BadInput(f"{name} is missing or no JSON", where=str(folder), fix=_AGAIN) from None
    if not isinstance(found, dict):
        raise BadInput(f"{name} is no table of values", where=str(folder), fix=_AGAIN)
    return found


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, indent=1) + "\n"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _own_hash(body: Mapping[str, Any]) -> str:
    return sha256(_json(body).encode()).hexdigest()
