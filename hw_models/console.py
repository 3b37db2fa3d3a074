"""What both command lines share: errors as sentences with exit codes, progress, result envelopes.

Standard output carries the result only; everything here goes to standard error. Set
SPIKELOOM_DEBUG=1 to see the traceback of any error.
"""

import io
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as shown
from typing import Any, Final

from hw_models.errors import BadInput, Bug, SpikeloomError, Usage

Progress = Callable[[str, int, int], None]
"""Called with (step, done, total)."""

_TOKENS: Final = re.compile(r"(?P<number>[0-9]{1,10})(?P<times>[kKM]?)")
_TIMES: Final = {"": 1, "K": 2**10, "M": 2**20}
INTERRUPTED: Final = 130
_QUIET_S: Final = 5.0  # between two lines about the same step, where nobody watches a bar


@contextmanager
def exit_codes() -> Iterator[None]:
    """Around a command: errors become 'error / at / fix' on stderr and their exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a locale that lacks a character of the result must not end a run
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    except SpikeloomError as error:
        _tell(error)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        _say("interrupted")
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        raise  # the reader of our output left; typer ends quietly
    except OSError as error:
        what = error.strerror or str(error)
        _tell(BadInput(f"{what[:1].lower()}{what[1:]}", where=str(error.filename or "")))
        raise SystemExit(BadInput.exit_code) from None
    except Exception as error:
        _tell(Bug(f"internal error: {type(error).__name__}: {error}"))
        raise SystemExit(Bug.exit_code) from None


def _tell(error: SpikeloomError) -> None:
    """Called while the error is handled, so that a traceback can be shown on demand."""
    if os.environ.get("SPIKELOOM_DEBUG") == "1":
        _say(traceback.format_exc().rstrip())
    fix = error.fix
    if isinstance(error, Bug) and not fix:
        fix = "this is our mistake: please report it, with what SPIKELOOM_DEBUG=1 shows"
    _say(f"error: {error.what}")
    for label, text in (("at", error.where), ("fix", fix)):
        if text:
            _say(f"  {label}: {text}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar with rate and time left on a terminal, else a plain line now and then; on stderr."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)  # the first run compiles the engine
        last: tuple[int, int] = (0, 0)  # done, total

        def show(step: str, done: int, total: int) -> None:
            nonlocal last
            if done < last[0] or total != last[1]:
                bar.reset(task, total=total)  # another count starts: so does its rate
            bar.update(task, description=step, completed=done, total=total)
            last = done, total

        yield show


def _lines(clock: Callable[[], float] = time.monotonic) -> Progress:
    """One line when a step begins and ends, and every few seconds in between."""
    told, told_s, began, began_s = "", -_QUIET_S, 0, 0.0

    def show(step: str, done: int, total: int) -> None:
        nonlocal told, told_s, began, began_s
        now = clock()
        if step != told:
            began, began_s = done, now
        elif done < total and now - told_s < _QUIET_S:
            return
        rate = (done - began) / (now - began_s) if done > began and now > began_s else 0.0
        left = f", {rate:.3g}/s, {(total - done) / rate:.0f} s left" if rate else ""
        _say(f"{step}: {done} of {total}{left}")
        told, told_s = step, now

    return show


def envelope(name: str, result: Mapping[str, Any]) -> str:
    """What --json prints: {"format": "spikeloom-<name>", "version": 1, "result": ...}."""
    return json.dumps({"format": f"spikeloom-{name}", "version": 1, "result": result}, indent=1)


def version_text() -> str:
    """'spikeloom 0.1.0'."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and --help must be instant

    try:
        return f"spikeloom {version('spikeloom')}"
    except PackageNotFoundError:
        return "spikeloom (run from its source folder, not installed)"


def chosen_prompt(
    text: str | None, path: str | os.PathLike[str] | None, ids: str | None
) -> bytes | tuple[int, ...] | None:
    """--prompt or --prompt-file as bytes, --token-ids as numbers; None when none was given.

    Raises Usage for several, BadInput for an empty prompt or a file that cannot be read.
    """
    options = {"--prompt": text, "--prompt-file": path, "--token-ids": ids}
    given = [name for name, value in options.items() if value is not None]
    if len(given) > 1:
        raise Usage("two prompts", where=" and ".join(given), fix="give one of them")
    if ids is not None:
        return _token_ids(ids)
    if path is not None:
        prompt = _content(path)
    elif text is not None:
        prompt = os.fsencode(text)
    else:
        return None
    if not prompt:
        where = str(path) if path is not None else "--prompt"
        raise BadInput("the prompt is empty", where=where, fix="at least one character")
    return prompt


def _token_ids(given: str) -> tuple[int, ...]:
    """'1,2,3', or the numbers in a file of that name."""
    found = _numbers(given)
    if found is None and os.path.exists(given):
        found = _numbers(_content(given).decode("utf-8", "replace"))
        if found is None:
            raise BadInput("no list of token ids", where=given, fix="numbers, as in 1,2,3")
    if found is None:
        raise BadInput(
            f"{shown(given)} is neither token ids nor a file", where="--token-ids", fix="1,2,3"
        )
    return found


def _numbers(text: str) -> tuple[int, ...] | None:
    """Of '1,2,3', '1 2 3' or '[1, 2, 3]'; None for anything else."""
    words = text.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    plain = all(w.isascii() and w.isdigit() and len(w) < 10 for w in words)
    return tuple(map(int, words)) if words and plain else None


def _content(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadInput(f"cannot read the prompt: {error.strerror}", where=str(path)) from None


def token_count(text: str, option: str) -> int:
    """8192 of '8192' or '8k'; BadInput for anything but a whole number."""
    found = _TOKENS.fullmatch(text)
    n = int(found["number"]) * _TIMES[found["times"].upper()] if found else -1
    if not 0 <= n < 2**31:
        fix = "a whole number below 2^31, as in 8192, 128k (x 1,024) or 1M (x 1,048,576)"
        raise BadInput(f"{shown(text)} is no number of tokens", where=option, fix=fix)
    return n


def check_destination(path: Path, fix: str) -> None:
    """Refuse to write over a folder, or in place of a device such as /dev/null.

    Files are written under a temporary name and renamed, which would replace the device.
    """
    if path.is_dir():
        raise BadInput("is a folder", where=str(path), fix=fix)
    if path.exists() and not path.is_file():
        raise BadInput("is not a plain file", where=str(path), fix=fix)
