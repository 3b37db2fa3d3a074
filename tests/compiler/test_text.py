"""Text becomes the ids that the model's own tokenizer gives, and damaged ones are refused."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

from compiler import text as texts
from compiler.text import Text
from hw_models.errors import BadInput
from tests.tokenizers import VOCAB, tokenizer_json

SAYINGS = ["def read(path):", "the cat sat", "né \n\t'quoted'", "<s> the </s>", "猫"]


@pytest.fixture(scope="module")
def text():
    return Text(VOCAB, tokenizer_json())


def library(content=None):
    return Tokenizer.from_str((content or tokenizer_json()).decode())


@pytest.mark.parametrize("saying", SAYINGS)
def test_ids_and_text_are_the_librarys(text, saying):
    ids = text.ids(saying)
    assert ids == tuple(library().encode(saying).ids) == text.ids(saying.encode())
    assert text.decode(ids) == library().decode(list(ids), skip_special_tokens=False)
    assert ids[0] == library().token_to_id("<s>")  # what the model wants to begin with
    assert saying in text.decode(ids)


def test_padding_and_truncation_of_training_do_not_apply():
    content = json.loads(tokenizer_json())
    plain = Text(VOCAB, tokenizer_json()).ids("the cat sat on the mat")
    content["truncation"] = {
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
    }  # fmt: skip
    content["padding"] = {
        "strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>",
    }  # fmt: skip
    assert Text(VOCAB, json.dumps(content).encode()).ids("the cat sat on the mat") == plain


def test_ids_that_the_tokenizer_lacks_show_as_such():
    """Published models have more rows of embedding than tokens."""
    text = Text(VOCAB + 100, tokenizer_json())
    cat = text.ids("cat")[1:]
    assert text.decode((*cat, VOCAB + 7, VOCAB + 8, *cat)) == "cat\ufffd\ufffdcat"


def test_bytes_are_ids_where_the_vocabulary_is_of_bytes():
    text = Text(256)
    assert text.kind == "bytes"
    assert text.ids(b"\xff\x00a") == (255, 0, 97)
    assert text.ids("né") == tuple("né".encode())
    assert text.decode((0x6E, 0xC3, 0xA9)) == "né"
    assert text.decode((0x6E, 0xC3)) == "n\ufffd"


def test_without_a_tokenizer_a_large_vocabulary_has_ids_only():
    text = Text(257)
    assert text.kind == "ids"
    assert text.ids((256, 0)) == (256, 0)
    assert text.decode((256, 0)) == "256 0"
    for prompt in ("a", b"a"):
        with pytest.raises(BadInput, match=r"without a tokenizer\.json") as caught:
            text.ids(prompt)
        assert "--token-ids" in caught.value.fix


@pytest.mark.parametrize("kind", ["tokenizer", "bytes", "ids"])
def test_ids_are_taken_as_they_are_wherever_they_are_known(kind):
    text = {"tokenizer": Text(VOCAB, tokenizer_json()), "bytes": Text(200), "ids": Text(300)}[kind]
    assert text.kind == kind
    assert text.ids([3, 1, 1]) == (3, 1, 1)
    found = text.ids(np.array([3, 1]))
    assert found == (3, 1) and {type(i) for i in found} == {int}
    for bad in (text.vocab, -1, 10**9):
        with pytest.raises(BadInput, match=f"token id {bad}; the vocabulary has {text.vocab}"):
            text.ids([0, bad])
    for empty in ([], (), "", b""):
        with pytest.raises(BadInput, match="the prompt is empty"):
            text.ids(empty)


def test_a_text_whose_ids_the_model_lacks_is_refused(text):
    """A token was added to the tokenizer, and no row to the model."""
    content = json.loads(tokenizer_json())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": VOCAB, "content": "<new>"})
    more = Text(VOCAB, json.dumps(content).encode())
    more.verify()
    assert more.ids("the cat") == text.ids("the cat")
    with pytest.raises(BadInput, match=f"token id {VOCAB}; the vocabulary has {VOCAB}"):
        more.ids("the <new> cat")


def test_text_that_is_no_utf8_is_refused(text):
    with pytest.raises(BadInput, match="no UTF-8: invalid start byte at byte 1"):
        text.ids(b"a\xff")


def test_a_text_of_which_nothing_is_left_is_refused():
    content = json.loads(tokenizer_json())
    content["post_processor"] = None
    content["normalizer"] = {"type": "Strip", "strip_left": True, "strip_right": True}
    with pytest.raises(BadInput, match="no token comes of this prompt"):
        Text(VOCAB, json.dumps(content).encode()).ids("   ")


def changed(**parts):
    return json.dumps(json.loads(tokenizer_json()) | parts).encode()


def growing(times):
    """Every step writes a thousand spaces for each."""
    step = {"type": "Replace", "pattern": {"String": " "}, "content": " " * 1000}
    return {"type": "Sequence", "normalizers": [step] * times}


DAMAGED = {
    "empty object": b"{}",
    "text": b"hello",
    "no UTF-8": b"\xff\xfe",
    "truncated": tokenizer_json()[:-20],
    "nested": b'{"model":' * 100_000,
    "other type": changed(model={"type": "Mamba"}),
    "wrong merges": changed(model=json.loads(tokenizer_json())["model"] | {"merges": ["a"]}),
    # the library panics on this one
    "missing special": changed(
        post_processor=json.loads(tokenizer_json())["post_processor"] | {"special_tokens": {}}
    ),
    "control": changed(model={"type": "\x1b[31m"}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_tokenizer_is_refused_in_a_sentence(name, capfd):
    with pytest.raises(BadInput, match="not a usable tokenizer") as caught:
        Text(VOCAB, DAMAGED[name]).ids("the cat")
    assert caught.value.where == "tokenizer.json"
    assert str(caught.value).isprintable() and "its process ended" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_that_asks_for_all_memory_is_refused():
    """10^12 spaces; nothing of it reaches this process."""
    bomb = Text(VOCAB, changed(normalizer=growing(4)))
    bomb.verify()
    with pytest.raises(BadInput, match="not a usable tokenizer"):
        bomb.ids("a b")


def test_a_tokenizer_that_takes_for_ever_is_refused(monkeypatch):
    monkeypatch.setattr(texts, "SECONDS", 1e-4)
    with pytest.raises(BadInput, match=r"no answer within"):
        Text(VOCAB, tokenizer_json()).ids("the cat")


def test_a_tokenizer_whose_process_is_killed_ends_in_a_sentence(tmp_path, monkeypatch):
    dying = tmp_path / "dying.py"
    dying.write_text("import os, signal, sys\nprint('{')\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(texts, "_PROCESS", dying)
    with pytest.raises(BadInput, match=r"its process was killed \(SIGKILL\)"):
        Text(VOCAB, tokenizer_json()).ids("the cat")


def test_another_models_tokenizer_is_refused():
    with pytest.raises(BadInput, match=f"a tokenizer of {VOCAB} tokens for a vocabulary of 100"):
        Text(100, tokenizer_json()).verify()


def test_what_needs_no_tokenizer_asks_none(monkeypatch):
    monkeypatch.setattr(Text, "_ask", lambda *_: 1 // 0)
    Text(256).verify()
    Text(VOCAB, tokenizer_json()).ids([1, 2])
    Text(256).decode(Text(256).ids("a"))
