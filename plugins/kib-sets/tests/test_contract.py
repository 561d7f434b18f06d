import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kib.interfaces import CitingPlugin, NotedCorpus, OnlinePlugin, RemarkingTask
from kib.plugins.registry import load
from kib.support.bibtex import entries_in
from kib.testing import (
    check_corpus,
    check_fingerprint,
    check_options,
    check_task,
    make_plugin,
)

TASKS = ("counterfact", "hotpotqa", "popqa", "squad", "xquad")
CORPORA = ("counterfact", "hotpotqa", "squad", "xquad")
PLUGINS = {"tasks": TASKS, "corpora": CORPORA}
HUB = {"hub": "org/name", "revision": "0" * 40}

each_task = pytest.mark.parametrize("name", TASKS)
each_corpus = pytest.mark.parametrize("name", CORPORA)

Write = Callable[..., Path]


def test_light_import() -> None:
    """The modules of the plugins import no large packages."""
    modules = sorted({load(kind, name).__module__ for kind, names in PLUGINS.items() for name in names})
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    large = {"datasets", "huggingface_hub", "lm_eval", "numpy", "pandas", "torch"}
    assert not large & set(run.stdout.split())


@each_task
def test_task(write: Write, name: str) -> None:
    """Every task is installed and satisfies the contract, with gold in the corpus of the same set."""
    cls, path = load("tasks", name), write(name)
    corpus = None
    if name in CORPORA:
        documents = load("corpora", name)

        def corpus() -> Any:
            return make_plugin(documents, {"path": path})

    check_task(lambda: make_plugin(cls, {"path": path}), corpus)
    task = make_plugin(cls, {"path": path})
    assert isinstance(task, RemarkingTask)
    assert isinstance(task, OnlinePlugin)


@each_corpus
def test_corpus(write: Write, name: str) -> None:
    """Every corpus is installed and satisfies the contract, and its documents state the source and the licence."""
    cls, path = load("corpora", name), write(name)
    check_corpus(lambda: make_plugin(cls, {"path": path}))
    corpus = make_plugin(cls, {"path": path})
    assert isinstance(corpus, NotedCorpus)
    assert {(one.source, one.licence) for one in corpus.documents()} == {tuple(corpus.notes().values())}


@pytest.mark.parametrize(
    ("kind", "name"), [*(("tasks", name) for name in TASKS), *(("corpora", name) for name in CORPORA)]
)
def test_citation(kind: str, name: str) -> None:
    """Every plugin cites the publication of its set, and XQuAD also cites SQuAD."""
    plugin = make_plugin(load(kind, name), {"path": "x"})
    assert isinstance(plugin, CitingPlugin)
    assert len(list(entries_in(plugin.bibtex()))) == (2 if name == "xquad" else 1)


@pytest.mark.parametrize(("kind", "name"), [("tasks", "hotpotqa"), ("corpora", "hotpotqa")])
def test_options(kind: str, name: str) -> None:
    """Every option has a description, and invalid or contradictory locations are rejected."""
    files: Any = {"test": "dev.json"} if kind == "tasks" else ["dev.json"]
    outside: Any = {"test": "../dev.json"} if kind == "tasks" else ["/dev.json"]
    check_options(
        load(kind, name),
        accepts=[{"path": "/x"}, {"path": "/x", "files": files}, {**HUB, "files": files}],
        refuses=[
            {},
            HUB,
            {"path": "/x", **HUB, "files": files},
            {"path": "/x", "revision": "main"},
            {"path": "/x", "files": outside},
            {"hub": "a/b/c", "files": files},
        ],
    )


def test_options_of_tasks() -> None:
    """A task needs test questions, and its own options are checked."""
    check_options(load("tasks", "squad"), refuses=[{"path": "/x", "files": {"validation": "dev.json"}}])
    check_options(load("tasks", "popqa"), refuses=[{"path": "x", "min_popularity": -1}])
    check_options(load("tasks", "counterfact"), refuses=[{"path": "x", "prompts": "attribute"}])


@each_task
def test_fingerprint(write: Write, name: str) -> None:
    """The fingerprint depends on the content of the file, but neither on its name nor on its modification time."""
    cls, path = load("tasks", name), write(name)
    before = make_plugin(cls, {"path": path}).fingerprint()
    assert make_plugin(cls, {"path": write(name, file="other")}).fingerprint() == before
    check_fingerprint(
        lambda: make_plugin(cls, {"path": path}),
        same=lambda: os.utime(path, (0, 0)),
        change=lambda: path.write_bytes(path.read_bytes() + b"\n"),
    )
