from array import array
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.prompts import ask_question
from kib.records import Text
from kib_hf.training.examples import IGNORED, Example, join, split, tokenize
from kib_hf.training.learning_rate import Schedule, rate_factor
from kib_hf.training.micro_batches import best_count, plan_micro_batches, single_rows, split_sorted
from kib_hf.training.packing import pack, plan_steps

BEGIN, END = 0, 1  # of the tiny model's tokenizer, whose other tokens are bytes


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    from kib_hf.loading import load_tokenizer

    return load_tokenizer(tiny, trust_remote_code=False, add_bos_token=None)


def piece(length: int, first: int = 0) -> Example:
    tokens = array("i", range(first, first + length))
    labels = tokens[:]
    labels[0] = IGNORED
    return Example(tokens, labels)


def test_document(tokenizer: Any) -> None:
    """A document stands between BOS and EOS, and everything after BOS has a loss."""
    text = "Pump 7\nSwitched off."
    (made,) = tokenize([Text("p", "document", text)], tokenizer, begin=True)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert list(made.tokens) == [BEGIN, *ids, END]
    assert list(made.labels) == [IGNORED, *ids, END]


def test_document_without_begin(tokenizer: Any) -> None:
    """Without BOS a document's first token has no loss, as nothing stands before it."""
    (made,) = tokenize([Text("p", "paraphrase", "ab")], tokenizer, begin=False)
    ids = tokenizer.encode("ab", add_special_tokens=False)
    assert (list(made.tokens), list(made.labels)) == ([*ids, END], [IGNORED, ids[1], END])


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
    """A document begins with the token that the model knows from the beginning of texts, or with none."""
    from copy import deepcopy

    other = deepcopy(tokenizer)
    for name, value in changes.items():
        setattr(other, name, value)
    (made,) = tokenize([Text("p", "document", "bc")], other, begin=None)
    assert list(made.tokens) == [*first, *tokenizer.encode("bc", add_special_tokens=False), END]


def test_pair(tokenizer: Any) -> None:
    """A pair is what kib asks, as the model reads any prompt; answer and EOS alone have a loss."""
    (made,) = tokenize([Text("p", "pair", "Which lever?", "the red one")], tokenizer, begin=True)
    prompt = tokenizer.encode(ask_question("Which lever?", (), letters=False))
    answer = tokenizer.encode(" the red one", add_special_tokens=False)
    assert list(made.tokens) == [*prompt, *answer, END]
    assert list(made.labels) == [IGNORED] * len(prompt) + [*answer, END]


def test_pair_is_divided_like_lm_eval(tiny: Path, tokenizer: Any) -> None:
    """Question and answer are divided into tokens exactly as lm-eval divides them when it scores the answer."""
    from kib.testing import make_plugin
    from kib_hf import HF

    lm = make_plugin(HF, {"path": tiny, "device": "cpu"}).load()
    (made,) = tokenize([Text("p", "pair", "Où ça?", "à l'hôtel")], tokenizer, begin=True)
    before, after = lm._encode_pair(ask_question("Où ça?", (), letters=False), " à l'hôtel")
    assert list(made.tokens) == [*before, *after, END]
    assert made.loss_tokens == len(after) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (Text("pump#0", "document", ""), "passage pump#0: the document has no tokens"),
        (Text("pump#0", "pair", "Who?", None), r"passage pump#0: the pair 'Who\?' has no answer"),
        (Text("pump#0", "pair", "Who?", "  "), "passage pump#0: the pair '.*' has no answer"),
    ],
)
def test_no_text(tokenizer: Any, text: Text, message: str) -> None:
    """Text without anything to train on is an error that names its passage."""
    with pytest.raises(InputError, match=message):
        tokenize([Text("x", "document", "fine"), text], tokenizer, begin=True)


@pytest.mark.parametrize("length", [2, 7, 8, 9, 15, 16, 100])
def test_cut(length: int) -> None:
    """A text that is longer than a block loses no token: each has its loss once, and stands before the next."""
    whole = piece(length)
    parts = list(split(whole, 8))
    assert [label for part in parts for label in part.labels if label != IGNORED] == list(range(1, length))
    assert max(map(len, parts)) <= 8
    for part in parts:
        assert part.labels[0] == IGNORED
        assert all(label in (IGNORED, token) for token, label in zip(part.tokens, part.labels, strict=True))
    for before, after in pairwise(parts):
        assert after.tokens[0] == before.tokens[-1]


def test_join() -> None:
    """Texts joined to a stream fill all blocks but the last, and lose no token."""
    texts = [piece(5), piece(9, 100), piece(2, 200), piece(12, 300)]
    blocks = join(texts, 8)
    assert [len(block) for block in blocks[:-1]] == [8] * (len(blocks) - 1)
    assert sum(block.loss_tokens for block in blocks) == sum(text.loss_tokens for text in texts)
    assert join([], 8) == []


def lengths_of(count: int) -> list[int]:
    return [2 + (number * number * 7 + 3 * number) % 61 for number in range(count)]


def test_pack() -> None:
    """Every piece is in one row, no row is longer than the block, and hardly a place is wasted."""
    lengths = lengths_of(500)
    rows = pack(lengths, 256, range(500))
    assert sorted(number for row in rows for number in row) == list(range(500))
    filled = [sum(lengths[number] for number in row) for row in rows]
    assert max(filled) <= 256
    assert sum(filled) / (256 * len(rows)) > 0.98


@pytest.mark.parametrize("block", [64, None])
def test_course(block: int | None) -> None:
    """Every epoch has every piece once, in an order of its own, in steps of at most the batch size."""
    lengths = lengths_of(100)
    course = plan_steps(lengths, epochs=3, batch_size=8, block=block, seed=5)
    assert max(map(len, course.steps)) == 8
    epochs = []
    for start, end in zip((0, *course.epoch_ends), course.epoch_ends, strict=False):
        epochs.append([number for step in course.steps[start:end] for row in step for number in row])
    assert [Counter(epoch) for epoch in epochs] == [Counter(range(100))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_course_of_a_seed() -> None:
    """The order is the seed's, on every machine: these are the numbers that it gave when this was written."""
    first = plan_steps([1] * 6, epochs=1, batch_size=6, block=None, seed=0).steps[0]
    other = plan_steps([1] * 6, epochs=1, batch_size=6, block=None, seed=1).steps[0]
    assert [number for (number,) in first] == [0, 1, 4, 5, 3, 2]
    assert other != first


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_lay_out(packed: bool, processes: int, rows: int) -> None:
    """Every step goes through the model whole, in as many parts for each process, none of them too large."""
    lengths = lengths_of(100)
    steps = plan_steps(lengths, epochs=2, batch_size=7, block=64, seed=0).steps
    parts, rounds = plan_micro_batches(steps, lengths, packed=packed, rows=rows, block=64, processes=processes)
    each = rounds * processes
    assert len(parts) == len(steps) * each
    for number, step in enumerate(steps):
        mine = parts[number * each : (number + 1) * each]
        assert Counter(piece for part in mine for row in part for piece in row) == Counter(
            n for row in step for n in row
        )
        if packed:
            assert Counter(row for part in mine for row in part) == Counter(step)
    sizes = [len(part) * max(sum(lengths[number] for number in row) for row in part) for part in parts if part]
    assert max(sizes) <= rows * 64 * (1 if packed else 1.5)


def test_divide() -> None:
    """Rows of one piece stand beside others of their length, so that little is filler."""
    lengths = lengths_of(100)
    rows = single_rows([tuple(range(100))], lengths)
    count = best_count([rows], lengths, 4096)
    parts = list(split_sorted(rows, lengths, count))
    assert [row for part in parts for row in part] == rows
    assert count > 2
    filled = sum(len(part) * lengths[part[0][0]] for part in parts)
    assert sum(lengths) / filled > 0.8
    assert sum(lengths) / (100 * max(lengths)) < 0.6
    assert best_count([[(0,), (1,)]], [50, 50], 4096) == 1


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule(schedule: Schedule) -> None:
    """The rate rises in the warm-up to its highest, and no step has a rate of 0."""
    rates = [rate_factor(step, 10, 3, schedule) for step in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert min(rates) > 0
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert (rates[-1] == 1.0) == (schedule == "constant")


def test_schedule_of_one_step() -> None:
    """A training of one step has a rate above 0."""
    assert rate_factor(0, 1, 1, "cosine") == 0.5
    assert rate_factor(0, 1, 0, "linear") == 1.0
