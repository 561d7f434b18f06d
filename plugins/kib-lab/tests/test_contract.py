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
def test_each_part_is_found_and_light_to_import(kind):
    """Each plugin is found by its entry point and imports nothing heavy."""
    assert check_plugin(kind, "lab") is CLASSES[kind]


@pytest.mark.parametrize("module", ["kib_lab.pretrain", "kib_lab.rows"])
def test_pretraining_is_light_to_import(module):
    """The modules of the pre-training import torch and transformers inside functions only."""
    check_light_import(module)


def test_options_are_described_and_strict():
    """Options are described, survive writing and reading, and refuse what is not theirs."""
    check_options(LabModel, accepts=[{}, {"dtype": "bfloat16"}], refuses=[{"dtype": "float64"}, {"batch_size": "8"}])
    check_options(LabCorpus, accepts=[{"people": "new", "seed": 3}], refuses=[{}, {"people": "old"}])
    check_options(
        LabTask,
        accepts=[{"people": "known", "half": "told"}, *({"people": "new", "kind": kind} for kind in KINDS)],
        refuses=[{"people": "new", "kind": "odd"}, {"people": "new", "count": 10}],
    )
    check_options(LabWriter, accepts=[{}, {"pairs": True}], refuses=[{"reword": "yes"}])


@pytest.mark.parametrize("people", ["known", "new"])
def test_corpus_keeps_its_promise(people):
    """Documents come once each, in a fixed order, printable."""
    check_corpus(lambda: make_plugin(LabCorpus, {"people": people, "count": 40}))


@pytest.mark.parametrize("kind", KINDS)
def test_task_keeps_its_promise(kind):
    """Questions come in a fixed order with sound options, and their gold lies in the corpus of the same options."""
    options = {"people": "new", "count": 40}
    check_task(lambda: make_plugin(LabTask, {**options, "kind": kind}), lambda: make_plugin(LabCorpus, options))


def test_task_names_its_splits():
    """Every split that a task names asks something."""
    task = make_plugin(LabTask, {"people": "new", "count": 40})
    assert all(list(task.questions(split)) for split in task.splits())


def test_writer_writes_as_many_as_asked_of_each_passage():
    """A writer gives `count` paraphrases and `count` pairs of each passage, naming passage and kind."""
    documents = make_plugin(LabCorpus, {"people": "new", "count": 40}).documents()
    passages = [Passage(f"{d.id}#0", d.id, d.title, d.text, 0, len(d.text)) for d in documents]
    texts = list(make_plugin(LabWriter, {"pairs": True}).write(passages, 3, 0, {}))
    for passage in passages:
        kinds = [text.kind for text in texts if text.passage == passage.id]
        assert kinds == ["paraphrase"] * 3 + ["pair"] * 3
