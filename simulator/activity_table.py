"""activity.parquet: an Activity as a table.

what    "counts" of a site; of a stage the experts "chosen", or which channels are "active"
site    of counts; else the stage
token   its number
v_th    of counts; else NaN
counts  int32: one per channel; the experts, ascending; or one per head and key channel:
        1 touched by the query, 2 by the key, 3 by both
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from compiler.activity import Activity
from hw_models.errors import BadInput

_OF_STAGES: Final = ("chosen", "active")
"""Fields of an activity that are told by stage, for every token."""

_SCHEMA: Final = pa.schema(
    [
        ("what", pa.dictionary(pa.int32(), pa.string())),
        ("site", pa.dictionary(pa.int32(), pa.string())),
        ("token", pa.int32()),
        ("v_th", pa.float32()),
        ("counts", pa.list_(pa.int32())),
    ]
)


def write_table(path: Path, activity: Activity) -> None:
    """Counts site by site, then what routers chose and what touched recurrent states."""
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for site in activity.counts:
            tokens, v_th = activity.tokens[site], np.array(activity.v_th[site], np.float32)
            writer.write_table(_rows("counts", site, tokens, v_th, activity.stacked(site)))
        for what in _OF_STAGES:
            for stage, told in getattr(activity, what).items():
                values = np.array(told, np.int32).reshape(len(told), -1)
                none = np.full(len(told), np.nan, np.float32)
                writer.write_table(_rows(what, stage, range(len(told)), none, values))


def _rows(
    what: str,
    name: str,
    tokens: Sequence[int],
    v_th: NDArray[np.float32],
    values: NDArray[np.int32],
) -> pa.Table:
    rows, n = values.shape
    index = pa.array(np.zeros(rows, np.int32))
    ends = np.arange(0, rows * n + 1, n, dtype=np.int32)
    return pa.table(
        [
            pa.DictionaryArray.from_arrays(index, pa.array([what])),
            pa.DictionaryArray.from_arrays(index, pa.array([name])),
            np.array(tokens, np.int32),
            v_th,
            pa.ListArray.from_arrays(ends, values.reshape(-1)),
        ],
        schema=_SCHEMA,
    )


def read_table(path: Path) -> Activity:
    """Rows back into lists over tokens; BadInput where they are not what we write."""
    activity = Activity()
    try:
        file = pq.ParquetFile(path)
        if not file.schema_arrow.equals(_SCHEMA):
            raise BadInput(f"{path.name} has other columns", where=str(path.parent))
        for i in range(file.num_row_groups):
            _add_rows(activity, file.read_row_group(i))
    except (pa.ArrowException, OSError, ValueError) as e:
        raise BadInput(f"{path.name} cannot be read: {e}", where=str(path.parent)) from None
    return activity


def _add_rows(activity: Activity, table: pa.Table) -> None:
    if any(column.null_count for column in table.columns):
        raise ValueError("rows with nothing in them")
    names, tokens = table["site"].to_pylist(), table["token"].to_pylist()
    v_th = table["v_th"].to_numpy()
    lists = table["counts"].combine_chunks()
    values = lists.values.to_numpy()
    offsets = lists.offsets.to_numpy()
    for i, (what, name) in enumerate(zip(table["what"].to_pylist(), names, strict=True)):
        row = values[offsets[i] : offsets[i + 1]]
        if what == "counts":
            activity.add(name, tokens[i], row, np.float32(v_th[i]))
        elif what in _OF_STAGES:
            if tokens[i] != len(getattr(activity, what).get(name, ())):
                raise ValueError(f"token {tokens[i]} of {name} is not the next one")
            told = tuple(row.tolist()) if what == "chosen" else row
            getattr(activity, what).setdefault(name, []).append(told)
        else:
            raise ValueError(f"rows of {what!r}")
