"""What a front end says about one model, before any tensor is read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from compiler.graph import Graph


class Form(NamedTuple):
    """A stored tensor's shape, and its dtype (or, if it is not strided, layout) by torch's name."""

    shape: tuple[int, ...]
    kind: str


Stored = Mapping[str, Tensor]
Make = Callable[[Stored], Tensor]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a checkpoint must hold, no more and no fewer, and how the graph's tensors come of it.

    shapes: every stored tensor. made: the graph's tensors that are not stored as they are.
    equal: pairs of stored tensors that are one. ignored: names that may be there and mean nothing.
    """

    shapes: Mapping[str, tuple[int, ...]]
    made: Mapping[str, Make] = field(default_factory=dict)
    equal: tuple[tuple[str, str], ...] = ()
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Model:
    """The operations, and what the checkpoint must hold given the forms of what it does hold."""

    graph: Graph
    expected: Callable[[Mapping[str, Form]], Expected]


class Lazy(Mapping[str, Tensor]):
    """Tensors that are read, or computed, each time they are asked for; none is kept."""

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self._makers = dict(makers)

    def __getitem__(self, name: str) -> Tensor:
        return self._makers[name]()

    def __contains__(self, name: object) -> bool:  # Mapping's own would read the tensor
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)
