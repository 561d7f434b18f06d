"""A language model may plan its own batches and add remarks."""

import pytest

from kib.errors import StepError
from kib.harness.backends import free
from kib.harness.requests import batches
from kib.progress import SilentProgress
from kib.records import Environment, Request
from kib.run.steps.ask_model import ask_model
from kib.store.model_answers import ModelAnswers
from kib.store.work import Work

REQUESTS = [Request("loglikelihood", (f"context {number % 3}", f" {number}")) for number in range(9)]


class Planner:
    """A language model that plans batches of three requests, sorted by continuation, and adds remarks."""

    def __init__(self, planned=None):
        self.planned = planned
        self.notes = ["computes by threes"]
        self.asked = []

    def plan(self, instances):
        if self.planned is not None:
            return self.planned
        order = sorted(range(len(instances)), key=lambda number: instances[number].args[1])
        return [order[start : start + 3] for start in range(0, len(order), 3)]

    def loglikelihood(self, instances):
        self.asked.append([instance.args[1] for instance in instances])
        if len(self.asked) == 2:
            self.notes.append("ran out of memory")
        return [(-1.0, False) for _ in instances]


class Told(SilentProgress):
    """A progress display that records the printed lines."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def run(work, lm, progress):
    with ModelAnswers.open(work, "w" * 64) as answers:
        ask_model(REQUESTS, answers, lambda: (lm, Environment("cpu")), progress, "asking")
        return answers.notes()


def test_a_model_with_a_batch_plan_gets_these_batches(tmp_path):
    """A language model that plans its batches receives these batches, regardless of the order of requests."""
    lm = Planner()
    run(Work(tmp_path), lm, SilentProgress())
    assert lm.asked == [[" 0", " 1", " 2"], [" 3", " 4", " 5"], [" 6", " 7", " 8"]]
    assert batches(REQUESTS, lm) == batches(REQUESTS[::-1], lm)


def test_a_model_may_leave_the_batches_to_kib():
    """If a language model returns None as its batch plan, kib forms the batches."""

    class Plain(Planner):
        def plan(self, instances):
            return None

    assert batches(REQUESTS, Plain()) == batches(REQUESTS)


@pytest.mark.parametrize("planned", [[[0, 1]], [[number] for number in range(10)], [[0] * 9], []])
def test_a_batch_plan_must_contain_each_request_once(planned):
    """A batch plan that omits, repeats or adds requests raises an error."""
    with pytest.raises(StepError, match="Planner differ from the requests that the backend planned"):
        batches(REQUESTS, Planner(planned))


def test_remarks_of_a_model_are_printed_and_stored(tmp_path):
    """Each remark of a language model is printed once and stored with the answers."""
    told = Told()
    found = run(Work(tmp_path), Planner(), told)
    assert told.lines == ["asking: computes by threes", "asking: ran out of memory"]
    assert found == ("computes by threes", "ran out of memory")


def test_stored_answers_need_no_model(tmp_path):
    """The language model is not loaded if all answers are already stored."""
    work = Work(tmp_path)
    run(work, Planner(), SilentProgress())
    with ModelAnswers.open(work, "w" * 64) as answers:
        ask_model(REQUESTS, answers, lambda: pytest.fail("loaded"), SilentProgress(), "asking")


def test_release_is_called_after_use():
    """If a language model has a `release` method, kib calls the method to free resources."""

    class Holding(Planner):
        def release(self):
            self.notes.append("released")

    lm = Holding()
    free(lm)
    assert lm.notes[-1] == "released"
