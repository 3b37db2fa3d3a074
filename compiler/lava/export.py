"""A compiled program's integers as a Lava network: a script that is always the same, and a .npz.

What a network of spiking neurons in fixed point computes, Lava's Dense and LIF compute bit for bit.
Of every other program they compute the linears: a Dense sums graded spikes of one group of 128
inputs, as an accumulator of a core does, and the script multiplies those sums by their mantissas,
as no Loihi synapse can. compiler.lava.network is the script.
"""

import json
import os
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compiler.graph import GROUP, Graph, Logits, Population
from compiler.program import Program
from compiler.sections import Stored
from hw_models.errors import BadInput, Unsupported, Usage
from hw_models.files import write_text
from kernels.neurons import NEURONS

FORMAT: Final = "spikeloom-lava-1"

MOST_DECAYS: Final = 32
"""Pairs of decays in one population: a core of Loihi has as many profiles, and in Lava each is a
process with a Dense per process that it is fed by."""

Counts = Mapping[str, NDArray[np.int32]]
Named = tuple[str, NDArray[Any] | Stored]
"""Weights stay in the program's file until they are written."""


def export(program: Program, script: Path, counts: Counts, chosen: Sequence[str]) -> list[str]:
    """Write the script and, beside it, its .npz; returns the populations or linears in it.

    counts: int32[steps, n] of sites, to go along as input. chosen: only these linears; all if
    none. Raises BadInput where the input is missing or does not fit, Unsupported for what Lava's
    neurons cannot be.
    """
    if not program.has_weights:
        raise BadInput("a program without weights", where="--lava", fix="compile a checkpoint")
    populations = _populations(program.graph)
    if populations and all(p.neuron == "loihi" for p in populations):
        if chosen:
            raise Usage("neurons are exported all or not at all", where="--op", fix="leave it out")
        net, arrays = _neurons(program)
    else:
        net, arrays = _sums(program, chosen)
    for i, site in enumerate(net["inputs"]):
        n = program.graph.site(site).n
        if site in counts and counts[site].shape[1] != n:
            raise BadInput(f"{counts[site].shape[1]} counts for {n} channels", where=site)
        if site in counts:
            arrays.append((f"input/{i}", counts[site]))
        elif net["linears"]:
            raise BadInput("no counts to go along", where=site, fix="--activity of a run of it")
    net["inputs"] = [(site, program.graph.site(site).n) for site in net["inputs"]]
    note = json.dumps(net | {"format": FORMAT, "model": program.graph.model}, sort_keys=True)
    _write(script.with_suffix(".npz"), [("network", np.array(note)), *arrays])
    write_text(script, Path(__file__).with_name("network.py").read_text(encoding="utf-8"))
    return [*net["populations"], *net["readout"], *net["linears"]]


def _populations(graph: Graph) -> list[Population]:
    return [stage for stage in graph.stages if isinstance(stage, Population)]


def _neurons(program: Program) -> tuple[dict[str, Any], list[Named]]:
    """Every population, its synapses and parameters; the readout's synapses behind the last."""
    arrays: list[Named] = []
    stages = _populations(program.graph)
    for k, stage in enumerate(stages):
        own = dict(zip(NEURONS["loihi"].parameters, stage.parameters, strict=True))
        values = {name: program.vectors[key].astype(np.int32) for name, key in own.items()}
        kinds = np.unique(np.stack([values["du"], values["dv"]]), axis=1).shape[1]
        if kinds > MOST_DECAYS:
            raise Unsupported(
                f"{kinds} pairs of decays in one population; {MOST_DECAYS} at most",
                where=stage.name,
                fix="fewer different time constants",
            )
        arrays.append((f"q/{k}", _dense(program, stage.linear)))
        arrays += [(f"{name}/{k}", array) for name, array in values.items()]
    readout = [stage.linear for stage in program.graph.stages if isinstance(stage, Logits)]
    for k, name in enumerate(readout, len(stages)):
        arrays += [(f"q/{k}", _dense(program, name)), (f"m/{k}", _mantissas(program, name))]
    names = [stage.name for stage in stages]
    site = program.graph.sites[0].name
    return _net([site], populations=names, readout=readout), arrays


def _sums(program: Program, chosen: Sequence[str]) -> tuple[dict[str, Any], list[Named]]:
    """Linears, each fed by its site alone."""
    known = [linear.name for linear in program.graph.linears]
    for name in chosen:
        if name not in known:
            near = ", ".join(get_close_matches(name, known)) or ", ".join(known[:4])
            raise BadInput(f"no linear {name}", where="--op", fix=f"such as {near}")
    linears = [lin for lin in program.graph.linears if not chosen or lin.name in chosen]
    inputs = list(dict.fromkeys(linear.site for linear in linears))
    arrays: list[Named] = []
    for k, linear in enumerate(linears):
        name = linear.name
        arrays += [(f"q/{k}", _dense(program, name)), (f"m/{k}", _mantissas(program, name))]
    sites = [inputs.index(linear.site) for linear in linears]
    return _net(inputs, linears=[linear.name for linear in linears], sites=sites), arrays


MOST_PAIRS: Final = 1 << 26
"""Of a list that is written with its zeros: a Dense stores every pair."""


def _dense(program: Program, name: str) -> NDArray[Any] | Stored:
    """int8 [n_post, n_pre]. Unsupported for wider weights, and for lists of a matrix too large."""
    linear, arrays = program.graph.linear(name), program.linears[name]
    if linear.bits > 8:
        raise Unsupported(f"{linear.bits}-bit weights; a Dense is given 8 bits", where=name)
    if arrays.first is None or arrays.pre is None:
        return arrays.q
    if linear.n_post * linear.n_pre > MOST_PAIRS:
        raise Unsupported(
            f"a list of {linear.n_post} x {linear.n_pre} pairs; {MOST_PAIRS} at most", where=name
        )
    full = np.zeros((linear.n_post, linear.n_pre), np.int8)
    full[np.repeat(np.arange(linear.n_post), np.diff(arrays.first[:])), arrays.pre[:]] = arrays.q[:]
    return full


def _mantissas(program: Program, name: str) -> NDArray[Any] | Stored:
    """int32, a column per 128 inputs: one for all of them is that of each."""
    linear, m = program.graph.linear(name), program.linears[name].m
    groups = -(-linear.n_pre // GROUP)
    return m if m.shape[1] == groups else np.repeat(np.asarray(m), groups, axis=1)


def _net(inputs: Sequence[str], **parts: Any) -> dict[str, Any]:
    """What the script reads; K of an array's name counts over populations and linears."""
    empty: dict[str, Any] = {key: [] for key in ("populations", "readout", "linears", "sites")}
    return empty | {"inputs": list(inputs)} | parts


def _write(path: Path, arrays: Sequence[Named]) -> None:
    """An .npz, one array in memory at a time: whole or not there, and the same bytes each time."""
    work = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with zipfile.ZipFile(work, "w") as file:
            for name, array in arrays:
                with file.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        os.replace(work, path)
    except OSError as error:
        raise BadInput(f"cannot be written: {error.strerror}", where=str(path)) from None
    finally:
        work.unlink(missing_ok=True)
