import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Document
from kib.testing import make_plugin
from kib_files.corpus import Files
from kib_files.file_records import BLANK_PAGES

NOBODY = 65534


def read(folder: Path, **options: Any) -> list[Document]:
    """Return the documents that the corpus reads from a folder."""
    return list(make_plugin(Files, {"path": folder, **options}).documents())


def read_ids(plugin: Files) -> list[str]:
    """Return the ids of a plugin's documents."""
    return [document.id for document in plugin.documents()]


def write(path: Path, content: str | bytes = "Some text.") -> Path:
    """Write a file and create its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_document(tmp_path: Path) -> None:
    """A document's id is the file's path with ordinary spaces, and its default title is the file name."""
    write(tmp_path / "a" / "at\u00a09.41\u202fAM.txt", "The red lever.")
    expected = Document("a/at 9.41 AM.txt", "at 9.41 AM", "The red lever.", "the boiler room", "CC0-1.0")
    assert read(tmp_path, source="the boiler room", licence="CC0-1.0") == [expected]


def test_title(tmp_path: Path, files: SimpleNamespace) -> None:
    """A document's title is read from the file's content or, if `title = "name"`, is the file name."""
    files.write_pdf(tmp_path / "valves.pdf", ["Text"], "Microsoft Word - Dokument1")
    assert [document.title for document in read(tmp_path)] == ["Microsoft Word - Dokument1"]
    assert [document.title for document in read(tmp_path, title="name")] == ["valves"]


def test_unsupported_types(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files of unsupported types raise an error or, with `others = "skip"`, are omitted with a warning."""
    for name in ("a.txt", *(f"{number}.xlsx" for number in range(7)), "none"):
        write(tmp_path / name)
    plugin = make_plugin(Files, {"path": tmp_path})
    for method in (plugin.fingerprint, lambda: read_ids(plugin)):
        with pytest.raises(
            InputError, match=r": found 8 files of an unsupported type: 0\.xlsx, .*4\.xlsx and 3 more; supported"
        ):
            method()
    plugin = make_plugin(Files, {"path": tmp_path, "others": "skip", "date": "2024"})
    with caplog.at_level(logging.WARNING):
        assert read_ids(plugin) == ["a.txt"]
    assert "left out 8 files of an unsupported type: 0.xlsx, 1.xlsx" in caplog.text
    assert (plugin.notes()["others"], plugin.notes()["date"]) == (8, "2024")


@pytest.mark.parametrize("content", ["", " \n\t\n", b"\xef\xbb\xbf"])
def test_empty(tmp_path: Path, content: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A file without text raises an error or, with `empty = "skip"`, is omitted with a warning and counted."""
    write(tmp_path / "a.txt")
    write(tmp_path / "b.md", content)
    fix = re.escape('to leave out the file, set `empty = "skip"` or add the file to `exclude`')
    with pytest.raises(InputError, match=rf"b\.md: the file contains no text; {fix}"):
        read(tmp_path)
    plugin = make_plugin(Files, {"path": tmp_path, "empty": "skip"})
    with caplog.at_level(logging.WARNING):
        assert read_ids(plugin) == ["a.txt"]
    assert caplog.messages == [f"{tmp_path}: left out 1 file without text: b.md"]
    assert plugin.notes()["empty"] == 1


def test_scanned_pdfs(tmp_path: Path, files: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    """All PDFs without text are listed, with a hint at OCR, in one error or, with `empty = "skip"`, in a remark."""
    for name in ("a.pdf", "b.pdf"):
        files.write_pdf(tmp_path / name, ["", ""])
    write(tmp_path / "c.txt")
    hint = "if the pages are scans, run OCR first, for example with OCRmyPDF"
    listed = "2 files without text on any page: a.pdf (2 pages), b.pdf (2 pages)"
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: {listed}; {hint}; to leave out such files, set ")):
        read(tmp_path)
    plugin = make_plugin(Files, {"path": tmp_path, "empty": "skip"})
    with caplog.at_level(logging.WARNING):
        assert read_ids(plugin) == ["c.txt"]
    assert caplog.messages == [f"{tmp_path}: left out {listed.replace(': ', f' ({hint}): ', 1)}"]
    assert plugin.notes()["empty"] == 2
    assert plugin.notes()["remarks"] == [f"left out {listed}; {hint}"]


def test_blank_pages(tmp_path: Path, files: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    """A PDF with some blank pages is named in a warning and in a remark of the corpus record."""
    files.write_pdf(tmp_path / "a.pdf", ["", "One line.", ""])
    plugin = make_plugin(Files, {"path": tmp_path})
    with caplog.at_level(logging.WARNING):
        assert read_ids(plugin) == ["a.pdf"]
    assert caplog.messages == [f"{tmp_path}: 1 file with {BLANK_PAGES}: a.pdf (pages 1, 3 of 3)"]
    assert plugin.notes()["with_blank_pages"] == 1
    assert plugin.notes()["remarks"] == [f"1 file with {BLANK_PAGES}: a.pdf (pages 1, 3 of 3)"]


def test_broken_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be converted raises an error or, with `broken = "skip"`, is omitted and counted."""
    write(tmp_path / "sub" / "a.pdf", b"%PDF-1.4 nonsense")
    write(tmp_path / "z.txt")
    with pytest.raises(
        InputError, match=r"a\.pdf: the file is damaged or is not a PDF .*; to leave out the file, set `broken ="
    ):
        read(tmp_path)
    plugin = make_plugin(Files, {"path": tmp_path, "broken": "skip"})
    with caplog.at_level(logging.WARNING):
        assert read_ids(plugin) == ["z.txt"]
    assert "left out 1 file that cannot be read: sub/a.pdf (the file is damaged or is not a PDF (" in caplog.text
    assert plugin.notes()["broken"] == 1


def test_dangling_link(tmp_path: Path) -> None:
    """A dangling link raises an error or, with `broken = "skip"`, is omitted, counted and part of the fingerprint."""
    write(tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to("missing.txt")
    plugin = make_plugin(Files, {"path": tmp_path})
    for method in (plugin.fingerprint, lambda: read_ids(plugin)):
        with pytest.raises(InputError, match=r"b\.txt: cannot be read: No such file or directory; to leave"):
            method()
    plugin = make_plugin(Files, {"path": tmp_path, "broken": "skip"})
    before = plugin.fingerprint()
    assert read_ids(plugin) == ["a.txt"]
    assert plugin.notes()["broken"] == 1
    write(tmp_path / "missing.txt")
    assert plugin.fingerprint() != before


@pytest.fixture
def closed_file() -> Iterator[Path]:
    """Create a folder with an unreadable file; a test that runs as root temporarily changes to a different user."""
    user = os.geteuid()
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write(folder / "a.txt")
        write(folder / "b.txt").chmod(0)
        try:
            if user == 0:
                os.seteuid(NOBODY)
            if not folder.is_dir():
                pytest.skip("only this user can open the folder for temporary files")
            yield folder
        finally:
            os.seteuid(user)


def test_file_without_read_permission(closed_file: Path) -> None:
    """A file without read permission raises an error or, with `broken = "skip"`, is omitted and counted."""
    plugin = make_plugin(Files, {"path": closed_file})
    for method in (plugin.fingerprint, lambda: read_ids(plugin)):
        with pytest.raises(InputError, match=r"b\.txt: cannot be read: Permission denied; to leave"):
            method()
    plugin = make_plugin(Files, {"path": closed_file, "broken": "skip"})
    assert plugin.fingerprint()
    assert read_ids(plugin) == ["a.txt"]
    assert plugin.notes()["broken"] == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "no such folder"),
        ("a.txt", "this is a file; expected a folder"),
        ("empty", "the folder contains no documents; expected"),
    ],
)
def test_no_folder(tmp_path: Path, name: str, message: str) -> None:
    """A path to a missing folder, to a file or to an empty folder raises an error."""
    write(tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    plugin = make_plugin(Files, {"path": tmp_path / name})
    for method in (plugin.fingerprint, lambda: read_ids(plugin)):
        with pytest.raises(InputError, match=rf"{name}: {message}"):
            method()


def test_all_files_omitted(tmp_path: Path) -> None:
    """A folder without any usable file raises an error that states the number of omitted files for each reason."""
    write(tmp_path / "a.txt", "")
    write(tmp_path / "b.txt", b"\xff")
    with pytest.raises(
        InputError,
        match=r"the folder contains no documents; left out: 1 file without text, 1 file that cannot be read$",
    ):
        read(tmp_path, empty="skip", broken="skip")


SPEC = """
schema = 1
name = "notes"

[models.none]
plugin = "lm-eval"
backend = "dummy"

[corpora.notes]
plugin = "files"
path = "notes"
others = "skip"
empty = "skip"
over_limit = "skip"
max_nesting = 8
licence = "CC0-1.0"
date = "2024-05-01"
chunk = { sentences = 1 }

[retrievers.gold]
plugin = "oracle"

[tasks.quiz]
plugin = "file"
path = "quiz.jsonl"
corpus = "notes"

[methods.base]

[methods.gold]
retrieve = "gold"
"""


@pytest.mark.slow
def test_benchmark(tmp_path: Path) -> None:
    """A run logs a warning about omitted files, and records the number of omitted files in the results."""
    write(tmp_path / "notes" / "deep" / "pump.md", "# Pump\n\nThe red lever. The green lever.")
    write(tmp_path / "notes" / "empty.txt", "")
    write(tmp_path / "notes" / "picture.png", b"\x89PNG")
    write(tmp_path / "notes" / "deep.html", "<div>" * 9 + "x")
    write(tmp_path / "notes.toml", SPEC)
    question = {"id": "q", "question": "Which?", "options": ["red", "green"], "answer": "A", "document": "deep/pump.md"}
    write(tmp_path / "quiz.jsonl", json.dumps(question))
    kib = str(Path(sys.executable).with_name("kib"))
    run = subprocess.run([kib, "run", "notes.toml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "left out 1 file of an unsupported type: picture.png" in run.stderr
    assert "left out 1 file without text: empty.txt" in run.stderr
    skipped = "deep.html (the file nests more elements than `max_nesting = 8`)"
    assert f"left out 1 file beyond a limit: {skipped}" in run.stderr
    for command in (["check", "notes.toml"], ["show", "none/gold"]):
        shown = subprocess.run([kib, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert f"corpus notes: left out 1 document: {skipped}" in shown.stdout, shown.stdout + shown.stderr
    assert (tmp_path / "work" / "remembered" / "files" / "texts.sqlite").is_file()
    [path] = tmp_path.glob("results/**/gold/**/cell.json")
    record = json.loads(path.read_text(encoding="utf-8"))["corpus"]
    assert (record["documents"], record["licences"]) == (1, ["CC0-1.0"])
    assert (
        record["notes"].items() >= {"date": "2024-05-01", "files": 1, "others": 1, "empty": 1, "over_limit": 1}.items()
    )
    assert record["notes"]["skipped"] == [skipped]
