"""loihi1 charges what SANA-FE charges, as far as event kinds can say it."""

from hw_models.chip import load_chip
from hw_models.ledger import ledger
from tests.near import near

CHIP = load_chip("loihi1")

# SANA-FE, arch/loihi.yaml
SANA_FE_PJ = {
    "dense": 35.5,
    "conv": 24.0,
    "access": 51.2,
    "update": 21.6,
    "spike_out": 69.3,
    "axon_out": 111.0,
    "hop_x": 3.0,
    "hop_y": 4.2,
}


def test_structure_is_sana_fes():
    assert CHIP.layout.routers == (8, 4)
    assert CHIP.layout.cores_per_router == 4
    assert CHIP.layout.usable_cores == 8 * 4 * 4 == 128
    assert CHIP.core.neurons == 1024
    assert (CHIP.core.in_axons, CHIP.core.out_axons) == (4096, 4096)
    assert CHIP.core.synapse_memory == 16_384 * 64 // 8


def test_times_are_sana_fes():
    assert [CHIP.links[name].hop_ps for name in ("x", "y")] == [4100, 6500]
    assert CHIP.links["local"].flit_ps == 5100
    assert CHIP.timing.axon_ps == 16_000
    assert (CHIP.timing.synop_ps, CHIP.core.lanes) == (3800, 1)
    assert CHIP.timing.update_ps == 6000 + 3700
    assert CHIP.timing.barrier_ps == 1_800_000
    assert (CHIP.timing.row_ps, CHIP.timing.encode_ps, CHIP.links["local"].hop_ps) == (0, 0, 1)


def test_a_tile_passes_as_many_spikes_as_davies_gives():
    for name in ("x", "y"):
        assert 1e12 / CHIP.links[name].flit_ps == near(3.44e9, rel=2e-3)


def test_state_memory_is_what_synapses_and_routes_leave_of_208_kb():
    assert CHIP.core.state_memory == (208 - 128 - 20) * 1024


def test_a_spike_is_one_flit():
    spike = CHIP.formats["spike"]
    assert spike.header_bits + spike.payload_bits == CHIP.links["x"].flit_bits == 32


def test_a_step_costs_what_sana_fe_charges():
    """Step of three layers of 512 on 12 cores, all neurons updated, dense synapses.

    SANA-FE gives 157,696 synaptic events, 1,232 messages, 1,536 updates and 462 firing
    neurons: 5.598208 uJ of synapses, 0.1118208 + 0.0320166 uJ of soma, 0.136752 uJ of axons.
    A spike that leaves as one message is charged once, as there.
    """
    counts = {
        ("net", "synop_add"): 157_696,
        ("net", "weight_fetch"): 157_696,
        ("net", "neuron_update"): 1_536,
        ("net", "msg_spike"): 462,
        ("net", "delivered_spike"): 1_232,
        ("net", "axon_lookup"): 1_232,
        ("net", "flit_local"): 462,
        ("net", "flit_x"): 1_000,
        ("net", "flit_y"): 500,
    }
    found = ledger(counts, CHIP.costs)
    by_kind = {row.kind: row.joules.nominal for row in found.priced}
    assert by_kind["synop_add"] == near(5.598208e-6)
    assert by_kind["neuron_update"] + by_kind["msg_spike"] == near(1.438374e-7, rel=1e-6)
    assert by_kind["delivered_spike"] == near(1.36752e-7)
    assert by_kind["flit_x"] == near(1000 * SANA_FE_PJ["hop_x"] * 1e-12)
    assert by_kind["flit_y"] == near(500 * SANA_FE_PJ["hop_y"] * 1e-12)
    assert by_kind["flit_local"] == 0
    assert found.unpriced == ()


def test_intervals_hold_what_one_event_kind_cannot_tell_apart():
    energy = {cost.key: cost.energy for cost in CHIP.costs}
    pj = SANA_FE_PJ
    assert energy["neuron"].low == near(pj["access"] * 1e-12)
    assert energy["neuron"].high == near((pj["access"] + pj["update"]) * 1e-12)
    assert energy["synop"].low == near(pj["conv"] * 1e-12)
    assert energy["synop"].high == near(pj["dense"] * 1e-12)


def test_static_power_is_that_of_a_32_chip_board():
    assert CHIP.static_power.nominal == near(3.34 / 32, rel=1e-3)


def test_spikes_are_binary_and_cores_only_integrate_and_fire():
    able = CHIP.abilities
    assert able.codings == ("binary",)
    assert (able.graded_bits, able.multicast, able.vector) == (0, False, False)
    assert able.weight_bits == tuple(range(1, 10))
    assert CHIP.sync == "barrier"
