"""Runs in SANA-FE's own environment: builds one network, times it, and writes down what it counted.

    python sana_fe_process.py FOLDER

FOLDER holds arch.yaml, request.json and a weights file per layer (tests/peers/sana_fe.py writes
them); result.json is written beside them.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import sanafe


def main(folder: Path) -> None:
    request = json.loads((folder / "request.json").read_text())
    began = time.perf_counter()
    arch = sanafe.load_arch(str(folder / "arch.yaml"))
    cores = [core for tile in arch.tiles for core in tile.cores]
    net = sanafe.Network()
    groups = [inputs(net, folder, request, cores)]
    for layer in request["layers"]:
        groups.append(population(net, layer, cores))
        connect(groups[-2], groups[-1], np.load(folder / layer["weights"]))
    chip = sanafe.SpikingChip(arch)
    chip.load(net)
    built = time.perf_counter()
    trace = {"perf_trace": True, "spike_trace": True} if request["trace"] else {}
    runs = {}
    for timing in request["timings"]:
        walls = []
        for _ in range(request["repeats"]):
            chip.reset()
            rewind(chip, folder)
            start = time.perf_counter()
            found = chip.sim(
                request["steps"],
                timing_model=timing,
                processing_threads=request["threads"],
                scheduler_threads=0,
                **trace,
            )
            walls.append(time.perf_counter() - start)
        runs[timing] = told(found) | {"wall_s": walls}
    result = {
        "build_s": built - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "runs": runs,
    }
    (folder / "result.json").write_text(json.dumps(result))


def connect(source, target, weight):
    """Every pair, zeros too, of a matrix; or a list: (input, neuron, weight) in three rows."""
    if isinstance(weight, np.ndarray):
        source.connect_neurons_dense(target, {"w": weight.ravel()})
        return
    pairs = list(zip(weight["pre"].tolist(), weight["post"].tolist(), strict=True))
    source.connect_neurons_sparse(target, {"w": weight["w"].tolist()}, pairs)


def told(found):
    """What a run says, as plain data."""
    counts = ("spikes", "packets_sent", "neurons_updated", "neurons_fired")
    out = {
        "sim_time_s": found["sim_time"],
        "energy_j": dict(found["energy"]),
        "counts": {name: found[name] for name in counts},
    }
    if found.get("perf_trace"):
        out["perf"] = {name: list(values) for name, values in found["perf_trace"].items()}
        out["fired"] = [
            [(n.group_name, n.neuron_offset) for n in step] for step in found["spike_trace"]
        ]
    return out


def inputs(net, folder, request, cores):
    """The host: one input unit per channel, on a core of its own."""
    spikes = np.load(folder / "spikes.npy")
    group = net.create_neuron_group("0", spikes.shape[1])
    for channel in range(spikes.shape[1]):
        group[channel].set_attributes(
            soma_hw_name=f"host_inputs[{channel}]",
            model_attributes={"spikes": [bool(s) for s in spikes[:, channel]]},
            log_spikes=request["trace"],
        )
        group[channel].map_to_core(cores[request["host"]])
    return group


def rewind(chip, folder):
    """reset() leaves a used spike train used."""
    spikes = np.load(folder / "spikes.npy")
    for channel, neuron in enumerate(chip.mapped_neuron_groups["0"]):
        neuron.set_attributes(model_attributes={"spikes": [bool(s) for s in spikes[:, channel]]})


def population(net, layer, cores):
    group = net.create_neuron_group(layer["name"], layer["n"])
    for j in range(layer["n"]):
        group[j].set_attributes(
            soma_hw_name="lif",
            model_attributes={
                "threshold": layer["threshold"][j],
                "reset": layer["reset"][j],
                "leak_decay": layer["leak_decay"][j],
                "bias": layer["bias"][j],
            },
            log_spikes=layer["log"],
        )
        group[j].map_to_core(cores[layer["core"][j]])
    return group


main(Path(sys.argv[1]))
