"""How the text of a program becomes token ids, and ids become text."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any, Final, Literal

from hw_models.errors import BadInput

BYTES: Final = 256
SECONDS: Final = 120.0
TOKENIZER: Final = "tokenizer.json"
_PROCESS: Final = Path(__file__).with_name("tokenizer_process.py")


@dataclass(frozen=True, slots=True)
class Text:
    """The text of one model; tokenizer: the content of its tokenizer.json, or nothing.

    kind: `tokenizer`, or `bytes` (a vocabulary that bytes are ids of), or `ids` (no text at all).
    """

    vocab: int
    tokenizer: bytes = b""

    @property
    def kind(self) -> Literal["tokenizer", "bytes", "ids"]:
        if self.tokenizer:
            return "tokenizer"
        return "bytes" if self.vocab <= BYTES else "ids"

    def ids(self, prompt: bytes | str | Sequence[int]) -> tuple[int, ...]:
        """Token ids of a text, or of ids, which are taken as they are.

        Raises BadInput if there are none, one is not in the vocabulary, or text has no ids here.
        """
        text = isinstance(prompt, bytes | str)
        where = "--prompt" if text else "--token-ids"
        if len(prompt) == 0:
            raise BadInput("the prompt is empty", where=where, fix="at least one character")
        if isinstance(prompt, bytes | str):
            found = self._encoded(prompt)
        else:
            found = tuple(map(index, prompt))
        if not found:
            raise BadInput("no token comes of this prompt", where=where, fix="another text")
        for token in found:
            if not 0 <= token < self.vocab:
                raise BadInput(
                    f"token id {token}; the vocabulary has {self.vocab}",
                    where=where,
                    fix=f"ids from 0 to {self.vocab - 1}, or the model's own {TOKENIZER}",
                )
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; the ids themselves where there is no text."""
        match self.kind:
            case "tokenizer":
                return str(self._ask(ids=list(ids))["text"])
            case "bytes":
                return bytes(ids).decode("utf-8", "replace")
            case "ids":
                return " ".join(map(str, ids))

    def verify(self) -> None:
        """BadInput for a tokenizer.json that is damaged, or another model's."""
        if self.tokenizer:
            self._ask()

    def _encoded(self, text: bytes | str) -> tuple[int, ...]:
        match self.kind:
            case "tokenizer":
                return tuple(self._ask(text=_utf8(text))["ids"])
            case "bytes":
                return tuple(text.encode() if isinstance(text, str) else text)
            case "ids":
                raise BadInput(
                    f"text has no token ids here: the model came without a {TOKENIZER}",
                    where="--prompt",
                    fix=f"--token-ids 1,2,3, or compile the model with its {TOKENIZER} beside it",
                )

    def _ask(self, **request: object) -> dict[str, Any]:
        """What the tokenizer says; asked in a process of its own, which may not come back."""
        # -P: the folder of the script would hide modules of Python's own
        command = [sys.executable, "-P", str(_PROCESS)]
        given = json.dumps(request).encode() + b"\n" + self.tokenizer
        alone = os.environ | {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        try:
            done = subprocess.run(
                command, input=given, env=alone, capture_output=True, timeout=SECONDS, check=False
            )
            found = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            found = {"error": f"no answer within {SECONDS:.0f} s"}
        except ValueError:
            found = {"error": f"its process {_ended(done.returncode)}"}
        if "error" in found:
            raise BadInput(
                f"not a usable tokenizer: {found['error']}",
                where=TOKENIZER,
                fix="copy or download it again, or remove it and give --token-ids",
            )
        if found["size"] > self.vocab:
            raise BadInput(
                f"a tokenizer of {found['size']} tokens for a vocabulary of {self.vocab}",
                where=TOKENIZER,
                fix="the one that belongs to the model",
            )
        return dict(found)


def _utf8(text: bytes | str) -> str:
    try:
        return text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise BadInput(
            f"the prompt is no UTF-8: {error.reason} at byte {error.start}",
            where="--prompt",
            fix="save it as UTF-8; the tokenizer takes text only",
        ) from None


def _ended(code: int) -> str:
    """'ended with 1', or 'was killed (SIGKILL)': by the system when memory ran out, or by hand."""
    try:
        return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with {code}"
    except ValueError:  # a signal without a name
        return f"was killed (signal {-code})"
