import json
import re
from dataclasses import replace

import pytest

from kib_openai.completion import Completion, parse_completion
from kib_openai.parsing import (
    InvalidAnswerError,
    parse_order,
    parse_pairs,
    parse_paraphrases,
    parse_questions,
    quoted,
)


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


PAIR = {"question": "Who?", "answer": "-5", "wrong": ["5", "Five"]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"wrong": ["5"]}, 'expected 2 wrong options under the key "wrong"'),
        ({"wrong": "5, 6"}, 'expected 2 wrong options under the key "wrong"'),
        ({"wrong": ["5", " "]}, "a wrong option is empty"),
        ({"wrong": ["5", "-5 "]}, "two options are equal"),
        ({"wrong": ["an  OAK", "An oak"]}, "two options are equal"),
        ({"wrong": ["caf\u00e9", "cafe\u0301"]}, "two options are equal"),
    ],
)
def test_pairs_with_unusable_options(change, reason):
    """A pair with unusable options is dropped; if pairs are missing, an error counts such pairs and quotes one."""
    bad = {**PAIR, "question": "Which one?", **change}
    answer = Completion(json.dumps({"pairs": [bad, PAIR]}))
    assert [pair.question for pair in parse_pairs(answer, 1, set(), 2)] == ["Who?"]
    message = (
        f'expected 2 distinct new texts, got 1, and 1 pair with unusable options; the first is "Which one?": {reason}'
    )
    with pytest.raises(InvalidAnswerError, match=re.escape(message)):
        parse_pairs(answer, 2, set(), 2)


def test_position_of_the_right_answer():
    """The right answer of a pair can have every position, which depends only on the texts of the pair."""
    pairs = [{**PAIR, "question": f"What is {n}?"} for n in range(30)]
    answer = Completion(json.dumps({"pairs": pairs}))
    parsed = parse_pairs(answer, 30, set(), 2)
    assert parsed == parse_pairs(answer, 30, set(), 2)
    assert {pair.options.index("-5") for pair in parsed} == {0, 1, 2}
    assert all(sorted(pair.options) == ["-5", "5", "Five"] for pair in parsed)


REASONING_ONLY = Completion(None, reasoning="First, I read the passage.")


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (Completion(None), "contains no text"),
        (Completion(""), "contains no text"),
        (Completion('{"paraphrases": ["a"]}', "length"), "truncated; raise `max_tokens`"),
        (Completion(None, "length"), "truncated before its first word, .* raise `max_tokens`, or turn off the"),
        (Completion("", "max_tokens"), "truncated before its first word"),
        (replace(REASONING_ONLY, finish="length"), "truncated before its first word"),
        (REASONING_ONLY, "contains only the model's reasoning; turn off the reasoning"),
        (Completion("<think>First, I read {it}"), "ends within the model's reasoning"),
        (Completion('<think>A draft: {"paraphrases": ["a"]}'), "ends within the model's reasoning"),
        (Completion(None, refusal="I cannot help with that."), "the model refused to answer"),
        (Completion(None, "content_filter"), "content filter"),
        (Completion('{"paraphrases": ["a"], "paraphrases": ["b"]}'), 'the key "paraphrases" appears twice'),
        (Completion('Well: {"paraphrases": [{"a": 1, "a": 2}]}'), 'the key "a" appears twice'),
    ],
)
def test_incomplete_answers(completion, reason):
    """An answer without text, with a repeated key, or cut off anywhere is rejected with the reason."""
    with pytest.raises(InvalidAnswerError, match=reason):
        parse_paraphrases(completion, 1, set())


@pytest.mark.parametrize(
    "wrapped",
    [
        "```json\n{}\n```",
        "```\n{}```",
        " {} \n",
        "<think>Well…\n</think>\n{}",
        "Well…\n</think>\n\n{}",
        'A draft: {"paraphrases": ["x", "y"]}. No, better:\n</think>\n{}',
        "<thinking>{?}</thinking>```json\n{}\n```",
        "Here is the JSON:\n```json\n{}\n```",
        "```JSON\n{}\n```\nI hope that this helps {smile}.",
        "In the form {a: b}, first a draft:\n```\n[1]\n```\nthen the answer:\n```json\n{}\n```\nDone.",
        "Here is the JSON: {} I hope that this helps.",
    ],
)
def test_wrapped_answers(wrapped):
    """The parser ignores the model's reasoning, code fences, text around the JSON, and surplus entries."""
    text = wrapped.replace("{}", '{"paraphrases": ["a", "b", "c"]}')
    assert parse_paraphrases(Completion(text), 2, set()) == ["a", "b"]


@pytest.mark.parametrize("text", ["Run this:\n```sh\nls {a,b}\n```\nNow.", "A model ends its reasoning by </think>."])
@pytest.mark.parametrize("fence", ["{}", "```json\n{}\n```", "<think>Hm.</think>\n{}"])
def test_answers_about_markup(text, fence):
    """A text that contains a code fence or a reasoning tag is read completely."""
    answer = fence.replace("{}", json.dumps({"paraphrases": [text]}))
    assert parse_paraphrases(Completion(answer), 1, set()) == [text]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}, {"text": "a"}]}, "a"),
        ({"content": [{"type": "reasoning", "text": "x"}, {"type": "output_text", "text": "a"}, "b", 7]}, "ab"),
        ({"content": {"type": "text", "text": "a"}}, "a"),
        ({"content": "a", "reasoning_content": "x"}, "a"),
        ({"content": " \n"}, None),
        ({"content": []}, None),
    ],
)
def test_forms_of_content(message, text):
    """The content of a message is a text or a list of parts, and reasoning is not part of the content."""
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert parse_completion(body) == Completion(text, "stop")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking", "refusal"])
def test_an_answer_in_a_different_field(field):
    """Reasoning or a refusal in place of content is kept in the stored answer, and older stored answers can be read."""
    body = json.dumps({"choices": [{"message": {"content": None, field: "Hm."}}], "usage": {"prompt_tokens": 3}})
    name = "refusal" if field == "refusal" else "reasoning"
    completion = parse_completion(body)
    assert completion == replace(Completion(None, "", 3), **{name: "Hm."})
    assert Completion.from_json(completion.to_json()) == completion
    assert quoted(completion) == '"Hm."'
    old = '{"completion_tokens": 2, "content": "{}", "finish": "stop", "prompt_tokens": 1}'
    assert Completion.from_json(old).to_json() == old


def test_a_failure_inside_a_completion():
    """A completion that only reports a failed provider is not an answer."""
    assert parse_completion('{"choices": [{"error": {"code": 502}, "message": {"content": ""}}]}') is None


@pytest.mark.parametrize(
    ("content", "quote"),
    [
        ('Sure!\n\tHere "it" is', '"Sure! Here \\"it\\" is"'),
        ("\x1b[31mred\u202e", '"\\u001b[31mred\\u202e"'),
        ("<think>Hm.</think>\nNo.", '"No."'),
        ("<think>Hm.</think>\n", '"<think>Hm.</think>"'),
        ("a" * 101, f'"{"a" * 100}…"'),
        ("ü桥", '"ü桥"'),
        ("", ""),
    ],
)
def test_quotes_of_invalid_answers(content, quote):
    """An invalid answer is quoted on one line, escaped and shortened, without its reasoning."""
    assert quoted(Completion(content)) == quote
