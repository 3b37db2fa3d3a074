"""Networks of spiking neurons step by step, without an event queue.

A step of a population needs nothing but the spikes of the one before it, so what neurons do is
computed layer by layer, and what that makes of messages is counted afterwards: the program fixes
who sends what to whom. Spikes, messages and synops are those of the event engine; when which
message passes which link is another question (simulator.step_time).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import plain_tasks
from compiler.audit.trees import ranges, tree_of_sink
from compiler.graph import Linear, Population, SpikeInput
from compiler.program import SPIKE, TILE, Program
from hw_models.errors import Unsupported
from kernels.neurons import NEURONS
from simulator.helpers import Helpers
from simulator.hot import lockstep as hot
from simulator.hot.lockstep import Chain, count, list_spikes, run_block
from simulator.lags import lags
from simulator.listed import by_input, joined
from simulator.met import Met, met_of
from simulator.spikes import checked

I64 = NDArray[np.int64]

BLOCK = 256
"""Most neurons that are computed together: their weights stay in a cache, and threads share
blocks."""
WORTH = 100_000_000
"""Synapses times steps that take several threads less time than one."""

SOME = 64
"""Synapses of an input in a block, where they are lists."""

_NAMES = ("a_syn", "w_in", "a_mem", "r", "v_leak", "v_threshold", "v_reset",
          "du", "dv", "bias", "vth")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parts:
    """Pieces of populations, each on one core and with one set of destinations.

    layer      int64[part] 0 for the host's channels, 1 for the first population
    lo, hi     int64[part] its channels, or neurons of its population
    core       int64[part]
    first      int64[part] where lo is among all neurons, the host's channels before them
    lag        int64[part] steps of the chip that it is behind the host
    task       int64[part] that updates its neurons; -1 for the host's
    """

    layer: I64
    lo: I64
    hi: I64
    core: I64
    first: I64
    lag: I64
    task: I64

    @property
    def size(self) -> I64:
        return self.hi - self.lo


@dataclass(frozen=True, slots=True)
class Ways:
    """Where the spikes of each part go: a row per part, tree and destination, int64.

    A spike of a part is one message on each of its trees and one delivery at each sink.
    """

    part: I64
    tree: I64
    sink: I64
    core: I64  # of the destination
    neurons: I64  # there that a delivered spike meets: its synops; 0 at the host; VARIES: Met


VARIES = -1
"""Where synapses are lists, a channel's spikes meet as many neurons as its own is long."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What happened, step by step; a step is one of the network's.

    raster     uint8[step, neuron] spikes of the host's channels and of all populations
    busy       uint8[step, neuron] who had an input, a bias or a state; no rows unless wanted
    outputs    float32[step, n] spikes or membranes of the last one
    fired      int64[step, part] channels or neurons that fired
    active     int64[step, part] sums of busy; 0 on the host
    sums       int64[step, neuron] what the linears gave; no rows unless wanted
    """

    raster: NDArray[np.uint8]
    busy: NDArray[np.uint8]
    outputs: NDArray[np.float32]
    fired: I64
    active: I64
    sums: I64


@dataclass(slots=True)
class Lockstep:
    """One sequence on one program; `run` goes on where the last one ended.

    Unsupported for what is no network of spiking neurons.
    """

    program: Program
    values: bool = True  # without: only for spikes that are known
    helpers: Helpers = field(default_factory=Helpers)
    layers: tuple[Population, ...] = field(init=False)
    parts: Parts = field(init=False)
    ways: Ways = field(init=False)
    met: Met = field(init=False)
    v: NDArray[np.float32] = field(init=False)  # what neurons keep from step to step
    i: NDArray[np.float32] = field(init=False)
    chain: Chain = field(init=False)

    def __post_init__(self) -> None:
        self.layers = layers = _layers(self.program)
        self.parts = _parts(self.program, layers)
        self.ways = _ways(self.program, layers, self.parts)
        self.met = met_of(self.program)
        if not self.values:
            self.v = self.i = np.zeros(0, np.float32)
            return
        self.chain = _arrays(self.program, layers, self.parts)
        self.v = self.chain.parameter[hot.V_LEAK].copy()
        self.i = np.zeros_like(self.v)

    def run(
        self, spikes: NDArray[np.generic], keep_busy: bool = True, keep_sums: bool = False
    ) -> Steps:
        """BadInput for what is not 0 or 1 of shape [steps, channels]."""
        given = checked(spikes, self.program.graph)
        chain, n_parts, n_steps = self.chain, self.parts.core.size, len(given)
        last, longest = self.layers[-1].n, int(chain.block[:, hot.B_PRE].max())
        raster = np.zeros((n_steps, chain.bias.size), np.uint8)  # membranes stay 0
        raster[:, : given.shape[1]] = given
        busy = np.zeros((keep_busy * n_steps, chain.bias.size), np.uint8)
        sums = np.zeros((n_steps if keep_sums else 1, chain.bias.size), np.int64)
        outputs = np.empty((n_steps, last), np.float32)
        fired, active = (np.zeros((n_steps, n_parts), np.int64) for _ in range(2))
        listed = np.empty((n_steps, longest + 1), np.int64), np.empty(n_steps, np.int64)
        worth = n_steps * (chain.weight.size + chain.list_value.size) >= WORTH
        for first, end in pairwise(chain.layer.tolist()):
            inputs = int(chain.block[first, hot.B_INPUT])
            list_spikes(raster[:, inputs : inputs + int(chain.block[first, hot.B_PRE])], *listed)

            def work(part: int, first: int = first) -> None:
                about = raster, busy, outputs, *listed, sums
                run_block(chain, first + part, self.v, self.i, *about)

            self.helpers.share(work, end - first, worth)
        count(chain, raster, fired)
        if keep_busy:
            count(chain, busy, active)
        if chain.block[-1, hot.B_KIND] & (hot.FIRES | hot.LOIHI):
            outputs[:] = raster[:, -last:]
        return Steps(raster, busy, outputs, fired, active, sums[: keep_sums * n_steps])

    def spiked(self, raster: NDArray[np.uint8]) -> Steps:
        """The same of spikes that are known: nothing is computed."""
        fired = np.add.reduceat(raster, self.parts.first, axis=1, dtype=np.int64)
        none = np.zeros((0, raster.shape[1]), np.uint8)
        outputs = np.zeros((len(raster), 0), np.float32)
        return Steps(raster, none, outputs, fired, np.zeros_like(fired), none.astype(np.int64))


def _layers(program: Program) -> tuple[Population, ...]:
    graph = program.graph
    if not graph.takes_spikes:
        raise Unsupported("not a network of spiking neurons", where=graph.model)
    return tuple(stage for stage in graph.stages if isinstance(stage, Population))


def _sites(program: Program, layers: tuple[Population, ...]) -> dict[int, int]:
    """Layer by the index of the site that it sends; 0 is the host."""
    index = {site.name: i for i, site in enumerate(program.graph.sites)}
    first = next(s for s in program.graph.stages if isinstance(s, SpikeInput))
    sent = [first.site, *(layer.site for layer in layers)]
    return {index[site]: k for k, site in enumerate(sent) if site is not None}


def _spike_emits(program: Program, layers: tuple[Population, ...]) -> I64:
    """(layer, first channel, end, tree) of everything that sends spikes."""
    t = program.tables
    rows = np.flatnonzero(t.emit_class == SPIKE)
    tree, lo = t.emit_tree[rows], t.emit_lo[rows]
    layer_of = _sites(program, layers)
    layer = [layer_of[int(site)] for site in t.task_site[t.tree_task[tree]]]
    return np.stack([layer, lo, lo + t.emit_n[rows], tree], axis=1).astype(np.int64)


def _parts(program: Program, layers: tuple[Population, ...]) -> Parts:
    """Cut at the borders of blocks and of what is sent together."""
    t, stages = program.tables, program.graph.stages
    emits, behind = _spike_emits(program, layers), lags(program, layers)
    rows: list[tuple[int, ...]] = []
    before = 0
    for k, layer in enumerate((None, *layers)):
        if layer is None:
            host = t.task_core[program.task_names.index("host.embed")]
            blocks = [(0, int(stages[0].n), int(host), -1)]
        else:
            tasks = np.flatnonzero(t.task_gathers == stages.index(layer))
            lo, n = t.task_neuron_lo[tasks], t.task_neuron_n[tasks]
            blocks = sorted(
                zip(*(x.tolist() for x in (lo, lo + n, t.task_core[tasks], tasks)), strict=True)
            )
        cuts = np.unique(emits[emits[:, 0] == k, 1:3])
        for lo, hi, core, task in blocks:
            inner = cuts[np.searchsorted(cuts, lo, "right") : np.searchsorted(cuts, hi)].tolist()
            ends = [*inner, hi]
            for a, b in zip([lo, *inner], ends, strict=True):
                rows.append((k, a, b, core, before + a, behind[k], task))
        before += blocks[-1][1]
    return Parts(*np.array(rows, np.int64).T.copy())


def _ways(program: Program, layers: tuple[Population, ...], parts: Parts) -> Ways:
    """Emission by emission, sink by sink, part by part."""
    t = program.tables
    of_sink = tree_of_sink(t)
    met = np.where(t.task_kind == TILE, t.task_neuron_n, 0).astype(np.int64)
    met[(t.task_kind == TILE) & ~plain_tasks(program)] = VARIES
    layer, lo, hi, tree = _spike_emits(program, layers).T
    begins = np.concatenate([[0], np.cumsum(np.bincount(parts.layer))])  # parts, layer by layer
    wide = int(parts.hi.max()) + 1
    place, ends = parts.layer * wide + parts.lo, parts.layer * wide + parts.hi
    first = np.maximum(np.searchsorted(place, layer * wide + lo), begins[layer])
    n_parts = np.searchsorted(ends, layer * wide + hi, "right") - first
    by_tree = np.argsort(of_sink, kind="stable")
    sinks = np.bincount(of_sink, minlength=t.tree_root.size)
    sink_first = np.cumsum(sinks) - sinks
    pairs = np.repeat(np.arange(tree.size), sinks[tree])  # emission of every (emission, sink)
    sink = by_tree[ranges(sink_first[tree], sink_first[tree] + sinks[tree])]
    rows = np.repeat(np.arange(pairs.size), n_parts[pairs])
    part = ranges(first[pairs], first[pairs] + n_parts[pairs])
    return Ways(
        part=part,
        tree=tree[pairs][rows],
        sink=sink[rows].astype(np.int64),
        core=t.sink_core[sink][rows].astype(np.int64),
        neurons=met[t.sink_task[sink]][rows],
    )


def _arrays(program: Program, layers: tuple[Population, ...], parts: Parts) -> Chain:
    """Weights input by input, so that a spike adds a row, or a list."""
    host = int(parts.hi[parts.layer == 0].max())
    room = _Room([], [], [], [], [])
    blocks, begins = [], [0]
    scales, biases = [np.zeros(host)], [np.zeros(host, np.float32)]
    vectors = [[np.zeros(host, np.float32)] * len(_NAMES)]
    neuron, inputs = host, 0
    for layer in layers:
        linear, kind = program.linears[layer.linear], NEURONS[layer.neuron]
        for own, at in room.blocks(program, program.graph.linear(layer.linear)):
            out = own.start if layer is layers[-1] else -1
            size = (program.graph.linear(layer.linear).n_pre, own.stop - own.start)
            bits = _bits(kind.parameters)
            blocks.append((*size, *at[:2], neuron + own.start, inputs, out, bits, at[2]))
        begins.append(len(blocks))
        scales.append(np.asarray(linear.row_scale[:], np.float64))
        biases.append(np.asarray(linear.bias[:], np.float32))
        named = dict(zip(kind.parameters, layer.parameters, strict=True))
        zero = np.zeros(layer.n, np.float32)
        vectors.append([program.vectors[named[p]] if p in named else zero for p in _NAMES])
        inputs, neuron = neuron, neuron + layer.n
    return Chain(
        layer=np.array(begins, np.int64),
        block=np.array(blocks, np.int64),
        weight=np.concatenate([*room.weights, np.zeros(0, np.int8)]),
        mantissa=np.concatenate([*room.mantissas, np.zeros(0, np.int32)]),
        list_first=np.concatenate([*room.firsts, np.zeros(0, np.int64)]),
        list_neuron=np.concatenate([*room.neurons, np.zeros(0, np.uint16)]),
        list_value=np.concatenate([*room.values, np.zeros(0, np.int32)]),
        scale=np.concatenate(scales),
        bias=np.concatenate(biases),
        parameter=np.ascontiguousarray(np.concatenate(vectors, axis=1), np.float32),
        part=np.stack([parts.first, parts.first + parts.size], axis=1),
    )


@dataclass(frozen=True, slots=True)
class _Room:
    """Synapses of blocks so far, one after another."""

    weights: list[NDArray[np.int8]]
    mantissas: list[NDArray[np.int32]]
    firsts: list[I64]
    neurons: list[NDArray[np.uint16]]
    values: list[NDArray[np.int32]]

    def blocks(
        self, program: Program, linear: Linear
    ) -> Iterator[tuple[slice, tuple[int, int, int]]]:
        """Neurons of each block, and where its weights, mantissas and lists are."""
        size = BLOCK
        if not linear.plain:  # blocks in which an input has some synapses, to look up once
            met = linear.synapses // linear.n_pre
            size = max(BLOCK, -(-linear.n_post // max(1, met // SOME)))
        matrix = None if linear.plain else joined(program, linear)
        arrays = program.linears[linear.name]
        for lo in range(0, linear.n_post, size):
            own = slice(lo, min(lo + size, linear.n_post))
            at = tuple(sum(a.size for a in of) for of in (self.weights, self.mantissas))
            if matrix is None:
                self.weights.append(arrays.q[own].T.ravel())
                self.mantissas.append(np.asarray(arrays.m[own], np.int32).T.ravel())
                yield own, (*at, -1)
                continue
            begin = sum(a.size for a in self.firsts)
            first, neuron, value = by_input(matrix[own])
            self.firsts.append(sum(a.size for a in self.values) + first)
            self.neurons.append(neuron)
            self.values.append(value)
            yield own, (*at, begin)


def _bits(parameters: tuple[str, ...]) -> int:
    """What a kind of neurons has, for the kernel."""
    has = {"a_syn": hot.SYNAPSE, "a_mem": hot.LEAK, "r": hot.MEMBRANE, "v_threshold": hot.FIRES}
    has |= {"v_reset": hot.RESETS, "du": hot.LOIHI}
    return sum(bit for name, bit in has.items() if name in parameters)
