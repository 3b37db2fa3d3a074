"""Finite link buffers: the engine's picoseconds are those of plain Python, and values stay."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

import simulator.drive
from hw_models.errors import BadInput, Bug
from hw_models.events import LINKS
from simulator.api import resume, simulate
from simulator.build_report import build_report
from simulator.counters import buffers_of
from simulator.drive import Simulation
from simulator.hot import state as h
from simulator.report_html import render_html
from simulator.report_text import render_text
from simulator.run_folder import read_run
from simulator.state_check import check_state
from tests.buffers import smallest, with_buffers
from tests.rings import ring
from tests.simulator.slow_links import Link, SlowLinks
from tests.simulator.under_way import PROMPT, Killed, contents
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
    buffer = simulation.state.link
    for link, found in slow.links.items():
        seen = buffer[link, [h.B_HIGH, h.B_STALLED, h.B_MOST_WAITING]].tolist()
        entry = link in t.node_link[t.tree_root[t.tree_root >= 0]]
        assert seen[:2] == [found.most_held, found.stalled], link
        assert not entry or seen[2] == found.most_waiting, link
        assert not found.queue and not found.inside
    assert not buffer[:, [h.B_HELD, h.B_WAITING, h.B_BUSY]].any()
    for core in {core for core, *_ in stays}:
        mine = [stay for stay in stays if stay[0] == core]
        most = max(sum(n for _, came, end, n in mine if came <= now < end) for _, now, _, _ in mine)
        assert simulation.state.core[core, [h.IN_LINE, h.MOST_IN_LINE]].tolist() == [0, most]
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
    _, slow = agree(program, tokens, monkeypatch, sync=sync)
    assert sum(link.stalled for link in slow.links.values()) > 0
    assert len(slow.stands) > 150


@pytest.mark.parametrize("coding", ["bitwise", "ternary"])
def test_a_models_links_take_the_time_of_plain_python(coding, monkeypatch):
    """Bursts of ternary spikes are larger than the buffers: each has one to itself."""
    small = {f"link__{kind}__buffer_flits": "20" for kind in KINDS}
    program = tiny(coding, **small, layout__chips="[2, 1]", core__synapse_memory="4 KiB")
    simulation, slow = agree(program, (3,), monkeypatch)
    assert slow.links and buffers_of(program, simulation.state).links["local"].stalled_ps > 0


def test_a_circle_is_refused_when_a_program_is_loaded():
    with pytest.raises(BadInput, match="links wait for each other in a circle: "):
        Simulation(ring())


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_messages_that_are_stuck_are_a_bug_that_names_the_circle(sync, monkeypatch):
    """What the check refuses, let through: four links, each full of what waits for the next."""
    program = ring()
    monkeypatch.setattr(simulator.drive, "check_buffers", lambda program: None)
    with pytest.raises(Bug, match="messages wait for each other in buffers: ") as caught:
        run_of(program, sync)
    for link in (
        "x from router (0, 0) to router (1, 0)",
        "y from router (1, 0) to router (1, 1)",
        "x from router (1, 1) to router (0, 1)",
        "y from router (0, 1) to router (0, 0)",
    ):
        assert link in str(caught.value)
    assert "ps" in caught.value.where


def test_the_same_circle_is_harmless_where_buffers_have_no_end():
    run_of(with_buffers(ring(), dict.fromkeys(KINDS, 0)), "dataflow")


def run_of(program, sync):
    simulation = Simulation(program, sync=sync)
    simulation.start(0, 0)
    for _ in simulation.advance():
        pass


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_a_run_that_was_killed_resumes_to_the_same_bytes(sync, tmp_path, kill_after):
    program = with_buffers(tiny(), smallest(tiny()))
    asked = {"prompt": PROMPT, "tokens": 3, "sync": sync, "trace": True}
    run = simulate(program, out=tmp_path / "whole", **asked)
    kill_after(9)
    with pytest.raises(Killed):
        simulate(program, out=tmp_path / "killed", checkpoint_every=0, **asked)
    kill_after(0)
    resume(tmp_path / "killed", program)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert run.buffers.links["local"].stalled_ps > 0


def under_way(most=400):
    """A simulation in the middle of a prompt: copies wait, stand and are on their way."""
    program = with_buffers(tiny(), smallest(tiny()))
    simulation, events = Simulation(program, in_flight=6), 0
    for token in (3, 17, 17, 8, 0, 19):
        simulation.start(token, 0)
    for token, *_ in simulation.advance():
        events += token < 0
        state = simulation.state
        waits = state.link[:, h.B_FIRST].max() >= 0
        if events >= most and waits and not state.reg[h.R_READY]:
            return simulation, Simulation(program, in_flight=6).state
    raise AssertionError("it is over")


def kinds_of(state):
    return state.heap[: state.reg[h.R_HEAP], 2] >> h.KIND_SHIFT


def event(state, kind, change):
    at = int(np.flatnonzero(kinds_of(state) == kind)[0])
    state.heap[at, 2] += change


def a_copy(state, column, value):
    state.copies[state.link[:, h.B_FIRST].max(), column] = value


FORGED = {
    "copies: more to come than comes": ("copies", lambda s: s.copies.__setitem__(
        (slice(None), h.Y_LEFT), s.copies[:, h.Y_LEFT] + 1)),
    "copies: a node beyond": ("copies", lambda s: a_copy(s, h.Y_NODE, 1 << 40)),
    "copies: above a free one": (
        "copies", lambda s: a_copy(s, h.Y_ABOVE, int(s.copies[0, h.Y_FREE]))),
    "copies: a queue that bites its tail": (
        "copies", lambda s: a_copy(s, h.Y_NEXT, int(s.link[:, h.B_FIRST].max()))),
    "copies: a message beyond": ("copies", lambda s: a_copy(s, h.Y_MESSAGE, 1 << 40)),
    "copies: one free twice": (
        "copies", lambda s: s.copies.__setitem__((0, h.Y_FREE), s.copies[1, h.Y_FREE])),
    "link: a first beyond": (
        "link", lambda s: s.link.__setitem__((0, h.B_FIRST), 1 << 40)),
    "link: another last": (
        "link", lambda s: s.link.__setitem__((slice(None), h.B_LAST), 0)),
    "heap: a freed copy beyond": ("heap", lambda s: event(s, h.FREED, 1 << 29)),
    "heap: a copy stands elsewhere": (
        "heap", lambda s: event(s, h.STAND, 1 << h.INDEX_SHIFT)),
    "heap: a link beyond": ("heap", lambda s: event(s, h.FREED, 1 << 29 << h.INDEX_SHIFT)),
    "reg": ("reg", lambda s: s.reg.__setitem__(h.R_FREE_COPIES, 1 << 40)),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_copies_and_queues_from_a_file_are_checked_before_the_engine_reads_them(what, monkeypatch):
    monkeypatch.setattr(simulator.drive, "BATCH", 1)
    simulation, fresh = under_way()
    state = simulation.state
    assert {h.FREED, h.STAND} <= set(kinds_of(state).tolist())
    check_state(simulation.fixed, state, fresh, simulation.started)
    array, forge = FORGED[what]
    forge(state)
    with pytest.raises(BadInput) as caught:
        check_state(simulation.fixed, state, fresh, simulation.started)
    assert caught.value.where == f"engine array {array}"


def test_a_report_shows_buffers_where_they_have_an_end(tmp_path):
    program = with_buffers(tiny(), smallest(tiny()) | {"host": 0})
    folder = tmp_path / "run"
    run = simulate(program, prompt=PROMPT, tokens=2, out=folder)
    kept = read_run(folder).run.buffers
    assert kept == run.buffers
    assert set(kept.links) == {"local", "x", "y", "chip_x", "host"}
    assert kept.links["x"].flits == smallest(tiny())["x"] >= kept.links["x"].high_water_flits > 0
    assert kept.links["local"].stalled_ps > 0 and kept.links["host"].flits == 0
    report = build_report(run)
    console = Console(file=StringIO(), width=100)
    render_text(report, console)
    text = console.file.getvalue()
    assert "Back-pressure" in text and "no end" in text
    assert f"most messages waiting to leave a core: {kept.injection_high_water}" in text
    render_html(report, run, tmp_path / "report.html")
    assert 'id="buffers"' in (tmp_path / "report.html").read_text()
    stalls = report.to_json()["buffers"]["links"]["local"]["stalled_ps"]
    assert stalls == kept.links["local"].stalled_ps
    free = simulate(tiny(), prompt=PROMPT, tokens=2, out=tmp_path / "free")
    assert free.buffers is None
    assert build_report(free).main.ledger.levels().keys() == report.main.ledger.levels().keys()
    for (level, joules), same in zip(
        report.main.ledger.levels().items(),
        build_report(free).main.ledger.levels().values(),
        strict=True,
    ):
        assert joules == same or level == "static"
