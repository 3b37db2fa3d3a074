"""The Triton encoder gives the reference's bits; without a GPU it runs in the interpreter."""

import math
import os
import re
import subprocess
import sys

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton decorates a kernel

from hw_models.errors import BadInput
from kernels import encode as reference
from kernels import encode_triton as twin

torch.set_num_threads(1)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 64


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same_bits(x, k=3.0, block=BLOCK):
    v_th, counts = reference.encode(x, k)
    twin_v_th, twin_counts = twin.encode(x.to(DEVICE), k, block=block)
    assert torch.equal(twin_v_th.cpu(), v_th)
    assert torch.equal(twin_counts.cpu(), counts)
    assert (twin_v_th.dtype, twin_counts.dtype) == (torch.float32, torch.int32)


@pytest.mark.parametrize("n", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 1, 5 * BLOCK + 7])
@pytest.mark.parametrize("rows", [1, 3])
def test_same_bits_at_sizes_around_a_block(n, rows):
    assert_same_bits(vectors(rows, n, seed=n))


@pytest.mark.parametrize("scale", [1e-42, 1e-6, 1e-4, 1e-2, 1.0, 1e3, 4e4])
def test_same_bits_at_every_scale(scale):
    assert_same_bits(vectors(4, 200, seed=1) * scale)


@pytest.mark.parametrize("k", [0.1, 2.5, 3.3, 7.0, 1e7])
def test_same_bits_at_every_k(k):
    """3.3 has no exact float32, which a kernel's float argument would be; 1e7 gives odd counts
    on both sides of 2^23, where float32 has no fractions left."""
    assert_same_bits(vectors(16, 211, seed=2) * 1e4, k)


def test_same_bits_under_the_default_block_and_without_a_batch():
    assert_same_bits(vectors(2500, seed=3), block=twin.BLOCK)


def test_same_bits_in_a_batch_that_is_not_contiguous():
    assert_same_bits(vectors(90, 2, 3, seed=4).permute(1, 2, 0))


def test_same_bits_where_quotients_are_halves():
    x = 15 * (torch.arange(-200, 200) + 0.5)  # times 1/15 many would be no halves
    assert reference.encode(x, 100.0)[0] == 15
    assert_same_bits(x, k=100.0)


def test_same_bits_where_the_sum_s_terms_are_halves():
    assert_same_bits(torch.tensor([8192.5, 8192.5, -8193.5]) * 2.0**-28, k=1.0)


def test_same_bits_for_zeros_denormals_and_the_largest_value():
    assert_same_bits(torch.tensor([0.0, -0.0, 1e-45, -1e-40, 1e-38]))
    x = vectors(BLOCK + 3, seed=5)
    x[5], x[BLOCK + 1] = 2.0**18 - 2.0**-6, -(2.0**17)
    assert_same_bits(x)


@pytest.mark.parametrize("at", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 4])
@pytest.mark.parametrize(
    ("value", "k", "what"),
    [
        (math.nan, 3.0, "not finite"),
        (math.inf, 3.0, "not finite"),
        (-(2.0**18), 3.0, r"2\^18"),
        (-(2.0**17), 2.0**30, r"2\^31"),
    ],
)
def test_the_same_input_is_refused_by_site_and_token(value, k, what, at):
    x = torch.ones(3, 2 * BLOCK + 5)
    x[2, at] = value
    with pytest.raises(BadInput, match=what) as error:
        twin.encode(x.to(DEVICE), k, site="layers.0.attn_in", token=4, block=BLOCK)
    assert error.value.where == "site layers.0.attn_in, token 6"


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from kernels.encode_triton import _encode

pointers = dict(x="*fp32", total="*i64", divisor="*fp64", v_th="*fp32", count="*i32", flag="*i32")
signature = {f"{name}_ptr": kind for name, kind in pointers.items()}
signature |= {"n": "i32", "BLOCK": "constexpr"}
source = ASTSource(fn=_encode, signature=signature, constexprs={"BLOCK": 128})
print(compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"])
"""


def test_on_a_gpu_both_divisions_are_ieee_divisions(tmp_path):
    """What the interpreter cannot show: no reciprocal, no flush of denormals, in PTX for Hopper."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    ptx = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True
    ).stdout
    divisions = set(re.findall(r"\b(?:div|rcp)\.\S+", ptx))
    assert divisions == {"div.rn.f32", "div.rn.f64"}
    assert "ftz" not in ptx
