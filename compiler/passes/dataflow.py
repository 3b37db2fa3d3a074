"""Turn stages and tiles into tasks, units and nets: who waits for whom, on which core memory."""

from collections import Counter, defaultdict
from itertools import pairwise

from compiler.graph import (
    Gla,
    Graph,
    Linear,
    Logits,
    Population,
    Residual,
    SpikeInput,
    Stage,
    Swiglu,
    Window,
)
from compiler.passes.blocks import Plan, gla_blocks, residual_blocks, swiglu_blocks, window_blocks
from compiler.passes.population import population_blocks, readout, spike_input
from compiler.passes.tile import tile_state_bytes
from compiler.passes.vector_work import dequantize, total
from compiler.tasks import Dataflow, Net, Task, Tile
from hw_models.chip import Chip
from hw_models.errors import Bug

HOST_IN, HOST_OUT = "host.embed", "host.logits"


def dataflow(graph: Graph, tiles: tuple[Tile, ...], chip: Chip) -> Dataflow:
    """Tasks in execution order of the graph; needs are counted from the nets."""
    plan = Plan(chip)
    embed = plan.task(Task(HOST_IN, "host", 0, on_host=True))
    plan.unit("host", "host", [embed], on_host=True)
    carriers = [embed]  # tasks that hold the residual stream, block by block
    for stage in graph.stages:
        carriers = _stage(plan, stage, carriers)
        if stage.linear is not None:
            _partials(plan, tiles, stage)
        linear = graph.driven_by(stage)
        if linear is not None:
            _tiles(plan, linear, tiles, stage)
        elif isinstance(stage, Population):
            readout(plan, stage, HOST_OUT)
    return plan.finish()


def _stage(plan: Plan, stage: Stage, carriers: list[int]) -> list[int]:
    match stage:
        case Residual():
            return residual_blocks(plan, stage, carriers)
        case Gla():
            gla_blocks(plan, stage)
        case Window():
            window_blocks(plan, stage)
        case Swiglu():
            swiglu_blocks(plan, stage)
        case Logits():
            _logits(plan, stage)
        case SpikeInput():
            spike_input(plan, stage, carriers[0])
        case Population():
            population_blocks(plan, stage)
    return carriers


def _logits(plan: Plan, stage: Logits) -> None:
    """The head's neurons send their logits to the host."""
    host = plan.task(Task(HOST_OUT, "host", 0, on_host=True))
    plan.unit("host.out", "host", [host], on_host=True)
    for lo, n in plan.cut(stage.n, plan.neuron_bytes):
        task = plan.task(
            Task(
                f"{stage.name}[{lo}]",
                stage.name,
                0,
                neurons=(lo, n),
                gathers=True,
                work=total(dequantize(n)),
            )
        )
        plan.unit(f"{stage.name}[{lo}]", stage.name, [task], n * plan.neuron_bytes, n)
        plan.nets.append(Net(task, "value", 0, n, (host,)))


def _tiles(plan: Plan, linear: Linear, tiles: tuple[Tile, ...], stage: Stage) -> None:
    """One task per tile, and spike nets from the encoders: channels with equal destinations."""
    mine: list[tuple[Tile, int]] = []
    for tile in tiles:
        if tile.linear == linear.name:
            name = f"{tile.linear}[{tile.post},{tile.pre}]"
            task = plan.task(Task(name, tile.linear, 0, tile=tile))
            plan.unit(
                name,
                tile.linear,
                [task],
                tile_state_bytes(tile.n_pre, tile.n_post, plan.chip.core.token_slots),
                tile.n_post,
                synapse_bytes=tile.n_pre * tile.n_post,
                in_axons=tile.n_pre,
            )
            mine.append((tile, task))
    borders = {t.pre for t, _ in mine} | {t.pre + t.n_pre for t, _ in mine}
    for source, encoder in enumerate(plan.tasks):
        if encoder.op != stage.name or encoder.channels is None:
            continue
        lo, n = encoder.channels
        cuts = sorted({lo, lo + n} | {b for b in borders if lo < b < lo + n})
        for a, b in pairwise(cuts):
            sinks = tuple(i for t, i in mine if t.pre <= a and b <= t.pre + t.n_pre)
            plan.nets.append(Net(source, "spike", a, b - a, sinks))


def _partials(plan: Plan, tiles: tuple[Tile, ...], stage: Stage) -> None:
    """Every tile sends each home task the partial sums of the neurons it owns."""
    homes = [
        (i, t.neurons)
        for i, t in enumerate(plan.tasks)
        if t.op == stage.name and t.neurons is not None
    ]
    for source, task in enumerate(plan.tasks):
        tile = task.tile
        if tile is None or tile.linear != stage.linear:
            continue
        for home, (lo, n) in homes:
            a, b = max(lo, tile.post), min(lo + n, tile.post + tile.n_post)
            if a < b:
                plan.nets.append(Net(source, "partial", a, b - a, (home,)))


def verify(flow: Dataflow, graph: Graph) -> None:
    """Every tile gets each of its axons once and sends each neuron's sum once; no neuron lacks a
    home."""
    linears = {lin.name: lin for lin in graph.linears}
    sent: dict[int, Counter[str]] = defaultdict(Counter)
    got: Counter[str] = Counter()
    for net in flow.nets:
        source = flow.tasks[net.source]
        for sink in net.sinks:
            target = flow.tasks[sink]
            if net.message == "spike" and target.tile is not None:
                got[target.name] += net.n
            if net.message == "partial" and source.tile is not None:
                sent[net.source]["neurons"] += net.n
    for i, task in enumerate(flow.tasks):
        if task.tile is None:
            continue
        if got[task.name] != task.tile.n_pre:
            raise Bug(f"{got[task.name]} of {task.tile.n_pre} axons driven", where=task.name)
        if sent[i]["neurons"] != task.tile.n_post:
            raise Bug(f"{sent[i]['neurons']} of {task.tile.n_post} sums sent", where=task.name)
    for name, linear in linears.items():
        covered = sorted(
            t.neurons for t in flow.tasks if t.neurons is not None and _linear_of(graph, t) == name
        )
        reached = 0
        for lo, n in covered:
            if lo != reached:
                raise Bug(f"neuron {reached} has no home", where=name)
            reached = lo + n
        if reached != linear.n_post:
            raise Bug(f"homes end at neuron {reached}", where=name)


def _linear_of(graph: Graph, task: Task) -> str | None:
    return next(s.linear for s in graph.stages if s.name == task.op)
