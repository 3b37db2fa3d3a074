"""Finite link buffers: the engine's picoseconds are those of plain Python, and values stay."""

import numpy as np
import pytest

import simulator.drive
from hw_models.events import LINKS
from simulator.counters import buffers_of
from simulator.drive import Simulation
from simulator.hot import state as h
from tests.simulator.slow_links import Link, SlowLinks
from tests.timing.story import actors, chip, stage
from tests.tiny import tiny

KINDS = ("local", "x", "y", "chip_x", "chip_y", "host")


def watched(program, tokens, monkeypatch, **options):
    """Run event by event: the simulation, what was sent (ps, tie, root, bits, times), when each
    message stood at each node, and stays at cores (core, from, to, messages)."""
    monkeypatch.setattr(simulator.drive, "BATCH", 1)
    simulation = Simulation(program, in_flight=len(tokens), trace=lambda rows: None, **options)
    for token in tokens:
        simulation.start(token, 0)
    f, sent, stands, stays, last = simulation.fixed, [], {}, [], [None, None]

    def look():
        """At the event that comes next, if it has not been looked at, and back at the last one."""
        s = simulation.state
        event = s.heap[0].tolist() if s.reg[h.R_HEAP] else None
        if event == last[0]:
            return
        if last[1] is not None:  # it was an arrival at a core: served, or parked
            core, ps, times, row = last[1]
            told = s.trace[row : s.reg[h.R_TRACE]]
            for start, duration, *_ in told[told[:, 2] == h.T_SERVE].tolist():
                stays.append((core, ps, start + duration, times))
        last[:] = event, None
        if event is None or event[0] == h.LATER:
            return
        ps, tie, what = event
        kind, index, m = what >> h.KIND_SHIFT, (what >> h.INDEX_SHIFT) & h.MASK, what & h.MASK
        if kind == h.JOIN:
            message, node = s.copies[m, [h.Y_MESSAGE, h.Y_NODE]].tolist()
            bits, times = s.message[message, [h.M_BITS, h.M_TIMES]].tolist()
            sent.append((ps, tie, node, bits, times))
        elif kind in (h.HOP, h.STAND):
            stands[tie, index] = ps
        elif kind == h.ARRIVE:
            core, row = int(f.sink[index, h.S_CORE]), s.message[m]
            own = f.tree[row[h.M_TREE], h.SOURCE] == core
            if not (own and row[h.M_CLASS] in (h.VALUE, h.PARTIAL)):
                last[1] = core, ps, int(row[h.M_TIMES]), int(s.reg[h.R_TRACE])

    simulation.pause = look
    for _ in simulation.advance():
        pass
    return simulation, sent, stands, stays


def agree(program, tokens, monkeypatch, **options):
    """The engine's run is plain Python's, on every link."""
    simulation, sent, stands, stays = watched(program, tokens, monkeypatch, **options)
    t, chip = program.tables, program.chip
    links = {}
    for link in np.unique(t.node_link).tolist():
        wire = chip.links[LINKS[t.link_kind[link]]]
        links[link] = Link(wire.flit_bits, wire.flit_ps, wire.hop_ps, wire.buffer_flits)
    slow = SlowLinks(t, links)
    slow.run(sent)
    assert stands == slow.stands
    buffer = simulation.state.buffer
    for link, found in slow.links.items():
        seen = buffer[link, [h.B_HIGH, h.B_STALLED, h.B_MOST_WAITING]].tolist()
        entry = link in t.node_link[t.tree_root[t.tree_root >= 0]]
        assert seen[:2] == [found.most_held, found.stalled], link
        assert not entry or seen[2] == found.most_waiting, link
        assert not found.queue and not found.inside
    assert not buffer[:, [h.B_HELD, h.B_WAITING, h.B_BUSY]].any()
    for core in {core for core, *_ in stays}:
        mine = [stay for stay in stays if stay[0] == core]
        most = max(
            sum(n for _, came, end, n in mine if came <= now < end) for _, now, _, _ in mine
        )
        assert simulation.state.line[core].tolist() == [0, most]
    return simulation, slow


def crowd(seed):
    """Vector tasks on random cores that send to random others, all at about the same time."""
    rng = np.random.default_rng(seed)
    places = [(x, y, k) for x in range(6) for y in range(4) for k in (0, 1)]
    places.remove((0, 0, 1))
    chosen = [places[i] for i in rng.permutation(len(places))[:14]]
    story = stage([(1,)] * int(rng.integers(1, 3)))
    actors(story, **{f"a{i}": at for i, at in enumerate(chosen)})
    story.send("norm", "value", *(f"a{i}" for i in range(7)))
    story.send("a0", "value", *(f"a{j}" for j in range(7, 14)))
    for i in range(7):
        for _ in range(int(rng.integers(1, 4))):
            to = rng.permutation(np.arange(7, 14))[: rng.integers(1, 7)]
            story.send(f"a{i}", "value", *(f"a{j}" for j in to), n=int(rng.integers(1, 7)))
    return story


def rooms(rng, least):
    """Buffers of one message of two values, or a little more; some without an end."""
    found = {}
    for kind, flits in zip(KINDS, least, strict=True):
        more = int(rng.integers(0, 4))
        found[f"link__{kind}__buffer_flits"] = str(0 if more == 3 else flits + more * flits // 2)
    found["link__x__buffer_flits"] = str(least[1] + int(rng.integers(0, 3)))
    return found


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
@pytest.mark.parametrize("seed", range(6))
def test_crowded_links_take_the_time_of_plain_python(seed, sync, monkeypatch):
    rng = np.random.default_rng(seed)
    even = {}  # every second story has the same constants everywhere: many exact ties
    if seed % 2:
        for kind in KINDS:
            even |= {f"link__{kind}__flit_ps": "10 ps", f"link__{kind}__hop_ps": "10 ps"}
            even[f"link__{kind}__flit_bits"] = "32 bit"
    least = (3, 3, 3, 3, 3, 3) if even else (7, 12, 9, 3, 3, 2)
    story = crowd(seed)
    program = story._program(chip(**even, **rooms(rng, least), timing__barrier_ps="1 ns"))
    tokens = range(len(story.counts))
    simulation, slow = agree(program, tokens, monkeypatch, sync=sync)
    assert sum(link.stalled for link in slow.links.values()) > 0
    assert len(slow.stands) > 150


@pytest.mark.parametrize("coding", ["bitwise", "ternary"])
def test_a_models_links_take_the_time_of_plain_python(coding, monkeypatch):
    """Bursts of ternary spikes are larger than the buffers: each has one to itself."""
    small = {f"link__{kind}__buffer_flits": "20" for kind in KINDS}
    program = tiny(coding, **small, layout__chips="[2, 1]", core__synapse_memory="4 KiB")
    simulation, slow = agree(program, (3,), monkeypatch)
    assert slow.links and buffers_of(program, simulation.state).links["local"].stalled_ps > 0
