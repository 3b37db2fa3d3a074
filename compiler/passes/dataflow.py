"""Turn stages and tiles into tasks, units and nets: who waits for whom, on which core memory."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise

from scipy.sparse import csr_array

from compiler.conditions import condition_of
from compiler.graph import (
    Condition,
    Gla,
    Graph,
    Linear,
    Logits,
    Parallel,
    Population,
    Residual,
    Router,
    SpikeInput,
    Stage,
    Swiglu,
    Window,
    feeds,
    reads,
)
from compiler.lists import Lists
from compiler.passes import arrays, strips
from compiler.passes.aspect import group_bytes
from compiler.passes.attention import gla_blocks, window_blocks
from compiler.passes.blocks import logits_blocks, residual_blocks, router_blocks, swiglu_blocks
from compiler.passes.parallel import parallel_blocks
from compiler.passes.plan import Plan, tiled
from compiler.passes.population import population_blocks, readout, spike_input
from compiler.tasks import Dataflow, Net, Task, Tile, Unit
from hw_models.chip import Chip
from hw_models.errors import Bug

HOST_IN = "host.embed"


def dataflow(
    graph: Graph, tiles: tuple[Tile, ...], chip: Chip, lists: Lists | None = None
) -> Dataflow:
    """Tasks in execution order of the graph; units in the order in which they are packed."""
    linears = {linear.name: linear for linear in graph.linears}
    shapes = {(tile.n_pre, tile.n_post, tile.groups): tile for tile in tiles}
    largest = max(_memory(tile, linears[tile.linear], chip)[1] for tile in shapes.values())
    plan = Plan(graph, chip, tiled(graph, tiles), largest, [tile.block for tile in tiles])
    driven: dict[str, list[Linear]] = defaultdict(list)
    for linear in graph.linears:
        driven[linear.site].append(linear)
    runs = condition_of(graph)
    embed = plan.task(Task(HOST_IN, "host", 0, on_host=True))
    plan.unit(Unit("host", "host", (embed,), 0, 0, 0, 0, on_host=True))
    carriers = [embed]  # tasks that hold the residual stream, block by block
    for stage in graph.stages:
        plan.homes, plan.condition = [], runs[stage.name]
        carriers = _stage(plan, stage, carriers)
        for name in reads(stage):
            plan.partials(name)
        if isinstance(stage, Population) and stage is graph.stages[-1]:
            readout(plan, stage)
            continue
        for site in feeds(stage):
            for linear in driven[site]:
                _tiles(plan, linear, (lists or {}).get(linear.name))
    return plan.finish()


def _stage(plan: Plan, stage: Stage, carriers: list[int]) -> list[int]:
    match stage:
        case Residual():
            return residual_blocks(plan, stage, carriers)
        case Gla():
            gla_blocks(plan, stage)
        case Window():
            window_blocks(plan, stage)
        case Parallel():
            parallel_blocks(plan, stage)
        case Router():
            router_blocks(plan, stage)
        case Swiglu():
            swiglu_blocks(plan, stage)
        case Logits():
            logits_blocks(plan, stage)
        case SpikeInput():
            spike_input(plan, stage, carriers[0])
        case Population():
            population_blocks(plan, stage)
    return carriers


def _tiles(plan: Plan, linear: Linear, synapses: csr_array | None) -> None:
    """One task per tile, and spike nets from the encoders: channels with equal destinations."""
    own = plan.tiled[linear.name]
    first = own.task = len(plan.tasks)
    rows: dict[tuple[int, int], list[int]] = defaultdict(list)  # inputs -> tasks of their tiles
    for i, tile in enumerate(own.tiles):
        rows[tile.pre, tile.pre + tile.n_pre].append(first + i)
    nets = _spikes(plan, linear, rows) if linear.listed is None else _few(plan, linear, synapses)
    trees = Counter[int]()  # that reach a task
    for net in nets:
        plan.nets.append(net)
        trees.update(net.sinks)
    for i, tile in enumerate(own.tiles):
        name = f"{tile.linear}[{tile.post},{tile.pre}]"
        task = plan.task(
            Task(name, tile.linear, trees[first + i], tile=tile, condition=linear.condition)
        )
        synapse_bytes, state = _memory(tile, linear, plan.chip)
        unit = Unit(
            name,
            tile.linear,
            (task,),
            synapse_bytes=synapse_bytes,
            state_bytes=state,
            neurons=tile.n_post,
            in_axons=tile.axons,
            place=own.first + i,
            block=tile.block,
        )
        plan.unit(unit)


def _few(plan: Plan, linear: Linear, synapses: csr_array) -> Iterator[Net]:
    """Nets of a list: a channel's spikes go to tiles that have synapses of it."""
    own = plan.tiled[linear.name]
    goes: list[list[int]] = [[] for _ in range(linear.n_pre)]  # channel -> tasks
    for i, tile in enumerate(own.tiles):
        for channel in strips.reached(synapses, tile).tolist():
            goes[channel].append(own.task + i)
    for source in plan.encoders[linear.site, None]:
        lo, n = plan.tasks[source].channels or (0, 0)
        if plan.chip.abilities.multicast:
            yield from _runs(source, lo, goes[lo : lo + n])
            continue
        for task in sorted({task for tasks in goes[lo : lo + n] for task in tasks}):
            yield from _runs(source, lo, [[task] * (task in t) for t in goes[lo : lo + n]])


def _runs(source: int, lo: int, goes: list[list[int]]) -> Iterator[Net]:
    """A net per run of channels with the same destinations."""
    at = lo
    for sinks, run in groupby(goes):
        n = len(list(run))
        if sinks:
            yield Net(source, "spike", at, n, tuple(sinks))
        at += n


def _spikes(plan: Plan, linear: Linear, rows: Mapping[tuple[int, int], list[int]]) -> Iterator[Net]:
    """Nets of a linear's site: a channel's spikes go to all tiles of its row."""
    chosen = linear.condition if linear.condition != plan.condition else None
    borders = {border for row in rows for border in row}
    for source in plan.encoders[linear.site, chosen and chosen[0]]:
        lo, n = plan.tasks[source].channels or (0, 0)
        cuts = sorted({lo, lo + n} | {b for b in borders if lo < b < lo + n})
        for a, b in pairwise(cuts):
            reached = [row for row in rows if row[0] <= a and b <= row[1]]
            sinks = tuple(task for row in reached for task in rows[row])
            # without multicast, a message of its own for each; a core has one tile of a linear
            each = (sinks,) if plan.chip.abilities.multicast else tuple((task,) for task in sinks)
            for to in each:
                yield Net(source, "spike", a, b - a, to, condition=chosen)


def _memory(tile: Tile, linear: Linear, chip: Chip) -> tuple[int, int]:
    """Bytes of synapse and of state memory."""
    if chip.array is not None:
        return arrays.synapse_bytes(tile, chip), arrays.state_bytes(tile, chip)
    state = group_bytes(tile.groups, tile.n_post, chip.core.token_slots)
    return strips.synapse_bytes(tile, linear, chip), state


def verify(flow: Dataflow, graph: Graph) -> None:
    """Every tile gets each of its axons once and sends each neuron's sum once, to where that linear
    is read; no neuron lacks a home. What runs for some tokens only is driven for them only."""
    got: Counter[int] = Counter()
    sent: Counter[int] = Counter()
    sums: Counter[tuple[int, Condition]] = Counter()  # of experts, at homes of all tokens
    linears = {linear.name: linear for linear in graph.linears}
    reader = {name: stage.name for stage in graph.stages for name in reads(stage)}
    runs = condition_of(graph)
    for task in flow.tasks:
        if not task.on_host and task.condition != runs[task.op]:
            raise Bug(f"fires under {task.condition}", where=task.name)
    for net in flow.nets:
        source = flow.tasks[net.source]
        condition = net.condition or source.condition
        if net.condition is not None and not source.resends:
            raise Bug("waits for no router", where=source.name)
        for sink in net.sinks:
            at = flow.tasks[sink]
            if net.message == "spike":
                got[sink] += net.n
                read = at.on_host and source.op == graph.stages[-1].name
                if not read and (at.tile is None or linears[at.op].site != source.site):
                    raise Bug(f"spikes of {source.name}", where=at.name)
            elif net.message == "partial":
                sent[net.source] += net.n
                if at.op not in (source.op, reader[source.op]):
                    raise Bug(f"sums of {source.name}", where=at.name)
            if condition == at.condition:
                continue
            if net.message != "partial" or condition is None or at.condition is not None:
                raise Bug(f"{source.name} sends under {condition}", where=at.name)
            sums[sink, condition] += net.n
    _verify_experts(flow, graph, sums)
    homes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, task in enumerate(flow.tasks):
        if task.neurons is not None and task.gathers:
            homes[task.op].append(task.neurons)
        if task.tile is not None and got[i] != task.tile.axons:
            raise Bug(f"{got[i]} of {task.tile.axons} axons driven", where=task.name)
        holds = _sums_sent(task)
        if sent[i] != holds:
            raise Bug(f"{sent[i]} of {holds} sums sent", where=task.name)
    for linear in graph.linears:
        reached = 0
        for lo, n in sorted(homes[reader[linear.name]]):
            if lo != reached:
                raise Bug(f"neuron {reached} has no home", where=linear.name)
            reached = lo + n
        if reached != linear.n_post:
            raise Bug(f"homes end at neuron {reached}", where=linear.name)


def _verify_experts(
    flow: Dataflow, graph: Graph, sums: Mapping[tuple[int, Condition], int]
) -> None:
    """Whichever experts are chosen, a home gets as many sums; and it is told which they are, as is
    whoever sends to them."""
    routers = {stage.name: stage for stage in graph.stages if isinstance(stage, Router)}
    behind = {s.name: s.router for s in graph.stages if isinstance(s, Residual) and s.router}
    told = {
        (flow.tasks[net.source].op, sink): net.n
        for net in flow.nets
        if flow.tasks[net.source].op in routers
        for sink in net.sinks
    }
    asks = {net.source: net.condition[0] for net in flow.nets if net.condition is not None}
    for i, task in enumerate(flow.tasks):
        router = routers.get(str(behind.get(task.op))) if task.neurons else None
        if task.rows != 1 + (router.top_k if router else 0):
            raise Bug(f"{task.rows} sums per neuron", where=task.name)
        if router is not None:
            for expert in range(router.n):
                n = (task.neurons or (0, 0))[1]
                if sums[i, (router.name, expert)] != n:
                    raise Bug(f"not {n} sums of expert {expert} of {router.name}", where=task.name)
        if task.resends:
            router = routers.get(asks.get(i, ""))
        if router is not None and told.get((router.name, i)) != 2 * router.top_k:
            raise Bug(f"does not know the choice of {router.name}", where=task.name)


def _sums_sent(task: Task) -> int:
    """Of a tile, or of a task that adds a chip's tiles up for a home elsewhere."""
    if task.tile is not None:
        return task.tile.n_post
    return task.neurons[1] if task.neurons is not None and not task.gathers else 0
