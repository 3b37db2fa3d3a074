"""The same mapped network in SANA-FE, and our counts priced as SANA-FE prices its own.

SANA-FE 2.2.9 (GPL) runs in an environment and a process of its own: `make test-sanafe`. Of its
package only names and meanings are used here: an architecture file and its Python interface.

What corresponds: a part of a population is on the core of ours; the host is a core of its own on
the router where our host sits, whose input units, one per channel, cost nothing. In SANA-FE a
spike is heard in the step after it left, so that layer k is k steps behind the host
(simulator.step_time.in_chip_steps).
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from compiler.accounting import TreeFacts, tree_facts
from compiler.graph import Population
from hw_models.events import LINKS
from hw_models.mesh import Mesh
from kernels.neurons import NEURONS
from simulator.lockstep import Lockstep, Steps
from simulator.senders import StepCosts
from simulator.step_time import Delivered, delivered, in_chip_steps

PYTHON = Path(os.environ.get("SANAFE_PYTHON", "build/sanafe/bin/python"))
PROCESS = Path(__file__).with_name("sana_fe_process.py")

# SANA-FE, arch/loihi.yaml, in fJ and ps: integers, so that no sum rounds
FJ = {"access": 51_200, "update": 21_600, "fire": 69_300, "send": 111_000, "synop": 35_500,
      "hop_x": 3_000, "hop_y": 4_200}  # fmt: skip
PS = {"access": 6_000, "update": 3_700, "fire": 30_000, "send": 5_100, "receive": 16_000,
      "synop": 3_800, "hop_x": 4_100, "hop_y": 6_500, "barrier": 1_800_000}  # fmt: skip
COSTS = StepCosts(
    access=PS["access"], update=PS["update"], fire=PS["fire"], send=PS["send"],
    receive=PS["receive"], synop=PS["synop"], barrier=PS["barrier"],
    held={"x": 291, "y": 291},  # loihi1's links; SANA-FE's carry any number at once
    hop={"x": PS["hop_x"], "y": PS["hop_y"]},
)  # fmt: skip


def gesture_file() -> Path:
    """Weights, thresholds and one input of the DVS gesture network, in SANA-FE's package."""
    (found,) = PYTHON.parent.parent.glob(
        "lib/python*/site-packages/sanafe/examples/dvs_challenge.npz"
    )
    return found


@dataclass(frozen=True, slots=True)
class Priced:
    """Our counts per step, as SANA-FE counts and prices them: int64[step]."""

    fired: np.ndarray  # the host's channels included
    updated: np.ndarray
    packets: np.ndarray
    hops: np.ndarray
    synops: np.ndarray
    synapse_fj: np.ndarray
    soma_fj: np.ndarray
    network_fj: np.ndarray

    def after(self, lead: int) -> "Priced":
        """Without the first steps."""
        return Priced(*(getattr(self, f.name)[lead:] for f in fields(self)))

    @property
    def energy_fj(self) -> np.ndarray:
        return self.synapse_fj + self.soma_fj + self.network_fj

    def totals(self) -> dict[str, int]:
        """By SANA-FE's names."""
        return {
            "spikes": int(self.synops.sum()),
            "packets_sent": int(self.packets.sum()),
            "neurons_updated": int(self.updated.sum()),
            "neurons_fired": int(self.fired.sum()),
        }


def priced(
    lockstep: Lockstep,
    steps: Steps,
    came: Delivered | None = None,
    facts: TreeFacts | None = None,
) -> Priced:
    """Spikes that leave for the host have no counterpart in SANA-FE. came, facts: what `delivered`
    and tree_facts give, if that is known."""
    came = came or delivered(lockstep, steps)
    program, parts, ways = lockstep.program, lockstep.parts, lockstep.ways
    fired, active = in_chip_steps(lockstep, steps.fired), in_chip_steps(lockstep, steps.active)
    on_chip = parts.layer > 0
    inner = ways.core != program.host_core
    links = (facts or tree_facts(program)).links[ways.tree]

    def per_spike(values: np.ndarray) -> np.ndarray:
        """Of every part, over all its ways to cores."""
        return np.bincount(ways.part, values * inner, parts.core.size).astype(np.int64)

    hops = {axis: fired @ per_spike(links[:, LINKS.index(axis)]) for axis in "xy"}
    packets, synops = per_spike(np.ones(inner.size)), came.synops.sum(1)
    of_neurons = fired @ on_chip
    return Priced(
        fired=fired.sum(1),
        updated=active.sum(1) + fired @ ~on_chip,
        packets=fired @ packets,
        hops=hops["x"] + hops["y"],
        synops=synops,
        synapse_fj=synops * FJ["synop"],
        soma_fj=int(parts.size[on_chip].sum()) * FJ["access"]
        + active.sum(1) * FJ["update"]
        + of_neurons * FJ["fire"],
        network_fj=fired @ packets * FJ["send"] + hops["x"] * FJ["hop_x"] + hops["y"] * FJ["hop_y"],
    )


def run_peer(
    lockstep: Lockstep,
    spikes: np.ndarray,
    weights: Sequence[np.ndarray | csr_array],
    *,
    timings: Sequence[str] = ("simple",),
    threads: int = 1,
    repeats: int = 1,
    trace: bool = True,
    gain: int = 1,
    timeout_s: float = 600,
) -> dict:
    """What SANA-FE finds; weights[layer] [input, neuron] as in the model, a matrix or a list.

    gain: factor on weights, thresholds and resets; SANA-FE rounds potentials to 1/64.
    """
    program = lockstep.program
    mesh = Mesh(*program.chip.layout.chips, *program.chip.layout.routers,
                program.chip.layout.cores_per_router)  # fmt: skip
    tiles = [y * mesh.width + x for x in range(mesh.width) for y in range(mesh.height)]
    place = {tile: i for i, tile in enumerate(tiles)}  # SANA-FE's mesh is filled column by column
    per = mesh.cores_per_router
    host = per - 1 if per - 1 not in lockstep.parts.core else per  # on the first tile

    def core_of(core: int) -> int:
        """The first tile has one core more if all of its own are in use."""
        at = place[core // per] * per + core % per
        return at if at < per else at + host + 1 - per

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "spikes.npy", spikes)
        (folder / "arch.yaml").write_text(
            _architecture(mesh, host, spikes.shape[1], program.chip.core.neurons)
        )
        layers = []
        for k, layer in enumerate(lockstep.layers):
            given = _saved(folder, k, weights[k], gain)
            layers.append(_layer(lockstep, k, layer, core_of, gain, trace) | {"weights": given})
        request = {
            "steps": len(spikes), "timings": timings, "threads": threads, "repeats": repeats,
            "trace": trace, "host": host, "layers": layers,
        }  # fmt: skip
        (folder / "request.json").write_text(json.dumps(request))
        done = subprocess.run(
            [str(PYTHON), str(PROCESS), name],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode:
            raise RuntimeError(f"SANA-FE ended with {done.returncode}: {done.stderr[-2000:]}")
        return json.loads((folder / "result.json").read_text())


def _saved(folder: Path, k: int, weight: np.ndarray | csr_array, gain: int) -> str:
    """Written for the peer; a list as rows of (input, neuron, weight). Returns the file's name."""
    if isinstance(weight, np.ndarray):
        np.save(folder / f"weights{k}.npy", weight.astype(np.float64) * gain)
        return f"weights{k}.npy"
    pre = np.repeat(np.arange(weight.shape[0]), np.diff(weight.indptr))
    values = weight.data.astype(np.float64) * gain
    np.savez(folder / f"weights{k}.npz", pre=pre, post=weight.indices, w=values)
    return f"weights{k}.npz"


def _layer(
    lockstep: Lockstep,
    k: int,
    layer: Population,
    core_of: Callable[[int], int],
    gain: int,
    trace: bool,
) -> dict:
    """Neurons with v' = leak_decay v + I in SANA-FE, which rounds the first term to 1/64 towards
    zero: Loihi's in fixed point, and, while they stay on that grid, if and lif."""
    program, parts = lockstep.program, lockstep.parts
    values = [program.vectors[name].astype(np.float64) for name in layer.parameters]
    p = dict(zip(NEURONS[layer.neuron].parameters, values, strict=True))
    zero, one = np.zeros(layer.n), np.ones(layer.n)
    if layer.neuron == "loihi":
        threshold, reset, leak = p["vth"], zero, 1 - p["dv"] / 4096
        same, bias = p["du"] == 4095, p["bias"] / 64
    else:
        threshold, reset = p["v_threshold"], p["v_reset"]
        share = p.get("a_mem", one)
        leak = 1 - share if "a_mem" in p else one
        same = (p["r"] * share == 1) & (p.get("v_leak", zero) == 0)
        bias = program.linears[layer.linear].bias[:].astype(np.float64)
    if not same.all():
        raise ValueError(f"{layer.name}: no counterpart in SANA-FE")
    core = np.zeros(layer.n, np.int64)
    for part in np.flatnonzero(parts.layer == k + 1):
        core[parts.lo[part] : parts.hi[part]] = core_of(int(parts.core[part]))
    return {
        "name": str(k + 1),
        "n": layer.n,
        "core": core.tolist(),
        "threshold": (threshold * gain).tolist(),
        "reset": (reset * gain).tolist(),
        "leak_decay": leak.tolist(),
        "bias": (bias * gain).tolist(),
        "log": trace,
    }


def _architecture(mesh: Mesh, host: int, channels: int, most: int) -> str:
    """A mesh of cores with one unit of each kind; core `host` of the first tile is the host's."""
    n_tiles, per = mesh.width * mesh.height, mesh.cores_per_router
    core = _core(f"core[0..{per - 1}]", most, _LIF.format(**_si()))
    first = _core(f"core[0..{host - 1}]", most, _LIF.format(**_si()))
    first += _core("host", channels, _INPUTS.format(last=channels - 1))
    tiles = _TILE.format(name="first", **_si()) + first
    if n_tiles > 1:
        tiles += _TILE.format(name=f"tile[0..{n_tiles - 2}]", **_si()) + core
    barrier = PS["barrier"] * 1e-12
    head = f"""architecture:
  name: spikeloom
  attributes: {{topology: mesh, width: {mesh.width}, height: {mesh.height}, link_buffer_size: 16,
    sync_model: fixed, latency_sync: {barrier!r}}}
  tile:
"""
    return head + tiles


def _si() -> dict[str, str]:
    """Joules and seconds, as the nearest doubles."""
    return {f"{k}_j": repr(v / 1e15) for k, v in FJ.items()} | {
        f"{k}_s": repr(v / 1e12) for k, v in PS.items()
    }


def _core(name: str, most: int, soma: str) -> str:
    return _CORE.format(name=name, most=most, **_si()) + soma


_TILE = """    - name: {name}
      attributes: {{energy_north_hop: {hop_y_j}, latency_north_hop: {hop_y_s},
        energy_south_hop: {hop_y_j}, latency_south_hop: {hop_y_s},
        energy_east_hop: {hop_x_j}, latency_east_hop: {hop_x_s},
        energy_west_hop: {hop_x_j}, latency_west_hop: {hop_x_s}}}
      core:
"""
_CORE = """        - name: {name}
          attributes: {{buffer_position: soma, buffer_inside_unit: false,
            max_neurons_supported: {most}}}
          axon_in:
            - name: in
              attributes: {{energy_message_in: 0.0, latency_message_in: {receive_s}}}
          synapse:
            - name: dense
              attributes: {{model: current_based, energy_process_spike: {synop_j},
                latency_process_spike: {synop_s}}}
          dendrite:
            - name: sum
              attributes: {{model: accumulator, energy_update: 0.0, latency_update: 0.0}}
          axon_out:
            - name: out
              attributes: {{energy_message_out: {send_j}, latency_message_out: {send_s}}}
          soma:
"""
_LIF = """            - name: lif
              attributes: {{model: leaky_integrate_fire,
                energy_access_neuron: {access_j}, latency_access_neuron: {access_s},
                energy_update_neuron: {update_j}, latency_update_neuron: {update_s},
                energy_spike_out: {fire_j}, latency_spike_out: {fire_s}}}
"""
_INPUTS = """            - name: host_inputs[0..{last}]
              attributes: {{model: input,
                energy_access_neuron: 0.0, latency_access_neuron: 0.0,
                energy_update_neuron: 0.0, latency_update_neuron: 0.0,
                energy_spike_out: 0.0, latency_spike_out: 0.0}}
"""
