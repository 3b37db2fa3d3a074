"""A folder to type commands in."""

import pytest
import torch

from examples.byte_lm.model import random_checkpoint
from tests.compiler.typed import TINY


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(one_thread, tmp_path, monkeypatch):
    """A working folder that holds tiny.pt only."""
    monkeypatch.chdir(tmp_path)
    torch.save(random_checkpoint(TINY, seed=0), "tiny.pt")
    return tmp_path
