import copy
import json
import pickle
import tomllib
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_models.chip import chip_from_text, known_chips, load_chip
from hw_models.device import load_device
from hw_models.errors import BadInput
from hw_models.events import LINKS, MESSAGES

TOY = files("hw_models").joinpath("chips", "toy.toml").read_text()
UNCITED = {"name", "title", "node", "sync", "all_in", "covers", "per", "source", "grade", "note"}


def changed(tmp_path, old, new):
    """Toy with one piece of its text replaced."""
    assert TOY.count(old) >= 1
    path = tmp_path / "toy.toml"
    path.write_text(TOY.replace(old, new, 1))
    return path


def refusal(source, overrides=None):
    with pytest.raises(BadInput) as caught:
        load_chip(source, overrides)
    assert caught.value.exit_code == 3
    return caught.value.what


def number_keys(table, at=()):
    """Dotted keys of all numbers in a raw TOML table, by their look alone."""
    for name, child in table.items():
        path = (*at, name)
        if name in UNCITED:
            continue
        if isinstance(child, dict) and isinstance(child.get("value", {}), dict):
            yield from number_keys(child, path)
        else:
            yield ".".join(path)


@pytest.mark.parametrize("folder", ["chips", "devices"])
def test_every_shipped_number_has_a_source_and_a_grade(folder):
    load = load_chip if folder == "chips" else load_device
    seen = 0
    for entry in files("hw_models").joinpath(folder).iterdir():
        keys = set(number_keys(tomllib.loads(entry.read_text())))
        sources = load(entry.name.removesuffix(".toml")).sources
        assert keys == set(sources)
        for source, grade in sources.values():
            assert len(source) > 10
            assert grade in {"measured", "simulated", "derived", "assumed"}
        seen += 1
    assert seen >= 1


@pytest.mark.parametrize("name", known_chips())
def test_a_shipped_chip_loads_whole(name):
    chip = load_chip(name)
    assert chip.name == name
    assert chip.title.startswith(f"{name}: ")
    assert tuple(chip.links) == LINKS
    assert tuple(chip.formats) == MESSAGES
    assert pickle.loads(pickle.dumps(chip)) == chip
    assert chip_from_text(chip.text) == chip


def test_these_chips_are_shipped():
    assert {"toy", "loihi-like", "hala-point-like", "seneca-like", "loihi1", "truenorth-like"} <= {
        *known_chips()
    }


def test_toy_is_what_the_tests_rely_on():
    toy = load_chip("toy")
    assert (toy.core.synapse_memory, toy.core.state_memory) == (8192, 8192)
    assert toy.layout.chips == (8, 8)
    assert toy.layout.routers == (4, 4)
    assert toy.layout.cores_per_router * 16 == toy.layout.usable_cores == 16
    assert toy.core.token_slots == 2
    assert toy.links["x"].hop_ps == 4000
    assert toy.timing.barrier_ps == 100_000


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"1 pJ", low = "0.5 pJ"',
            '"5 pF", low = "0.5 pJ"',
            "toy.toml: cost.synop_add.energy: '5 pF' is not a number with one of fJ, pJ, nJ",
        ),
        ('energy = "2 pJ"', 'energy = "-2 pJ"', "toy.toml: cost.synop_shift.energy: '-2 pJ' is"),
        ('energy = "2 pJ"', "energy = 2", "toy.toml: cost.synop_shift.energy: 2 is not a number"),
        ('energy = "2 pJ"', "energy = nan", "cost.synop_shift.energy: nan is not a number"),
        ('low = "0.5 pJ"', 'low = "1.5 pJ"', "energy: '1 pJ' lies outside '1.5 pJ' .. '2 pJ'"),
        ('high = "2 pJ"', 'high = "0.9 pJ"', "energy: '1 pJ' lies outside '0.5 pJ' .. '0.9 pJ'"),
        ('high = "2 pJ"', 'hi = "2 pJ"', "energy.hi: unknown key; the nearest known one is high"),
        ("in_axons =", "in_axon =", "core.in_axon: unknown key; the nearest known one is in_axons"),
        ("in_axons =", "in_axon =", "core.in_axons: missing"),
        ("[timing]", "[timings]", "timings: unknown key; the nearest known one is timing"),
        ("row_ps =", "rows_ps =", "timing.rows_ps: unknown key; the nearest known one is row_ps"),
        ("neurons = 512", 'neurons = "512"', "core.neurons: '512' is not a whole number without"),
        ("neurons = 512", "neurons = 0", "core.neurons: 0 must be more than 0"),
        ('"8 KiB"  ', '"8 KB"', "core.synapse_memory: '8 KB' is not a number with one of B, KiB"),
        ('row_ps = "1 ns"', 'row_ps = "0.5 ps"', "timing.row_ps: '0.5 ps' is not a whole number"),
        ('hop_ps = "2 ns"', 'hop_ps = "0 ns"', "link.local.hop_ps: '0 ns' must be more than 0"),
        ("host   =", "hosts  =", "link.hosts: unknown link; the nearest known one is host"),
        ("host   =", "#", "link.host: missing; a chip has local, x, y, chip_x, chip_y, host"),
        ("marker  =", "#", "format.marker: missing; a chip has spike, partial, value, marker"),
        ("usable_cores = 16", "usable_cores = 17", "layout.usable_cores: 17 of only 16 cores"),
        ("chips = [8, 8]", "chips = [8]", "layout.chips.1: missing"),
        ("multicast = true", 'multicast = "yes"', "abilities.multicast: 'yes': "),
        ('"graded"]', '"grated"]', "abilities.codings.4: 'grated': "),
        ('sync = "dataflow"', 'sync = "clock"', "sync: 'clock': "),
        (
            '["synop_mac"]',
            '["synop_mak"]',
            "no event kind 'synop_mak'; the nearest known one is synop_mac",
        ),
        (
            '["synop_mac"]',
            '["synop_add"]',
            "synop_mac.covers: synop_add is covered by cost.synop_add already",
        ),
        ('["synop_mac"]', "[]", "cost.synop_mac.covers: empty"),
        (
            '["synop_mac"]',
            '["synop_mac"], per = ["encode"]',
            "cost.synop_mac.per: 'encode' is not among",
        ),
        (
            '"3 pJ" }',
            '"3 pJ", grade = "guessed" }',
            "energy.grade: 'guessed' is not one of measured, simulated, derived, assumed",
        ),
        (
            'grade = "assumed"\nsynapse_memory',
            "synapse_memory",
            "core.synapse_memory.grade: missing",
        ),
        (
            'source = "invented for tests"\ngrade = "assumed"\nsynapse_memory',
            'grade = "assumed"\nsynapse_memory',
            "synapse_memory.source: missing; every number says where it comes from",
        ),
        ('title = "toy', 'static = "1 W"\ntitle = "toy', "static.source: missing"),
        ("[core]", "all_in = true\n[core]", "static_power.all_in: unknown key"),
        (
            'sync = "dataflow"',
            'sync = "dataflow"\nall_in = true',
            "all_in: the one cost of an all-in profile holds everything",
        ),
        ("[core]", "[core", "toy.toml: not a TOML file"),
    ],
)
def test_a_mistake_is_refused_by_file_key_and_meaning(tmp_path, old, new, said):
    what = refusal(changed(tmp_path, old, new))
    assert what.startswith("toy.toml: ")
    assert said in what


def test_barrier_needs_its_time(tmp_path):
    path = changed(tmp_path, 'barrier_ps = "100 ns"', "")
    assert load_chip(path).timing.barrier_ps == 0
    assert "timing.barrier_ps: missing" in refusal(path, {"sync": "barrier"})


def test_an_all_in_profile_is_one_cost_without_static_power(tmp_path):
    one = TOY[: TOY.index("# host_bit has no price")] + (
        '[cost.event]\ncovers = ["synop_add", "weight_fetch"]\nenergy = "26 pJ"\n'
        'source = "Merolla 2014"\ngrade = "derived"\n'
    )
    one = one.replace('sync = "dataflow"', 'sync = "dataflow"\nall_in = true')
    path = tmp_path / "truenorth.toml"
    path.write_text(one)
    assert "all_in: " in refusal(path)
    path.write_text(one.replace('"10 mW"', '"0 W"'))
    chip = load_chip(path)
    assert chip.all_in
    assert chip.costs[0].per == ("synop_add",)
    path.write_text(
        one.replace('"10 mW"', '"0 W"') + '[cost.more]\ncovers = ["flit_x"]\nenergy = "1 pJ"\n'
        'source = "Merolla 2014"\ngrade = "derived"\n'
    )
    assert "all_in: " in refusal(path)


def test_a_wrong_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(BadInput) as caught:
        load_chip("loihi-lik")
    assert caught.value.exit_code == 3
    assert "'loihi-lik'" in str(caught.value)
    assert "the nearest known one is loihi-like" in str(caught.value)
    assert "toy" in caught.value.fix


def test_a_missing_file_is_named(tmp_path):
    assert "no-such.toml" in refusal(tmp_path / "no-such.toml")
    assert "cannot read" in refusal(tmp_path)


def test_a_copy_by_path_is_the_same_chip(tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(TOY)
    assert load_chip(path) == load_chip(str(path)) == load_chip("toy")


@pytest.mark.parametrize("text", ["256KiB", "256 KiB", '"256 KiB"', "262144 B"])
def test_an_override_changes_one_number_and_its_source(text):
    plain, other = load_chip("loihi-like"), load_chip("loihi-like", {"core.synapse_memory": text})
    assert plain.core.synapse_memory == 131_072
    assert other.core.synapse_memory == 262_144
    assert other.sources["core.synapse_memory"] == ("set for this run", "assumed")
    assert other.text_hash != plain.text_hash
    assert other.core.neurons == plain.core.neurons
    assert load_chip("loihi-like") == plain
    assert chip_from_text(other.text, other.name) == other


def test_overrides_reach_every_sort_of_value():
    chip = load_chip(
        "loihi-like",
        {
            "static_power": "0.5W",
            "cost.synop.energy": "10 pJ",
            "cost.neuron.energy.low": "60 pJ",
            "core.lanes": "4",
            "layout.chips": "[2, 2]",
            "abilities.row_buffer": "true",
            "sync": "barrier",
        },
    )
    costs = {c.key: c for c in chip.costs}
    assert (chip.static_power.low, chip.static_power.high) == (0.5, 0.5)
    assert (costs["synop"].energy.low, costs["synop"].energy.high) == (1e-11, 1e-11)
    assert costs["synop"].grade == "assumed"
    assert (costs["neuron"].energy.low, costs["neuron"].energy.nominal) == (6e-11, 8.1e-11)
    assert costs["neuron"].grade == "assumed"
    assert (chip.core.lanes, chip.layout.chips) == (4, (2, 2))
    assert (chip.abilities.row_buffer, chip.sync) == (True, "barrier")


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        (
            "core.synapse_memry",
            "1 KiB",
            "synapse_memry: unknown key; the nearest known one is synapse_memory",
        ),
        ("cor.lanes", "1", "cor: unknown key; the nearest known one is core"),
        ("core.lanes", "-1", "core.lanes: -1 is not between"),
        ("core.lanes", "1\nx = 2", "core.lanes: '1\\nx = 2' is not a whole number"),
        ("core.synapse_memory", "5 pF", "synapse_memory: '5 pF' is not a number with one of B"),
        ("name.x", "1", "--set name.x: name is a value, not a table"),
        ("", "1", "unknown key"),
        ("core", "5", "core: 5: "),
    ],
)
def test_a_wrong_override_is_refused_and_named(key, text, said):
    what = refusal("loihi-like", {key: text})
    assert said in what
    assert f"--set {key}" in what


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "low", "source", "energy", "x"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_bad_input_or_a_chip_whose_numbers_are_cited(data):
    raw = copy.deepcopy(tomllib.loads(TOY))
    table = raw
    while True:
        name = data.draw(st.sampled_from(sorted(table)))
        if not isinstance(table[name], dict) or data.draw(st.integers(0, 3)) == 0:
            break
        table = table[name]
    table[name] = data.draw(JUNK)
    try:
        chip = chip_from_text(json.dumps(raw))
    except BadInput as e:
        assert str(e)
        return
    assert "static_power" in chip.sources
    assert all(f"cost.{c.key}.energy" in chip.sources for c in chip.costs)
    assert chip_from_text(chip.text).costs == chip.costs
