"""hala-point-like gives back the systems it was calibrated on."""

from hw_models.chip import load_chip
from hw_models.ledger import ledger, static_of
from tests.hw_models import published as p
from tests.near import near

CHIP = load_chip("hala-point-like")
COSTS = {cost.key: cost for cost in CHIP.costs}
SYNOP = COSTS["synop"].energy


def joules(chips, synops, seconds):
    """Ledger of one synop count on so many chips: what a report would print."""
    counts = {("linear", "synop_mac"): round(synops)}
    return ledger(counts, CHIP.costs, static=static_of(CHIP, chips, seconds)).total()


def test_size_is_hala_points():
    width, height = CHIP.layout.chips
    routers = CHIP.layout.routers[0] * CHIP.layout.routers[1]
    assert width * height == p.HALA_CHIPS
    assert CHIP.layout.usable_cores == 122
    assert width * height * CHIP.layout.usable_cores == p.HALA_CORES
    assert routers * CHIP.layout.cores_per_router == 128


def test_spikingbrain_7b_fits_at_eight_bits():
    """6.525 G weights of linears and 0.545 G of the head (Qwen2.5-7B's shape)."""
    room = p.HALA_CORES * CHIP.core.synapse_memory
    assert 7.07e9 < room == near(18.4e9, rel=0.01)
    assert 8 in CHIP.abilities.weight_bits


def test_synop_prices_are_the_systems_less_their_static_power():
    hala = [(p.HALA_W - p.HALA_CHIPS * static) / p.HALA_SYNOPS_PER_S for static in (0.70, 0.525)]
    abreu = (p.PREFILL_J - p.ABREU_CHIPS * 0.70 / p.PREFILL_PER_S) / p.ABREU_WEIGHTS
    assert SYNOP.nominal == near(hala[0], rel=2e-3)
    assert SYNOP.high == near(hala[1], rel=2e-3)
    assert SYNOP.low == near(abreu, rel=2e-3)
    assert COSTS["synop"].grade == "derived"


def test_no_all_in_figure_is_used_beside_static_power():
    assert SYNOP.high < p.HALA_W / p.HALA_SYNOPS_PER_S == near(6.84e-12, rel=1e-3)
    assert SYNOP.high < p.PREFILL_J / p.ABREU_WEIGHTS == near(10e-12, rel=1e-3)
    assert not CHIP.all_in


def test_all_cores_at_full_rate_draw_hala_points_power():
    second = joules(p.HALA_CHIPS, p.HALA_SYNOPS_PER_S, 1.0)
    assert second.nominal == near(p.HALA_W, rel=1e-3)
    assert second.nominal / p.HALA_CHIPS == near(2.26, rel=1e-2)


def test_static_power_is_that_of_the_measured_decode():
    power = p.DECODE_J * p.DECODE_PER_S
    assert CHIP.static_power.nominal == near(power / p.ABREU_CHIPS, rel=1e-2)
    assert CHIP.static_power.low == near(power / p.ABREU_BOARD, rel=1e-2)
    assert CHIP.static_power.high == near(16.05 / 16, rel=1e-2)


def test_abreus_model_is_predicted():
    """Decode to 1 %; prefill, of which only the low end was fitted, within the interval."""
    decode = joules(p.ABREU_CHIPS, p.ABREU_WEIGHTS, 1 / p.DECODE_PER_S)
    prefill = joules(p.ABREU_CHIPS, p.ABREU_WEIGHTS, 1 / p.PREFILL_PER_S)
    assert decode.nominal == near(p.DECODE_J, rel=0.01)
    assert prefill.low < p.PREFILL_J < prefill.high
    assert prefill.nominal == near(p.PREFILL_J, rel=0.2)


def test_rates_are_hala_points():
    synops = CHIP.core.lanes / (CHIP.timing.synop_ps * 1e-12)
    assert synops * p.HALA_CORES == near(p.HALA_SYNOPS_PER_S, rel=0.01)
    vectors = 1 / (CHIP.timing.vector_ps * 1e-12)
    assert vectors * p.HALA_CORES == near(p.HALA_NEURON_OPS_PER_S, rel=0.01)
    local, chip = CHIP.links["local"], CHIP.links["chip_x"]
    assert p.HALA_CORES * local.flit_bits / 8 / (local.flit_ps * 1e-12) == near(
        p.HALA_CORE_BYTES_PER_S, rel=0.01
    )
    assert 4 * p.HALA_CHIPS * chip.flit_bits / 8 / (chip.flit_ps * 1e-12) == near(
        p.HALA_CHIP_BYTES_PER_S, rel=0.01
    )
    assert CHIP.links["chip_y"] == chip


def test_core_times_are_loihi_1s_by_intels_factors():
    """Davies et al. 2018, Table 2: 3.5 ns per synaptic operation, 8.4 ns per neuron update."""
    t = CHIP.timing
    assert {t.axon_ps, t.row_ps, t.partial_ps, t.value_ps} == {3500 / 5}
    assert {t.update_ps, t.encode_ps} == {8400 / 2}


def test_a_core_is_loihi_2s():
    """Intel's brief: 128 KB of synapses in 192 KB, 8,192 neurons; Loihi 1 has 4,096 axons."""
    core = CHIP.core
    assert core.synapse_memory == 128 * 1024
    assert core.synapse_memory + core.state_memory == 192 * 1024
    assert core.neurons == 8192 == near(1.15e9 / p.HALA_CORES, rel=2e-3)
    assert core.in_axons == core.out_axons == 4096


def test_links_are_those_of_loihi_like_but_for_the_published_rate_on_the_chip():
    """Davies et al. 2018, Table 2: hops of 2.1, 4.1 and 6.5 ns."""
    links, other = CHIP.links, load_chip("loihi-like").links
    assert [links[name].hop_ps for name in ("local", "x", "y")] == [2100, 4100, 6500]
    assert len({links[name].flit_ps for name in ("local", "x", "y")}) == 1
    assert all(links[name] == other[name] for name in ("chip_x", "chip_y", "host"))


def test_the_barrier_was_measured_on_a_mesh_as_far_across():
    """Frady et al. 2020: 14.3 us over 4 x 64 chips, 16.2 us over 12 x 64."""
    assert CHIP.sync == "barrier"
    assert CHIP.timing.barrier_ps == 14_300_000
    assert sum(CHIP.layout.chips) == 4 + 64
    for barrier_us, across in ((14.3, 4 + 64), (16.2, 12 + 64)):
        crossing_ns = barrier_us * 1000 / (2 * across)
        assert CHIP.links["chip_x"].hop_ps / 1000 == near(crossing_ns, rel=0.08)


def test_what_the_systems_did_is_in_the_synop_and_the_rest_is_as_in_loihi_like():
    other = {cost.key: cost for cost in load_chip("loihi-like").costs}
    apart = set(COSTS) - {"synop"}
    assert all(COSTS[key].energy == other[key].energy for key in apart)
    held = {kind for key in set(other) - apart for kind in other[key].covers}
    assert set(COSTS["synop"].covers) == held
