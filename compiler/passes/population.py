"""Blocks of spiking neurons, and the host's side of a network of them.

A block needs no other block: there is no threshold to agree on, so it fires as soon as its own
sums are in. On cores that are nothing but neurons, they live where their synapses are if one tile
holds all of these: no sum travels. What a neuron does in a step is one `neuron_update`, as
published for neuron cores; nothing else is charged, because the scale of an integer sum can be
folded into the neuron's parameters.
"""

from dataclasses import replace

from compiler.graph import Population, SpikeInput
from compiler.passes.blocks import HOST_OUT
from compiler.passes.plan import Plan
from compiler.tasks import Net, Task, Unit
from kernels.neurons import NEURONS


def spike_input(plan: Plan, stage: SpikeInput, start: int) -> None:
    """The host hands a step's spikes on, channel by channel: they leave it as they are."""
    take = plan.task(Task(stage.name, stage.name, 0, gathers=True, on_host=True))
    name, every = f"{stage.name}.spikes", (0, stage.n)
    sends = Task(name, stage.name, 0, channels=every, site=stage.site, encodes=False, on_host=True)
    send = plan.task(sends)
    plan.encoders[stage.site, None] = [send]
    plan.nets.append(Net(start, "value", 0, 1, (take,)))
    plan.nets.append(Net(take, "value", 0, 1, (send,)))
    plan.unit(Unit("host.in", "host", (take, send), 0, 0, 0, 0, on_host=True))


def population_blocks(plan: Plan, stage: Population) -> None:
    """Per block the task that updates its neurons and, where they spike, the one that sends."""
    kind = NEURONS[stage.neuron]
    state = 4 * len(kind.state)
    each = plan.neuron_bytes + 4 * len(kind.parameters) + state
    encoders: list[int] = []
    if stage.site is not None:
        plan.encoders[stage.site, None] = encoders
    own = _own_units(plan, stage.linear, each)
    for lo, n in own or plan.cut(stage.linear, stage.n, each):
        name = f"{stage.name}[{lo}]"
        tasks = [plan.home(Task(name, stage.name, 0, neurons=(lo, n), gathers=True))]
        if stage.site is not None:
            sends = Task(
                f"{name}.spikes", stage.name, 0, channels=(lo, n), site=stage.site, encodes=False
            )
            tasks.append(plan.task(sends))
            encoders.append(tasks[1])
            plan.nets.append(Net(tasks[0], "value", 0, 1, (tasks[1],)))  # one core: no message
        if own:
            at = own[lo, n]
            plan.units[at] = _moved_in(plan.units[at], tuple(tasks), n * each, n * state)
            continue
        sizes = (0, n * each, n, 0)
        place = plan.middle(stage.linear, lo, n)
        plan.unit(Unit(name, stage.name, tuple(tasks), *sizes, stream_bytes=n * state, place=place))


def _own_units(plan: Plan, linear: str, each: int) -> dict[tuple[int, int], int]:
    """Neurons (lo, n) of every tile, and its unit; empty unless cores are but neurons, and each
    tile holds all inputs of its neurons and has room for `each` bytes of every one."""
    own = plan.tiled[linear]
    split = any(tile.n_pre != own.linear.n_pre for tile in own.tiles)
    if plan.chip.abilities.vector or split:
        return {}
    unit_of = {task: i for i, unit in enumerate(plan.units) for task in unit.tasks}
    found = {(t.post, t.n_post): unit_of[own.task + i] for i, t in enumerate(own.tiles)}
    room = plan.chip.core.state_memory
    fits = all(plan.units[i].state_bytes + n * each <= room for (_, n), i in found.items())
    return dict(sorted(found.items())) if fits else {}


def _moved_in(unit: Unit, tasks: tuple[int, ...], state_bytes: int, stream_bytes: int) -> Unit:
    """A tile's unit with the neurons that it feeds."""
    return replace(
        unit,
        tasks=(*unit.tasks, *tasks),
        state_bytes=unit.state_bytes + state_bytes,
        stream_bytes=stream_bytes,
    )


def readout(plan: Plan, stage: Population) -> None:
    """The host takes the last population's spikes, or the membranes of neurons without any."""
    host = plan.task(Task(HOST_OUT, "host", 0, on_host=True))
    plan.unit(Unit("host.out", "host", (host,), 0, 0, 0, 0, on_host=True))
    for source in plan.encoders[stage.site, None] if stage.site is not None else ():
        plan.nets.append(Net(source, "spike", *(plan.tasks[source].channels or (0, 0)), (host,)))
    if stage.site is None:
        for source in plan.homes:
            plan.nets.append(
                Net(source, "value", 0, (plan.tasks[source].neurons or (0, 0))[1], (host,))
            )
