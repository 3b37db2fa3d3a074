"""How kernels are compiled: `entry` for those that Python calls, `inner` for the rest; `merged`
for those of the rest that take all tables, Fixed and State.

Inner kernels get no wrappers for Python and count no references (`_nrt`): they allocate
nothing and borrow the arrays of the entry they work for. Counting every array of two large
tuples would take most of an event's time and most of the compiler's (docs/performance.md).
Merged kernels become part of what calls them: a call would copy both tuples, over 400 words.
"""

from functools import partial
from hashlib import sha256
from pathlib import Path

from numba import njit
from numba.core.caching import FunctionCache

SOURCES = sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()

inner = njit(_nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")
merged = njit(
    _nrt=False,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
    error_model="numpy",
    forceinline=True,
)


class Cache(FunctionCache):
    """Machine code on disk, for these very sources.

    numba looks at the time stamp of an entry's own file; what it calls may lie in another.
    """

    def _index_key(self, sig, codegen):
        return *super()._index_key(sig, codegen), SOURCES


def entry(kernel, **options):
    """Compile on the first call, or take what an earlier process compiled."""
    dispatcher = njit(error_model="numpy", **options)(kernel)
    dispatcher._cache = Cache(kernel)
    return dispatcher


threaded = partial(entry, parallel=True)
"""An entry whose prange runs on as many threads as numba.set_num_threads says."""

borrowing = partial(entry, _nrt=False)
"""An entry that allocates nothing and counts no references either."""

released = partial(entry, nogil=True)
"""An entry that lets other threads of Python run meanwhile."""
