"""Equality of small numbers: pytest.approx allows an absolute 1e-12, which is a whole picojoule."""

from typing import Any

import pytest


def near(expected: Any, rel: float = 1e-9) -> Any:
    """approx with a relative tolerance only."""
    return pytest.approx(expected, rel=rel, abs=0)
