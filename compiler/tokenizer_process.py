"""A tokenizer.json at work, in a process of its own: compiler.text runs this file.

The tokenizers library panics on some damaged files, and a hostile one may ask for any time and
memory; here that ends this process, which has little of either, and not the one of the user.
Standard input: one line of JSON, then the tokenizer.json. Standard output: JSON.
"""

import json
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from tokenizers import Tokenizer

SECONDS = 60  # of one core; the largest published tokenizers take two
BYTES = 2 << 30


def limit() -> None:
    """Little time and memory, where the system can say so."""
    try:
        import resource
    except ImportError:
        return
    for what, most in (
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_AS, BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        if hard == resource.RLIM_INFINITY or hard > most:
            resource.setrlimit(what, (most, hard))


def answer(request: dict[str, Any], text: str) -> dict[str, Any]:
    """{"text": ...} becomes ids, {"ids": ...} text; either way with the vocabulary's size."""
    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    found: dict[str, Any] = {"size": tokenizer.get_vocab_size(with_added_tokens=False)}
    if "text" in request:
        found["ids"] = tokenizer.encode(request["text"]).ids
    if "ids" in request:
        found["text"] = "".join(_decoded(tokenizer, request["ids"]))
    return found


def _decoded(tokenizer: Tokenizer, ids: list[int]) -> Iterator[str]:
    """Text of ids; one that the tokenizer lacks (models have more, unused) as U+FFFD."""
    for known, run in groupby(ids, lambda i: tokenizer.id_to_token(i) is not None):
        if known:
            yield tokenizer.decode(list(run), skip_special_tokens=False)
        else:
            yield "\ufffd" * len(list(run))


if __name__ == "__main__":
    limit()
    line, _, text = sys.stdin.buffer.read().partition(b"\n")
    try:
        found = answer(json.loads(line), text.decode())
    except BaseException as error:  # a panic is no Exception
        what = str(error).partition("\n")[0][:200] or type(error).__name__
        found = {"error": what if what.isprintable() else ascii(what)}
    print(json.dumps(found))
