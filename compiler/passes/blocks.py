"""Home tasks of the stages without recurrent state: residual and norm, router, SwiGLU, logits."""

from collections.abc import Mapping
from dataclasses import replace

from compiler.graph import Logits, Residual, Router, Swiglu, reads
from compiler.passes import vector_work as vw
from compiler.passes.encoders import Block, encode_blocks
from compiler.passes.plan import Plan
from compiler.tasks import Net, Task, Unit

HOST_OUT = "host.logits"


def residual_blocks(plan: Plan, stage: Residual, carriers: list[int]) -> list[int]:
    """Home of the stream's channels; returns the tasks that hold it for the next stage."""
    op, chosen = stage.name, 0
    each, more = plan.neuron_bytes + plan.channel_bytes, 0
    if stage.router is not None:
        router, _ = plan.routers[stage.router]
        chosen, more = router.top_k, choice_bytes(plan, router)
        each += _expert_bytes(plan, stage, chosen)
    blocks, inputs = [], []
    for lo, n in plan.cut(stage.linear, stage.n, each):
        work = vw.total(
            vw.dequantize((1 + chosen) * n) if stage.linear else {},
            vw.mixture(n, chosen),
            vw.residual(n),
        )
        first = Task(f"{op}[{lo}]", op, 0, gathers=True, work=work)
        if stage.linear:
            inputs.append(plan.home(replace(first, neurons=(lo, n), rows=1 + chosen)))
        else:
            inputs.append(plan.task(first))
        size = (n * each + more, n)
        place = plan.middle(stage.linear, lo, n)
        blocks.append(Block(first.name, inputs[-1], (lo, n), place, inputs[-1:], *size))
    for i, block in enumerate(blocks):
        source = carriers[i] if len(carriers) == len(blocks) else carriers[0]
        plan.nets.append(Net(source, "value", 0, block.channels[1], (block.ready,)))
    if stage.router is not None:
        _tell(plan, stage.router, inputs)
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


def _expert_bytes(plan: Plan, stage: Residual, chosen: int) -> int:
    """Per channel: every expert's row scale, and bias if it has one; sums of the chosen ones."""
    linears = [plan.tiled[name].linear for name in reads(stage)[1:]]
    scales = sum(8 if any(part.bias for part in own.parts) else 4 for own in linears)
    return scales + 8 * plan.chip.core.token_slots * chosen


def choice_bytes(plan: Plan, router: Router) -> int:
    """What a task that follows a router's choice keeps: of every slot's token the chosen experts
    and their weights; of every expert how many tokens chose it, and which the last ones were."""
    slots = plan.chip.core.token_slots
    return 8 * router.top_k * slots + 4 * router.n * (1 + slots)


def _tell(plan: Plan, name: str, homes: list[int]) -> None:
    """A router's choice, index and weight, to whoever sends to its experts or adds them up."""
    router, home = plan.routers[name]
    senders = [t for (_, of), tasks in plan.encoders.items() if of == name for t in tasks]
    plan.nets.append(Net(home, "value", 0, 2 * router.top_k, (*senders, *homes)))


def router_blocks(plan: Plan, stage: Router) -> None:
    """One home of all sums: the choice is between all of them."""
    n = stage.n
    work = vw.total(vw.dequantize(n), vw.choose(n, stage.top_k, stage.scoring))
    home = plan.home(Task(stage.name, stage.name, 0, neurons=(0, n), gathers=True, work=work))
    plan.routers[stage.name] = stage, home
    size, place = n * plan.neuron_bytes + choice_bytes(plan, stage), plan.middle(stage.linear, 0, n)
    plan.unit(Unit(stage.name, stage.name, (home,), 0, size, n, 0, place=place))


def swiglu_blocks(plan: Plan, stage: Swiglu) -> None:
    """Home of gate and up neurons, two per channel."""
    blocks = []
    each = 2 * plan.neuron_bytes + plan.channel_bytes
    for lo, n in plan.cut(stage.linear, stage.n, each, per_channel=2):
        work = vw.total(vw.dequantize(2 * n), vw.swiglu(n), vw.magnitude(n))
        name = f"{stage.name}[{lo}]"
        task = plan.home(
            Task(name, stage.name, 0, neurons=(2 * lo, 2 * n), gathers=True, work=work)
        )
        place = plan.middle(stage.linear, 2 * lo, 2 * n)
        blocks.append(Block(name, task, (lo, n), place, [task], n * each, 2 * n))
    encode_blocks(plan, stage, blocks)


def logits_blocks(plan: Plan, stage: Logits) -> None:
    """The head's neurons send their logits to the host."""
    host = plan.task(Task(HOST_OUT, "host", 0, on_host=True))
    plan.unit(Unit("host.out", "host", (host,), 0, 0, 0, 0, on_host=True))
    each = plan.neuron_bytes
    for lo, n in plan.cut(stage.linear, stage.n, each):
        name, work = f"{stage.name}[{lo}]", vw.total(vw.dequantize(n))
        task = plan.home(Task(name, stage.name, 0, neurons=(lo, n), gathers=True, work=work))
        place = plan.middle(stage.linear, lo, n)
        plan.unit(Unit(name, stage.name, (task,), 0, n * each, n, 0, place=place))
        plan.nets.append(Net(task, "value", 0, n, (host,)))
