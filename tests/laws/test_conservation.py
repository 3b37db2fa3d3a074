"""What is sent arrives: counters agree with a recount from the recorded activity and geometry.

The recount knows nothing of the engine's counters, of its walk over trees or of the kinds of
links: a flit's way is the union of the XY ways from the source's router to its sinks'.
"""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest

from compiler.graph import Gla, Window
from compiler.program import HOST, PARTIAL, SPIKE, TILE, VALUE
from simulator.api import simulate
from simulator.run_folder import read_run
from tests.tiny import tiny

PROMPT, GENERATED = bytes((3, 17, 17, 8)), 3


def spikes_of(counts, coding):
    """Spikes that counts ask for: their sum, their set bits, or one per nonzero."""
    sizes = np.abs(counts.astype(np.int64)).ravel().tolist()
    each = {"ternary": int, "bitwise": int.bit_count, "graded": bool}[coding]
    return sum(map(each, sizes))


class Geometry:
    """Routers in a grid of chips, joined at their routers (0, 0); the host hangs on router 0."""

    def __init__(self, chip, host):
        layout = chip.layout
        self.size, self.per_router, self.host = layout.routers, layout.cores_per_router, host
        self.width = layout.chips[0] * layout.routers[0]

    def router(self, core):
        index = 0 if core == self.host else core // self.per_router
        return index % self.width, index // self.width

    def chip(self, place):
        return place[0] // self.size[0], place[1] // self.size[1]

    @staticmethod
    def walk(start, goal, kinds):
        """(kind, from, to) of every step, along x, then along y."""
        (x, y), (to_x, to_y) = start, goal
        while (x, y) != (to_x, to_y):
            along_x = x != to_x
            step = (np.sign(to_x - x), 0) if along_x else (0, np.sign(to_y - y))
            ahead = (x + step[0], y + step[1])
            yield kinds[not along_x], (x, y), ahead
            x, y = ahead

    def way(self, core, sinks):
        """Links by kind from a core to the cores of a net: to the gateway, over, and in."""
        edges = {("host" if core == self.host else "local", core)}
        for sink in sinks:
            start, goal = self.router(core), self.router(sink)
            here, there = self.chip(start), self.chip(goal)
            if here != there:
                gates = [(c[0] * self.size[0], c[1] * self.size[1]) for c in (here, there)]
                edges |= set(self.walk(start, gates[0], "xy"))
                edges |= set(self.walk(here, there, ("chip_x", "chip_y")))
                start = gates[1]
            edges |= set(self.walk(start, goal, "xy"))
            if sink == self.host:
                edges.add(("host", "out"))
        return Counter(edge[0] for edge in edges)


def sinks_below(tables, node):
    found = list(range(tables.node_first_sink[node], tables.node_last_sink[node]))
    for child in range(tables.node_first_child[node], tables.node_last_child[node]):
        found += sinks_below(tables, child)
    return found


def sizes_of(form, n, bits):
    """Bits of the messages that carry n items of some bits."""
    full, rest = divmod(n, form.values_per_message)
    pieces = [form.values_per_message] * full + [rest] * (rest > 0)
    return [form.header_bits + piece * bits for piece in pieces]


def recount(program, activity, tokens, head_from):
    """{operation: {kind: count}} of some tokens, all kinds but vector instructions."""
    t, graph, forms = program.tables, program.graph, program.chip.formats
    geometry = Geometry(program.chip, int(t.task_core.max()))
    found = defaultdict(Counter)
    head = graph.linears[-1]

    def counts(site, token):
        late = head_from if site == head.site else 0
        return activity.counts[site][token - late] if token >= late else np.zeros(0, np.int32)

    for emit, tree in enumerate(t.emit_tree):
        source = t.tree_task[tree]
        local = range(t.tree_first_local[tree], t.tree_last_local[tree])
        remote = sinks_below(t, t.tree_root[tree]) if t.tree_root[tree] >= 0 else []
        way = geometry.way(t.tree_source[tree], t.sink_core[remote]) if remote else {}
        op, lo, n = program.ops[t.task_op[source]], t.emit_lo[emit], int(t.emit_n[emit])
        code, residue = t.emit_class[emit], t.emit_residue[emit]
        for token in tokens:
            if residue >= 0 and token % t.task_period[source] != residue:
                continue
            sent = defaultdict(list)  # class -> bits of its messages
            if code == SPIKE:
                site = graph.sites[t.task_site[source]].name
                if site == head.site and token < head_from:
                    continue
                coding, payload = program.codings[site]
                spikes = spikes_of(counts(site, token)[lo : lo + n], coding)
                sent["spike"] = [forms["spike"].header_bits + payload] * spikes
                sent["marker"] = [forms["marker"].header_bits + forms["marker"].payload_bits]
            elif code == PARTIAL:
                linear = graph.linears[t.task_linear[source]].name
                if linear == head.name and token < head_from:
                    continue
                sent["partial"] = sizes_of(forms["partial"], n, program.partial_bits[linear])
                for sink in (*local, *remote):
                    found[program.ops[t.task_op[t.sink_task[sink]]]]["partial_add"] += n
            elif code == VALUE:
                if op == "logits" and token < head_from:
                    continue
                sent["value"] = sizes_of(forms["value"], n, forms["value"].payload_bits)
            for name, bits in sent.items():
                for sink in remote:
                    task = t.sink_task[sink]
                    found[op][f"delivered_{name}"] += len(bits)
                    if name == "spike":
                        drive(found, program, task, len(bits))
                    if name in ("spike", "marker"):
                        found[program.ops[t.task_op[task]]]["axon_lookup"] += len(bits)
                if remote:
                    found[op][f"msg_{name}"] += len(bits)
                for kind, links in way.items():
                    if kind == "host":
                        found[op]["host_bit"] += links * sum(bits)
                    else:
                        width = program.chip.links[kind].flit_bits
                        found[op][f"flit_{kind}"] += links * sum(-(-b // width) for b in bits)
    for token in tokens:
        token_work(found, program, activity, token, token >= head_from)
    return {
        op: {k: int(v) for k, v in c.items() if v} for op, c in found.items() if any(c.values())
    }


SYNOP = {"ternary": "synop_add", "bitwise": "synop_shift", "graded": "synop_mac"}


def drive(found, program, task, spikes):
    t = program.tables
    linear = program.graph.linears[t.task_linear[task]]
    kind = SYNOP[program.codings[linear.site][0]]
    found[linear.name][kind] += spikes * int(t.task_neuron_n[task])
    found[linear.name]["weight_fetch"] += spikes * int(t.task_neuron_n[task])


def touched(program, stage, activity, token):
    """Bytes that linear attention reads and writes of its state for a token: rows of channels that
    are active or for which no more decays may wait, and the decays."""
    most, row = program.chip.core.pending_decays, 4 * stage.head_dim
    names = (name for name in program.task_names if name.startswith(f"{stage.name}[head 0].part"))
    decay, late = 4 * max(1, len(list(names))), Counter()
    for marks in activity.active[stage.name][: token + 1]:
        read = written = 0
        for channel, mark in enumerate(marks.ravel().tolist()):
            if mark or late[channel] == most:
                read += row + decay * late.pop(channel, 0)
                written += row
            else:
                late[channel] += 1
                written += decay
    return Counter(state_read=read, state_write=written)


def token_work(found, program, activity, token, head_runs):
    """Work that every token costs, whatever it spikes; but for the state that it touches."""
    t, graph = program.tables, program.graph
    home = {stage.linear: stage.name for stage in graph.stages}
    for linear in graph.linears:
        if linear is graph.linears[-1] and not head_runs:
            continue
        found[home[linear.name]]["neuron_update"] += linear.n_post
        for task in np.flatnonzero(t.task_kind == TILE):
            if graph.linears[t.task_linear[task]] is linear:
                sums = int(t.task_neuron_n[task]) * -(-int(t.task_n_pre[task]) // 128)
                found[linear.name]["group_mac"] += sums
                found[linear.name]["acc_access"] += 2 * sums
    for stage in graph.stages[:-1]:
        found[stage.name]["encode"] += graph.site(stage.site).n
        if isinstance(stage, Gla):
            found[stage.name] += touched(program, stage, activity, token)
        if isinstance(stage, Window):
            kept = stage.kv_heads * 2 * (stage.head_dim + 4)
            read = kept * min(token + 1, stage.window)
            found[stage.name] += Counter(state_read=read, state_write=kept)


def without_vectors(counters):
    found = {
        op: {k: n for k, n in kinds.items() if not k.startswith("vec_")}
        for op, kinds in counters.items()
    }
    return {op: kinds for op, kinds in found.items() if kinds}


NO_BUFFER = {"abilities__row_buffer": "false"}
CASES = [("toy", coding) for coding in ("ternary", "bitwise", "graded")]
CASES += [("loihi-like", coding) for coding in ("ternary", "bitwise")]


@pytest.mark.parametrize(("target", "coding"), CASES)
def test_counters_equal_a_recount_from_activity_and_geometry(target, coding, tmp_path):
    sbx = tiny(coding, target, **NO_BUFFER)
    run = simulate(sbx, prompt=PROMPT, tokens=GENERATED, out=tmp_path / "run")
    activity = read_run(tmp_path / "run").activity
    head_from, first = len(PROMPT) - 1, 0
    assert [phase.tokens for phase in run.phases] == [len(PROMPT), GENERATED - 1]
    for phase in run.phases:
        tokens = range(first, first + phase.tokens)
        first += phase.tokens
        wanted = recount(sbx, activity, tokens, head_from)
        assert without_vectors(phase.counters) == without_vectors(wanted)


def test_operations_add_up_to_the_whole(tmp_path):
    sbx = tiny()
    run = simulate(sbx, prompt=PROMPT, tokens=GENERATED, out=tmp_path / "run")
    activity = read_run(tmp_path / "run").activity
    total = Counter()
    for phase in run.phases:
        for kinds in phase.counters.values():
            total += Counter(kinds)
    sent = {s.name: spikes_of(activity.stacked(s.name), sbx.codings[s.name][0])
            for s in sbx.graph.sites}  # fmt: skip
    t = sbx.tables
    # a tile row of blocks holds every neuron of a linear once: a spike meets each of them once
    synops = sum(sent[lin.site] * lin.n_post for lin in sbx.graph.linears)
    assert total["synop_shift"] + total["synop_mac"] == synops == total["weight_fetch"]
    assert sum(s.spikes for s in run.sites) == sum(sent.values()) == total["msg_spike"]
    head_tokens, all_tokens = GENERATED, len(PROMPT) + GENERATED - 1
    tiles = Counter(t.task_linear[t.task_kind == TILE].tolist())
    rows = {i: -(-lin.n_pre // 128) for i, lin in enumerate(sbx.graph.linears)}
    assert set(rows.values()) == {1}  # no linear of this model is cut along its inputs
    sums = sum(
        lin.n_post * (head_tokens if i == len(tiles) - 1 else all_tokens)
        for i, lin in enumerate(sbx.graph.linears)
    )
    assert total["partial_add"] == total["neuron_update"] == total["group_mac"] == sums
    assert t.task_kind[t.tree_task[t.emit_tree[t.emit_class == PARTIAL]]].max() < HOST


def test_a_row_buffer_fetches_once_per_active_channel_of_a_token(tmp_path):
    sbx = tiny(target="loihi-like", abilities__row_buffer="true")
    run = simulate(sbx, prompt=PROMPT, tokens=GENERATED, out=tmp_path / "run")
    activity = read_run(tmp_path / "run").activity
    t = sbx.tables
    for i, linear in enumerate(sbx.graph.linears):
        trees = t.task_need[(t.task_kind == TILE) & (t.task_linear == i)]
        fetched = sum(p.counters[linear.name]["weight_fetch"] for p in run.phases)
        active = int(np.count_nonzero(activity.stacked(linear.site)))
        spikes = spikes_of(activity.stacked(linear.site), sbx.codings[linear.site][0])
        if trees.max() == 1:  # one source: a channel's spikes come back to back
            assert fetched == active * linear.n_post
        assert active * linear.n_post <= fetched <= spikes * linear.n_post


FILES = ("run.json", "counters.json", "activity.parquet", "events.parquet", "SHA256SUMS")

AGAIN = """
import sys
from pathlib import Path
from compiler.program import Program
from simulator.api import simulate
sbx = Program.read(Path(sys.argv[1]))
simulate(sbx, prompt=bytes((3, 17, 17, 8)), tokens=3, trace=True, out=Path(sys.argv[2]))
"""


def test_the_same_run_gives_the_same_bytes_in_any_process(root, tmp_path):
    sbx = tiny()
    sbx.write(tmp_path / "model.sbx")
    for name in ("one", "two"):
        simulate(sbx, prompt=PROMPT, tokens=GENERATED, trace=True, out=tmp_path / name)
    where = [str(tmp_path / "model.sbx"), str(tmp_path / "three")]
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", AGAIN, *where], check=True, env=environment, cwd=root)
    for name in FILES:
        first = (tmp_path / "one" / name).read_bytes()
        assert first == (tmp_path / "two" / name).read_bytes(), name
        assert first == (tmp_path / "three" / name).read_bytes(), name
    assert set(json.loads((tmp_path / "one" / "counters.json").read_bytes())) == {
        "prefill",
        "decode",
    }
