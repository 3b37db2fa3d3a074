"""Home tasks and recurrent state of attention: gated linear attention, softmax over a window."""

from dataclasses import replace

from compiler.graph import Gla, Parallel, Window
from compiler.lazy_decay import pending_bytes
from compiler.passes import vector_work as vw
from compiler.passes.encoders import Block, close, encode_blocks
from compiler.passes.plan import Plan
from compiler.tasks import Net, Ring, Task
from hw_models.errors import DoesNotFit


def gla_blocks(plan: Plan, stage: Gla) -> None:
    """Each head's state on one core, or on several by value columns if it is larger.

    A group's key, value and gate have one home; key, gate (as decay) and value reach the states of
    its heads as values.
    """
    d = stage.head_dim
    own = d * (plan.neuron_bytes + plan.channel_bytes)  # a head's query sums and outputs
    whole = plan.chip.core.state_memory >= 4 * d * d + pending_bytes(plan.chip.core, d) + own
    blocks = _whole_heads(plan, stage, own) if whole else _split_heads(plan, stage, own)
    encode_blocks(plan, stage, blocks)


def _shared(plan: Plan, stage: Gla, kv: int) -> tuple[int, int, float]:
    """Home of a group's key, value and gate: (task, its first query neuron, place)."""
    d, group = stage.head_dim, stage.heads // stage.kv_heads
    first = kv * (group + 3) * d  # the group's query heads come first
    lo = first + group * d
    name = f"{stage.name}[kv {kv}]"
    work = vw.total(vw.dequantize(3 * d), vw.decay(d))
    task = Task(name, stage.name, 0, neurons=(lo, 3 * d), gathers=True, work=work)
    return plan.home(task), first, plan.middle(stage.linear, lo, 3 * d)


def _whole_heads(plan: Plan, stage: Gla, own: int) -> list[Block]:
    """As many heads of a group per core as fit; the group's shared task beside the first ones."""
    d, group = stage.head_dim, stage.heads // stage.kv_heads
    kept = 4 * d * d + pending_bytes(plan.chip.core, d)
    head_bytes, shared_bytes = kept + own, 3 * d * plan.neuron_bytes
    memory = plan.chip.core.state_memory
    together = head_bytes + shared_bytes <= memory  # else k, v, gate have a core of their own
    per_block = max(1, min(group, (memory - shared_bytes * together) // head_bytes))
    blocks = []
    for kv in range(stage.kv_heads):
        shared, first, place = _shared(plan, stage, kv)
        apart = Block(plan.tasks[shared].name, shared, (0, 0), place, [shared], shared_bytes, 3 * d)
        members = []
        for head in range(0, group, per_block):
            n = min(per_block, group - head)
            update, state = vw.gla_state(n * d, d)
            work = vw.total(vw.dequantize(n * d), vw.gla_query(n, d), update, state)
            work = vw.total(work, vw.normalise(n * d, norms=n), vw.magnitude(n * d))
            neurons = (first + head * d, n * d)
            name = f"{stage.name}[head {kv * group + head}]"
            task = plan.home(Task(name, stage.name, 0, neurons=neurons, gathers=True, work=work))
            members.append(task)
            channels = ((kv * group + head) * d, n * d)
            at, size = plan.middle(stage.linear, *neurons), (n * head_bytes, n * d, n * kept)
            block = Block(name, task, channels, at, [task], *size)
            if together and head == 0:
                block.tasks.append(shared)
                block.state_bytes += shared_bytes
                block.neurons += 3 * d
            blocks.append(block)
        if not together:
            close(plan, stage.name, apart)
        plan.nets.append(Net(shared, "value", 0, 3 * d, tuple(members)))
    return blocks


def _split_heads(plan: Plan, stage: Gla, own: int) -> list[Block]:
    """A head's home takes its queries and sends them to the cores that hold parts of the state;
    each returns its columns of the output, and the home norms and encodes them."""
    d, group = stage.head_dim, stage.heads // stage.kv_heads
    late = pending_bytes(plan.chip.core, d)  # of every core with columns of a head
    widths = columns_of(plan, stage, 3, late)
    blocks = []
    for kv in range(stage.kv_heads):
        shared, first, place = _shared(plan, stage, kv)
        size = (3 * d * plan.neuron_bytes, 3 * d)
        close(
            plan, stage.name, Block(plan.tasks[shared].name, shared, (0, 0), place, [shared], *size)
        )
        parts: list[list[int]] = [[] for _ in widths]  # by columns, over the group's heads
        for head in range(group):
            name = f"{stage.name}[head {kv * group + head}]"
            neurons = (first + head * d, d)
            work = vw.total(vw.dequantize(d), vw.gla_query(1, d))
            home = plan.home(Task(name, stage.name, 0, neurons=neurons, gathers=True, work=work))
            at = plan.middle(stage.linear, *neurons)
            mine = []
            for part, (columns, held) in enumerate(widths):
                update, moved = vw.gla_state(d, columns)
                task = plan.task(
                    Task(f"{name}.part {part}", stage.name, 0, work=vw.total(update, moved))
                )
                mine.append(task)
                parts[part].append(task)
                state = 4 * d * columns + late
                unit = Block(plan.tasks[task].name, task, (0, 0), at, [task], held, 0, state)
                close(plan, stage.name, unit)
            work = vw.total(vw.normalise(d, norms=1), vw.magnitude(d))
            merged = plan.task(Task(f"{name}.merge", stage.name, 0, work=work))
            plan.nets.append(Net(home, "value", 0, d, tuple(mine)))
            plan.nets += [
                Net(task, "value", 0, columns, (merged,))
                for task, (columns, _) in zip(mine, widths, strict=True)
            ]
            channels = ((kv * group + head) * d, d)
            blocks.append(Block(name, merged, channels, at, [home, merged], own, d))
        plan.nets.append(Net(shared, "value", 0, 2 * d, tuple(t for part in parts for t in part)))
        plan.nets += [
            Net(shared, "value", 0, columns, tuple(part))
            for part, (columns, _) in zip(parts, widths, strict=True)
        ]
    return blocks


def columns_of(
    plan: Plan, stage: Gla | Parallel, keys: int, late: int = 0
) -> list[tuple[int, int]]:
    """Near-equal parts of a head's value columns, of at most half a core's state if that goes, each
    with its bytes: state, `late` for pending decays, and of every slot's token columns of the value
    and what `keys` vectors (query, key, decay) hold."""
    d, memory = stage.head_dim, plan.chip.core.state_memory

    def held(columns: int) -> int:
        return late + 4 * d * columns + 4 * plan.chip.core.token_slots * (keys * d + columns)

    for room in (memory // 2, memory):
        for parts in range(2, d + 1):
            widest = -(-d // parts)
            if held(widest) <= room:
                widths = (min(widest, d - lo) for lo in range(0, d, widest))
                return [(columns, held(columns)) for columns in widths]
    raise DoesNotFit(
        f"one column of a head's state needs {held(1)} bytes; "
        f"{plan.chip.name} has {memory} of state per core",
        where=stage.name,
        fix="--set core.state_memory=... or core.pending_decays=0, or a target with larger cores",
    )


def window_blocks(plan: Plan, stage: Window) -> None:
    """Per group a home (q, k, v, merge, encode) and the stripes of its KV ring."""
    d, group = stage.head_dim, stage.heads // stage.kv_heads
    token_bytes = 2 * (d + 4)  # int8 key and value, one float32 scale each
    stripes = stripes_of(plan, stage.window * token_bytes, stage.kv_heads)
    kv_values = 2 * (-(-d // 4) + 1)  # four int8 to a 32-bit value, and the scale
    home_bytes = group * d * (plan.neuron_bytes + plan.channel_bytes) + 2 * d * plan.neuron_bytes
    blocks = []
    for kv in range(stage.kv_heads):
        n = (group + 2) * d
        name, place = f"{stage.name}[kv {kv}]", plan.middle(stage.linear, kv * n, n)
        work = vw.total(vw.dequantize(n), vw.rope((group + 1) * d), vw.quantize_kv(2 * d))
        home = plan.home(Task(name, stage.name, 0, neurons=(kv * n, n), gathers=True, work=work))
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
            held = -(-stage.window // stripes) * token_bytes
            own = Block(stripe.name, rings[-1], (0, 0), place, rings[-1:], held, 0, held)
            close(plan, stage.name, own)
            plan.nets.append(Net(home, "value", 0, kv_values, (rings[-1],), stripes, p))
        plan.tasks[home] = replace(
            plan.tasks[home], work=vw.total(plan.tasks[home].work, {"state_write": token_bytes})
        )
        plan.nets.append(Net(home, "value", 0, group * d, tuple(rings)))
        work = vw.total(vw.merge(group, d, stripes), vw.magnitude(group * d))
        merged = plan.task(Task(f"{name}.merge", stage.name, 0, work=work))
        plan.nets += [Net(r, "value", 0, group * (d + 2), (merged,)) for r in rings]
        channels = (kv * group * d, group * d)
        blocks.append(Block(name, merged, channels, place, [home, merged], home_bytes, n))
    encode_blocks(plan, stage, blocks)


def stripes_of(plan: Plan, held: int, kv_heads: int) -> int:
    """Of `held` bytes per key/value head: of half a core's state each; or fewer, so that a layer's
    rings find room on one chip."""
    memory = plan.chip.core.state_memory
    wanted = -(-held // (memory // 2))
    on_a_chip = plan.chip.layout.usable_cores // kv_heads - 1  # and a core for each home
    least = -(-held // max(1, memory - plan.tile_bytes))
    return max(1, min(wanted, max(on_a_chip, least)))
