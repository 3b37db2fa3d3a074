"""A trace holds what was asked for, whatever portions its events come in, and tells the rest."""

import json
from functools import cache

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from hw_models.errors import BadInput
from simulator import tracing
from simulator.api import simulate
from simulator.build_report import build_report
from simulator.drive import Simulation
from simulator.hot import state as hot
from simulator.hot.state import T_INJECT
from simulator.outcome import outcome, render
from simulator.report_html import render_html
from simulator.report_text import render_text
from simulator.run_folder import read_run
from simulator.tracing import LEVELS, Tracer, Tracing, window
from tests.tiny import tiny

PROMPT = (3, 17, 8)


@cache
def engine():
    """A simulation of the prompt, and all rows in the order in which the engine wrote them."""
    rows = []
    simulation = Simulation(tiny(), trace=rows.append)
    for token in PROMPT:
        simulation.start(token, 0)
    for _ in simulation.advance():
        pass
    simulation.flush_trace()
    return simulation, np.concatenate(rows)


def inside(rows, asked):
    """Rows of the window, one after another."""
    if asked == "1:3":
        return [r for r in rows.tolist() if r[5] in (1, 2)]
    if asked == "2us:20us":
        return [r for r in rows.tolist() if 2_000_000 <= r[0] < 20_000_000]
    return rows.tolist()


def chip_of(core):
    """16 cores a chip and eight chips along x: as on the toy, where all cores in use lie in its
    first row of chips; the host is none of them."""
    if core >= 1024:
        return -1
    x, y = core % 32, core // 32
    return y // 4 * 8 + x // 4


def by_hand(rows, level, most):
    """(time, duration, event, place, operation, token, message, count) of a trace, sorted."""
    ops, task_op = tiny().ops, tiny().tables.task_op
    named = [(r[0], r[1], r[2], r[3], ops[task_op[r[4]]], *r[5:]) for r in rows]
    if level == "core":
        stretches, last = [], {}
        for row in named:
            if row[2] == T_INJECT:
                continue
            open_one = last.get(row[3])
            same = open_one and (open_one[2:6], open_one[0] + open_one[1]) == ([*row[2:6]], row[0])
            if same:
                open_one[1] += row[1]
                open_one[7] += row[7]
            else:
                last[row[3]] = [*row[:6], -1, row[7]]
                stretches.append(last[row[3]])
        named = [tuple(s) for s in stretches]
    if level == "chip":
        groups = {}
        for row in named:
            groups.setdefault((row[2], chip_of(row[3]), *row[4:7]), []).append(row)
        named = []
        for key, own in groups.items():
            first, end = min(r[0] for r in own), max(r[0] + r[1] for r in own)
            named.append((first, end - first, *key, sum(r[7] for r in own)))
    order = sorted(range(len(named)), key=lambda i: (named[i][0], named[i][3], named[i][2], i))
    return [named[i] for i in order][:most]


def shown(trace):
    columns = [trace.column(n).tolist() for n in hot.TRACE_COLUMNS]
    columns[4] = [trace.task_operation[i] for i in columns[4]]
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=8, deadline=None)
@given(
    asked=st.sampled_from(["", "1:3", "2us:20us"]),
    most=st.sampled_from([None, 1, 50, 700]),
    cuts=st.lists(st.floats(0, 1), max_size=6),
    room=st.sampled_from([0, 300, 1 << 20]),
)
def test_a_trace_is_what_it_is_by_hand_in_whatever_portions_it_comes(
    level, asked, most, cuts, room
):
    rows = engine()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "TRACE_ROWS", room)  # rows beyond the limit that are kept meanwhile
        tracer = Tracer(tiny(), Tracing(level, asked, most))
        for portion in np.split(rows, sorted(int(c * len(rows)) for c in cuts)):
            tracer(portion)
        trace, told = tracer.finished()
    chosen = inside(rows, asked)
    wanted = by_hand(chosen, level, most)
    found = shown(trace)
    if level == "chip":  # equal moments of a chip have no order of their own
        assert [r[0] for r in found] == [r[0] for r in wanted]
        whole = by_hand(chosen, level, None)
        assert set(found) <= set(whole) and len(set(found)) == len(found) == len(wanted)
    else:
        assert found == wanted
    assert (told.events, told.outside) == (len(rows), len(rows) - len(chosen))
    assert told.rows == len(wanted)
    sent = sum(r[2] == T_INJECT for r in chosen) if level == "core" else 0
    assert told.sends == sent
    if level == "spike":
        assert told.beyond == len(chosen) - len(wanted)
    elif most is None:
        assert told.beyond == 0
    else:
        assert told.beyond <= len(chosen) - sent - len(wanted)


def test_stretches_of_work_and_sums_of_chips_hold_all_the_time_that_cores_were_busy():
    simulation, rows = engine()
    busy = simulation.state.core[:, hot.BUSY]
    for level, column in (("core", "duration_ps"), ("chip", "busy_ps")):
        tracer = Tracer(tiny(), Tracing(level))
        tracer(rows)
        trace, _ = tracer.finished()
        assert trace.column(column).sum() == busy.sum()


def test_the_table_of_chips_says_what_a_chip_did_for_every_token(tmp_path):
    simulate(tiny(), prompt=PROMPT, tokens=2, trace=Tracing("chip"), out=tmp_path / "r")
    names = {p.name for p in (tmp_path / "r").iterdir()}
    assert "events.parquet" in names and "timeline.perfetto" not in names
    table = pq.read_table(tmp_path / "r" / "events.parquet")
    assert table["core"].null_count == table.num_rows
    rows = table.to_pylist()
    assert {r["chip"] for r in rows} == {-1, *range(tiny().n_chips)}
    fired = [r for r in rows if r["event"] == "fire" and r["operation"] == "layers.0.qkvg"]
    assert {r["token"] for r in fired} == set(range(4))
    operations = [o for p in read_run(tmp_path / "r").run.phases for o in p.counters.values()]
    served = sum(r["count"] for r in rows if r["event"] == "serve" and r["message"] == "spike")
    counted = sum(kinds.get("delivered_spike", 0) for kinds in operations)
    assert served >= counted > 0  # a core's own spikes are served, and go over no link


# ---- it says what it leaves out


def test_a_whole_trace_has_nothing_to_say(tmp_path):
    run = simulate(tiny(), prompt=PROMPT, tokens=1, trace=True, out=tmp_path / "r")
    assert run.trace.left_out == [] and run.trace.events == run.trace.rows > 1000
    assert "not complete" not in said(run)
    assert simulate(tiny(), prompt=PROMPT, tokens=1, out=tmp_path / "s").trace is None


def said(run):
    console = Console(width=400, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    render({"run_dir": "x"} | outcome(run), console)
    return console.export_text()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Tracing(window="1:2"), ["lie outside of the window 1:2"]),
        (Tracing(max_events=77), ["come after the first 77 rows"]),
        (Tracing("core"), ["messages being sent", "are put together in"]),
        (Tracing("chip", "1us:2us"), ["outside of the window 1us:2us", "no timeline"]),
    ],
)
def test_what_is_left_out_stands_in_the_folder_on_the_terminal_and_in_the_report(
    asked, words, tmp_path
):
    run = simulate(tiny(), prompt=PROMPT, tokens=1, trace=asked, out=tmp_path / "r")
    stored = read_run(tmp_path / "r").run
    assert stored == run
    told = json.loads((tmp_path / "r" / "run.json").read_text())["trace"]
    assert told["events"] > told["rows"] == pq.read_table(tmp_path / "r/events.parquet").num_rows
    report = build_report(stored, ())
    console = Console(width=400, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    render_text(report, console)
    render_html(report, stored, tmp_path / "page.html")
    page, text = (tmp_path / "page.html").read_text(), " ".join(console.export_text().split())
    for line in words:
        assert line in said(run)
        assert line in text and "trace is not complete" in text
        assert line in page and "trace is not complete" in page
        assert any(line in sentence for sentence in outcome(run)["trace"]["left_out"])


def test_counters_know_nothing_of_a_trace(tmp_path):
    plain = simulate(tiny(), prompt=PROMPT, tokens=2, out=tmp_path / "a")
    traced = simulate(
        tiny(), prompt=PROMPT, tokens=2, trace=Tracing("core", "1:2", 5), out=tmp_path / "b"
    )
    assert plain.phases == traced.phases and plain.logits_ps == traced.logits_ps


# ---- how it is asked for


@pytest.mark.parametrize(
    ("text", "column", "first", "end"),
    [
        ("3:8", "token", 3, 8),
        ("5:", "token", 5, None),
        (":2", "token", 0, 2),
        ("1us:2.5us", "time_ps", 1_000_000, 2_500_000),
        (": 7 ns", "time_ps", 0, 7000),
    ],
)
def test_windows_are_of_tokens_or_of_time(text, column, first, end):
    found = window(text)
    assert (found.column, found.first, found.end) == (column, first, end)


@pytest.mark.parametrize(
    "text", ["3", ":", "1:2:3", "8:3", "3:3", "-1:4", "1us:4", "x:y", "1us:1us", "1e9:2e9", "½:1"]
)
def test_other_windows_are_refused_by_name(text):
    with pytest.raises(BadInput) as caught:
        Tracing(window=text)
    assert caught.value.where == "--trace-window"


@pytest.mark.parametrize(("level", "most"), [("neuron", None), ("spike", 0), ("core", -1)])
def test_other_levels_and_limits_are_refused(level, most):
    with pytest.raises(BadInput):
        Tracing(level, max_events=most)
