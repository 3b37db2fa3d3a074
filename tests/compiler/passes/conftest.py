"""A small model after every pass, on cores so small that every pass has something to do."""

import pytest

from compiler.frontends.read import read_model
from hw_models.chip import load_chip
from tests.compiler.passes.steps import passes
from tests.small import model
from tests.spiking import network, written
from tests.tiny import TINY, TINY_CORE


@pytest.fixture(scope="session")
def small():
    """Two groups of inputs, linears of many tiles in rows and columns, several chips."""
    return passes(model(0)[0], load_chip("toy", {"core.in_axons": "200"}))


@pytest.fixture(scope="session")
def tiny():
    return passes(model(0, TINY)[0], load_chip("toy", TINY_CORE))


@pytest.fixture(scope="session")
def neurons(tmp_path_factory):
    """Three populations of spiking neurons, the first two in several blocks."""
    path = written(tmp_path_factory.mktemp("nir") / "three.nir", *network())
    sizes = {"core.synapse_memory": "1536 B", "core.state_memory": "1536 B", "core.neurons": "64"}
    return passes(read_model(path)[0], load_chip("toy", sizes))
