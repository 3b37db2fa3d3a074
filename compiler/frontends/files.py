"""JSON files of limited size, and one error for whatever readers raise on damaged ones."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from compiler.frontends.torch_zip import AGAIN
from hw_models.errors import BadInput, SpikeloomError

MAX_JSON: Final = 1 << 24  # bytes


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
        if path.stat().st_size > MAX_JSON:
            raise BadInput(f"larger than {MAX_JSON} bytes", where=str(path))
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise BadInput("not a JSON object", where=str(path))
    return found
