"""`kib label` and the key `labels`: from generated answers to a blind sheet, and from the sheet to the table."""

import csv
import json
import shutil
from io import StringIO

import openpyxl
import pytest
from conftest import TOY_SPEC, toy_questions

from kib.commands.label import COLUMNS
from kib.errors import SpecError
from kib.store.label_records import output_digest

SCORING = 'scoring = "contains"\nmax_tokens = 12\n'
LABELLED = f'{SCORING}labels = "labels.csv"\n'


def open_questions(count=36):
    """Return questions without options as JSON lines; an accepted answer of the first question is like a formula."""
    rows = []
    for line in toy_questions(count).splitlines():
        row = json.loads(line)
        answer = row.pop("options")["ABCD".index(row.pop("answer"))]
        rows.append({**row, "answers": [answer] if rows else ["=1+2", answer]})
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


@pytest.fixture(scope="module")
def once_measured(new_bench, toys, tmp_path_factory):
    """Measure the toy benchmark with 36 open questions once."""
    bench = new_bench(tmp_path_factory.mktemp("measured"))
    bench.write_toy(task=SCORING, questions=open_questions())
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(toys)
        assert not bench.run()
    return bench


@pytest.fixture
def measured(bench, once_measured):
    """Return a copy of the measured toy benchmark: each question has two distinct outputs."""
    shutil.copytree(once_measured.folder, bench.folder, dirs_exist_ok=True)
    return bench


def sheet(bench, name="labels.csv"):
    """Return the rows of a CSV sheet."""
    return list(csv.DictReader(StringIO((bench.folder / name).read_text(encoding="utf-8-sig"))))


def fill_in(bench, rows, name="labels.csv"):
    """Write rows with verdicts as a sheet."""
    with (bench.folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def judged(bench, name="labels.csv"):
    """Return the rows of a sheet with a verdict on every output: right if the output contains the accepted answer."""
    rows = sheet(bench, name)
    return [{**row, "verdict": "right" if "It is" in row["output"] else "wrong"} for row in rows]


def label(bench, *options):
    """Call `kib label` for the toy benchmark, and return its output; the command must succeed."""
    result = bench.call("label", "toy", *options)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def refused(bench, *options):
    """Return the message with which `kib label` refuses to write a sheet."""
    result = bench.call("label", "toy", *options)
    assert result.exit_code == 2
    return " ".join(result.output.split())


# The sheet


def test_a_sheet_is_blind(measured):
    """A sheet contains questions, accepted answers and outputs, but no arm, model or score."""
    assert "24 outputs of 12 questions drawn from 36 (task people, seed 0)" in label(measured, "--questions", 12)
    rows = sheet(measured)
    assert list(rows[0]) == list(COLUMNS)
    assert {row["output"].partition(" is ")[0] for row in rows} == {"It", "I do not know."}
    assert {row["verdict"] + row["comment"] for row in rows} == {""}
    text = (measured.folder / "labels.csv").read_text(encoding="utf-8-sig")
    assert not any(word in text for word in ("rag", "base", "oracle", "random", "toy", "contains"))


def test_equal_outputs_appear_once_and_stay_together(measured):
    """Each distinct output to a drawn question has one line, and the lines of a question are adjacent."""
    label(measured, "--questions", 12)
    rows = sheet(measured)
    questions = [row["question"] for row in rows]
    assert len(set(questions)) == 12
    assert all(first == second for first, second in zip(questions[::2], questions[1::2], strict=True))
    assert len({(row["question"], row["output"]) for row in rows}) == 24
    first_is_answer = [row["output"].startswith("It is") for row in rows[::2]]
    assert any(first_is_answer)
    assert not all(first_is_answer)


def test_the_draw_depends_on_the_seed_only(measured):
    """The same seed gives the same bytes, and a larger draw with this seed contains a smaller draw."""
    label(measured, "--questions", 8)
    label(measured, "--questions", 8, "--output", "again.csv")
    assert (measured.folder / "again.csv").read_bytes() == (measured.folder / "labels.csv").read_bytes()
    label(measured, "--questions", 12, "--output", "more.csv")
    items, more = ([row["item"] for row in sheet(measured, name)] for name in ("labels.csv", "more.csv"))
    assert items == more[:16]
    label(measured, "--questions", 8, "--seed", 1, "--output", "other.csv", "--force")
    assert not {row["item"] for row in sheet(measured, "other.csv")} & set(more)


def test_texts_never_become_formulas(measured):
    """A text that begins like a formula is marked as text in CSV and in spreadsheets."""
    label(measured, "--questions", 36)
    assert [row["accepted answers"][:5] for row in sheet(measured) if "=" in row["accepted answers"]] == ["'=1+2"] * 2
    label(measured, "--questions", 36, "--output", "labels.xlsx")
    cells = [row[2] for row in openpyxl.load_workbook(measured.folder / "labels.xlsx").active.iter_rows(min_row=2)]
    risky = [cell for cell in cells if str(cell.value).startswith("=")]
    assert [(cell.data_type, cell.value, cell.quotePrefix) for cell in risky] == [("s", "=1+2\nNorwick", True)] * 2


def test_long_texts_need_csv(bench):
    """A text that does not fit into a spreadsheet cell is an error that names its item and offers CSV."""
    long = json.dumps({"question": "Who?", "answers": ["Ada", "x" * 40_000]}) + "\n"
    bench.write_toy(task=SCORING, questions=long, spec=TOY_SPEC.partition("[methods.rag]")[0])
    assert not bench.run()
    assert "a text of this item has 40,004 characters" in refused(bench, "--output", "labels.xlsx")
    assert bench.results.label_designs() == {}
    label(bench)
    assert len(sheet(bench)[0]["accepted answers"]) == 40_004


def test_existing_sheets_and_samples_are_kept(measured):
    """A sheet is overwritten, and a sample is replaced by other questions, only with --force."""
    label(measured, "--questions", 12)
    before = (measured.folder / "labels.csv").read_bytes()
    assert "labels.csv: the file already exists and may contain verdicts" in refused(measured, "--questions", 12)
    for options in (("--questions", 5), ("--questions", 12, "--seed", 1)):
        message = refused(measured, *options, "--output", "other.csv")
        assert "a sample of 12 questions for the task people was drawn with seed 0" in message
        assert not (measured.folder / "other.csv").exists()
    assert (measured.folder / "labels.csv").read_bytes() == before
    label(measured, "--questions", 5, "--force")
    assert len(sheet(measured)) == 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--output", "labels.txt"), "labels.txt: expected a file name that ends in .csv or .xlsx"),
        (("--output", "nowhere/labels.csv"), "nowhere: no such folder"),
        (("--task", "poeple"), 'no task poeple; did you mean "people"?'),
        (("--work", "elsewhere"), "elsewhere: the texts of the questions are missing or damaged; choose the work"),
    ],
)
def test_wrong_requests_are_one_sentence(measured, options, words):
    """A wrong option of `kib label` is one sentence, and nothing is written."""
    assert words in refused(measured, *options)
    assert not (measured.results.folder / "label-designs.json").exists()
    assert not (measured.folder / "labels.csv").exists()


def test_only_generated_answers_can_be_judged(bench):
    """A benchmark that scores options, or that has no results, has nothing to judge."""
    bench.write_toy()
    assert "results/toy: this folder contains no results" in refused(bench)
    assert not bench.results.folder.exists()
    assert not bench.run()
    assert "the results contain no generated answers, so there is nothing to judge" in refused(bench)


def test_missing_cells_are_counted(measured):
    """If a cell has no result, the report counts the cell, because its outputs are not in the sheet."""
    measured.results.discard(measured.cells()["m/base/people,0-shot"])
    assert "The sheet contains no outputs of 1 cell without a result" in label(measured)


# Labels


@pytest.mark.parametrize("name", ["labels.csv", "labels.xlsx"])
def test_labels_lead_from_the_sheet_to_the_table(measured, name):
    """`kib run` stores the verdicts without measuring anything, and the table needs only the results folder."""
    label(measured, "--questions", 12, "--output", name)
    if name.endswith(".csv"):
        rows = judged(measured)
        next(row for row in rows if "It is" in row["output"])["verdict"] = "0.2"
        fill_in(measured, rows)
    else:
        workbook = openpyxl.load_workbook(measured.folder / name)
        rows = list(workbook.active.iter_rows(min_row=2))
        for row in rows:
            row[4].value = 1 if "It is" in row[3].value else 0
        next(row for row in rows if "It is" in row[3].value)[4].value = 0.2
        workbook.create_sheet("notes", 0)["A1"] = "a sheet of a judge's own"
        workbook.save(measured.folder / name)
    before = measured.files("statistics.json")
    measured.write_toy(task=f'{SCORING}labels = "{name}"\n', questions=open_questions())
    output = measured.call("run", measured.spec).output
    assert "labels · m · people · 0-shot · 12 of 36 questions labelled" in output
    after = measured.files("statistics.json", "labels.json")
    assert after == before
    (measured.folder / name).unlink()
    table = json.loads(measured.call("leaderboard", "toy", "--format", "json").output)
    (rag,) = [one for one in table["labels"] if one["arm"] == "rag,k=1"]
    assert (rag["labelled"], rag["groups"], rag["agreed"], rag["too_high"]) == (12, 5, 11, 1)
    assert rag["corrected_gain"] == pytest.approx(1 - 0.8 / 12)


def test_labels_are_not_part_of_any_identity(measured):
    """The key `labels` changes neither a cell nor the plan."""
    plain = measured.plan()
    (measured.folder / "labels.csv").write_text("", encoding="utf-8")
    measured.write_toy(task=LABELLED, questions=open_questions())
    assert [cell.cell for cell in measured.plan().cells] == [cell.cell for cell in plain.cells]
    assert measured.plan().entry() == plain.entry()


def test_missing_verdicts_are_counted(measured):
    """A question with a missing verdict is left out, and the run and the table count it; no verdict is lost."""
    label(measured, "--questions", 12)
    rows = judged(measured)
    fill_in(measured, [{**rows[0], "verdict": ""}, *rows[1:3], *rows[4:]])
    measured.write_toy(task=LABELLED, questions=open_questions())
    output = " ".join(measured.call("run", measured.spec).output.split())
    assert "missing 2 verdicts of 24, so the comparison leaves out 2 of 12 drawn questions" in output
    assert "left out 2 of 12 drawn questions, because verdicts are missing" in output
    assert sum(map(len, measured.results.labels()["people"].verdicts.values())) == 22


def test_stored_verdicts_are_filled_in(measured):
    """A new sheet, for example with more questions, contains the verdicts that the last run stored."""
    label(measured, "--questions", 6)
    fill_in(measured, judged(measured))
    measured.write_toy(task=LABELLED, questions=open_questions())
    assert measured.call("run", measured.spec).exit_code == 0
    assert "12 verdicts from the last run are filled in" in label(measured, "--questions", 9, "--output", "more.csv")
    known = [row["verdict"] for row in sheet(measured, "more.csv")]
    assert known == [{"right": "1", "wrong": "0"}[row["verdict"]] for row in judged(measured)] + [""] * 6


def edited(rows, number, **changes):
    """Return the rows of a sheet with one row changed."""
    return [{**row, **changes} if at == number else row for at, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda rows: edited(rows, 2, verdict="maybe"), "labels.csv:4: verdict: expected right, partly or wrong, or a"),
        (lambda rows: edited(rows, 2, verdict="1.1"), "number from 0 to 1, got '1.1'"),
        (lambda rows: edited(rows, 2, verdict="nan"), "number from 0 to 1, got 'nan'"),
        (
            lambda rows: edited(rows, 1, item="x9"),
            "labels.csv:3: the item x9 is not in the stored sample (12 questions",
        ),
        (lambda rows: edited(rows, 1, item=""), "labels.csv:3: the row has a verdict, but no item"),
        (lambda rows: [*rows, rows[0]], "appears twice; delete one of the two rows"),
        (lambda rows: [{**row, "item": f"{row['item']}0"} for row in rows], "the labels belong to another design"),
        (lambda _: [], "labels.csv: the sheet contains no items"),
    ],
)
def test_wrong_sheets_are_refused_before_anything_is_measured(measured, edit, words):
    """A wrong sheet is one sentence with file and line, and stores and measures nothing."""
    label(measured, "--questions", 12)
    fill_in(measured, edit(judged(measured)))
    measured.write_toy(task=LABELLED, questions=open_questions())
    measured.results.discard(measured.cells()["m/base/people,0-shot"])
    result = measured.call("run", measured.spec)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert not (measured.results.folder / "labels.json").exists()
    assert not measured.results.has(measured.cells()["m/base/people,0-shot"])


def test_a_sheet_needs_its_columns(measured):
    """Without the columns `item` and `verdict`, a sheet cannot be read; other columns may be missing."""
    label(measured, "--questions", 12)
    rows = judged(measured)
    path = measured.folder / "labels.csv"
    measured.write_toy(task=LABELLED, questions=open_questions())
    path.write_text("item,grade\n", encoding="utf-8")
    output = measured.call("run", measured.spec).output
    assert 'labels.csv:1: no column "verdict"; expected the columns that `kib label` wrote' in output
    path.write_text("item,verdict\n" + "".join(f"{row['item']},{row['verdict']}\n" for row in rows), encoding="utf-8")
    assert "12 of 36 questions labelled" in measured.call("run", measured.spec).output


def test_a_sheet_without_a_sample_is_not_used(bench):
    """In a new results folder, a remark states that the labels are not used, and the benchmark is measured."""
    bench.write_toy(task=LABELLED, questions=open_questions())
    (bench.folder / "labels.csv").write_text("item,verdict\ni1,right\n", encoding="utf-8")
    result = bench.call("run", bench.spec)
    assert result.exit_code == 0
    assert "the labels are not used, because results/toy contains no sample of questions for this task" in " ".join(
        result.output.split()
    )


def test_labels_leave_with_their_key(measured):
    """If the key `labels` is removed from the benchmark file, the next run removes the stored verdicts."""
    label(measured, "--questions", 12)
    fill_in(measured, judged(measured))
    measured.write_toy(task=LABELLED, questions=open_questions())
    assert "all arms" in measured.call("run", measured.spec).output
    measured.write_toy(task=SCORING, questions=open_questions())
    assert "all arms" not in measured.call("run", measured.spec).output
    assert measured.results.labels() == {}
    assert list(measured.results.label_designs()) == ["people"]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            'labels = "labels.csv"\n',
            "tasks.people.labels: applies only to generated answers; add `scoring` with one of",
        ),
        ('scoring = "letter"\nlabels = "labels.csv"\n', "tasks.people.labels: applies only to generated answers"),
        (f"{SCORING}labels = 3\n", "tasks.people.labels: expected text in quotes, got 3"),
    ],
)
def test_wrong_uses_of_the_key_are_errors(bench, task, words):
    """`labels` needs generated answers and a path; mistakes are reported with their line."""
    bench.write_toy(task=task)
    with pytest.raises(SpecError) as caught:
        bench.plan()
    assert words in str(caught.value)


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_missing_sheet_is_an_error(measured, command):
    """If the sheet does not exist, the error states the line, the key and the path relative to the file."""
    measured.write_toy(task=LABELLED, questions=open_questions())
    result = measured.call(command, measured.spec)
    output = " ".join(result.output.split())
    assert result.exit_code == 2
    assert "tasks.people.labels:" in output
    assert "labels.csv: no such file" in output


def test_white_space_around_an_output_does_not_count():
    """Outputs that differ only in surrounding white space are one item, because nobody sees the difference."""
    assert output_digest(" It is X.\n") == output_digest("It is X.")
    assert output_digest("It is X.") != output_digest("It is  X.")
