"""The shipped benchmarks and the script that converts the OpenBookQA data."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from kib.plan.planner import make_plan
from kib.plugins.resolve import open_spec
from kib.spec.load import load_spec

ROOT = Path(__file__).parent.parent
SPECS = sorted((ROOT / "benchmarks").glob("*.toml"))
SCRIPT = ROOT / "benchmarks" / "openbookqa.py"
NAME = "OpenBookQA-V1-Sep2018"
ZIP = f"{NAME}.zip"


def make_files(source, folder, *, check=True):
    """Run the script on the command line and return the completed process."""
    command = [sys.executable, str(SCRIPT), str(source), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=check)


def lines(path):
    """Return the objects of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def openbookqa(data, tmp_path_factory):
    """Return a data folder with the OpenBookQA files, converted from the official zip file."""
    source = data / "openbookqa" / ZIP
    if not source.is_file():
        pytest.skip(f"no {source}")
    folder = tmp_path_factory.mktemp("data")
    make_files(source, folder / "openbookqa")
    return folder


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_shipped_specs_are_valid(path):
    """Every shipped benchmark is valid and named after its file."""
    assert load_spec(path).name in (path.stem, f"{path.stem}-measured")  # published numbers may use the plain name


@pytest.mark.parametrize("name", ["lab", "lab-model", "lab-open", "lab-rates", "lab-study"])
def test_lab_specs_can_be_planned(name):
    """The lab's benchmarks can be planned in a fresh installation."""
    assert make_plan(*open_spec(ROOT / "benchmarks" / f"{name}.toml")).cells


def test_the_study_uses_compared_learning_rates():
    """Every learning rate in the study is among the rates compared in lab-rates.toml."""
    tried = load_spec(ROOT / "benchmarks" / "lab-rates.toml").trainers
    study = load_spec(ROOT / "benchmarks" / "lab-study.toml").trainers
    for name, table in study.items():
        assert table.options["learning_rate"] in tried.get(name, tried["par"]).vary["learning_rate"]
    assert set(study) == {*tried, "replay"}


@pytest.mark.nightly
def test_findings_come_from_results(tmp_path):
    """findings.py regenerates the page above the marker and leaves the page below the marker unchanged."""
    spec = (ROOT / "benchmarks" / "lab-study.toml").read_text(encoding="utf-8")
    small = spec.replace("count = 120", "count = 40").replace("epochs = 5", "epochs = 1").replace("[0, 1, 2]", "[0]")
    (tmp_path / "lab-study.toml").write_text(re.sub("limit = [0-9]+", "limit = 12", small), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = [str(Path(sys.executable).with_name("kib")), "run", "lab-study.toml", "--quiet"]
    subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, check=True)
    page = tmp_path / "findings.md"
    page.write_text("old\n<!-- below this line: written by hand -->\nkept\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "benchmarks" / "findings.py"), "results/lab-study", "findings.md"]
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# What the lab's study says")
    assert text.endswith("written by hand -->\nkept\n")
    assert "old\n" not in text
    assert text.count("\n## ") == 7
    assert "`ft-par,text.count=10`" in text


def test_mmlu_can_be_planned(data, tiny_model, monkeypatch):
    """The MMLU benchmark reads five subjects from the official files and plans cells with 0 and 5 shots."""
    monkeypatch.setenv("KIB_DATA", str(data))
    monkeypatch.setenv("KIB_MODEL", str(tiny_model))
    plan = make_plan(*open_spec(ROOT / "benchmarks" / "mmlu.toml"))
    assert {(cell.cell.task, cell.cell.shots) for cell in plan.cells} == {
        (subject, shots)
        for subject in ("anatomy", "astronomy", "college-biology", "college-chemistry", "prehistory")
        for shots in (0, 5)
    }


def test_openbookqa_can_be_planned(openbookqa, tiny_model, monkeypatch):
    """The OpenBookQA benchmark plans all of its arms and chooses K on validation questions."""
    monkeypatch.setenv("KIB_DATA", str(openbookqa))
    monkeypatch.setenv("KIB_MODEL", str(tiny_model))
    plan = make_plan(*open_spec(ROOT / "benchmarks" / "openbookqa.toml"))
    arms = ["base", *(f"rag,k={k}" for k in range(1, 6)), "oracle", "random,k=5"]
    assert [cell.cell.arm for cell in plan.cells if cell.asked.split == "test"] == arms
    assert [cell.cell.arm for cell in plan.cells if cell.asked.split == "validation"] == arms[1:6]


def test_openbookqa_has_its_published_size(openbookqa):
    """OpenBookQA's zip file has 1,326 facts, 500 test and 500 validation questions, and a gold fact per question."""
    files = {path.stem: lines(path) for path in (openbookqa / "openbookqa").iterdir()}
    facts = {fact["id"] for fact in files["facts"]}
    assert {name: len(rows) for name, rows in files.items()} == {
        "facts": 1326,
        "test": 500,
        "validation": 500,
        "examples": 4954,  # of 4,957: three questions have two equal options
    }
    asked = [row for name in ("test", "validation", "examples") for row in files[name]]
    assert {row["document"] for row in asked} <= facts
    assert all(row["group"] == row["document"] for row in asked)


@pytest.mark.slow
def test_openbookqa_recall(openbookqa, tiny_model, tmp_path, monkeypatch):
    """BM25 finds the gold fact for most OpenBookQA questions, and recall never decreases as K increases."""
    from kib.progress import SilentProgress
    from kib.run.shared_steps import SharedSteps
    from kib.store.work import Work

    monkeypatch.setenv("KIB_DATA", str(openbookqa))
    monkeypatch.setenv("KIB_MODEL", str(tiny_model))
    plan = make_plan(*open_spec(ROOT / "benchmarks" / "openbookqa.toml"))
    steps = SharedSteps(plan, Work(tmp_path), SilentProgress())
    step = next(step for step in plan.hits if step.retriever == "bm25" and step.asked.split == "test")
    gold, hits = steps.gold(step.asked, step.passages), steps.hits(step)
    recall = [
        sum(any(hit.passage in gold[question] for hit in found[:k]) for question, found in hits.items()) / len(hits)
        for k in range(1, 6)
    ]
    assert recall == sorted(recall)
    assert 0.5 < recall[-1] < 0.8


FACTS = ["a robin is a bird", "iron rusts in wet air", "« É 桥 » is a fact"]


def question(number, fact, options=("yes", "no", "both", "neither")):
    """Return a question in the OpenBookQA format."""
    choices = [{"text": text, "label": label} for text, label in zip(options, "ABCD", strict=True)]
    return {
        "id": str(number),
        "question": {"stem": f"Is it {number}?", "choices": choices},
        "fact1": fact,
        "answerKey": "C",
    }


def write_zip(path, *, facts=FACTS, **splits):
    """Write a zip file with the official layout and return its path."""
    with ZipFile(path, "w") as archive:
        archive.writestr(f"{NAME}/Data/Main/openbook.txt", "".join(f'"{fact}"\n' for fact in facts))
        for split in ("train", "dev", "test"):
            rows = splits.get(split, [question(split, FACTS[0])])
            text = "".join(f"{json.dumps(row)}\n" for row in rows)
            archive.writestr(f"{NAME}/Data/Additional/{split}_complete.jsonl", text)
    return path


def test_script_joins_questions_and_facts(tmp_path):
    """A converted question has its fact as document and group, and the index of the correct option as answer."""
    write_zip(tmp_path / ZIP, test=[question(7, FACTS[2])])
    make_files(tmp_path, tmp_path / "made")
    assert [(fact["id"], fact["text"]) for fact in lines(tmp_path / "made" / "facts.jsonl")] == [
        ("fact-0001", FACTS[0]),
        ("fact-0002", FACTS[1]),
        ("fact-0003", FACTS[2]),
    ]
    assert lines(tmp_path / "made" / "test.jsonl") == [
        {
            "id": "7",
            "question": "Is it 7?",
            "options": ["yes", "no", "both", "neither"],
            "answer": 2,
            "document": "fact-0003",
            "quote": FACTS[2],
            "group": "fact-0003",
        }
    ]


def test_script_writes_next_to_the_zip_by_default(tmp_path):
    """By default, the conversion script writes its output files next to the zip file."""
    source = write_zip(tmp_path / ZIP)
    subprocess.run([sys.executable, str(SCRIPT), str(source)], check=True, capture_output=True)
    made = {path.name for path in tmp_path.glob("*.jsonl")}
    assert made == {"facts.jsonl", "test.jsonl", "validation.jsonl", "examples.jsonl"}


def test_script_reports_omitted_questions(tmp_path):
    """The conversion script omits a question with two equal options and reports the question's id."""
    twice = question("twice", FACTS[0], ("yes", "no", "no", "both"))
    write_zip(tmp_path / ZIP, train=[twice, question("fine", FACTS[1])])
    said = make_files(tmp_path, tmp_path / "made").stdout
    assert "left out: question twice" in said
    assert [row["id"] for row in lines(tmp_path / "made" / "examples.jsonl")] == ["fine"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"test": [question(9, "a whale is a fish")]},
            "test_complete.jsonl:1: the fact of question 9 is not a line in",
        ),
        ({"facts": [*FACTS, FACTS[0]]}, "openbook.txt:4: the fact duplicates fact-0001"),
        ({"facts": [*FACTS, " "]}, "openbook.txt:4: expected a fact in double quotes"),
    ],
)
def test_script_rejects_faulty_facts(tmp_path, change, said):
    """An unknown, repeated or empty fact raises an error with the line number, and no files are written."""
    write_zip(tmp_path / ZIP, **change)
    run = make_files(tmp_path, tmp_path / "made", check=False)
    assert run.returncode == 1
    assert said in run.stderr
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("content", "said"), [(None, "no such file"), (b"PK", "this is not the official zip archive")])
def test_script_rejects_a_faulty_zip(tmp_path, content, said):
    """A missing or damaged zip file raises an error without a traceback."""
    if content:
        (tmp_path / ZIP).write_bytes(content)
    run = make_files(tmp_path / ZIP, tmp_path / "made", check=False)
    assert said in run.stderr
    assert "Traceback" not in run.stderr
