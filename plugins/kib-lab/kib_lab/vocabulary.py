"""The lab model's word-level vocabulary and tokenizer; a token is a word, a punctuation mark or a newline.

Spaces are not tokens, so no token spans the boundary between a prompt and its answer.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from itertools import chain
from pathlib import Path

from kib_lab.attribute_values import EMBLEMS, INSTRUMENTS, PETS, PRODUCTS, PROFESSIONS, all_names
from kib_lab.phrasings import (
    EMPLOYER_ATTRIBUTES,
    PERSON_ATTRIBUTES,
    REVERSE_QUESTIONS,
    REVERSE_STATEMENTS,
    Phrasings,
)

__all__ = ["END", "PAD", "UNKNOWN", "encode", "split", "vocabulary", "write_tokenizer"]

UNKNOWN, PAD, BEGIN, END = "<unk>", "<pad>", "<s>", "</s>"

PATTERN = r"\n|[A-Za-z0-9_]+|[^\sA-Za-z0-9_]"
"""Matches a newline, a word or a single punctuation mark; the pre-tokenizer in tokenizer.json uses this pattern too."""

EXTRA = "Context Question Answer A B C D E F G H a an and are at by in is of on or that the to was who with"

_SPLIT = re.compile(PATTERN)


def split(text: str) -> list[str]:
    """Split a text into words, punctuation marks and newlines."""
    return _SPLIT.findall(text)


def _templates() -> Iterable[str]:
    attributes: list[Phrasings] = [*PERSON_ATTRIBUTES.values(), *EMPLOYER_ATTRIBUTES.values(), REVERSE_QUESTIONS]
    for one in attributes:
        yield from (*one.plain, *one.reverse, one.direct, *one.reworded, *one.pair)
    yield from REVERSE_STATEMENTS


@cache
def vocabulary() -> dict[str, int]:
    """Return token ids, ordered as special tokens, newline, punctuation, words in phrasings, names and values."""
    names = all_names()
    in_templates = {word for template in _templates() for word in split(re.sub(r"\{.\}", " ", template))}
    plain = sorted(in_templates | set(split(EXTRA)))
    pools = (names.first, names.family, names.town, names.known_employer, names.new_employer, names.language)
    lists = (PROFESSIONS, INSTRUMENTS, PETS, PRODUCTS, EMBLEMS)
    tokens = dict.fromkeys(chain([UNKNOWN, PAD, BEGIN, END, "\n", *".,:;?!'\"()-"], plain, *pools, *lists))
    return {token: token_id for token_id, token in enumerate(tokens)}


def encode(text: str) -> list[int]:
    """Return a text's token ids, identical to the bundled tokenizer's ids; unknown words become `<unk>`."""
    ids = vocabulary()
    return [ids.get(word, 0) for word in split(text)]


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, using the `tokenizers` library."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(vocabulary(), unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (UNKNOWN, PAD, BEGIN, END)])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=True),
            decoders.Fuse(),
            decoders.Replace(" \n", "\n"),
            decoders.Replace("\n ", "\n"),
            decoders.Replace(" :", ":"),
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": UNKNOWN,
        "pad_token": PAD,
        "bos_token": BEGIN,
        "eos_token": END,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
