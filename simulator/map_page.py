"""A map as one offline HTML page: no request, arrays packed into it, a canvas that draws them.

Arrays travel as one block, compressed and in base64; browsers unpack it themselves. Names are data,
never markup: the template escapes those that it shows, the script writes text only.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hw_models.events import LINKS, MESSAGES
from hw_models.files import write_text
from hw_models.si import share, si, whole
from simulator.map_data import Floorplan
from simulator.map_summary import totals
from simulator.page import environment

ALIGN: Final = 8  # bytes: what the widest typed array asks for


def render_map(plan: Floorplan, found: Mapping[str, Any], path: Path) -> None:
    """Write the page; found: its summary. Raises BadInput if the file cannot be written."""
    directory, data = packed(columns(plan))
    templates = environment()
    templates.filters |= {"si": si, "whole": whole, "share": share, "count": _count}
    view = {
        "found": found,
        "totals": totals(dict(found)),
        "head": head(plan) | {"columns": directory},
        "data": data,
    }
    write_text(path, templates.get_template("map.html").render(view))


def _count(value: float) -> str:
    """'54,138', and from a million on '93.7 M'."""
    return whole(value) if value < 1e6 else si(value, "")


def head(plan: Floorplan) -> dict[str, Any]:
    """What the script knows besides the arrays."""
    mesh = plan.program.mesh
    return {
        "mesh": {
            name: getattr(mesh, name)
            for name in ("chips_w", "chips_h", "chip_w", "chip_h", "cores_per_router")
        },
        "link_kinds": LINKS,
        "messages": MESSAGES,
        "resources": [
            {"name": x.resource, "limit": x.most, "of": x.of, "unit": "B" if x.in_bytes else ""}
            for x in plan.limits
        ],
        "unit": plan.program.graph.unit,
        "ops": plan.program.ops,
        "layers": plan.layers,
        "kinds": plan.kinds,
    }


def columns(plan: Floorplan) -> dict[str, NDArray[Any]]:
    """Every array that is drawn, by its name in the script."""
    cores, links = plan.cores, plan.links
    found: dict[str, NDArray[Any]] = {
        "core_number": cores.number,
        "core_tile_op": cores.tile_op,
        "core_work_op": cores.work_op,
        "core_used": cores.used.ravel(),
        "core_sent": cores.sent.ravel(),
        "core_received": cores.received.ravel(),
        "core_sent_bits": cores.sent_bits,
        "core_received_bits": cores.received_bits,
        "link_number": links.number,
        "link_bits": links.bits,
        "first_task": plan.first_task,
        "task_name": np.frombuffer(json.dumps(_short(plan)).encode(), np.uint8),
    }
    n_cores = cores.number.size
    for name, pairs in (("way", plan.ways), ("reach", plan.reached)):
        sizes = np.bincount(pairs.left, minlength=n_cores)
        found[f"{name}_first"] = np.append(0, np.cumsum(sizes))
        found[name] = pairs.right
    return found | {f"task_{name}": column for name, column in plan.tasks.items()}


def _short(plan: Floorplan) -> list[str]:
    """Names of tasks without their operation's, which most of them begin with: '[0,512]'."""
    ops = plan.program.ops
    return [
        "\0" + name.removeprefix(ops[op]) if name.startswith(ops[op]) else name
        for name, op in zip(plan.names, plan.tasks["op"].tolist(), strict=True)
    ]


def packed(arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, tuple[str, int, int]], str]:
    """({name: (type, first byte, items)}, all of them as base64 of zlib)."""
    directory, pieces, at = {}, [], 0
    for name, array in arrays.items():
        small = array.astype(_type(array))
        directory[name] = (small.dtype.str.lstrip("<|"), at, small.size)
        raw = small.tobytes()
        pieces.append(raw + bytes(-len(raw) % ALIGN))
        at += len(pieces[-1])
    return directory, base64.b64encode(zlib.compress(b"".join(pieces), 9)).decode()


def _type(array: NDArray[Any]) -> str:
    """The smallest type that a browser has for the values."""
    if array.dtype.kind == "f":
        return "<f4"
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    types = ("<u1", "<u2", "<u4", "<i4")
    fits = (t for t in types if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return next(fits, "<f8")  # exact up to 2^53, as all numbers of a browser
