"""Small files beside the weights, and one error for whatever readers raise on damaged ones."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from compiler.frontends.torch_zip import AGAIN
from compiler.text import TOKENIZER
from hw_models.errors import BadInput, SpikeloomError

MAX_JSON: Final = 1 << 24  # bytes
MAX_TOKENIZER: Final = 1 << 26  # the largest published ones have half of it


@contextmanager
def damage_to(path: Path) -> Iterator[None]:
    """BadInput for whatever readers raise on damaged files: KeyError, EOFError, struct.error..."""
    try:
        yield
    except SpikeloomError:
        raise
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    except UnicodeEncodeError:
        raise BadInput("a name that is no UTF-8", where=str(path), fix="rename it") from None
    except Exception as error:
        what = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise BadInput(f"truncated or altered: {what}", where=str(path), fix=AGAIN) from None


def json_object(path: Path) -> dict[str, Any]:
    """A JSON file such as config.json; BadInput if it is missing, too large, or no object."""
    with damage_to(path):
        if not path.is_file():
            raise BadInput(f"no {path.name}", where=str(path.parent), fix=f"add the {path.name}")
        found = json.loads(_small(path, MAX_JSON).decode())
    if not isinstance(found, dict):
        raise BadInput("not a JSON object", where=str(path))
    return found


def tokenizer_in(folder: Path) -> bytes:
    """The folder's tokenizer.json as it is, or nothing; BadInput if it is too large."""
    path = folder / TOKENIZER
    with damage_to(path):
        return _small(path, MAX_TOKENIZER) if path.is_file() else b""


def _small(path: Path, most: int) -> bytes:
    if path.stat().st_size > most:
        raise BadInput(f"larger than {most} bytes", where=str(path))
    return path.read_bytes()
