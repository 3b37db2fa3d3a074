"""Home tasks of the stages without recurrent state: residual and norm, SwiGLU, logits."""

from collections.abc import Mapping
from dataclasses import replace

from compiler.graph import Logits, Residual, Swiglu
from compiler.passes import vector_work as vw
from compiler.passes.plan import Block, Plan, encode_blocks
from compiler.tasks import Net, Task, Unit

HOST_OUT = "host.logits"


def residual_blocks(plan: Plan, stage: Residual, carriers: list[int]) -> list[int]:
    """Home of the stream's channels; returns the tasks that hold it for the next stage."""
    op, each = stage.name, plan.neuron_bytes + plan.channel_bytes
    blocks, inputs = [], []
    for lo, n in plan.cut(stage.n, each):
        work = vw.total(vw.dequantize(n) if stage.linear else {}, vw.residual(n))
        first = Task(f"{op}[{lo}]", op, 0, gathers=True, work=work)
        if stage.linear:
            inputs.append(plan.home(replace(first, neurons=(lo, n))))
        else:
            inputs.append(plan.task(first))
        size = (n * each, n)
        blocks.append(
            Block(first.name, inputs[-1], (lo, n), plan.middle(lo, n), inputs[-1:], *size)
        )
    for i, block in enumerate(blocks):
        source = carriers[i] if len(carriers) == len(blocks) else carriers[0]
        plan.nets.append(Net(source, "value", 0, block.channels[1], (block.ready,)))
    normal = [vw.total(vw.normalise(b.channels[1]), vw.magnitude(b.channels[1])) for b in blocks]
    if len(blocks) == 1:
        plan.tasks[inputs[0]] = _more(plan.tasks[inputs[0]], normal[0])
    else:
        root = plan.task(Task(f"{op}.norm", op, 0, work=vw.total(vw.scaled(len(blocks), add=1))))
        blocks[0].tasks.append(root)
        plan.nets += [Net(b.ready, "value", 0, 1, (root,)) for b in blocks]
        scale = [
            plan.task(Task(f"{b.name}.scale", op, 0, work=w))
            for b, w in zip(blocks, normal, strict=True)
        ]
        plan.nets.append(Net(root, "value", 0, 1, tuple(scale)))
        for block, task in zip(blocks, scale, strict=True):
            block.tasks.append(task)
            block.ready = task
    encode_blocks(plan, stage, blocks)
    return inputs


def _more(task: Task, work: Mapping[str, int]) -> Task:
    return replace(task, work=vw.total(task.work, work))


def swiglu_blocks(plan: Plan, stage: Swiglu) -> None:
    """Home of gate and up neurons, two per channel."""
    blocks = []
    each = 2 * plan.neuron_bytes + plan.channel_bytes
    for lo, n in plan.cut(stage.n, each, per_channel=2):
        work = vw.total(vw.dequantize(2 * n), vw.swiglu(n), vw.magnitude(n))
        name = f"{stage.name}[{lo}]"
        task = plan.home(
            Task(name, stage.name, 0, neurons=(2 * lo, 2 * n), gathers=True, work=work)
        )
        place = plan.middle(2 * lo, 2 * n)
        blocks.append(Block(name, task, (lo, n), place, [task], n * each, 2 * n))
    encode_blocks(plan, stage, blocks)


def logits_blocks(plan: Plan, stage: Logits) -> None:
    """The head's neurons send their logits to the host."""
    host = plan.task(Task(HOST_OUT, "host", 0, on_host=True))
    plan.unit(Unit("host.out", "host", (host,), 0, 0, 0, 0, on_host=True))
    each = plan.neuron_bytes
    for lo, n in plan.cut(stage.n, each):
        name, work = f"{stage.name}[{lo}]", vw.total(vw.dequantize(n))
        task = plan.home(Task(name, stage.name, 0, neurons=(lo, n), gathers=True, work=work))
        place = plan.middle(lo, n)
        plan.unit(Unit(name, stage.name, (task,), 0, n * each, n, 0, place=place))
        plan.nets.append(Net(task, "value", 0, n, (host,)))
