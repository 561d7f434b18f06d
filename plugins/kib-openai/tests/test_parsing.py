import pytest

from kib_openai.completion import Completion
from kib_openai.parsing import InvalidAnswerError, parse_order, parse_pairs, parse_paraphrases, parse_questions


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (parse_paraphrases, "{", "not valid JSON"),
        (parse_paraphrases, "[]", "expected a JSON object"),
        (parse_paraphrases, '{"texts": ["a", "b"]}', 'expected a list under the key "paraphrases"'),
        (parse_paraphrases, '{"paraphrases": ["a"]}', "expected 2 entries"),
        (parse_paraphrases, '{"paraphrases": ["a", " "]}', "empty"),
        (parse_paraphrases, '{"paraphrases": ["a", 1]}', "not a string"),
        (parse_paraphrases, '{"paraphrases": ["A b.", "a  B"]}', "expected 2 distinct new texts, got 1"),
        (parse_paraphrases, '{"paraphrases": ["a", "Old!"]}', "expected 2 distinct new texts, got 1"),
        (parse_paraphrases, '{"paraphrases": ["a", "\\ud800"]}', "surrogate"),
        (parse_pairs, '{"pairs": [{"question": "a?"}, {"question": "b?", "answer": "b"}]}', "an answer is empty"),
        (
            parse_pairs,
            '{"pairs": [{"question": "a?", "answer": "a"}, {"question": "Old?", "answer": "b"}]}',
            "expected 2 distinct new texts, got 1",
        ),
        (parse_pairs, '{"pairs": ["a", "b"]}', "expected a JSON object for a pair"),
    ],
)
def test_invalid_texts(parse, text, reason):
    """An invalid list of paraphrases or pairs is rejected with an error that states the reason."""
    with pytest.raises(InvalidAnswerError, match=reason):
        parse(Completion(text), 2, {"old"})


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (
            parse_questions,
            '{"questions": [{"question": "a?", "right": "a", "wrong": ["b"], "quote": "c"}]}',
            "3 wrong opt",
        ),
        (parse_questions, '{"questions": [{"question": "a?", "right": "a", "wrong": ["b", "c", "d"]}]}', "a quote is"),
        (parse_order, '{"order": [0]}', "each number from 1 to 1"),
        (parse_order, '{"order": [true]}', "each number"),
        (parse_order, '{"order": [1, 1]}', "each number"),
    ],
)
def test_invalid_questions(parse, text, reason):
    """An incomplete question, or a ranking that repeats a number, is rejected with an error that states the reason."""
    with pytest.raises(InvalidAnswerError, match=reason):
        parse(Completion(text), 1)


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (Completion(None), "contains no text"),
        (Completion('{"paraphrases": ["a"]}', "length"), "truncated; raise `max_tokens`"),
        (Completion(None, "content_filter"), "content filter"),
    ],
)
def test_incomplete_answers(completion, reason):
    """An answer is invalid if its text is missing, truncated or blocked by a content filter."""
    with pytest.raises(InvalidAnswerError, match=reason):
        parse_paraphrases(completion, 1, set())


@pytest.mark.parametrize("wrapped", ["```json\n{}\n```", "```\n{}```", " {} \n", "<think>Well…\n</think>\n{}"])
def test_wrapped_answers(wrapped):
    """The parser ignores code fences, the model's reasoning and surplus entries in an answer."""
    text = wrapped.replace("{}", '{"paraphrases": ["a", "b", "c"]}')
    assert parse_paraphrases(Completion(text), 2, set()) == ["a", "b"]
