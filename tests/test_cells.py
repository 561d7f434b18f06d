"""Prompts fit their token budget, and each score is stored with its prompt, passages and answer."""

import json
import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.errors import InputError
from kib.records import Request
from kib.run.token_budget import TokenBudget


def letters(text):
    """Return one token per byte after a start token."""
    return [256, *text.encode()]


def joining(*pieces):
    """Return a tokenizer that encodes each string in `pieces` as one token."""

    def tokens(text):
        found = []
        while text:
            piece = next((piece for piece in pieces if text.startswith(piece)), text[0])
            found.append(piece)
            text = text[len(piece) :]
        return found

    return tokens


def pair(context, continuation):
    return Request("loglikelihood", (context, continuation))


# Prompt lengths


@pytest.mark.parametrize(
    ("length", "budget", "limit"), [(None, None, None), (10, None, 10), (None, 7, 7), (10, 7, 7), (7, 10, 7)]
)
def test_the_smaller_limit_holds(length, budget, limit):
    """The token limit is the smaller of the model's context length and the spec's token budget."""
    assert TokenBudget(letters, length, budget).limit == limit


def test_without_a_tokenizer_nothing_is_counted():
    """Without a tokenizer, a model has no token limit."""
    token_budget = TokenBudget(None, 10, 7)
    assert token_budget.limit is None
    assert token_budget.counter([pair("a", " b")]) is None
    token_budget.check_joins("q", [pair("a:", "b")])


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=4))
def test_a_prompt_is_counted_with_its_longest_answer(prompt, options):
    """A prompt's token count includes special tokens and the longest option."""
    count = TokenBudget(letters, None, None).counter([pair("", option) for option in options])
    assert count(prompt) == 1 + len(prompt.encode()) + max(len(option.encode()) for option in options)


@pytest.mark.parametrize(("settings", "tokens"), [({"max_gen_toks": 30}, 30), ({"until": ["\n"]}, 256)])
def test_budget_reserves_space_for_the_generated_answer(settings, tokens):
    """For a generated answer, the budget reserves the task's maximum length or lm-eval's default."""
    budget, requests = TokenBudget(letters, None, None), [Request("generate_until", ("", settings))]
    assert budget.reserve(requests) == tokens
    assert budget.reserve([pair("", " Tarn")]) == 0
    assert budget.counter(requests)("abc") == 4


def test_the_limit_of_the_model_on_generated_answers():
    """The model's own limit replaces lm-eval's default, but not the limit of a request."""
    budget = TokenBudget(letters, None, None, generated=12)
    assert budget.answer_tokens(Request("generate_until", ("", {"max_gen_toks": 30}))) == 30
    assert budget.answer_tokens(Request("generate_until", ("", {}))) == 12


# Joins of prompt and answer


@pytest.mark.parametrize(
    ("piece", "context", "continuation"),
    [(": A", "Answer: ", "A"), (": A", "Answer:", " A"), ("Answer: A", "Answer:", " A"), ("r: A\n", "Answer:", " A\n")],
)
def test_a_token_across_the_boundary_is_an_error(piece, context, continuation):
    """A token that spans the prompt-answer boundary raises an error before the run."""
    with pytest.raises(InputError) as caught:
        TokenBudget(joining(piece), None, None).check_joins("q7", [pair(context, " B"), pair(context, continuation)])
    words = (
        f"question q7: the tokenizer merges the answer {continuation!r} with the end of the prompt, {context[-16:]!r}"
    )
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("continuation", ["A", " A", " AB", " A\n"])
def test_a_leading_space_belongs_to_the_answer(continuation):
    """A token of the form " A" belongs to the answer, because lm-eval moves the leading space into the answer."""
    TokenBudget(joining(" A", "Answer:"), None, None).check_joins(
        "q", [pair("Answer: ", "A"), pair("Answer:", continuation)]
    )


def test_only_the_end_of_a_prompt_is_tokenised():
    """Only the end of a long prompt is tokenised to check the prompt-answer boundary."""
    seen = []

    def tokens(text):
        seen.append(len(text))
        return joining(": A")(text)

    token_budget = TokenBudget(tokens, None, None)
    with pytest.raises(InputError):
        token_budget.check_joins("q", [pair("x" * 10_000 + "Answer:", " A")])
    assert max(seen) < 100


def test_an_empty_prompt_has_no_boundary():
    """An empty prompt passes the check of the prompt-answer boundary."""
    TokenBudget(joining(" A"), None, None).check_joins("q", [pair("", " A")])


def test_generation_requests_have_no_boundary():
    """Generation requests need no check of the prompt-answer boundary."""
    TokenBudget(joining(": A"), None, None).check_joins("q", [Request("generate_until", ("Answer: A", {}))])


# Token budgets in a run


def short(bench, tokens, **more):
    """Write the toy benchmark with a token budget per prompt; one token is one byte."""
    return bench.write_toy(more=f"\n[prompt]\ntokens = {tokens}\n", **more)


def test_dropped_passages_are_counted(bench):
    """If a prompt is too long, the lowest-ranked passages are dropped and counted per question and per cell."""
    short(bench, 220)
    assert bench.run() == {}
    cell = bench.cells()["m/rag,k=3/people,0-shot"]
    result, scores = bench.results.cell(cell), bench.results.scores(cell)
    assert result.dropped_passages == sum(score.dropped for score in scores) > 0
    assert result.dropped_questions == sum(score.dropped > 0 for score in scores) < len(scores)
    assert all(score.tokens <= 220 for score in scores)
    assert result.prompt_tokens == sum(score.tokens for score in scores)
    assert all(len(score.gold) == len(score.passages) for score in scores)
    assert "passages dropped" in bench.call("check", bench.spec, "-q").output


def test_a_prompt_is_the_largest_that_fits(bench):
    """No passage that would fit is dropped, and the order of passages does not depend on the budget."""
    bench.write_toy()
    bench.run()
    whole = {score.question_id: score for score in bench.scores("m/rag,k=3/people,0-shot")}
    short(bench, 220)
    bench.run()
    for score in bench.scores("m/rag,k=3/people,0-shot"):
        assert score.passages == whole[score.question_id].passages
        assert (score.dropped == 0) == (whole[score.question_id].tokens <= 220)


def test_too_long_questions_are_counted_in_the_error(bench):
    """If questions exceed the token budget, the cell's error states the number of these questions and one id."""
    short(bench, 60)
    failures = bench.run()
    assert len(failures) == 5
    scores = {failure.error for failure in failures.values()}
    assert len(scores) == 1
    words = (
        r"^the prompts of \d+ of 18 questions are too long; question [a-z]+-\d+: the prompt has \d+ tokens even without"
    )
    assert re.match(words, scores.pop())


def test_context_length_limits_prompts(bench):
    """The model's context length limits a prompt in the same way as the spec's token budget."""
    bench.write_toy(model="length = 220\n")
    assert bench.run() == {}
    assert bench.results.cell(bench.cells()["m/rag,k=3/people,0-shot"]).dropped_passages > 0


def test_without_a_tokenizer_cells_have_no_tokens(bench):
    """Without a tokenizer, cells and scores contain no token counts."""
    bench.write_toy(model="counts = false\n", more="\n[prompt]\ntokens = 60\n")
    assert bench.run() == {}
    for cell in bench.cells().values():
        assert bench.results.cell(cell).prompt_tokens is None
        assert {score.tokens for score in bench.results.scores(cell)} == {None}


def test_token_chunks_need_a_public_tokenizer(bench):
    """Splitting a corpus by the tokens of a model without a tokenizer raises an error that suggests a remedy."""
    chunk = '[corpora.people]\nplugin = "toy"\nchunk = { tokens = 30 }'
    text = bench.write_toy(model="counts = false\n").spec.read_text(encoding="utf-8")
    bench.write(text.replace('[corpora.people]\nplugin = "toy"', chunk))
    failures = bench.run()
    assert len(failures) == 4
    words = "corpora.people.chunk: the model m has no public tokenizer; name a different model with `tokenizer`, or"
    assert all(failure.error.startswith(words) for failure in failures.values())


def test_scores_are_stored_with_prompt_and_answer(bench):
    """Each question score is stored with its prompt and answer, and the cell's result is the sum of the scores."""
    bench.write_toy()
    bench.run()
    rows = {row["id"]: row for row in map(json.loads, (bench.folder / "people.jsonl").read_text().splitlines())}
    for cell in bench.cells().values():
        result, scores = bench.results.cell(cell), bench.results.scores(cell)
        assert result.n == len(scores) == 18
        assert result.correct == sum(score.score for score in scores)
        assert [score.question_id for score in scores] == list(rows)
        for score in scores:
            assert score.group == rows[score.question_id]["group"]
            assert "ABCD"[score.answer] == rows[score.question_id]["answer"]
            assert score.score == (score.prediction == score.answer)
            assert score.prediction == score.logprobs.index(max(score.logprobs))
            assert len(score.prompt) == 64


def test_a_prompts_digest_is_that_of_its_text(bench):
    """The stored digest of a prompt is computed from the prompt's text."""
    bench.write_toy()
    bench.run()
    first = bench.scores("m/base/people,0-shot")[0]
    assert first.prompt == sha256(b"Question: Where does Ada Quill live?\nAnswer:").hexdigest()


def test_each_passage_is_marked_as_gold_or_not(bench):
    """Each retrieved passage is marked as gold or not gold, and base cells contain no gold marks."""
    bench.write_toy()
    bench.run()
    for score in bench.scores("m/rag,k=3/people,0-shot"):
        assert score.gold == tuple(passage == f"{score.question_id.partition('-')[0]}#0" for passage in score.passages)
    assert {score.gold for score in bench.scores("m/base/people,0-shot")} == {None}


def test_characters_of_all_scripts_reach_the_prompt(bench):
    """Characters of all scripts are preserved from the documents to the prompt."""
    bench.write_toy()
    bench.run()
    shown = bench.call("show", "m/oracle/people,0-shot", "ben-1").output
    assert "Where does Ben Straße live?" in shown
    assert "Überlingen" in shown
    assert "Cho 桥" in bench.call("show", "m/oracle/people,0-shot", "cho-2").output


def test_custom_template_and_order_affect_only_retrieval(bench):
    """A custom template and passage order in the spec apply only to prompts with passages."""
    template = "{% for p in passages %}* {{ p.text }}\\n{% endfor %}"
    bench.write_toy()
    bench.run()
    base = bench.scores("m/base/people,0-shot")
    bench.write_toy(more=f'\n[prompt]\ntemplate = "{template}"\norder = "best-last"\n')
    assert bench.run() == {}
    assert bench.scores("m/base/people,0-shot") == base
    shown = bench.call("show", "m/rag,k=3/people,0-shot", "eva-10").output
    prompt = shown.split("─" * 60)[1]
    assert prompt.strip().startswith("* ")
    assert prompt.strip().splitlines()[-3].startswith("* Eva Lind lives")
