"""How long a compile may take: optimisers look at what is left and do less."""

import math
import time
from dataclasses import dataclass, field

from hw_models.errors import Usage


@dataclass(frozen=True, slots=True)
class Budget:
    """seconds of wall time from its making, or none: then every optimiser does all it can.

    With a limit the result depends on the machine; without one it never does.
    """

    seconds: float | None = None
    began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise Usage(
                f"a time budget of {self.seconds:g} s",
                where="--time-budget",
                fix="a number of seconds",
            )

    @classmethod
    def none(cls) -> "Budget":
        """For an estimate: no optimiser runs, so that the result depends on no machine either."""
        return cls(1e-9)

    @property
    def left(self) -> float:
        """Seconds; infinite without a limit."""
        if self.seconds is None:
            return math.inf
        return max(0.0, self.seconds - (time.perf_counter() - self.began))
