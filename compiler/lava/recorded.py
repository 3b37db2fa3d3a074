"""Counts of a run, from the activity.parquet of its run folder."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hw_models.errors import BadInput


def recorded(path: Path, most: int | None) -> dict[str, NDArray[np.int32]]:
    """int32[tokens, n] per site, of its first `most` tokens; BadInput for any other file."""
    if not path.is_file():
        raise BadInput("no such file", where=str(path), fix="activity.parquet of a run folder")
    try:
        table = pq.read_table(path, columns=["what", "site", "counts"])
        table = table.filter(pc.equal(table["what"], "counts"))
        sites, counts = table["site"].to_pylist(), table["counts"].combine_chunks()
        values = counts.values.to_numpy().astype(np.int32, casting="same_kind", copy=False)
        ends = counts.offsets.to_numpy()
    except (pa.ArrowException, KeyError, AttributeError, TypeError, ValueError) as error:
        raise BadInput(f"no counts of a run: {error}", where=str(path)) from None
    rows: dict[str, list[NDArray[np.int32]]] = {}
    for i, site in enumerate(sites):
        own = rows.setdefault(site, [])
        if most is None or len(own) < most:
            own.append(values[ends[i] : ends[i + 1]])
    if any(len({row.size for row in own}) != 1 for own in rows.values()):
        raise BadInput("rows of one site differ in length", where=str(path))
    return {site: np.stack(own) for site, own in rows.items()}
