"""A run that nobody simulated, its counters worked out by hand from shapes, for report tests; runs
that are killed; and a folder to type commands in."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import simulator.api
import simulator.run_folder
from compiler.activity import Activity
from compiler.frontends.gla_swa import build
from compiler.pipeline import compile_graph, compile_model
from compiler.program import Prompt
from examples.byte_lm.model import random_checkpoint
from hw_models.chip import load_chip
from simulator.checkpoint import Keeper
from simulator.result import Phase, Run, SiteActivity
from tests.simulator.typed import TINY
from tests.simulator.under_way import Killed
from tests.spiking import affine, fired, lif, written

HIDDEN, FFN, VOCAB, LAYERS = 256, 768, 512, 4
PROMPT, DECODED = 12, 6  # tokens
TILE = 128  # channels and neurons of one tile
SPIKES, SILENT = 1.2, 0.2  # per channel
HEAD_SPIKES = 0.75  # of the dense head: its other channels are zero


def linear_shapes():
    """(operation, site, stage that encodes the site, n_pre, n_post) in execution order."""
    for i in range(LAYERS):
        at = f"layers.{i}."
        mixer, fused = ("gla", "qkvg") if i % 2 == 0 else ("window", "qkv")
        wide = HIDDEN * (4 if i % 2 == 0 else 3)
        yield at + fused, at + "attn_in", at + "attn_norm", HIDDEN, wide
        yield at + "o", at + "o_in", at + mixer, HIDDEN, HIDDEN
        yield at + "gate_up", at + "mlp_in", at + "mlp_norm", HIDDEN, 2 * FFN
        yield at + "down", at + "down_in", at + "swiglu", FFN, HIDDEN
    yield "head", "head_in", "final_norm", HIDDEN, VOCAB


def tokens_of(site, tokens, name):
    """The head runs for the prompt's last token and for every decoded one."""
    if site == "head_in" and name == "prefill":
        return 1
    return tokens


def counters(name, tokens, coding):
    """Counters of a phase: every spike reaches n_post / TILE cores over two hops each way."""
    synop = {"bitwise": "synop_shift", "ternary": "synop_add", "graded": "synop_mac"}[coding]
    found = {"host": {"host_bit": 32 * HIDDEN * tokens, "msg_value": 32 * tokens}}
    for linear, site, stage, n_pre, n_post in linear_shapes():
        t = tokens_of(site, tokens, name)
        dense = site == "head_in"
        spikes = round(n_pre * t * (HEAD_SPIKES if dense else SPIKES))
        cores, tiles = n_post // TILE, -(-n_pre // TILE)
        found[linear] = {
            "synop_mac" if dense else synop: spikes * n_post,
            "weight_fetch": spikes * n_post,
            "axon_lookup": spikes * cores,
            "delivered_spike": spikes * cores,
            "delivered_marker": tiles * cores * t,
            "group_mac": n_post * tiles * t,
            "acc_access": 2 * n_post * tiles * t,
            "msg_partial": -(-n_post // 8) * tiles * t,
            "flit_local": 17 * -(-n_post // 8) * tiles * t,
            "flit_x": 17 * -(-n_post // 8) * tiles * t,
        }
        found[stage] = {
            "delivered_partial": -(-n_post // 8) * tiles * t,
            "partial_add": n_post * tiles * t,
            "neuron_update": n_post * t,
            "encode": n_pre * t,
            "vec_add": 3 * n_pre * t,
            "vec_mul": 4 * n_pre * t,
            "vec_div": 2 * t,
            "vec_sqrt": t,
            "vec_exp": 2 * n_pre * t if stage.endswith(("gla", "window", "swiglu")) else 0,
            "vec_read": 5 * n_pre * t,
            "vec_write": 2 * n_pre * t,
            "state_read": 4 * 32 * n_pre * t if stage.endswith(("gla", "window")) else 0,
            "state_write": 4 * 32 * n_pre * t if stage.endswith("gla") else 0,
            "msg_spike": spikes,
            "msg_value": -(-n_pre // 8) * t,
            "msg_marker": tiles * t,
            "delivered_value": -(-n_pre // 8) * t,
            "flit_local": spikes,
            "flit_x": 2 * spikes,
            "flit_y": 2 * spikes,
            "flit_chip_x": spikes // 4,
        }
    found["logits"] = {"vec_mul": 3 * VOCAB * tokens, "host_bit": 32 * VOCAB * tokens}
    return {op: {k: n for k, n in sorted(kinds.items()) if n} for op, kinds in found.items()}


def site_activity(coding):
    for _, site, _, n, _ in linear_shapes():
        tokens = PROMPT + DECODED if site != "head_in" else 1 + DECODED
        dense = site == "head_in"
        pairs = n * tokens
        yield SiteActivity(
            site=site,
            n=n,
            tokens=tokens,
            spikes=sum(
                round(n * t * (HEAD_SPIKES if dense else SPIKES))
                for t in ((1, DECODED) if dense else (PROMPT, DECODED))
            ),
            silent=round(pairs * (1 - HEAD_SPIKES if dense else SILENT)),
            steps=tokens * (1 if dense or coding == "graded" else 4),
            max_count=32767 if dense else 13,
        )


def operations():
    found = {"host": {"kind": "host", "where": "host", "macs": 0, "n_cores": 0}}
    for linear, site, stage, n_pre, n_post in linear_shapes():
        kind = stage.rsplit(".", 1)[-1]
        kind = "residual" if kind.endswith("norm") else kind
        found[stage] = {"kind": kind, "where": "cores", "macs": 0, "n_cores": 1, "site": site}
        tiles = (n_post // TILE) * -(-n_pre // TILE)
        found[linear] = {
            "kind": "linear",
            "where": "cores",
            "macs": n_pre * n_post,
            "n_cores": tiles,
            "site": site,
            "threshold": "absmax16" if site == "head_in" else "mean-abs",
        }
    found["logits"] = {"kind": "logits", "where": "cores", "macs": 0, "n_cores": 1}
    return found


def make_run(target="loihi-like", coding="bitwise"):
    chip = load_chip(target)
    made = operations()
    prefill_ps, decode_ps = PROMPT * 40_000_000, DECODED * 210_000_000
    return Run(
        model="byte-lm",
        target=target,
        profile="paper",
        coding=coding,
        k=3.0,
        program_hash="0" * 64,
        chip=json.loads(chip.text),
        prompt=tuple(b"The robot <b>"[:PROMPT]),
        generated=tuple(b" & sees it"[: DECODED + 1]),
        text="The robot <b> & sees",
        logits_ps=tuple(prefill_ps + i * 210_000_000 for i in range(DECODED + 1)),
        phases=(
            Phase(
                *("prefill", PROMPT, 0, prefill_ps, counters("prefill", PROMPT, coding), 2),
                ran={"head": 1},
            ),
            Phase(
                "decode",
                DECODED,
                prefill_ps,
                prefill_ps + decode_ps,
                counters("decode", DECODED, coding),
                8,
            ),
        ),
        sites=tuple(site_activity(coding)),
        macs_per_token=sum(op["macs"] for op in made.values()),
        operations=made,
        n_chips=2,
        n_cores=sum(op["n_cores"] for op in made.values()),
        max_streams=8,
        events={"events": 123_456},
    )


def make_activity(seed=0):
    rng = np.random.default_rng(seed)
    activity = Activity()
    for _, site, _, n, _ in linear_shapes():
        scale = np.exp(rng.normal(0, 0.6, n)) * 3
        for token in range(PROMPT - 1 if site == "head_in" else 0, PROMPT + DECODED):
            counts = np.rint(rng.laplace(0, scale)).astype(np.int32)
            activity.add(site, token, counts, np.float32(rng.uniform(0.05, 0.5)))
    return activity


@pytest.fixture
def run():
    return make_run()


@pytest.fixture
def toy_run():
    return make_run("toy")


@pytest.fixture
def graded_run():
    return make_run(coding="graded")


@pytest.fixture
def activity():
    return make_activity()


@pytest.fixture
def silent_run(run):
    """The same run without a decode phase."""
    return replace(run, phases=run.phases[:1], generated=run.generated[:1])


@pytest.fixture
def quick(monkeypatch):
    """Processes die here, not machines."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def neurons(tmp_path_factory):
    """A network of spiking neurons on several cores."""
    path = tmp_path_factory.mktemp("nir") / "n.nir"
    written(path, affine(40, 60, 1), lif(60, 2), affine(60, 10, 3), fired(10, 4))
    return compile_model(path, "toy", overrides={"core.synapse_memory": "1 KiB"})


@pytest.fixture
def kill_after(monkeypatch):
    """Runs end right after one of their moments for a checkpoint; returns these moments.

    One in five is used, and the last before the end.
    """

    def patch(most):
        written = []

        def save(keeper, *about):
            written.append(keeper)
            if len(written) == most or len(written) % 5 == 1:
                original(keeper, *about)
            if len(written) == most:
                raise Killed

        monkeypatch.setattr(Keeper, "save", save)
        return written

    original = Keeper.save
    return patch


# ---- a folder to type commands in


@pytest.fixture(scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def compiled(one_thread, tmp_path_factory):
    """tiny.sbx on the toy chip, and a folder with one run of it."""
    folder = tmp_path_factory.mktemp("compiled")
    weights = random_checkpoint(TINY, seed=0)["state_dict"]
    graph = build(TINY, "tiny")
    program = compile_graph(graph, weights, load_chip("toy"), prompt=Prompt(b"abc", 4))
    program.write(folder / "tiny.sbx")
    simulator.api.simulate(program, out=folder / "runs" / "tiny-toy-1")
    return folder


@pytest.fixture
def folder(compiled, tmp_path, monkeypatch):
    """A working folder that holds tiny.sbx only."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(compiled / "tiny.sbx", tmp_path)
    return tmp_path


@pytest.fixture
def with_run(compiled, folder):
    """A working folder with tiny.sbx and runs/tiny-toy-1: a prompt of 3 and 4 tokens."""
    shutil.copytree(compiled / "runs", folder / "runs")
    return folder
