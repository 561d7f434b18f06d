"""Model answers are stored immediately and never requested twice."""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kib.progress import SilentProgress
from kib.records import Answer, Environment, Request
from kib.run.steps.ask_model import ask_model
from kib.store.model_answers import ModelAnswers, request_key
from kib.store.work import Work

HERE = Environment("cpu", {"torch": "2"})
THERE = Environment("cuda", {"torch": "3"})


def requests(count, context="c"):
    """Return requests with different contexts, so that each batch contains 64 requests."""
    return [Request("loglikelihood", (f"{context}{number:04}", " x")) for number in range(count)]


class Counting:
    """A language model that records its batches and can fail before a given batch."""

    def __init__(self, stop_at=None):
        self.asked = []
        self.loads = 0
        self.stop_at = stop_at

    def loglikelihood(self, instances):
        if self.stop_at is not None and len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append([instance.args for instance in instances])
        return [(-float(len(self.asked)), False) for _ in instances]

    def generate_until(self, instances):
        self.asked.append([instance.args for instance in instances])
        return [f"said {instance.args[0]}" for instance in instances]

    def scorer(self):
        self.loads += 1
        return self, HERE


@pytest.fixture
def work(tmp_path):
    return Work(tmp_path)


def run(work, some, lm):
    with ModelAnswers.open(work, "w" * 64) as answers:
        ask_model(some, answers, lm.scorer, SilentProgress(), "asking")
        return answers.get(some)


def test_answers_come_back_in_order(work):
    """Answers are returned in the order of the requests, including repeated requests."""
    some = [*requests(3), Request("generate_until", ("c", {"until": ["\n"]})), requests(1)[0]]
    values = [answer.value for answer in run(work, some, Counting())]
    assert values == [values[0], values[1], values[2], "said c", values[0]]


def test_stored_answers_are_not_requested_again(work):
    """If all answers are stored, a second run sends no request and does not load the model."""
    run(work, requests(100), Counting())
    again = Counting()
    run(work, requests(100), again)
    assert (again.asked, again.loads) == ([], 0)


def test_shared_requests_are_sent_once(work):
    """A request that several cells share is sent once."""
    lm = Counting()
    run(work, requests(10) * 5, lm)
    assert sum(map(len, lm.asked)) == 10


@settings(max_examples=25)  # each example opens stores on disk
@given(st.integers(1, 400), st.lists(st.integers(0, 3), max_size=6))
def test_an_interrupted_run_sends_each_batch_once(count, stops):
    """A run that is stopped between batches and resumed sends each batch once, like an uninterrupted run."""
    some, asked, once = requests(count), [], Counting()
    with TemporaryDirectory() as stopped, TemporaryDirectory() as whole:
        for stop in [*stops, None]:
            lm = Counting(stop)
            with suppress(KeyboardInterrupt):
                run(Work(Path(stopped)), some, lm)
            asked += lm.asked
        run(Work(Path(whole)), some, once)
    assert asked == once.asked


def test_an_incomplete_batch_is_sent_again_as_a_whole(work):
    """A partially answered batch is sent again as a whole, and its stored answers are kept."""
    first, second = Counting(), Counting()
    some = requests(64)
    with ModelAnswers.open(work, "w" * 64) as answers:
        answers.put(some[:10], [[-7.0, True]] * 10, THERE)
    given = run(work, some, first)
    assert [len(batch) for batch in first.asked] == [64]
    assert [answer.value for answer in given] == [[-7.0, True]] * 10 + [[-1.0, False]] * 54
    run(work, some, second)
    assert second.asked == []


def test_a_stored_answer_is_never_replaced(work):
    """A stored answer is never replaced."""
    some = requests(1)
    with ModelAnswers.open(work, "w" * 64) as answers:
        answers.put(some, [[-1.0, True]], HERE)
        answers.put(some, [[-2.0, False]], THERE)
        assert answers.get(some) == [Answer([-1.0, True], answers.get(some)[0].environment)]
        assert answers.environments([answers.get(some)[0].environment]) == (HERE,)


def test_different_weights_do_not_share_answers(work):
    """Different sets of weights do not share stored answers."""
    with ModelAnswers.open(work, "a" * 64) as answers:
        answers.put(requests(1), [[-1.0, True]], HERE)
    with ModelAnswers.open(work, "b" * 64) as answers:
        assert answers.missing(requests(1)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("loglikelihood", ("a", "b c")), ("loglikelihood", ("a b", "c"))),
        (("loglikelihood", ("a", " b")), ("loglikelihood", ("a ", "b"))),
        (("generate_until", ("a", {"until": ["."]})), ("generate_until", ("a", {"until": ["\n"]}))),
        (("generate_until", ("a", {"max_gen_toks": 1})), ("generate_until", ("a", {"max_gen_toks": 1.5}))),
        (("loglikelihood_rolling", ("a",)), ("loglikelihood", ("a", ""))),
        (("loglikelihood", ("e\u0301", "x")), ("loglikelihood", ("\u00e9", "x"))),
    ],
)
def test_different_requests_have_different_keys(one, other):
    """Requests with different kinds, texts or settings have different keys."""
    assert request_key(Request(*one)) != request_key(Request(*other))


def test_the_key_of_an_answer_never_changes():
    """The key of a request remains the same across versions, so that stored answers are found."""
    assert request_key(Request("loglikelihood", ("Straße \u2028", " x")))[:16] == "34b8e92f1bfa1b3c"


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3000), max_size=20))
def test_missing_counts_each_request_once(numbers):
    """Repeated requests are counted once among the missing answers."""
    some = [requests(3001)[number] for number in numbers]
    with TemporaryDirectory() as folder, ModelAnswers.open(Work(Path(folder)), "w") as answers:
        assert answers.missing(some) == len(set(numbers))
        if some:
            answers.put(some[:1], [[-1.0, True]], HERE)
            assert answers.missing(some) == len(set(numbers)) - 1


def test_more_requests_than_sql_parameters(work):
    """Answers can be read even if the number of requests exceeds the parameter limit of an SQL statement."""
    run(work, requests(2500), Counting())
    with ModelAnswers.open(work, "w" * 64) as answers:
        assert answers.missing(requests(2600)) == 100
        assert len(answers.get(requests(2500))) == 2500


def test_a_missing_answer_is_an_error(work):
    """Reading an answer that has not been stored raises KeyError."""
    with ModelAnswers.open(work, "w") as answers, pytest.raises(KeyError):
        answers.get(requests(1))


def test_a_batch_is_stored_whole_or_not_at_all(work):
    """If one answer in a batch cannot be stored, no answer in the batch is stored."""
    with ModelAnswers.open(work, "w") as answers:
        with pytest.raises(ValueError, match="JSON"):
            answers.put(requests(3), [[-1.0, True], [-1.0, True], [float("nan"), True]], HERE)
        assert answers.missing(requests(3)) == 3


def test_duration_is_divided_among_equal_requests(work):
    """The duration of a batch is divided equally among requests of equal length."""
    with ModelAnswers.open(work, "w") as answers:
        answers.put(requests(4), [[-1.0, True]] * 4, HERE, seconds=2.0)
        assert [answer.seconds for answer in answers.get(requests(4))] == [0.5] * 4


def test_duration_is_divided_in_proportion_to_length(work):
    """The duration of a batch is divided among requests in proportion to their length."""
    short, long = (Request("loglikelihood", ("a" * size, " b")) for size in (17, 57))
    with ModelAnswers.open(work, "w") as answers:
        answers.put([short, long], [[-1.0, True]] * 2, HERE, seconds=8.0)
        assert [answer.seconds for answer in answers.get([short, long])] == [2.0, 6.0]


def test_environments_have_no_duplicates(work):
    """The environments of several answers are returned without duplicates and in a fixed order."""
    with ModelAnswers.open(work, "w") as answers:
        answers.put(requests(2), [[-1.0, True]] * 2, HERE)
        answers.put(requests(4), [[-1.0, True]] * 4, THERE)
        names = [answer.environment for answer in answers.get(requests(4))]
        found = answers.environments(names)
        assert found == answers.environments(names[::-1])
    assert sorted(found, key=lambda environment: environment.device) == [HERE, THERE]


class Steady(Counting):
    """A language model whose answers depend only on the request."""

    def loglikelihood(self, instances):
        super().loglikelihood(instances)
        return [(-float(instance.args[0][1:]), False) for instance in instances]


def values_of(answers):
    return [answer.value for answer in answers]


NOT_A_DATABASE = b"not a database, but long enough to be taken for a header of one" * 20


def test_a_damaged_answers_file_is_renamed(work):
    """A file that is not a database is reported and renamed, and its answers are requested again."""
    said = []
    path = work.step_folder("answers", "w" * 64) / "answers.sqlite"
    whole = values_of(run(work, requests(100), Steady()))
    path.write_bytes(NOT_A_DATABASE)
    assert values_of(run(work.reporting_to(said.append), requests(100), Steady())) == whole
    assert path.with_name("answers.sqlite.damaged").read_bytes() == NOT_A_DATABASE
    [sentence] = said
    assert sentence.startswith(f"{path}: the file is damaged (file is not a database); kib renames the file to answers")


def change_rows(path, statement):
    """Execute an SQL statement in a file of answers."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


FIRST = "(SELECT value FROM answers ORDER BY key LIMIT 1)"

DAMAGED_ROWS = {
    "permuted": (f"UPDATE answers SET value = {FIRST} WHERE value != {FIRST}", 199),  # noqa: S608 - fixed text
    "one value": ("UPDATE answers SET value = '[-9.0,true]' WHERE key = (SELECT MIN(key) FROM answers)", 1),
    "one key": ("UPDATE answers SET key = 'other' WHERE key = (SELECT MIN(key) FROM answers)", 1),
    "no digest": ("UPDATE answers SET digest = NULL WHERE key = (SELECT MIN(key) FROM answers)", 1),
    "invalid text": ("UPDATE answers SET value = CAST(x'5bff5d' AS TEXT)", 200),
    "environment": ("UPDATE environments SET value = '{}'", 200),
    "lost environment": ("DELETE FROM environments", 200),
}


@pytest.mark.parametrize(("statement", "count"), DAMAGED_ROWS.values(), ids=DAMAGED_ROWS)
def test_a_damaged_answer_is_requested_again(work, statement, count):
    """If a stored answer's row or environment is modified, the answer is reported, removed and requested again."""
    some, once, again, said = requests(200), Steady(), Steady(), []
    whole = values_of(run(work, some, once))
    change_rows(work.step_folder("answers", "w" * 64) / "answers.sqlite", statement)
    assert values_of(run(work.reporting_to(said.append), some, again)) == whole
    assert [batch for batch in once.asked if batch in again.asked] == again.asked
    assert len(again.asked) == (1 if count == 1 else len(once.asked))
    [sentence] = said
    assert f"answers.sqlite: {count} of 200 answers are damaged; kib requests these answers again" in sentence


def test_answers_of_different_weights_are_not_used(work):
    """If a file of stored answers is replaced with the file for different weights, all answers are requested again."""
    some, said = requests(70), []
    for weights, value in (("a" * 32, -1.0), ("b" * 32, -2.0)):
        with ModelAnswers.open(work, weights) as answers:
            answers.put(some, [[value, True]] * 70, HERE)
    shutil.copy(answers.file.path, work.step_folder("answers", "a" * 32))
    with ModelAnswers.open(work.reporting_to(said.append), "a" * 32) as answers:
        assert answers.missing(some) == 70
    assert "70 of 70 answers are damaged" in said[0]


def test_a_damaged_remark_renames_the_file(work):
    """If a stored remark is modified, the file of answers is renamed, and all answers are requested again."""
    said = []
    run(work, requests(3), Counting())
    with ModelAnswers.open(work, "w" * 64) as answers:
        answers.add_note("the model uses a sliding window")
    change_rows(answers.file.path, "UPDATE notes SET text = 'the model uses a sliding door'")
    with ModelAnswers.open(work.reporting_to(said.append), "w" * 64) as answers:
        assert (answers.notes(), answers.missing(requests(3))) == ((), 3)
    assert "damaged (the content of a remark has changed); kib renames the file" in said[0]


EARLIER = """
CREATE TABLE answers (key TEXT PRIMARY KEY, value TEXT, environment TEXT, seconds REAL) WITHOUT ROWID;
CREATE TABLE environments (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE notes (text TEXT PRIMARY KEY);
"""


def test_answers_of_an_earlier_version_receive_digests(work):
    """Answers stored without digests are accepted and receive digests, so that later changes to a row are detected."""
    whole = run(work, requests(3), Counting())
    path = work.step_folder("answers", "w" * 64) / "answers.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT key, value, environment, seconds FROM answers").fetchall()
        environments = connection.execute("SELECT key, value FROM environments").fetchall()
        connection.executescript("DROP TABLE answers; DROP TABLE environments; DROP TABLE notes;" + EARLIER)
        connection.executemany("INSERT INTO answers VALUES (?, ?, ?, ?)", rows)
        connection.executemany("INSERT INTO environments VALUES (?, ?)", environments)
        connection.execute("INSERT INTO notes VALUES ('a remark')")
    again, said = Counting(), []
    assert run(work.reporting_to(said.append), requests(3), again) == whole
    with ModelAnswers.open(work, "w" * 64) as answers:
        assert answers.notes() == ("a remark",)
    assert (again.asked, said) == ([], [])
    change_rows(path, "UPDATE answers SET seconds = seconds + 1")
    with ModelAnswers.open(work, "w" * 64) as answers:
        assert answers.missing(requests(3)) == 3


@settings(max_examples=50)
@given(st.data())
def test_a_flipped_bit_changes_no_answer(data):
    """If any bit in the file of answers is flipped, no wrong answer is read, and lost answers are requested again."""
    some, values = requests(20), [[-float(number), True] for number in range(20)]
    with TemporaryDirectory() as folder:
        work = Work(Path(folder))
        with ModelAnswers.open(work, "w") as answers:
            answers.put(some, values, HERE, 1.0)
            whole = answers.get(some)
        content = bytearray(answers.file.path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        answers.file.path.write_bytes(content)
        with ModelAnswers.open(work, "w") as answers:
            if answers.missing(some):
                answers.put(some, values, HERE, 1.0)
            assert answers.get(some) == whole
            assert answers.environments([whole[0].environment]) == (HERE,)


def test_answers_can_be_read_while_the_file_is_open(work):
    """A second process can read stored answers while the first process keeps the file open."""
    with ModelAnswers.open(work, "w") as one:
        one.put(requests(1), [[-1.0, True]], HERE)
        with ModelAnswers.open(work, "w") as other:
            assert other.missing(requests(1)) == 0


def test_answers_can_be_read_without_kib(work):
    """Stored answers can be read with plain SQL, because each answer is one row with a key and a JSON value."""
    run(work, requests(1), Counting())
    path = work.step_folder("answers", "w" * 64) / "answers.sqlite"
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT value FROM answers").fetchall() == [("[-1.0,false]",)]
    connection.close()
