"""TOML files in which every number carries its source and grade.

A table's `source` and `grade` hold for the numbers in it and in its sub-tables; one
number overrides them with an inline table {value, low, high, source, grade, note}.
`read` lifts these citations out, `validate` turns the rest into frozen dataclasses,
and every mistake becomes a BadInput that names file, key and what was meant.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hw_models.cost import GRADES, Written
from hw_models.errors import BadInput

T = TypeVar("T")

SET_SOURCE: Final = "set for this run"
STRICT: Final = ConfigDict(extra="forbid")
"""For @with_config on the dataclass that stands for a file; its parts inherit it."""

_CITATION: Final = ("source", "grade", "note")
_NUMBER: Final = ("value", "low", "high", *_CITATION)
_WORDS: Final = ("name", "title", "node", "sync", "all_in", "covers", "per")  # need no source


@dataclass(frozen=True, slots=True)
class Tree:
    """A file after overrides; keys of sources and notes are dotted ('core.lanes')."""

    file: str  # as named in messages
    text: str  # JSON of everything below; read_text(text) gives the same tree
    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)  # (source, grade)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def text_hash(self) -> str:
        return sha256(self.text.encode()).hexdigest()

    def refuse(self, key: str, what: str) -> BadInput:
        """The error for one key; the caller raises it."""
        return BadInput(f"{self.file}: {key}: {what}")


def known(folder: str) -> tuple[str, ...]:
    """Names of the shipped files of a folder of hw_models ('chips', 'devices')."""
    names = (f.name for f in files("hw_models").joinpath(folder).iterdir())
    return tuple(sorted(n.removesuffix(".toml") for n in names if n.endswith(".toml")))


def read(folder: str, name_or_path: str | Path, overrides: Mapping[str, str]) -> Tree:
    """A shipped file by name or any file by path; BadInput if there is none or it is broken."""
    path = _locate(folder, name_or_path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise BadInput(f"cannot read {path}: {e.strerror}") from None
    except (ValueError, RecursionError) as e:
        raise BadInput(f"{path.name}: not a TOML file: {e}") from None
    for key, text in overrides.items():
        _override(raw, key, text)
    changed = f" with --set {', '.join(overrides)}" if overrides else ""
    return _cite(path.name + changed, raw)


def read_text(text: str, file: str) -> Tree:
    """The tree whose `text` this is; BadInput if it is broken."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise BadInput(f"{file}: not JSON: {e}") from None
    if not isinstance(raw, dict):
        raise BadInput(f"{file}: not a table of values")
    return _cite(file, raw)


def nearest(word: str, known_words: tuple[str, ...] | list[str]) -> str:
    """'the nearest known one is X', or the list when nothing is near."""
    close = get_close_matches(word, known_words, n=1)
    if close:
        return f"the nearest known one is {close[0]}"
    return f"known: {', '.join(known_words)}"


def validate(tree: Tree, kind: type[T]) -> T:
    """The tree as frozen dataclasses; unknown keys and wrong values are refused, all at once."""
    try:
        return TypeAdapter(kind).validate_python(tree.values)
    except ValidationError as e:
        found = [_sentence(kind, dict(error)) for error in e.errors()]
    raise BadInput(f"{tree.file}: {'; '.join(found)}")


def _locate(folder: str, name_or_path: str | Path) -> Path | Traversable:
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        return Path(name_or_path)
    names = known(folder)
    if text not in names:
        raise BadInput(
            f"no {folder[:-1]} is called {text!r}; {nearest(text, names)}",
            fix=f"one of {', '.join(names)}, or the path of a .toml file",
        )
    return files("hw_models").joinpath(folder, f"{text}.toml")


def _override(raw: dict[str, Any], key: str, text: str) -> None:
    """Set one dotted key from the command line; the new number's source is the user."""
    *parents, last = key.split(".")
    table = raw
    for name in parents:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise BadInput(f"--set {key}: {name} is a value, not a table")
    value = _toml_value(text)
    cited = {"source": SET_SOURCE, "grade": "assumed"}
    if last in _WORDS or last in _CITATION:
        table[last] = value
    elif _is_number(table):
        table |= {last: value} | cited
    else:
        table[last] = {"value": value} | cited


def _toml_value(text: str) -> object:
    """'512' is a number, 'true' a boolean, '256 KiB' stays text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except ValueError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _cite(file: str, raw: dict[str, Any]) -> Tree:
    tree = Tree(file, json.dumps(raw, default=str))
    tree.values.update(_lift(tree, raw, "", {}))
    return tree


def _lift(tree: Tree, table: dict[str, Any], at: str, inherited: dict[str, Any]) -> dict[str, Any]:
    """The table without citations, which go to tree.sources and tree.notes."""
    cited = inherited | {k: table[k] for k in ("source", "grade") if k in table}
    if "note" in table:
        tree.notes[at] = _words(tree, f"{at}.note".lstrip("."), table["note"])
    values: dict[str, Any] = {}
    for name, child in table.items():
        key = f"{at}.{name}" if at else name
        if name in _CITATION:
            continue
        if isinstance(child, dict) and not _is_number(child):
            values[name] = _lift(tree, child, key, cited)
        elif name in _WORDS:
            values[name] = child
        else:
            values[name] = _number(tree, key, child, cited)
    return values


def _is_number(table: dict[str, Any]) -> bool:
    """{value = '5 pJ', ...}; format.value, a table of its own, is none."""
    return "value" in table and not isinstance(table["value"], dict)


def _number(tree: Tree, key: str, written: object, inherited: dict[str, Any]) -> object:
    parts: dict[str, Any] = written if isinstance(written, dict) else {"value": written}
    for name in parts:
        if name not in _NUMBER:
            raise tree.refuse(f"{key}.{name}", f"unknown key; {nearest(name, _NUMBER)}")
    if "note" in parts:
        tree.notes[key] = _words(tree, f"{key}.note", parts["note"])
    cited = inherited | {k: parts[k] for k in ("source", "grade") if k in parts}
    source = _words(tree, f"{key}.source", cited.get("source", ""))
    grade = _words(tree, f"{key}.grade", cited.get("grade", ""))
    if grade not in GRADES:
        raise tree.refuse(f"{key}.grade", f"{grade!r} is not one of {', '.join(GRADES)}")
    tree.sources[key] = (source, grade)
    value = parts["value"]
    if "low" in parts or "high" in parts:
        return Written(value, parts.get("low", value), parts.get("high", value))
    return value


def _words(tree: Tree, key: str, text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise tree.refuse(key, "missing; every number says where it comes from")
    return text


def _sentence(kind: type, error: dict[str, Any]) -> str:
    """One pydantic error as 'dotted.key: what is wrong'."""
    *parents, last = error["loc"] or ("",)
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] in ("missing", "missing_argument"):
        return f"{key}: missing"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{key}: unknown key; {nearest(str(last), list(_keys(kind, parents)))}"
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}"
    return f"{key}: {error['input']!r}: {error['msg']}"


def _keys(kind: Any, path: list[str | int]) -> Iterator[str]:
    """Field names of the dataclass that stands at a path of nested types."""
    for part in path:
        kind = get_type_hints(kind)[str(part)] if is_dataclass(kind) else get_args(kind)[-1]
        kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind  # Table | None
    if is_dataclass(kind):
        yield from (f.name for f in fields(kind))
