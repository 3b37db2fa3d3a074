"""Home tasks and recurrent state of parallel attention: linear and softmax on the same q, k, v.

Per key/value head one home of k and v and one KV ring, striped by token; per query head, or as many
as a core holds, one home and the state of the linear branch, with it or by value columns on cores
of their own. What every token sees before the text, the sinks, lies on the stripes too, some of
them on each: they are read for every token, written once, and not per stream.
"""

from compiler.graph import Parallel
from compiler.passes import vector_work as vw
from compiler.passes.attention import columns_of, stripes_of
from compiler.passes.encoders import Block, close, encode_blocks
from compiler.passes.plan import Plan
from compiler.tasks import Net, Ring, Task


def parallel_blocks(plan: Plan, stage: Parallel) -> None:
    """Key and value go from their home to the states, as values, and as int8 to the token's
    stripe; queries to both. A head's home norms and merges what comes back from either branch."""
    blocks = []
    for kv in range(stage.kv_heads):
        shared = _shared(plan, stage, kv)
        stripes = _ring(plan, stage, kv, shared)
        blocks += _heads(plan, stage, kv, shared, stripes)
    encode_blocks(plan, stage, blocks)


def _first(stage: Parallel, kv: int) -> int:
    """First neuron of a key/value head: its query heads come first, then k, v."""
    return kv * (stage.heads // stage.kv_heads + 2) * stage.head_dim


def _shared(plan: Plan, stage: Parallel, kv: int) -> int:
    """Home of a group's key and value."""
    d, name = stage.head_dim, f"{stage.name}[kv {kv}]"
    neurons = (_first(stage, kv) + stage.heads // stage.kv_heads * d, 2 * d)
    work = vw.total(
        vw.dequantize(2 * d), vw.sigmoid(d), vw.rope(d), vw.quantize_kv(2 * d),
        {"state_write": _token_bytes(stage)},
    )  # fmt: skip
    home = plan.home(Task(name, stage.name, 0, neurons=neurons, gathers=True, work=work))
    place = plan.middle(stage.linear, *neurons)
    size = (2 * d * plan.neuron_bytes, 2 * d)
    close(plan, stage.name, Block(name, home, (0, 0), place, [home], *size))
    return home


def _token_bytes(stage: Parallel) -> int:
    """int8 key and value, one float32 scale each."""
    return 2 * (stage.head_dim + 4)


def _ring(plan: Plan, stage: Parallel, kv: int, shared: int) -> list[int]:
    """The stripes of a group's KV ring, each with its share of the sinks."""
    d, group, token_bytes = stage.head_dim, stage.heads // stage.kv_heads, _token_bytes(stage)
    n = stripes_of(plan, (stage.window + stage.sinks) * token_bytes, stage.kv_heads)
    place = plan.middle(stage.linear, _first(stage, kv), (group + 2) * d)
    seen = vw.total(vw.attend(group, d), {"state_read": token_bytes})
    stripes = []
    for p in range(n):
        sinks, kept = len(range(p, stage.sinks, n)), -(-stage.window // n) * token_bytes
        task = Task(
            f"{stage.name}[kv {kv}].stripe {p}", stage.name, 0,
            ring=Ring(stage.window, n, p),
            work=vw.total({kind: sinks * count for kind, count in seen.items()}),
            ring_work=seen,
        )  # fmt: skip
        stripes.append(plan.task(task))
        size = (kept + sinks * token_bytes, 0, kept)
        close(plan, stage.name, Block(task.name, stripes[-1], (0, 0), place, stripes[-1:], *size))
        # four int8 to a 32-bit value, and the scales
        cached = 2 * (-(-d // 4) + 1)
        plan.nets.append(Net(shared, "value", 0, cached, (stripes[-1],), n, p))
    return stripes


def _heads(plan: Plan, stage: Parallel, kv: int, shared: int, stripes: list[int]) -> list[Block]:
    """Homes of a group's query heads, which encode, and the states of their linear branch."""
    d, group = stage.head_dim, stage.heads // stage.kv_heads
    # query sums; outputs of both branches, and the weights of their norms
    own = d * (plan.neuron_bytes + plan.channel_bytes + 4)
    together = plan.chip.core.state_memory // (4 * d * d + own)  # heads with their states
    widths = columns_of(plan, stage, keys=2) if together == 0 else []
    parts: list[list[int]] = [[] for _ in widths]  # by columns, over the group's heads
    blocks, states = [], []
    for head in range(0, group, max(1, together)):
        n = min(max(1, together), group - head)
        name = f"{stage.name}[head {kv * group + head}]"
        neurons = (_first(stage, kv) + head * d, n * d)
        place = plan.middle(stage.linear, *neurons)
        taken = [vw.dequantize(n * d), vw.sigmoid(n * d), vw.rope(n * d)]
        step = _state_work(n, d, d) if together else []
        home = plan.home(
            Task(name, stage.name, 0, neurons=neurons, gathers=True, work=vw.total(*taken, *step))
        )
        plan.nets.append(Net(home, "value", 0, n * d, tuple(stripes)))
        work = [vw.merge(n, d, len(stripes)), vw.normalise(2 * n * d, norms=2 * n)]
        work += [vw.branches(n * d), vw.magnitude(n * d)]
        merged = plan.task(Task(f"{name}.merge", stage.name, 0, work=vw.total(*work)))
        plan.nets += [Net(stripe, "value", 0, n * (d + 2), (merged,)) for stripe in stripes]
        states.append(home)
        for part, (columns, held) in enumerate(widths):
            state = _part(plan, stage, f"{name}.part {part}", columns, held, place)
            plan.nets.append(Net(state, "value", 0, columns, (merged,)))
            parts[part].append(state)
        if not together:
            plan.nets.append(Net(home, "value", 0, d, tuple(part[-1] for part in parts)))
        kept = 4 * n * d * d if together else 0
        channels = ((kv * group + head) * d, n * d)
        size = (n * own + kept, n * d, kept)
        blocks.append(Block(name, merged, channels, place, [home, merged], *size))
    if together:
        plan.nets.append(Net(shared, "value", 0, 2 * d, tuple(states)))
    else:
        plan.nets.append(Net(shared, "value", 0, d, tuple(t for part in parts for t in part)))
        plan.nets += [
            Net(shared, "value", 0, columns, tuple(part))
            for part, (columns, _) in zip(parts, widths, strict=True)
        ]
    return blocks


def _part(plan: Plan, stage: Parallel, name: str, columns: int, held: int, place: float) -> int:
    """Some value columns of one head's state, on a core of their own."""
    task = plan.task(
        Task(name, stage.name, 0, work=vw.total(*_state_work(1, stage.head_dim, columns)))
    )
    state = 4 * stage.head_dim * columns
    close(plan, stage.name, Block(name, task, (0, 0), place, [task], held, 0, state))
    return task


def _state_work(heads: int, d: int, columns: int) -> list[dict[str, int]]:
    """decay = 1 - k, query / sqrt(d), and the step of `columns` columns of every head's state."""
    update, moved = vw.gla_state(heads * d, columns)
    return [vw.scaled(d, add=1), vw.scaled(heads * d, mul=1), update, moved]
