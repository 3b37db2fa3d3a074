"""Networks of spiking neurons from NIR graphs: layers and populations in turn, one step per token.

What one population spikes goes through the layers behind it, fused to one linear, to the next:

    Input -> [Conv2d -> SumPool2d] -> IF -> [Flatten -> Affine] -> LIF -> Output

NIR says what neurons do in continuous time; how a step of length dt takes them on is in
kernels.neurons. A NIR file does not tell dt: snnTorch exports for 1e-4.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Final, Literal, get_args

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.audit.graph import verify
from compiler.frontends.checkpoint import model_name
from compiler.frontends.loihi import KINDS, FixedPoint, fixed_point
from compiler.frontends.model import Lazy
from compiler.frontends.nir_file import Node, read_nodes
from compiler.frontends.torch_zip import printable
from compiler.frontends.unroll import (
    LAYERS,
    Layer,
    flattened,
    fused_bias,
    fused_weight,
    layer,
    size,
    spread,
)
from compiler.graph import (
    Graph,
    Linear,
    Logits,
    Neuron,
    Part,
    Population,
    Site,
    SpikeInput,
    Stage,
    feeds,
)
from compiler.lists import Matrix, Synapses, full
from hw_models.errors import BadInput, Unsupported
from kernels.neurons import NEURONS

Integration = Literal["euler", "exact", "loihi"]

TYPES: Final[dict[str, Neuron]] = {
    "IF": "if",
    "LIF": "lif",
    "CubaLIF": "cubalif",
    "Threshold": "threshold",
    "I": "i",
    "LI": "li",
    "CubaLI": "cubali",
}
SUPPORTED: Final = ("Input", "Output", *LAYERS, *TYPES)

_STORED: Final = {
    "a_mem": ("tau", "tau_mem"),
    "a_syn": ("tau_syn",),
    "v_threshold": ("v_threshold", "threshold"),
}
"""Names in the file, where they are not kernels.neurons' own."""

_DEFAULTS: Final = {"v_reset": 0.0, "w_in": 1.0}  # files of nir before 1.0.5 lack v_reset

_LARGEST: Final = 1e30  # keeps float32 state finite for as long as its inputs are


@dataclass(frozen=True, slots=True)
class Stepping:
    """How continuous time becomes steps: their length in the unit of the file's time constants,
    and how a leak is integrated over one (kernels.neurons). loihi: euler in fixed point."""

    dt: float = 1e-4
    integration: Integration = "euler"

    def __post_init__(self) -> None:
        if not 0 < self.dt < math.inf:
            raise BadInput(f"a step of {self.dt}", where="--dt", fix="a number above 0")
        if self.integration not in get_args(Integration):
            known = ", ".join(get_args(Integration))
            raise BadInput(f"integration {self.integration!r}", fix=f"one of {known}")

    def share(self, tau: NDArray[np.float64], node: Node, key: str) -> NDArray[np.float64]:
        """How much of the way a leaky variable goes in a step; BadInput beyond the whole of it."""
        if not (tau > 0).all():
            raise BadInput(f"{key} is {tau.min()}", where=node.place, fix="a number above 0")
        if self.integration == "exact":
            return -np.expm1(-self.dt / tau)
        share = self.dt / tau
        if share.max() > 1 + 1e-6:  # a float32 tau may be just below dt
            raise BadInput(
                f"a step of {self.dt:g} is longer than {key}, {tau.min():g}",
                where=node.place,
                fix="--dt for the time step that the network was trained with",
            )
        return share


def read_nir(path: Path, stepping: Stepping) -> tuple[Graph, Mapping[str, Tensor], Synapses]:
    """A .nir file's operations, the tensors they name, each read when it is asked for, and the
    synapses of its linears.

    Raises BadInput for a damaged or contradictory file, Unsupported (naming the node) for what is
    not computed here: cycles, branches, subgraphs, other types.
    """
    nodes, edges = read_nodes(path)
    made = _Network(stepping)
    for node in _chain(nodes, edges, path):
        made.add(node)
    return made.finish(model_name(path))


def _chain(nodes: Mapping[str, Node], edges: Iterable[tuple[str, str]], path: Path) -> list[Node]:
    """From the Input to the Output; every node lies on the way."""
    for node in nodes.values():
        if node.type not in SUPPORTED:
            raise Unsupported(
                f"type {printable(node.type)}",
                where=node.place,
                fix=f"supported: {', '.join(SUPPORTED)}",
            )
    ways = nx.DiGraph()
    ways.add_nodes_from(nodes)
    ways.add_edges_from(edges)
    if not nx.is_directed_acyclic_graph(ways):
        around = [nodes[a] for a, _ in nx.find_cycle(ways)]
        names = " -> ".join(printable(n.name) for n in (*around, around[0]))
        raise Unsupported(
            f"a cycle: {names}", where=around[0].place, fix="a network that only feeds forward"
        )
    for name, node in nodes.items():
        if max(ways.in_degree(name), ways.out_degree(name)) > 1:
            raise Unsupported(
                f"{ways.in_degree(name)} edges in, {ways.out_degree(name)} out",
                where=node.place,
                fix="one chain of nodes, without branches",
            )
    for kind in ("Input", "Output"):
        ends = [node for node in nodes.values() if node.type == kind]
        if len(ends) > 1:
            raise Unsupported(f"a second {kind}", where=ends[1].place, fix=f"one {kind} node")
        if not ends:
            raise BadInput(f"no {kind} node", where=str(path))
    order = [nodes[name] for name in nx.topological_sort(ways)]
    apart = [node for node in order if not _joined(node, ways)]
    if apart:
        raise BadInput("not on the way from Input to Output", where=apart[0].place)
    return order


def _joined(node: Node, ways: "nx.DiGraph[str]") -> bool:
    """With one edge in and out at most and no cycle, missing edges are what parts a chain."""
    fed, feeds = ways.in_degree(node.name) == 1, ways.out_degree(node.name) == 1
    return (fed or node.type == "Input") and (feeds or node.type == "Output")


@dataclass(slots=True)
class _Network:
    """A graph under construction, node by node."""

    stepping: Stepping
    shape: tuple[int, ...] = ()  # of what the next node is fed
    layers: list[Layer] = field(default_factory=list)  # behind the last population
    stages: list[Stage] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    linears: list[Linear] = field(default_factory=list)
    tensors: dict[str, Callable[[], Tensor]] = field(default_factory=dict)
    synapses: dict[str, Callable[[], Matrix]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def add(self, node: Node) -> None:
        """One node more; nothing may follow neurons that do not spike."""
        silent = self.stages and not feeds(self.stages[-1])
        if silent and node.type not in ("Flatten", "Output"):
            raise Unsupported(
                f"after {self.stages[-1].name}, whose neurons do not spike",
                where=node.place,
                fix="I, LI and CubaLI only as the last node",
            )
        if node.type == "Input":
            self._input(node)
        elif node.type == "Output":
            self._output(node)
        elif node.type == "Flatten":
            self.shape = flattened(node, self.shape)
        elif node.type in TYPES:
            self._population(node)
        else:
            found = layer(node, self.shape)
            if found is not None:
                self.layers.append(found)
                self.shape = found.out

    def _input(self, node: Node) -> None:
        self.shape = _shape(node)
        name, n = self._name(node), self._size(node)
        self.stages.append(SpikeInput(name, self._site(name, n), n))

    def _population(self, node: Node) -> None:
        name, n, kind = self._name(node), self._size(node), TYPES[node.type]
        layers = tuple(self.layers)
        linear = self._linear(node, f"{name}.in")
        found = {
            k: _parameter(node, k, self.shape, self.stepping) for k in NEURONS[kind].parameters
        }
        if self.stepping.integration == "loihi":
            kind = self._in_fixed_point(node, name, layers, found)
        else:
            for key, values in found.items():
                self.tensors[f"{name}.{key}"] = partial(torch.clone, values)
        parameters = tuple(f"{name}.{key}" for key in NEURONS[kind].parameters)
        site = self._site(name, n) if NEURONS[kind].spikes else None
        self.stages.append(Population(name, linear, site, n, kind, parameters))

    def _in_fixed_point(
        self, node: Node, name: str, layers: Sequence[Layer], found: Mapping[str, Tensor]
    ) -> Neuron:
        """The last linear's synapses and the population's parameters as integers."""
        if TYPES[node.type] not in KINDS:
            raise Unsupported(
                f"type {node.type} in fixed point",
                where=node.place,
                fix="IF, LIF and CubaLIF, or --integration euler",
            )
        linear = self.linears[-1] = replace(self.linears[-1], integers=True)
        parameters = {key: values.double().numpy() for key, values in found.items()}

        @cache
        def made() -> FixedPoint:
            weight, bias = (make(layers, linear.n_pre) for make in (fused_weight, fused_bias))
            return fixed_point(parameters, weight, bias, node.place)

        self.tensors[f"{linear.name}.weight"] = lambda: torch.from_numpy(full(made().weight))
        self.synapses[linear.name] = lambda: made().weight
        self.tensors[f"{linear.name}.bias"] = partial(torch.zeros, linear.n_post)
        for key in NEURONS["loihi"].parameters:
            self.tensors[f"{name}.{key}"] = partial(
                lambda key: torch.from_numpy(made().vectors[key]), key
            )
        return "loihi"

    def _output(self, node: Node) -> None:
        """Layers behind the last population are its readout: their sums go to the host."""
        if size(_shape(node)) != size(self.shape):
            raise BadInput(f"shape {list(_shape(node))}, fed {list(self.shape)}", where=node.place)
        if self.layers:
            n = size(self.shape)
            self.stages.append(Logits(self._name(node), self._linear(node, "readout"), n))
        elif len(self.stages) < 2:
            raise BadInput("no neurons between Input and Output", where=node.place)

    def _size(self, node: Node) -> int:
        """Channels of a site, or neurons that read one."""
        n = size(self.shape)
        if n > 65_536:
            raise Unsupported(f"{n} channels; 65,536 at most", where=node.place)
        return n

    def _site(self, name: str, n: int) -> str:
        self.sites.append(Site(f"{name}.spikes", n, "spikes"))
        return self.sites[-1].name

    def _linear(self, node: Node, plain: str) -> str:
        """Fuse the layers since the last spikes; without any, every channel has its own neuron."""
        before, n_post, layers = self.sites[-1], size(self.shape), tuple(self.layers)
        weighted = [each.node for each in layers if "weight" in each.node.shapes]
        name = self._name(weighted[-1]) if weighted else self._unique(plain, node)
        weight, bias = f"{name}.weight", f"{name}.bias"
        self.tensors[weight] = lambda: torch.from_numpy(full(fused_weight(layers, before.n)))
        self.tensors[bias] = lambda: torch.from_numpy(fused_bias(layers, before.n))
        self.synapses[name] = lambda: fused_weight(layers, before.n)
        part = Part(weight, bias, (0, n_post))
        macs = sum(each.macs for each in layers) if layers else n_post
        sizes = (before.n, n_post)
        self.linears.append(Linear(name, before.name, *sizes, (part,), multiplied=macs))
        self.layers = []
        return name

    def _name(self, node: Node) -> str:
        """What reports call it: the node's name, behind its type if that is a mere number."""
        plain = f"{node.type.lower()}{node.name}" if node.name.isdigit() else node.name
        return self._unique(plain, node)

    def _unique(self, name: str, node: Node) -> str:
        if name in self.names or name == "host" or name.startswith("host."):
            raise BadInput(f"the name {printable(name)} is taken", where=node.place)
        if not name.isprintable() or len(name) > 100:
            raise BadInput("a name that cannot be printed", where=node.place)
        self.names.add(name)
        return name

    def finish(self, model: str) -> tuple[Graph, Mapping[str, Tensor], Synapses]:
        profile = f"NIR, dt = {self.stepping.dt:g}, {self.stepping.integration}"
        parts = (tuple(self.stages), tuple(self.sites), tuple(self.linears))
        graph = Graph(model, profile, None, 0, *parts)
        verify(graph)
        return graph, Lazy(self.tensors), self.synapses


def _shape(node: Node) -> tuple[int, ...]:
    """What an Input or Output node says of its vectors."""
    form = node.shapes.get("shape", (0,))
    if len(form) > 1 or not 1 <= size(form) <= 8:
        raise BadInput("no shape", where=node.place)
    sides = node.numbers("shape", 8).reshape(-1)
    if not ((sides >= 1) & (sides == np.floor(sides)) & (sides <= 65_536)).all():
        raise BadInput(f"shape {sides.tolist()}", where=node.place)
    return tuple(int(side) for side in sides)


def _parameter(node: Node, key: str, shape: tuple[int, ...], stepping: Stepping) -> Tensor:
    """One of kernels.neurons' parameters, float32 for each neuron."""
    stored = next((name for name in _STORED.get(key, (key,)) if name in node.shapes), None)
    if stored is None and key not in _DEFAULTS:
        raise BadInput(f"no {' or '.join(_STORED.get(key, (key,)))}", where=node.place)
    if stored is None:
        return torch.full((size(shape),), _DEFAULTS[key])
    values = spread(node, stored, shape)
    if key in ("a_mem", "a_syn"):
        values = stepping.share(values, node, stored)
    if np.abs(values).max() > _LARGEST:
        raise BadInput(f"{stored} beyond float32", where=node.place)
    return torch.from_numpy(values.astype(np.float32))
