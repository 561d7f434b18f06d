"""The word-level vocabulary of the lab's model and its tokenizer.json; a token is a word, a mark or a newline.

Spaces carry no token, so no token ever spans the join of a prompt and its answer.
"""

import json
import re
from collections.abc import Iterable
from functools import cache
from itertools import chain
from pathlib import Path

from kib_lab.words import (
    EMBLEMS,
    EMPLOYER_ATTRIBUTES,
    INSTRUMENTS,
    PERSON_ATTRIBUTES,
    PETS,
    PRODUCTS,
    PROFESSIONS,
    REVERSE_QUESTIONS,
    REVERSE_STATEMENTS,
    Phrasings,
    names,
)

__all__ = ["END", "PAD", "UNKNOWN", "encode", "split", "vocabulary", "write_tokenizer"]

UNKNOWN, PAD, BEGIN, END = "<unk>", "<pad>", "<s>", "</s>"

PATTERN = r"\n|[A-Za-z0-9_]+|[^\sA-Za-z0-9_]"
"""Newline, word or single mark; the same text is the tokenizer's pre-tokenizer."""

EXTRA = "Context Question Answer A B C D E F G H a an and are at by in is of on or that the to was who with"

_SPLIT = re.compile(PATTERN)


def split(text: str) -> list[str]:
    """The words, marks and newlines of a text."""
    return _SPLIT.findall(text)


def _templates() -> Iterable[str]:
    wordings: list[Phrasings] = [*PERSON_ATTRIBUTES.values(), *EMPLOYER_ATTRIBUTES.values(), REVERSE_QUESTIONS]
    for wording in wordings:
        yield from (*wording.plain, *wording.reverse, wording.direct, *wording.reworded, *wording.pair)
    yield from REVERSE_STATEMENTS


@cache
def vocabulary() -> dict[str, int]:
    """Token to number: special tokens, newline, marks, the words of all phrasings, then all values and names."""
    words = names()
    told = {word for template in _templates() for word in split(re.sub(r"\{.\}", " ", template))}
    plain = sorted(told | set(split(EXTRA)))
    pools = (words.first, words.family, words.town, words.known_employer, words.new_employer, words.language)
    lists = (PROFESSIONS, INSTRUMENTS, PETS, PRODUCTS, EMBLEMS)
    tokens = dict.fromkeys(chain([UNKNOWN, PAD, BEGIN, END, "\n", *".,:;?!'\"()-"], plain, *pools, *lists))
    return {token: number for number, token in enumerate(tokens)}


def encode(text: str) -> list[int]:
    """Token numbers of a text, as the shipped tokenizer gives them; unknown words become `<unk>`."""
    known = vocabulary()
    return [known.get(word, 0) for word in split(text)]


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json; needs `tokenizers`."""
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
