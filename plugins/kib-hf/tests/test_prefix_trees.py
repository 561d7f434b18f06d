import random
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest

from kib_hf.scoring.prefix_trees import RowLimits, TreeRow, plan_rows, split_row
from kib_hf.scoring.row_layout import lay_out_row
from kib_hf.scoring.sorted_prompts import SortedPrompts

ScoredTokens = list[tuple[Any, int]]
Case = tuple[SortedPrompts, RowLimits]

COUNT = 200


def draw_case(seed: int) -> tuple[ScoredTokens, RowLimits]:
    """Draw token sequences that share prefixes, the position of the first scored token per sequence, and row limits."""
    draw = random.Random(seed)  # noqa: S311 - a test needs the same numbers every time
    few_tokens = draw.choice([1, 3])
    stems = [[draw.randint(0, few_tokens) for _ in range(draw.randint(1, 60))] for _ in range(draw.randint(1, 4))]
    found: ScoredTokens = []
    for _ in range(draw.choice([1, 2, 25])):
        stem = draw.choice(stems)
        tokens = stem[: draw.randint(1, len(stem))] + [draw.randint(0, few_tokens) for _ in range(draw.randint(0, 9))]
        found.append((np.array(tokens, dtype=np.int32), draw.randint(0, len(tokens) - 1)))
    limits = RowLimits(
        row_tokens=draw.choice([1, 8, 80, 300]),
        tree_tokens=draw.choice([1, 10, 40]),
        prefix_tokens=draw.choice([0, 20, 80]),
        prompts=draw.choice([None, 1, 5]),
    )
    return found, limits


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [(SortedPrompts(tokens), limits) for tokens, limits in map(draw_case, range(COUNT))]


def test_the_cases_have_shared_prefixes_and_rows_of_several_trees(cases: list[Case]) -> None:
    """The randomly drawn cases include long chains of shared prefixes and rows with several trees."""
    planned = [row for _, _, row in rows(cases)]
    assert max(len(row.prefix.lineage) for row in planned if row.prefix) > 1
    assert max(len(row.trees) for row in planned) > 2
    assert max(len(tree.prompts) for row in planned for tree in row.trees) > 2


def rows(cases: list[Case]) -> Iterator[tuple[SortedPrompts, RowLimits, TreeRow]]:
    for prompts, limits in cases:
        for row in plan_rows(prompts, limits):
            yield prompts, limits, row


def prefix_tokens(row: TreeRow) -> list[int]:
    return [token for part in (row.prefix.lineage if row.prefix else ()) for token in part.tokens.tolist()]


def test_each_prompt_is_in_one_row(cases: list[Case]) -> None:
    """Each distinct prompt occurs in exactly one planned row."""
    for number, (prompts, limits) in enumerate(cases):
        found = Counter(prompt for row in plan_rows(prompts, limits) for prompt in row.prompts)
        assert found == Counter(range(len(prompts)))
        distinct = {tuple(tokens) for tokens, _ in draw_case(number)[0]}
        assert {tuple(prompts.tokens(prompt)) for prompt in found} == distinct


def test_all_prompts_of_a_row_begin_with_its_shared_prefix(cases: list[Case]) -> None:
    """Every prompt in a row begins with the row's shared prefix, which ends before the first scored token."""
    for prompts, limits, row in rows(cases):
        beginning = prefix_tokens(row)
        assert len(beginning) == row.prefix_length <= limits.prefix_tokens
        for prompt in row.prompts:
            assert prompts.tokens(prompt)[: len(beginning)].tolist() == beginning
            assert prompts.first_scored[prompt] >= len(beginning)


def test_rows_depend_on_the_set_of_prompts_only(cases: list[Case]) -> None:
    """The planned rows do not depend on the order of the prompts or on repeated prompts."""
    for number, (prompts, limits) in enumerate(cases):
        tokens, _ = draw_case(number)
        reordered = SortedPrompts([tokens[0], *reversed(tokens)])
        first, second = (
            [(prefix_tokens(row), row.trees) for row in plan_rows(some, limits)] for some in (prompts, reordered)
        )
        assert first == second


def test_the_size_of_a_row_is_exact(cases: list[Case]) -> None:
    """A tree contains each distinct prefix once, and several trees share a row only if they fit within the limits."""
    for prompts, limits, row in rows(cases):
        layout = lay_out_row(prompts, row)
        assert len(layout.tokens) == len(layout.positions) == row.new_tokens
        for tree in row.trees:
            texts = [tuple(prompts.tokens(prompt)) for prompt in tree.prompts]
            distinct = {text[:end] for text in texts for end in range(row.prefix_length + 1, len(text) + 1)}
            assert tree.new_tokens == len(distinct)
        if len(row.trees) > 1:
            assert row.new_tokens <= limits.row_tokens
            assert limits.prompts is None or len(row.prompts) <= limits.prompts


def test_each_token_sees_its_own_text(cases: list[Case]) -> None:
    """A prompt's path contains the prompt's tokens at their positions, and a token sees only the preceding tokens."""
    for prompts, _, row in rows(cases):
        layout = lay_out_row(prompts, row)
        for prompt, path in layout.paths.items():
            assert layout.tokens[path].tolist() == prompts.tokens(prompt)[row.prefix_length :].tolist()
            assert layout.positions[path].tolist() == list(range(row.prefix_length, int(prompts.lengths[prompt])))
            span = next(span for span in layout.spans if span.start <= path[0] < span.stop)
            visible = np.tri(span.stop - span.start, dtype=bool) if span.visible is None else span.visible
            for number, token in enumerate(path):
                seen = np.flatnonzero(visible[token - span.start]) + span.start
                assert seen.tolist() == path[: number + 1].tolist()


def test_rows_are_split_down_to_single_prompts(cases: list[Case]) -> None:
    """A row can be split until single prompts remain; no prompt is lost, and no scored token is cached."""
    for prompts, limits in cases:
        waiting = list(plan_rows(prompts, limits))
        found: list[int] = []
        while waiting:
            row = waiting.pop()
            parts = split_row(prompts, row)
            if not parts:
                (prompt,) = row.prompts
                found.append(prompt)
                assert prompts.first_scored[prompt] - row.prefix_length <= row.new_tokens // 2
            for part in parts:
                assert part.new_tokens < row.new_tokens or len(part.prompts) < len(row.prompts)
                assert all(prompts.first_scored[prompt] >= part.prefix_length for prompt in part.prompts)
            waiting += parts
        assert sorted(found) == list(range(len(prompts)))


def few_shot(questions: int, examples: int) -> SortedPrompts:
    """Return prompts with `examples` tokens of few-shot examples, each followed by a question of eight tokens."""
    texts = [[*range(examples), 9000 + number, *range(100, 107)] for number in range(questions)]
    return SortedPrompts((np.array(text, dtype=np.int32), len(text) - 1) for text in texts)


def test_few_shot_examples_are_computed_once() -> None:
    """Few-shot examples that precede every question become a single shared prefix for all rows."""
    planned = list(plan_rows(few_shot(questions=64, examples=300), RowLimits(64, 8, 1000)))
    assert {row.prefix_length for row in planned} == {300}
    assert len({id(row.prefix) for row in planned}) == 1
    assert sum(row.new_tokens for row in planned) == 64 * 8


def test_a_prefix_that_saves_little_is_not_cached() -> None:
    """A prefix is recomputed if caching the prefix would save too few tokens to justify a separate forward pass."""
    planned = plan_rows(few_shot(questions=24, examples=10), RowLimits(64, 8, 1000))
    assert all(row.prefix is None for row in planned)


def test_a_prefix_beyond_its_limit_is_not_cached() -> None:
    """A shared prefix is never longer than the limit in `RowLimits`."""
    planned = plan_rows(few_shot(questions=64, examples=300), RowLimits(64, 8, 299))
    assert all(row.prefix is None for row in planned)


def test_passages_of_shorter_prompts_are_computed_once() -> None:
    """In prompts with 0 to 5 shared passages, each passage is computed once and the question once per prompt."""
    passages = [list(range(number * 1000, number * 1000 + 50)) for number in range(5)]
    question = list(range(90_000, 90_010))
    texts = [[*chain.from_iterable(passages[:k]), *question] for k in range(6)]
    prompts = SortedPrompts((np.array(text, dtype=np.int32), len(text) - 1) for text in texts)
    (row,) = plan_rows(prompts, RowLimits(1024, 128, 1000))
    assert row.new_tokens == 5 * 50 + 6 * 10


def test_many_nested_prompts_need_no_recursion() -> None:
    """Planning 1,500 prompts that each extend the previous prompt does not exceed Python's recursion limit."""
    text = np.arange(1500, dtype=np.int32)
    prompts = SortedPrompts((text[:length], length - 1) for length in range(1, 1501))
    assert sum(len(row.prompts) for row in plan_rows(prompts, RowLimits(32, 4, 0))) == 1500
