"""Blocks of spiking neurons, and the host's side of a network of them.

A block needs no other block: there is no threshold to agree on, so it fires as soon as its own
sums are in. What a neuron does in a step is one `neuron_update`, as published for neuron cores;
nothing else is charged, because the scale of an integer sum can be folded into the neuron's
parameters.
"""

from compiler.graph import Population, SpikeInput
from compiler.passes.blocks import Plan
from compiler.tasks import Net, Task
from kernels.neurons import NEURONS


def spike_input(plan: Plan, stage: SpikeInput, start: int) -> None:
    """The host hands a step's spikes on, channel by channel: they leave it as they are."""
    take = plan.task(Task(stage.name, stage.name, 0, gathers=True, on_host=True))
    send = Task(
        f"{stage.name}.spikes", stage.name, 0, channels=(0, stage.n), encodes=False, on_host=True
    )
    plan.nets.append(Net(start, "value", 0, 1, (take,)))
    plan.nets.append(Net(take, "value", 0, 1, (plan.task(send),)))
    plan.unit("host.in", "host", [take, len(plan.tasks) - 1], on_host=True)


def population_blocks(plan: Plan, stage: Population) -> None:
    """Per block the task that updates its neurons and, where they spike, the one that sends."""
    kind = NEURONS[stage.neuron]
    state = 4 * len(kind.state)
    each = plan.neuron_bytes + 4 * len(kind.parameters) + state
    for lo, n in plan.cut(stage.n, each):
        name = f"{stage.name}[{lo}]"
        update = plan.task(Task(name, stage.name, 0, neurons=(lo, n), gathers=True))
        tasks = [update]
        if stage.site is not None:
            send = Task(f"{name}.spikes", stage.name, 0, channels=(lo, n), encodes=False)
            tasks.append(plan.task(send))
            plan.nets.append(Net(update, "value", 0, 1, (tasks[1],)))  # one core: no message
        plan.unit(name, stage.name, tasks, n * each, n, stream_bytes=n * state)


def readout(plan: Plan, stage: Population, name: str) -> None:
    """The host takes the last population's spikes, or the membranes of neurons without any."""
    host = plan.task(Task(name, "host", 0, on_host=True))
    plan.unit("host.out", "host", [host], on_host=True)
    for source, task in enumerate(plan.tasks):
        if task.op != stage.name:
            continue
        if task.channels is not None:
            plan.nets.append(Net(source, "spike", *task.channels, (host,)))
        elif stage.site is None and task.neurons is not None:
            plan.nets.append(Net(source, "value", 0, task.neurons[1], (host,)))
