"""Synapses as lists, neuron by neuron: which inputs a neuron has, and with what weight.

A list is a scipy.sparse.csr_array, float32 [n_post, n_pre], columns ascending. It may hold zeros:
those of a convolution's kernel, which its neurons do multiply by.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from compiler.graph import Linear, Part
from compiler.kept import MANTISSA, ROW_SCALE
from compiler.quantize import Tensors, quantize_block, verify_block
from compiler.sections import Form
from hw_models.errors import BadInput, Bug

F32 = NDArray[np.float32]

Matrix: TypeAlias = F32 | csr_array
"""Every pair, or a list."""

Synapses = Mapping[str, Callable[[], Matrix]]
"""By linear."""

Lists = Mapping[str, csr_array]
"""Of linears that are not plain (compiler.graph.Linear)."""

PAIRS = 1 << 22
"""Of a block that is quantised at once."""


def full(matrix: Matrix) -> F32:
    """Every pair."""
    return np.ascontiguousarray(matrix if isinstance(matrix, np.ndarray) else matrix.toarray())


def forms(linear: Linear) -> dict[str, Form]:
    """Sections of a linear that is not plain, as in program.LinearArrays; q is int16 where it is
    wider than 8 bits."""
    n, listed = linear.n_post, linear.listed
    found = {
        "q": Form(
            np.dtype(np.int8 if linear.bits == 8 else np.int16),
            (n, linear.n_pre) if listed is None else (listed,),
        ),
        "m": Form(np.dtype(np.int32), (n, -(-linear.n_pre // linear.group))),
        "row_scale": Form(np.dtype(np.float32), (n,)),
        "bias": Form(np.dtype(np.float32), (n,)),
    }
    if listed is not None:
        found["first"] = Form(np.dtype(np.int64), (n + 1,))
        found["pre"] = Form(np.dtype(np.int32), (listed,))
    return found


def sections(linear: Linear, synapses: csr_array, tensors: Tensors) -> dict[str, NDArray[Any]]:
    """The arrays of these forms; BadInput for what is no number, Bug for what does not fit."""
    (part,) = linear.parts
    if not np.isfinite(synapses.data).all():
        raise BadInput("weights hold NaN or infinity", where=part.weight)
    found = _whole(linear, synapses) if linear.integers else _rounded(linear, synapses, part.weight)
    found["bias"] = (
        np.zeros(linear.n_post, np.float32)
        if part.bias is None
        else tensors[part.bias].float().numpy()
    )
    if not np.isfinite(found["bias"]).all():
        raise BadInput("weights hold NaN or infinity", where=str(part.bias))
    if linear.listed is not None:
        found["first"] = synapses.indptr.astype(np.int64)
        found["pre"] = synapses.indices.astype(np.int32)
    return found


def _whole(linear: Linear, synapses: csr_array) -> dict[str, NDArray[Any]]:
    """Integers as they are (compiler.kept), one mantissa per neuron."""
    q = synapses.data if linear.listed is not None else synapses.toarray()
    return {
        "q": q.astype(np.int8 if linear.bits == 8 else np.int16),
        "m": np.full((linear.n_post, 1), MANTISSA, np.int32),
        "row_scale": np.full(linear.n_post, ROW_SCALE, np.float32),
    }


def _rounded(linear: Linear, synapses: csr_array, name: str) -> dict[str, NDArray[Any]]:
    """W8 of the whole matrix, without what is not listed: zeros all the same."""
    q, m, scale = [], [], []
    for lo, hi in _blocks(linear):
        rows = synapses[lo:hi]
        own = replace(linear, n_post=hi - lo, parts=(Part(name, None, (0, hi - lo)),), listed=None)
        tensors = {name: torch.from_numpy(full(rows))}
        block = quantize_block(own, tensors, 0, hi - lo)
        verify_block(block, tensors)
        q.append(block.q[np.repeat(np.arange(hi - lo), np.diff(rows.indptr)), rows.indices])
        if np.count_nonzero(q[-1]) != np.count_nonzero(block.q):
            raise Bug("a synapse that is not listed", where=linear.name)
        m.append(block.m)
        scale.append(block.row_scale)
    return {"q": np.concatenate(q), "m": np.concatenate(m), "row_scale": np.concatenate(scale)}


def _blocks(linear: Linear) -> Iterator[tuple[int, int]]:
    size = max(1, PAIRS // linear.n_pre)
    return ((lo, min(lo + size, linear.n_post)) for lo in range(0, linear.n_post, size))


def verify(linear: Linear, arrays: Mapping[str, NDArray[Any]], synapses: csr_array) -> None:
    """Input by input, the neurons that it meets are the model's, and integers are its weights; a
    sum of ones of them scales back to itself. Bug if not."""
    wanted = synapses.tocsc()
    if linear.listed is None:
        found = arrays["q"]
        same = bool((found == synapses.toarray()).all())
    else:
        if (np.diff(arrays["first"]) < 0).any() or arrays["first"][-1] != linear.listed:
            raise Bug("a list out of order", where=linear.name)
        parts = (arrays["q"], arrays["pre"], arrays["first"])
        found = csr_array(parts, (linear.n_post, linear.n_pre)).tocsc()
        same = np.array_equal(found.indptr, wanted.indptr)
        same = same and np.array_equal(found.indices, wanted.indices)
        same = same and (not linear.integers or np.array_equal(found.data, wanted.data))
    if not same:
        raise Bug("other synapses", where=linear.name)
    scaled = arrays["m"].astype(np.float64) * arrays["row_scale"][:, None]
    if linear.integers and (scaled != 2.0**15).any():
        raise Bug("a sum is scaled", where=linear.name)
