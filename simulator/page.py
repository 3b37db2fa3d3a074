"""What every HTML page of ours shares: templates that escape what they show, whole files."""

import os
import uuid
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from hw_models.errors import BadInput


def environment() -> Environment:
    """Templates in simulator/templates; a name that is missing is an error."""
    return Environment(
        loader=PackageLoader("simulator"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(page: str, path: Path) -> None:
    """Write under a temporary name, then rename; BadInput if the file cannot be written."""
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        work.write_text(page, encoding="utf-8")
        os.replace(work, path)
    except OSError as e:
        raise BadInput(f"cannot be written: {e.strerror}", where=str(path)) from None
    finally:
        work.unlink(missing_ok=True)
