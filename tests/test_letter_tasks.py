"""Questions with options, asked for a letter in generated text."""

import pytest

from kib.harness.letter_tasks import letter_task
from kib.harness.pairs import pairs_as_own_task
from kib.harness.tasks import from_questions
from kib.records import Question, Text

QUESTIONS = [Question("one", "Where?", ("here", "there", "nowhere"), 1), Question("two", "When?", ("now", "then"), 0)]


@pytest.mark.parametrize(
    ("output", "prediction"),
    [
        ("B", 1),
        (" B\n", 1),
        ("B.", 1),
        ("(B)", 1),
        ("**B**", 1),
        ("b", 1),
        ("(b).", 1),
        ("B. there", 1),
        ("The answer is B.", 1),
        ("Answer: C", 2),
        ("A place called B", 1),
        ("A because it is near", 0),
        ("A", 0),
        ("B or C", 1),
        ("It is A, not B", 0),
        ("D", None),
        ("d", None),
        ("", None),
        ("there", None),
        ("Bob's", None),
        ("B's", None),
        ("ABC", None),
        ("b there", None),
        ("Vitamin B12", None),
        ("Option B: there", 1),
    ],
)
def test_the_first_letter_of_an_output(output, prediction):
    """The first letter of an option that stands alone is the prediction; any other output is wrong."""
    task = letter_task("t", QUESTIONS)
    outcome = task.score(0, task.requests(0, "p"), [output])
    assert (outcome.prediction, outcome.score, outcome.output) == (prediction, int(prediction == 1), output)
    assert outcome.logprobs == ()


def test_prompts_are_those_of_letters():
    """Without a chat, prompts are equal to the prompts of `scoring = "letter"`; a chat begins with an instruction."""
    task, other = letter_task("t", QUESTIONS), from_questions("t", QUESTIONS, (), "letter")
    assert [(one.head, one.ask, one.options) for one in task.ask(0)] == [
        (one.head, one.ask, one.options) for one in other.ask(0)
    ]
    [asked, _] = task.ask(0, chat=lambda messages, _: "|".join(message["content"] for message in messages))
    assert asked.head == "Answer the question with the letter of the right option alone.|"
    assert (task.metric, other.metric) == ("letter_text", "acc")
    assert [
        request.arguments[1]["until"] for request in (*task.requests(0, "p"), *task.requests(0, "p", chat=True))
    ] == [
        ["Question:"],
        [],
    ]


def test_pairs_have_the_form_of_the_task():
    """A pair with options is trained as the task asks, with the letter of the right option as its target."""
    pair = Text("p#0", "pair", "Where?", "there", ("here", "there"))
    [rendered] = pairs_as_own_task("t", [pair], "letter-text", None)
    assert (rendered.prompt, rendered.target) == ("Question: Where?\nA. here\nB. there\nAnswer:", " B")
