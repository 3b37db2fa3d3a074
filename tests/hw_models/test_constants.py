"""Shipped constants against literals from their sources; no file is read for the right side."""

import pytest

from hw_models.chip import load_chip
from hw_models.device import known_devices, load_device
from hw_models.errors import BadInput
from hw_models.ledger import ledger, static_of
from tests.hw_models.published import (
    ADD,
    CAPTURE,
    EVENT,
    LOAD,
    NVLINK_C2C,
    PCIE_GEN5_OVER_C2C,
    STORE,
    TRUENORTH_TO_EDGE,
    TRUENORTH_TO_NEXT,
)
from tests.near import near

LOIHI = load_chip("loihi-like")
COSTS = {cost.key: cost for cost in LOIHI.costs}

DAVIES = {  # Davies et al., IEEE Micro 38(1), 2018, Table 2: pJ
    "synop": 23.6,
    "neuron": 81.0,
    "flit_local": 1.7,
    "flit_x": 3.0,
    "flit_y": 4.0,
}

SENECA = {
    "group_mac": 6 * ADD,
    "partial_add": 4 * ADD,
    "acc_access": LOAD + STORE,
    "axon_lookup": 2 * LOAD,
    "inject": CAPTURE + EVENT + 2 * LOAD,
    "receive": 2 * STORE,
    "encode": 10 * ADD,
    "vec_add": ADD,
    "vec_mul": ADD,
    "vec_exp": 10 * ADD,
    "vec_div": 8 * ADD,
    "vec_sqrt": 8 * ADD,
    "vec_read": 2 * LOAD,
    "vec_write": 2 * STORE,
    "state_read": LOAD / 2,
    "state_write": STORE / 2,
}

LINKS_PJ = {
    "flit_chip": (
        32 * NVLINK_C2C,
        32 * NVLINK_C2C * PCIE_GEN5_OVER_C2C,
        32 * (TRUENORTH_TO_EDGE + TRUENORTH_TO_NEXT),
    ),
    "host_bit": (1.3, 10.0, 30.0),
}

HOROWITZ = {  # Horowitz, ISSCC 2014, 45 nm, 0.9 V: (bits, pJ)
    "int8_add": (8, 0.03),
    "int32_add": (32, 0.1),
    "fp16_add": (16, 0.4),
    "fp32_add": (32, 0.9),
    "int8_mult": (8, 0.2),
    "int32_mult": (32, 3.1),
    "fp16_mult": (16, 1.1),
    "fp32_mult": (32, 3.7),
    "sram_8kib": (64, 10.0),
    "sram_32kib": (64, 20.0),
    "sram_1mib": (64, 100.0),
    "dram": (64, 1300.0),
}


def test_every_cost_of_loihi_like_is_listed_here():
    assert set(COSTS) == set(DAVIES) | set(SENECA) | set(LINKS_PJ)


@pytest.mark.parametrize("key", DAVIES)
def test_loihi_like_prices_are_those_of_davies(key):
    assert COSTS[key].energy.nominal == near(DAVIES[key] * 1e-12, rel=1e-9)
    assert "Davies" in COSTS[key].source
    assert COSTS[key].grade in {"simulated", "derived"}


@pytest.mark.parametrize("key", SENECA)
def test_other_loihi_like_prices_are_seneca_instructions_a_factor_three_either_way(key):
    cost = COSTS[key]
    assert cost.energy.nominal == near(SENECA[key] * 1e-12, rel=1e-9)
    assert cost.energy.low == near(SENECA[key] * 1e-12 / 3, rel=3e-3)
    high = 111.0 if key == "inject" else SENECA[key] * 3  # SANA-FE, arch/loihi.yaml: axon_out
    assert cost.energy.high == near(high * 1e-12, rel=1e-9)
    assert "SENECA" in cost.source
    assert cost.grade == "assumed"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("loihi-like", "flit_chip"),
        ("loihi-like", "host_bit"),
        ("hala-point-like", "host_bit"),
        ("seneca-like", "flit_chip"),
        ("seneca-like", "host_bit"),
    ],
)
def test_links_off_the_chip_are_assumed_with_a_wide_interval(name, key):
    (cost,) = [cost for cost in load_chip(name).costs if cost.key == key]
    got = (cost.energy.low, cost.energy.nominal, cost.energy.high)
    assert got == near(tuple(pj * 1e-12 for pj in LINKS_PJ[key]), rel=1e-9)
    assert cost.grade == "assumed"


def test_a_loihi_timestep_costs_what_davies_gives():
    """131,072 neurons: all inactive (52 pJ) 6.8 uJ, all active (81 pJ) 10.6 uJ."""
    step = ledger({("chip", "neuron_update"): 131_072}, LOIHI.costs).total()
    assert step.low == near(6.8e-6, rel=5e-3)
    assert step.nominal == near(10.6e-6, rel=5e-3)


def test_synop_interval_spans_hala_point_and_the_fit_to_silicon():
    energy = COSTS["synop"].energy
    assert energy.low == near(2600 / 380e12, rel=1e-2)
    assert energy.high == near(35.5e-12, rel=1e-9)
    assert COSTS["synop"].covers == ("synop_add", "synop_shift", "synop_mac", "weight_fetch")
    assert COSTS["synop"].per == ("synop_add", "synop_shift", "synop_mac")


def test_static_power_gives_back_the_measured_decode_energy():
    """Abreu 2025: 405 mJ per token at 41.5 token/s on 24 chips."""
    token = ledger({}, (), static=static_of(LOIHI, 24, 1 / 41.5)).total()
    assert token.nominal == near(0.405, rel=0.01)
    assert token.low == near(0.405 * 24 / 32, rel=0.01)
    assert LOIHI.static_power.high == 1.0


def test_structure_and_rate_are_those_of_hala_point():
    width, height = LOIHI.layout.chips
    cores = width * height * LOIHI.layout.usable_cores
    assert width * height == 1152
    assert cores == 140_544
    synops_per_s = LOIHI.core.lanes / (LOIHI.timing.synop_ps * 1e-12)
    assert synops_per_s == near(2.7e9, rel=0.01)
    assert synops_per_s * cores == near(380e12, rel=0.01)
    assert cores / (LOIHI.timing.vector_ps * 1e-12) == near(240e12, rel=0.01)
    link = LOIHI.links["chip_x"]
    bytes_per_s = link.flit_bits / 8 / (link.flit_ps * 1e-12)
    assert bytes_per_s * 4 * 1152 == near(5e12, rel=0.01)
    assert cores * LOIHI.core.synapse_memory == near(18.4e9, rel=0.01)


def test_times_of_loihi_like_are_those_of_davies():
    links, timing = LOIHI.links, LOIHI.timing
    assert [links[k].hop_ps for k in ("local", "x", "y")] == [2100, 4100, 6500]
    for name in ("local", "x", "y"):
        assert 1e12 / links[name].flit_ps == near(3.44e9, rel=2e-3)
    assert timing.update_ps == 8400
    assert timing.barrier_ps == 465_000
    assert timing.axon_ps == timing.row_ps == 3500


def test_cmos45_is_the_horowitz_table():
    device = load_device("cmos45")
    assert "cmos45" in known_devices()
    got = {key: (op.bits, op.energy.nominal) for key, op in device.ops.items()}
    wanted = {key: (bits, near(pj * 1e-12, rel=1e-9)) for key, (bits, pj) in HOROWITZ.items()}
    assert got == wanted
    assert device.ops["dram"].energy.high == near(2600e-12, rel=1e-9)
    assert all("second-hand: check against the paper" in op.note for op in device.ops.values())


def test_cmos45_gives_the_macs_that_spikingbrain_compares_with():
    """SpikingBrain report, section 5.5: fp16 1.5 pJ, int8 0.23 pJ; 0.30 pJ with int32 sums."""
    pj = {key: op.energy.nominal * 1e12 for key, op in load_device("cmos45").ops.items()}
    assert pj["fp16_mult"] + pj["fp16_add"] == near(1.5)
    assert pj["int8_mult"] + pj["int8_add"] == near(0.23)
    assert pj["int8_mult"] + pj["int32_add"] == near(0.30)
    saving = 1 - 1.13 * pj["int8_add"] / (pj["fp16_mult"] + pj["fp16_add"])
    assert round(100 * saving, 1) == 97.7


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("op.int8_add.energy", "5 pF", "op.int8_add.energy: '5 pF' is not a number with one of fJ"),
        ("op.int8_add.enrgy", "5 pJ", "op.int8_add.enrgy: unknown key; the nearest known one is"),
        ("op.int8_add.bits", "8", "op.int8_add.bits: 8 is not a number with one of bit"),
    ],
)
def test_a_device_is_as_strict_as_a_chip(key, text, said):
    with pytest.raises(BadInput) as caught:
        load_device("cmos45", {key: text})
    assert said in caught.value.what


def test_an_unknown_device_names_the_nearest():
    with pytest.raises(BadInput, match="the nearest known one is cmos45"):
        load_device("cmos44")
