"""Threads that share work: each takes the next item, whichever is free."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def claim(context, taken):
    """taken[0] += 1, and what it was before; no two threads get the same. taken: int64[1]"""
    if taken != types.Array(types.int64, 1, "C"):
        return None

    def codegen(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", array.data, one, "monotonic")

    return types.int64(taken), codegen
