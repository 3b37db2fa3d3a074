"""A small tokenizer.json: byte-level BPE, as Llama 3 and Qwen have it, with a token to begin."""

from functools import cache
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

VOCAB: Final = 290


@cache
def tokenizer_json() -> bytes:
    """The content of the file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = "def read(path): return open(path).read() # the cat sat on the mat and read the path"
    tokenizer.train_from_iterator([text] * 20, trainer)
    start = [("<s>", tokenizer.token_to_id("<s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=start)
    return tokenizer.to_str().encode()
