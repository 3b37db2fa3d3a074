"""A compiled program: what every core holds, waits for and sends; and its file, `.sbx`.

An `.sbx` is a safetensors file: arrays, and one JSON header with the graph, the fully
resolved target, and a sha256 of every array. Reading it executes nothing. Weights, embedding and
tokenizer stay in the file until they are used (compiler.sections).
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler import sections
from compiler.graph import Graph
from compiler.graph_json import graph_json, graph_of
from compiler.sections import AGAIN, Array, Form, Pieces, Stored, digest_of, form_of
from compiler.text import Text
from hw_models.chip import Chip, chip_from_text
from hw_models.errors import BadInput
from hw_models.mesh import Mesh, mesh_of

FORMAT = "spikeloom-program-4"

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
             task, or the neurons of a tile; channel_lo/channel_n: what it encodes; state: bytes
             of state memory of the unit it is the first task of. condition: fires under it only
             (number in compiler.conditions, -1: always); rows: sums per neuron, of the stage's own
             linear and the chosen experts' ones; axons: inputs that reach a tile; synapses: int64,
             that a tile stores.
    emit_*   what a task sends when it fires, in order: tree, message class, first channel or
             neuron, number of channels, neurons or values; residue as above, -1 for always;
             condition: sent only under it.
    tree_*, node_*, sink_*   multicast trees, see passes.route.Trees; tree_key steers its messages
    entry_*  tables of the routers, see audit.replay
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
    task_state: I64
    task_condition: I32
    task_rows: I32
    task_axons: I32
    task_synapses: I64
    task_emit: I32  # [n_tasks + 1] ranges into emit_*
    emit_tree: I32
    emit_class: I32
    emit_lo: I32
    emit_n: I32
    emit_residue: I32
    emit_condition: I32
    tree_root: I32
    tree_source: I32
    tree_first_local: I32
    tree_last_local: I32
    tree_task: I32
    tree_key: I32
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
    entry_router: I32
    entry_key: I32
    entry_mask: I32
    entry_ports: I32
    link_kind: I8


@dataclass(frozen=True, slots=True)
class LinearArrays:
    """Synapses of a fused linear: q [n_post, n_pre], m int32[n_post, groups], floats.

    q is int8, or int16 where they are wider. Of a listed linear q is [synapses], neuron by neuron:
    those of neuron j are first[j] to first[j + 1], from the inputs `pre`, ascending.
    """

    q: NDArray[np.signedinteger[Any]] | Stored
    m: I32 | Stored
    row_scale: F32 | Stored
    bias: F32 | Stored
    first: I64 | Stored | None = None
    pre: I32 | Stored | None = None

    def release(self) -> None:
        """Integers that are mapped from a file need no memory until they are used again."""
        for array in (self.q, self.m, self.pre):
            if isinstance(array, Stored):
                array.release()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What `sbsim run` does by default: token ids to start from, and how many it decodes.

    No ids: there is no text to start from by default (compiler.text), or no weights.
    """

    ids: tuple[int, ...]
    tokens: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))  # bytes are ids too


@dataclass(frozen=True)
class Program:
    """Everything the simulator needs; nothing of it is computed from the checkpoint again.

    codings[site] = (coding, payload bits); partial_bits[linear]; bounds: achieved and lower
    bound per resource; statistics: origin and hash of the profile that the mapping looked at, and
    the spikes per channel it expects of every site. Cores and the host are numbered as in
    hw_models.mesh.Mesh. embedding
    has the checkpoint's own type, uint16 for bfloat16; tokenizer is a tokenizer.json's bytes, or
    empty. A program of a config alone has no linears, vectors and embedding; a network that takes
    spikes has no prompt, and an embedding of no rows.
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
    source: Mapping[str, Any]
    linears: Mapping[str, LinearArrays] = field(default_factory=dict)
    vectors: Mapping[str, F32] = field(default_factory=dict)
    embedding: Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    tokenizer: Array = field(default_factory=lambda: np.zeros(0, np.uint8))

    @cached_property
    def chip(self) -> Chip:
        return chip_from_text(self.chip_text, "program")

    @cached_property
    def mesh(self) -> Mesh:
        return mesh_of(self.chip)

    @property
    def host_core(self) -> int:
        """Number of the host's place, beyond every core."""
        return int(self.tables.task_core.max())

    @property
    def has_weights(self) -> bool:
        """Whether it can be run: a program of a preset or a config alone maps, and has none."""
        return bool(self.linears)

    @cached_property
    def text(self) -> Text:
        """How text becomes token ids."""
        return Text(self.graph.vocab, self.tokenizer[:].tobytes())

    def embed(self, token: int) -> F32:
        """The host's look-up: float32[n]."""
        return widened(self.embedding[token])

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """Every array by its name in the file, names sorted."""
        found: dict[str, Array] = {
            f"tables/{f.name}": getattr(self.tables, f.name) for f in dataclasses.fields(Tables)
        }
        for name, linear in self.linears.items():
            for f in dataclasses.fields(LinearArrays):
                if getattr(linear, f.name) is not None:
                    found[f"linears/{name}/{f.name}"] = getattr(linear, f.name)
        found |= {f"vectors/{name}": v for name, v in self.vectors.items()}
        one = {"embedding": self.embedding, "tokenizer": self.tokenizer}
        found |= {name: array for name, array in one.items() if array.shape[0]}
        return dict(sorted(found.items()))

    @cached_property
    def header(self) -> dict[str, Any]:
        """The JSON part, without the arrays' hashes."""
        fields = {f.name for f in dataclasses.fields(self)}
        fields -= {"tables", "linears", "vectors", "embedding", "tokenizer", "graph", "prompt"}
        return {
            "format": FORMAT,
            "graph": graph_json(self.graph),
            "prompt": self.prompt and dataclasses.asdict(self.prompt),
            **{name: _plain(getattr(self, name)) for name in sorted(fields)},
        }

    @cached_property
    def hash(self) -> str:
        """sha256 over the header and every array."""
        hashes = {name: digest_of(a) for name, a in self.arrays.items()}
        return hashlib.sha256(_json([self.header, hashes]).encode()).hexdigest()

    def write(self, path: Path, forms: Mapping[str, Form] | None = None, more: Pieces = ()) -> None:
        """Write the .sbx under a temporary name, then rename; same program, same bytes.

        more: weights that are not in memory, piece by piece, in sections of these `forms`. Raises
        BadInput where it cannot be written.
        """
        own = {name: form_of(array) for name, array in self.arrays.items()}
        pieces = ((name, np.asarray(array)) for name, array in self.arrays.items())
        sections.write(path, own | dict(forms or {}), chain(pieces, more), self._note)

    def _note(self, hashes: Mapping[str, str]) -> str:
        body = _json({"header": self.header, "sha256": dict(hashes)})
        return f"{hashlib.sha256(body.encode()).hexdigest()} {body}"

    @classmethod
    def read(cls, path: Path) -> "Program":
        """Read and check an .sbx; BadInput names the section that is truncated or altered.

        Sections that stay in the file are checked when they are used.
        """
        where = str(path)
        if not path.is_file():
            raise BadInput("no such program", where=where, fix="run sbcompile first")
        file = sections.read(path)
        header, hashes = _checked_note(file.note, where)
        arrays = {name: file.stored(name, digest) for name, digest in hashes.items()}
        try:
            return _program(header, arrays)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                f"the header does not describe a program: {error}", where=where, fix=AGAIN
            ) from None


def widened(rows: NDArray[Any]) -> F32:
    """Rows of an embedding as float32: exact."""
    if rows.dtype == np.uint16:  # the upper halves of float32
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float32)


def from_arrays(graph: Graph, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """A program's fields that it may lack, from arrays by their names in the file."""
    found = {name: arrays[name] for name in ("embedding", "tokenizer") if name in arrays}
    weights = any(name.startswith("linears/") for name in arrays)
    if not weights or (graph.embedding is not None and "embedding" not in found):
        return found
    names = [f.name for f in dataclasses.fields(LinearArrays)]
    found["linears"] = {
        lin.name: LinearArrays(
            **{
                n: arrays[f"linears/{lin.name}/{n}"]
                for n in names
                if lin.listed is not None or n not in ("first", "pre")
            }
        )
        for lin in graph.linears
    }
    found["vectors"] = {
        name.removeprefix("vectors/"): np.asarray(array)
        for name, array in arrays.items()
        if name.startswith("vectors/")
    }
    return found


def _checked_note(note: str, where: str) -> tuple[dict[str, Any], dict[str, str]]:
    check, _, body = note.partition(" ")
    if hashlib.sha256(body.encode()).hexdigest() != check:
        raise BadInput("section header is altered", where=where, fix=AGAIN)
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


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def _program(header: dict[str, Any], arrays: Mapping[str, Stored]) -> Program:
    header = dict(header)
    del header["format"]
    graph = graph_of(header.pop("graph"))
    prompt = header.pop("prompt")
    header["codings"] = {k: tuple(v) for k, v in header["codings"].items()}
    header["ops"], header["task_names"] = tuple(header["ops"]), tuple(header["task_names"])
    tables = {f.name: arrays[f"tables/{f.name}"].copy() for f in dataclasses.fields(Tables)}
    return Program(
        graph=graph,
        prompt=prompt and Prompt(**prompt),
        tables=Tables(**tables),
        **from_arrays(graph, arrays),
        **header,
    )
