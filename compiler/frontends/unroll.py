"""Layers between two populations as one matrix: convolutions, pools and scales unrolled to rows.

Every layer is an affine map of flattened vectors (C order), y = W x + b. Convolutions, pools and
scales are lists of the pairs that they join, zeros of a kernel among them; the zeros around it are
none. What is stored of a list, compiler.passes.store decides.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array

from compiler.frontends.nir_file import Node
from compiler.lists import F32, Matrix, full
from hw_models.errors import BadInput, Unsupported

F64 = NDArray[np.float64]
Shape = tuple[int, ...]

MOST_WEIGHTS: Final = 1 << 26
"""Synapses of one layer: 256 MiB as float32."""

MOST_CHANNELS: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Layer:
    """One node's map: what makes W [n_out, n_in] and b [n_out].

    macs: pairs of an output and an input that it joins, each a synapse of the model; the zeros
    around an unrolled kernel are none.
    """

    node: Node
    n_in: int
    out: Shape
    macs: int
    weight: Callable[[], Matrix]
    bias: Callable[[], F64]

    @property
    def n_out(self) -> int:
        return size(self.out)


def size(shape: Shape) -> int:
    """Elements of a shape, exactly."""
    n = 1
    for side in shape:
        n *= side
    return n


def layer(node: Node, shape: Shape) -> Layer | None:
    """The map of a node that is fed vectors of a shape; None for a type that is no map.

    Nothing large is read yet. Raises BadInput for shapes and parameters that do not fit together,
    Unsupported for a layer of more than MOST_WEIGHTS synapses.
    """
    if node.type not in _LAYERS:
        return None
    made = _LAYERS[node.type](node, shape)
    if not 1 <= made.n_out <= MOST_CHANNELS:
        raise BadInput(f"outputs of shape {list(made.out)}", where=node.place)
    check_size(made.macs, node)
    return made


def check_size(synapses: int, node: Node) -> None:
    """Unsupported for a layer too large to be unrolled."""
    if synapses > MOST_WEIGHTS:
        raise Unsupported(
            f"{synapses} synapses when unrolled; {MOST_WEIGHTS} at most",
            where=node.place,
            fix="a smaller layer: fewer channels, a larger stride, a pool before it",
        )


def flattened(node: Node, shape: Shape) -> Shape:
    """Shape behind a Flatten node; NIR's dimensions do not count the batch."""
    first, last = _pair(node, "start_dim", 1)[0], _pair(node, "end_dim", -1)[0]
    lo, hi = (d + len(shape) if d < 0 else d for d in (first, last))
    if not 0 <= lo <= hi < len(shape):
        if size(shape) == max(shape, default=1):  # one dimension: nothing to do
            return (size(shape),)
        raise BadInput(
            f"flattens dimensions {first} to {last} of shape {list(shape)}", where=node.place
        )
    return (*shape[:lo], size(shape[lo : hi + 1]), *shape[hi + 1 :])


def fused_weight(layers: Sequence[Layer], n_in: int) -> Matrix:
    """W [n_out, n_in] of layers one after another; the identity for none.

    Sums in float64 in one fixed order: the same bits on every machine. Unsupported beyond
    MOST_WEIGHTS synapses.
    """
    if not layers:
        return csr_array(eye_array(n_in, dtype=np.float32))
    weight = layers[0].weight()
    for after in layers[1:]:
        weight = _product(after.weight(), weight, after.node)
    return weight


def fused_bias(layers: Sequence[Layer], n_in: int) -> F32:
    """b [n_out] of layers one after another."""
    bias = np.zeros(n_in)
    for each in layers:
        carried = _dense_product(full(each.weight()), bias[:, None])[:, 0] if bias.any() else 0.0
        bias = carried + each.bias()
    return bias.astype(np.float32)


def _product(left: Matrix, right: Matrix, node: Node) -> Matrix:
    """left @ right; of two lists, what both join."""
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        check_size(left.shape[0] * right.shape[1], node)
        return _dense_product(full(left), full(right)).astype(np.float32)
    check_size(int(np.diff(right.indptr)[left.indices].sum()) // 4, node)  # their sums, to be made
    joined = csr_array((np.ones(left.nnz), left.indices, left.indptr), left.shape) @ csr_array(
        (np.ones(right.nnz), right.indices, right.indptr), right.shape
    )
    found = left.astype(np.float64) @ right.astype(np.float64)
    for each in (joined, found):
        each.sort_indices()
    weight = np.zeros(joined.nnz, np.float32)  # a sum of 0 may be left out of `found`
    weight[np.searchsorted(_places(joined), _places(found))] = found.data
    return csr_array((weight, joined.indices, joined.indptr), joined.shape)


def _places(matrix: csr_array) -> NDArray[np.int64]:
    """Row and column of every entry as one number."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    places: NDArray[np.int64] = rows * matrix.shape[1] + matrix.indices
    return places


def _dense_product(left: F32, right: NDArray[np.floating]) -> F64:
    """left @ right without its zeros, which unrolled layers are full of."""
    total = np.zeros((left.shape[0], right.shape[1]))
    for column, row in zip(left.T.astype(np.float64), right.astype(np.float64), strict=True):
        to, of = np.flatnonzero(column), np.flatnonzero(row)
        total[np.ix_(to, of)] += column[to, None] * row[of]
    return total


def _matrix(node: Node, shape: Shape) -> Layer:
    """Linear, Affine."""
    form = node.shapes.get("weight", ())
    if len(form) != 2:
        raise BadInput(
            f"weight of shape {list(form)}, [outputs, inputs] expected", where=node.place
        )
    n_out, n_in = form
    if n_in != size(shape):
        raise BadInput(f"{n_in} inputs, but it is fed {list(shape)}", where=node.place)
    return Layer(
        node,
        n_in,
        (n_out,),
        n_in * n_out,
        lambda: node.numbers("weight", n_out * n_in).astype(np.float32),
        _bias(node, n_out),
    )


def _bias(node: Node, n: int, times: int = 1) -> Callable[[], F64]:
    """A bias for each of n outputs (or one for all), each repeated; 0 where the node has none."""
    if "bias" not in node.shapes:
        return lambda: np.zeros(n * times)
    if size(node.shapes["bias"]) not in (1, n):
        raise BadInput(
            f"bias of shape {list(node.shapes['bias'])}, [{n}] expected", where=node.place
        )
    return lambda: np.repeat(np.broadcast_to(node.numbers("bias", n).reshape(-1), (n,)), times)


def _scale(node: Node, shape: Shape) -> Layer:
    """Scale: one factor per element, or one for all."""
    n = size(shape)
    return Layer(
        node,
        n,
        shape,
        n,
        lambda: csr_array(
            (spread(node, "scale", shape).astype(np.float32), np.arange(n), np.arange(n + 1)),
            (n, n),
        ),
        lambda: np.zeros(n),
    )


def spread(node: Node, key: str, shape: Shape) -> F64:
    """A parameter as one value per element: given for each, or once for all (or per channel)."""
    form, n = node.shapes.get(key, ()), size(shape)
    single = size(form) == 1
    if not (single or size(form) == n or _per_channel(form, shape)):
        raise BadInput(f"{key} of shape {list(form)} for {list(shape)}", where=node.place)
    values = node.numbers(key, n)
    if not np.isfinite(values).all():
        raise BadInput(f"{key} holds NaN or infinity", where=node.place)
    if single or size(form) == n:
        return np.broadcast_to(values.reshape(-1), (n,)).copy()
    return np.broadcast_to(values, shape).reshape(n).copy()


def _per_channel(form: Shape, shape: Shape) -> bool:
    """[C, 1, 1] for [C, H, W]."""
    return len(form) == len(shape) and all(a in (1, b) for a, b in zip(form, shape, strict=True))


@dataclass(frozen=True, slots=True)
class _Window:
    """A kernel along one axis: for output o, tap t sees input o * stride - before + t * step."""

    n_in: int
    taps: int
    stride: int
    step: int  # dilation
    before: int
    after: int

    @property
    def n_out(self) -> int:
        reach = self.n_in + self.before + self.after - self.step * (self.taps - 1) - 1
        return reach // self.stride + 1 if reach >= 0 else 0

    @property
    def joined(self) -> int:
        """Pairs of an output and an input, over all taps."""
        return sum(self.seen(tap)[0].size for tap in range(self.taps))

    def seen(self, tap: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(outputs, inputs) that a tap joins; padding joins none."""
        out = np.arange(self.n_out)
        at = out * self.stride - self.before + tap * self.step
        inside = (at >= 0) & (at < self.n_in)
        return out[inside], at[inside]


def _conv2d(node: Node, shape: Shape) -> Layer:
    form = node.shapes.get("weight", ())
    if len(form) != 4:
        raise BadInput(f"weight of shape {list(form)}, four dimensions expected", where=node.place)
    groups = _pair(node, "groups", 1)[0]
    channels, height, width = _image(node, shape)
    if groups < 1 or form[0] % groups or form[1] * groups != channels:
        raise BadInput(
            f"weight of shape {list(form)} and {groups} groups for {channels} channels",
            where=node.place,
        )
    rows, columns = _windows(node, (height, width), form[2:])
    spots = rows.n_out * columns.n_out
    return Layer(
        node,
        size(shape),
        (form[0], rows.n_out, columns.n_out),
        form[0] * form[1] * rows.joined * columns.joined,
        lambda: _unrolled(node.numbers("weight", size(form)), groups, rows, columns),
        _bias(node, form[0], spots),
    )


def _pool2d(node: Node, shape: Shape) -> Layer:
    """SumPool2d and AvgPool2d: a kernel of ones (or their mean) per channel, padding included."""
    channels, height, width = _image(node, shape)
    taps = _pair(node, "kernel_size", 0)
    rows, columns = _windows(node, (height, width), taps)
    out = (channels, rows.n_out, columns.n_out)
    value = 1.0 if node.type == "SumPool2d" else 1 / size(taps)
    return Layer(
        node,
        size(shape),
        out,
        channels * rows.joined * columns.joined,
        lambda: _unrolled(np.full((channels, 1, *taps), value), channels, rows, columns),
        lambda: np.zeros(size(out)),
    )


def _unrolled(weight: F64, groups: int, rows: _Window, columns: _Window) -> csr_array:
    """[out, in / groups, kh, kw] -> [out * oh * ow, in * h * w]."""
    n_out, per_group = weight.shape[:2]
    out, seen = (rows.n_out, columns.n_out), (rows.n_in, columns.n_in)
    first = np.arange(n_out) // (n_out // groups) * per_group
    above = np.arange(n_out)[:, None, None, None] * out[0]  # [out, in, y, x], as below
    behind = (first[:, None] + np.arange(per_group))[:, :, None, None] * seen[0]
    to: list[NDArray[np.int32]] = []
    of: list[NDArray[np.int32]] = []
    values: list[F32] = []
    for y, x in np.ndindex(rows.taps, columns.taps):
        oy, iy = (a[:, None] for a in rows.seen(y))
        ox, ix = columns.seen(x)
        post = (above + oy) * out[1] + ox
        pre = (behind + iy) * seen[1] + ix
        shape = np.broadcast_shapes(post.shape, pre.shape)
        to.append(np.broadcast_to(post, shape).astype(np.int32).ravel())
        of.append(np.broadcast_to(pre, shape).astype(np.int32).ravel())
        tap = weight[:, :, y, x].astype(np.float32)[:, :, None, None]
        values.append(np.broadcast_to(tap, shape).ravel())
    sizes = (n_out * out[0] * out[1], per_group * groups * seen[0] * seen[1])
    places = np.concatenate(to), np.concatenate(of)
    matrix = csr_array(coo_array((np.concatenate(values), places), sizes))
    matrix.sort_indices()
    return matrix


def _image(node: Node, shape: Shape) -> tuple[int, int, int]:
    """(channels, height, width); a batch of one may stand before them."""
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 3:
        raise BadInput(
            f"fed {list(shape)}, not [channels, height, width]",
            where=node.place,
            fix="give the Input node that shape",
        )
    return shape[0], shape[1], shape[2]


def _windows(node: Node, sides: Shape, taps: Shape) -> tuple[_Window, _Window]:
    """Along rows and along columns."""
    stride, step = _pair(node, "stride", 1), _pair(node, "dilation", 1)
    padding = node.word("padding")
    if padding is None:
        before = after = _pair(node, "padding", 0)
    elif padding == "valid":
        before = after = (0, 0)
    elif padding == "same":
        around = (step[0] * (taps[0] - 1), step[1] * (taps[1] - 1))
        before = around[0] // 2, around[1] // 2
        after = around[0] - before[0], around[1] - before[1]
        if stride != (1, 1):
            raise BadInput("padding 'same' with a stride", where=node.place)
    else:
        raise BadInput(f"padding {padding[:20]!r}", where=node.place, fix="'same' or 'valid'")
    most = MOST_CHANNELS
    for name, pair, least in (
        ("stride", stride, 1), ("dilation", step, 1), ("kernel", taps, 1), ("padding", before, 0),
    ):  # fmt: skip
        if any(not least <= n <= most for n in pair):
            raise BadInput(f"{name} {list(pair)}", where=node.place)
    rows, columns = (
        _Window(*axis) for axis in zip(sides, taps, stride, step, before, after, strict=True)
    )
    return rows, columns


def _pair(node: Node, key: str, default: int) -> tuple[int, int]:
    """A whole number per axis, or one for both."""
    if key not in node.shapes:
        return default, default
    values = node.numbers(key, 2).reshape(-1)
    if not (values.size and np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise BadInput(f"{key} is no whole number", where=node.place)
    return int(values[0]), int(values[-1])


_LAYERS: Final[dict[str, Callable[[Node, Shape], Layer]]] = {
    "Linear": _matrix,
    "Affine": _matrix,
    "Scale": _scale,
    "Conv2d": _conv2d,
    "SumPool2d": _pool2d,
    "AvgPool2d": _pool2d,
}
LAYERS: Final = (*_LAYERS, "Flatten")
