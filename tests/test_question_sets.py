"""The scripts and tables in docs/question-sets.md, with small files in the official formats."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kib.plugins.builtin.questions_file_task import FileTask
from kib.plugins.registry import load
from kib.records import Gold, Question
from kib.testing import make_plugin

PAGE = (Path(__file__).parent.parent / "docs" / "question-sets.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n([\s\S]*?)(?=^## |\Z)", PAGE, re.MULTILINE))

TRIVIA = {
    "Data": [
        {
            "Question": "Which city?",
            "QuestionId": "tc_1",
            "Answer": {"Value": "Ulm", "Aliases": ["Ulm", "Ulm, Germany"], "NormalizedAliases": ["ulm"]},
            "EntityPages": [],
        }
    ]
}
PARAGRAPHS = [
    {"idx": 0, "title": "Ulm", "paragraph_text": "Ulm has a mill.", "is_supporting": True},
    {"idx": 1, "title": "Ulm", "paragraph_text": "Ulm has a pond.", "is_supporting": False},
]
MUSIQUE = {
    "id": "2hop__1",
    "paragraphs": PARAGRAPHS,
    "question": "What has Ulm?",
    "question_decomposition": [],
    "answer": "a mill",
    "answer_aliases": ["mill"],
    "answerable": True,
}
QUALITY = {
    "article_id": "52845",
    "set_unique_id": "52845_X",
    "title": "The Mill",
    "article": "The mill is old. It stands in Ulm.",
    "questions": [
        {
            "question": "Where?",
            "question_unique_id": "52845_X_1",
            "options": ["Bonn", "Ulm", "Kiel", "Trier"],
            "writer_label": 2,
            "gold_label": 2,
            "difficult": 0,
        }
    ],
}

FILES = {
    "Natural Questions": ("NQ-open.dev.jsonl", {"question": "which city", "answer": ["Ulm", "Bonn"]}),
    "TriviaQA": ("unfiltered-web-dev.json", TRIVIA),
    "EntityQuestions": ("test/P17.test.json", [{"question": "Where is Ulm?", "answers": ["Germany"]}]),
    "MuSiQue": ("musique_ans_v1.0_dev.jsonl", MUSIQUE),
    "QuALITY": ("QuALITY.v1.0.1.htmlstripped.dev", QUALITY),
}

QUESTIONS = {
    "Natural Questions": [Question("1", "which city", accepted=("Ulm", "Bonn"))],
    "TriviaQA": [Question("tc_1", "Which city?", accepted=("Ulm", "Ulm, Germany"))],
    "EntityQuestions": [Question("1", "Where is Ulm?", group="P17", accepted=("Germany",))],
    "MuSiQue": [
        Question("2hop__1", "What has Ulm?", accepted=("a mill",)),
        Question("2hop__1", "What has Ulm?", gold=(Gold("Ulm 1d262e5f"),), accepted=("a mill", "mill")),
    ],
    "QuALITY": [
        Question("52845_X_1", "Where?", ("Bonn", "Ulm", "Kiel", "Trier"), 1, gold=(Gold("52845"),), group="52845")
    ],
}


@pytest.mark.parametrize("name", FILES)
def test_an_official_file_becomes_questions(tmp_path, name):
    """The script and the tables of a section read an official file, with its gold documents in its corpus."""
    file, content = FILES[name]
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps(content) + "\n", encoding="utf-8")
    for script in re.findall(r"```python\n([\s\S]*?)```", SECTIONS[name]):
        subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, check=True)
    tables = [tomllib.loads(text) for text in re.findall(r"```toml\n([\s\S]*?)```", SECTIONS[name])]
    found = [question for table in tables for task in table["tasks"].values() for question in questions(task, tmp_path)]
    assert found == QUESTIONS[name]
    documents = {
        document.id
        for table in tables
        for corpus in table.get("corpora", {}).values()
        for document in make_plugin(load("corpora", corpus["plugin"]), options(corpus), tmp_path).documents()
    }
    assert {gold.document for question in found for gold in question.gold} <= documents


def questions(table, folder):
    """Return the questions of a task table."""
    return list(make_plugin(FileTask, options(table), folder).questions("test"))


def options(table):
    """Return the options of a plugin's table, without the keys of kib itself."""
    return {key: value for key, value in table.items() if key not in ("plugin", "corpus", "scoring", "chunk")}


def test_every_set_is_listed():
    """The table at the beginning of the page lists each section."""
    assert list(SECTIONS) == list(FILES) == re.findall(r"^\| \[(.+?)\]\(#", PAGE, re.MULTILINE)
