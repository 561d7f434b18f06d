"""Systems that answer questions on their own: plans, answers, failures, tables and `kib show`, with a toy system."""

import json
import sys
from collections import Counter
from contextlib import contextmanager
from importlib.metadata import version
from itertools import count
from types import SimpleNamespace

import pytest
from conftest import TOY_PEOPLE, TOY_SPEC

from kib.errors import InputError, SpecError
from kib.harness.tasks import RenderedTask, harness_task
from kib.leaderboard import make_table, render
from kib.plugins.registry import load
from kib.records import ServedAnswer
from kib.run.steps import ask_system
from kib.testing import check_options, check_system, make_plugin

QUESTIONS = (
    ("Where does {} live?", "lives in "),
    ("What is the trade of {}?", "trade is "),
)
FACTS = {person: text for person, _, text in TOY_PEOPLE}

TASK = 'scoring = "contains"\n'

SYSTEM = """
[systems.ours]
plugin = "toy"
{options}
facts = {facts}

[methods.ours]
system = "ours"
{method}
"""


def open_questions():
    """Return two open questions about each toy person, with a gold document and a quote, as JSON lines."""
    rows = []
    for person, name, text in TOY_PEOPLE:
        for number, (asked, before) in enumerate(QUESTIONS):
            answer = text.partition(before)[2].partition(".")[0]
            row = {"id": f"{person}-{number}", "question": asked.format(name), "answer": answer, "document": person}
            rows.append(json.dumps({**row, "group": person, "quote": f"{before}{answer}"}, ensure_ascii=False))
    return "\n".join(rows) + "\n"


def system(options="", method="", facts=FACTS):
    """Return the tables of a system and of its method."""
    listed = "{" + ", ".join(f"{name} = {json.dumps(text, ensure_ascii=False)}" for name, text in facts.items()) + "}"
    return SYSTEM.replace("{options}", options).replace("{method}", method).replace("{facts}", listed)


@pytest.fixture
def ours(bench):
    """Return a function that writes the toy benchmark with open questions and a system, and returns the folder."""

    def write(options="", method="", task=TASK, facts=FACTS, questions=None, **toy):
        more = system(options, method, facts)
        return bench.write_toy(task=task, questions=questions or open_questions(), more=more, **toy)

    return write


def cell(bench, method="ours"):
    """Return the stored result of a cell."""
    return bench.results.cell(bench.cells()[f"m/{method}/people,0-shot"])


def log_of(bench, name="log.txt"):
    """Return the questions that the system was asked."""
    path = bench.folder / name
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_contract(toybox):
    """The toy system fulfils the contract of systems."""
    toy = load("systems", "toy")
    for options in ({"facts": FACTS, "tells": "texts"}, {"ids": True, "concurrency": 3, "cost": 0.5}):
        check_system(lambda options=options: make_plugin(toy, options))
    check_options(toy, accepts=[{"facts": FACTS}], refuses=[{"tells": "stories"}])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": 7}, "the answer is 7; expected a string"),
        ({"passages": ["one"]}, "expected a tuple of strings or None"),
        ({"passages": (1,)}, "not a string that UTF-8 can encode"),
        ({"cost": float("nan")}, "cost is nan; expected a number from 0"),
        ({"seconds": -1.0}, r"seconds is -1.0; expected a number from 0"),
    ],
)
def test_the_contract_check_finds_invalid_answers(toybox, change, words):
    """The contract check rejects answers and reports of the wrong type."""

    class Loaded:
        concurrency = 1

        def answer(self, question, question_id):
            return ServedAnswer(**{"value": "yes", **change})

    class Wrong(load("systems", "toy")):
        def load(self):
            return Loaded()

    with pytest.raises(AssertionError, match=words):
        check_system(lambda: make_plugin(Wrong, {}))


def test_a_system_is_paired_with_base(ours):
    """A system answers the same questions as base, and its gain is paired although the environments differ."""
    bench = ours()
    assert bench.run() == {}
    base, own = cell(bench, "base"), cell(bench)
    assert (base.correct, own.correct, own.n) == (0, len(TOY_PEOPLE) * len(QUESTIONS), base.n)
    [environment] = own.environments
    assert environment.packages == {"kib-toys": version("kib-toys")}
    table = make_table([bench.results])
    row = next(row for row in table.rows if row.method == "ours")
    assert (row.system, row.reference, row.reason) == ("ours", "base", "")
    assert row.gain.paired
    assert (row.gain.absolute, row.gain.wins) == (1.0, own.n)
    text = render(table, "terminal", width=120)
    assert "m on people: the system ours: 0 -> 100 %, +100 points" in text
    assert "system: the answers come from a complete system" in text


def test_a_system_reads_the_bare_question(ours):
    """A system reads the text of a question alone, without few-shot examples, instructions and passages."""
    bench = ours('log = "log.txt"')
    bench.call("run", bench.spec)
    assert sorted(log_of(bench)) == sorted(json.loads(line)["question"] for line in open_questions().splitlines())


def test_options_are_listed_with_letters(ours):
    """With `letter-text`, a system reads the options with their letters, and the letter in its answer is scored."""
    row = {"question": "Where?", "options": ["here", "there"], "answer": "B", "document": "ada"}
    bench = ours('log = "log.txt"', task='scoring = "letter-text"\n', questions=json.dumps(row))
    assert bench.call("run", bench.spec).exit_code == 0
    assert log_of(bench) == ["Where?", "A. here", "B. there"]
    assert cell(bench).metric == "letter_text"


def test_existing_plans_are_unchanged(bench):
    """Without a system, the plan contains no key of systems, so that results of earlier versions stay identical."""
    bench.write_toy().run()
    plan = json.loads((bench.results.folder / "plan.json").read_text())
    assert "systems" not in plan["sources"]
    assert all("system" not in method for method in plan["methods"].values())
    assert "system" not in render(make_table([bench.results], cost=True), "json")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ('retrieve = "words"', "methods.ours.retrieve: `retrieve` and `system` exclude each other"),
        ('trained_as = "m"', "methods.ours.trained_as: `trained_as` and `system` exclude each other"),
        ("cost = { money = 1.0 }", "methods.ours.cost: `cost` and `system` exclude each other"),
        ("top_k = [1]", "methods.ours.top_k: `top_k` and `system` exclude each other"),
        ('choose = "validation"', "methods.ours.choose: `choose` and `system` exclude each other"),
        ('models = ["m", "n"]', "methods.ours.models: a system does not use the models of this file; set `models` to"),
    ],
)
def test_keys_that_contradict_a_system(ours, method, words):
    """A method with a system has no other way to provide knowledge, and is compared with one model."""
    bench = ours(method=method)
    result = bench.call("plan", bench.spec)
    assert result.exit_code == 2
    assert words in result.output


def test_an_unknown_system_lists_the_known_systems(ours):
    """The name of a missing system is reported with the names of the declared systems."""
    bench = ours()
    bench.spec.write_text(bench.spec.read_text(encoding="utf-8").replace('system = "ours"', 'system = "our"'))
    result = bench.call("plan", bench.spec)
    words = 'methods.ours.system: expected a system declared in this file, got "our"; did you mean "ours"'
    assert words in result.output


def test_several_models_need_a_choice(ours):
    """If the file declares several models, the method names the one model whose base the system is compared with."""
    bench = ours()
    other = '\n[models.n]\nplugin = "toy"\nseed = 1\n'
    bench.spec.write_text(bench.spec.read_text(encoding="utf-8") + other, encoding="utf-8")
    result = bench.call("plan", bench.spec)
    assert "methods.ours: a system does not use the models of this file; set `models` to the one model" in result.output
    bench.spec.write_text(
        bench.spec.read_text(encoding="utf-8").replace('system = "ours"', 'system = "ours"\nmodels = ["n"]'),
        encoding="utf-8",
    )
    assert [one.cell.model for one in bench.plan().cells if one.weights.system] == ["n"]


def test_a_model_trained_elsewhere_is_no_base_of_a_system(ours):
    """A model that a `trained_as` names is not counted among the models whose base a system may be compared with."""
    bench = ours()
    trained = '\n[models.n]\nplugin = "toy"\nseed = 1\n\n[methods.ft]\ntrained_as = "n"\n'
    bench.spec.write_text(bench.spec.read_text(encoding="utf-8") + trained, encoding="utf-8")
    assert [one.cell.model for one in bench.plan().cells if one.weights.system] == ["m"]


def test_the_answers_do_not_depend_on_the_model(ours):
    """The identity of a system's answers is the same for every model, so that no question is asked again."""
    bench = ours('log = "log.txt"')
    bench.call("run", bench.spec)
    before = len(log_of(bench))
    text = bench.spec.read_text(encoding="utf-8")
    bench.spec.write_text(text.replace('[models.m]\nplugin = "toy"', '[models.m]\nplugin = "toy"\nseed = 3'))
    bench.call("run", bench.spec)
    assert len(log_of(bench)) == before


def test_log_probabilities_are_refused(ours):
    """A task that scores log-probabilities is refused with the remedies, unless the method leaves the task out."""
    bench = ours(task="")
    with pytest.raises(SpecError, match=r"methods.ours.system: the task people scores the log-probabilities of"):
        bench.plan()
    text = bench.spec.read_text(encoding="utf-8")
    other = '\n[tasks.open]\nplugin = "file"\npath = "people.jsonl"\nscoring = "contains"\n'
    bench.spec.write_text(text.replace('system = "ours"', 'system = "ours"\ntasks = ["open"]') + other, "utf-8")
    assert [one.cell.task for one in bench.plan().cells if one.weights.system] == ["open"]


def test_a_task_without_zero_shot_cells_is_refused(ours):
    """A system has only 0-shot cells, so a task without such cells is an error, and other cells are left out."""
    example = '{"question": "Where does Gil live?", "answer": "Ulm"}\n'
    files = 'examples = "examples.jsonl"\n'
    bench = ours(task=f"{TASK}{files}shots = [1]\n")
    (bench.folder / "examples.jsonl").write_text(example)
    with pytest.raises(SpecError, match="has only cells with examples; add 0 to `shots` of the task"):
        bench.plan()
    bench = ours(task=f"{TASK}{files}shots = [0, 1]\n")
    assert [one.cell.shots for one in bench.plan().cells if one.weights.system] == [0]


def test_lm_eval_tasks(ours):
    """A system answers the 0-shot prompts of lm-eval tasks that generate text, and other lm-eval tasks are refused."""
    rows = [{"ask": "Question: One?\nAnswer:", "answer": "one"}]
    made = harness_task("t", rows, (), {"output_type": "generate_until", "description": "Be brief.\n"})
    [asked] = RenderedTask("t", made).ask_bare()
    assert asked.head + asked.ask == "Be brief.\nQuestion: One?\nAnswer:"
    config = {"output_type": "multiple_choice", "doc_to_choice": ["one", "two"]}
    scored = harness_task("t", [{"ask": "One?", "answer": 0}], (), config)
    with pytest.raises(InputError, match=r"tasks.t: a system returns only text, but this task scores log-prob"):
        RenderedTask("t", scored).ask_bare()


def test_controls_are_measured(ours):
    """A control task that generates text is measured with a system as well."""
    control = '\n[tasks.other]\nplugin = "file"\npath = "people.jsonl"\nscoring = "contains"\nrole = "control"\n'
    bench = ours()
    bench.spec.write_text(bench.spec.read_text(encoding="utf-8") + control, encoding="utf-8")
    assert bench.run() == {}
    assert bench.results.cell(bench.cells()["m/ours/other,0-shot"]).correct == 12


# Reports


@pytest.mark.parametrize("tells", ["ids", "texts"])
def test_recall_of_reported_passages(ours, tells):
    """The recall is the share of questions with a reported passage that names the gold document or quotes the gold."""
    facts = {name: text for name, text in FACTS.items() if name != "eva"}
    bench = ours(f'tells = "{tells}"\ncost = 0.25', facts=facts)
    assert bench.run() == {}
    row = next(row for row in make_table([bench.results]).rows if row.method == "ours")
    assert row.recall == 10 / 12
    [line] = [line for line in bench.scores("m/ours/people,0-shot") if line.question_id == "ada-0"]
    assert (line.passages, line.gold, line.relevant) == (("ada",) if tells == "ids" else (FACTS["ada"],), (True,), 1)
    assert (line.seconds, line.cost) == (0.5, 0.25)


def test_passages_that_match_nothing(ours):
    """If no reported passage names or quotes the corpus, the recall is unknown instead of 0, and a remark says so."""
    bench = ours('tells = "nonsense"')
    assert bench.run() == {}
    row = next(row for row in make_table([bench.results]).rows if row.method == "ours")
    assert row.recall is None
    assert any("so the recall is unknown" in note for note in cell(bench).task_notes)


def test_latency_and_cost(ours):
    """The cost table shows the latency and the cost that the system reports, and no price of the spec."""
    prices = "\n[prices]\ninput_tokens_million = 5.0\n"
    bench = ours("cost = 0.25")
    bench.spec.write_text(bench.spec.read_text(encoding="utf-8") + prices, encoding="utf-8")
    assert bench.run() == {}
    table = make_table([bench.results], cost=True)
    row = next(row for row in table.rows if row.method == "ours")
    assert (row.cost.latency, row.cost.reported, row.cost.money) == (0.5, 0.25, None)
    text = render(table, "terminal", width=150)
    assert "latency s/q" in text
    assert "what the system reports" in text
    [values] = [one for one in json.loads(render(table, "json"))["rows"] if one["method"] == "ours"]
    assert (values["system"], values["seconds_latency"], values["reported_cost"]) == ("ours", 0.5, 0.25)
    header = render(table, "csv").splitlines()[0].split(",")
    assert {"system", "seconds_latency", "reported_cost"} <= set(header)


def test_a_judge_reads_the_text_of_a_system_alone(ours):
    """A judge grades the answers of a system without what the system reports about them, and their cell is scored."""
    task = f'{TASK}judge = "rule"\n'.replace('scoring = "contains"', 'scoring = ["judge", "contains"]')
    bench = ours('tells = "texts"\ncost = 0.01', task=task)
    bench.write(bench.spec.read_text("utf-8") + '\n[judges.rule]\nplugin = "toy"\nlog = "judged.txt"\n')
    assert bench.call("run", bench.spec).exit_code == 0
    result = cell(bench)
    outputs = [score.output.strip() for score in bench.scores("m/ours/people,0-shot")]
    judged = (bench.folder / "judged.txt").read_text("utf-8").splitlines()
    assert {line.partition("? ")[2] for line in judged} >= {*outputs}
    assert not [line for line in judged if "cost" in line]
    assert (result.metric, result.correct, result.other_metrics) == ("judge", 0.75 * result.n, {"contains": 1})
    assert result.system.cost == pytest.approx(0.01 * result.n)


def test_show(ours):
    """`kib show` prints the question as sent, the reported passages, the latency and the cost."""
    bench = ours('tells = "texts"\ncost = 0.25')
    bench.call("run", bench.spec)
    shown = bench.call("show", "m/ours", "ada-0").output
    assert "question, as sent to the system ours:" in shown
    assert f"  1. {FACTS['ada']}  (gold)" in shown
    assert "latency 0.5 s, cost 0.25" in shown
    whole = bench.call("show", "m/ours").output
    assert "answers of a system: latency 0.5 s per question, cost 0.25 per question" in whole


def test_check_and_plan(ours):
    """`kib check` and `kib plan` describe the system, its questions and its forecast."""
    bench = ours()
    checked = bench.call("check", bench.spec)
    assert checked.exit_code == 0, checked.output
    assert "and 1 system" in checked.output
    assert "forecast for system ours: 12 requests" in checked.output
    planned = bench.call("plan", bench.spec).output
    assert "system ours" in planned
    assert "task people, for systems" in planned


# Failures


def test_a_question_without_an_answer_fails_only_its_cells(ours):
    """A question without an answer is named and counted, all others are stored, and it alone is asked again."""
    bench = ours('fails_on = "trade of Dov"\nlog = "log.txt"')
    failed = bench.call("run", bench.spec)
    assert failed.exit_code == 3
    flat = " ".join(failed.output.split())
    assert "the toy system has no answer (question: 'What is the trade of Dov Marrow?'); 1 question of 12 has" in flat
    assert len(log_of(bench)) == 12
    bench.spec.write_text(bench.spec.read_text("utf-8").replace('fails_on = "trade of Dov"', ""), "utf-8")
    assert bench.call("run", bench.spec).exit_code == 0
    assert Counter(log_of(bench)).most_common(1) == [("What is the trade of Dov Marrow?", 2)]
    assert len(log_of(bench)) == 13


@pytest.mark.parametrize(
    ("options", "words", "asked"),
    [
        ('fails_on = "?"', "the first 3 questions have no answer", 3),
        ('fault = "down"', "the system was unavailable for 3 questions in a row", 3),
        (
            'fault = "crash"',
            "systems.ours (toy, kib-toys 1.0), answering requests: ZeroDivisionError: the",
            1,
        ),
        ('fault = "type"', "systems.ours (toy, kib-toys 1.0), answer: returned str; expected ServedAnswer", 1),
        ('fault = "config"', "the toy system is not configured", 0),
    ],
)
def test_a_system_that_does_not_work(ours, options, words, asked):
    """If a system does not work at all, no further questions are asked, and one sentence states the reason."""
    bench = ours(f'{options}\nlog = "log.txt"')
    result = bench.call("run", bench.spec)
    assert result.exit_code == (5 if "down" in options else 3)  # exit code 5 means that a server did not answer
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert len(log_of(bench)) == asked
    assert cell(bench, "base") is not None


def test_a_later_run_does_not_stop_at_the_first_failures(ours):
    """If the system has answered before, failures at the start of a later run do not stop the other questions."""
    bench = ours('fails_on = "Where"\nlog = "log.txt"', questions=open_questions())
    rows = sorted(open_questions().splitlines(), key=lambda row: "Where" in row)
    (bench.folder / "people.jsonl").write_text("\n".join(rows), encoding="utf-8")
    bench.call("run", bench.spec)
    assert len(log_of(bench)) == 12
    assert "6 questions of 6 have no answer" in " ".join(bench.call("run", bench.spec).output.split())
    assert len(log_of(bench)) == 18


def test_ids_are_part_of_requests_only_if_they_are_read(ours):
    """Questions are asked again under new ids only if the system reads ids."""
    for options, again in (("", 0), ("ids = true", 12)):
        bench = ours(f'{options}\nlog = "{again}.txt"')
        bench.call("run", bench.spec)
        (bench.folder / "people.jsonl").write_text(open_questions().replace('"id": "', '"id": "new-'), "utf-8")
        bench.call("run", bench.spec)
        assert len(log_of(bench, f"{again}.txt")) == 12 + again


@pytest.mark.parametrize("concurrency", [1, 3])
def test_all_questions_are_asked_once(ours, concurrency):
    """Every question is asked once, whatever the number of concurrent questions."""
    bench = ours(f'concurrency = {concurrency}\nlog = "log.txt"')
    assert bench.call("run", bench.spec).exit_code == 0
    assert set(Counter(log_of(bench)).values()) == {1}
    assert TOY_SPEC.count("[methods.") == len({one.method for one in bench.results.plan().cells}) - 1


class Recording:
    """A system that records the questions that it has answered."""

    concurrency = 2

    def __init__(self):
        self.answered = []

    def load(self):
        return self

    def answer(self, question, question_id):
        self.answered.append(question)
        return ServedAnswer(f"about {question}")


@contextmanager
def interrupted_at(step, path):
    """Raise KeyboardInterrupt before a step, counted in lines of this file that this thread executes."""
    left = step
    before = sys.gettrace()

    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != path:
            return None
        left -= event == "line"
        if left < 0:
            sys.settrace(before)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_an_interruption_at_any_step_loses_no_answer():
    """Wherever Ctrl-C interrupts the main thread, every question that was answered has its answer stored."""
    requests = [SimpleNamespace(args=(f"question {number}", {})) for number in range(4)]
    for step in count():
        system, stored = Recording(), {}
        locked = SimpleNamespace(plugin=system)
        backend = ask_system.SystemBackend(locked, answered_before=False)
        try:
            with interrupted_at(step, ask_system.__file__):
                backend.answer_each(requests, stored.__setitem__)
            break
        except KeyboardInterrupt:
            asked = [requests[number].args[0] for number in stored]
            assert sorted(system.answered) == sorted(asked), f"interrupted at step {step}"
    assert step > 50
    assert len(stored) == len(system.answered) == 4
