import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kib_wikipedia.pin_command import main

SPEC = """
schema = 1
name = "wiki"

[models.none]
plugin = "lm-eval"
backend = "dummy"

[corpora.anatomy]
plugin = "wikipedia"
pins = "anatomy.pins"
pages = ["Anatomy"]
link_depth = 1
api = "{address}"
contact = "me@example.org"
pause = 0

[retrievers.gold]
plugin = "oracle"

[tasks.quiz]
plugin = "file"
path = "quiz.jsonl"
corpus = "anatomy"

[methods.base]

[methods.gold]
retrieve = "gold"
"""


@pytest.fixture
def spec(anatomy: Any, tmp_path: Path) -> Path:
    """Write a benchmark file with a corpus of pinned pages."""
    path = tmp_path / "wiki.toml"
    path.write_text(SPEC.replace("{address}", anatomy.address), encoding="utf-8")
    question = {"id": "q", "question": "What is soft?", "options": ["muscle", "bone"], "answer": "A"}
    gold = {"document": "Muscles"}
    (tmp_path / "quiz.jsonl").write_text(json.dumps({**question, **gold}) + "\n", encoding="utf-8")
    return path


def pin(*arguments: str | Path) -> Result:
    """Run `kib-wikipedia pin`."""
    return CliRunner().invoke(main, ["pin", *map(str, arguments)])


def test_pin(spec: Path) -> None:
    """The command `kib-wikipedia pin` writes the pin files and prints the number of pages and redirects."""
    run = pin(spec)
    pins = spec.with_name("anatomy.pins")
    counts = "4 pages and 1 redirect of Testwiki"
    assert (run.exit_code, run.output) == (0, f"anatomy: {counts} in {pins}; linked pages that do not exist: 1\n")


def test_pin_again(spec: Path) -> None:
    """An existing pin file is replaced only with the option `--again`."""
    assert pin(spec).exit_code == 0
    run = pin(spec, "anatomy")
    assert run.exit_code == 2
    assert run.output.startswith(f"Error: {spec.with_name('anatomy.pins')}: the pin file already exists; ")
    assert pin("--again", spec, "anatomy").exit_code == 0


def test_unknown_corpus(spec: Path) -> None:
    """An unknown corpus name raises an error that lists the corpora with the option `pins`."""
    run = pin(spec, "other")
    assert (run.exit_code, "no corpus named 'other' sets `pins`; corpora that set `pins`: anatomy" in run.output) == (
        2,
        True,
    )


def test_spec_without_pins(tmp_path: Path) -> None:
    """The command `kib-wikipedia pin` raises an error if no corpus in the benchmark file sets `pins`."""
    corpus = f'plugin = "wikipedia"\ndump = "{tmp_path / "dump.xml"}"\n'
    (tmp_path / "part.toml").write_text(f'schema = 1\nname = "part"\n\n[corpora.dump]\n{corpus}', encoding="utf-8")
    run = pin(tmp_path / "part.toml")
    assert (run.exit_code, "no corpus with the plugin `wikipedia` sets `pins`" in run.output) == (2, True)


def test_spec_with_only_a_corpus(anatomy: Any, tmp_path: Path) -> None:
    """The command `kib-wikipedia pin` accepts a benchmark file without models, tasks or methods."""
    corpus = SPEC[SPEC.index("[corpora.anatomy]") : SPEC.index("[tasks.quiz]")].replace("{address}", anatomy.address)
    path = tmp_path / "part.toml"
    path.write_text(f'schema = 1\nname = "part"\n\n{corpus}', encoding="utf-8")
    run = pin(path)
    assert run.exit_code == 0, run.output
    assert (tmp_path / "anatomy.pins").is_file()


@pytest.fixture
def kib(spec: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a `kib` command and returns the command's exit code and output."""
    from kib.cli import main

    folders = ("--work", str(spec.with_name("work")))
    results = ("--results", str(spec.with_name("results")))

    def call(command: str, argument: str) -> tuple[int, str]:
        options = folders if command == "check" else (*folders, *results)
        with pytest.raises(SystemExit) as stop:
            main([command, argument, *options], prog_name="kib")
        output = capsys.readouterr()
        return int(stop.value.code or 0), output.out + output.err

    return call


def test_check_without_pins(anatomy: Any, spec: Path, kib: Callable[..., tuple[int, str]]) -> None:
    """A missing pin file raises an error before any request is sent to the wiki."""
    code, output = kib("check", str(spec))
    assert (code, "anatomy.pins: no such pin file; create the file with `kib-wikipedia pin" in output) == (2, True)
    assert anatomy.requests == []


def test_benchmark(spec: Path, kib: Callable[..., tuple[int, str]]) -> None:
    """A run fetches the pinned pages, accepts a redirect as a gold document, and records the corpus's size and date."""
    assert pin(spec).exit_code == 0
    code, output = kib("run", str(spec))
    assert code == 0, output
    [path] = spec.parent.glob("results/**/gold/**/cell.json")
    record = json.loads(path.read_text(encoding="utf-8"))["corpus"]
    assert (record["documents"], record["passages"], record["licences"]) == (4, 4, ["CC BY-SA"])
    assert record["notes"].items() >= {"date": "2024-05-01", "redirects": 1, "redirects_resolved": 1}.items()
    code, output = kib("show", "none/gold/quiz,0-shot")
    assert (code, "https://test.example/wiki/" in output) == (0, True)
