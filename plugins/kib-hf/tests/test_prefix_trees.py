from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kib_hf.scoring.prefix_trees import Grove, Row, Sizes
from kib_hf.scoring.row_layout import lay_out

Prompts = list[tuple[Any, int]]


@st.composite
def prompts(draw: st.DrawFn) -> Prompts:
    """Token sequences that share prefixes, each with the depth of its first scored position."""
    stems = draw(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=60), min_size=1, max_size=4))
    made: Prompts = []
    for _ in range(draw(st.integers(1, 25))):
        stem = draw(st.sampled_from(stems))
        tokens = stem[: draw(st.integers(1, len(stem)))] + draw(st.lists(st.integers(0, 3), max_size=9))
        made.append((np.array(tokens, dtype=np.int32), draw(st.integers(0, len(tokens) - 1))))
    return made


SIZES = st.builds(
    Sizes,
    row=st.integers(1, 80),
    tree=st.integers(1, 40),
    trunk=st.integers(0, 80),
    prompts=st.none() | st.integers(1, 5),
)


def shape(rows: list[Row]) -> list[Any]:
    return [([part.tokens.tolist() for part in row.trunk.chain] if row.trunk else [], row.trees) for row in rows]


def depth(row: Row) -> int:
    return row.trunk.depth if row.trunk else 0


@given(prompts(), SIZES)
def test_each_prompt_is_read_once(some: Prompts, sizes: Sizes) -> None:
    """Each distinct prompt stands in exactly one row."""
    grove = Grove(some)
    found = Counter(number for row in grove.rows(sizes) for number in row.prompts)
    assert found == Counter(range(len(grove)))
    assert {tuple(grove.tokens(number)) for number in found} == {tuple(tokens) for tokens, _ in some}


@given(prompts(), SIZES)
def test_a_trunk_is_what_its_prompts_begin_with(some: Prompts, sizes: Sizes) -> None:
    """The trunks of a row, one after the other, are the beginning of each of its prompts, before anything scored."""
    grove = Grove(some)
    for row in grove.rows(sizes):
        begin = [token for part in (row.trunk.chain if row.trunk else ()) for token in part.tokens]
        assert len(begin) == depth(row) <= sizes.trunk
        for number in row.prompts:
            assert grove.tokens(number)[: len(begin)].tolist() == begin
            assert grove.first[number] >= len(begin)


@given(prompts(), SIZES, st.randoms(use_true_random=False))
def test_rows_are_a_function_of_the_set_of_prompts(some: Prompts, sizes: Sizes, random: Any) -> None:
    """The order in which prompts are given changes nothing, nor do repeated ones."""
    other = [*some, some[0]]
    random.shuffle(other)
    assert shape(list(Grove(some).rows(sizes))) == shape(list(Grove(other).rows(sizes)))


@given(prompts(), SIZES)
def test_a_row_is_as_large_as_it_says(some: Prompts, sizes: Sizes) -> None:
    """Within a tree each distinct prefix stands once, and trees are put side by side only as far as sizes allow."""
    grove = Grove(some)
    for row in grove.rows(sizes):
        layout = lay_out(grove, row)
        assert len(layout.tokens) == len(layout.depths) == row.new == sum(tree.new for tree in row.trees)
        for tree in row.trees:
            texts = [tuple(grove.tokens(number)) for number in range(tree.start, tree.stop)]
            assert tree.new == len({text[:end] for text in texts for end in range(depth(row) + 1, len(text) + 1)})
        if len(row.trees) > 1:
            assert row.new <= sizes.row
            assert sizes.prompts is None or len(row.prompts) <= sizes.prompts


@given(prompts(), SIZES)
def test_each_token_sees_its_own_text(some: Prompts, sizes: Sizes) -> None:
    """Along the path of a prompt stand its tokens at their depths, and each sees those before it and no others."""
    grove = Grove(some)
    for row in grove.rows(sizes):
        layout = lay_out(grove, row)
        for number, path in layout.paths.items():
            assert layout.tokens[path].tolist() == grove.tokens(number)[layout.depth :].tolist()
            assert layout.depths[path].tolist() == list(range(layout.depth, int(grove.length[number])))
            span = next(span for span in layout.spans if span.start <= path[0] < span.stop)
            sees = np.tri(span.stop - span.start, dtype=bool) if span.sees is None else span.sees
            for place, token in enumerate(path):
                assert (np.flatnonzero(sees[token - span.start]) + span.start).tolist() == path[: place + 1].tolist()


@given(prompts(), SIZES)
def test_halves_hold_the_same_prompts_in_less(some: Prompts, sizes: Sizes) -> None:
    """A row is cut into smaller ones with its prompts, down to single ones; scored positions are never in a trunk."""
    grove = Grove(some)
    waiting = list(grove.rows(sizes))
    found: list[int] = []
    while waiting:
        row = waiting.pop()
        halves = grove.halves(row)
        if not halves:
            found += row.prompts
            assert len(row.prompts) == 1
            assert grove.first[row.prompts[0]] - depth(row) <= row.new // 2
        for half in halves:
            assert half.new < row.new or len(half.prompts) < len(row.prompts)
            assert all(grove.first[number] >= depth(half) for number in half.prompts)
        waiting += halves
    assert sorted(found) == list(range(len(grove)))


def few_shot(questions: int, head: int) -> Grove:
    """Questions of eight tokens after a head that all share."""
    begin = list(range(head))
    texts = [[*begin, 9000 + number, *range(100, 107)] for number in range(questions)]
    return Grove((np.array(text, dtype=np.int32), len(text) - 1) for text in texts)


def test_a_shared_head_is_computed_once() -> None:
    """A head that all questions of a task share becomes a trunk, computed once for all their rows."""
    grove = few_shot(questions=64, head=300)
    rows = list(grove.rows(Sizes(row=64, tree=8, trunk=1000)))
    assert {row.trunk.depth for row in rows if row.trunk} == {300}
    assert len({id(row.trunk) for row in rows}) == 1
    assert sum(row.new for row in rows) == 64 * 8


def test_a_trunk_that_saves_little_is_not_cached() -> None:
    """Where a trunk would save fewer tokens than a forward pass is worth, its tokens are computed again instead."""
    grove = few_shot(questions=24, head=10)
    assert all(row.trunk is None for row in grove.rows(Sizes(row=64, tree=8, trunk=1000)))


def test_a_trunk_beyond_its_budget_is_not_cached() -> None:
    """No row stands on more trunk than may be held."""
    grove = few_shot(questions=64, head=300)
    assert all(row.trunk is None for row in grove.rows(Sizes(row=64, tree=8, trunk=299)))


def test_passages_that_fewer_ones_begin_with_are_computed_once() -> None:
    """Prompts with 0 to 5 passages, each the beginning of the next, cost little more than the longest."""
    passages = [list(range(number * 1000, number * 1000 + 50)) for number in range(5)]
    ask = list(range(90_000, 90_010))
    texts = [[*chain.from_iterable(passages[:k]), *ask] for k in range(6)]
    grove = Grove((np.array(text, dtype=np.int32), len(text) - 1) for text in texts)
    (row,) = grove.rows(Sizes(row=1024, tree=128, trunk=1000))
    assert row.new == 5 * 50 + 6 * 10


def test_many_nested_prompts_end() -> None:
    """Prompts that each begin with the one before are cut without deep recursion."""
    text = np.arange(3000, dtype=np.int32)
    grove = Grove((text[:length], length - 1) for length in range(1, 3001))
    rows = list(grove.rows(Sizes(row=32, tree=4, trunk=0)))
    assert sum(len(row.prompts) for row in rows) == 3000
