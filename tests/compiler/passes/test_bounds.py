"""No mapping undercuts the bounds, whatever the sizes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.passes.bounds import bounds
from compiler.passes.pack import RESOURCES
from hw_models.chip import load_chip
from hw_models.errors import DoesNotFit
from tests.compiler.passes.steps import passes
from tests.small import model
from tests.tiny import TINY


def bounds_of(done):
    return bounds(
        done.graph, done.flow, done.nets, done.boarded, done.placed, done.tables, done.weigh,
        done.chip,
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    synapses=st.integers(128, 8192),
    state=st.integers(800, 8192),
    axons=st.integers(40, 600),
    neurons=st.integers(40, 600),
    usable=st.integers(4, 16),
)
def test_achieved_is_never_below_the_bound(synapses, state, axons, neurons, usable):
    chip = load_chip(
        "toy",
        {
            "core.synapse_memory": f"{synapses} B",
            "core.state_memory": f"{state} B",
            "core.in_axons": str(axons),
            "core.neurons": str(neurons),
            "layout.usable_cores": str(usable),
        },
    )
    try:
        done = passes(model(0, TINY)[0], chip)
    except DoesNotFit:
        return
    found = bounds_of(done)
    for what, row in found.items():
        if "achieved" in row:
            assert row["achieved"] >= row["bound"] >= 0, what
            if row["bound"]:
                assert row["ratio"] == row["achieved"] / row["bound"]
    by_resource = (*RESOURCES, "table entries")
    wanted = max(1, *(found[f"cores by {r}"]["bound"] for r in by_resource))
    assert found["cores"]["bound"] == wanted
    stored = sum(lin.n_pre * lin.n_post for lin in done.graph.linears)
    assert found["cores by synapse memory"]["bound"] == -(-stored // synapses)
    assert found["cores"]["achieved"] == done.packed.n_cores
    assert found["chips"]["achieved"] == len({done.placed.mesh.chip_of(c) for c in
                                              done.placed.physical})  # fmt: skip
    assert found["bits on chip links"]["achieved"] == round(done.boarded.link_bits)


@pytest.mark.parametrize("target", ["toy", "loihi-like"])
def test_the_small_model_is_mapped_within_a_small_factor_of_the_bound(target):
    found = bounds_of(passes(model(0)[0], load_chip(target)))
    assert found["cores"]["ratio"] <= 2.5
    assert found["bits x links of the mesh"]["ratio"] <= 2.5
