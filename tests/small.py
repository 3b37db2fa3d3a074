"""Small random models for laws: quick to run, but with several groups, tiles, chips and rings."""

from collections import Counter
from functools import cache

from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.gla_swa import build
from compiler.graph import Graph
from compiler.weights import quantize
from examples.byte_lm.model import random_checkpoint
from kernels.canonical import Numbers, TokenTrace, execute
from simulator.drive import Simulation

# 192 inputs are two groups, the last one short; 288 three; window 5 wraps; 2 heads share a k and v
SMALL = GlaSwaConfig(
    vocab_size=40,
    hidden_size=192,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=3,
    intermediate_size=288,
    sliding_window=5,
)
TEXT = (3, 17, 17, 39, 0, 8, 21, 5, 30, 11)


@cache
def model(seed: int, config: GlaSwaConfig = SMALL) -> tuple[Graph, dict, Numbers]:
    """Graph, float tensors and quantised numbers of a random model."""
    tensors = random_checkpoint(config, seed)["state_dict"]
    graph = build(config, f"small-{seed}")
    return graph, tensors, quantize(graph, tensors)


@cache
def reference(seed: int, config: GlaSwaConfig = SMALL, text: tuple = TEXT) -> list[TokenTrace]:
    """What the canonical executor says about a random model."""
    graph, _, numbers = model(seed, config)
    return list(execute(graph, numbers, text))


def prefilled(program, text=TEXT, slots=None, sync=None) -> Simulation:
    """All tokens started at once, run to the end, every sum kept."""
    simulation = Simulation(program, slots=slots, sync=sync, keep_sums=True)
    for token in text:
        simulation.start(token, 0)
    for _ in simulation.advance():
        pass
    return simulation


def decoded(program, text=TEXT, sync=None) -> Simulation:
    """The same tokens, each started when the one before is finished."""
    simulation = Simulation(program, sync=sync, keep_sums=True)
    end = 0
    for token in text:
        simulation.start(token, end)
        *_, (_, end, _) = simulation.advance()
    return simulation


def assert_equal(simulation: Simulation, wanted: list[TokenTrace]) -> None:
    """Counts and thresholds at every site, sums of every linear, logits: ==."""
    found, seen = simulation.found, Counter()
    for token, want in enumerate(wanted):
        for site, counts in want.counts.items():
            row = seen["site", site]  # an expert has one for the tokens that chose it
            assert (found.activity.counts[site][row] == counts).all(), (site, token)
            assert found.activity.v_th[site][row] == want.v_th[site], (site, token)
        for linear, sums in want.sums.items():
            assert (found.sums[linear][seen["linear", linear]] == sums).all(), (linear, token)
        seen += Counter([("site", name) for name in want.counts])
        seen += Counter([("linear", name) for name in want.sums])
        assert (found.logits[token] == want.logits).all(), token
    assert len(found.logits) == len(wanted)
    recorded = Counter({("site", name): len(rows) for name, rows in found.activity.counts.items()})
    recorded += Counter({("linear", name): len(rows) for name, rows in found.sums.items()})
    assert recorded == seen
