"""How far a crossbar is off: measured against exact sums, kept with the run, told to the reader."""

import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from kernels.crossbar import cells, read
from simulator.analog import divergence, linear_error
from simulator.api import simulate
from simulator.build_report import build_report
from simulator.cli import app
from simulator.report_html import render_html
from simulator.report_text import render_text
from simulator.result import LinearError
from simulator.run_folder import read_run
from tests.small import reference
from tests.tiny import TINY, tiny

PROMPT, GENERATED = bytes((3, 17, 17, 8)), 3
ROUGH = {"array__adc_bits": "4 bit", "array__adc_step": "9", "array__noise": "4 %"}


@pytest.fixture(scope="module")
def rough(tmp_path_factory):
    """A program with a converter too small, and its run as stored."""
    program = tiny(target="hermes-like", **ROUGH)
    folder = tmp_path_factory.mktemp("rough") / "run"
    simulate(program, prompt=PROMPT, tokens=GENERATED, check=True, out=folder)
    return program, read_run(folder)


def test_errors_are_in_units_of_the_exact_sums():
    """Exact 3, -4, 0, 0 and 5, 0, 0, 0: RMS (50 / 8)^1/2 = 2.5; errors 1 and -2."""
    wanted = np.array([[3, -4, 0, 0], [5, 0, 0, 0]])
    found = wanted + np.array([[0, 1, 0, 0], [0, 0, 0, -2]])
    error = linear_error(found, wanted)
    assert error.rms == pytest.approx((5 / 8) ** 0.5 / 2.5)
    assert error.largest == pytest.approx(2 / 2.5)
    assert linear_error(wanted, wanted) == LinearError(0.0, 0.0)
    assert linear_error(np.zeros((1, 2), int), np.zeros((1, 2), int)) == LinearError(0.0, 0.0)


def test_divergence_by_hand():
    """Of 1/2, 1/2 from 1/4, 3/4: ln(2) / 2 + ln(2/3) / 2; a constant on logits changes nothing."""
    halves, quarters = (np.log(np.array(p, np.float32)) for p in ((0.5, 0.5), (0.25, 0.75)))
    wanted = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert divergence(halves, quarters) == pytest.approx(wanted, rel=1e-6)
    assert divergence(halves + np.float32(7), quarters) == pytest.approx(wanted, rel=1e-5)
    assert divergence(quarters, quarters) == 0


def test_the_error_of_a_run_follows_from_its_counts_and_the_exact_model(rough):
    program, stored = rough
    error, array = stored.run.analog, program.chip.array
    clipped = conversions = 0
    for i, linear in enumerate(program.graph.linears):
        weights = program.linears[linear.name]
        counts = stored.activity.stacked(linear.site).astype(np.int64)
        q, m = weights.q.astype(np.int64), weights.m
        exact = sum(
            (counts[:, g : g + 128] @ q[:, g : g + 128].T) * m[:, g // 128]
            for g in range(0, linear.n_pre, 128)
        )
        coding, held = program.codings[linear.site][0], cells(weights.q, array, i)
        readings = [read(row, coding, held, array) for row in counts]
        sums = np.stack([(r.sums * m).sum(1) for r in readings])
        off = np.abs(sums - exact).astype(float)
        unit = (
            np.sqrt((exact.astype(float) ** 2).mean()) or 1.0
        )  # an untrained model has silent layers
        found = error.linears[linear.name]
        assert found.rms == pytest.approx(np.sqrt((off**2).mean()) / unit)
        assert found.largest == pytest.approx(off.max() / unit)
        assert found.largest >= found.rms
        assert (found.rms > 0.01) == exact.any(), linear.name
        clipped += sum(r.clipped for r in readings)
        conversions += sum(r.conversions for r in readings)
    # pairs have no column of ones: conversions do not depend on how a linear is cut
    assert (error.conversions, error.clipped) == (conversions, clipped)
    assert 0 < clipped < conversions
    counted = [
        kinds.get("adc_convert", 0) for p in stored.run.phases for kinds in p.counters.values()
    ]
    assert conversions == sum(counted)


def test_logits_are_compared_with_those_of_exact_sums_on_the_same_tokens(rough, tmp_path):
    """The executor of the digital program, fed the rough run's own text."""
    _, stored = rough
    error = stored.run.analog
    text = (*PROMPT, *stored.run.generated[:-1])
    ideal = [t.logits.argmax() for t in reference(0, TINY, text)][len(PROMPT) - 1 :]
    assert error.logits == len(ideal) == GENERATED
    same = [int(a) == b for a, b in zip(ideal, stored.run.generated, strict=True)]
    assert error.same_top == pytest.approx(np.mean(same))
    assert error.kl > 0


def test_a_shipped_isaac_is_off_by_nothing(tmp_path):
    program = tiny(target="isaac-like")
    run = simulate(program, prompt=PROMPT, tokens=2, check=True, out=tmp_path / "run")
    assert run.analog.kl == 0 and run.analog.same_top == 1 and run.analog.clipped == 0
    assert set(run.analog.linears) == {lin.name for lin in program.graph.linears}
    assert all(e == LinearError(0.0, 0.0) for e in run.analog.linears.values())
    assert run.analog.conversions > 0


@pytest.mark.parametrize(
    ("target", "changed"),
    [
        ("toy", {}),
        ("isaac-like", {"array__adc_bits": "ideal"}),
        ("hermes-like", {"array__adc_bits": "ideal", "array__noise": "0 %"}),
    ],
)
def test_where_sums_are_exact_by_definition_there_is_no_error(target, changed, tmp_path):
    program = tiny(target=target, **changed)
    run = simulate(program, prompt=PROMPT, tokens=2, check=True, out=tmp_path / "run")
    assert run.analog is None
    assert read_run(tmp_path / "run").run.analog is None
    assert "Analog" not in text_of(run)


def test_the_same_run_gives_the_same_bytes(rough, tmp_path):
    program, stored = rough
    again = simulate(program, prompt=PROMPT, tokens=GENERATED, out=tmp_path / "again")
    assert again == stored.run


def text_of(run):
    out = Console(file=StringIO(), width=100)
    render_text(build_report(run, ("int8",)), out)
    return out.file.getvalue()


def test_the_report_tells_the_error_on_both_pages(rough, tmp_path):
    run = rough[1].run
    report = build_report(run, ("int8",))
    text = text_of(run)
    worst = max(e.rms for name, e in run.analog.linears.items() if name.endswith("gate_up"))
    assert "Analog error: sums against exact ones" in text
    assert f"{worst:.2%}" in text
    assert f"{run.analog.kl:.3g} nats" in text
    assert "conversions" in text and "synops" not in text
    render_html(report, run, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert 'id="analog"' in page and 'href="#analog"' in page
    assert f"{100 * worst:.2f} %" in page and "columns converted" in page
    assert json.loads(json.dumps(report.to_json()))["analog"]["kl"] == run.analog.kl


def test_the_command_states_the_error_and_does_not_fail_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p").write_bytes(PROMPT)

    def printed(program):
        program.write(tmp_path / "tiny.sbx")
        words = ["run", "--check", "--prompt-file", "p", "--tokens", "2"]
        done = CliRunner().invoke(app, words, prog_name="sbsim")
        assert done.exit_code == 0, done.stderr
        return done.stdout

    rough = printed(tiny(target="hermes-like", **ROUGH))
    assert "analog error" in rough and "sums off by" in rough
    assert "none: every sum is exact" in printed(tiny(target="isaac-like"))
    assert "analog error" not in printed(tiny())
