"""Text files that are whole or not there: written under a temporary name, then renamed."""

import os
import uuid
from pathlib import Path

from hw_models.errors import BadInput


def write_text(path: Path, text: str) -> None:
    """Replace `path`; BadInput where it cannot be written, and nothing is left behind."""
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        work.write_text(text, encoding="utf-8")
        os.replace(work, path)
    except OSError as error:
        raise BadInput(f"cannot be written: {error.strerror}", where=str(path)) from None
    finally:
        work.unlink(missing_ok=True)
