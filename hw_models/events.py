"""The closed list of event kinds that costs, counters and the ledger share.

A kind is what one counter counts; DESIGN section 3.5 defines the words. Hop
kinds count flits on links, so that a long message costs what it occupies.
"""

from typing import Final, Literal

Level = Literal["arithmetic", "memory", "network", "rest"]

LEVELS: Final[tuple[Level, ...]] = ("arithmetic", "memory", "network", "rest")
"""Ledger levels in the order they are added; `static` comes last, from time, not events."""

MESSAGES: Final = ("spike", "partial", "value", "marker")
"""Message classes, in the order of their numeric codes in programs and engines."""

LINKS: Final = ("local", "x", "y", "chip_x", "chip_y", "host")
"""Link kinds, in the order of their numeric codes in programs and engines."""

KINDS: Final[dict[str, tuple[Level, str]]] = {
    # linear layers
    "synop_add": ("arithmetic", "delivered spike of weight 1 x stored synapse"),
    "synop_shift": ("arithmetic", "delivered bitwise spike (weight 2^b) x stored synapse"),
    "synop_mac": ("arithmetic", "delivered graded spike x stored synapse"),
    "group_mac": (
        "arithmetic",
        "mantissa x accumulator at the end of a token (one per neuron and group)",
    ),
    "partial_add": ("arithmetic", "int64 addition of one partial sum at its home core"),
    "weight_fetch": ("memory", "8-bit weight read from synapse memory"),
    "axon_lookup": ("memory", "delivered spike looked up in the core's in-axon table"),
    "acc_access": ("memory", "accumulator read or written outside a synop (clear, sum)"),
    # messages and their way
    "msg_spike": ("network", "spike injected"),
    "msg_partial": ("network", "message of partial sums injected"),
    "msg_value": ("network", "message of values (residual, q/k/v, V_th, norm scale) injected"),
    "msg_marker": ("network", "end-of-token marker injected"),
    "delivered_spike": ("network", "spike delivered to a core"),
    "delivered_partial": ("network", "message of partial sums delivered to a core"),
    "delivered_value": ("network", "message of values delivered to a core"),
    "delivered_marker": ("network", "marker delivered to a core"),
    "flit_local": ("network", "flit on a core's injection link"),
    "flit_x": ("network", "flit over one east-west hop"),
    "flit_y": ("network", "flit over one north-south hop"),
    "flit_chip_x": ("network", "flit over one east-west chip-to-chip link"),
    "flit_chip_y": ("network", "flit over one north-south chip-to-chip link"),
    # neurons and the vector work between linears
    "neuron_update": ("rest", "neuron updated: once per token, under barrier sync per step"),
    "encode": ("rest", "channel divided by V_th, rounded and coded"),
    "vec_add": ("rest", "vector addition, subtraction or comparison"),
    "vec_mul": ("rest", "vector multiplication"),
    "vec_exp": ("rest", "exponential (softmax, sigmoid, SiLU, decay)"),
    "vec_div": ("rest", "division"),
    "vec_sqrt": ("rest", "square root"),
    "vec_read": ("rest", "operand read from core memory"),
    "vec_write": ("rest", "result written to core memory"),
    "state_read": ("rest", "byte of recurrent state (GLA, KV) read"),
    "state_write": ("rest", "byte of recurrent state (GLA, KV) written"),
    "host_bit": ("rest", "bit carried between host and chip"),
    # crossbar arrays, instead of synops and weight fetches
    "row_drive": ("arithmetic", "row of a crossbar array driven in one step"),
    "array_read": ("arithmetic", "crossbar array read in one step"),
    "adc_convert": ("arithmetic", "column of a crossbar array converted in one step"),
    "shift_add": ("arithmetic", "converted code shifted and added to a sum"),
}


def level_of(kind: str) -> Level:
    """Ledger level of a kind; KeyError for a kind outside the closed list."""
    return KINDS[kind][0]
