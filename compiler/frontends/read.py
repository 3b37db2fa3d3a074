"""From a checkpoint, or a config alone, to a Graph; every size and shape is checked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from reprlib import repr as shown
from typing import Any, Final

import torch
from torch import Tensor

from compiler.frontends.checkpoint import (
    CONFIG,
    Checkpoint,
    is_config,
    model_name,
    open_checkpoint,
)
from compiler.frontends.decoder import llama, qwen2
from compiler.frontends.files import json_object, tokenizer_in
from compiler.frontends.gla_swa import gla_swa
from compiler.frontends.hdf5 import is_hdf5
from compiler.frontends.model import Expected, Form, Lazy, Model
from compiler.frontends.nir import Stepping, read_nir
from compiler.frontends.spikingbrain_moe import spikingbrain_moe
from compiler.frontends.torch_zip import printable
from compiler.graph import Graph, vectors
from compiler.lists import Lists, Synapses
from hw_models.errors import BadInput, Unsupported, Usage

FAMILIES: Final[Mapping[str, Callable[[Mapping[str, Any], str, int | None], Model]]] = {
    "gla_swa": gla_swa,
    "llama": llama,
    "qwen2": qwen2,
    "spikingbrain_moe": spikingbrain_moe,
}
"""By model_type: config, model's name and context -> Model."""

FLOATS: Final = ("float32", "bfloat16", "float16")
PRESETS: Final = Path(__file__).with_name("presets")


@dataclass(frozen=True, slots=True)
class Source:
    """A model to compile: operations, tensors (None: a config alone) and tokenizer.json or b"".

    synapses: of the linears of a network of spiking neurons; lists: of those that are stored so.
    """

    graph: Graph
    tensors: Mapping[str, Tensor] | None
    tokenizer: bytes = b""
    synapses: Synapses = field(default_factory=dict)
    lists: Lists = field(default_factory=dict)


def read_source(path: Path, context: int | None = None, stepping: Stepping | None = None) -> Source:
    """A checkpoint or a NIR graph with its weights, or a config.json (or a folder that has nothing
    else) without.

    Arguments and errors as in read_model.
    """
    if is_hdf5(path):
        graph, tensors, synapses = read_nir(path, stepping or Stepping())
        return Source(graph, tensors, synapses=synapses)
    _check_no_steps(stepping)
    if is_config(path):
        folder = path if path.is_dir() else path.parent
        return Source(read_config(path, context), None, tokenizer_in(folder))
    found = open_checkpoint(path)
    tokenizer = tokenizer_in(found.folder) if found.folder else b""
    return Source(*_read(found, context), tokenizer)


def read_model(
    path: Path, context: int | None = None, stepping: Stepping | None = None
) -> tuple[Graph, Mapping[str, Tensor]]:
    """Read a checkpoint (frontends.checkpoint lists the formats) or a NIR graph, recognised by
    content, without running code from it.

    context: tokens that full attention is compiled for; decoder.CONTEXT, or the model's own
    limit if that is lower, when none is chosen. Models of bounded memory have no such limit.
    stepping: time steps of a NIR graph.
    Returns the operations and exactly the tensors that they name, as bfloat16, float16 or
    float32; each is read when it is asked for, and not kept. Whether their values are finite is
    compiler.weights' to check. Raises BadInput and Unsupported, also for files damaged later.
    """
    if is_hdf5(path):
        return read_nir(path, stepping or Stepping())[:2]
    _check_no_steps(stepping)
    return _read(open_checkpoint(path), context)


def _check_no_steps(stepping: Stepping | None) -> None:
    if stepping is not None:
        raise Usage(
            "only NIR graphs have time steps", where="--dt, --integration", fix="leave them out"
        )


def _read(found: Checkpoint, context: int | None) -> tuple[Graph, Mapping[str, Tensor]]:
    model = _model(found.config, found.name, found.where, context)
    expected = model.expected(found.forms)
    _check(expected, found)
    same = {name: partial(found.tensors.__getitem__, name) for name in expected.shapes}
    made = {name: partial(make, found.tensors) for name, make in expected.made.items()}
    own = _tensor_names(model.graph)
    return model.graph, Lazy({n: m for n, m in (same | made).items() if n in own})


def read_config(path: Path, context: int | None = None) -> Graph:
    """The operations of a config.json, or of the one in a folder; no weights are looked for.

    context as in read_model. Raises BadInput and Unsupported.
    """
    file = path / CONFIG if path.is_dir() else path
    return _model(json_object(file), model_name(file), str(file), context).graph


def read_preset(name: str, context: int | None = None, stepping: Stepping | None = None) -> Source:
    """A published model without its weights; arguments and errors as in `preset`."""
    _check_no_steps(stepping)
    return Source(preset(name, context), None)


def preset(name: str, context: int | None = None) -> Graph:
    """The operations of a published model, by a name of preset_names(); BadInput for another.

    context as in read_model.
    """
    if name not in preset_names():
        raise BadInput(
            f"no preset {shown(name)}", where="--preset", fix=f"one of: {', '.join(preset_names())}"
        )
    file = PRESETS / f"{name}.json"
    return _model(json_object(file), name, str(file), context).graph


def preset_names() -> list[str]:
    """Models whose published config comes with the compiler."""
    return sorted(file.stem for file in PRESETS.glob("*.json"))


def _model(config: Mapping[str, Any], name: str, where: str, context: int | None) -> Model:
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        what = "config names no model_type" if kind is None else f"model_type {shown(kind)}"
        raise Unsupported(what, where=where, fix=f"supported: {', '.join(FAMILIES)}")
    try:
        return FAMILIES[kind](config, name, context)
    except BadInput as error:
        raise BadInput(error.what, where=f"{error.where} of {where}", fix=error.fix) from None


def _tensor_names(graph: Graph) -> set[str | None]:
    parts = [p for lin in graph.linears for p in lin.parts]
    floats = {name for stage in graph.stages for name in vectors(stage)}
    return {graph.embedding, *(p.weight for p in parts), *(p.bias for p in parts)} | floats


def _check(expected: Expected, found: Checkpoint) -> None:
    """BadInput naming the tensor that is missing, unknown, or of another shape or dtype."""
    _check_names(expected.shapes, found, expected.ignored)
    for name, shape in expected.shapes.items():
        _check_form(name, found.forms[name], shape)
    for one, other in expected.equal:
        if not torch.equal(found.tensors[one], found.tensors[other]):
            raise BadInput(
                f"{other} differs from {one}, but tie_word_embeddings is true",
                where=found.where,
                fix=f"remove {other}, or set tie_word_embeddings to false",
            )


def _check_names(expected: Iterable[str], found: Checkpoint, ignored: frozenset[str]) -> None:
    missing = [name for name in expected if name not in found.forms]
    extra = sorted(found.forms.keys() - set(expected) - ignored)
    if missing:
        near = get_close_matches(missing[0], extra[:1000], n=1)
        raise BadInput(
            f"tensor {missing[0]} is missing{_more(missing)}",
            where=found.where,
            fix=f"is it {printable(near[0])}?" if near else "",
        )
    if extra:
        near = get_close_matches(extra[0], list(expected), n=1)
        raise BadInput(
            f"tensor {printable(extra[0])} has no place in this model{_more(extra)}",
            where=found.where,
            fix=f"the nearest name is {near[0]}" if near else "remove it",
        )


def _more(names: list[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""


def _check_form(name: str, form: Form, shape: tuple[int, ...]) -> None:
    if form.kind not in FLOATS:
        raise BadInput(f"tensor of {form.kind}", where=name, fix="float32, bfloat16 or float16")
    if form.shape != shape:
        raise BadInput(f"shape {list(form.shape)}, {list(shape)} expected", where=name)
