"""Blocks of the float stages: home tasks, reductions, recurrent state, encoders.

Every block is a unit of its own. V_th needs all channels of a site: with several
blocks the local magnitudes go to a root, which sends V_th back before the first
spike leaves (DESIGN 3.1); with one block nothing travels.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from compiler.graph import Gla, Residual, Stage, Swiglu, Window
from compiler.passes import vector_work as vw
from compiler.tasks import Dataflow, Net, Ring, Task, Unit
from hw_models.chip import Chip
from hw_models.errors import DoesNotFit


@dataclass(slots=True)
class Plan:
    """Tasks, units and nets under construction."""

    chip: Chip
    tasks: list[Task] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    nets: list[Net] = field(default_factory=list)

    @property
    def neuron_bytes(self) -> int:
        """int64 sum per token slot, float32 row scale and bias."""
        return 8 * self.chip.core.token_slots + 8

    @property
    def channel_bytes(self) -> int:
        """Per token slot the stream's float32 and the one that waits for V_th; a norm weight."""
        return 8 * self.chip.core.token_slots + 4

    def task(self, task: Task) -> int:
        self.tasks.append(task)
        return len(self.tasks) - 1

    def unit(
        self,
        name: str,
        op: str,
        tasks: Iterable[int],
        state_bytes: int = 0,
        neurons: int = 0,
        *,
        synapse_bytes: int = 0,
        in_axons: int = 0,
        on_host: bool = False,
        stream_bytes: int = 0,
    ) -> None:
        core = self.chip.core
        if not on_host and (state_bytes > core.state_memory or neurons > core.neurons):
            raise DoesNotFit(
                f"{state_bytes} bytes of state and {neurons} neurons on one core; "
                f"{self.chip.name} has {core.state_memory} and {core.neurons}",
                where=name,
                fix="--set core.state_memory=... or a target with larger cores",
            )
        self.units.append(
            Unit(
                name,
                op,
                tuple(tasks),
                synapse_bytes,
                state_bytes,
                neurons,
                in_axons,
                on_host,
                stream_bytes,
            )
        )

    def cut(self, n: int, bytes_each: int, per_channel: int = 1) -> Iterator[tuple[int, int]]:
        """Near-equal blocks of n channels that leave half of a core's state to its neighbours."""
        core = self.chip.core
        most = min(core.state_memory // 2 // bytes_each, core.neurons // per_channel)
        if most < 1:
            raise DoesNotFit(
                f"one channel needs {bytes_each} bytes of state",
                where=self.chip.name,
                fix="--set core.state_memory=...",
            )
        size = -(-n // -(-n // most))
        return ((lo, min(size, n - lo)) for lo in range(0, n, size))

    def finish(self) -> Dataflow:
        """Count what every task awaits from the nets that reach it."""
        need, extra = [0] * len(self.tasks), [0] * len(self.tasks)
        for net in self.nets:
            units = 1 if net.message == "spike" else net.n
            for sink in net.sinks:
                (need if net.residue < 0 else extra)[sink] += units
        tasks = tuple(
            replace(t, need=a, extra=b) for t, a, b in zip(self.tasks, need, extra, strict=True)
        )
        return Dataflow(tasks, tuple(self.units), tuple(self.nets))


@dataclass(slots=True)
class Block:
    """A unit being filled: the task whose firing completes its channels, and its size."""

    name: str
    ready: int
    channels: tuple[int, int]
    tasks: list[int]
    state_bytes: int
    neurons: int
    stream_bytes: int = 0


def encode_blocks(plan: Plan, stage: Stage, blocks: list[Block]) -> None:
    """Reduce the magnitudes to V_th and give every block its encoder."""
    op = stage.name
    encoders = [plan.task(Task(f"{b.name}.encode", op, 0, channels=b.channels)) for b in blocks]
    root = blocks[0].ready
    if len(blocks) > 1:
        root = plan.task(
            Task(
                f"{op}.v_th",
                op,
                0,
                work=vw.total(vw.scaled(len(blocks), add=1), vw.scaled(1, div=1)),
            )
        )
        # a local sum of |x| is an int64: two values
        plan.nets += [Net(b.ready, "value", 0, 2, (root,)) for b in blocks]
        blocks[0].tasks.append(root)
    plan.nets.append(Net(root, "value", 0, 1, tuple(encoders)))
    for block, encoder in zip(blocks, encoders, strict=True):
        block.tasks.append(encoder)
        size = (block.state_bytes, block.neurons)
        plan.unit(block.name, op, block.tasks, *size, stream_bytes=block.stream_bytes)


def residual_blocks(plan: Plan, stage: Residual, carriers: list[int]) -> list[int]:
    """Home of the stream's channels; returns the tasks that hold it for the next stage."""
    op, each = stage.name, plan.neuron_bytes + plan.channel_bytes
    blocks, inputs = [], []
    for lo, n in plan.cut(stage.n, each):
        own = vw.dequantize(n) if stage.linear else {}
        first = Task(
            f"{op}[{lo}]",
            op,
            0,
            neurons=(lo, n) if stage.linear else None,
            gathers=True,
            work=vw.total(own, vw.residual(n)),
        )
        inputs.append(plan.task(first))
        blocks.append(Block(first.name, inputs[-1], (lo, n), [inputs[-1]], n * each, n))
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
        task = plan.task(
            Task(name, stage.name, 0, neurons=(2 * lo, 2 * n), gathers=True, work=work)
        )
        blocks.append(Block(name, task, (lo, n), [task], n * each, 2 * n))
    encode_blocks(plan, stage, blocks)


def gla_blocks(plan: Plan, stage: Gla) -> None:
    """Each head's state on one core; k, v and gate reach a group's other cores as values."""
    d, group = stage.head_dim, stage.heads // stage.kv_heads
    head_bytes = 4 * d * d + d * (plan.neuron_bytes + plan.channel_bytes)
    shared_bytes = 3 * d * plan.neuron_bytes
    memory = plan.chip.core.state_memory
    together = head_bytes + shared_bytes <= memory  # else k, v, gate have a core of their own
    room = memory - shared_bytes if together else memory
    per_block = max(1, min(group, room // head_bytes))
    blocks = []
    for kv in range(stage.kv_heads):
        base = kv * (group + 3) * d  # first neuron of the group: its query heads come first
        shared = plan.task(
            Task(
                f"{stage.name}[kv {kv}]",
                stage.name,
                0,
                neurons=(base + group * d, 3 * d),
                gathers=True,
                work=vw.total(vw.dequantize(3 * d)),
            )
        )
        members = []
        if not together:
            plan.unit(plan.tasks[shared].name, stage.name, [shared], shared_bytes, 3 * d)
        for head in range(0, group, per_block):
            n = min(per_block, group - head)
            work, state = vw.gla(n, d)
            name = f"{stage.name}[head {kv * group + head}]"
            task = plan.task(
                Task(
                    name,
                    stage.name,
                    0,
                    neurons=(base + head * d, n * d),
                    gathers=True,
                    work=vw.total(vw.dequantize(n * d), work, vw.magnitude(n * d), state),
                )
            )
            members.append(task)
            channels = ((kv * group + head) * d, n * d)
            block = Block(name, task, channels, [task], n * head_bytes, n * d, n * 4 * d * d)
            if together and head == 0:
                block.tasks.append(shared)
                block.state_bytes += shared_bytes
                block.neurons += 3 * d
            blocks.append(block)
        plan.nets.append(Net(shared, "value", 0, 3 * d, tuple(members)))
    encode_blocks(plan, stage, blocks)


def window_blocks(plan: Plan, stage: Window) -> None:
    """Per group a home (q, k, v, merge, encode) and the stripes of its KV ring."""
    d, group = stage.head_dim, stage.heads // stage.kv_heads
    token_bytes = 2 * (d + 4)  # int8 key and value, one float32 scale each
    room = plan.chip.core.state_memory // 2
    stripes = max(1, -(-stage.window * token_bytes // room))
    kv_values = 2 * (-(-d // 4) + 1)  # four int8 to a 32-bit value, and the scale
    home_bytes = group * d * (plan.neuron_bytes + plan.channel_bytes) + 2 * d * plan.neuron_bytes
    blocks = []
    for kv in range(stage.kv_heads):
        n = (group + 2) * d
        name = f"{stage.name}[kv {kv}]"
        work = vw.total(vw.dequantize(n), vw.rope((group + 1) * d), vw.quantize_kv(2 * d))
        home = plan.task(Task(name, stage.name, 0, neurons=(kv * n, n), gathers=True, work=work))
        rings = []
        for p in range(stripes):
            ring = Ring(stage.window, stripes, p)
            state = {"state_read": token_bytes}
            stripe = Task(
                f"{name}.stripe {p}",
                stage.name,
                0,
                ring=ring,
                ring_work=vw.total(vw.attend(group, d), state),
            )
            rings.append(plan.task(stripe))
            held = -(-stage.window // stripes)
            ring_bytes = held * token_bytes
            plan.unit(stripe.name, stage.name, [rings[-1]], ring_bytes, stream_bytes=ring_bytes)
            plan.nets.append(Net(home, "value", 0, kv_values, (rings[-1],), stripes, p))
        plan.tasks[home] = _more(plan.tasks[home], {"state_write": token_bytes})
        plan.nets.append(Net(home, "value", 0, group * d, tuple(rings)))
        work = vw.total(vw.merge(group, d, stripes), vw.magnitude(group * d))
        merged = plan.task(Task(f"{name}.merge", stage.name, 0, work=work))
        plan.nets += [Net(r, "value", 0, group * (d + 2), (merged,)) for r in rings]
        blocks.append(
            Block(name, merged, (kv * group * d, group * d), [home, merged], home_bytes, n)
        )
    encode_blocks(plan, stage, blocks)
