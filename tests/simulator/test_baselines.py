"""Baselines: the same model and tokens, level by level, from literals."""

from dataclasses import replace
from math import fsum

import pytest

from hw_models.chip import load_chip
from hw_models.device import load_device
from hw_models.errors import BadInput, Bug
from simulator.baselines import build_baselines, known_baselines, variants
from simulator.linears import flat
from tests.simulator.conftest import linear_shapes, make_run

# the model of conftest: 2 GLA and 2 window layers, hidden 256, FFN 768, vocabulary 512
BLOCK = 256 * 256 + 256 * 1536 + 768 * 256
MACS = 2 * (256 * 1024 + BLOCK) + 2 * (256 * 768 + BLOCK) + 256 * 512
HEAD = 256 * 512
DECODED, PROMPT = 6, 12


def decode(run):
    return run.phases[1]


def prefill(run):
    return run.phases[0]


def built(run, *names, phase=decode, streams=1):
    return build_baselines(names, run, phase(run), load_chip(run.target), streams)


def pick(found, bits, skips):
    return next(b for b in found if (b.accumulate_bits, b.skips_silent) == (bits, skips))


def of_level(baseline, level):
    return fsum(r.joules.nominal for r in baseline.ledger.priced if r.level == level)


@pytest.mark.parametrize(
    ("name", "bits", "mac_pj", "byte_per_weight"),
    [
        ("fp16", 16, 1.1 + 0.4, 2),
        ("fp16", 32, 1.1 + 0.9, 2),
        ("int8", 8, 0.2 + 0.03, 1),
        ("int8", 32, 0.2 + 0.1, 1),
    ],
)
def test_arithmetic_and_weights_follow_from_the_macs(run, name, bits, mac_pj, byte_per_weight):
    baseline = pick(built(run, name), bits, False)
    macs = MACS * DECODED
    assert of_level(baseline, "arithmetic") == pytest.approx(macs * mac_pj * 1e-12, rel=1e-12)
    weights = macs * byte_per_weight * 1.25e-12
    assert of_level(baseline, "memory") == pytest.approx(weights, rel=1e-12)


def test_the_short_names_are_45_nm(run):
    assert built(run, "fp16", "int8") == built(run, "cmos45:fp16", "cmos45:int8")


def test_a_name_twice_is_one_baseline(run):
    assert built(run, "int8", "cmos45:int8") == built(run, "int8")


def test_skipping_silent_channels_saves_their_share(run):
    # 20 % of the inputs are silent, 25 % of the head's
    found = built(run, "int8")
    kept = 1 - (0.2 * (MACS - HEAD) + 0.25 * HEAD) / MACS
    for level in ("arithmetic", "memory"):
        ratio = of_level(pick(found, 32, True), level) / of_level(pick(found, 32, False), level)
        assert ratio == pytest.approx(kept, rel=1e-3)


def test_the_head_of_a_prompt_is_computed_once(run):
    baseline = pick(built(run, "int8", phase=prefill), 32, False)
    rows = [r for r in baseline.ledger.priced if r.kind == "int8_mult"]
    assert sum(r.count for r in rows) == PROMPT * (MACS - HEAD) + HEAD


def test_a_prompts_weights_may_be_read_once(run):
    baseline = pick(built(run, "int8", phase=prefill), 32, False)
    memory = [r for r in baseline.ledger.priced if r.level == "memory"]
    for row in memory:
        assert row.unit.low == pytest.approx(row.unit.nominal / PROMPT, abs=0)


def test_streams_share_a_read_of_a_weight(run):
    one, four = (pick(built(run, "int8", streams=n), 32, False) for n in (1, 4))
    assert of_level(four, "memory") == pytest.approx(of_level(one, "memory") / 4)
    assert of_level(four, "arithmetic") == of_level(one, "arithmetic")


def test_vector_work_is_the_runs_own(run):
    baseline = pick(built(run, "int8"), 32, False)
    counts = flat(decode(run))
    adds = sum(n for (_, kind), n in counts.items() if kind == "vec_add")
    rows = [r for r in baseline.ledger.priced if r.kind == "vec_add"]
    assert sum(r.count for r in rows) == adds
    assert {r.unit.nominal for r in rows} == {0.9e-12}


def test_levels_without_numbers_are_named_never_zero(run):
    baseline = pick(built(run, "int8"), 32, False)
    levels = baseline.levels()
    assert {"network", "static"} == set(baseline.missing)
    assert levels["network"] is None and levels["rest"] is None and levels["static"] is None
    assert {u.kind for u in baseline.ledger.unpriced} == {"vec_exp", "vec_div", "vec_sqrt"}


@pytest.mark.parametrize(
    ("gone", "level"),
    [("int8_mult", "arithmetic"), ("int32_add", "arithmetic"), ("sram_8kib", "memory")],
)
def test_a_device_without_a_price_says_so(run, gone, level):
    device = load_device("cmos45")
    poor = replace(device, ops={k: op for k, op in device.ops.items() if k != gone})
    baseline = pick(variants(poor, "int8", run, decode(run)), 32, False)
    assert gone in baseline.missing[level]
    assert baseline.levels()[level] is None
    assert not any(r.level == level for r in baseline.ledger.priced)


def test_every_row_has_a_source_and_adds_up(run):
    for baseline in built(run, "fp16", "int8", "dense-int8-on-chip"):
        for row in baseline.ledger.priced:
            assert row.source and row.grade
            assert row.joules.nominal == pytest.approx(row.count * row.unit.nominal, rel=1e-12)


def test_an_unknown_baseline_lists_the_known_ones(run):
    with pytest.raises(BadInput) as error:
        built(run, "int4")
    for name in ("fp16", "int8", "cmos45:fp16", "dense-int8-on-chip"):
        assert name in known_baselines()
        assert name in str(error.value)


def test_one_variant_of_each_is_the_usual_one(run):
    usual = [b for b in built(run, "fp16", "int8", "dense-int8-on-chip") if b.usual]
    assert [(b.name, b.accumulate_bits, b.skips_silent) for b in usual] == [
        ("cmos45:fp16", 16, False),
        ("cmos45:int8", 32, False),
        ("dense-int8-on-chip", 32, False),
    ]


class TestDenseOnChip:
    """Every channel sends one 8-bit message over the same mapping."""

    @staticmethod
    def counts(run, phase=decode):
        (baseline,) = built(run, "dense-int8-on-chip", phase=phase)
        entries = (*baseline.ledger.priced, *baseline.ledger.included, *baseline.ledger.unpriced)
        return {(e.operation, e.kind): e.count for e in entries}

    def test_synops_are_the_dense_macs(self, run):
        synops = [n for (_, kind), n in self.counts(run).items() if kind.startswith("synop")]
        # the dense head stays as it was: a quarter of its channels is zero
        assert sum(synops) == pytest.approx((MACS - 0.25 * HEAD) * DECODED, rel=1e-4)

    def test_every_channel_sends_one_message(self, run):
        sent = [n for (_, kind), n in self.counts(run).items() if kind == "msg_spike"]
        channels = 4 * (256 + 256 + 256 + 768) + 0.75 * 256
        assert sum(sent) == pytest.approx(channels * DECODED, rel=1e-3)

    def test_no_weight_is_read_twice(self, run):
        counts = self.counts(run)
        for (operation, kind), n in counts.items():
            if kind == "weight_fetch":
                assert n == counts[operation, "synop_mac"]

    def test_what_is_no_spike_stays(self, run):
        mine, dense = flat(decode(run)), self.counts(run)
        for key, n in mine.items():
            spiking = ("synop", "msg_spike", "delivered_spike", "axon", "weight", "flit")
            if not key[1].startswith(spiking):
                assert dense[key] == n

    def test_the_dense_head_stays(self, run):
        mine, dense = flat(decode(run)), self.counts(run)
        for kind in ("synop_mac", "axon_lookup", "weight_fetch"):
            assert dense["head", kind] == mine["head", kind]
        assert dense["final_norm", "msg_spike"] == mine["final_norm", "msg_spike"]

    def test_spike_flits_scale_with_the_messages(self, run):
        # loihi-like, 32-bit flits: a spike or an 8-bit value 1, eight values 9, a marker 4
        mine, dense = decode(run).counters["layers.0.attn_norm"], self.counts(run)
        spikes, values, markers = (mine[f"msg_{k}"] for k in ("spike", "value", "marker"))
        flits = spikes + 9 * values + 4 * markers
        channels = 256 * DECODED
        factor = (channels + 9 * values + 4 * markers) / flits
        for kind in ("flit_x", "flit_y", "flit_local"):
            expected = mine[kind] * factor
            assert dense["layers.0.attn_norm", kind] == pytest.approx(expected, abs=1)

    def test_the_wall_time_and_with_it_static_energy_stay(self, run):
        (baseline,) = built(run, "dense-int8-on-chip")
        # 2 chips x 0.7 W x 6 tokens x 210 us
        assert of_level(baseline, "static") == pytest.approx(2 * 0.7 * 6 * 210e-6, rel=1e-9)

    def test_a_site_that_nobody_drives_is_our_bug(self, run):
        operations = {
            name: {k: v for k, v in op.items() if k != "site" or op["kind"] == "linear"}
            for name, op in run.operations.items()
        }
        with pytest.raises(Bug, match=r"layers\.0\.attn_in"):
            built(replace(run, operations=operations), "dense-int8-on-chip")

    def test_an_unpriced_event_stays_unpriced(self, toy_run):
        (baseline,) = built(toy_run, "dense-int8-on-chip")
        assert {u.kind for u in baseline.ledger.unpriced} == {"host_bit"}


def test_dense_int8_on_a_crossbar_reads_its_arrays_bit_by_bit():
    """Every linear of conftest's model has 256 or 768 inputs: blocks of 128; ISAAC: 32 neurons to
    an array, 4 columns a weight and one of ones; 7 bits, both signs, half of the bits set."""
    run = make_run("isaac-like")
    (baseline,) = built(run, "dense-int8-on-chip")
    found = {(r.operation, r.kind): r.count for r in baseline.ledger.priced}
    assert not {"synop_mac", "weight_fetch"} & {kind for _, kind in found}
    for linear, _, _, n_pre, n_post in linear_shapes():
        if linear == "head":
            continue  # stays as it is
        arrays = n_post // 32
        reads = DECODED * (n_pre // 128) * 7 * 2
        assert found[linear, "array_read"] == reads * arrays
        assert found[linear, "adc_convert"] == reads * (4 * n_post + arrays)
        assert found[linear, "shift_add"] == found[linear, "adc_convert"]
        assert found[linear, "row_drive"] == DECODED * n_pre * arrays * 7 / 2
    assert any("7 bits of either sign" in line for line in baseline.assumes)
