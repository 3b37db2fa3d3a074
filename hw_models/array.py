"""[array]: crossbar arrays that hold the weights of a core (docs/hardware.md).

An 8-bit weight takes several cells of one row, in neighbouring columns. A token's counts
drive rows step by step; every column in use is converted once per step.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

from hw_models.cited import Tree
from hw_models.quantity import (
    Count,
    Picoseconds,
    Positive,
    PositiveBits,
    PositivePicoseconds,
    Share,
    width_bits,
)

GROUP: Final = 128
"""Inputs that share a mantissa (DESIGN 3.3): their sums must not mix with others'."""

Encoding = Literal["pairs", "offset"]


def _adc_bits(raw: object) -> int:
    """8 of '8 bit'; 0 of 'ideal' or a bare 0."""
    return 0 if raw == "ideal" or (raw == 0 and not isinstance(raw, bool)) else width_bits(raw)


AdcBits = Annotated[int, BeforeValidator(_adc_bits)]


@dataclass(frozen=True, slots=True)
class Array:
    """Geometry, converters, timing and noise of a core's arrays.

    encoding  pairs: the digits of |q| in a positive or a negative cell; offset: those of
              q + 128, and a column of ones beside the array tells what to subtract
    adc_step  what one code stands for: a sum over rows of drive x level of the cell
    noise     standard deviation of a programmed cell, as a share of its highest level
    """

    rows: Positive
    columns: Positive
    rows_at_once: Positive  # rows driven in one step
    per_core: Positive
    encoding: Encoding
    bits_per_cell: PositiveBits
    dac_bits: PositiveBits  # of a count, driven in one step
    adc_bits: AdcBits  # 0: ideal, neither rounds nor clips
    adc_step: Positive
    columns_per_adc: Positive
    cycle_ps: PositivePicoseconds  # driving rows for one step
    convert_ps: Picoseconds  # per column
    noise: Share
    seed: Count

    @property
    def pairs(self) -> bool:
        return self.encoding == "pairs"

    @property
    def top(self) -> int:
        """Highest level of a cell."""
        return (1 << self.bits_per_cell) - 1

    @property
    def slices(self) -> int:
        """Cells for the digits of one weight: of 7 bits of magnitude, or of 8 with the offset."""
        return -(-(7 if self.pairs else 8) // self.bits_per_cell)

    @property
    def columns_per_weight(self) -> int:
        return self.slices * (2 if self.pairs else 1)

    @property
    def neurons(self) -> int:
        """Neurons whose weights lie side by side in one array."""
        return self.columns // self.columns_per_weight

    @property
    def weights(self) -> int:
        """8-bit weights, and so bytes, that one array holds."""
        return self.rows * self.neurons

    @property
    def step_ps(self) -> int:
        """One step: rows are driven while the columns of the step before are converted."""
        return max(self.cycle_ps, self.columns_per_adc * self.convert_ps)

    @property
    def exact(self) -> bool:
        """Whether sums are those of a digital core by definition."""
        return self.adc_bits == 0 and self.noise == 0


def check_array(tree: Tree, array: Array) -> None:
    """Refuse what cannot be built or would mix groups; BadInput names the key."""
    if GROUP % array.rows_at_once or array.rows % array.rows_at_once:
        raise tree.refuse(
            "array.rows_at_once",
            f"{array.rows_at_once} divides not both {GROUP} (inputs of a group) "
            f"and the {array.rows} rows",
        )
    for key, most in (("bits_per_cell", 8), ("dac_bits", 8), ("adc_bits", 24)):
        if getattr(array, key) > most:
            raise tree.refuse(f"array.{key}", f"more than {most} bit")
    if array.neurons < 1:
        raise tree.refuse(
            "array.columns", f"{array.columns}; one weight takes {array.columns_per_weight}"
        )
