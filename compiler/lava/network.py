"""A network that `sbcompile export --lava` wrote, run by Lava's own simulator.

    python model_lava.py [INPUT] [--out answers.npz]

Needs lava-nc and numpy, nothing else; everything of the network stands in the .npz of the same
name beside this file, as plain numbers. INPUT replaces the input in there: for a network of
spiking neurons a .npy of 0 and 1, [steps, channels]. Answers, one row per step:

    spikes/K, u/K, v/K   of population K after its update: spikes, current, membrane
    sums/K               of linear K: the int64 sums of its neurons
    names                of the populations and linears, K for K

Synapses are Dense processes with weights 2 q and an exponent of -1: Loihi's signed weights of 8
bits are even numbers, and this makes every int8 q exact. A Dense hands on in each step what it
summed in the last, so population K lags K + 1 steps; it is set to rest before its first own step.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Part = tuple[Any, Array]
"""A Lava process that sends spikes, and the channels that they are."""

GROUP = 128  # inputs that share a mantissa
MESSAGE_BITS = 24  # more than 0: a spike carries its count


def import_lava() -> Any:
    """What a network is made of, by name.

    lava-nc 0.10 gives mutable defaults to dataclass fields, which Python has refused since 3.11
    unless their class is hashable: while they are imported, dataclasses are.
    """
    plain = dataclasses.dataclass

    def hashable(cls: Any = None, **options: Any) -> Any:
        return plain(cls, **{"unsafe_hash": True} | options)

    dataclasses.dataclass = hashable
    try:
        import lava.magma.compiler.var_model  # noqa: F401
    finally:
        dataclasses.dataclass = plain
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc.dense.process import Dense
    from lava.proc.io import sink, source
    from lava.proc.lif.process import LIF
    from lava.utils.weightutils import SignMode

    return argparse.Namespace(
        RunSteps=RunSteps,
        Loihi2SimCfg=Loihi2SimCfg,
        Dense=Dense,
        LIF=LIF,
        SignMode=SignMode,
        Sink=sink.RingBuffer,
        Source=source.RingBuffer,
    )


def dense(lava: Any, q: Array, graded: bool) -> Any:
    """Synapses from q int8[n_post, n_pre], exactly."""
    return lava.Dense(
        weights=2 * q.astype(np.int32),
        weight_exp=-1,
        num_weight_bits=8,
        sign_mode=lava.SignMode.MIXED,
        num_message_bits=MESSAGE_BITS if graded else 0,
    )


class Running:
    """Lava processes that were connected, run step by step."""

    def __init__(self, lava: Any, process: Any) -> None:
        self.process = process
        self.condition = lava.RunSteps(num_steps=1)
        self.config = lava.Loihi2SimCfg(select_tag="fixed_pt")

    def __enter__(self) -> "Running":
        return self

    def step(self) -> None:
        self.process.run(condition=self.condition, run_cfg=self.config)

    def __exit__(self, *_: object) -> None:
        self.process.stop()


def mantissas(bias: Array) -> tuple[Array, Array]:
    """A bias as mantissa x 2^exponent: 13 bits and the least exponent for which nothing is lost."""
    mantissa, exponent = bias.astype(np.int64), np.zeros(bias.size, np.int64)
    while (large := np.abs(mantissa) > 4095).any():
        mantissa, exponent = np.where(large, mantissa >> 1, mantissa), exponent + large
    if (mantissa << exponent != bias).any() or exponent.max(initial=0) > 7:
        raise SystemExit("error: a bias that is no mantissa of 13 bits times 2^0 to 2^7")
    return mantissa, exponent


def populations(lava: Any, arrays: Arrays, n: int) -> list[list[Part]]:
    """Per population its LIF processes and the neurons of each: one per pair of decays."""
    found = []
    for k in range(n):
        keys = np.stack([arrays[f"{name}/{k}"] for name in ("du", "dv", "vth")], 1)
        mantissa, exponent = mantissas(arrays[f"bias/{k}"])
        kinds, kind_of = np.unique(keys, axis=0, return_inverse=True)
        parts = []
        for i, (du, dv, vth) in enumerate(kinds.tolist()):
            own = np.flatnonzero(kind_of.reshape(-1) == i)
            bias = {"bias_mant": mantissa[own], "bias_exp": exponent[own]}
            parts.append((lava.LIF(shape=own.shape, du=du, dv=dv, vth=vth, **bias), own))
        found.append(parts)
    return found


def run_neurons(lava: Any, net: dict[str, Any], arrays: Arrays, spikes: Array) -> Arrays:
    """All populations, fed spikes [steps, channels]; and the sums behind the last, if any."""
    names, readout = net["populations"], net["readout"]
    last, steps = len(names), len(spikes)
    total = steps + last + len(readout)  # the last row to come out is that many steps late
    fed = np.zeros((spikes.shape[1], total), np.int32)
    fed[:, :steps] = spikes.T
    source = lava.Source(data=fed)
    layers = populations(lava, arrays, last)
    before = [(source, np.arange(len(fed)))]
    sinks = []
    for k, parts in enumerate(layers):
        for lif, own in parts:
            for sender, channels in before:
                synapses = dense(lava, arrays[f"q/{k}"][np.ix_(own, channels)], graded=False)
                sender.s_out.connect(synapses.s_in)
                synapses.a_out.connect(lif.a_in)
            sink = lava.Sink(shape=own.shape, buffer=total)
            lif.s_out.connect(sink.a_in)
            sinks.append((k, own, sink))
        before = parts
    sums = [grouped(lava, arrays[f"q/{last + i}"], before, total) for i in range(len(readout))]
    out = {
        f"{name}/{k}": np.zeros((steps, arrays[f"du/{k}"].size), np.int32)
        for k in range(last)
        for name in ("spikes", "u", "v")
    }
    with Running(lava, source) as running:
        for now in range(total):
            for k, parts in enumerate(layers):
                if now == k + 1:  # the next step is this population's first
                    for lif, own in parts:
                        lif.u.set(np.zeros(own.size, np.int64))
                        lif.v.set(np.zeros(own.size, np.int64))
            running.step()
            for k, parts in enumerate(layers):
                if 0 <= (row := now - k - 1) < steps:
                    for lif, own in parts:
                        out[f"u/{k}"][row, own] = lif.u.get()
                        out[f"v/{k}"][row, own] = lif.v.get()
        for k, own, sink in sinks:
            out[f"spikes/{k}"][:, own] = sink.data.get()[:, k + 1 : k + 1 + steps].T
        for i, groups in enumerate(sums):
            out[f"sums/{last + i}"] = added(groups, arrays[f"m/{last + i}"], last + 1, steps)
    return out


def grouped(lava: Any, q: Array, senders: list[Part], total: int) -> list[Any]:
    """A sink per group of inputs: its sums, whoever sends them."""
    sinks = []
    for first in range(0, q.shape[1], GROUP):
        sink = lava.Sink(shape=(q.shape[0],), buffer=total)
        for sender, channels in senders:
            theirs = (channels >= first) & (channels < first + GROUP)
            weights = np.zeros((q.shape[0], channels.size), np.int8)
            weights[:, theirs] = q[:, channels[theirs]]
            if theirs.any():
                synapses = dense(lava, weights, graded=True)
                sender.s_out.connect(synapses.s_in)
                synapses.a_out.connect(sink.a_in)
        sinks.append(sink)
    return sinks


def added(sinks: list[Any], m: Array, late: int, steps: int) -> Array:
    """Y = sum over groups of m A, int64[steps, neurons]."""
    found = np.zeros((steps, m.shape[0]), np.int64)
    for g, sink in enumerate(sinks):
        sums = sink.data.get()[:, late : late + steps].T.astype(np.int64)
        found += m[:, g].astype(np.int64) * sums
    return found


def run_sums(lava: Any, q: Array, m: Array, counts: Array) -> Array:
    """One linear fed counts [tokens, channels] as graded spikes."""
    if 254 * np.abs(counts.astype(np.int64)).sum(1).max(initial=0) >= 2**31:
        raise SystemExit("error: counts so large that a sum may not fit Lava's 32 bits")
    total = len(counts) + 1
    fed = np.zeros((counts.shape[1], total), np.int32)
    fed[:, :-1] = counts.T
    source = lava.Source(data=fed)
    sinks = grouped(lava, q, [(source, np.arange(len(fed)))], total)
    with Running(lava, source) as running:
        for _ in range(total):
            running.step()
        return added(sinks, m, 1, len(counts))


def work(data: Path, given: str | None, out: str) -> None:
    """Run what `data` holds and write the answers."""
    arrays = dict(np.load(data, allow_pickle=False))
    net = json.loads(str(arrays["network"]))
    if given is not None:
        if not net["populations"]:
            raise SystemExit("error: only networks of spiking neurons take another INPUT")
        spikes = np.load(given, allow_pickle=False)
        arrays["input/0"] = spikes.reshape(len(spikes), -1)
        if not np.isin(arrays["input/0"], (0, 1)).all():
            raise SystemExit(f"error: {given}: spikes are 0 or 1")
    for k, (name, n) in enumerate(net["inputs"]):
        if f"input/{k}" not in arrays:
            raise SystemExit("error: no input in the network: give one, [steps, channels]")
        rows = arrays[f"input/{k}"]
        if rows.ndim != 2 or rows.shape[1] != n:
            raise SystemExit(f"error: input of shape {rows.shape} for {name}, {n} channels")
    lava = import_lava()
    names = [*net["populations"], *net["readout"], *net["linears"]]
    if net["populations"]:
        found = run_neurons(lava, net, arrays, arrays["input/0"])
    else:
        found = {}
        for k, (name, site) in enumerate(zip(net["linears"], net["sites"], strict=True)):
            rows = arrays[f"input/{site}"]
            found[f"sums/{k}"] = run_sums(lava, arrays[f"q/{k}"], arrays[f"m/{k}"], rows)
            print(f"{name}: done", file=sys.stderr, flush=True)
    np.savez(out, **found, names=np.array(names))  # type: ignore[arg-type]
    for k, name in enumerate(names):
        if f"spikes/{k}" in found:
            rows = found[f"spikes/{k}"]
            print(f"{name}: {rows.shape[1]} neurons, {len(rows)} steps, {rows.sum()} spikes")
        else:
            rows = found[f"sums/{k}"]
            print(f"{name}: {rows.shape[1]} sums, {len(rows)} steps")
    print(f"wrote {out}")


def main() -> None:
    """Lava waits for ever for a process of its own that died: it runs under a time limit."""
    me = Path(__file__).resolve()
    parser = argparse.ArgumentParser(description="Run an exported network in Lava's simulator.")
    parser.add_argument("input", nargs="?", help=".npy of 0 and 1, [steps, channels]")
    parser.add_argument("--out", default="answers.npz", help="answers to write")
    parser.add_argument("--seconds", type=float, default=3600, help="time limit")
    words = parser.parse_args()
    if os.environ.get("SPIKELOOM_LAVA_CHILD"):
        work(me.with_suffix(".npz"), words.input, words.out)
        return
    child = subprocess.Popen(
        [sys.executable, *sys.argv],
        env=os.environ | {"SPIKELOOM_LAVA_CHILD": "1"},
        start_new_session=True,
    )
    try:
        code = child.wait(words.seconds)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"error: Lava did not finish in {words.seconds:g} s") from None
    finally:
        if os.name == "posix":  # Lava's processes, whatever is left of them
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
