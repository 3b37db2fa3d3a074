"""truenorth-like: one measured price holds everything."""

from hw_models.chip import load_chip
from hw_models.ledger import ledger, static_of
from tests.near import near

CHIP = load_chip("truenorth-like")
NEURONS = 4096 * 256


def test_structure_is_truenorths():
    width, height = CHIP.layout.routers
    assert width * height * CHIP.layout.cores_per_router == CHIP.layout.usable_cores == 4096
    assert (CHIP.core.neurons, CHIP.core.in_axons) == (256, 256)
    assert CHIP.layout.usable_cores * CHIP.core.neurons == NEURONS == 2**20
    assert CHIP.core.synapse_memory * 8 == 256 * 256
    assert (CHIP.core.synapse_memory + CHIP.core.state_memory) * 8 == 104_448


def test_the_price_is_power_over_synaptic_events():
    """72 mW at 20 Hz and 128 synapses; printed as 26 pJ. 68 mW at 11.58 Hz. 400 GSOPS/W."""
    (cost,) = CHIP.costs
    assert cost.energy.nominal == 26e-12
    assert cost.energy.nominal == near(72e-3 / (NEURONS * 20 * 128), rel=0.04)
    assert cost.energy.high == near(68e-3 / (NEURONS * 11.58 * 128), rel=2e-3)
    assert cost.energy.low == near(1 / 400e9)


def test_a_second_at_the_operating_point_takes_the_chips_power_and_nothing_more():
    counts = {
        ("net", "synop_add"): NEURONS * 20 * 128,
        ("net", "neuron_update"): NEURONS * 1000,
        ("net", "msg_spike"): NEURONS * 20,
        ("net", "flit_x"): NEURONS * 20 * 21,
    }
    found = ledger(counts, CHIP.costs, static=static_of(CHIP, 1, 1.0))
    assert found.total().nominal == near(72e-3, rel=0.04)
    assert {row.kind for row in found.included} == {"neuron_update", "msg_spike", "flit_x"}
    assert found.unpriced == ()
    assert CHIP.all_in and CHIP.static_power.high == 0


def test_a_step_is_a_tick_of_a_millisecond():
    assert CHIP.sync == "barrier"
    assert CHIP.timing.barrier_ps == 10**9
    assert CHIP.timing.synop_ps == CHIP.timing.update_ps == 7160


def test_a_port_carries_an_eighth_of_the_measured_spikes():
    """160 M spikes/s over four ports, both directions."""
    assert 8e12 / CHIP.links["chip_x"].flit_ps == near(160e6)
    assert CHIP.links["chip_y"] == CHIP.links["chip_x"]


def test_synapses_are_one_bit_and_spikes_binary():
    able = CHIP.abilities
    assert able.weight_bits == (1,)
    assert able.codings == ("binary",)
    assert (able.graded_bits, able.multicast, able.vector) == (0, False, False)
