"""A trace as a timeline for ui.perfetto.dev (TrackEvent protobuf, names interned).

Perfetto's unit is the nanosecond: times are rounded down, events.parquet has them exactly.
What a core does without a pause for one operation and token is one slice. There is a group
per chip with a track per core and the number of its busy cores, a counter of the deliveries
under way per class of message (where the trace saw every one begin and end), and one flow per
token: arrows from chip to chip as it goes through the model. Counters keep the peak of every
stretch of time.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackEvent
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

from hw_models.events import MESSAGES
from simulator.trace import EVENTS, Slices, Trace, busy_cores, in_flight

MOST_SLICES: Final = 500_000
"""Slices of a timeline; browsers do not open many more. events.parquet keeps every row."""

MOST_POINTS: Final = 20_000
"""Points of one counter."""

_PS: Final = 1000  # per nanosecond
_SEQUENCE: Final = 1
_SYSTEM = 1  # uuids: message classes, chips and cores follow


def write_timeline(trace: Trace, path: Path, most: int = MOST_SLICES) -> int:
    """Write the first `most` slices; returns how many were left out (the timeline says so)."""
    slices = trace.busy
    left_out = max(0, slices.start_ps.size - most)
    with path.open("wb") as file:
        timeline = _Timeline(StreamingTraceProtoBuilder(file), trace)
        timeline.tracks(slices, left_out)
        timeline.counters(slices)
        timeline.slices(slices, most)
    return left_out


class _Timeline:
    """Writes packets; a track's uuid follows from its chip or core number."""

    def __init__(self, builder: StreamingTraceProtoBuilder, trace: Trace) -> None:
        self.builder, self.trace = builder, trace
        self.chips = sorted({int(c) for c in trace.core_chip})
        self.names = sorted(set(trace.task_operation))

    def chip_uuid(self, chip: int) -> int:
        return 10 + 2 * self.chips.index(chip)

    def core_uuid(self, core: int) -> int:
        return 10 + 2 * len(self.chips) + core

    def packet(self, time_ps: int | None = None) -> Any:
        packet = self.builder.create_packet()
        packet.trusted_packet_sequence_id = _SEQUENCE
        if time_ps is not None:
            packet.timestamp = time_ps // _PS
            packet.sequence_flags = TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        return packet

    def tracks(self, slices: Slices, left_out: int) -> None:
        """Names of operations, then chips, their counters and their cores."""
        first = self.packet()
        first.sequence_flags = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        for i, name in enumerate(self.names):
            entry = first.interned_data.event_names.add()
            entry.iid, entry.name = i + 1, name
        self.builder.write_packet(first)
        cut = f" (cut: {left_out:,} later slices are in events.parquet only)" if left_out else ""
        self._track(_SYSTEM, f"system{cut}", process=1)
        for i, chip in enumerate(self.chips):
            uuid = self.chip_uuid(chip)
            self._track(uuid, "host" if chip < 0 else f"chip {chip}", process=2 + i)
            self._track(uuid + 1, "busy cores", parent=uuid, unit="cores")
        for core in np.unique(slices.core):
            chip = int(self.trace.core_chip[core])
            self._track(self.core_uuid(int(core)), f"core {core}", parent=self.chip_uuid(chip))

    def _track(
        self, uuid: int, name: str, *, parent: int = 0, process: int = 0, unit: str = ""
    ) -> None:
        packet = self.packet()
        track = packet.track_descriptor
        track.uuid, track.name = uuid, name
        if parent:
            track.parent_uuid = parent
        if process:
            track.process.pid, track.process.process_name = process, name
        if unit:
            track.counter.unit_name = unit
        self.builder.write_packet(packet)

    def counters(self, slices: Slices) -> None:
        for i, name in enumerate(MESSAGES):
            time, waiting = in_flight(self.trace, i)
            if waiting.size and waiting.min() >= 0 and waiting[-1] == 0:
                uuid = _SYSTEM + 1 + i
                self._track(uuid, f"{name} deliveries under way", parent=_SYSTEM, unit="messages")
                self._counter(uuid, time, waiting)
        chip = self.trace.core_chip[slices.core]
        for number in self.chips:
            moments = busy_cores(slices, chip == number)
            self._counter(self.chip_uuid(number) + 1, *moments)

    def _counter(self, uuid: int, time_ps: NDArray[np.int64], value: NDArray[np.int64]) -> None:
        kept = peaks(time_ps // _PS, value)
        for time, number in zip(time_ps[kept].tolist(), value[kept].tolist(), strict=True):
            packet = self.packet(time)
            event = packet.track_event
            event.type, event.track_uuid = TrackEvent.TYPE_COUNTER, uuid
            event.counter_value = number
            self.builder.write_packet(packet)

    def slices(self, slices: Slices, most: int) -> None:
        seen: set[tuple[int, int]] = set()  # (token, chip): the token's flow touches each once
        number = {name: i + 1 for i, name in enumerate(self.names)}
        for i in range(min(most, slices.start_ps.size)):
            core, token = int(slices.core[i]), int(slices.token[i])
            chip = int(self.trace.core_chip[core])
            packet = self.packet(int(slices.start_ps[i]))
            event = packet.track_event
            event.type, event.track_uuid = TrackEvent.TYPE_SLICE_BEGIN, self.core_uuid(core)
            event.name_iid = number[self.trace.task_operation[int(slices.task[i])]]
            _note(event, "token", token)
            _note(event, "messages", int(slices.messages[i]))
            _note(event, "event", EVENTS[int(slices.event[i])])
            if (token, chip) not in seen:
                seen.add((token, chip))
                event.flow_ids.append(token + 1)
            self.builder.write_packet(packet)
            packet = self.packet(int(slices.end_ps[i]))
            packet.track_event.type = TrackEvent.TYPE_SLICE_END
            packet.track_event.track_uuid = self.core_uuid(core)
            self.builder.write_packet(packet)


def peaks(
    time: NDArray[np.int64], value: NDArray[np.int64], most: int = MOST_POINTS
) -> NDArray[np.int64]:
    """Indices of at most about `most` points: the highest of every stretch, and the last one."""
    if not time.size:
        return np.zeros(0, np.int64)
    width = max(1, -(-int(time[-1] - time[0] + 1) // most))
    stretch = (time - time[0]) // width
    # within a stretch the highest value comes last
    order = np.lexsort((value, stretch))
    last = np.append(np.diff(stretch[order]) > 0, True)
    return np.unique(np.append(order[last], time.size - 1))


def _note(event: Any, name: str, value: int | str) -> None:
    note = event.debug_annotations.add()
    note.name = name
    if isinstance(value, int):
        note.int_value = value
    else:
        note.string_value = value
