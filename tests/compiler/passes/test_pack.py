"""Units share cores within every limit of the chip, and the verifier adds up for itself."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.passes.pack import RESOURCES, _check_alone, limits, needs, pack, verify
from compiler.tasks import Dataflow, Net, Task, Unit
from hw_models.chip import load_chip
from hw_models.errors import Bug, DoesNotFit

CHIP = load_chip("toy")


def moved(packed, unit, core):
    cores = list(packed.core_of)
    cores[unit] = core
    return replace(packed, core_of=tuple(cores))


def test_an_overfull_core(small):
    """A tile of more than half a core beside another such tile."""
    verify(small.packed, small.flow, small.chip)
    half = small.chip.core.synapse_memory // 2
    large = [i for i, u in enumerate(small.flow.units) if u.synapse_bytes > half]
    assert len(large) > 10
    for unit, other in zip(large, large[5:], strict=False):
        neighbour = small.packed.core_of[other]
        with pytest.raises(Bug, match=r"holds|unnumbered|two tiles"):
            verify(moved(small.packed, unit, neighbour), small.flow, small.chip)


def test_two_tiles_of_one_linear_on_one_core(small):
    by_op = {}
    for unit, core in enumerate(small.packed.core_of):
        if small.flow.units[unit].synapse_bytes:
            by_op.setdefault(small.flow.units[unit].op, []).append((unit, core))
    large = load_chip(
        "toy", {"core.synapse_memory": "1 MiB", "core.state_memory": "1 MiB",
                "core.neurons": "99999", "core.in_axons": "99999"},
    )  # fmt: skip
    several = [tiles for tiles in by_op.values() if len(tiles) > 1]
    assert len(several) > 5
    for tiles in several:
        (_, core), (unit, _) = tiles[:2]
        with pytest.raises(Bug, match=rf"two tiles of .* on core {core}"):
            verify(moved(small.packed, unit, core), small.flow, large)


def test_host_and_cores_mixed_up(small):
    for unit in range(len(small.flow.units)):
        wrong = 0 if small.packed.core_of[unit] < 0 else -1
        with pytest.raises(Bug, match="host and core"):
            verify(moved(small.packed, unit, wrong), small.flow, small.chip)


def test_more_trees_than_may_begin_at_a_core(small):
    few = load_chip("toy", {"core.out_axons": "3"})
    with pytest.raises(Bug, match=r"\d+ trees begin at core \d+"):
        verify(small.packed, small.flow, few)


def test_a_core_that_nobody_uses(small):
    with pytest.raises(Bug, match="unnumbered"):
        verify(replace(small.packed, block_of=(*small.packed.block_of, 0)), small.flow, small.chip)


@pytest.mark.parametrize(
    ("key", "value", "resource"),
    [
        ("core.synapse_memory", "2 KiB", "synapse memory"),
        ("core.state_memory", "3 KiB", "state memory"),
        ("core.neurons", "40", "neurons"),
        ("core.in_axons", "100", "in-axons"),
        ("core.out_axons", "1", "out-axons"),
    ],
)
def test_a_unit_beyond_a_core_names_the_resource(small, key, value, resource):
    chip = load_chip("toy", {key: value})
    with pytest.raises(DoesNotFit, match=rf"of {resource}, a core of toy has") as caught:
        pack(small.flow, chip)
    assert caught.value.where in {u.name for u in small.flow.units}
    assert caught.value.fix.startswith(f"--set {key}=")
    _, enough = caught.value.fix.split(",")[0].split("=")
    _check_alone_with(small, {key: enough}, caught.value.where)


def _check_alone_with(small, overrides, unit):
    """With what the error asked for, the unit fits."""
    i = [u.name for u in small.flow.units].index(unit)
    chip = load_chip("toy", overrides)
    _check_alone(small.flow.units[i], needs(small.flow)[i], limits(chip), chip)


needed = st.tuples(
    st.sampled_from([0, 0, 500, 4000, 8192]),
    st.integers(0, 8192),
    st.integers(0, 512),
    st.integers(0, 512),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(needed, st.integers(0, 5)), min_size=1, max_size=60))
def test_random_units_fit_and_share_no_core_with_their_own_linear(rows):
    tasks = tuple(Task(f"t{i}", f"op{op}", 0) for i, (_, op) in enumerate(rows))
    units = tuple(
        Unit(f"u{i}", f"op{op}", (i,), *need) for i, (need, op) in enumerate(rows)
    )  # fmt: skip
    nets = tuple(Net(i, "value", 0, 1, (0,)) for i in range(len(rows)))
    flow = Dataflow(tasks, units, nets)
    packed = pack(flow, CHIP)
    verify(packed, flow, CHIP)
    used = Counter()
    tiles = Counter()
    for unit, core in zip(units, packed.core_of, strict=True):
        for name in ("synapse_bytes", "state_bytes", "neurons", "in_axons"):
            used[core, name] += getattr(unit, name)
        used[core, "out"] += 1
        tiles[core, unit.op] += unit.synapse_bytes > 0
    most = dict(zip(("synapse_bytes", "state_bytes", "neurons", "in_axons", "out"), limits(CHIP),
                    strict=True))  # fmt: skip
    assert all(n <= most[name] for (_, name), n in used.items())
    assert max(tiles.values()) <= 1
    assert set(packed.core_of) == set(range(packed.n_cores))


def test_needs_count_the_nets_a_unit_sends(small):
    sends = Counter(net.source for net in small.flow.nets)
    for unit, need in zip(small.flow.units, needs(small.flow), strict=True):
        assert need[RESOURCES.index("out-axons")] == sum(sends[t] for t in unit.tasks)
