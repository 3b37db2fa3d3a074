"""A report is counts x costs, in SI units, the same on every run; terminal and JSON show it."""

import io
import json
from dataclasses import replace
from itertools import pairwise
from math import isnan

import pandas as pd
import pytest
from rich.console import Console

from hw_models.errors import BadInput
from simulator.build_report import build_report
from simulator.report_text import render_text
from simulator.tables import comparisons, level_rows, operation_rows, priced_rows

DECODED, PROMPT, STEP_S = 6, 12, 210e-6


@pytest.fixture
def report(run):
    return build_report(run, ["fp16", "int8", "dense-int8-on-chip"])


@pytest.fixture
def toy_report(toy_run):
    return build_report(toy_run)


def phase(report, name):
    return next(p for p in report.phases if p.name == name)


def test_speed_is_simulated_time(report):
    assert report.time_to_first_token_s == pytest.approx(480e-6)
    assert report.tokens_per_s == pytest.approx(1 / STEP_S)
    assert phase(report, "prefill").seconds == pytest.approx(PROMPT * 40e-6)
    assert phase(report, "decode").seconds == pytest.approx(DECODED * STEP_S)


def test_one_operation_by_hand(toy_run, toy_report):
    # toy: 2 pJ a synop_shift, 4 pJ a weight, 7 pJ a look-up that holds the delivery
    counts = toy_run.phases[1].counters["layers.0.o"]
    rows = {
        r.kind: r.joules.nominal
        for r in phase(toy_report, "decode").ledger.priced
        if r.operation == "layers.0.o"
    }
    assert rows["synop_shift"] == pytest.approx(counts["synop_shift"] * 2e-12)
    assert rows["weight_fetch"] == pytest.approx(counts["weight_fetch"] * 4e-12)
    assert rows["axon_lookup"] == pytest.approx(counts["axon_lookup"] * 7e-12)
    assert "delivered_spike" not in rows


def test_levels_add_up_to_the_total(report):
    for p in report.phases:
        levels = list(p.levels.values())
        assert all(a.nominal < b.nominal for a, b in pairwise(levels))
        assert levels[-1].nominal == pytest.approx(p.joules_per_token.nominal, rel=1e-12)
        assert sum(r.joules for r in operation_rows(p)) == pytest.approx(levels[-1].nominal)


def test_joules_per_token_and_per_mac_tell_the_same(report, run):
    # the head's 256 x 512 synapses are used once per sampled token only
    macs = {"decode": DECODED * run.macs_per_token}
    macs["prefill"] = PROMPT * (run.macs_per_token - 256 * 512) + 256 * 512
    for p in report.phases:
        assert p.macs == macs[p.name]
        assert p.pj_per_mac.nominal * p.macs == pytest.approx(
            p.joules_per_token.nominal * p.tokens * 1e12
        )


def test_low_nominal_and_high_stay_in_order(report):
    for p in report.phases:
        assert p.joules_per_token.low < p.joules_per_token.nominal < p.joules_per_token.high


def test_static_energy_is_chips_power_and_time(report):
    (row,) = [r for r in phase(report, "decode").ledger.priced if r.level == "static"]
    assert row.joules.nominal == pytest.approx(2 * 0.7 * DECODED * STEP_S)


def test_streams_share_static_energy_only(run):
    one, four = (phase(build_report(run, (), n), "decode") for n in (1, 4))

    def parts(p):
        static = sum(r.joules.nominal for r in p.ledger.priced if r.level == "static")
        return static, p.ledger.total().nominal - static

    assert parts(four)[0] == pytest.approx(parts(one)[0] / 4)
    assert parts(four)[1] == pytest.approx(parts(one)[1])
    # all four run at once: dynamic power times four, static power as before
    seconds = DECODED * STEP_S
    assert four.watts.nominal == pytest.approx(2 * 0.7 + 4 * parts(one)[1] / seconds)


@pytest.mark.parametrize("streams", [0, -1, 9])
def test_streams_beyond_the_program_are_refused_with_the_largest(run, streams):
    with pytest.raises(BadInput, match=r"1 to 8"):
        build_report(run, (), streams)


def test_the_share_on_assumed_costs_is_that_of_their_rows(report):
    p = phase(report, "decode")
    assumed = sum(r.joules.nominal for r in p.ledger.priced if r.grade == "assumed")
    assert p.ledger.assumed_share() == pytest.approx(assumed / p.ledger.total().nominal)
    assert f"{100 * assumed / p.ledger.total().nominal:.1f} %" in report.assumptions[0]


def test_unpriced_kinds_are_listed_with_their_counts(toy_run, toy_report):
    for p, original in zip(toy_report.phases, toy_run.phases, strict=True):
        bits = sum(kinds.get("host_bit", 0) for kinds in original.counters.values())
        assert p.unpriced == {"host_bit": bits}


def test_events_are_sums_of_counters(report, run):
    kinds = [k for op in run.phases[1].counters.values() for k in op.items()]

    def count(*names):
        return sum(n for kind, n in kinds if kind in names)

    events = phase(report, "decode").events
    assert events.spike_messages == count("msg_spike")
    assert events.delivered == count("delivered_spike")
    assert events.synops == count("synop_shift", "synop_mac")
    assert events.hops == count("flit_x", "flit_y", "flit_chip_x")
    assert events.chip_hops == count("flit_chip_x")
    assert events.messages == count("msg_spike", "msg_value", "msg_partial", "msg_marker")


def test_density_by_three_definitions(report):
    found = {d.site: d for d in report.density}
    assert list(found) == ["attn_in", "o_in", "mlp_in", "down_in", "head_in"]
    down = found["down_in"]
    assert (down.sites, down.channels, down.tokens) == (4, 4 * 768, PROMPT + DECODED)
    assert down.silent_share == pytest.approx(0.2, abs=1e-3)
    assert down.spikes_per_channel == pytest.approx(1.2, abs=1e-3)
    assert down.per_slot == pytest.approx(1.2 / 4, abs=1e-3)
    assert down.mean_steps == 4


def test_density_without_a_step_has_no_slots(run):
    sites = tuple(replace(s, spikes=0, steps=0, silent=s.n * s.tokens) for s in run.sites)
    assert all(d.per_slot is None for d in build_report(replace(run, sites=sites), ()).density)


def test_mapping_counts_every_core_once(report, run):
    assert sum(m.cores for m in report.mapping) == run.n_cores
    assert sum(m.macs for m in report.mapping) == run.macs_per_token
    assert next(m for m in report.mapping if m.operation == "qkvg").layers == 2


def test_rows_are_a_table_for_pandas(toy_report, toy_run):
    frame = pd.DataFrame(toy_report.rows())
    assert set(frame["status"]) == {"priced", "included", "unpriced"}
    priced = frame[frame["status"] == "priced"]
    for p in toy_report.phases:
        mine = priced[priced["phase"] == p.name]
        assert mine["energy_j"].sum() == pytest.approx(p.ledger.total().nominal)
        assert mine["j_per_token"].sum() == pytest.approx(p.joules_per_token.nominal)
    # every count of the run is in exactly one row
    counted = frame[frame["kind"] != "static"]["count"].sum()
    assert counted == sum(
        n for p in toy_run.phases for op in p.counters.values() for n in op.values()
    )


def test_json_is_versioned_finite_and_the_same_again(run, report):
    found = report.to_json()
    assert found["format"] == "spikeloom-report-1"
    text = json.dumps(found, allow_nan=False, sort_keys=True)
    again = build_report(run, ["fp16", "int8", "dense-int8-on-chip"]).to_json()
    assert text == json.dumps(again, allow_nan=False, sort_keys=True)
    head = found["headline"]
    assert head["joules_per_token"]["nominal"] == report.main.joules_per_token.nominal
    assert head["pj_per_mac"]["nominal"] == report.main.pj_per_mac.nominal
    assert (head["chips"], head["phase"]) == (2, "decode")


def test_what_is_not_known_is_null_in_json(silent_run):
    report = build_report(silent_run, ["int8"])
    assert isnan(report.tokens_per_s)
    found = report.to_json()
    assert found["headline"]["tokens_per_s"] is None
    assert found["headline"]["phase"] == "prefill"
    baseline = found["phases"][0]["baselines"][2]
    assert baseline["cumulative_j"]["network"] is None
    assert "no wires" in baseline["not_modelled"]["network"]


def test_a_run_without_logits_has_no_time_to_first_token(run):
    report = build_report(replace(run, logits_ps=()), ())
    assert report.to_json()["headline"]["time_to_first_token_s"] is None


def test_a_run_without_tokens_is_refused(run):
    empty = tuple(replace(p, tokens=0) for p in run.phases)
    with pytest.raises(BadInput, match="no tokens"):
        build_report(replace(run, phases=empty), ())


def test_a_linear_without_activity_is_our_bug(run):
    from hw_models.errors import Bug

    with pytest.raises(Bug, match=r"layers\.0\.qkvg"):
        build_report(replace(run, sites=run.sites[1:]), ())


def test_baselines_are_compared_where_both_have_numbers(report):
    found = {c.name: c for c in comparisons(report.main)}
    assert found["cmos45:fp16"].level == found["cmos45:int8"].level == "memory"
    assert found["int8 on chip"].level == "static"
    row = next(r for r in level_rows(report.main).rows if r.level == "memory")
    assert found["cmos45:int8"].joules == row.total.nominal
    assert found["cmos45:int8"].baseline == row.baselines[1]


def test_folded_rows_keep_counts_and_joules(report):
    ledger = report.main.ledger
    folded = priced_rows(ledger.priced)
    assert sum(r.count for r in folded) == sum(r.count for r in ledger.priced)
    assert sum(r.joules.nominal for r in folded) == pytest.approx(ledger.total().nominal)
    assert len({(r.operation, r.kind) for r in folded}) == len(folded)


def text_of(report, width=100):
    out = io.StringIO()
    render_text(report, Console(file=out, width=width))
    return out.getvalue()


def test_the_terminal_shows_plain_lines_of_100_columns(report):
    text = text_of(report)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    "words",
    [
        "byte-lm on loihi-like",
        "energy per token (decode)",
        "energy per dense MAC",
        "1 (at most 8)",
        "-97.7 %",
        "n/a",
        "(a) silent",
        "synops",
        "assumed",
    ],
)
def test_the_terminal_tells(report, words):
    assert words in text_of(report)


def test_the_terminal_tells_what_has_no_price(toy_report):
    assert "host_bit" in text_of(toy_report)


@pytest.fixture
def in_steps(run):
    """The same run under barrier sync: 1,000 and 900 steps."""
    prefill, decode = run.phases
    phases = (replace(prefill, steps=1_000), replace(decode, steps=900))
    return replace(run, phases=phases, sync="barrier")


def test_steps_and_the_time_in_barriers_are_told(in_steps):
    report = build_report(in_steps)
    prefill, decode = report.phases
    # 465 ns each; 12 tokens of 40 us, 6 of 210 us
    assert prefill.steps_per_token == 1_000 / 12
    assert decode.steps_per_token == 150
    assert prefill.barrier_share == pytest.approx(1_000 * 465e-9 / 480e-6)
    assert decode.barrier_share == pytest.approx(900 * 465e-9 / 1_260e-6)
    found = report.to_json()
    assert found["sync"] == "barrier"
    assert found["headline"]["steps_per_token"] == found["phases"][1]["steps_per_token"] == 150
    assert found["headline"]["barrier_share"] == pytest.approx(0.332, abs=5e-4)
    said = text_of(report)
    assert "150.0 (33.2 % of the time in barriers)" in said
    told = " ".join(report.assumptions)
    assert "every step ends with 465 ns" in told and "Davies" in told
    assert "Run with --sync barrier; the target's own is dataflow." in told


def test_without_steps_nothing_is_said_of_them(report):
    assert "steps per token" not in text_of(report)
    assert not any("arrier" in line for line in report.assumptions)


def test_names_from_a_file_are_no_markup(run):
    report = build_report(replace(run, model="[red]x[/red]", coding="bitwise"), ())
    assert "[red]x[/red]" in text_of(report)


def test_the_documents_put_every_kind_at_its_level():
    from pathlib import Path

    from hw_models.events import KINDS

    text = (Path(__file__).resolve().parents[2] / "docs" / "energy.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| arithmetic", "| + "))][:4]
    for kind, (level, _) in KINDS.items():
        at = ["arithmetic", "memory", "network", "rest"].index(level)
        assert [i for i, row in enumerate(rows) if f"`{kind}`" in row] == [at], kind
