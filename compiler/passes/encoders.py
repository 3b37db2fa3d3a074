"""What every float stage ends in: its encoders.

Every block of a stage is a unit of its own. V_th needs all channels of a site: with several
blocks the local magnitudes go to a root, which sends V_th back before the first spike leaves
(DESIGN 3.1); with one block nothing travels. A vector that two sites encode is reduced for both
at once: its blocks send one message each, and get one.

Spikes for a router's experts leave when it has chosen: a block's counts stay in place of its
floats until then, and one task more per block sends them on, on the nets of the chosen ones.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from compiler.graph import Stage
from compiler.passes import vector_work as vw
from compiler.passes.plan import Plan
from compiler.tasks import Net, Task, Unit

REDUCED: Mapping[str, int] = {"mean-abs": 2, "absmax16": 2}
"""Values of a block's magnitude: the sum of |x| is an int64, the largest |x| a float32."""


@dataclass(slots=True)
class Block:
    """A unit being filled: the task whose firing completes its channels, and its size."""

    name: str
    ready: int
    channels: tuple[int, int]
    place: float
    tasks: list[int]
    state_bytes: int
    neurons: int
    stream_bytes: int = 0


def encode_blocks(plan: Plan, stage: Stage, blocks: list[Block]) -> None:
    """Reduce the magnitudes to V_th and give every block its encoders."""
    op, sites = stage.name, plan.graph.sites_of(stage)
    for site, suffix in zip(sites, ("", ".dense"), strict=False):
        plan.encoders[site.name, None] = [
            plan.task(Task(f"{b.name}.encode{suffix}", op, 0, channels=b.channels, site=site.name))
            for b in blocks
        ]
    encoders = [plan.encoders[site.name, None] for site in sites]
    root = blocks[0].ready
    if len(blocks) > 1:
        work = vw.scaled(len(blocks) * len(sites), add=1) + vw.scaled(len(sites), div=1)
        root = plan.task(Task(f"{op}.v_th", op, 0, work=vw.total(work)))
        values = sum(REDUCED[site.threshold] for site in sites)
        plan.nets += [Net(b.ready, "value", 0, values, (root,)) for b in blocks]
        blocks[0].tasks.append(root)
    every = tuple(task for own in encoders for task in own)
    plan.nets.append(Net(root, "value", 0, len(sites), every))
    for site in sites:
        _resend(plan, op, site.name, blocks)
    for i, block in enumerate(blocks):
        close(plan, op, block, [own[i] for own in encoders])


def _resend(plan: Plan, op: str, site: str, blocks: list[Block]) -> None:
    """For every router whose experts a site drives, though its stage always runs."""
    driven = (own.linear for own in plan.tiled.values() if own.linear.site == site)
    routers = {lin.condition[0] for lin in driven if lin.condition and plan.condition is None}
    for router in sorted(routers):
        senders = plan.encoders[site, router] = []
        for block, encoder in zip(blocks, plan.encoders[site, None], strict=True):
            name = f"{block.name}.encode.{router}"
            sender = plan.task(
                Task(name, op, 0, channels=block.channels, site=site, resends=True)
            )  # fmt: skip
            plan.nets.append(Net(encoder, "value", 0, 1, (sender,)))  # its counts are there
            senders.append(sender)
            block.tasks.append(sender)


def close(plan: Plan, op: str, block: Block, more: Iterable[int] = ()) -> None:
    """A block becomes a unit."""
    unit = Unit(
        block.name,
        op,
        (*block.tasks, *more),
        synapse_bytes=0,
        state_bytes=block.state_bytes,
        neurons=block.neurons,
        in_axons=0,
        stream_bytes=block.stream_bytes,
        place=block.place,
    )
    plan.unit(unit)
