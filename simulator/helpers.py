"""Threads that share work which can be done in any order.

The thread of the run takes part after part, and so do helpers as soon as they get a core: nobody
waits for one that has not begun, and none spins while there is nothing to do.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numba


def threads() -> int:
    """As many as numba may use: NUMBA_NUM_THREADS, or the cores there are."""
    return int(numba.config.NUMBA_NUM_THREADS)


@dataclass(slots=True)
class Helpers:
    """All threads but one's own, of `most` or as many as numba may use. They begin when they are
    first needed."""

    most: int | None = None
    _pool: ThreadPoolExecutor | None = field(default=None, init=False)

    def share(self, work: Callable[[int], None], parts: int, worth: bool) -> None:
        """work(0) ... work(parts - 1), in any order; worth: whether several threads pay."""
        left = deque(range(parts))

        def take() -> None:
            while True:
                try:
                    part = left.popleft()
                except IndexError:
                    return
                work(part)

        others, most = [], self.most or threads()
        if worth and min(parts, most) > 1:
            self._pool = self._pool or ThreadPoolExecutor(most - 1)
            others = [self._pool.submit(take) for _ in range(min(parts, most) - 1)]
        take()
        for other in others:
            if not other.cancel():
                other.result()
