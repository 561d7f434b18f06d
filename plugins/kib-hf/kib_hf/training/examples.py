"""Text as tokens and labels; nothing is cut off: every token of a text has its loss in exactly one piece."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kib.errors import InputError
from kib.prompts import ask_question
from kib.records import Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["IGNORED", "Piece", "cut", "ending", "join", "tokenize"]

IGNORED = -100
"""The label of a token without a loss, as PyTorch and transformers have it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that see each other, and as many labels: the token itself where it has a loss, else IGNORED.

    The first label is IGNORED: nothing stands before it.
    """

    tokens: "array[int]"
    labels: "array[int]"

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def trained(self) -> int:
        """How many tokens have a loss."""
        return len(self.labels) - self.labels.count(IGNORED)


def tokenize(texts: Sequence[Text], tokenizer: "PreTrainedTokenizerBase", *, begin: bool | None) -> list[Piece]:
    """A piece a text, however long, in the same order.

    Documents and paraphrases stand between BOS (where `begin`, or by default where the model knows it) and EOS; all
    their tokens and EOS have a loss. A pair reads as kib asks a question, with the special tokens that the tokenizer
    puts before any prompt; its answer's tokens and EOS have a loss. InputError names the first text that has no token,
    and a tokenizer without EOS.
    """
    end = ending(tokenizer)
    bos = int(end if tokenizer.bos_token_id is None else tokenizer.bos_token_id)
    known = bos == end or _prompt(tokenizer, "a")[:1] == [bos]
    first = [bos] if begin or (begin is None and known) else []
    plain = dict(zip(*_plain(texts, tokenizer, first, end), strict=True))
    return [plain[number] if number in plain else _pair(text, tokenizer, end) for number, text in enumerate(texts)]


def ending(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The token that ends a text; InputError where the tokenizer has none."""
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no end-of-text token; name `eos_token` in its tokenizer_config.json")
    return int(tokenizer.eos_token_id)


def _plain(
    texts: Sequence[Text], tokenizer: "PreTrainedTokenizerBase", first: list[int], end: int
) -> tuple[list[int], list[Piece]]:
    """Documents and paraphrases: their places among the texts, and their pieces."""
    places = [number for number, text in enumerate(texts) if text.kind != "pair"]
    pieces = []
    for place, ids in zip(places, _ids(tokenizer, [texts[place].text for place in places]), strict=True):
        if not ids:
            raise InputError(f"passage {texts[place].passage}: its {texts[place].kind} has no token; leave it out")
        tokens = array("i", [*first, *ids, end])
        labels = tokens[:]
        labels[0] = IGNORED
        pieces.append(Piece(tokens, labels))
    return places, pieces


def _ids(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def _pair(text: Text, tokenizer: "PreTrainedTokenizerBase", end: int) -> Piece:
    """Question and answer, tokenized and divided as lm-eval does it, so that what is trained is what is scored."""
    if not text.answer or not text.answer.strip():
        raise InputError(f"passage {text.passage}: a pair without an answer: {text.text!r}")
    asked = ask_question(text.text, (), letters=False)
    before = _prompt(tokenizer, asked)
    tokens = array("i", [*_prompt(tokenizer, f"{asked} {text.answer.strip()}"), end])
    if len(tokens) <= len(before) + 1:
        raise InputError(f"passage {text.passage}: the answer {text.answer!r} has no token of its own")
    begun = max(1, len(before))
    return Piece(tokens, array("i", [IGNORED] * begun) + tokens[begun:])


def _prompt(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """What the model reads for a prompt: special tokens before it as the tokenizer is set up, none after it."""
    ids: list[int] = list(tokenizer(text, verbose=False)["input_ids"])
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids


def cut(piece: Piece, block: int) -> Iterator[Piece]:
    """Pieces of at most `block` tokens. Each begins with the last token of the one before, which has its loss there."""
    for start in range(0, max(1, len(piece) - 1), block - 1):
        tokens, labels = piece.tokens[start : start + block], piece.labels[start : start + block]
        labels[0] = IGNORED
        yield Piece(tokens, labels)


def join(pieces: Sequence[Piece], block: int) -> list[Piece]:
    """All pieces as one stream, cut into blocks of `block` tokens (the last may be shorter), none of them lost."""
    tokens, labels = array("i"), array("i")
    for piece in pieces:
        tokens += piece.tokens
        labels += piece.labels
    return list(cut(Piece(tokens, labels), block)) if tokens else []
