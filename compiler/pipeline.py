"""From a checkpoint to a verified program, in plain lines: pass, then its verifier."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from compiler import weights
from compiler.audit import graph as graphs
from compiler.audit.buffers import check_buffers
from compiler.budget import Budget
from compiler.frontends.nir import Stepping
from compiler.frontends.read import Source, read_preset, read_source
from compiler.graph import Graph
from compiler.lists import Lists, Synapses
from compiler.passes import arrays
from compiler.passes import board as boarding
from compiler.passes import dataflow as flows
from compiler.passes import encode as encoding
from compiler.passes import pack as packing
from compiler.passes import partition as partitioning
from compiler.passes import place as placing
from compiler.passes import route as routing
from compiler.passes import router_tables as tabling
from compiler.passes import schedule as scheduling
from compiler.passes import store as storing
from compiler.passes import tile as tiling
from compiler.passes.bounds import bounds
from compiler.passes.nets import nets_of
from compiler.passes.traffic import messages
from compiler.program import Program, Prompt, from_arrays
from compiler.statistics import shipped_profile, spiking_network
from compiler.tasks import Dataflow
from compiler.text import Text
from hw_models.chip import Chip, load_chip
from hw_models.errors import BadInput, Usage

Progress = Callable[[str, int, int], None]
"""Called with (step, done, total)."""

DEFAULT_PROMPT = b'def read_lines(path):\n    """Return the lines of a file."""\n    with '
TOKENS = 64
STEPS = (
    *("read", "encode", "tile", "dataflow"),
    *("pack", "partition", "board", "place", "route", "schedule"),
)
WEIGHTS = "quantize"
"""The step after STEPS, told block by block: no step of the mapping needs a weight."""


def compile_model(
    path: str | Path | None = None,
    target: str = "loihi-like",
    *,
    coding: str | None = None,
    k: float | None = None,
    preset: str | None = None,
    prompt: bytes | str | Sequence[int] | None = None,
    tokens: int | None = None,
    context: int | None = None,
    stepping: Stepping | None = None,
    overrides: Mapping[str, str] | None = None,
    budget: Budget | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Program:
    """Map a model onto a target, with its weights if it has any; arguments as in map_model.

    out: write the program there, block by block, and return it as it is read from there; memory
    then holds no more than some blocks of weights, and else all of them.
    """
    report = progress or (lambda step, done, total: None)
    program, source = map_model(
        path,
        target,
        coding=coding,
        k=k,
        preset=preset,
        prompt=prompt,
        tokens=tokens,
        context=context,
        stepping=stepping,
        overrides=overrides,
        budget=budget,
        progress=report,
    )
    if out is None:
        return with_weights(program, source.tensors, report, source.lists)
    return save(program, source.tensors, out, report, source.lists)


def map_model(
    path: str | Path | None = None,
    target: str = "loihi-like",
    *,
    coding: str | None = None,
    k: float | None = None,
    preset: str | None = None,
    prompt: bytes | str | Sequence[int] | None = None,
    tokens: int | None = None,
    context: int | None = None,
    stepping: Stepping | None = None,
    overrides: Mapping[str, str] | None = None,
    budget: Budget | None = None,
    progress: Progress | None = None,
) -> tuple[Program, Source]:
    """A program without weights, and where these are: a checkpoint, a NIR graph, a config.json or
    a preset.

    prompt: text or token ids. context, stepping: as in frontends.read.read_source. Raises BadInput
    (files, values), Unsupported (model, coding), DoesNotFit (limits), Usage for a choice the model
    does not have.
    """
    report = progress or (lambda step, done, total: None)
    report("read", 0, len(STEPS))
    chip = load_chip(target, overrides or {})
    if path is not None and preset is None:
        source = read_source(Path(path), context, stepping)
    elif preset is not None and path is None:
        source = read_preset(preset, context, stepping)
    else:
        what = "no model" if path is None else "two models"
        raise Usage(what, where="MODEL and --preset", fix="give one of them")
    chosen = None
    if source.graph.takes_spikes:
        _check_no_options({"--prompt": prompt, "--tokens": tokens, "--context": context})
    else:
        chosen = Prompt(_ids(source, prompt), TOKENS if tokens is None else tokens)
    graph, lists = storing.store(source.graph, source.synapses, chip)
    storing.verify(graph, lists, chip)
    source = replace(source, graph=graph, synapses={}, lists=lists)
    options: dict[str, Any] = {"coding": coding, "k": k, "prompt": chosen}
    program = map_graph(graph, chip, **options, lists=lists, budget=budget, report=report)
    return replace(program, tokenizer=np.frombuffer(source.tokenizer, np.uint8)), source


def compile_graph(
    graph: Graph,
    tensors: Mapping[str, Tensor] | None,
    chip: Chip,
    *,
    coding: str | None = None,
    k: float | None = None,
    prompt: Prompt | None = None,
    synapses: Synapses | None = None,
    budget: Budget | None = None,
    report: Progress = lambda step, done, total: None,
) -> Program:
    """Map a graph, and its tensors if there are any; arguments as in map_graph.

    synapses: of linears that may be stored as lists; their tensors are not looked at then.
    """
    graph, lists = storing.store(graph, synapses or {}, chip)
    storing.verify(graph, lists, chip)
    options: dict[str, Any] = {"coding": coding, "k": k, "prompt": prompt}
    program = map_graph(graph, chip, **options, lists=lists, budget=budget, report=report)
    return with_weights(program, tensors, report, lists)


def with_weights(
    program: Program,
    tensors: Mapping[str, Tensor] | None,
    report: Progress,
    lists: Lists | None = None,
) -> Program:
    """The program with all weights in memory."""
    if tensors is None:
        return program
    pieces = weights.sections(program.graph, tensors, partial(report, WEIGHTS), lists)
    arrays = weights.collect(weights.forms(program.graph, tensors), pieces)
    return replace(program, **from_arrays(program.graph, arrays))


def save(
    program: Program,
    tensors: Mapping[str, Tensor] | None,
    path: Path,
    report: Progress,
    lists: Lists | None = None,
) -> Program:
    """Write the program with weights that never are in memory as a whole, and read it back."""
    if tensors is None:
        program.write(path)
    else:
        pieces = weights.sections(program.graph, tensors, partial(report, WEIGHTS), lists)
        program.write(path, weights.forms(program.graph, tensors), pieces)
    return Program.read(path)


def map_graph(
    graph: Graph,
    chip: Chip,
    *,
    coding: str | None = None,
    k: float | None = None,
    prompt: Prompt | None = None,
    lists: Lists | None = None,
    budget: Budget | None = None,
    report: Progress = lambda step, done, total: None,
) -> Program:
    """Map a graph onto a chip, without weights; lists: of linears that are not plain."""
    lists = lists or {}
    if graph.takes_spikes:
        _check_no_options({"--coding": coding, "--k": k, "--prompt": prompt})
        coding = "binary"
    coding, k = "bitwise" if coding is None else coding, 3.0 if k is None else k
    _check_options(k, prompt)
    steps = iter(enumerate(STEPS))
    next(steps)

    def begin() -> None:
        done, step = next(steps)
        report(step, done, len(STEPS))

    graphs.verify(graph)
    partitioning.check_weights_fit(graph, chip)
    statistics = spiking_network() if graph.takes_spikes else shipped_profile()
    budget = budget or Budget()
    begin()
    encoding.check_abilities(chip, graph)
    codes = encoding.encode(graph, chip, coding, k)
    encoding.verify(codes, graph, chip)
    begin()
    tiles = tiling.tile(graph, codes, chip, statistics, lists)
    tiling.verify(tiles, graph, chip, lists)
    if chip.array is not None:
        arrays.verify(tiles, chip)
    begin()
    flow = flows.dataflow(graph, tiles, chip, lists)
    flows.verify(flow, graph)
    begin()
    packed = packing.pack(flow, chip)
    packing.verify(packed, flow, chip)
    begin()
    parts = partitioning.partition(packed, chip)
    partitioning.verify(parts, packed, chip)
    begin()
    weigh = messages(graph, codes, chip, statistics)
    nets = nets_of(flow, packed, weigh)
    boarded = boarding.on_board(parts, nets, budget)
    boarding.verify(boarded, nets)
    begin()
    placed = placing.place(boarded.parts, nets, chip, budget)
    placing.verify(placed, boarded.parts, chip)
    begin()
    trees = routing.route(flow, packed, placed)
    routing.verify(trees, flow, packed, placed)
    routing.verify_deadlock_free(trees)
    routers = tabling.router_tables(trees, flow, placed.mesh, chip)
    tabling.verify(routers, trees, placed.mesh, chip)
    begin()
    tables = scheduling.schedule(graph, flow, packed, placed, trees, routers, chip)
    scheduling.verify(tables, graph)
    report("schedule", len(STEPS), len(STEPS))
    bound = {c.site: c.bound for c in codes}
    program = Program(
        graph=graph,
        chip_text=chip.text,
        coding=coding,
        k=k,
        codings={c.site: (c.coding, c.payload_bits) for c in codes},
        partial_bits={lin.name: tiling.sum_bits(lin, bound[lin.site]) for lin in graph.linears},
        ops=scheduling.op_names(graph),
        task_names=tuple(t.name for t in flow.tasks),
        n_cores=packed.n_cores,
        n_chips=placed.n_chips,
        max_streams=_max_streams(flow, packed, chip),
        bounds=bounds(graph, flow, nets, boarded, placed, routers, weigh, chip),
        statistics={
            "origin": statistics.origin,
            "sha256": statistics.sha256,
            "spikes_per_channel": {c.site: statistics.rate(c.coding, c.dense) for c in codes},
            "active_share": {c.site: statistics.active_share(c.dense) for c in codes},
            "at_most": statistics.at_most,
            "mean_count": {c.site: statistics.mean_count for c in codes},
            "symbols": {
                c.site: statistics.symbols(c.coding, c.dense, graph.site(c.site).n) for c in codes
            },
        },
        prompt=prompt if prompt or graph.takes_spikes else _default_prompt(graph),
        tables=tables,
        source={"model": graph.model},
    )
    check_buffers(program)
    return program


def _ids(source: Source, prompt: bytes | str | Sequence[int] | None) -> tuple[int, ...]:
    """Token ids of a prompt, or of the default one; BadInput also for a damaged tokenizer.json."""
    text = Text(source.graph.vocab, source.tokenizer)
    text.verify()
    return _default_ids(text) if prompt is None else text.ids(prompt)


def _default_prompt(graph: Graph) -> Prompt:
    return Prompt(_default_ids(Text(graph.vocab)), TOKENS)


def _default_ids(text: Text) -> tuple[int, ...]:
    """Ids of DEFAULT_PROMPT; none where there is no text, or not this one."""
    if text.kind == "ids" or (text.kind == "bytes" and max(DEFAULT_PROMPT) >= text.vocab):
        return ()
    return text.ids(DEFAULT_PROMPT)


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
