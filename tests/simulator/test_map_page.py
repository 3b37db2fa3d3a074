"""The page is one file that asks for nothing, holds what the floorplan says, and runs no name."""

import base64
import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from compiler.pipeline import compile_model
from hw_models.errors import BadInput
from simulator.map_data import floorplan
from simulator.map_page import columns, packed, render_map
from simulator.map_summary import link_words, summary
from tests.tiny import tiny

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u2028{{7*7}}"
MEBI = 1 << 20


class Page(HTMLParser):
    """Tags with their attributes, and the text inside every element with an id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.by_id, self.at = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.at = dict(attrs).get("id")

    def handle_data(self, data):
        if self.at:
            self.by_id[self.at] = self.by_id.get(self.at, "") + data

    def array(self, name):
        """A column as the script unpacks it."""
        kind, start, size = json.loads(self.by_id["head"])["columns"][name]
        block = zlib.decompress(base64.b64decode(self.by_id["data"]))
        return np.frombuffer(block, "<" + kind, size, start)


def written(plan, path):
    render_map(plan, summary(plan), path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def plan():
    return floorplan(tiny())


@pytest.fixture(scope="module")
def text(plan, tmp_path_factory):
    return written(plan, tmp_path_factory.mktemp("map") / "map.html")


def test_the_page_asks_for_nothing(text):
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|fetch\(|import\(|XMLHttp|eval\(", text)
    assert {name for _, found in page.tags for name in found} & {"src", "href", "action"} == set()
    policy = next(a["content"] for _, a in page.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none';")


def test_the_script_gets_the_arrays_of_the_floorplan(plan, text):
    page = Page(text)
    for name, wanted in columns(plan).items():
        found = page.array(name)
        exact = wanted.astype(np.float32) if wanted.dtype.kind == "f" else wanted
        assert found.tolist() == exact.tolist(), name
    head = json.loads(page.by_id["head"])
    short = json.loads(page.array("task_name").tobytes())
    ops = [head["ops"][op] for op in page.array("task_op")]
    names = [s.replace("\0", op) if s[0] == "\0" else s for s, op in zip(short, ops, strict=True)]
    assert tuple(names) == plan.names


@pytest.mark.parametrize("values", [[0, 255], [0, 256], [0, 65536], [-1, 7], [0, 1 << 40]])
def test_arrays_are_packed_without_loss(values):
    directory, data = packed({"odd": np.array([3]), "some": np.array(values)})
    kind, start, size = directory["some"]
    block = zlib.decompress(base64.b64decode(data))
    assert np.frombuffer(block, "<" + kind, size, start).tolist() == values
    assert start % np.dtype(kind).itemsize == 0


def test_hostile_names_stay_names(plan, tmp_path):
    program = plan.program
    named = replace(
        program,
        graph=replace(program.graph, model=HOSTILE),
        ops=(HOSTILE, *program.ops[1:]),
        statistics=dict(program.statistics) | {"origin": HOSTILE},
        bounds=dict(program.bounds) | {HOSTILE: {"achieved": 2, "bound": 1, "ratio": 2.0}},
    )
    names = (HOSTILE, *plan.names[1:])
    hostile = replace(plan, program=named, names=names, kinds=(HOSTILE, *plan.kinds[1:]))
    page = Page(written(hostile, tmp_path / "map.html"))
    plain = Page(written(plan, tmp_path / "plain.html"))
    rows = {"tr": 1, "td": 4}  # of the one bound more
    counts = [
        {tag: sum(t == tag for t, _ in p.tags) for tag, _ in page.tags} for p in (page, plain)
    ]
    assert counts[0] == {tag: n + rows.get(tag, 0) for tag, n in counts[1].items()}
    assert not any("onerror" in found for _, found in page.tags)
    head = json.loads(page.by_id["head"])
    assert head["ops"][0] == head["kinds"][0] == HOSTILE
    assert json.loads(page.array("task_name").tobytes())[0] == HOSTILE


def test_the_script_writes_no_markup(root):
    """Names reach the page as text nodes: nothing parses them."""
    scripts = [p.read_text() for p in (root / "simulator/templates").glob("map*.js")]
    assert len(scripts) > 1
    for script in scripts:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_nothing(plan, tmp_path):
    with pytest.raises(BadInput) as caught:
        written(plan, tmp_path / "nowhere" / "map.html")
    assert "nowhere" in caught.value.where
    assert list(tmp_path.iterdir()) == []


PROBE = """
const head = JSON.parse(input.head);
unpack(input.data, head.columns).then((arrays) => {
  const model = modelOf(head, arrays), board = boardOf(head.mesh);
  const centre = ([x, y, w, h]) => [x + w / 2, y + h / 2];
  const cores = Array.from(model.core_number), links = Array.from(model.link_number);
  const under = (box, inset) => board.at(...centre(box), inset);
  console.log(JSON.stringify({
    cores: [0, 0.12].map((inset) => (
      cores.slice(0, -1).map((c) => under(board.coreBox(c, inset), inset).core)
    )),
    host: under(board.coreBox(cores.at(-1), 0), 0).host,
    links: input.links.map((l) => under(board.linkBox(board.linkOf(l), 0.5, 0.12), 0.12).link),
    ends: input.links.map(board.linkOf).map((l) => [l.chip ?? [], l.router ?? [], l.next ?? []]),
    found: input.words.map((word) => Array.from(model.search(word).flags)),
    senders: cores.map((_, i) => model.sendersTo(i)),
    users: links.map((l) => model.usersOf(l)),
    buckets: modesOf(model).map((mode) => Array.from(paint(model, mode, "light").bucket)),
  }));
});
"""
WORDS = ("gla", "layers.1.gate_up", "stripe 1", "LAYERS.0.", "no such thing")


def all_links(mesh):
    """Those of the whole board that exist, but for those from cores into their routers."""
    return [n for n in range(mesh.n_cores, mesh.n_links) if mesh.links.kind[n] >= 0]


@pytest.fixture(scope="module")
def probed(root, text, tmp_path_factory):
    """What the page's own script makes of it."""
    if shutil.which("node") is None:
        pytest.skip("no node here to run the page's script")
    page, templates = Page(text), root / "simulator/templates"
    given = {name: page.by_id[name] for name in ("head", "data")}
    given |= {"words": WORDS, "links": all_links(tiny().mesh)}
    parts = [f"const input = {json.dumps(given)};"]
    parts += [(templates / f"map.{p}.js").read_text() for p in ("data", "board", "colour")]
    script = tmp_path_factory.mktemp("probe") / "probe.js"
    script.write_text("\n".join([*parts, PROBE]))
    done = subprocess.run(["node", script], capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


def test_the_pointer_finds_every_core_and_link_where_it_is_drawn(plan, probed):
    numbers = plan.cores.number[:-1].tolist()
    assert probed["cores"] == [numbers, numbers]
    assert probed["host"] is True
    assert probed["links"] == all_links(plan.program.mesh)


def test_the_script_and_the_summary_name_links_alike(plan, probed):
    mesh = plan.program.mesh
    place = "({}, {})".format
    for number, (chip, router, after) in zip(all_links(mesh), probed["ends"], strict=True):
        words = link_words(mesh, number)
        if not chip:
            assert "host" in words
        elif router:
            assert words == f"chip {place(*chip)}, router {place(*router)} to {place(*after)}"
        else:
            assert words == f"chip {place(*chip)} to chip {place(*after)}"


def test_the_script_finds_operations_kinds_and_tasks(plan, probed):
    wanted = (
        lambda name, op: op.endswith(".gla"),
        lambda name, op: op == "layers.1.gate_up",
        lambda name, op: "stripe 1" in name,
        lambda name, op: "layers.0." in name,
        lambda name, op: False,
    )
    for found, belongs in zip(probed["found"], wanted, strict=True):
        for i, flag in enumerate(found):
            mine = range(plan.first_task[i], plan.first_task[i + 1])
            ops = [plan.program.ops[plan.tasks["op"][t]] for t in mine]
            names = [plan.names[t] for t in mine]
            assert flag == any(map(belongs, names, ops))


def test_the_script_follows_messages_backwards(plan, probed):
    pairs = list(zip(plan.reached.left.tolist(), plan.reached.right.tolist(), strict=True))
    assert probed["senders"] == [
        [a for a, b in pairs if b == i] for i in range(plan.cores.number.size)
    ]
    ways = list(zip(plan.ways.left.tolist(), plan.ways.right.tolist(), strict=True))
    assert probed["users"] == [[a for a, b in ways if b == n] for n in plan.links.number.tolist()]


def test_cores_of_one_colour_hold_the_same(plan, probed):
    """Of the ways to colour: the first three by name, then six that are linear up to the most."""
    layers, tiles, work, *rest = probed["buckets"]
    none = len(plan.program.ops)
    for bucket, op in ((tiles, plan.cores.tile_op), (work, plan.cores.work_op)):
        kinds = [(*plan.kinds, "")[min(i, none)] for i in op[:-1]]
        assert len(set(zip(bucket, kinds, strict=True))) == len(set(kinds)) == len(set(bucket))
    assert len(set(layers)) == len({plan.layers[i] for i in plan.cores.tile_op[:-1] if i < none})
    for bucket, used in zip(rest[:6], plan.cores.used[:, :-1], strict=True):
        top = [min(31, int(32 * float(u) / float(used.max()))) if u else 32 for u in used]
        assert bucket == top


@pytest.mark.slow
def test_the_page_of_seven_billion_parameters_is_small(tmp_path):
    program = compile_model(preset="spikingbrain-7b")
    size = len(written(floorplan(program), tmp_path / "map.html").encode())
    assert program.n_cores > 50_000
    assert MEBI < size < 8 * MEBI
