"""What one simulation produced, and the folder it is kept in.

run.json          what was run: model, target (fully resolved), coding, prompt, text, times
counters.json     {phase: {operation: {kind: count}}}, keys sorted: same run, same bytes
activity.parquet  one row per (site, token): V_th and the int32 counts
events.parquet, timeline.perfetto   with --trace
provenance.json   host, date, versions, wall time: apart, so that the rest is reproducible
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hw_models.si import whole

Counters = Mapping[str, Mapping[str, int]]
"""{operation: {event kind: count}}; kinds are those of hw_models.events."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of simulated time: `prefill` (prompt), `decode` (one token in flight), or the
    `steps` of a network of spiking neurons.
    """

    name: str
    tokens: int  # tokens processed in it
    start_ps: int
    end_ps: int
    counters: Counters
    max_streams: int  # as many sequences have room beside each other on the busiest core and link
    steps: int = 0  # barriers that fell in it; none under dataflow
    # {linear: tokens} of linears that did not run for all: the head of a prompt, experts
    ran: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SiteActivity:
    """Spiking of one site over the run; densities by their three definitions (DESIGN 3.2)."""

    site: str
    n: int
    tokens: int
    spikes: int
    silent: int  # (channel, token) pairs without a spike
    steps: int  # sum over tokens of T
    max_count: int


@dataclass(frozen=True, slots=True)
class LinearError:
    """Analog sums of one linear against the exact ones of the same counts, in units of the
    exact sums' root mean square: that of the errors, and the largest error."""

    rms: float
    largest: float


@dataclass(frozen=True, slots=True)
class AnalogError:
    """What converters and cells of a crossbar changed.

    kl, same_top: of the logits against those of exact sums on the same tokens, in nats, and the
    share of tokens with the same most likely next one
    """

    conversions: int
    clipped: int  # of these, beyond the converter's range
    linears: Mapping[str, LinearError]
    logits: int  # tokens compared
    kl: float
    same_top: float


@dataclass(frozen=True, slots=True)
class BufferUse:
    """Buffers at the ends of one kind of link."""

    flits: int  # that one holds; 0: without an end
    high_water_flits: int  # most that one held
    stalled_ps: int  # all links added up: a message waited for room, and for nothing else


@dataclass(frozen=True, slots=True)
class Buffers:
    """What links with finite buffers came to; queues of cores have no end."""

    links: Mapping[str, BufferUse]  # by kind
    injection_high_water: int  # most messages that waited to leave one core, or the host
    ejection_high_water: int  # most messages that were at one core, which was not done with them


@dataclass(frozen=True, slots=True)
class Traced:
    """What a trace holds of a run, and what it leaves out; counters know nothing of it.

    events = outside + sends + beyond + what its rows stand for
    """

    level: str  # "chip", "core" or "spike"
    window: str  # as asked for; "" for the whole run
    max_events: int | None  # rows, as asked for
    events: int  # of the engine: messages sent and served, tasks fired
    outside: int  # of the window
    sends: int  # messages being sent: level core has no rows for them
    beyond: int  # the last of the rows
    rows: int  # of events.parquet
    only_in_table: int  # stretches of work that the timeline lacks

    @property
    def left_out(self) -> list[str]:
        """What the trace does not show of the run, in sentences; none where it shows all."""
        of = f"of {whole(self.events)} events"
        said = {
            f"{whole(self.outside)} {of} lie outside of the window {self.window}": self.outside,
            f"{whole(self.beyond)} {of} come after the first {whole(self.rows)} rows": self.beyond,
            f"{whole(self.sends)} {of} are messages being sent (no rows at level core)": self.sends,
            f"the timeline lacks {whole(self.only_in_table)} later stretches of work, which are in "
            "events.parquet": self.only_in_table,
        }
        single = self.events - self.outside - self.sends - self.beyond
        if self.level != "spike":
            together = f"{whole(single)} events are put together in {whole(self.rows)} rows"
            said[f"{together} (level {self.level})"] = 1
        if self.level == "chip":
            said["level chip has no timeline"] = 1
        return [text for text, true in said.items() if true]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sample says of all tokens: their total, and how much more or less it may be.

    margin: half of the confidence interval; freedom: degrees of freedom of its Student's t;
    simulated: the sum of what was simulated, from which the rest follows
    """

    total: float
    margin: float
    freedom: float
    simulated: float


@dataclass(frozen=True, slots=True)
class Window:
    """One token decoded at a position of the text (0 for the first token of the prompt)."""

    position: int
    ps: int  # from the start of its embedding to its logits at the host
    counts: Mapping[str, int]  # by event kind, operations added up


@dataclass(frozen=True, slots=True)
class Sampled:
    """Of the tokens that a long text decodes, only those at some positions were simulated.

    The phase `decode` of the run, and all counters, are of these windows alone. estimates: of all
    decoded tokens (simulator.estimates), for a single stream.
    """

    context: int  # positions: the prompt's tokens and the decoded ones
    prompt: int  # of these; simulated one by one
    seed: int
    strata: tuple[tuple[int, int], ...]  # positions first to end - 1; together all decoded tokens
    windows: tuple[Window, ...]
    confidence: float
    method: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def decoded(self) -> int:
        return self.context - self.prompt


@dataclass(frozen=True, slots=True)
class Run:
    """A finished simulation."""

    model: str
    target: str
    profile: str
    coding: str
    k: float
    program_hash: str
    chip: Mapping[str, Any]  # the fully resolved target, as hw_models.chip writes it
    prompt: tuple[int, ...]
    generated: tuple[int, ...]
    text: str  # prompt and continuation, decoded
    logits_ps: tuple[int, ...]  # per sampled token: when its logits reached the host
    phases: tuple[Phase, ...]
    sites: tuple[SiteActivity, ...]
    macs_per_token: int  # dense multiply-accumulates in linears
    operations: Mapping[str, Mapping[str, Any]]  # op -> {"kind", "where", "macs", "n_cores", ...}
    n_chips: int
    n_cores: int
    max_streams: int
    # the engine's own: events processed, high-water marks
    events: Mapping[str, int] = field(default_factory=dict)
    analog: AnalogError | None = None  # of a crossbar whose sums are not exact by definition
    sync: str = "dataflow"  # as run: the target's, or another that was asked for
    unit: str = "token"  # or "step": then there is no text, and logits_ps are the outputs' times
    outputs: tuple[float, ...] = ()  # of steps: spikes per output neuron, or its mean membrane
    outputs_are: str = ""  # "spikes" or "values"
    workload: str = "functional"  # "replay" and "profile" have counts, and no text or outputs
    counts_from: str = ""  # of those: where the counts come from
    trace: Traced | None = None
    buffers: Buffers | None = None  # None: no buffer of the target has an end
    sampled: Sampled | None = None  # then `decode` holds some of the text's tokens only

    @property
    def winner(self) -> int | None:
        """The class that the outputs name: the largest, the first of equals; None where no output
        neuron has spiked."""
        if not self.outputs or (self.outputs_are == "spikes" and not any(self.outputs)):
            return None
        return max(range(len(self.outputs)), key=lambda i: (self.outputs[i], -i))

    @property
    def time_to_first_token_s(self) -> float:
        return self.logits_ps[0] * 1e-12

    @property
    def tokens_per_s(self) -> float:
        """Rate of decoding, or of steps; NaN when no token was decoded."""
        decode = [p for p in self.phases if p.name in ("decode", "steps") and p.tokens]
        if not decode:
            return float("nan")
        return decode[0].tokens / ((decode[0].end_ps - decode[0].start_ps) * 1e-12)
