"""The committed byte LM is what its card says."""

import hashlib
import json
import re

import pytest
import torch

from compiler.frontends.gla_swa import tensor_shapes
from compiler.frontends.read import read_model
from examples.byte_lm import card, data
from examples.byte_lm.model import BYTE_LM, load, random_checkpoint
from examples.byte_lm.train import Clock, context, learning_rate

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def said():
    return json.loads(card.CARD.read_text())


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_card_is_of_these_files(said):
    assert sha256(card.MODEL) == said["model_sha256"]
    assert sha256(card.HELDOUT) == said["heldout_sha256"]
    assert said["heldout_sha256"] in card.README.read_text()


def test_the_checkpoint_is_small_plain_and_complete(said):
    assert card.MODEL.stat().st_size <= 12e6
    found = torch.load(card.MODEL, weights_only=True)
    assert found["format"] == "spikeloom-checkpoint-1"
    assert {w.dtype for w in found["state_dict"].values()} == {torch.bfloat16}
    shapes = {name: tuple(w.shape) for name, w in found["state_dict"].items()}
    assert shapes == tensor_shapes(BYTE_LM)
    assert sum(w.numel() for w in found["state_dict"].values()) == said["parameters"]
    assert load(card.MODEL)[0] == BYTE_LM


def test_the_compiler_reads_it():
    graph, tensors = read_model(card.MODEL)
    assert graph.vocab == 256
    assert len(graph.linears) == 4 * BYTE_LM.num_hidden_layers + 1
    assert tensors.keys() == tensor_shapes(BYTE_LM).keys()


def test_compressors_need_what_the_card_says(said):
    found = card.compressors(card.HELDOUT.read_bytes())
    # zlib and xz builds differ by a few bytes
    assert found == pytest.approx(said["others"], rel=0.01)


def test_a_text_of_two_equal_halves_has_one_bit_per_byte():
    assert card.compressors(b"ab" * 500)["byte frequencies"] == pytest.approx(1)


def test_bits_per_byte_are_what_the_card_says(said):
    config, weights = load(card.MODEL)
    text = card.HELDOUT.read_bytes()[: card.SHORT]
    found = card.model_bits(config, weights, text)
    assert found == pytest.approx(said["bits_per_byte_of_first_4096"], rel=2e-3)


def test_the_model_beats_gzip_and_spikes_cost_less_than_five_percent(said):
    bits = said["bits_per_byte"]
    assert max(bits.values()) < said["others"]["gzip -9"]
    assert abs(bits["spike"] / bits["float"] - 1) < 0.05


def test_the_readme_shows_the_card(said):
    assert card.table(said) in card.README.read_text()
    assert len(re.findall(r"^\| .+ \| \d\.\d{4} \|", card.table(said), re.M)) == 6


def library(root, files):
    for name, lines in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))


def code(name, n):
    return [f"{name}_variable_{i} = some_function_of({i}, {name!r})" for i in range(n)]


def test_training_text_shares_no_file_and_few_lines_with_the_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "HELDOUT_BYTES", 1000)
    files = {f"pack{i}/module{i}.py": code(f"m{i}", 30) for i in range(12)}
    library(tmp_path, files)
    first = data.load(tmp_path)
    assert len(first.heldout) == 1000
    (held,) = first.heldout_files
    # a near copy of the held-out file, and one that only quotes a line of it
    copied = files[held][:10] + code("other", 10)
    library(tmp_path, {"copy.py": copied, "quote.py": [files[held][0], *code("quote", 20)]})
    library(tmp_path, {"site-packages/far.py": code("far", 20)})
    again = data.load(tmp_path)
    assert again.heldout_files == first.heldout_files
    assert b"other_variable_1 " not in again.train
    assert b"quote_variable_1 " in again.train
    assert b"far_variable_1 " not in again.train + again.heldout
    for name, lines in files.items():
        assert (lines[5].encode() in again.train) == (name not in again.heldout_files)


def test_the_learning_rate_warms_up_and_is_zero_at_the_deadline():
    assert learning_rate(0, 0.0) == pytest.approx(0.01)
    assert learning_rate(1000, 0.2) == 1
    falling = [learning_rate(1000, share) for share in (0.5, 0.7, 0.9, 1.0, 1.1)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-2:] == [0, 0]


def test_contexts_only_grow():
    lengths = [context(share / 20) for share in range(21)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (256, 1024)


def test_a_resumed_clock_counts_what_was_used_before():
    clock = Clock(budget_s=100.0, before_s=60.0)
    assert 0.6 <= clock.share < 0.7


def test_random_checkpoints_are_their_seed():
    a, b, c = (random_checkpoint(BYTE_LM, seed)["state_dict"] for seed in (0, 0, 1))
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert not torch.equal(a["lm_head.weight"], c["lm_head.weight"])
    assert all(w.any() for n, w in a.items() if w.ndim == 2)
