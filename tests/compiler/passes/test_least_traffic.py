"""The bound on chip-link traffic holds against cuts made by hand and by search."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from compiler.frontends.read import preset
from compiler.graph import Graph, Linear, Logits, Part, Residual, Site, Swiglu
from compiler.passes.encode import encode
from compiler.passes.least_traffic import least_chip_bits
from compiler.passes.traffic import messages
from compiler.statistics import shipped_profile
from hw_models.chip import load_chip


class Weights(SimpleNamespace):
    """Stands for traffic.Messages: bits of a channel by site, of a sum by linear, of a value."""

    def channel_bits(self, site, kind):
        return self.channels[site]

    def sum_bits(self, linear, kind):
        return self.sums[linear]

    def value_bits(self, kind):
        return self.value


def mlp(hidden, inner):
    """norm -> gate_up -> swiglu -> down -> norm -> head -> logits, the head of one neuron."""

    def linear(name, site, n_pre, n_post):
        return Linear(name, site, n_pre, n_post, (Part("w", None, (0, n_post)),))

    return Graph(
        "mlp", "paper", "e", 1,
        (
            Residual("norm", None, "x", hidden, "w", 1e-6),
            Swiglu("swiglu", "gate_up", "h", inner),
            Residual("last", "down", "y", hidden, "w", 1e-6),
            Logits("logits", "head", 1),
        ),
        (Site("x", hidden, "mean-abs"), Site("h", inner, "mean-abs"),
         Site("y", hidden, "absmax16")),
        (linear("gate_up", "x", hidden, 2 * inner), linear("down", "h", inner, hidden),
         linear("head", "y", hidden, 1)),
    )  # fmt: skip


def traffic(hidden, inner, up, down, x, h, sum_up, sum_down):
    """Least bits between chips when weight (neuron, input) of each matrix is on chip up[.., ..].

    Homes and the sources of x are where they cost least; a SwiGLU channel is encoded at the home of
    its gate and up, which share one.
    """
    total = 0.0
    for i in range(hidden):  # x: one of the chips that need it has it
        total += x * (len(set(up[:, i])) - 1)
    for c in range(inner):
        users = set(down[:, c])
        touched = [set(up[2 * c]), set(up[2 * c + 1])]
        best = min(
            sum(sum_up * len(t - {home}) for t in touched) + h * len(users - {home})
            for home in touched[0] | touched[1] | users
        )
        total += best
    for o in range(hidden):
        total += sum_down * (len(set(down[o])) - 1)
    return total


@pytest.mark.parametrize("seed", range(12))
def test_no_search_finds_a_cut_below_the_bound(seed):
    """Single weights on chips of a few: hill climbing from random and from regular cuts."""
    rng = np.random.default_rng(seed)
    hidden, inner = int(rng.integers(2, 6)), int(rng.integers(2, 6))
    x, h, sum_up, sum_down = rng.uniform(1, 5, 4)
    n = 3 * hidden * inner
    cap = int(rng.integers(hidden + 1, max(hidden + 2, n // 2)))
    chips = -(-n // cap) + int(rng.integers(0, 2))
    # the head fits beside them and its one logit is free: the host is on chip 0
    weigh = Weights(channels={"x": x, "h": h, "y": 1.0},
                    sums={"gate_up": sum_up, "down": sum_down, "head": 1.0}, value=1.0)  # fmt: skip
    chip = SimpleNamespace(
        layout=SimpleNamespace(usable_cores=1, chips=(8, 8)),
        core=SimpleNamespace(synapse_memory=cap),
    )
    bound = least_chip_bits(mlp(hidden, inner), weigh, chip)

    def cost(flat):
        up = flat[: 2 * inner * hidden].reshape(2 * inner, hidden)
        down = flat[2 * inner * hidden :].reshape(hidden, inner)
        return traffic(hidden, inner, up, down, x, h, sum_up, sum_down)

    found = np.inf
    regular = np.arange(n) // cap
    for start in (regular, rng.permutation(regular), rng.permutation(np.arange(n) % chips)):
        if np.bincount(start).max() > cap:
            continue
        flat, best = start.copy(), cost(start)
        for _ in range(1500):
            a, b = rng.integers(0, n, 2)
            flat[[a, b]] = flat[[b, a]]
            new = cost(flat)
            if new <= best:
                best = new
            else:
                flat[[a, b]] = flat[[b, a]]
        found = min(found, best)
    assert bound <= found + 1e-9


def test_a_model_on_one_chip_needs_no_chip_link():
    weigh = Weights(channels={"x": 9.0, "h": 9.0, "y": 9.0},
                    sums={"gate_up": 9.0, "down": 9.0, "head": 9.0}, value=9.0)  # fmt: skip
    chip = SimpleNamespace(
        layout=SimpleNamespace(usable_cores=2, chips=(8, 8)),
        core=SimpleNamespace(synapse_memory=100),
    )
    assert least_chip_bits(mlp(4, 4), weigh, chip) == 0


@pytest.mark.parametrize("name", ["spikingbrain-7b", "qwen2.5-7b"])
def test_of_full_size_models_it_is_most_of_what_a_hand_made_cut_costs(name):
    """Per layer: gate-up in columns of whole chips, down in rows; each crossing counted once."""
    graph, chip = preset(name), load_chip("loihi-like")
    weigh = messages(graph, encode(graph, chip, "bitwise", 3.0), chip, shipped_profile())
    cap = 122 * 131_072
    spike, total = 1.13 * 32, 384 / 8  # bits of a channel; of a partial sum, eight to a message
    up = (3584 * 37_888 / cap - 1) * 3584 * spike
    down = 18_944 * spike + (3584 * 18_944 / cap - 1) * 3584 * total
    head = (3584 * 152_064 / cap - 1) * 3584 * 64
    per_chip, logits = cap / 3584, 0.0
    for distance in range(9):  # so many chips of the board lie at most so far from the corner
        near = (distance + 1) * (distance + 2) / 2
        logits += max(0.0, 152_064 - near * per_chip) * 288 / 8
    by_hand = 28 * (up + down) + head + logits
    found = least_chip_bits(graph, weigh, chip)
    assert 0.9 * by_hand < found < by_hand


def test_smaller_chips_mean_more_traffic():
    graph, found = preset("spikingbrain-7b"), []
    for cores in (122, 60, 30):
        chip = load_chip("loihi-like", {"layout.usable_cores": str(cores)})
        weigh = messages(graph, encode(graph, chip, "bitwise", 3.0), chip, shipped_profile())
        found.append(least_chip_bits(graph, weigh, chip))
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_denser_spikes_mean_more_traffic():
    graph, chip = preset("spikingbrain-7b"), load_chip("loihi-like")
    codes = encode(graph, chip, "bitwise", 3.0)
    sparse = shipped_profile()
    dense = replace(sparse, spikes_per_channel={"bitwise": 2.26})
    bits = [least_chip_bits(graph, messages(graph, codes, chip, s), chip) for s in (sparse, dense)]
    assert bits[0] < bits[1] < 2 * bits[0]
