"""Whether blocks cover a matrix: every field exactly once."""

import numpy as np
from numpy.typing import NDArray


def gap_or_overlap(n_pre: int, n_post: int, blocks: NDArray[np.int64]) -> str:
    """What is wrong with blocks int64[n, 4] of (pre, n_pre, post, n_post), or nothing.

    The matrix is painted on the raster of all borders, by differences of a prefix sum in two
    dimensions: + at a block's corners, - behind them.
    """
    pre, width, post, height = blocks.reshape(-1, 4).T
    x = np.unique(np.concatenate([[0, n_pre], pre, pre + width]))
    y = np.unique(np.concatenate([[0, n_post], post, post + height]))
    if x[0] < 0 or y[0] < 0 or x[-1] > n_pre or y[-1] > n_post:
        return "a tile reaches beyond the matrix"
    paint = np.zeros((y.size + 1, x.size + 1), np.int64)
    left, right = np.searchsorted(x, pre), np.searchsorted(x, pre + width)
    top, bottom = np.searchsorted(y, post), np.searchsorted(y, post + height)
    for rows, columns, sign in (
        (top, left, 1),
        (top, right, -1),
        (bottom, left, -1),
        (bottom, right, 1),
    ):
        np.add.at(paint, (rows, columns), sign)
    times = paint.cumsum(0).cumsum(1)[: y.size - 1, : x.size - 1]
    wrong = np.argwhere(times != 1)
    if not wrong.size:
        return ""
    row, column = wrong[0]
    what = "gap" if times[row, column] == 0 else "overlap"
    return f"{what} at ({x[column]}, {y[row]})"
