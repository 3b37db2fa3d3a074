"""A small model after every pass, on cores so small that every pass has something to do."""

import pytest

from hw_models.chip import load_chip
from tests.compiler.passes.steps import passes
from tests.small import model
from tests.tiny import TINY, TINY_CORE


@pytest.fixture(scope="session")
def small():
    """Two groups of inputs, linears of many tiles in rows and columns, several chips."""
    return passes(model(0)[0], load_chip("toy", {"core.in_axons": "200"}))


@pytest.fixture(scope="session")
def tiny():
    return passes(model(0, TINY)[0], load_chip("toy", TINY_CORE))
