"""A run under way on the disk: killed at any moment, it continues from its last checkpoint.

    RUN_DIR/checkpoint/job          what was asked for; written before the run begins
    RUN_DIR/checkpoint/state        where the run stands, and the sha256 of every piece
    RUN_DIR/checkpoint/found-<n>    what had come out of it since the checkpoint before
    RUN_DIR/checkpoint/trace-<n>    the same of its trace
    RUN_DIR/checkpoint/lock         held by the process that works on it

Pieces are written before the state that names them, and the state is replaced by a rename: it is
the last whole checkpoint, whatever happens. A resumed run computes what an uninterrupted one does,
bit by bit, so its files are the same but for provenance.json.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compiler.activity import Activity
from compiler.program import Program
from hw_models.chip import Sync
from hw_models.errors import BadInput, SpikeloomError
from simulator.carried import TYPES, add, carried, extent, grown, parts_of, restore
from simulator.drive import Simulation
from simulator.frozen import read_frozen, write_frozen
from simulator.hot.jit import SOURCES
from simulator.lockstep_run import LockstepRun
from simulator.phases import Course
from simulator.run_folder import UNDER_WAY, finished
from simulator.tracing import Tracer, Tracing

FORMAT: Final = "spikeloom-under-way-1"
_AGAIN: Final = "remove the folder and run sbsim run again"


@dataclass(frozen=True, slots=True)
class Job:
    """What a run was asked for; everything else follows from its program."""

    program: str  # where it lies; "" where nobody said
    program_hash: str
    made_with: dict[str, str]  # versions: others might round otherwise
    every_s: float
    prompt: tuple[int, ...]
    tokens: int
    spikes: NDArray[np.uint8] | None
    workload: dict[str, Any] | None  # as simulator.workload.again takes it
    slots: int | None
    sync: Sync | None
    tracing: Tracing | None
    check: bool


class Keeper:
    """Writes checkpoints of one run when they are due, and finds the last one again."""

    def __init__(self, folder: Path, job: Job, wall_s: float = 0.0) -> None:
        self.folder, self.job, self.wall_s = folder, job, wall_s
        self.where = folder / UNDER_WAY
        self._began = self._saved = time.monotonic()
        self._number = 0
        self._pieces: dict[str, str] = {}  # {name: sha256} of what has come out
        self._seen: Any = None
        self._traced: dict[int, tuple[NDArray[np.int64], str, str]] = {}  # by id: piece, name, sha

    @property
    def seconds(self) -> float:
        """Wall time spent on the run, by earlier processes too."""
        return self.wall_s + time.monotonic() - self._began

    def attach(
        self, simulation: Simulation | LockstepRun, tracer: Tracer | None, course: Course
    ) -> Course:
        """Continue at the last checkpoint, if there is one, and write others when they are due."""
        if (self.where / "state").exists():
            with placed(self.where / "state"):
                course = self._continue(simulation, tracer)

        def pause() -> None:
            if time.monotonic() - self._saved >= self.job.every_s:
                self.save(simulation, course, tracer)

        simulation.pause = pause
        return course

    def save(
        self, simulation: Simulation | LockstepRun, course: Course, tracer: Tracer | None
    ) -> None:
        """One checkpoint. BadInput where it cannot be written; the one before stands."""
        self._number += 1
        state = carried(simulation)  # hands trace rows on
        everything = parts_of(simulation.found)
        if (new := grown(everything, self._seen)) is not None:
            name = f"found-{self._number:06}"
            self._pieces[name] = self._write(name, new)
        self._seen = extent(everything)
        body = {
            "carried": state,
            "course": course,
            "number": self._number,
            "found": self._pieces,
            "trace": None if tracer is None else self._trace(tracer),
            "wall_s": self.seconds,
        }
        self._write("state", body)
        kept = {*self._pieces, *(name for _, name, _ in self._traced.values())}
        for path in self.where.glob("*-[0-9]*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)
        self._saved = time.monotonic()

    def _trace(self, tracer: Tracer) -> dict[str, Any]:
        """Pieces that are not on the disk yet are written; the others have not changed."""
        known, self._traced = self._traced, {}
        for i, piece in enumerate(tracer.pieces):
            found = known.get(id(piece))
            if found is None:
                name = f"trace-{self._number:06}-{i}"
                found = piece, name, self._write(name, piece)
            self._traced[id(piece)] = found
        pieces = [(name, digest) for _, name, digest in self._traced.values()]
        return {"pieces": pieces, "counts": tracer.counts}

    def _continue(self, simulation: Simulation | LockstepRun, tracer: Tracer | None) -> Course:
        body = self._read("state")
        restore(simulation, body["carried"])
        self._number, self._pieces = body["number"], body["found"]
        for name, digest in self._pieces.items():
            add(parts_of(simulation.found), self._read(name, digest))
        self._seen = extent(parts_of(simulation.found))
        if (tracer is None) != (body["trace"] is None):
            raise BadInput("a trace that was not asked for, or none that was")
        if tracer is not None:
            tracer.counts = body["trace"]["counts"]
            for name, digest in body["trace"]["pieces"]:
                piece = self._read(name, digest)
                tracer.pieces.append(piece)
                self._traced[id(piece)] = piece, name, digest
        course = body["course"]
        if not isinstance(course, Course):
            raise BadInput("no course")
        self.wall_s = float(body["wall_s"])
        return course

    def _write(self, name: str, value: Any) -> str:
        fix = f"make room, then sbsim run --resume {self.folder}"
        return write_frozen(self.where / name, FORMAT, value, fix)

    def _read(self, name: str, digest: str | None = None) -> Any:
        if "/" in name:
            raise BadInput(f"a piece named {name}")
        return read_frozen(self.where / name, FORMAT, TYPES, _AGAIN, digest)


def begin(folder: Path, job: Job) -> Keeper:
    """A new run folder that is under way; BadInput if it exists or cannot be made."""
    folder = folder.resolve()
    if folder.exists():
        raise BadInput("already exists", where=str(folder), fix="another --out, or remove it")
    own = {f.name: getattr(job, f.name) for f in fields(job)}
    tracing = job.tracing and {f.name: getattr(job.tracing, f.name) for f in fields(job.tracing)}
    work = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    try:
        (work / UNDER_WAY).mkdir(parents=True)
        write_frozen(work / UNDER_WAY / "job", FORMAT, own | {"tracing": tracing})
        os.replace(work, folder)
    except OSError as error:
        raise BadInput(f"cannot be written: {error.strerror}", where=str(folder)) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Keeper(folder, job)


def resume(folder: Path) -> Keeper:
    """The keeper of a run that was killed; BadInput for a folder that holds none."""
    folder = folder.resolve()
    if finished(folder) and not (folder / UNDER_WAY).exists():
        raise BadInput("the run is finished", where=str(folder), fix=f"sbsim report {folder}")
    path = folder / UNDER_WAY / "job"
    if not path.exists():
        raise BadInput(
            "no run under way here", where=str(folder), fix="sbsim run --checkpoint-every 60"
        )
    with placed(path):
        own = read_frozen(path, FORMAT, {Activity.__name__: Activity}, _AGAIN)
        tracing = own.pop("tracing")
        job = Job(**own, tracing=tracing and Tracing(**tracing))
        for name in job.made_with.keys() | (now := made_with()).keys():
            if (then := job.made_with.get(name)) != now.get(name):
                raise BadInput(
                    f"the run was begun with {name} {then}; this is {now.get(name)}, which might "
                    "round otherwise",
                    where=str(folder),
                    fix=f"{name} {then}, or run it from the start",
                )
    return Keeper(folder, job)


def made_with() -> dict[str, str]:
    """Versions that the bits of a run depend on; the engine's by its sources."""
    found = {"engine": SOURCES[:16]}
    for name in ("spikeloom", "numpy", "numba", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def check_program(job: Job, program: Program, path: str) -> None:
    """The very program that the run was begun with."""
    if program.hash != job.program_hash:
        raise BadInput(
            "not the program that the run was begun with",
            where=path or program.graph.model,
            fix=f"sbsim run PROGRAM --resume ..., with the one of sha256 {job.program_hash[:12]}",
        )


@contextlib.contextmanager
def alone(keeper: Keeper) -> Iterator[None]:
    """No other process works on this run; BadInput where one does. A killed one holds nothing."""
    try:
        import fcntl
    except ImportError:  # not on this system
        yield
        return
    with (keeper.where / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput("another process works on it", where=str(keeper.folder)) from None
        yield


def drop(keeper: Keeper) -> None:
    """The run is finished: its checkpoints go."""
    shutil.rmtree(keeper.where, ignore_errors=True)


@contextlib.contextmanager
def placed(path: Path) -> Iterator[None]:
    """Values of a shape or kind that nothing of ours writes are a broken file too."""
    try:
        yield
    except SpikeloomError as error:
        if error.where and Path(error.where).is_absolute():
            raise
        what = f"{error.what} ({error.where})" if error.where else error.what
        raise BadInput(what, where=str(path), fix=_AGAIN) from None
    except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
        raise BadInput(f"no checkpoint of this run: {error}", where=str(path), fix=_AGAIN) from None
