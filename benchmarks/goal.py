"""What a figure of a benchmark must reach, and whether it did: misses are printed as such."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """A cost from above or (at_least) a rate from below; should: what is hoped for beyond."""

    name: str
    found: float
    must: float
    should: float | None = None
    unit: str = ""
    at_least: bool = False

    @property
    def verdict(self) -> str:
        if self.should is not None and self._reaches(self.should):
            return "goal met"
        return "met" if self._reaches(self.must) else "MISSED"

    def _reaches(self, limit: float) -> bool:
        return self.found >= limit if self.at_least else self.found <= limit

    @property
    def told(self) -> str:
        """'at most 60, goal 30: met'."""
        goal = "" if self.should is None else f", goal {self.should:g}"
        return f"{'at least' if self.at_least else 'at most'} {self.must:g}{goal}: {self.verdict}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}
