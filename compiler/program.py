"""A compiled program: what every core holds, waits for and sends; and its file, `.sbx`.

An `.sbx` is a safetensors file: arrays, and one JSON header with the graph, the fully
resolved target, and a sha256 of every array. Reading it executes nothing.
"""

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from compiler.graph import (
    Gla,
    Graph,
    Linear,
    Logits,
    Part,
    Population,
    Residual,
    Site,
    SpikeInput,
    Swiglu,
    Window,
)
from hw_models.chip import Chip, chip_from_text
from hw_models.errors import BadInput

FORMAT = "spikeloom-program-1"

I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

TILE, VECTOR, HOST = 0, 1, 2  # kinds of tasks
SPIKE, PARTIAL, VALUE, MARKER = 0, 1, 2, 3  # classes of messages, as in events.MESSAGES


@dataclass(frozen=True, slots=True)
class Tables:
    """Tasks, what they send, and the trees it travels on; all arrays are int32 unless said.

    task_*   one row per task. need counts spike trees (tile) or values and sums (vector);
             extra is awaited besides when token % period == residue; a task with window > 0
             repeats ring_ps once per token it keeps. gathers = index of the stage whose
             operands it completes, or -1. neuron_lo/neuron_n: sums that arrive at a vector
             task, or the neurons of a tile; channel_lo/channel_n: what it encodes.
    emit_*   what a task sends when it fires, in order: tree, message class, first channel or
             neuron, number of channels, neurons or values; residue as above, -1 for always.
    tree_*, node_*, sink_*   multicast trees, see passes.route.Trees
    work_*   what one firing of a task counts, by event kind (index into events.KINDS);
             work_ring = 1: once per token in the ring
    link_kind  int8, kind of every link (index into events.LINKS), -1 for links no tree uses
    """

    task_core: I32
    task_kind: I32
    task_op: I32
    task_need: I64
    task_extra: I64
    task_period: I32
    task_residue: I32
    task_window: I32
    task_ps: I64
    task_ring_ps: I64
    task_gathers: I32
    task_linear: I32
    task_neuron_lo: I32
    task_neuron_n: I32
    task_pre: I32
    task_n_pre: I32
    task_channel_lo: I32
    task_channel_n: I32
    task_site: I32
    task_emit: I32  # [n_tasks + 1] ranges into emit_*
    emit_tree: I32
    emit_class: I32
    emit_lo: I32
    emit_n: I32
    emit_residue: I32
    tree_root: I32
    tree_source: I32
    tree_first_local: I32
    tree_last_local: I32
    tree_task: I32
    node_link: I32
    node_first_child: I32
    node_last_child: I32
    node_first_sink: I32
    node_last_sink: I32
    sink_core: I32
    sink_task: I32
    sink_base: I32
    work_task: I32
    work_kind: I32
    work_count: I64
    work_ring: I32
    link_kind: I8


@dataclass(frozen=True, slots=True)
class LinearArrays:
    """W8 synapses of a fused linear: q int8[n_post, n_pre], m int32[n_post, groups], floats."""

    q: I8
    m: I32
    row_scale: F32
    bias: F32


@dataclass(frozen=True, slots=True)
class Prompt:
    """What `sbsim run` does by default."""

    text: bytes
    tokens: int


@dataclass(frozen=True)
class Program:
    """Everything the simulator needs; nothing of it is computed from the checkpoint again.

    codings[site] = (coding, payload bits); partial_bits[linear]; bounds: achieved and lower
    bound per resource; cores and the host are numbered as in passes.partition.Grid. A network
    that takes spikes has no prompt, and an embedding of no rows.
    """

    graph: Graph
    chip_text: str
    coding: str
    k: float
    codings: Mapping[str, tuple[str, int]]
    partial_bits: Mapping[str, int]
    ops: tuple[str, ...]
    task_names: tuple[str, ...]
    n_cores: int
    n_chips: int
    max_streams: int
    bounds: Mapping[str, Mapping[str, float]]
    statistics: Mapping[str, Any]
    prompt: Prompt | None
    tables: Tables
    linears: Mapping[str, LinearArrays]
    vectors: Mapping[str, F32]
    embedding: F32
    source: Mapping[str, Any]

    @cached_property
    def chip(self) -> Chip:
        return chip_from_text(self.chip_text, "program")

    @property
    def host_core(self) -> int:
        """Number of the host's place, beyond every core."""
        return int(self.tables.task_core.max())

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array by its name in the file, names sorted."""
        found: dict[str, NDArray[Any]] = {
            f"tables/{f.name}": getattr(self.tables, f.name) for f in dataclasses.fields(Tables)
        }
        for name, linear in self.linears.items():
            for f in dataclasses.fields(LinearArrays):
                found[f"linears/{name}/{f.name}"] = getattr(linear, f.name)
        found |= {f"vectors/{name}": v for name, v in self.vectors.items()}
        found["embedding"] = self.embedding
        # the file format stores plain buffers: a strided view would be written wrongly
        return {name: np.ascontiguousarray(a) for name, a in sorted(found.items())}

    @cached_property
    def header(self) -> dict[str, Any]:
        """The JSON part, without the arrays' hashes."""
        fields = {f.name for f in dataclasses.fields(self)}
        fields -= {"tables", "linears", "vectors", "embedding", "graph", "prompt"}
        return {
            "format": FORMAT,
            "graph": _graph_json(self.graph),
            "prompt": _prompt_json(self.prompt),
            **{name: _plain(getattr(self, name)) for name in sorted(fields)},
        }

    @cached_property
    def hash(self) -> str:
        """sha256 over the header and every array."""
        hashes = {name: _sha(a) for name, a in self.arrays.items()}
        return hashlib.sha256(_json([self.header, hashes]).encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the .sbx under a temporary name, then rename; same program, same bytes."""
        hashes = {name: _sha(a) for name, a in self.arrays.items()}
        body = _json({"header": self.header, "sha256": hashes})
        check = hashlib.sha256(body.encode()).hexdigest()
        path = path.resolve()
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
        os.close(handle)
        try:
            save_file(self.arrays, name, metadata={"spikeloom": f"{check} {body}"})
            Path(name).chmod(0o644)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> "Program":
        """Read and check an .sbx; BadInput names the section that is truncated or altered."""
        where = str(path)
        if not path.is_file():
            raise BadInput("no such program", where=where, fix="run sbcompile first")
        try:
            with safe_open(path, framework="numpy") as file:
                note = (file.metadata() or {}).get("spikeloom")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise BadInput(
                f"not a readable .sbx: {error}", where=where, fix="sbcompile MODEL writes one"
            ) from None
        if note is None:
            raise BadInput("a safetensors file, but not an .sbx", where=where)
        header, hashes = _checked_note(note, where)
        for name, digest in hashes.items():
            if name not in arrays or _sha(arrays[name]) != digest:
                raise BadInput(
                    f"section {name} is missing or altered", where=where, fix="compile it again"
                )
        try:
            return _program(header, arrays)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                f"the header does not describe a program: {error}",
                where=where,
                fix="compile it again",
            ) from None


def _checked_note(note: str, where: str) -> tuple[dict[str, Any], dict[str, str]]:
    check, _, body = note.partition(" ")
    if hashlib.sha256(body.encode()).hexdigest() != check:
        raise BadInput("section header is altered", where=where, fix="compile it again")
    found = json.loads(body)
    written = (
        found["header"].get("format") if isinstance(found, dict) and "header" in found else None
    )
    if written != FORMAT:
        raise BadInput(
            f"format {written}, this version reads {FORMAT}",
            where=where,
            fix="compile it again with this version",
        )
    return found["header"], found["sha256"]


def _sha(array: NDArray[Any]) -> str:
    shape = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(shape + np.ascontiguousarray(array).tobytes()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _prompt_json(prompt: Prompt | None) -> dict[str, Any] | None:
    if prompt is None:
        return None
    return {"text": prompt.text.decode("latin-1"), "tokens": prompt.tokens}


_STAGES = {cls.kind: cls for cls in (Residual, Gla, Window, Swiglu, Logits, SpikeInput, Population)}


def _graph_json(graph: Graph) -> dict[str, Any]:
    found = dataclasses.asdict(graph)
    for stage, row in zip(graph.stages, found["stages"], strict=True):
        row["kind"] = stage.kind
    return found


def _graph(found: dict[str, Any]) -> Graph:
    stages = tuple(_STAGES[row.pop("kind")](**_tuples(row)) for row in found["stages"])
    sites = tuple(Site(**row) for row in found["sites"])
    linears = tuple(
        Linear(**row | {"parts": tuple(_part(p) for p in row["parts"])}) for row in found["linears"]
    )
    return Graph(**found | {"stages": stages, "sites": sites, "linears": linears})


def _part(row: dict[str, Any]) -> Part:
    return Part(**_tuples(row))


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples: its lists were some."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}


def _program(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Program:
    header = dict(header)
    del header["format"]
    graph = _graph(header.pop("graph"))
    prompt = header.pop("prompt")
    header["codings"] = {k: tuple(v) for k, v in header["codings"].items()}
    header["ops"], header["task_names"] = tuple(header["ops"]), tuple(header["task_names"])
    names = [f.name for f in dataclasses.fields(LinearArrays)]
    return Program(
        graph=graph,
        prompt=prompt and Prompt(prompt["text"].encode("latin-1"), prompt["tokens"]),
        tables=Tables(**{f.name: arrays[f"tables/{f.name}"] for f in dataclasses.fields(Tables)}),
        linears={
            lin.name: LinearArrays(**{n: arrays[f"linears/{lin.name}/{n}"] for n in names})
            for lin in graph.linears
        },
        vectors={
            name.removeprefix("vectors/"): a
            for name, a in arrays.items()
            if name.startswith("vectors/")
        },
        embedding=arrays["embedding"],
        **header,
    )
