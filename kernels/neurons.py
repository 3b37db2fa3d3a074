"""Spiking neurons in discrete time: one step per token, elementwise, float32 state.

NIR (Pedersen et al., Nature Communications 15, 2024) defines its neurons by differential
equations. One step of length dt goes the share `a` of the way from where a leaky variable is
to where its input pulls it:

    a = dt / tau              forward Euler, as in snnTorch and Norse
    a = 1 - exp(-dt / tau)    exact for an input that is constant over the step, as in Sinabs

With I = W s + b, the linear's output for the step's spikes s:

    if, i             v' = v + r I
    lif, li           v' = v + a_mem ((v_leak - v) + r I)
    cubalif, cubali   i' = i + a_syn (w_in I - i)
                      v' = v + a_mem ((v_leak - v) + r i')
    threshold         v' = I
    loihi             in integers: kernels.loihi

A neuron spikes where v' > v_threshold, strictly, and v' is v_reset afterwards. i, li and cubali
have no threshold: their output is v'. A sequence begins at rest: v = v_leak (0 without a leak),
i = 0. An integrator has no time constant, so a step is its unit of time, as in Norse, Sinabs,
Lava and SpiNNaker2. Synapses are updated before membranes, as in snnTorch and Norse.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from kernels import loihi


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table: parameters, one float32[n] each; state variables; whether it spikes."""

    parameters: tuple[str, ...]
    state: tuple[str, ...]
    spikes: bool


_LEAK: Final = ("a_mem", "r", "v_leak")
_SYNAPSE: Final = ("a_syn", "w_in")
_FIRE: Final = ("v_threshold", "v_reset")

NEURONS: Final = {
    "if": Kind(("r", *_FIRE), ("v",), True),
    "lif": Kind((*_LEAK, *_FIRE), ("v",), True),
    "cubalif": Kind((*_SYNAPSE, *_LEAK, *_FIRE), ("v", "i"), True),
    "threshold": Kind(("v_threshold",), (), True),
    "i": Kind(("r",), ("v",), False),
    "li": Kind(_LEAK, ("v",), False),
    "cubali": Kind((*_SYNAPSE, *_LEAK), ("v", "i"), False),
    "loihi": Kind(("du", "dv", "bias", "vth"), ("v", "i"), True),
}


def population(
    op: Any,
    vectors: Mapping[str, Tensor],
    memory: MutableMapping[object, Any],
    y: Tensor,
    position: int,
) -> Tensor:
    """One step of a compiler.graph.Population: currents float32[n] -> spikes (0, 1) or membranes.

    Elementwise, with one rounding per operation: any part of the neurons alone, with its part
    of the vectors and a memory of its own, gives the same bits.
    """
    kind = NEURONS[op.neuron]
    p = {name: vectors[key] for name, key in zip(kind.parameters, op.parameters, strict=True)}
    old = memory.get(op.name)
    if op.neuron == "loihi":
        rest = torch.zeros_like(y, dtype=torch.int32)
        memory[op.name], fired = loihi.step(p, old or {"v": rest, "i": rest}, y.round())
        return fired.float()
    if old is None:
        old = {"v": p.get("v_leak", torch.zeros_like(y)), "i": torch.zeros_like(y)}
    new = _integrate(p, old, y)
    fired = new["v"] > p["v_threshold"] if kind.spikes else None
    if "v_reset" in p:
        new["v"] = torch.where(fired, p["v_reset"], new["v"])
    if kind.state:
        memory[op.name] = new
    return new["v"] if fired is None else fired.float()


def _integrate(
    p: Mapping[str, Tensor], old: Mapping[str, Tensor], drive: Tensor
) -> dict[str, Tensor]:
    """State after one step, before any reset; what a kind lacks among its parameters it skips."""
    new = {}
    if "a_syn" in p:
        new["i"] = drive = old["i"] + p["a_syn"] * (p["w_in"] * drive - old["i"])
    if "a_mem" in p:
        new["v"] = old["v"] + p["a_mem"] * ((p["v_leak"] - old["v"]) + p["r"] * drive)
    elif "r" in p:
        new["v"] = old["v"] + p["r"] * drive
    else:
        new["v"] = drive
    return new
