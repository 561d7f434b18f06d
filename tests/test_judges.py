"""Judges: verdicts on generated answers become scores, and a failing judge loses nothing."""

import json

import pytest
from conftest import toy_questions
from filelock import FileLock

from kib.errors import SpecError
from kib.progress import SilentProgress
from kib.records import AnswerToJudge
from kib.run.steps.judge_answers import Verdicts
from kib.store.paid_answers import verdicts_path
from kib.support.model_names import describe_kinship, families

ROWS = [json.loads(line) for line in toy_questions(18).splitlines()]
OPEN = [
    {"id": row["id"], "question": row["question"], "document": row["document"]}
    | {"answer": row["options"]["ABCD".index(row["answer"])]}
    for row in ROWS
]
TASK = 'scoring = ["judge", "contains"]\njudge = "rule"\nmax_tokens = 12\n'
JUDGE = '\n[judges.rule]\nplugin = "toy"\n'


def lines(rows):
    """Return rows as JSON lines."""
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.fixture
def judged(bench):
    """Return a function that measures the toy benchmark with a judge and returns the failures."""

    def run(options="", rows=OPEN, task=TASK, model=""):
        bench.write_toy(model=model, task=task, questions=lines(rows), more=JUDGE + options)
        return bench.run()

    return run


def test_verdicts_are_the_scores(bench, judged):
    """The score of a question is its verdict, which is stored with its reason; further metrics are computed by kib."""
    assert not judged()
    oracle = bench.results.cell(bench.cells()["m/oracle/people,0-shot"])
    assert (oracle.metric, oracle.correct, oracle.other_metrics) == ("judge", 0.75 * len(OPEN), {"contains": 1})
    assert oracle.judging.judge == "rule"
    for score in bench.scores("m/oracle/people,0-shot"):
        assert (score.score, score.other_scores, score.abstained) == (0.75, {"contains": 1}, False)
        assert (score.verdict.score, score.verdict.reason) == (0.75, "by rule")
    base = bench.results.cell(bench.cells()["m/base/people,0-shot"])
    assert (base.answers.right, base.answers.abstained) == (0, len(OPEN))
    shown = bench.call("show", "m/oracle/people,0-shot", OPEN[0]["id"]).output
    assert "verdict: 0.75, by rule" in shown
    table = " ".join(bench.call("leaderboard", bench.results.folder).output.split())
    assert "scored by judge" in table
    assert "the judge rule (toy) grades the answers" in table


def test_the_judge_may_be_a_further_metric(bench, judged):
    """If the judge is not the first metric, kib's own metric ranks the rows, and the verdict is a further score."""
    assert not judged(task=TASK.replace('"judge", "contains"', '"contains", "judge"'))
    oracle = bench.results.cell(bench.cells()["m/oracle/people,0-shot"])
    assert (oracle.metric, oracle.correct, oracle.other_metrics) == ("contains", len(OPEN), {"judge": 0.75})


@pytest.mark.parametrize("sees", ["true", "false"])
def test_unanswerable_questions_are_right_if_the_answer_declines(bench, judged, sees):
    """For an unanswerable question, every metric is 1 if the judge or else a phrase finds an abstention."""
    rows = [{"id": "u", "question": "Where does Ada Quill live?", "answers": [], "unanswerable": True}, *OPEN]
    assert not judged(f"sees_abstentions = {sees}\n", rows)
    (base,) = [one for one in bench.scores("m/base/people,0-shot") if one.question_id == "u"]
    (shown,) = [one for one in bench.scores("m/rag,k=1/people,0-shot") if one.question_id == "u"]
    assert (base.score, base.other_scores, base.abstained) == (1, {"contains": 1}, True)
    assert (shown.score, shown.other_scores, shown.abstained) == (0, {"contains": 0}, False)


def test_an_accepted_answer_is_no_abstention(bench, judged):
    """A right answer is not counted as an abstention, even if the judge says that it declines to answer."""
    rows = [{**OPEN[0], "answer": "do not know"}]
    assert not judged(rows=rows)
    (score,) = bench.scores("m/base/people,0-shot")
    assert (score.score, score.abstained) == (0.75, False)


def test_equal_answers_are_judged_once(bench, judged):
    """A judge is asked once about equal answers of several methods."""
    log = bench.folder / "log.txt"
    assert not judged(f'log = "{log}"\n')
    asked = log.read_text().splitlines()
    assert len(asked) == len(set(asked)) == 2 * len(OPEN)


def test_empty_answers_are_wrong_without_a_judge():
    """An answer without text is wrong and no abstention, and needs no verdict."""
    (verdict,) = Verdicts().of([AnswerToJudge("Who?", ("Ada",), " \n")])
    assert (verdict.score, verdict.reason, verdict.abstained) == (0, "the answer is empty", False)


def test_another_judge_grades_the_stored_answers(bench, judged):
    """A change of the judge measures the cells again from the stored answers, without a request to the model."""
    log = bench.folder / "asked.log"
    model = f'log = "{log}"\n'
    assert not judged(model=model)
    before, asked = bench.cells(), log.read_text()
    assert not judged("grade = 0.5\n", model=model)
    assert log.read_text() == asked
    after = bench.cells()
    assert {cell.identity for cell in before.values()}.isdisjoint(cell.identity for cell in after.values())
    assert bench.results.cell(after["m/oracle/people,0-shot"]).correct == 0.5 * len(OPEN)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ('fault = "fewer"', "judges.rule (toy, kib-toys 1.0), judge: returned 1 verdicts on"),
        ('fault = "more"', "judge: returned more verdicts than the"),
        ('fault = "raises"', "judge: RuntimeError: the gavel broke"),
        ('fault = "wrong type"', "judge: returned str; expected Verdict or UnjudgedAnswer"),
        ("grade = 1.5", "judge: returned the score 1.5; expected a number from 0 to 1"),
    ],
)
def test_a_faulty_judge_fails_the_cells_and_loses_no_answer(bench, judged, option, words):
    """If a judge fails, the cells without all verdicts fail with its message; the next run asks no model again."""
    log = bench.folder / "asked.log"
    model = f'log = "{log}"\n'
    failures = judged(f"{option}\n", model=model)
    assert all(words in failure.error for failure in failures.values())
    assert "m/oracle/people,0-shot" in {cell.place for cell in bench.cells().values() if cell.id in failures}
    asked = log.read_text()
    assert not judged(model=model)
    assert log.read_text() == asked


def test_an_unjudged_answer_fails_only_its_cells(bench, judged):
    """A cell fails if one of its answers could not be judged; the message counts and quotes such answers."""
    answer = OPEN[1]["answer"]
    failures = judged(f'unjudged = "{answer}"\n')
    places = {cell.place for cell in bench.cells().values() if cell.id in failures}
    assert "m/oracle/people,0-shot" in places
    assert "m/base/people,0-shot" not in places
    (failure,) = {failure.error for failure in failures.values() if "oracle" in str(failures)}
    assert failure.startswith(f'1 of 18 answers could not be judged, for example "It is {answer}." to the question')
    assert failure.endswith("the toy cannot read it")


@pytest.mark.parametrize(
    ("task", "more", "words"),
    [
        ('scoring = "judge"\n', JUDGE, "tasks.people.scoring: the metric `judge` needs a judge; set `judge` to rule"),
        ('scoring = "judge"\n', "", "needs a judge; set `judge` to the name of a table [judges.NAME]"),
        ('scoring = "f1"\njudge = "rule"\n', JUDGE, "tasks.people.judge: `judge` needs the metric `judge`"),
        ('judge = "rule"\n', JUDGE, "tasks.people.judge: `judge` needs the metric `judge` in `scoring`"),
        (TASK.replace('"rule"', '"rile"'), JUDGE, 'expected a judge declared in this file, got "rile"; did you mean'),
        (TASK, JUDGE.replace('"toy"', '"tpy"'), 'no judge plugin "tpy" is installed; did you mean "toy"?'),
    ],
)
def test_judges_and_tasks_must_name_each_other(bench, task, more, words):
    """A metric without its judge, a judge without its metric and an unknown judge are errors with line and key."""
    bench.write_toy(task=task, questions=lines(OPEN), more=more)
    with pytest.raises(SpecError) as caught:
        bench.plan()
    assert words in str(caught.value)


def test_a_judge_belongs_to_the_identity_only_of_judged_tasks(bench):
    """Options of a judge change the identity of cells that it grades; a judge that no task names changes nothing."""
    found = []
    for task, more in ((TASK, JUDGE), (TASK, JUDGE + "grade = 0.5\n"), ("", ""), ("", JUDGE)):
        bench.write_toy(task=task, more=more)
        found.append(bench.plan().cells[0].cell.identity)
    assert found[0] != found[1]
    assert found[2] == found[3]


@pytest.mark.parametrize(
    ("judge", "model", "words"),
    [
        ("gpt-4o", "GPT-4o", "are the same language model"),
        ("meta-llama/Llama-3.1-8B", "Llama-3.1-8B", "are the same language model"),
        ("gpt-4o-mini", "openai/gpt-5", "are of one family"),
        ("o3", "gpt-4o", "are of one family"),
        ("gemini-2.5-pro", "models/gemma-3-270m", "are of one family"),
        ("claude-opus-4", "gpt-4o", ""),
        ("judge", "ours", ""),
        ("unknown-a", "unknown-b", ""),
        ("phi-4", "dolphin-2", ""),
    ],
)
def test_kinship_of_judge_and_model(judge, model, words):
    """A judge of the same name or the same known family as the measured model gives a remark, and no other judge."""
    remark = describe_kinship("judge a", judge, "model b", model)
    assert words in remark if words else not remark


def test_families_are_found_within_names():
    """The families of a model are found in names with organisations, folders, versions and other spellings."""
    names = {"mistralai/Mixtral-8x7B": {"mistral"}, "qwen2.5:7b": {"qwen"}, "DeepSeek_R1": {"deepseek"}}
    names |= {"o4-mini": {"gpt"}, "deepseek-r1-distill-qwen-7b": {"deepseek", "qwen"}, "ours": set()}
    assert {name: families(name) for name in names} == names


def test_runs_with_one_work_folder_judge_one_after_the_other(bench, judged, monkeypatch):
    """While another run asks a judge of the same plugin, a run waits and says so, and then uses the stored verdicts."""
    path = verdicts_path(bench.work.folder, "toy")
    path.parent.mkdir(parents=True)
    lock, said = FileLock(path.with_name(f".{path.name}.lock")), []
    with lock.acquire():

        def say(_progress, line):
            said.append(line)
            if "waiting" in line:
                lock.release()

        monkeypatch.setattr(SilentProgress, "say", say)
        assert not judged()
    assert [line for line in said if "judges.rule: waiting for another run" in line]


def test_a_judge_that_changes_is_named(bench, judged):
    """What the server of a judge reports is stored with each verdict, and a change is stated above the table."""
    assert not judged("served = true\n")
    (score, *_) = bench.scores("m/oracle/people,0-shot")
    assert score.verdict.served == "rule-1"
    output = " ".join(bench.call("leaderboard", bench.results.folder).output.split())
    assert "judge rule: the server reported rule-0 and rule-1, so a gain may contain a change of the judge" in output


def test_open_answers_have_all_tables_in_latex(bench, judged):
    """The LaTeX format contains the same tables as the others, such as the abstentions and the costs."""
    rows = [{"id": "u", "question": "Where does Ada Quill live?", "answers": [], "unanswerable": True}, *OPEN]
    assert not judged("", rows)
    output = bench.call("leaderboard", bench.results.folder, "--format", "latex", "--cost", "--retrieval").output
    for title in ("answers \\textperiodcentered", "cost \\textperiodcentered", "retrieval \\textperiodcentered"):
        assert f"\\textit{{{title}" in output
