"""Spikes that a user hands in: one row of 0 and 1 per time step."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph, outputs
from hw_models.errors import BadInput

MAKE = 'numpy.save("spikes.npy", spikes.astype(numpy.uint8)), of shape [steps, channels]'

BLOCK = 1 << 20
"""Values checked at once."""


def read_spikes(path: Path) -> NDArray[np.generic]:
    """The array of a .npy file, not yet read from it; BadInput for anything else."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)  # as large as the file at most
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    except Exception as error:  # its header is parsed as Python: TokenError, SyntaxError, ...
        what = str(error).partition("\n")[0][:100]
        raise BadInput(f"not a whole .npy file: {what}", where=str(path), fix=MAKE) from None
    if not isinstance(found, np.ndarray):
        raise BadInput("several arrays (.npz); one is wanted", where=str(path), fix=MAKE)
    return found


def checked(spikes: NDArray[np.generic], graph: Graph, first: int = 0) -> NDArray[np.uint8]:
    """uint8[steps, channels] of a network's input; further dimensions of a step are flattened.

    first: number of the first step, for messages. Raises BadInput for another number of channels,
    for none or no steps, and for a value that is neither 0 nor 1, naming step and channel.
    """
    channels = outputs(graph.stages[0])
    where = f"spikes for {graph.stages[0].name}"
    if spikes.ndim < 2 or math.prod(spikes.shape[1:]) != channels or not spikes.shape[0]:
        raise BadInput(
            f"shape {list(spikes.shape)}; [steps, {channels}] expected", where=where, fix=MAKE
        )
    if spikes.dtype.kind not in "biuf":
        raise BadInput(f"values of type {spikes.dtype}", where=where, fix=MAKE)
    rows = np.empty((spikes.shape[0], channels), np.uint8)
    some = max(1, BLOCK // channels)
    for step in range(0, len(rows), some):  # block by block: the file may be large
        block = spikes[step : step + some].reshape(-1, channels)
        wrong = (block != 0) & (block != 1)
        if wrong.any():
            at, channel = np.argwhere(wrong)[0].tolist()
            raise BadInput(
                f"a spike is 0 or 1, not {block[at, channel]}",
                where=f"{where}, step {first + step + at}, channel {channel}",
                fix="one row per step, with at most one spike per channel",
            )
        rows[step : step + some] = block
    return rows
