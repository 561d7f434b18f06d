"""The script that converts XQuAD, and the benchmark that reads its files."""

import json
import os
import re
import string
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kib.plan.planner import make_plan
from kib.plugins.resolve import open_spec
from kib.progress import SilentProgress
from kib.run.loop import run
from kib.run.shared_steps import SharedSteps
from kib.store.results import Results
from kib.store.work import Work

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
NAME = "xquad.en.json"
ANSWERS = ("red.", "Green", "2.5 km", "blue", "Ben Oak", "17", "4 eggs", "Ada", "grey", "Cho", "9", "hens")


def article(title, answers=ANSWERS, paragraphs=5):
    """Return an article in the official format; its questions are spread over its paragraphs."""
    asked = [
        {"id": f"{title}-{number}", "question": f" What is\n{number}? ", "answers": [{"text": answer}]}
        for number, answer in enumerate(answers)
    ]
    return {
        "title": title,
        "paragraphs": [
            {"context": f"Paragraph {number} of {title}.", "qas": asked[number::paragraphs]}
            for number in range(paragraphs)
        ],
    }


def convert(source, folder, *, check=True):
    """Run the script on the command line and return the completed process."""
    command = [sys.executable, str(BENCHMARKS / "xquad.py"), str(source), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=check)


def rows(path):
    """Return the objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the output of the script and a folder with its files, made from two small articles."""
    folder = tmp_path_factory.mktemp("xquad")
    (folder / NAME).write_text(json.dumps({"data": [article("Old_Mill"), article("Pond")]}), encoding="utf-8")
    return convert(folder, folder / "made").stdout, folder / "made"


def test_each_question_has_four_separate_options(made):
    """A question has its own answer and three answers from its article, and no option contains another option."""
    for row in rows(made[1] / "test.jsonl"):
        number = int(row["id"].rpartition("-")[2])
        assert row["options"][row["answer"]] == ANSWERS[number].removesuffix(".")
        assert len(row["options"]) == 4
        assert not any(
            one != other and one.lower() in other.lower() for one in row["options"] for other in row["options"]
        )
        assert set(row["options"]) <= {"red", *ANSWERS}


def test_wrong_options_are_of_the_same_kind_if_possible(made):
    """If an article has enough answers with a digit, all options of a question about a number have a digit."""
    number = next(row for row in rows(made[1] / "test.jsonl") if row["id"] == "Old_Mill-2")
    assert all(any(character.isdigit() for character in option) for option in number["options"])


def test_every_second_article_is_a_control(made):
    """Test and validation questions name a document of every second article; control questions name no document."""
    folder = made[1]
    documents = {row["id"] for row in rows(folder / "documents.jsonl")}
    assert documents == {f"Old_Mill/{number}" for number in range(1, 6)}
    assert {row["document"] for row in rows(folder / "test.jsonl")} == documents - {"Old_Mill/5"}
    assert {row["document"] for row in rows(folder / "validation.jsonl")} == {"Old_Mill/5"}
    assert all(row["id"].startswith("Pond") and "document" not in row for row in rows(folder / "control.jsonl"))
    assert {row["title"] for row in rows(folder / "held-out.jsonl")} == {"Pond"}


def test_the_options_do_not_depend_on_the_hash_seed(made, tmp_path):
    """The script writes the same files with every hash seed of Python."""
    source = made[1].parent
    command = [sys.executable, str(BENCHMARKS / "xquad.py"), str(source), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert (tmp_path / "test.jsonl").read_bytes() == (made[1] / "test.jsonl").read_bytes()


def test_questions_without_enough_answers_are_named(tmp_path):
    """A question is left out and named if its article has fewer than three other answers."""
    (tmp_path / NAME).write_text(json.dumps({"data": [article("Short", ("a mill", "mill", "pond"))]}), encoding="utf-8")
    done = convert(tmp_path, tmp_path / "made")
    assert "left out: question Short-0 (too few different answers): What is 0?" in done.stdout
    assert rows(tmp_path / "made" / "test.jsonl") == []


@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), ("[1]", "not the official"), ("{", "not the official")]
)
def test_a_faulty_source_is_reported(tmp_path, text, said):
    """A missing or different source file ends the script with a message that names the file."""
    if text is not None:
        (tmp_path / NAME).write_text(text, encoding="utf-8")
    done = convert(tmp_path, tmp_path / "made", check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert NAME in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def real(data, tmp_path_factory):
    """Return a data folder with the files that the script makes from the official XQuAD."""
    if not (data / "xquad" / NAME).is_file():
        pytest.skip(f"no {data / 'xquad' / NAME}")
    folder = tmp_path_factory.mktemp("data")
    convert(data / "xquad", folder / "xquad")
    return folder


def test_xquad_has_its_published_size(real):
    """Of XQuAD's 1,190 questions, only five are left out, because their paragraph repeats them."""
    sizes = {path.stem: len(rows(path)) for path in (real / "xquad").iterdir()}
    assert sizes == {"documents": 120, "held-out": 120, "test": 498, "validation": 113, "control": 574}


def test_xquad_can_be_planned(real, tiny_model, monkeypatch):
    """The XQuAD benchmark plans all of its arms, and chooses K on validation questions."""
    monkeypatch.setenv("KIB_DATA", str(real))
    monkeypatch.setenv("KIB_MODEL", str(tiny_model))
    plan = make_plan(*open_spec(BENCHMARKS / "xquad.toml"))
    arms = {cell.cell.arm for cell in plan.cells if cell.asked.split == "validation"}
    assert arms == {"rag,k=1", "rag,k=3"}
    assert {cell.cell.arm for cell in plan.cells} - arms == {
        "base",
        "dense,k=1",
        "oracle",
        "random,k=1",
        "ft-reg",
        "ft-reg+rag,k=1",
    }


@pytest.mark.nightly
def test_a_real_models_scores_equal_lm_evals(real, gemma, tmp_path, monkeypatch):
    """For Gemma 3 270M, kib's log-probabilities equal the values that lm-eval alone computes for the same prompts."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    monkeypatch.setenv("KIB_DATA", str(real))
    monkeypatch.setenv("KIB_MODEL", str(gemma))
    text = (BENCHMARKS / "xquad.toml").read_text(encoding="utf-8").partition("[methods.ft-reg]")[0]
    (tmp_path / "xquad.toml").write_text(re.sub("limit = [0-9]+", "limit = 10", text), encoding="utf-8")
    plan = make_plan(*open_spec(tmp_path / "xquad.toml"))
    work, results = Work(tmp_path / "work"), Results(tmp_path / "results")
    assert run(plan, results, work, SilentProgress()) == {}
    steps, alone = SharedSteps(plan, work, SilentProgress()), HFLM(pretrained=str(gemma), batch_size=1, device="cpu")
    for cell in (cell for cell in plan.cells if cell.cell.arm in {"base", "rag,k=1", "oracle"}):
        for score, requests in zip(results.scores(cell.cell), steps.prepared(cell).requests, strict=True):
            asked = [Instance("loglikelihood", {}, request.arguments, index) for index, request in enumerate(requests)]
            expected = [value for value, _ in alone.loglikelihood(asked, disable_tqdm=True)]
            assert score.logprobs == pytest.approx(expected, rel=1e-4, abs=1e-3), (cell.cell.arm, score.question_id)


def squad_scores(output, accepted):
    """Return whether an output contains an accepted answer, and its F1 score; English only, without empty answers."""

    def tokens(text):
        plain = "".join(character for character in text.lower() if character not in string.punctuation + "“”‘’–")
        return re.sub(r"\b(a|an|the)\b", " ", plain).split()

    given, expected = tokens(output), tokens(accepted)
    shared = sum((Counter(given) & Counter(expected)).values())
    f1 = 0 if not shared else 2 / (len(given) / shared + len(expected) / shared)
    return f" {' '.join(expected)} " in f" {' '.join(given)} ", f1


@pytest.mark.nightly
def test_a_real_models_outputs_equal_transformers(real, gemma, tmp_path, monkeypatch):
    """For Gemma 3 270M, kib's outputs equal what transformers generates alone, and their scores are SQuAD's."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("KIB_DATA", str(real))
    monkeypatch.setenv("KIB_MODEL", str(gemma))
    text = (BENCHMARKS / "xquad-open.toml").read_text(encoding="utf-8")
    limit = os.environ.get("KIB_TEST_QUESTIONS", "10")
    (tmp_path / "open.toml").write_text(re.sub("limit = [0-9]+", f"limit = {limit}", text), encoding="utf-8")
    plan = make_plan(*open_spec(tmp_path / "open.toml"))
    work, results = Work(tmp_path / "work"), Results(tmp_path / "results")
    assert run(plan, results, work, SilentProgress()) == {}
    steps = SharedSteps(plan, work, SilentProgress())
    answers = {row["id"]: row["options"][row["answer"]] for row in rows(real / "xquad" / "test.jsonl")}
    tokenizer = AutoTokenizer.from_pretrained(gemma)
    model = AutoModelForCausalLM.from_pretrained(gemma, dtype=torch.float32)
    for cell in plan.cells:
        for score, (request,) in zip(results.scores(cell.cell), steps.prepared(cell).requests, strict=True):
            prompt = tokenizer(request.arguments[0], return_tensors="pt")
            with torch.no_grad():
                made = model.generate(**prompt, max_new_tokens=request.arguments[1]["max_gen_toks"], do_sample=False)
            expected = tokenizer.decode(made[0, prompt.input_ids.shape[1] :], skip_special_tokens=True)
            expected = expected.partition("Question:")[0]
            assert score.output == expected, (cell.cell.arm, score.question_id)
            line = next((one for one in expected.splitlines() if one.strip()), "")
            contained, f1 = squad_scores(line, answers[score.question_id])
            assert (score.score, score.other_scores) == (contained, {"f1": pytest.approx(f1)})
