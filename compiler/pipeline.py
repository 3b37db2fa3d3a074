"""From a checkpoint to a verified program, in plain lines: pass, then its verifier."""

from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

from torch import Tensor

from compiler import graph as graphs
from compiler import weights as quantizing
from compiler.frontends.nir import Stepping
from compiler.frontends.read import read_model
from compiler.graph import Graph
from compiler.passes import dataflow as flows
from compiler.passes import encode as encoding
from compiler.passes import pack as packing
from compiler.passes import partition as partitioning
from compiler.passes import place as placing
from compiler.passes import route as routing
from compiler.passes import schedule as scheduling
from compiler.passes import tile as tiling
from compiler.passes.bounds import bounds
from compiler.program import LinearArrays, Program, Prompt
from compiler.statistics import shipped_profile, spiking_network
from compiler.tasks import Dataflow
from hw_models.chip import Chip, load_chip
from hw_models.errors import BadInput, Usage
from kernels.canonical import Numbers

Progress = Callable[[str, int, int], None]
"""Called with (step, done, total)."""

DEFAULT_PROMPT = b'def read_lines(path):\n    """Return the lines of a file."""\n    with '
TOKENS = 64
STEPS = (
    *("read", "quantize", "encode", "tile", "dataflow"),
    *("pack", "partition", "place", "route", "schedule"),
)


def compile_model(
    path: str | Path,
    target: str = "loihi-like",
    *,
    coding: str | None = None,
    k: float | None = None,
    prompt: bytes | None = None,
    tokens: int | None = None,
    context: int | None = None,
    stepping: Stepping | None = None,
    overrides: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Program:
    """Read a model and map it onto a target; context and stepping as in frontends.read.read_model.

    Raises BadInput (files, values), Unsupported (model, coding), DoesNotFit (limits), Usage for a
    choice that the model does not have.
    """
    report = progress or (lambda step, done, total: None)
    report("read", 0, len(STEPS))
    chip = load_chip(target, overrides or {})
    graph, tensors = read_model(Path(path), context, stepping)
    chosen = None
    if prompt is not None or tokens is not None:
        text = DEFAULT_PROMPT if prompt is None else prompt
        chosen = Prompt(text, TOKENS if tokens is None else tokens)
    return compile_graph(graph, tensors, chip, coding=coding, k=k, prompt=chosen, report=report)


def compile_graph(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    chip: Chip,
    *,
    coding: str | None = None,
    k: float | None = None,
    prompt: Prompt | None = None,
    dead: Set[int] = frozenset(),
    report: Progress = lambda step, done, total: None,
) -> Program:
    """Map a graph and its tensors onto a chip; `dead` cores (physical numbers) stay unused."""
    if graph.takes_spikes:
        _check_no_options({"--coding": coding, "--k": k, "--prompt, --tokens": prompt})
        coding = "binary"
    coding, k = "bitwise" if coding is None else coding, 3.0 if k is None else k
    _check_options(k, prompt)
    steps = iter(enumerate(STEPS))
    next(steps)

    def begin() -> None:
        done, step = next(steps)
        report(step, done, len(STEPS))

    graphs.verify(graph)
    begin()
    numbers = quantizing.quantize(graph, tensors)
    quantizing.verify(numbers, graph, tensors)
    statistics = spiking_network() if graph.takes_spikes else shipped_profile()
    begin()
    encoding.check_abilities(chip, graph)
    codes = encoding.encode(graph, chip, coding, k)
    encoding.verify(codes, graph, chip)
    begin()
    tiles = tiling.tile(graph, codes, chip, statistics.spikes_per_channel[coding])
    tiling.verify(tiles, graph, chip)
    begin()
    flow = flows.dataflow(graph, tiles, chip)
    flows.verify(flow, graph)
    begin()
    packed = packing.pack(flow, chip)
    packing.verify(packed, flow, chip)
    begin()
    parts = partitioning.partition(packed, chip, dead)
    partitioning.verify(parts, packed, chip, dead)
    begin()
    placed = placing.place(parts, chip, dead)
    placing.verify(placed, parts, chip, dead)
    begin()
    trees = routing.route(flow, packed, placed, chip)
    routing.verify(trees, flow, packed, placed)
    routing.verify_deadlock_free(trees)
    begin()
    tables = scheduling.schedule(graph, flow, packed, placed, trees, chip)
    scheduling.verify(tables)
    report("schedule", len(STEPS), len(STEPS))
    bound = {c.site: c.bound for c in codes}
    return Program(
        graph=graph,
        chip_text=chip.text,
        coding=coding,
        k=k,
        codings={c.site: (c.coding, c.payload_bits) for c in codes},
        partial_bits={lin.name: tiling.partial_bits(bound[lin.site]) for lin in graph.linears},
        ops=scheduling.op_names(graph),
        task_names=tuple(t.name for t in flow.tasks),
        n_cores=packed.n_cores,
        n_chips=placed.n_chips,
        max_streams=_max_streams(flow, packed, chip),
        bounds=bounds(flow, placed, chip),
        statistics={"origin": statistics.origin, "sha256": statistics.sha256},
        prompt=None if graph.takes_spikes else prompt or Prompt(DEFAULT_PROMPT, TOKENS),
        tables=tables,
        **_arrays(numbers),
        source={"model": graph.model},
    )


def _check_no_options(options: Mapping[str, object]) -> None:
    """A network of spiking neurons leaves nothing to choose: its spikes are 0 or 1."""
    for name, value in options.items():
        if value is not None:
            raise Usage(
                "a network of spiking neurons has no counts to code and no text to start from",
                where=name,
                fix=f"leave out {name}; sbsim run takes --spikes",
            )


def _check_options(k: float, prompt: Prompt | None) -> None:
    if not 0.25 <= k <= 64:
        raise BadInput(f"k is {k}", where="--k", fix="a value from 0.25 to 64; SpikingBrain uses 3")
    if prompt is not None and not prompt.text:
        raise BadInput("the prompt is empty", where="--prompt", fix="at least one character")
    if prompt is not None and prompt.tokens < 1:
        raise BadInput(f"{prompt.tokens} tokens to decode", where="--tokens", fix="at least 1")


def _max_streams(flow: Dataflow, packed: packing.Packing, chip: Chip) -> int:
    """Sequences whose recurrent state fits: the first one's and more beside it, on every core."""
    free = [chip.core.state_memory] * packed.n_cores
    again = [0] * packed.n_cores
    for unit, core in zip(flow.units, packed.core_of, strict=True):
        if core >= 0:
            free[core] -= unit.state_bytes
            again[core] += unit.stream_bytes
    more = [have // need for have, need in zip(free, again, strict=True) if need]
    return 1 + min(more, default=0)


def _arrays(numbers: Numbers) -> dict[str, Any]:
    return {
        "linears": {
            name: LinearArrays(w8.q.numpy(), w8.m.numpy(), w8.row_scale.numpy(), bias.numpy())
            for name, (w8, bias) in numbers.linears.items()
        },
        "vectors": {name: v.numpy() for name, v in numbers.vectors.items()},
        "embedding": numbers.embedding.numpy(),
    }
