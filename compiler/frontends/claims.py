"""What the pickle of a torch archive claims of its storages, read without running it.

torch maps the file and cuts each storage out of it as long as the pickle says, even into its
neighbours; so the claims are compared with the archive's entries first.
"""

import pickletools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from hw_models.errors import BadInput

_ATOMS: Final = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "GLOBAL"}
_PUTS: Final = {"BINPUT", "LONG_BINPUT"}
_GETS: Final = {"BINGET", "LONG_BINGET"}

_STORAGE: Final = re.compile(r"torch (?P<kind>\w+)Storage|torch\.storage (?P<raw>Untyped)Storage")
_ITEM_BYTES: Final = {
    **{"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Untyped": 1},
    **{"Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1},
    **{"ComplexDouble": 16, "ComplexFloat": 8},
}


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A value on the unpickler's stack that is neither text, number, name nor tuple of these."""


def check_claims(pickle: bytes, held: Mapping[str, int], where: str) -> None:
    """Each storage must be as long as the entry that holds it (`held`: bytes by key).

    Raises BadInput naming the storage.
    """
    for claim in _claims(pickle):
        key, size = _storage(claim)
        if size is None or key not in held:
            raise BadInput(
                f"storage {key[:80]!r} is of an unknown form, or not in the file", where=where
            )
        if size != held[key]:
            raise BadInput(
                f"storage {key[:80]!r} claims {size} bytes, the file holds {held[key]} of it",
                where=where,
                fix="copy or save the file again",
            )


def _claims(pickle: bytes) -> Iterator[object]:
    """The operand of every BINPERSID; exact for what torch.save writes, _Unknown otherwise."""
    memo: dict[object, object] = {}
    since_mark: list[object] = []
    top: object = _Unknown()
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in _PUTS:
            memo[argument] = top
            continue
        if opcode.name == "MARK":
            since_mark, top = [], _Unknown()
            continue
        if opcode.name == "BINPERSID":
            yield top
        if opcode.name in _ATOMS:
            top = argument
        elif opcode.name in _GETS:
            top = memo.get(argument, _Unknown())
        elif opcode.name == "TUPLE":
            top, since_mark = tuple(since_mark), []
        else:
            top = _Unknown()
        since_mark.append(top)


def _storage(claim: object) -> tuple[str, int | None]:
    """Key and bytes of a claim ("storage", "torch FloatStorage", key, device, elements)."""
    match claim:
        case ("storage", str(name), str(key), str(), int(elements)):
            named = _STORAGE.fullmatch(name)
            kind = named and (named["kind"] or named["raw"])
            item = _ITEM_BYTES.get(str(kind))
            return key, None if item is None else elements * item
        case _:
            return "", None
