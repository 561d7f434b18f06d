"""lm-eval tasks in kib: insertion of passages, choice of few-shot examples, and rejection of unsupported tasks."""

import re
from dataclasses import replace
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.errors import InputError, StepError
from kib.harness.backends import environment
from kib.harness.pairs import option_counts, pairs_as_harness_task
from kib.harness.requests import answer, batches
from kib.harness.tasks import MARK, RenderedTask, from_questions, sample_rows
from kib.records import Gold, Question, Request, Text
from kib.support.question_text import comparable

QUESTIONS = (
    Question("q1", "Where does Ada live?", ("Tarn", "Norwick", "Ostend"), 1, (Gold("ada"),), "ada"),
    Question("q2", "What is Ben's trade?", ("thatching", "dyeing"), 0),
)
EXAMPLES = (
    Question("e1", "Where does Eva live?", ("Visby", "Wells"), 0),
    Question("e2", "Who owns a hen?", ("Dov", "Fay"), 1),
    Question("e3", "Who owns a goat?", ("Dov", "Fay"), 0),
)


def text_of(asked):
    return asked.head + asked.ask


def rendered_task(scoring="text", questions=QUESTIONS, limit=None, examples=EXAMPLES):
    return from_questions("people", questions, examples, scoring, limit)


def configured(rows, *, shots=(), name="made", metric=None, limit=None, split="test", validation=(), **config):
    """Return a rendered task for an lm-eval task created from a configuration and rows."""
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask

    splits = {"test": Dataset.from_list(list(rows))}
    for key, some in (("train", shots), ("validation", validation)):
        if some:
            splits[key] = Dataset.from_list(list(some))
    task = ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": lambda **_: DatasetDict(splits),
            "test_split": "test",
            "training_split": "train" if shots else None,
            "validation_split": "validation" if validation else None,
            "fewshot_split": "train" if shots else None,
            "doc_to_text": "{{question}}",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            **config,
        }
    )
    return RenderedTask(name, task, metric=metric, limit=limit, split=split)


CHOICES = {"output_type": "multiple_choice", "doc_to_choice": "choices"}
ROWS = [{"question": f"Which is {n}?", "choices": ["one", "two", "three"], "answer": n % 3} for n in range(9)]
POOL = [{"question": f"Example {n}?", "choices": ["yes", "no"], "answer": n % 2} for n in range(12)]
EXACT = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
WRITTEN = {"output_type": "generate_until", "metric_list": EXACT, "generation_kwargs": {"until": ["\n"]}}


# Questions of the user's own


def test_a_zero_shot_prompt_is_the_question():
    """Without examples, the prompt is the question alone, and each option is scored after a leading space."""
    first = rendered_task().ask(0)[0]
    assert (first.head, first.ask) == ("", "Question: Where does Ada live?\nAnswer:")
    assert [request.arguments for request in rendered_task().requests(0, text_of(first))] == [
        (first.ask, " Tarn"),
        (first.ask, " Norwick"),
        (first.ask, " Ostend"),
    ]


def test_letter_scoring_lists_the_options_in_the_prompt():
    """With letter scoring, the prompt lists the options, and each option has one letter as its answer."""
    made = rendered_task("letter")
    first, second = made.ask(0)
    assert first.ask == "Question: Where does Ada live?\nA. Tarn\nB. Norwick\nC. Ostend\nAnswer:"
    assert [request.arguments[1] for request in made.requests(1, second.ask)] == [" A", " B"]
    assert first.options == ("Tarn", "Norwick", "Ostend")


def test_examples_precede_the_question_in_order():
    """The prompt starts with the first examples in order, each followed by its answer and a blank line."""
    first = rendered_task().ask(2)[0]
    assert first.head == ("Question: Where does Eva live?\nAnswer: Visby\n\nQuestion: Who owns a hen?\nAnswer: Fay\n\n")
    assert first.ask == "Question: Where does Ada live?\nAnswer:"


def test_letter_scoring_answers_examples_with_letters():
    """With letter scoring, the answer to a few-shot example is a letter."""
    assert rendered_task("letter").ask(1)[0].head == "Question: Where does Eva live?\nA. Visby\nB. Wells\nAnswer: A\n\n"


def test_a_rendered_question_keeps_its_fields():
    """A rendered question keeps its id, options, answer, gold and group, and uses the question text as the query."""
    first, second = rendered_task().ask(0)
    assert (first.question_id, first.answer, first.gold, first.group) == ("q1", 1, (Gold("ada"),), "ada")
    assert (second.gold, second.group) == ((), None)
    assert [question.query for question in (first, second)] == ["Where does Ada live?", "What is Ben's trade?"]


SIGNS = st.characters(codec="utf-8") | st.sampled_from("{}%#[]7'\"\\ \n\u2028桥🚧")
WORDS = st.text(SIGNS, min_size=1, max_size=25).filter(lambda text: text.strip() and MARK not in text)


@given(WORDS, st.lists(WORDS, min_size=2, max_size=4, unique_by=comparable), st.sampled_from(["text", "letter"]))
def test_markup_in_questions_appears_literally(text, options, scoring):
    """Braces, brackets and characters of any script in questions and options appear literally in the prompt."""
    question = Question("q", text, tuple(options), len(options) - 1)
    made = rendered_task(scoring, [question], examples=[question])
    zero, one = made.ask(0)[0], made.ask(1)[0]
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip("ABCD", options, strict=False))
    shown = listed if scoring == "letter" else ""
    assert (zero.head, zero.ask) == ("", f"Question: {text}{shown}\nAnswer:")
    right = "ABCD"[len(options) - 1] if scoring == "letter" else options[-1]
    assert (one.head, one.ask) == (f"{zero.ask} {right}\n\n", zero.ask)
    wanted = list("ABCD"[: len(options)]) if scoring == "letter" else options
    assert [request.arguments for request in made.requests(0, "P")] == [("P", f" {option}") for option in wanted]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (" \u2003", ("red", "green"), "question q: the text of the question is empty"),
        ("Which?", ("red", "green", "red"), "two options are equal: 'red' and 'red'"),
        ("Which?", ("dark red", "dark  red"), "two options are equal: 'dark red' and 'dark  red'"),
        ("Which?", ("caf\u00e9", "cafe\u0301"), "two options are equal: "),
    ],
)
def test_questions_without_a_text_or_with_equal_options_are_refused(text, options, said):
    """A question needs a text, and options that differ in more than white space and Unicode normalisation."""
    with pytest.raises(InputError, match=re.escape(said)):
        rendered_task("text", [Question("q", text, options, 0)])


def test_the_right_option_scores_one():
    """The score is 1 if the correct option is the most probable and 0 otherwise, with log-probabilities stored."""
    made = rendered_task()
    requests = made.requests(0, "P")
    right = made.score(0, requests, [(-3.0, False), (-1.0, True), (-2.0, False)])
    assert (right.score, right.prediction, right.logprobs, right.output) == (1, 1, (-3.0, -1.0, -2.0), None)
    wrong = made.score(0, requests, [[-1.0, False], [-2.0, True], [-3.0, False]])
    assert (wrong.score, wrong.prediction) == (0, 0)


def test_text_norm_scoring_divides_by_the_length():
    """With text-norm scoring, the option with the highest log-probability per character is chosen."""
    question = Question("q", "Which?", ("a", "a much longer answer"), 1)
    made = rendered_task("text-norm", [question])
    outcome = made.score(0, made.requests(0, "P"), [(-2.0, False), (-4.0, False)])
    assert (outcome.score, outcome.prediction) == (1, 1)
    assert rendered_task("text", [question]).score(0, made.requests(0, "P"), [(-2.0, False), (-4.0, False)]).score == 0


@pytest.mark.parametrize(
    ("metric", "chosen"),
    [("acc", 0), ("acc_norm", 1), ("acc_bytes", 2), ("acc_mutual_info", 3)],
)
def test_the_prediction_is_the_option_preferred_by_the_metric(metric, chosen):
    """The prediction is the option preferred by the metric, after any length normalisation."""
    choices = ["x" * 2, "y" * 20, "ü" * 30, "z"]
    given, alone = [-1.0, -4.0, -7.0, -9.0], [-1.0, -4.0, -7.0, -99.0]
    for right in range(4):
        row = {"question": "Q?", "choices": choices, "answer": right}
        made = configured([row], metric=metric, metric_list=[{"metric": metric}], **CHOICES)
        requests = made.requests(0, "P")
        values = [(value, False) for value in [*given, *alone][: len(requests)]]
        outcome = made.score(0, requests, values)
        assert (outcome.score, outcome.prediction, outcome.logprobs) == (right == chosen, chosen, tuple(given))


def test_an_empty_option_is_named():
    """For any metric, an empty option raises an error that names the question and the option."""
    rows = [ROWS[0], {"question": "Q?", "choices": ["a", ""], "answer": 0}]
    with pytest.raises(InputError, match=r"tasks\.made: question made-1: option 2 is empty"):
        configured(rows, metric="acc_norm", metric_list=[{"metric": "acc_norm"}], **CHOICES).ask(0)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (Question("q", "Who?", ("a", "b"), 2), "question q: the correct answer is not one of the options"),
        (Question("q", "Who?", ("a", "b"), -1), "question q: the correct answer is not one of the options"),
        (Question("q", "Who?", ("a",), 0), "question q: expected 2 to 26 options, got 1"),
        (
            Question("q", "Who?", tuple("abcdefghijklmnopqrstuvwxyz0"), 0),
            "question q: expected 2 to 26 options, got 27",
        ),
        (Question("q", f"Who{MARK}?", ("a", "b"), 0), "question q: the text contains"),
    ],
)
def test_an_invalid_question_is_named(question, words):
    """An invalid answer index or number of options, or kib's marker in a question, raises an error."""
    with pytest.raises(InputError, match=re.escape(f"tasks.people: {words}")):
        rendered_task(questions=[question])


def test_a_task_without_questions_is_an_error():
    """A task without questions raises an error."""
    with pytest.raises(InputError, match=r"tasks\.people: the task has no questions"):
        rendered_task(questions=[])


# A fixed sample


@given(st.integers(0, 2000), st.none() | st.integers(1, 2500))
def test_a_question_limit_selects_evenly_spaced_rows(count, limit):
    """A question limit selects evenly spaced rows in order, starting with the first row."""
    rows = sample_rows(count, limit)
    assert len(rows) == (count if limit is None else min(count, limit))
    assert rows == sorted(set(rows))
    assert rows[:1] == ([0] if count else [])
    gaps = {later - earlier for earlier, later in pairwise([*rows, count])}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_selected_questions_keep_their_ids_and_examples():
    """With a question limit, the selected questions keep their ids and few-shot examples."""
    whole = {asked.question_id: asked for asked in configured(ROWS, shots=POOL, **CHOICES).ask(3)}
    sample = configured(ROWS, shots=POOL, limit=4, **CHOICES).ask(3)
    assert [asked.question_id for asked in sample] == ["made-0", "made-2", "made-4", "made-6"]
    assert all(whole[asked.question_id] == asked for asked in sample)


# lm-eval's own tasks


def test_examples_are_the_same_every_time():
    """Rendering a task again selects the same examples, even after rendering with other numbers of shots."""
    made = configured(ROWS, shots=POOL, **CHOICES)
    first = made.ask(3)
    made.ask(0)
    made.ask(5)
    assert made.ask(3) == first == configured(ROWS, shots=POOL, **CHOICES).ask(3)
    assert len({asked.head for asked in first}) > 1


def test_examples_equal_those_of_lm_eval():
    """kib selects the same few-shot examples as lm-eval with its default seed."""
    made = configured(ROWS, shots=POOL, **CHOICES)
    made.task.set_fewshot_seed(1234)
    alone = [made.task.fewshot_context(doc, num_fewshot=3) for doc in made.task.eval_docs]
    assert [text_of(asked) for asked in made.ask(3)] == alone


ONE_SPLIT = [
    {},
    {"training_split": "test"},
    {"training_split": "test", "fewshot_config": {"sampler": "first_n"}},
    {"fewshot_split": "test"},
    {"test_split": None, "validation_split": "test", "fewshot_split": "test"},
]


@pytest.mark.parametrize("config", ONE_SPLIT)
def test_a_question_is_not_among_its_own_examples(config):
    """If the examples come from the split of the questions, the asked question is not among its own examples."""
    made = configured(ROWS, **{**CHOICES, **config})
    for row, asked in enumerate(made.ask(4)):
        assert asked.ask == f"Which is {row}?"
        assert asked.head.count("Which is ") == 4
        assert f"Which is {row}?" not in asked.head
    assert made.notes(4)[-1].endswith("of the split test, without the asked question itself")


def test_a_copy_of_the_question_is_not_among_its_examples():
    """A copy of the asked question in the same split, with other white space, is not among the examples either."""
    rows = [{**ROWS[n % 3], "question": f"Which\tis {n % 3}? ", "id": n} for n in range(6)]
    rows += [{**row, "id": 9} for row in ROWS[6:8]]
    for config in ({}, {"fewshot_split": "test"}):
        for asked in configured(rows, **CHOICES, **config).ask(3):
            assert asked.head.count("Which") == 3
            assert " ".join(asked.ask.split()) not in " ".join(asked.head.split())


def test_validation_questions_are_not_among_their_own_examples():
    """If lm-eval draws the examples from the validation questions, a validation question is not its own example."""
    made = configured(ROWS, validation=POOL[:4], split="validation", **CHOICES)
    assert all(asked.ask not in asked.head and asked.head.count("Example") == 3 for asked in made.ask(3))
    made = configured(ROWS, validation=POOL[:4], **CHOICES)
    assert all(asked.head.count("Example") == 3 for asked in made.ask(3))
    drawn = "are drawn at random (seed 1234) from the questions of the split validation"
    assert made.notes(3) == [f"the 3 few-shot examples of each question {drawn}"]


def test_examples_from_the_split_of_the_questions_equal_those_of_lm_eval():
    """If `fewshot_split` names the split of the questions, kib selects the same examples as lm-eval."""
    made = configured(ROWS, fewshot_split="test", **CHOICES)
    made.task.sampler = made.task.sampler.inner
    made.task.set_fewshot_seed(1234)
    alone = [made.task.fewshot_context(doc, num_fewshot=3) for doc in made.task.eval_docs]
    again = configured(ROWS, fewshot_split="test", **CHOICES)
    assert [text_of(asked) for asked in again.ask(3)] == alone


def test_too_few_other_questions_are_an_error():
    """If the asked question leaves too few examples in its split, an error states the number of questions."""
    with pytest.raises(InputError, match=r"9-shot prompts: the split test has only 9 questions, and the examples must"):
        configured(ROWS, **CHOICES).ask(9)
    rows = [{**ROWS[0], "id": 1}, {**ROWS[0], "id": 2}, {**ROWS[1], "id": 3}]
    with pytest.raises(InputError, match=r"2-shot prompts: the split test has too few questions that differ"):
        configured(rows, **CHOICES).ask(2)


def test_notes_state_the_source_of_the_examples():
    """Notes state the source of the examples and the number of questions that appeared among their own examples."""
    assert configured(ROWS, shots=POOL, **CHOICES).notes(0) == []
    first = {"sampler": "first_n"}
    made = configured(
        ROWS, shots=[POOL[0], {**ROWS[4], "choices": ROWS[4]["choices"][::-1]}], fewshot_config=first, **CHOICES
    )
    made.ask(1)
    assert made.notes(1) == ["the few-shot example of each question is the first question of the split train"]
    made.ask(2)
    taken = "are the first questions of the split train; 1 question appeared among its own examples"
    assert made.notes(2) == [f"the 2 few-shot examples of each question {taken}"]
    listed = configured(ROWS, fewshot_config={"samples": POOL[:3], **first}, **CHOICES)
    listed.ask(2)
    assert listed.notes(2)[0].endswith("are the first questions listed in the definition of the task")


def test_validation_questions_that_are_also_test_questions_are_counted():
    """A note states how many validation questions of an lm-eval task are also test questions."""
    copy = {**ROWS[0], "choices": ["two", "three", "one"], "answer": 2, "question": "Which  is 0?"}
    made = configured(ROWS, validation=[copy, *POOL], split="validation", **CHOICES)
    assert made.notes(0) == ["1 of 13 validation questions is also a test question"]


@pytest.mark.parametrize(
    ("copies", "config", "words"),
    [
        ([{**ROWS[0], "choices": ["two", "three", "one"], "answer": 2, "question": "Which  is 0?"}], CHOICES, "made-9"),
        ([{**ROWS[0], "answer": 7}], {**WRITTEN, "doc_to_target": "{{answer}}"}, "made-9"),
        ([{**ROWS[0], "choices": ["one", "two", "four"]}], CHOICES, ""),
    ],
)
def test_repeated_questions_of_an_lm_eval_task_are_counted(copies, config, words):
    """A note counts the questions of an lm-eval task that repeat an earlier question with the same options."""
    made = configured([*ROWS, *copies], limit=5, **config)
    expected = [f"1 question repeats an earlier question and its options ({words} repeats made-0)"] if words else []
    assert made.notes(0) == expected


def test_the_question_marker_never_appears_in_a_prompt():
    """The marker that locates the question never appears in a prompt."""
    for shots in (0, 2):
        assert all(MARK not in text_of(asked) for asked in configured(ROWS, shots=POOL, **CHOICES).ask(shots))


def test_a_task_description_precedes_the_examples():
    """A task's description precedes the examples, and passages follow the examples."""
    made = configured(ROWS, shots=POOL, description="Answer these.\n\n", **CHOICES)
    for asked in made.ask(2):
        assert asked.head.startswith("Answer these.\n\n")
        assert asked.head.count("Example") == 2
        assert asked.ask.startswith("Which is ")


def test_an_answer_prefix_belongs_to_the_question():
    """Text before the answer, such as an answer prefix, belongs to the question part of the prompt."""
    made = configured(ROWS, gen_prefix="It is", **CHOICES)
    assert made.ask(0)[0].ask == "Which is 0? It is"


@pytest.mark.parametrize(
    ("target", "rows", "right"),
    [
        ("answer", [{"question": "Q?", "choices": ["a", "b"], "answer": 1}], 1),
        ("answer", [{"question": "Q?", "choices": ["a", "b"], "answer": "b"}], 1),
        ("{{answer + 1}}", [{"question": "Q?", "choices": ["a", "b"], "answer": 0}], 1),
        ("answer", [{"question": "Q?", "choices": ["a", "b", "c"], "answer": [1, 2]}], None),
    ],
)
def test_the_answer_may_be_an_index_text_or_template(target, rows, right):
    """The answer may be an index, an option's text or a template, and is None if several options are correct."""
    assert configured(rows, doc_to_target=target, **CHOICES).ask(0)[0].answer == right


def test_any_of_several_correct_options_scores_1():
    """If several options are correct, choosing any of them scores 1."""
    rows = [{"question": "Q?", "choices": ["a", "b", "c"], "answer": [1, 2]}]
    made = configured(rows, **CHOICES)
    scores = [
        made.score(0, made.requests(0, "P"), [(-1.0 if n == best else -2.0, False) for n in range(3)]).score
        for best in range(3)
    ]
    assert scores == [0, 1, 1]


@pytest.mark.parametrize("answer", [3, -1, "d"])
def test_a_label_out_of_range_is_an_error(answer):
    """An answer index outside the options raises an error that names the question."""
    rows = [ROWS[0], {**ROWS[0], "answer": answer}] if isinstance(answer, int) else [{**ROWS[0], "answer": answer}]
    with pytest.raises(InputError, match=rf"tasks\.made: question made-{len(rows) - 1}: the correct answer is not one"):
        configured(rows, **CHOICES).ask(0)


def test_generated_text_is_filtered_before_scoring():
    """Generated text is scored with the task's filters and metric, but stored unfiltered."""
    rows = [{"question": "2 + 2?", "answer": "4"}]
    filters = [
        {
            "name": "strict",
            "filter": [{"function": "regex", "regex_pattern": r"#### (\d+)"}, {"function": "take_first"}],
        },
        {"name": "loose", "filter": [{"function": "regex", "regex_pattern": r"(\d+)"}, {"function": "take_first"}]},
    ]
    scores = {}
    for metric in (None, "exact_match", "exact_match,strict", "exact_match,loose"):
        made = configured(rows, metric=metric, filter_list=filters, **WRITTEN)
        requests = made.requests(0, "P")
        assert requests[0].kind == "generate_until"
        outcomes = [made.score(0, requests, [said]) for said in ("it is 4", "so #### 4", "#### 5")]
        assert [outcome.output for outcome in outcomes] == ["it is 4", "so #### 4", "#### 5"]
        assert all((outcome.prediction, outcome.logprobs) == (None, ()) for outcome in outcomes)
        scores[metric] = [outcome.score for outcome in outcomes]
    assert scores[None] == scores["exact_match"] == scores["exact_match,strict"] == [0, 1, 0]
    assert scores["exact_match,loose"] == [1, 1, 0]


def test_a_greedy_continuation_scores_1():
    """A task with a single continuation scores 1 if the model would generate the continuation greedily."""
    made = configured([{"question": "The sky is", "answer": " blue"}], output_type="loglikelihood")
    requests = made.requests(0, "The sky is")
    assert [request.arguments for request in requests] == [("The sky is", " blue")]
    assert [made.score(0, requests, [(-0.1, greedy)]).score for greedy in (True, False)] == [1, 0]
    assert made.ask(0)[0].options == ()


@pytest.mark.parametrize(
    ("config", "metric", "words"),
    [
        ({**CHOICES, "repeats": 4}, None, "the task asks each question several times"),
        (
            {**WRITTEN, "generation_kwargs": {"until": ["\n"], "do_sample": True}},
            None,
            "the task samples the answers",
        ),
        ({**WRITTEN, "generation_kwargs": {"until": ["\n"], "temperature": 0.7}}, None, "the task samples the answers"),
        ({**CHOICES}, "f1", "tasks.made.metric: the task has no metric f1; expected one of: acc"),
        ({**CHOICES}, "acc,best", "tasks.made.metric: the task has no filter best; expected one of: none"),
        ({**WRITTEN}, "acc", "tasks.made.metric: the task has no metric acc; expected one of: exact_match"),
        (
            {**CHOICES, "metric_list": [{"metric": "brier_score"}]},
            None,
            "tasks.made.metric: the task has no metric acc; expected one of: brier_score",
        ),
        (
            {**CHOICES, "metric_list": [{"metric": "brier_score"}]},
            "brier_score",
            "the metric brier_score is not a mean over the questions",
        ),
        (
            {**CHOICES, "process_results": lambda *_: {"acc": 1.5}},
            None,
            "the metric acc returned 1.5, but kib requires a score from 0 to 1",
        ),
        ({**CHOICES, "process_results": lambda *_: {"f1": 1}}, None, "the metric acc returned None, but kib requires"),
    ],
)
def test_a_metric_without_scores_from_0_to_1_is_rejected(config, metric, words):
    """A task whose metric is no score from 0 to 1 is rejected, with a reason, before any request is sent."""
    rows = [{"question": "Q?", "choices": ["a", "b"], "answer": 1 if "doc_to_choice" in config else "x"}]
    with pytest.raises(InputError) as caught:
        configured(rows, metric=metric, **config)
    assert words in str(caught.value)


def test_a_metric_with_values_between_0_and_1_is_measured():
    """A metric that is averaged over the questions may have any value from 0 to 1, and 0 and 1 stay whole numbers."""
    values = iter([0.5, 1.0, 0.25])
    task = configured(
        [{"question": "Q?", "choices": ["a", "b"], "answer": "x"}] * 3,
        metric="f1",
        **{**WRITTEN, "process_results": lambda *_: {"f1": next(values, 0.75)}},
    )
    outcomes = [task.score(index, task.requests(index, "Q?"), ["x"]).score for index in range(2)]
    assert [(type(score), score) for score in outcomes] == [(int, 1), (float, 0.25)]


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (
            {"aggregation": "median"},
            "the metric exact_match is not a mean over the questions",
        ),
        ({"aggregation": "mean", "higher_is_better": False}, "lower values of the metric exact_match are better"),
    ],
)
def test_a_metric_that_is_no_mean_of_gains_is_rejected(listed, words):
    """A metric that the task does not average, or whose low values are better, is rejected with the reason."""
    rows = [{"question": "Q?", "choices": ["a", "b"], "answer": "x"}]
    with pytest.raises(InputError) as caught:
        configured(rows, **{**WRITTEN, "metric_list": [{"metric": "exact_match", **listed}]})
    assert words in str(caught.value)


def test_a_task_with_one_prompt_per_option_is_rejected():
    """A task with one prompt per option is rejected, because passages have no single insertion point."""
    rows = [{"question": "The _ ran.", "choices": ["The cat", "The dog"], "answer": 1}]
    with pytest.raises(InputError, match="the options are the contexts, so there is no single position"):
        configured(rows, doc_to_text=lambda doc: doc["answer"], doc_to_target="question", **CHOICES)


def test_perplexity_tasks_are_rejected():
    """A task that measures the perplexity of whole texts is rejected."""
    with pytest.raises(InputError, match="the output type loglikelihood_rolling has no correct or incorrect answers"):
        configured(
            [{"question": "", "answer": "text"}],
            output_type="loglikelihood_rolling",
            metric_list=[{"metric": "word_perplexity"}],
        )


def test_more_shots_than_examples_are_an_error():
    """Requesting more shots than there are examples raises an error that states the requested number."""
    with pytest.raises(InputError, match=r"tasks\.made: cannot build 13-shot prompts"):
        configured(ROWS, shots=POOL, **CHOICES).ask(13)


def test_validation_questions_come_from_the_validation_split():
    """Validation questions come from the task's validation split; without one, an error states the reason."""
    other = [{**ROWS[0], "question": "To choose on?"}]
    made = configured(ROWS, shots=POOL, validation=other, split="validation", **CHOICES)
    assert [asked.ask for asked in made.ask(0)] == ["To choose on?"]
    with pytest.raises(InputError, match="has no validation questions separate from its test questions"):
        configured(ROWS, shots=POOL, split="validation", **CHOICES)


# What is searched for


def test_the_query_is_the_question():
    """Without a query template, the query is the field `question`, regardless of additional text in the prompt."""
    made = configured(ROWS, doc_to_text="Pick one. {{question}} Say it:", **CHOICES)
    assert made.ask(0)[1].query == "Which is 1?"


def test_without_a_question_field_the_prompt_is_the_query():
    """If a task has no field `question`, the query is the rendered question without examples or chat template."""
    rows = [{"stem": f"Stem {n}", "choices": ["a", "b"], "answer": 0} for n in range(3)]
    made = configured(rows, shots=rows, doc_to_text="{{stem}} is", **CHOICES)
    queries = [[asked.query for asked in made.ask(shots, chat=chat)] for shots in (0, 2) for chat in (None, angles)]
    assert queries == [["Stem 0 is", "Stem 1 is", "Stem 2 is"]] * 4


def test_a_query_never_contains_the_answer():
    """lm-eval's text for decontamination is not used as the query, because it may contain the answer."""
    rows = [{"text": "The sky is blue", "choices": ["a"], "answer": 0}]
    made = configured(
        rows,
        output_type="loglikelihood",
        doc_to_text="{{text.split(' ')[:-1]|join(' ')}}",
        doc_to_target="{{' '+text.split(' ')[-1]}}",
        should_decontaminate=True,
        doc_to_decontamination_query="{{text}}",
    )
    assert made.ask(0)[0].query == "The sky is"


def test_a_query_template_can_use_every_field():
    """A query template can use every field of the question."""
    assert configured(ROWS, **CHOICES).ask(0, "{{ question }} {{ choices | join(' ') }}")[2].query == (
        "Which is 2? one two three"
    )
    assert rendered_task().ask(0, "{{ question }} {{ options[0] }}")[0].query == "Where does Ada live? Tarn"


def test_an_unknown_template_field_lists_the_known_fields():
    """An unknown field in a query template raises an error that lists the known fields."""
    with pytest.raises(InputError, match=r"tasks\.people\.query: 'title' is undefined; known fields are options, que"):
        rendered_task().ask(0, "{{ title }}")


def test_a_query_template_can_access_only_the_fields():
    """A query template can access nothing except the question's fields."""
    with pytest.raises(InputError, match=r"tasks\.people\.query: "):
        rendered_task().ask(0, "{{ question.__class__.__mro__ }}")


# Chat templates


def angles(messages, add_generation_prompt):
    said = "".join(f"<{message['role']}>{message['content']}</>" for message in messages)
    return said + ("<assistant>" if add_generation_prompt else "")


def test_a_chat_template_wraps_question_and_examples():
    """In a chat template, examples are separate turns, and passages precede the question in the last user turn."""
    first = rendered_task().ask(1, chat=angles)[0]
    assert first.head == "<user>Question: Where does Eva live?\nAnswer:</><assistant>Visby</><user>"
    assert first.ask == "Question: Where does Ada live?\nAnswer:</><assistant>"


def test_a_chat_template_drops_the_space_before_an_answer():
    """With a chat template, an option follows the assistant marker without a leading space, as in lm-eval."""
    assert [request.arguments[1] for request in rendered_task().requests(0, "P", chat=True)] == [
        "Tarn",
        "Norwick",
        "Ostend",
    ]


def test_a_task_description_is_the_system_turn():
    """With a chat template, the task's description becomes the system turn."""
    made = configured(ROWS, description="Answer.\n\n", **CHOICES)
    assert made.ask(0, chat=angles)[0].head.startswith("<system>Answer.")


def test_a_chat_template_that_rewrites_its_input_is_rejected():
    """A chat template that rewrites its input is rejected, because passages cannot be inserted reliably."""

    def shouting(messages, add_generation_prompt):
        return angles(messages, add_generation_prompt).upper().replace(MARK.upper(), "")

    with pytest.raises(InputError, match="question q1: the start of the question was not found in the prompt"):
        rendered_task().ask(0, chat=shouting)


# Batches

REQUESTS = st.lists(
    st.one_of(
        st.builds(
            lambda context, continuation: Request("loglikelihood", (context, continuation)),
            st.text("ab\ud800", max_size=4),
            st.text("xy", min_size=1, max_size=3),
        ),
        st.builds(
            lambda context, until: Request("generate_until", (context, {"until": until})),
            st.text("ab", max_size=4),
            st.lists(st.sampled_from(["\n", "."]), max_size=2),
        ),
        st.builds(lambda text: Request("loglikelihood_rolling", (text,)), st.text("ab", max_size=4)),
    ),
    max_size=300,
)


def named(requests):
    return [repr(request) for request in requests]


@given(REQUESTS)
def test_batches_contain_each_request_once(requests):
    """The batches contain every distinct request exactly once."""
    asked = named(chain.from_iterable(batches(requests)))
    assert sorted(asked) == sorted(set(named(requests)))


@given(REQUESTS, st.randoms(use_true_random=False))
def test_batches_depend_only_on_the_set_of_requests(requests, random):
    """Batches depend only on the set of requests, so that a resumed run computes identical values."""
    other = [*requests, *requests[:3]]
    random.shuffle(other)
    assert list(map(named, batches(other))) == list(map(named, batches(requests)))


@given(REQUESTS)
def test_a_batch_has_one_kind_and_complete_contexts(requests):
    """Each batch is limited in size, has one kind of request, and keeps requests with one context together."""
    made = batches(requests)
    place = {}
    for number, batch in enumerate(made):
        assert len({request.kind for request in batch}) == 1
        contexts = [(request.kind, request.arguments[0]) for request in batch]
        assert len(batch) <= 64 or len(set(contexts)) == 1
        for context in contexts:
            assert place.setdefault(context, number) == number
    assert all(batch for batch in made)


@given(REQUESTS)
def test_long_contexts_come_first(requests):
    """Within a request kind, the longest contexts come first, so that out-of-memory errors occur early."""
    lengths = {}
    for request in chain.from_iterable(batches(requests)):
        lengths.setdefault(request.kind, []).append(len(request.arguments[0]))
    assert all(some == sorted(some, reverse=True) for some in lengths.values())


def test_many_options_of_one_context_stay_together():
    """A context with more options than the batch size forms a separate batch."""
    requests = [Request("loglikelihood", ("c", str(number))) for number in range(100)]
    assert [len(batch) for batch in batches([*requests, Request("loglikelihood", ("dd", "x"))])] == [1, 100]


# Asking


def lm(**replies):
    """Return a language model with fixed replies."""
    from lm_eval.api.model import LM

    def reply(kind):
        def give(self, requests):
            if kind not in replies:
                raise NotImplementedError
            return replies[kind](requests)

        return give

    kinds = ("loglikelihood", "loglikelihood_rolling", "generate_until")
    return type("Parrot", (LM,), {kind: reply(kind) for kind in kinds})()


def test_answers_are_plain_values():
    """Log-probabilities are converted to plain floats and booleans, regardless of the backend's types."""
    import numpy as np

    parrot = lm(loglikelihood=lambda requests: [(np.float32(-1.5), np.bool_(True)) for _ in requests])
    values = answer(parrot, [Request("loglikelihood", ("a", "b"))])
    assert values == [[-1.5, True]]
    assert (type(values[0][0]), type(values[0][1])) == (float, bool)


def test_a_backend_receives_lm_eval_instances():
    """A backend receives lm-eval `Instance` objects in batch order."""
    seen = []
    batch = [Request("generate_until", (text, {"until": ["\n"]})) for text in "abc"]
    parrot = lm(generate_until=lambda requests: [seen.append(r.args) or r.args[0].upper() for r in requests])
    assert answer(parrot, batch) == ["A", "B", "C"]
    assert seen == [request.arguments for request in batch]


def test_a_backend_without_logprobs_is_reported():
    """If a backend lacks log-probabilities, the error names the backend and the supported kind of task."""
    with pytest.raises(
        InputError, match="the backend Parrot does not return log-probabilities; use tasks that generate text"
    ):
        answer(lm(), [Request("loglikelihood", ("a", "b"))])
    with pytest.raises(InputError, match="the backend Parrot cannot do this"):
        answer(lm(), [Request("generate_until", ("a", {}))])


def test_too_few_answers_are_an_error():
    """A backend that returns too few answers raises an error."""
    with pytest.raises(StepError, match="the backend Parrot returned 1 answers to 2 requests"):
        answer(lm(generate_until=lambda requests: ["a"]), [Request("generate_until", (text, {})) for text in "ab"])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
def test_an_infinite_log_probability_is_an_error(kind, number):
    """A log-probability that is not finite raises an error that names the request."""
    parrot = lm(loglikelihood=lambda requests: [(number, False)], loglikelihood_rolling=lambda requests: [number])
    request = Request(kind, ("the context", " text")[: 2 if kind == "loglikelihood" else 1])
    with pytest.raises(
        StepError, match=f"the backend Parrot returned the invalid log-probability {number} after 'the context'"
    ):
        answer(parrot, [request])


def test_an_environment_records_device_and_versions():
    """An environment records the device and the installed versions of lm-eval and the model plugin."""
    found = environment(lm(), "kib-bench")
    assert found.device == "unknown"
    assert {"kib-bench", "lm-eval"} <= set(found.packages)
    assert "no-such-distribution" not in environment(lm(), "no-such-distribution").packages


# Question-answer pairs for training


PAIRS = [Text("p", "pair", "Where does Ada live?", "Norwick"), Text("p", "pair", "Who owns a hen?", "Fay")]


def tagged(messages, add_generation_prompt):
    turns = "".join(f"<{one['role']}>{one['content']}" for one in messages)
    return turns + ("<assistant>" if add_generation_prompt else "")


@pytest.mark.parametrize("chat", [None, tagged])
@pytest.mark.parametrize("kind", [CHOICES, WRITTEN])
def test_pairs_have_the_form_of_an_lm_eval_task(chat, kind):
    """Pairs get the instruction, the wording, the delimiter and the chat template of an lm-eval task."""
    rows = [{**row, "answer": row["choices"][row["answer"]]} for row in ROWS]
    wording = {"description": "Answer briefly.\n\n", "doc_to_text": "Q: {{question}} A:", "target_delimiter": "\t"}
    task = configured(rows, **kind, **wording, doc_to_target="{{answer}}")
    first, _ = pairs_as_harness_task(task, PAIRS, chat).values()
    asked = text_of(task.ask(0, chat=chat)[0])
    assert first.prompt == asked.replace(ROWS[0]["question"], PAIRS[0].text)
    assert first.target == ("Norwick" if chat else "\tNorwick")


@pytest.mark.parametrize(
    "wording", ["{{question}}\n{{choices[1]}} or {{answer}}?", "{{passage}}\n{{question}}", "What is {{answer}}?"]
)
def test_pairs_cannot_have_every_form(wording):
    """If the prompt of an lm-eval task contains more than the question, pairs cannot have its form."""
    rows = [{**row, "passage": f"Text {number}"} for number, row in enumerate(ROWS)]
    assert pairs_as_harness_task(configured(rows, **CHOICES, doc_to_text=wording), PAIRS, None) == {}


ANIMALS = ("hen", "cat", "dog", "cow", "ewe", "fox")
ASKED = [
    {"question": f" Who owns {number}?", "choices": [animal, *"xyz"], "answer": 0, "fact": str(number)}
    for number, animal in enumerate(ANIMALS)
]
LISTED = "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:"
LETTER_CHOICES = {**CHOICES, "doc_to_choice": list("ABCD")}
CLOSED = {
    "list and letters": (lambda row: row, {**LETTER_CHOICES, "doc_to_text": LISTED}),
    "list and texts": (lambda row: row, {**CHOICES, "doc_to_text": "{{question}} {{choices|join(', ')}}?"}),
    "object": (
        lambda row: {**row, "choices": {"text": row["choices"], "label": ["A", "B", "C", "D"]}},
        {**LETTER_CHOICES, "doc_to_text": LISTED.replace("choices[", "choices.text[")},
    ),
    "fields": (
        lambda row: {**row, **dict(zip("ABCD", row["choices"], strict=True))},
        {**LETTER_CHOICES, "doc_to_text": "Q: {{question}}\nA. {{A}}\nB. {{B}}\nC. {{C}}\nD. {{D}}\n"},
    ),
}


@pytest.mark.parametrize("chat", [None, tagged])
@pytest.mark.parametrize("kind", CLOSED)
def test_pairs_with_options_are_trained_as_an_lm_eval_task_asks(kind, chat):
    """A pair with the question and the options of a document has the prompt and the right answer of this document."""
    change, config = CLOSED[kind]
    task = configured(list(map(change, ASKED)), **config)
    pairs = [Text("p", "pair", row["question"], row["choices"][0], tuple(row["choices"])) for row in ASKED]
    others = [PAIRS[0], Text("p", "pair", "Who?", "hen", ("hen", "cat")), pairs[0]]
    found = pairs_as_harness_task(task, [*pairs, *others], chat)
    for index, (pair, asked) in enumerate(zip(pairs, task.ask(0, chat=chat), strict=True)):
        right = task.requests(index, text_of(asked), chat=chat is not None)[0]
        assert (found[pair].prompt, found[pair].target) == right.arguments
    assert set(found) == set(pairs)
    turned = replace(pairs[1], options=pairs[1].options[::-1])
    target = pairs_as_harness_task(task, [turned], chat)[turned].target
    assert target.strip() == ("cat" if kind == "list and texts" else "D")
    assert option_counts(task, chat) == {4}


@pytest.mark.parametrize(
    "wording",
    [
        f"{{{{fact}}}}\n{LISTED}",
        "{{question}} {{choices[3]}} {{choices[2]}} {{choices[1]}} {{choices[0]}}",
        "{{question}} {{choices[0]}}?",
        "{{fact}}?",
    ],
)
def test_pairs_with_options_cannot_have_every_form(wording):
    """A pair cannot have a form with more than a question and its options, or with labels in an unknown order."""
    task = configured(ASKED, **LETTER_CHOICES, doc_to_text=wording)
    pair = Text("p", "pair", "Who?", "hen", ("hen", "cat", "dog", "cow"))
    assert pairs_as_harness_task(task, [pair], None) == {}
    assert option_counts(task, None) == set()
    assert option_counts(configured(ASKED, **CHOICES), None) is None
