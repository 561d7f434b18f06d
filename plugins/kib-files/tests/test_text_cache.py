"""The cache of converted files in the work folder."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.errors import InputError
from kib.testing import make_plugin
from kib_files.corpus import Files

TOO_SHORT = 0.0001
"""A time limit that every conversion exceeds, in seconds; only remembered files can be read with this limit."""


def texts(folder: Path, memory: Path | None, **options: Any) -> list[str]:
    """Return the texts of a folder's documents, read with the given cache."""
    return [document.text for document in make_plugin(Files, {"path": folder, **options}).documents(memory)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create a folder with two pages whose texts are remembered in the folder `memory`."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a.html").write_text("<p>The red lever.", encoding="utf-8")
    (folder / "b.md").write_text("The green lever.", encoding="utf-8")
    assert texts(folder, tmp_path / "memory") == ["The red lever.", "The green lever."]
    return folder


def test_files_are_converted_once(folder: Path) -> None:
    """A file with remembered text is not converted again, even under a new name, but a changed file is."""
    memory = folder.parent / "memory"
    (folder / "b.md").rename(folder / "c.md")
    assert texts(folder, memory, max_seconds=TOO_SHORT) == ["The red lever.", "The green lever."]
    (folder / "a.html").write_text("<p>The blue lever.", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.html: the file takes longer than 0\.0001 seconds"):
        texts(folder, memory, max_seconds=TOO_SHORT)
    assert texts(folder, memory) == ["The blue lever.", "The green lever."]


@pytest.mark.parametrize("options", [{"encoding": "cp1252"}, {"over_limit": "skip"}])
def test_options_that_change_the_text(folder: Path, options: dict[str, str]) -> None:
    """Text is not reused if an option could change the text or the choice of documents."""
    with pytest.raises(InputError):
        texts(folder, folder.parent / "memory", max_seconds=TOO_SHORT, **options)


def test_damaged_text(folder: Path) -> None:
    """Damaged text is not used: the file is converted again, and the new text is remembered."""
    memory = folder.parent / "memory"
    with sqlite3.connect(memory / "texts.sqlite") as connection:
        connection.execute("UPDATE texts SET value = replace(value, 'red', 'rot')")
    with pytest.raises(InputError, match="takes longer"):
        texts(folder, memory, max_seconds=TOO_SHORT)
    for options in ({}, {"max_seconds": TOO_SHORT}):
        assert texts(folder, memory, **options) == ["The red lever.", "The green lever."]


def test_damaged_cache(folder: Path) -> None:
    """A damaged cache file is set aside, and the files are converted again."""
    memory = folder.parent / "memory"
    for path in memory.iterdir():
        path.write_bytes(b"no database" * 1000)
    assert texts(folder, memory) == ["The red lever.", "The green lever."]


def test_broken_file(folder: Path) -> None:
    """The reason why a file is broken is not remembered, so that a newer library can convert the file."""
    memory = folder.parent / "memory"
    (folder / "c.docx").write_bytes(b"PK nonsense")
    assert len(texts(folder, memory, broken="skip")) == 2
    with sqlite3.connect(memory / "texts.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM texts").fetchone() == (2,)


def test_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kib check` shows the number of files as progress, and a second check does not convert unchanged files."""
    monkeypatch.chdir(folder.parent)
    spec = 'schema = 1\nname = "notes"\n[corpora.notes]\nplugin = "files"\npath = "pages"\n'
    first = spec + "chunk = { sentences = 1 }\n"
    second = f"{spec}max_seconds = {TOO_SHORT}\nchunk = {{ sentences = 2 }}\n"
    for text in (first, second):
        Path("notes.toml").write_text(text, encoding="utf-8")
        result = CliRunner().invoke(main, ["check", "notes.toml"])
        assert result.exit_code == 0, result.output
        assert "corpus notes: 2 documents, 2 passages" in result.output
        assert "reading corpus notes: 2" in result.output
