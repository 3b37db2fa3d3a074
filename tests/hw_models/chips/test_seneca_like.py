"""seneca-like: every price is a sum of published instructions."""

import pytest

from hw_models.chip import load_chip
from tests.hw_models import published as p
from tests.near import near

CHIP = load_chip("seneca-like")
COSTS = {cost.key: cost for cost in CHIP.costs}

WEIGHT = p.LOAD / 2  # 8 of 16 bits
SUM = p.SENECA_SYNOP - WEIGHT
WIDE_SUM = 2 * (p.LOAD + p.ADD + p.STORE)  # 32 bits, at every event
NARROW_SUM = p.TWO_INT8 / 2
HANDLED = 10 * p.CONTROLLER + 2 * p.CONTROLLER_MEMORY

PRICES = {  # pJ: low, nominal, high
    "weight": (WEIGHT, WEIGHT, WEIGHT),
    "synop_add": (NARROW_SUM, SUM, WIDE_SUM),
    "synop_shift": (NARROW_SUM + p.SHIFT, SUM + p.SHIFT, WIDE_SUM + p.SHIFT),
    "synop_mac": (NARROW_SUM + p.MULTIPLY, SUM + p.MULTIPLY, WIDE_SUM + p.MULTIPLY),
    "group_mac": (6 * p.ADD, 6 * p.ADD, 6 * p.CONTROLLER),
    "partial_add": (4 * p.ADD, 4 * p.ADD, 4 * p.CONTROLLER),
    "acc_access": (2 * p.LOAD, p.LOAD + p.STORE, 2 * p.STORE),
    "axon_lookup": (HANDLED / 3, HANDLED, HANDLED * 3),
    "receive": (HANDLED / 3, HANDLED, HANDLED * 3),
    "inject": (p.CAPTURE + p.EVENT,) * 3,
    "flit": (p.NETWORK,) * 3,
    "neuron": (
        p.LOAD + p.COMPARE + p.STORE + p.CAPTURE,
        p.LOAD + p.COMPARE + p.STORE + p.CAPTURE,
        3 * p.CONTROLLER + 2 * p.CONTROLLER_MEMORY + p.CAPTURE,
    ),
    "encode": (10 * p.ADD, 10 * p.ADD, 10 * p.CONTROLLER),
    "vec_add": (p.ADD, p.ADD, p.CONTROLLER),
    "vec_mul": (p.MULTIPLY, p.MULTIPLY, p.CONTROLLER),
    "vec_exp": (10 * p.ADD, 10 * p.ADD, 10 * p.CONTROLLER),
    "vec_div": (8 * p.ADD, 8 * p.ADD, 8 * p.CONTROLLER),
    "vec_sqrt": (8 * p.ADD, 8 * p.ADD, 8 * p.CONTROLLER),
    "vec_read": (p.LOAD, 2 * p.LOAD, p.CONTROLLER + p.CONTROLLER_MEMORY),
    "vec_write": (p.STORE, 2 * p.STORE, p.CONTROLLER + p.CONTROLLER_MEMORY),
    "state_read": (p.LOAD / 2,) * 3,
    "state_write": (p.STORE / 2,) * 3,
}

OURS = {"axon_lookup", "receive", "encode", "vec_exp", "vec_div", "vec_sqrt"}
"""Prices whose number of instructions is our choice."""


def test_every_price_is_listed_here():
    assert set(COSTS) == set(PRICES) | {"flit_chip", "host_bit"}


@pytest.mark.parametrize("key", PRICES)
def test_a_price_is_its_instructions(key):
    energy = COSTS[key].energy
    got = (energy.low * 1e12, energy.nominal * 1e12, energy.high * 1e12)
    assert got == near(PRICES[key], rel=1e-3)
    assert "SENECA, Tang et al. 2023" in COSTS[key].source
    assert COSTS[key].grade == ("assumed" if key in OURS else "derived")


def test_weight_and_addition_are_the_published_synaptic_operation():
    energy = COSTS["weight"].energy.nominal + COSTS["synop_add"].energy.nominal
    assert energy == near(2.8e-12)


def test_static_power_is_the_leakage_of_the_memories():
    """2 Mbit of data and 256 Kbit of instructions at 10 pW, 8 x 64 x 16 bit of registers at 600."""
    core = (2 * 2**20 + 256 * 2**10) * 10e-12 + 8 * 64 * 16 * 600e-12
    assert CHIP.layout.usable_cores == 64
    assert CHIP.static_power.low == CHIP.static_power.nominal == near(64 * core, rel=5e-3)
    assert CHIP.static_power.high == near(3 * 64 * core, rel=5e-3)


def test_memories_share_the_data_memory_of_2_mbit():
    assert CHIP.core.synapse_memory + CHIP.core.state_memory == 2 * 2**20 // 8


def test_one_instruction_takes_a_cycle_of_the_memory_on_eight_elements():
    cycle_ps, lanes = 2000, 8
    assert CHIP.core.lanes == lanes
    assert CHIP.timing.vector_ps == cycle_ps // lanes
    assert CHIP.timing.synop_ps == 2 * cycle_ps
    assert CHIP.timing.axon_ps == 10 * cycle_ps
    assert CHIP.timing.update_ps == 4 * cycle_ps // lanes
    assert CHIP.timing.encode_ps == 10 * cycle_ps // lanes


def test_a_router_takes_a_32_bit_event_per_cycle():
    cycle_ps = 2000
    for name in ("local", "x", "y"):
        link = CHIP.links[name]
        assert (link.flit_bits, link.flit_ps, link.hop_ps) == (32, cycle_ps, 2 * cycle_ps)
    assert (CHIP.timing.value_ps, CHIP.timing.partial_ps) == (cycle_ps, 64 // 32 * cycle_ps)
