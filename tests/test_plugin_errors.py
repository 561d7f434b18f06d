"""Errors in plugins and templates name their source, and a failed shared step is not repeated."""

import re

import pytest

from kib.progress import StepProgress
from kib.records import Hit
from kib.store.paid_answers import PaidAnswers, paid_answers_path, verdicts_path

TRAINED = """
[writers.reword]
plugin = "toy"

[trainers.par]
plugin = "toy"
text = { writer = "reword", count = 2, originals = false }

[methods.ft]
train = "par"
"""


@pytest.mark.parametrize(
    ("plugin", "method", "returned", "message"),
    [
        (
            "ToyRetriever",
            "search",
            None,
            "retrievers.words (toy, kib-toys 1.0), search: returned NoneType; expected list",
        ),
        ("ToyRetriever", "search", [["ada#0"]] * 18, "search: returned a list with str; expected Hit"),
        ("ToyRetriever", "search", [None] * 18, "search: returned NoneType; expected a list of Hit"),
        (
            "ToyRetriever",
            "search",
            [[Hit("ada#0", float("nan"))]] * 18,
            "the score nan of a hit is not a finite number",
        ),
        ("ToyWriter", "write", ["text"], "writers.reword (toy, kib-toys 1.0), write: returned str; expected Text"),
        ("ToyWriter", "write", None, "write: returned NoneType; expected an iterable of Text"),
        ("ToyTrainer", "train", None, "trainers.par (toy, kib-toys 1.0), train: returned NoneType; expected Trained"),
        (
            "ToyCorpus",
            "documents",
            ["text"],
            "corpora.people (toy, kib-toys 1.0), documents: returned str; expected Doc",
        ),
    ],
)
def test_a_plugin_that_returns_a_wrong_type_is_named(bench, monkeypatch, plugin, method, returned, message):
    """The error for a wrong return type names the table, plugin, distribution, method, and both types."""
    import kib_toys

    monkeypatch.setattr(getattr(kib_toys, plugin), method, lambda *_: returned)
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    errors = {failure.error for failure in bench.run().values()}
    assert [error for error in errors if message in error]
    assert not [error for error in errors if "traceback" in error]
    assert bench.results.has(bench.cells()["m/base/people,0-shot"])


@pytest.mark.parametrize(
    ("plugin", "method", "command", "step"),
    [
        ("ToyWriter", "write", "run", "writing text"),
        ("ToyJudge", "judge", "run", "judging"),
        ("ToyWriter", "questions", "questions --corpus people --out q.jsonl", "writing questions"),
    ],
)
def test_an_interruption_lets_plugins_store_what_they_paid_for(bench, monkeypatch, plugin, method, command, step):
    """If Ctrl-C arrives between two results, kib closes the generator while the plugin can still store answers."""
    import kib_toys

    whole = getattr(getattr(kib_toys, plugin), method)

    def late(*arguments):
        try:
            yield from whole(*arguments)
        finally:
            arguments[-1]["in flight"] = "an answer"

    def interrupt(advance, _):
        if advance.title.startswith(step):
            raise KeyboardInterrupt

    monkeypatch.setattr(getattr(kib_toys, plugin), method, late)
    monkeypatch.setattr(StepProgress, "__call__", interrupt)
    judged = 'scoring = "judge"\njudge = "rule"\nmax_tokens = 12\n' if method == "judge" else ""
    bench.write_toy(model="trainable = true\n", task=judged, more=f'{TRAINED}[judges.rule]\nplugin = "toy"\n')
    assert bench.call(*command.split(), bench.spec).exit_code == 130
    path = verdicts_path if method == "judge" else paid_answers_path
    with PaidAnswers.open(path(bench.work.folder, "toy")) as kept:
        assert kept["in flight"] == "an answer"


def test_an_index_that_fails_is_built_once(bench, monkeypatch):
    """After an unexpected error in a shared index, all dependent cells fail without a second attempt."""
    from kib_toys import ToyRetriever

    builds = []

    def build(*_):
        builds.append(1)
        raise RuntimeError("no memory")

    monkeypatch.setattr(ToyRetriever, "build", build)
    bench.write_toy(more='\n[methods.again]\nretrieve = "words"\ntop_k = [2]\n')
    failures = bench.run()
    assert len(builds) == 1
    assert len(failures) == 3
    [error] = {failure.error for failure in failures.values()}
    assert error.startswith(
        "retrievers.words (toy, kib-toys 1.0), build: RuntimeError: no memory (the traceback is in errors/"
    )
    [traceback] = (bench.folder / "work" / "errors").glob("*.txt")
    assert "builds.append(1)" not in error
    assert 'raise RuntimeError("no memory")' in traceback.read_text(encoding="utf-8")


def test_a_failing_writer_of_questions_is_named(bench, monkeypatch):
    """A bug in a question writer ends `kib questions` with its traceback, the name of the plugin and exit code 2."""
    from kib_toys import ToyWriter

    def fail(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr(ToyWriter, "questions", fail)
    bench.write_toy(more='\n[writers.more]\nplugin = "toy"\n')
    result = bench.call("questions", bench.spec, "--corpus", "people", "--out", "q.jsonl", "-q")
    assert result.exit_code == 2
    assert 'raise RuntimeError("no memory")' in result.output
    last = result.output.strip().splitlines()[-1]
    assert last == "Error: writers.more (toy, kib-toys 1.0), questions: RuntimeError: no memory"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("p.txt", "'kib.records.Passage object' has no attribute 'txt'"),
        ("p.text + 1", "TypeError: can only concatenate"),
    ],
)
def test_a_mistake_in_the_template_is_reported_as_one(bench, expression, reason):
    """A template error on a passage is reported with its position in the file, not as an exceeded token budget."""
    template = f"{{% for p in passages %}}\\n{{{{ {expression} }}}}{{% endfor %}}"
    bench.write_toy(more=f'\n[prompt]\ntemplate = "{template}"\n')
    failures = bench.run()
    assert len(failures) == 4
    [error] = {failure.error for failure in failures.values()}
    assert re.search(r"bench\.toml:\d+: prompt\.template: line 2 of the template: ", error)
    assert reason in error
    assert "fit" not in error
