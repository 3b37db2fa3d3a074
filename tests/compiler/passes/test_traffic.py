"""Bits on links, counted by hand for the toy chip: flits of 32 bits."""

import pytest

from compiler.passes.encode import encode
from compiler.passes.traffic import messages
from compiler.statistics import shipped_profile
from compiler.tasks import Net, Task, Tile
from hw_models.chip import load_chip
from tests.small import model
from tests.tiny import TINY

GRAPH = model(0, TINY)[0]
CHIP = load_chip("toy")


def weigh(coding="bitwise"):
    return messages(GRAPH, encode(GRAPH, CHIP, coding, 3.0), CHIP, shipped_profile())


NORM = Task("norm", "layers.0.attn_norm", 0, channels=(0, 32), site="layers.0.attn_in")


def test_spikes_are_expected_ones_and_one_marker_ends_them():
    """A spike has 24 + 6 bits: one flit. A marker has 32 + 96 bits: four."""
    net = Net(0, "spike", 0, 20, (1,))
    assert weigh().link_bits(net, NORM, "x") == pytest.approx(20 * 1.13 * 32 + 128)
    assert weigh("ternary").link_bits(net, NORM, "x") == pytest.approx(20 * 3.0 * 32 + 128)


def test_dense_sites_send_every_channel_in_two_flits():
    """24 + 16 bits."""
    last = Task("norm", "final_norm", 0, channels=(0, 32), site="head_in")
    assert weigh().link_bits(Net(0, "spike", 0, 10, (1,)), last, "x") == 10 * 64 + 128


@pytest.mark.parametrize("source", ["tile", "sum"])
def test_sums_travel_eight_to_a_message(source):
    """31 bits each (32 inputs, k = 3); 64 of header: 10 flits for eight, 4 for two."""
    name = "layers.0.o"
    tile = Tile(name, 0, 32, 0, 10, 1) if source == "tile" else None
    task = Task("some", name, 0, tile=tile, neurons=(0, 10))
    bits = weigh().sums[name]
    assert bits == 1 + 29  # 127 * 32767 * 32 * 3.5 is a little less than 2^29
    wanted = -(-(64 + 8 * bits) // 32) * 32 + -(-(64 + 2 * bits) // 32) * 32
    assert weigh().link_bits(Net(0, "partial", 0, 10, (1,)), task, "x") == wanted
    assert weigh().sum_bits(name, "x") == -(-(64 + 8 * bits) // 32) * 32 / 8


def test_values_for_one_stripe_of_several_are_sent_now_and_then():
    """3 values: 32 + 96 bits; every fourth token."""
    net = Net(0, "value", 0, 3, (1,), period=4, residue=2)
    assert weigh().link_bits(net, NORM, "x") == 128 / 4
    assert weigh().value_bits("x") == (32 + 8 * 32) / 8
