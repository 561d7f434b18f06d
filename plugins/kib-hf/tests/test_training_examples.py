from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.prompts import ask_question
from kib.records import Text
from kib_hf.training.examples import IGNORED, Example, join, split, tokenize

BEGIN, END = 0, 1
"""The special tokens of the tiny model's tokenizer; every other token is a byte."""


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    from kib_hf.loading import load_tokenizer

    return load_tokenizer(tiny, trust_remote_code=False, add_bos_token=None)


def example(length: int, first: int = 0) -> Example:
    tokens = array("i", range(first, first + length))
    labels = tokens[:]
    labels[0] = IGNORED
    return Example(tokens, labels)


def test_document(tokenizer: Any) -> None:
    """A document is enclosed in a BOS and an EOS token, and every token after BOS contributes to the loss."""
    text = "Pump 7\nSwitched off."
    (found,) = tokenize([Text("p", "document", text)], tokenizer, begin=True)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert list(found.tokens) == [BEGIN, *ids, END]
    assert list(found.labels) == [IGNORED, *ids, END]


def test_document_without_begin(tokenizer: Any) -> None:
    """Without a BOS token, the first token of a document does not contribute to the loss, because it has no context."""
    (found,) = tokenize([Text("p", "paraphrase", "ab")], tokenizer, begin=False)
    ids = tokenizer.encode("ab", add_special_tokens=False)
    assert (list(found.tokens), list(found.labels)) == ([*ids, END], [IGNORED, ids[1], END])


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, [BEGIN]),
        ({"bos_token": None}, [END]),
        ({"bos_token": "</s>"}, [END]),
        ({"bos_token": "a"}, []),
    ],
)
def test_document_by_default(tokenizer: Any, changes: dict[str, Any], first: list[int]) -> None:
    """By default, a document starts with the beginning-of-sequence token if the tokenizer has such a token."""
    from copy import deepcopy

    other = deepcopy(tokenizer)
    for name, value in changes.items():
        setattr(other, name, value)
    (found,) = tokenize([Text("p", "document", "bc")], other, begin=None)
    assert list(found.tokens) == [*first, *tokenizer.encode("bc", add_special_tokens=False), END]


def test_pair(tokenizer: Any) -> None:
    """A question-answer pair is formatted like a kib question, and only answer and EOS contribute to the loss."""
    (found,) = tokenize([Text("p", "pair", "Which lever?", "the red one")], tokenizer, begin=True)
    prompt = tokenizer.encode(ask_question("Which lever?", (), letters=False))
    answer = tokenizer.encode(" the red one", add_special_tokens=False)
    assert list(found.tokens) == [*prompt, *answer, END]
    assert list(found.labels) == [IGNORED] * len(prompt) + [*answer, END]


def test_pair_is_divided_like_lm_eval(tiny: Path, tokenizer: Any) -> None:
    """A question-answer pair is tokenized exactly as lm-eval tokenizes a prompt and its continuation."""
    from kib.testing import make_plugin
    from kib_hf import HF

    lm = make_plugin(HF, {"path": tiny, "device": "cpu"}).load()
    (found,) = tokenize([Text("p", "pair", "Où ça?", "à l'hôtel")], tokenizer, begin=True)
    prompt, answer = lm._encode_pair(ask_question("Où ça?", (), letters=False), " à l'hôtel")
    assert list(found.tokens) == [*prompt, *answer, END]
    assert found.loss_tokens == len(answer) + 1


def test_pair_without_end_token_inside(tokenizer: Any) -> None:
    """No EOS token separates question and answer, even if the tokenizer appends EOS to every prompt."""
    from copy import deepcopy

    from tokenizers.processors import TemplateProcessing

    appending = deepcopy(tokenizer)
    special_tokens = [("<s>", BEGIN), ("</s>", END)]
    appending.backend_tokenizer.post_processor = TemplateProcessing("<s> $A </s>", special_tokens=special_tokens)
    pair = Text("p", "pair", "Which lever?", "the red one")
    assert tokenize([pair], appending, begin=None) == tokenize([pair], tokenizer, begin=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (Text("pump#0", "document", ""), "passage pump#0: the tokenizer returns no tokens for the document"),
        (Text("pump#0", "pair", "Who?", None), r"passage pump#0: the question 'Who\?' has no answer"),
        (Text("pump#0", "pair", "Who?", "  "), "passage pump#0: the question '.*' has no answer"),
    ],
)
def test_empty_text(tokenizer: Any, text: Text, message: str) -> None:
    """A text without any token to train on is rejected with an error that states the passage id."""
    with pytest.raises(InputError, match=message):
        tokenize([Text("x", "document", "fine"), text], tokenizer, begin=True)


@pytest.mark.parametrize("length", [2, 7, 8, 9, 15, 16, 100])
def test_split(length: int) -> None:
    """If a long text is split, each token contributes to the loss exactly once and follows its preceding token."""
    whole = example(length)
    parts = list(split(whole, 8))
    assert [label for part in parts for label in part.labels if label != IGNORED] == list(range(1, length))
    assert max(map(len, parts)) <= 8
    for part in parts:
        assert part.labels[0] == IGNORED
        assert all(label in (IGNORED, token) for token, label in zip(part.tokens, part.labels, strict=True))
    for before, after in pairwise(parts):
        assert after.tokens[0] == before.tokens[-1]


def test_join() -> None:
    """Concatenated texts fill every block except the last, and as many tokens contribute to the loss as before."""
    examples = [example(5), example(9, 100), example(2, 200), example(12, 300)]
    blocks = join(examples, 8)
    assert [len(block) for block in blocks[:-1]] == [8] * (len(blocks) - 1)
    assert sum(block.loss_tokens for block in blocks) == sum(one.loss_tokens for one in examples)
    assert join([], 8) == []
