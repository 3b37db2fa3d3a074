"""A trace keeps every event exactly; its timeline says the same in whole nanoseconds."""

from collections import Counter, defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace as Packets
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackEvent

from hw_models.chip import load_chip
from simulator.hot.state import T_FIRE, T_INJECT, T_SERVE
from simulator.timeline import peaks, write_timeline
from simulator.trace import Trace, busy_cores, chip_numbers, in_flight, write_events

SPIKE, MARKER = 0, 3
OPERATIONS = ("layers.0.attn_norm", "layers.0.qkvg", "layers.0.qkvg", "host")

# time, duration, event, core, task, token, message, count
STORY = [
    (0, 7_500, T_FIRE, 0, 0, 0, -1, 0),
    (7_500, 1_000, T_INJECT, 0, 0, 0, SPIKE, 4),  # two spikes to two cores each
    (8_500, 1_000, T_INJECT, 0, 0, 0, MARKER, 2),
    (12_000, 5_000, T_SERVE, 16, 1, 0, SPIKE, 2),
    (13_000, 5_000, T_SERVE, 17, 2, 0, SPIKE, 2),
    (17_000, 500, T_SERVE, 16, 1, 0, MARKER, 1),
    (30_250, 500, T_SERVE, 17, 2, 0, MARKER, 1),
    (30_750, 2_000, T_FIRE, 17, 2, 0, -1, 0),
]


def traced(rows, operations=OPERATIONS):
    """16 cores a chip, as on the toy."""
    chips = np.repeat(np.arange(4, dtype=np.int32), 16)
    return Trace(np.array(rows, np.int64).reshape(-1, 8), operations, chips)


def packets(path):
    found = Packets()
    found.ParseFromString(path.read_bytes())
    return found.packet


def tracks(path):
    return {
        p.track_descriptor.uuid: p.track_descriptor
        for p in packets(path)
        if p.HasField("track_descriptor")
    }


def events(path, kind):
    return [p for p in packets(path) if p.HasField("track_event") and p.track_event.type == kind]


@st.composite
def traces(draw):
    """Cores that work in series, one thing after another, with pauses of 0 to 3 ns."""
    rows = []
    for core in draw(st.lists(st.integers(0, 63), unique=True, min_size=1, max_size=4)):
        now = 0
        for _ in range(draw(st.integers(1, 12))):
            now += draw(st.sampled_from([0, 0, 1, 700, 3_000]))
            task, token = draw(st.integers(0, 2)), draw(st.integers(0, 2))
            duration = draw(st.integers(0, 4_000))
            served = draw(st.booleans())
            if served:
                rows.append((0, 10, T_INJECT, 0, 0, token, SPIKE, 1))
            kind, message = (T_SERVE, SPIKE) if served else (T_FIRE, -1)
            rows.append((now, duration, kind, core, task, token, message, int(served)))
            now += duration
    return traced(rows)


def test_the_table_holds_every_event_by_name(tmp_path):
    write_events(traced(STORY), tmp_path / "e.parquet")
    table = pq.read_table(tmp_path / "e.parquet").to_pylist()
    assert [row["time_ps"] for row in table] == [row[0] for row in STORY]
    assert table[3] == {
        "time_ps": 12_000,
        "duration_ps": 5_000,
        "event": "serve",
        "chip": 1,
        "core": 16,
        "operation": "layers.0.qkvg",
        "token": 0,
        "message": "spike",
        "count": 2,
    }
    assert table[0]["message"] is None


def test_deliveries_under_way_go_from_zero_to_zero():
    time, waiting = in_flight(traced(STORY), SPIKE)
    spikes = dict(zip(time.tolist(), waiting.tolist(), strict=True))
    assert spikes == {7_500: 4, 12_000: 2, 13_000: 0}
    time, waiting = in_flight(traced(STORY), MARKER)
    markers = dict(zip(time.tolist(), waiting.tolist(), strict=True))
    assert markers == {8_500: 2, 17_000: 1, 30_250: 0}


def test_work_without_a_pause_is_one_slice():
    slices = traced(STORY).busy
    found = zip(slices.start_ps, slices.end_ps, slices.core, slices.messages, strict=True)
    assert [tuple(map(int, row)) for row in found] == [
        (0, 7_500, 0, 0),
        (12_000, 17_500, 16, 3),  # spikes, and the marker behind them
        (13_000, 18_000, 17, 2),
        (30_250, 30_750, 17, 1),  # served
        (30_750, 32_750, 17, 0),  # then fired: another event
    ]


@settings(max_examples=60, deadline=None)
@given(traces())
def test_joining_loses_no_picosecond_and_no_message(trace):
    slices = trace.busy
    works = trace.column("event") != T_INJECT
    assert (slices.end_ps - slices.start_ps).sum() == trace.column("duration_ps")[works].sum()
    assert slices.messages.sum() == trace.column("count")[works].sum()
    moments, cores = busy_cores(slices, np.ones(slices.core.size, bool))
    assert cores.min() >= 0 and cores[-1] == 0
    area = int((np.diff(moments) * cores[:-1]).sum())
    assert area == trace.column("duration_ps")[works].sum()


@settings(max_examples=30, deadline=None)
@given(trace=traces())
def test_slices_of_a_core_begin_and_end_in_turn(tmp_path_factory, trace):
    path = tmp_path_factory.mktemp("t") / "timeline.perfetto"
    assert write_timeline(trace, path) == 0
    depth, last = Counter(), defaultdict(int)
    for packet in packets(path):
        event = packet.track_event
        if event.type in (TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END):
            begins = event.type == TrackEvent.TYPE_SLICE_BEGIN
            depth[event.track_uuid] += 1 if begins else -1
            assert depth[event.track_uuid] in (0, 1)
            assert packet.timestamp >= last[event.track_uuid]
            last[event.track_uuid] = packet.timestamp
    assert not any(depth.values())


def test_a_chip_is_a_group_and_a_core_a_track_of_it(tmp_path):
    path = tmp_path / "t"
    write_timeline(traced(STORY), path)
    found = tracks(path)
    group = {t.name: t for t in found.values() if t.HasField("process")}
    assert {"chip 0", "chip 1"} <= set(group)
    cores = {t.name: found[t.parent_uuid].name for t in found.values() if t.name.startswith("core")}
    assert cores == {"core 0": "chip 0", "core 16": "chip 1", "core 17": "chip 1"}


def test_a_slice_is_named_by_its_operation(tmp_path):
    path = tmp_path / "t"
    write_timeline(traced(STORY), path)
    names = {e.iid: e.name for e in packets(path)[0].interned_data.event_names}
    begins = events(path, TrackEvent.TYPE_SLICE_BEGIN)
    assert [(p.timestamp, names[p.track_event.name_iid]) for p in begins] == [
        (0, "layers.0.attn_norm"),
        (12, "layers.0.qkvg"),
        (13, "layers.0.qkvg"),
        (30, "layers.0.qkvg"),
        (30, "layers.0.qkvg"),
    ]


def test_a_tokens_flow_touches_every_chip_once(tmp_path):
    path = tmp_path / "t"
    write_timeline(traced(STORY), path)
    found = tracks(path)
    flows = [
        (found[found[p.track_event.track_uuid].parent_uuid].name, list(p.track_event.flow_ids))
        for p in events(path, TrackEvent.TYPE_SLICE_BEGIN)
        if p.track_event.flow_ids
    ]
    assert flows == [("chip 0", [1]), ("chip 1", [1])]


def test_the_counter_of_deliveries_ends_at_zero(tmp_path):
    path = tmp_path / "t"
    write_timeline(traced(STORY), path)
    found = tracks(path)
    values = defaultdict(list)
    for packet in events(path, TrackEvent.TYPE_COUNTER):
        event = packet.track_event
        values[found[event.track_uuid].name].append(event.counter_value)
    assert values["spike deliveries under way"] == [4, 2, 0]
    assert values["marker deliveries under way"] == [2, 1, 0]


def test_a_trace_of_a_part_has_no_count_of_deliveries(tmp_path):
    path = tmp_path / "t"
    write_timeline(traced(STORY[3:]), path)  # served, but sent before it began
    found = tracks(path)
    counted = {found[p.track_event.track_uuid].name for p in events(path, TrackEvent.TYPE_COUNTER)}
    assert counted == {"busy cores"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(-9, 9)), min_size=1), st.integers(1, 9))
def test_a_thinned_counter_keeps_its_peak_and_its_end(points, most):
    time = np.sort(np.array([t for t, _ in points], np.int64))
    value = np.array([v for _, v in points], np.int64)
    kept = peaks(time, value, most)
    assert kept.size <= most + 1
    assert value[kept].max() == value.max()
    assert kept[-1] == time.size - 1
    assert (np.diff(kept) > 0).all()


def test_a_cut_timeline_says_what_is_missing(tmp_path):
    path = tmp_path / "t"
    assert write_timeline(traced(STORY), path, most=3) == 2
    assert len(events(path, TrackEvent.TYPE_SLICE_BEGIN)) == 3
    assert any("2 later slices" in t.name for t in tracks(path).values())


def test_the_same_trace_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_timeline(traced(STORY), tmp_path / name)
        write_events(traced(STORY), tmp_path / f"{name}.parquet")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_trace_without_rows_is_written(tmp_path):
    write_timeline(traced([]), tmp_path / "t")
    write_events(traced([]), tmp_path / "e")
    assert pq.read_table(tmp_path / "e").num_rows == 0


@pytest.mark.parametrize(
    ("core", "chip"), [(0, 0), (3, 0), (4, 1), (31, 7), (32, 0), (127, 7), (128, 8), (1024, -1)]
)
def test_cores_are_numbered_along_the_rows_of_the_whole_mesh(core, chip):
    layout = load_chip("toy").layout  # 8 x 8 chips of 4 x 4 routers, one core each
    assert chip_numbers(layout, 1025)[core] == chip
