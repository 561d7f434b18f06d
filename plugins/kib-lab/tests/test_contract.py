from dataclasses import replace

import pytest

from kib.records import Passage
from kib.testing import (
    check_corpus,
    check_light_import,
    check_options,
    check_plugin,
    check_task,
    make_plugin,
)
from kib_lab.corpus import LabCorpus
from kib_lab.model import LabModel
from kib_lab.questions import KINDS
from kib_lab.task import LabTask
from kib_lab.writer import LabWriter

CLASSES = {"models": LabModel, "corpora": LabCorpus, "tasks": LabTask, "writers": LabWriter}


@pytest.mark.parametrize("kind", CLASSES)
def test_installed(kind):
    """Each entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin(kind, "lab") is CLASSES[kind]


def test_pretraining_is_light_to_import():
    """The pre-training module imports torch and transformers only inside functions."""
    check_light_import("kib_lab.pretrain")


def test_options():
    """Every option has a description, and invalid values are rejected."""
    check_options(LabModel, accepts=[{}, {"dtype": "bfloat16"}], refuses=[{"dtype": "float64"}, {"batch_size": "8"}])
    check_options(LabCorpus, accepts=[{"people": "new", "seed": 3}], refuses=[{}, {"people": "old"}])
    check_options(
        LabTask,
        accepts=[{"people": "known", "half": "told"}, *({"people": "new", "kind": kind} for kind in (*KINDS, "all"))],
        refuses=[{"people": "new", "kind": "odd"}, {"people": "new", "count": 10}],
    )
    check_options(LabWriter, accepts=[{}, {"pairs": True}], refuses=[{"reword": "yes"}])


@pytest.mark.parametrize("people", ["known", "new"])
def test_corpus(people):
    """The corpus plugin `lab` satisfies the contract for corpus plugins."""
    check_corpus(lambda: make_plugin(LabCorpus, {"people": people, "count": 40}))


@pytest.mark.parametrize("kind", KINDS)
def test_task(kind):
    """The task plugin `lab` satisfies the contract for task plugins, and its gold passages are in the lab corpus."""
    options = {"people": "new", "count": 40}
    check_task(lambda: make_plugin(LabTask, {**options, "kind": kind}), lambda: make_plugin(LabCorpus, options))


def test_all_kinds_of_questions_are_probes():
    """With `kind = "all"`, a task asks the questions of all four kinds in turn, each with its kind as its probe."""
    options = {"people": "new", "count": 40}
    every = list(make_plugin(LabTask, {**options, "kind": "all"}).questions("test"))
    tasks = [make_plugin(LabTask, {**options, "kind": kind}) for kind in KINDS]
    single = [question for task in tasks for question in task.questions("test")]
    assert [replace(question, probe=None) for question in every] == single
    assert all(question.id.endswith(f"-{question.probe}") for question in every)
    check_task(lambda: make_plugin(LabTask, {**options, "kind": "all"}), lambda: make_plugin(LabCorpus, options))


def test_splits():
    """Every split of the task `lab` contains questions."""
    task = make_plugin(LabTask, {"people": "new", "count": 40})
    assert all(list(task.questions(split)) for split in task.splits())


def test_writer():
    """With the option `pairs`, a lab writer returns `count` paraphrases and `count` pairs per passage."""
    documents = make_plugin(LabCorpus, {"people": "new", "count": 40}).documents()
    passages = [Passage(f"{d.id}#0", d.id, d.title, d.text, 0, len(d.text)) for d in documents]
    texts = list(make_plugin(LabWriter, {"pairs": True}).write(passages, 3, 0, {}))
    for passage in passages:
        kinds = [text.kind for text in texts if text.passage == passage.id]
        assert kinds == ["paraphrase"] * 3 + ["pair"] * 3
