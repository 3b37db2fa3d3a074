"""Triton twin of `kernels.encode.encode`: same inputs, same bits.

Sums are int64 atomics, so the order in which programs finish does not matter.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hw_models.errors import Bug
from kernels import threshold

SCALE = tl.constexpr(threshold.SCALE)
LARGEST = tl.constexpr(threshold.LARGEST)
FLOOR = tl.constexpr(threshold.FLOOR)
COUNTS = tl.constexpr(2.0**31)
# Adding and taking away a power of two rounds half to even below it; libdevice.rint does
# the same, but not under the interpreter.
INTEGER64 = tl.constexpr(2.0**52)
INTEGER32 = tl.constexpr(2.0**23)
BLOCK = 1024


@triton.jit
def _reduce(x_ptr, total_ptr, flag_ptr, n, BLOCK: tl.constexpr):
    """total[row] += sum of rint(|x| * 2^28); a value out of range raises the flag."""
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    size = tl.abs(tl.load(x_ptr + row * n + i, mask=i < n, other=0.0))
    fits = size < LARGEST  # false for NaN
    scaled = tl.where(fits, size, 0.0).to(tl.float64) * SCALE  # exact, below 2^46
    rounded = ((scaled + INTEGER64) - INTEGER64).to(tl.int64)
    tl.atomic_add(total_ptr + row, tl.sum(rounded, 0))
    bad = tl.max(tl.where(fits, 0, 1), 0)
    tl.atomic_max(flag_ptr, bad, mask=bad != 0)


@triton.jit
def _encode(x_ptr, total_ptr, divisor_ptr, v_th_ptr, count_ptr, flag_ptr, n, BLOCK: tl.constexpr):
    """v_th[row] from the row's total, and one block of its counts."""
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mean = tl.load(total_ptr + row).to(tl.float64) / tl.load(divisor_ptr)
    v_th = tl.maximum(mean.to(tl.float32), FLOOR)
    if tl.program_id(1) == 0:
        tl.store(v_th_ptr + row, v_th)
    x = tl.load(x_ptr + row * n + i, mask=i < n, other=0.0)
    quotient = tl.div_rn(tl.abs(x), v_th + tl.zeros_like(x))
    near = (quotient + INTEGER32) - INTEGER32
    size = tl.where(quotient < INTEGER32, near, quotient)  # all floats above are integers
    fits = size < COUNTS
    size = tl.where(fits, size, 0.0).to(tl.int32)
    tl.store(count_ptr + row * n + i, tl.where(x < 0, -size, size), mask=i < n)
    bad = tl.max(tl.where(fits, 0, 1), 0)
    tl.atomic_max(flag_ptr, bad, mask=bad != 0)


def encode(
    x: Tensor, k: float, *, site: str = "", token: int = 0, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """mean-abs V_th and counts: float32 [..., n] -> float32 [...], int32 [..., n].

    Raises BadInput (kernels.threshold.count).
    """
    x = x.contiguous()
    n = x.shape[-1]
    rows = x.numel() // n
    v_th = x.new_empty(x.shape[:-1])
    counts = torch.empty_like(x, dtype=torch.int32)
    total = torch.zeros(rows, dtype=torch.int64, device=x.device)
    flag = torch.zeros(1, dtype=torch.int32, device=x.device)
    # a float argument of a kernel would become float32
    divisor = torch.full((1,), float(n) * k * threshold.SCALE, dtype=torch.float64, device=x.device)
    grid = rows, triton.cdiv(n, block)
    if rows:
        _reduce[grid](x, total, flag, n, BLOCK=block)
        _encode[grid](x, total, divisor, v_th, counts, flag, n, BLOCK=block)
    if flag.item():
        threshold.count(x, v_th, site=site, token=token)  # names what is wrong
        raise Bug("the Triton encoder refuses what its reference takes", where=f"site {site}")
    return v_th, counts
