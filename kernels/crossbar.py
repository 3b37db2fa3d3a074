"""What a linear on crossbar arrays adds up to: cells, steps, converters (DESIGN section 4).

The oracle of simulator/hot/crossbar.py, written to be obviously right. Everything is
integer: a cell's level is kept in 1/256, noise is rounded to that, and a converter gives
integer codes. So with an ideal converter and no noise, sums are those of kernels/linear.py;
otherwise they are the same wherever a weight lies, on any machine.

`array` is a hw_models.array.Array; only its fields are read.

    W8 weight q  ->  digits in cells side by side     levels, flips, cells
    token counts ->  drives of rows, step by step     steps
    per step     ->  column sums, codes, shift, add   convert, read
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw_models.errors import BadInput

GROUP = 128
FRACTION = 8
"""Bits of a level behind the point."""
OFFSET = 128
"""What `offset` adds to a weight, so that no cell needs a sign."""
INT32_MAX = 2**31 - 1
UNARY = ("ternary",)
"""Codings whose counts are driven one unit at a time; the others digit by digit."""

I64 = NDArray[np.int64]
U16 = NDArray[np.uint16]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cells:
    """A block of programmed weights.

    level   uint16[columns per weight, n_post, n_pre], in 1/256
    flip    bool[columns per weight, n_post, row blocks]: stored as top - level
    """

    level: U16
    flip: Bools


@dataclass(frozen=True, slots=True)
class Reading:
    """Sums int64[n_post, groups] of one token, and what it took.

    driven  rows x steps; reads: arrays x steps; conversions: columns x steps, of these
    `clipped` beyond the converter's range
    """

    sums: I64
    driven: int
    reads: int
    conversions: int
    clipped: int


def factors(array: Any) -> I64:
    """What a code of each of a weight's columns counts, int64[columns per weight]."""
    digit = 1 << (array.bits_per_cell * np.arange(array.slices, dtype=np.int64))
    return np.concatenate([digit, -digit]) if array.pairs else digit


def levels(q: NDArray[np.int8], array: Any) -> I64:
    """Digits of every weight, int64[columns per weight, n_post, n_pre].

    pairs: |q|, in the positive columns or in the negative ones; offset: q + 128.
    """
    wide = q.astype(np.int64)
    parts = [np.maximum(wide, 0), np.maximum(-wide, 0)] if array.pairs else [wide + OFFSET]
    shifts = array.bits_per_cell * np.arange(array.slices)
    return np.stack([(part >> shift) & array.top for part in parts for shift in shifts])


def flips(level: I64, array: Any) -> Bools:
    """Columns of `offset` stored upside down: those more than half full, block by block of rows.

    No sum is then more than half of what it could be, and the converter needs one bit less
    (ISAAC, section V). Pairs are half empty as they are.
    """
    starts = range(0, level.shape[2], array.rows_at_once)
    full = [level[:, :, at : at + array.rows_at_once] for at in starts]
    over = [2 * part.sum(2) > array.top * part.shape[2] for part in full]
    return np.stack(over, 2) & (not array.pairs)


def cells(q: NDArray[np.int8], array: Any, linear: int, neuron: int = 0, channel: int = 0) -> Cells:
    """Programmed cells of a block of weights that begins at (neuron, channel) of a linear."""
    level = levels(q, array)
    flip = flips(level, array)
    upside = np.repeat(flip, array.rows_at_once, 2)[:, :, : q.shape[1]]
    level = np.where(upside, array.top - level, level)
    stored = level << FRACTION
    if array.noise:
        spread = array.noise * array.top * (1 << FRACTION)
        off = np.rint(spread * normal(array.seed, linear, neuron, channel, level.shape))
        # a cell at level 0 is left as it is: nothing is programmed
        stored = np.where(level > 0, stored + off.astype(np.int64), 0)
    return Cells(stored.clip(0, 65535).astype(np.uint16), flip)


def normal(
    seed: int, linear: int, neuron: int, channel: int, shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Standard deviates float64[columns, neurons, channels], a function of the cell's place alone.

    The sum of twelve 16-bit numbers out of a counter's hash: variance 1, exact on any machine.
    """
    columns, n_post, n_pre = shape
    key = _mix(np.uint64(seed))
    key = _mix(key + np.uint64(linear))
    rows = _mix(key + np.arange(neuron, neuron + n_post, dtype=np.uint64))[None, :, None]
    place = _mix(rows + np.arange(channel, channel + n_pre, dtype=np.uint64))
    place = _mix(place + np.arange(columns, dtype=np.uint64)[:, None, None])
    total = np.zeros(shape, np.int64)
    for word in range(3):
        bits = _mix(place + np.uint64(word))
        for part in range(4):
            total += ((bits >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.int64)
    return (total - 12 * 32767.5) / 65536


def _mix(x: Any) -> Any:
    """A bijection of 64 bits that looks random: the finaliser of SplitMix64 (Steele 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def steps(counts: NDArray[np.integer], coding: str, array: Any) -> Iterator[tuple[int, I64]]:
    """(what a unit of drive counts, drive int64[n]) of every step; drives fit dac_bits.

    Positive counts first, then the negative ones. Steps that drive no row are left out.
    """
    most = (1 << array.dac_bits) - 1
    for sign in (1, -1):
        left = np.maximum(sign * counts.astype(np.int64), 0)
        unit = sign
        while left.any():
            if coding in UNARY:
                drive = np.minimum(left, most)
                left = left - drive
                yield unit, drive
            else:
                drive = left & most
                left = left >> array.dac_bits
                if drive.any():
                    yield unit, drive
                unit <<= array.dac_bits


def convert(sums: I64, array: Any) -> tuple[I64, Bools]:
    """Column sums in 1/256 -> (the integers their codes stand for, whether they were clipped).

    Halves are rounded up; an ideal converter rounds to one and never clips.
    """
    step = array.adc_step if array.adc_bits else 1
    codes = (sums + (step << FRACTION >> 1)) // (step << FRACTION)
    if not array.adc_bits:
        return codes, np.zeros(codes.shape, np.bool_)
    largest = (1 << array.adc_bits) - 1
    return np.minimum(codes, largest) * step, codes > largest


def read(counts: NDArray[np.integer], coding: str, held: Cells, array: Any) -> Reading:
    """Drive a block's rows with one token's counts int[n_pre] and add up what comes out.

    Arrays stand side by side, `array.neurons` to each; all see the same drives. Raises
    BadInput when a sum does not fit int32.
    """
    columns, n_post, n_pre = held.level.shape
    side_by_side = -(-n_post // array.neurons)
    sums = np.zeros((n_post, -(-n_pre // GROUP)), np.int64)
    driven = reads = conversions = clipped = 0
    for block, start in enumerate(range(0, n_pre, array.rows_at_once)):
        rows = slice(start, start + array.rows_at_once)
        level = held.level[:, :, rows].astype(np.float64)  # every sum is exact: below 2^53
        for unit, drive in steps(counts[rows], coding, array):
            value, over = convert((level @ drive.astype(np.float64)).astype(np.int64), array)
            driven += side_by_side * np.count_nonzero(drive)
            reads += side_by_side
            conversions += columns * n_post
            clipped += np.count_nonzero(over)
            total = np.int64(0)
            if not array.pairs:  # the column of ones of every array
                ones, beyond = convert(drive.sum(keepdims=True) << FRACTION, array)
                conversions += side_by_side
                clipped += side_by_side * np.count_nonzero(beyond)
                value = np.where(held.flip[:, :, block], array.top * ones[0] - value, value)
                total = OFFSET * ones[0]
            sums[:, start // GROUP] += unit * (factors(array) @ value - total)
    if np.abs(sums).max() > INT32_MAX:
        raise BadInput("an accumulator does not fit int32", where="crossbar")
    return Reading(sums, driven, reads, conversions, clipped)
