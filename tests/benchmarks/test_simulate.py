"""The benchmark of the simulator runs small; its traffic is what it says, in a queue's times."""

import heapq
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from benchmarks import mesh
from benchmarks import simulate as benchmark
from compiler.pipeline import map_graph
from hw_models.chip import load_chip
from simulator.hot import state as h
from simulator.workload import profile
from tests.tiny import tiny

LINKS = benchmark.Links("unicast", 16, 1000, 43_000, 1000, 1e-4)
TOKEN = benchmark.Token("m", "t", 2.0, 1.0, 10**9, 0.05, 1, 1, 1, 1)


def replayed(link, parent, tree, stops, sent):
    """Arrivals at the stops of every tree, by a queue of (time, tie, node)."""
    children, root = {}, {}
    for node in range(link.size):
        if parent[node] < 0:
            root[tree[node]] = node
            continue
        children.setdefault(parent[node], []).append(node)
    free, stood = {}, {}
    trees = sent.tree.tolist()
    events = [(int(ps), i, root[trees[i]]) for i, ps in enumerate(sent.time)]
    heapq.heapify(events)
    while events:
        time, i, at = heapq.heappop(events)
        if stops[at] >= 0:
            stood[i << 32 | at] = time
        for child in children.get(at, ()):
            start = max(time, free.get(link[child], 0))
            free[link[child]] = start + mesh.FLIT_PS
            heapq.heappush(events, (start + mesh.HOP_PS, i, child))
    return stood


@pytest.mark.parametrize("kind", ["unicast", "multicast"])
def test_arrivals_are_those_of_an_event_queue(kind):
    rng = np.random.default_rng(5)
    with patch.object(mesh, "streams", wraps=mesh.streams) as made:
        one = kind == "unicast"
        trees = mesh.unicasts(6, 3, rng) if one else mesh.multicasts(6, 5, (3, 4), rng)
    link, parent, tree, _, stops, _ = made.call_args.args
    sent = mesh.traffic(trees, 300, 20_000, rng)
    stood, links = mesh.arrivals(trees, sent)
    assert {what: ps for ps, what in stood.tolist()} == replayed(link, parent, tree, stops, sent)
    assert links[:, h.FLITS].sum() == sent.crossings


def test_a_path_is_as_long_as_its_ends_are_apart_and_a_block_is_reached_once():
    rng = np.random.default_rng(2)
    one = mesh.unicasts(8, 5, rng)
    assert one.source.tolist() == sorted(list(range(64)) * 5)
    assert one.crossings.max() <= 14 and set(one.reached.tolist()) <= {0, 1}
    assert ((one.crossings == 0) == (one.reached == 0)).all()
    many = mesh.multicasts(8, 9, (3, 2), rng)
    assert set(many.reached.tolist()) <= {5, 6}  # 5 where the source is one of them
    assert (many.crossings >= many.reached).all()


def test_a_source_injects_in_series():
    rng = np.random.default_rng(3)
    trees = mesh.unicasts(4, 3, rng)
    sent = mesh.traffic(trees, 500, 5000, rng)
    source = trees.source[sent.tree]
    for core in range(16):
        times = sent.time[source == core]
        assert (np.diff(times) >= mesh.FLIT_PS).all() and times.min() >= mesh.HOP_PS


def test_a_token_is_counted_as_a_run_counts_it(tmp_path):
    program = map_graph(tiny().graph, load_chip("toy", {"core.synapse_memory": "4 KiB"}))
    program.write(tmp_path / "a.sbx")
    found = benchmark.token_apart(tmp_path / "a.sbx")
    spikes = 0
    for site in program.graph.sites:
        counts, _ = profile(program, prompt=1, tokens=2).counts(site.name, 1)
        spikes += sum(1 if site.name == "head_in" else bin(abs(n)).count("1") for n in counts)
    assert found.messages > spikes and found.deliveries >= found.messages
    assert found.seconds > 0 and 50e6 < found.peak_bytes < 2e9 and found.simulated_s > 0
    again = benchmark.token_apart(tmp_path / "a.sbx")
    same = ("messages", "deliveries", "crossings", "steps", "simulated_s")
    assert [getattr(found, k) for k in same] == [getattr(again, k) for k in same]


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        ({"seconds": 2.0}, "a token of m", "goal met"),
        ({"seconds": 4.0}, "a token of m", "met"),
        ({"seconds": 11.0}, "a token of m", "MISSED"),
        ({"peak_bytes": 7 * 10**9}, "its memory", "MISSED"),
    ],
)
def test_a_miss_of_the_token_is_called_a_miss(change, name, verdict):
    goals = benchmark.goals([LINKS, LINKS], replace(TOKEN, **change))
    assert {g.name: g.verdict for g in goals}[name] == verdict


@pytest.mark.parametrize(("seconds", "verdict"), [(1e-4, "goal met"), (3e-4, "MISSED")])
def test_a_rate_is_measured_from_below(seconds, verdict):
    row = replace(LINKS, seconds=seconds)
    goal = benchmark.goals([row, row], TOKEN)[0]
    assert goal.name == "unicast messages over 43.0 links" and goal.verdict == verdict


def test_tables_end_where_they_are_told_to():
    cores = benchmark.over_cores(64)
    assert [row.cores for row in cores] == [16, 64]
    assert [row.messages for row in benchmark.over_messages(10_000)] == [10_000]
