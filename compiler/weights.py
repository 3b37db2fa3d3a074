"""A checkpoint's weights as the sections of a program, piece by piece.

Rows do not depend on each other: a few threads quantise and verify a block of them each, so that
memory holds some blocks whatever the model's size. (The kernels let go of Python's lock.)
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler import lists
from compiler.graph import Graph, Linear, vectors
from compiler.kept import keep_block, verify_kept
from compiler.quantize import Block, Tensors, finite, quantize_block, verify_block
from compiler.sections import Form, Pieces
from hw_models.errors import Bug
from kernels.canonical import Numbers
from kernels.linear import GROUP, W8

BLOCK: Final = 1 << 22
"""Weights of a block: enough for the disk to read at a stretch, few beside a layer."""

Report = Callable[[int, int], None]
"""Called with (blocks done, blocks)."""

_Pieces = list[tuple[str, NDArray[Any]]]
_Job = Callable[[], _Pieces]
"""Makes the pieces of one block."""


def forms(graph: Graph, tensors: Tensors) -> dict[str, Form]:
    """Type and shape of every section that `sections` makes; no values are read."""
    found: dict[str, Form] = {}
    for linear in graph.linears:
        n, n_pre, at = linear.n_post, linear.n_pre, f"linears/{linear.name}/"
        if not linear.plain:
            found |= {at + name: form for name, form in lists.forms(linear).items()}
            continue
        found[at + "q"] = Form(np.dtype(np.int8), (n, n_pre))
        found[at + "m"] = Form(np.dtype(np.int32), (n, -(-n_pre // GROUP)))
        for name in ("row_scale", "bias"):
            found[at + name] = Form(np.dtype(np.float32), (n,))
    for name in _vectors(graph):
        found[f"vectors/{name}"] = Form(np.dtype(np.float32), tuple(tensors[name].shape))
    if graph.embedding is not None:
        table = tensors[graph.embedding]
        found["embedding"] = Form(_as_stored(table[:0]).dtype, tuple(table.shape))
    return found


def sections(
    graph: Graph,
    tensors: Tensors,
    report: Report = lambda done, total: None,
    listed: lists.Lists | None = None,
) -> Iterator[tuple[str, NDArray[Any]]]:
    """All weights, quantised and verified; the pieces of a section come in order.

    listed: synapses of linears that are not plain. Raises BadInput for NaN or infinity, naming the
    tensor, and Bug where a check fails.
    """
    jobs = list(_jobs(graph, tensors, listed or {}))
    report(0, len(jobs))
    for done, pieces in enumerate(_in_order(jobs), 1):
        yield from pieces
        report(done, len(jobs))


def collect(forms: Mapping[str, Form], pieces: Pieces) -> dict[str, NDArray[Any]]:
    """Sections put together in memory."""
    whole = {name: np.empty(form.shape, form.dtype) for name, form in forms.items()}
    filled = dict.fromkeys(forms, 0)
    for name, piece in pieces:
        whole[name][filled[name] : filled[name] + len(piece)] = piece
        filled[name] += len(piece)
    return whole


def quantize(graph: Graph, tensors: Tensors) -> Numbers:
    """All weights in memory, as executors take them; raises as `sections` does."""
    found = {
        name: torch.from_numpy(array)
        for name, array in collect(forms(graph, tensors), sections(graph, tensors)).items()
    }
    linears = {}
    for linear in graph.linears:
        at = f"linears/{linear.name}/"
        w8 = W8(found[at + "q"], found[at + "m"], found[at + "row_scale"])
        linears[linear.name] = w8, found[at + "bias"]
    floats = {name: found[f"vectors/{name}"] for name in _vectors(graph)}
    table = torch.zeros(0, 0)
    if graph.embedding is not None:  # bfloat16 came as its bits
        table = found["embedding"].view(tensors[graph.embedding].dtype)
    return Numbers(linears, floats, table)


def verify(numbers: Numbers, graph: Graph, tensors: Tensors) -> None:
    """Every synapse, bias and vector is the checkpoint's; raises Bug naming the first other."""
    for linear in graph.linears:
        w8, bias = numbers.linears[linear.name]
        arrays = [t.numpy() for t in (w8.q, w8.m, w8.row_scale, bias)]
        for lo, hi in cuts(linear.n_post, linear.n_pre):
            _verified(Block(linear, lo, *(a[lo:hi] for a in arrays)), tensors)
    for name in _vectors(graph):
        if not torch.equal(numbers.vectors[name], tensors[name].float()):
            raise Bug("another vector", where=name)


def fuse(linear: Linear, tensors: Tensors) -> tuple[Tensor, Tensor]:
    """Float32 weight [n_post, n_pre] and bias of a whole linear, in the order of its neurons.

    What quantize_block does block by block is quantize_w8 of this, bit for bit.
    """
    weight, bias = [], []
    for part in linear.parts:
        pairs = list(zip(part.rows[::2], part.rows[1::2], strict=True))
        weight.append(torch.cat([tensors[part.weight][a:b] for a, b in pairs]).float())
        if part.bias is None:
            bias.append(torch.zeros(len(weight[-1])))
        else:
            bias.append(torch.cat([tensors[part.bias][a:b] for a, b in pairs]).float())
    if linear.align == 1:
        return torch.cat(weight), torch.cat(bias)
    # one row of every part in turn
    return torch.stack(weight, 1).flatten(0, 1), torch.stack(bias, 1).flatten()


def _vectors(graph: Graph) -> list[str]:
    """Norm weights, neurons' parameters and the like, by their tensors' names."""
    return sorted({name for stage in graph.stages for name in vectors(stage)})


def cuts(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Rows of a matrix in blocks."""
    size = max(1, BLOCK // columns)
    return ((lo, min(rows, lo + size)) for lo in range(0, rows, size))


def _as_stored(table: Tensor) -> NDArray[Any]:
    """In the checkpoint's own type; uint16 for bfloat16 (compiler.sections)."""
    table = table.detach().contiguous()
    if table.dtype == torch.bfloat16:
        return table.view(torch.int16).numpy().view(np.uint16)
    return table.numpy() if table.dtype == torch.float16 else table.float().numpy()


# ---- several blocks at a time


class _Once(dict[str, Tensor]):
    """Tensors of a block, each asked for once."""

    def __init__(self, tensors: Tensors) -> None:
        super().__init__()
        self._tensors = tensors

    def __missing__(self, name: str) -> Tensor:
        self[name] = found = self._tensors[name]
        return found


def _jobs(graph: Graph, tensors: Tensors, listed: lists.Lists) -> Iterator[_Job]:
    for linear in graph.linears:
        if not linear.plain:
            yield partial(_list, linear, tensors, listed[linear.name])
            continue
        for lo, hi in cuts(linear.n_post, linear.n_pre):
            yield partial(_linear, linear, tensors, lo, hi)
    for name in _vectors(graph):
        yield partial(_vector, name, tensors)
    if graph.embedding is not None:
        for lo, hi in cuts(*tensors[graph.embedding].shape):
            yield partial(_embedding, graph.embedding, tensors, lo, hi)


def _linear(linear: Linear, tensors: Tensors, lo: int, hi: int) -> _Pieces:
    own = _Once(tensors)
    make = keep_block if linear.integers else quantize_block
    block = _verified(make(linear, own, lo, hi), own)
    at = f"linears/{linear.name}/"
    return [(at + name, getattr(block, name)) for name in ("q", "m", "row_scale", "bias")]


def _list(linear: Linear, tensors: Tensors, synapses: Any) -> _Pieces:
    arrays = lists.sections(linear, synapses, tensors)
    lists.verify(linear, arrays, synapses)
    return [(f"linears/{linear.name}/{name}", array) for name, array in arrays.items()]


def _verified(block: Block, tensors: Tensors) -> Block:
    (verify_kept if block.linear.integers else verify_block)(block, tensors)
    return block


def _vector(name: str, tensors: Tensors) -> _Pieces:
    return [(f"vectors/{name}", finite(name, tensors[name].float()).numpy())]


def _embedding(name: str, tensors: Tensors, lo: int, hi: int) -> _Pieces:
    return [("embedding", _as_stored(finite(name, tensors[name][lo:hi])))]


def workers() -> int:
    """Threads for blocks; more than four would outrun any disk."""
    return min(4, os.cpu_count() or 1)


def _in_order(jobs: Iterable[_Job]) -> Iterator[_Pieces]:
    """Results of jobs that run several at a time, a few ahead of what is taken."""
    waiting: deque[Future[_Pieces]] = deque()
    ahead = 2 * workers()
    with ThreadPoolExecutor(workers()) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
