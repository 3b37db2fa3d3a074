"""Expected traffic: walked message by message, bounded by the compiler, and counted in a run."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from compiler.program import PARTIAL, SPIKE
from hw_models.errors import BadInput
from hw_models.events import LINKS, MESSAGES
from simulator.api import simulate
from simulator.map_traffic import traffic
from tests.tiny import tiny

PROGRAMS = {
    "toy": tiny,
    "ternary": lambda: tiny("ternary"),
    "one chip": lambda: tiny(target="loihi-like"),
    "crossbar": lambda: tiny(target="isaac-like"),
}


@pytest.fixture(params=PROGRAMS)
def program(request):
    return PROGRAMS[request.param]()


def messages(program, task, code, n, residue):
    """(class, number per token, bits) of a task's emission, one full message after another."""
    t, formats = program.tables, program.chip.formats
    if code == SPIKE:
        site = program.graph.sites[t.task_site[task]].name
        bits = formats["spike"].header_bits + program.codings[site][1]
        yield "spike", n * program.statistics["spikes_per_channel"][site], bits
        yield "marker", 1, formats["marker"].header_bits + formats["marker"].payload_bits
        return
    name = MESSAGES[code]
    form, width = formats[name], formats[name].payload_bits
    if code == PARTIAL:
        width = program.partial_bits[program.graph.linears[t.task_linear[task]].name]
    share = 1 if residue < 0 else 1 / int(t.task_period[task])
    while n > 0:
        values = min(n, form.values_per_message)
        yield name, share, form.header_bits + values * width
        n -= values


def emissions(program):
    """(task, tree, its messages)"""
    t = program.tables
    for task in range(t.task_core.size):
        for e in range(t.task_emit[task], t.task_emit[task + 1]):
            what = (t.emit_class[e], int(t.emit_n[e]), int(t.emit_residue[e]))
            yield task, int(t.emit_tree[e]), list(messages(program, task, *what))


def walk(t, node):
    """A node of a tree and all below it."""
    yield node
    for child in range(t.node_first_child[node], t.node_last_child[node]):
        yield from walk(t, child)


class Recount:
    """What every message adds to every link it passes and every core it reaches."""

    def __init__(self, program):
        t, links, mesh = program.tables, program.chip.links, program.mesh
        self.bits, self.ways, self.reached = defaultdict(float), set(), set()
        self.sent, self.received = defaultdict(float), defaultdict(float)
        self.received_bits = defaultdict(float)

        def flits(bits, kind):
            width = links[kind].flit_bits
            return (bits + width - 1) // width * width

        for task, tree, sent in emissions(program):
            if t.tree_root[tree] < 0:
                continue
            core, goals = int(t.task_core[task]), set()
            for node in walk(t, int(t.tree_root[tree])):
                link = int(t.node_link[node])
                self.ways.add((core, link))
                kind = LINKS[mesh.links.kind[link]]
                for _, number, bits in sent:
                    self.bits[link] += number * flits(bits, kind)
                goals |= set(t.sink_core[t.node_first_sink[node] : t.node_last_sink[node]].tolist())
            self.reached |= {(core, goal) for goal in goals}
            for name, number, bits in sent:
                self.sent[name, core] += number
                for goal in goals:
                    self.received[name, goal] += number
                    self.received_bits[goal] += number * flits(bits, "local")


def sparse(values):
    return {i: float(values[i]) for i in np.flatnonzero(values).tolist()}


def by_class(rows):
    return {(MESSAGES[c], i): v for c, row in enumerate(rows) for i, v in sparse(row).items()}


def pairs(found):
    return set(zip(found.left.tolist(), found.right.tolist(), strict=True))


def test_every_link_and_core_carries_what_a_walk_over_all_messages_adds_up(program):
    found, wanted = traffic(program), Recount(program)
    assert sparse(found.link_bits) == pytest.approx(wanted.bits)
    assert by_class(found.sent) == pytest.approx(wanted.sent)
    assert by_class(found.received) == pytest.approx(wanted.received)
    assert sparse(found.received_bits) == pytest.approx(wanted.received_bits)
    assert pairs(found.ways) == wanted.ways
    assert pairs(found.reached) == wanted.reached
    assert found.ways.left.size == len(wanted.ways)
    assert found.reached.left.size == len(wanted.reached)


def test_links_carry_what_the_compiler_said_of_its_mapping(program):
    bits, kind = traffic(program).link_bits, program.mesh.links.kind
    chips = bits[np.isin(kind, [LINKS.index("chip_x"), LINKS.index("chip_y")])]
    mesh = bits[np.isin(kind, [LINKS.index("x"), LINKS.index("y")])]
    said = {name: row["achieved"] for name, row in program.bounds.items() if "achieved" in row}
    assert round(float(chips.sum())) == said["bits on chip links"]
    assert round(float(chips.max())) == said["bits on the busiest chip link"]
    assert round(float(mesh.sum())) == said["bits x links of the mesh"]


def test_a_run_sends_what_is_expected_of_its_own_rates():
    """Ten tokens, one by one: the two stripes of a ring take turns."""
    program, tokens = tiny(), 10
    run = simulate(program, prompt=(3,), tokens=tokens)
    rates = {site.site: site.spikes / (site.n * site.tokens) for site in run.sites}
    assert {site.tokens for site in run.sites} == {tokens}
    found = traffic(
        replace(program, statistics=dict(program.statistics) | {"spikes_per_channel": rates})
    )
    counted = [kinds for phase in run.phases for kinds in phase.counters.values()]
    for name, expected in zip(MESSAGES, found.sent.sum(axis=1), strict=True):
        sent = sum(kinds.get(f"msg_{name}", 0) for kinds in counted)
        assert tokens * expected == pytest.approx(sent, rel=1e-6) and sent > 0, name


@pytest.mark.parametrize("rate", [None, "1", float("nan"), -1.0])
def test_a_program_without_rates_is_refused(rate):
    program = tiny()
    rates = dict(program.statistics["spikes_per_channel"]) | {program.graph.sites[1].name: rate}
    for statistics in ({}, {"spikes_per_channel": 3}, {"spikes_per_channel": rates}):
        with pytest.raises(BadInput) as caught:
            traffic(replace(program, statistics=statistics))
        assert "compile it again" in caught.value.fix
