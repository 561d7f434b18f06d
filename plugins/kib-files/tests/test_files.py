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
from zipfile import ZipFile

import pytest

from kib.errors import InputError
from kib.records import Document
from kib.testing import make_plugin
from kib_files.convert import _whole
from kib_files.corpus import Files


def read(place: Path, **options: Any) -> list[Document]:
    return list(make_plugin(Files, {"path": place, **options}).documents())


def only(place: Path, **options: Any) -> Document:
    [document] = read(place, **options)
    return document


def write(path: Path, content: str | bytes = "Some text.") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_ids_and_order(tmp_path: Path) -> None:
    """Ids are the files' places in the folder, in one order, whatever order the file system has."""
    for name in ("b.txt", "a/z.txt", "a.txt", "a/b/c.md", "B.TXT", "ä.txt"):
        write(tmp_path / name)
    assert [document.id for document in read(tmp_path)] == ["B.TXT", "a.txt", "a/b/c.md", "a/z.txt", "b.txt", "ä.txt"]


def test_text(tmp_path: Path) -> None:
    """Plain text stays, the file's name is its title; line ends are of one kind, a byte order mark is no text."""
    write(tmp_path / "pump 7.txt", b"\xef\xbb\xbfThe red lever.\r\nBeside the d\xc3\xb6\xc3\xb6r.\r")
    document = only(tmp_path, source="the boiler room", licence="CC0-1.0")
    text = "The red lever.\nBeside the döör.\n"
    assert document == Document("pump 7.txt", "pump 7", text, "the boiler room", "CC0-1.0")


def test_markdown(tmp_path: Path) -> None:
    """Markdown keeps its text; its first top heading is the title."""
    write(tmp_path / "a.md", "Intro\n\n## Not this\n\n# The *pump* #\n\n- red\n")
    assert (only(tmp_path).title, only(tmp_path).text[:5]) == ("The *pump*", "Intro")


def test_html(tmp_path: Path) -> None:
    """Of HTML stays what a browser shows: no tag, script, style or comment, entities as their signs."""
    write(
        tmp_path / "a.html",
        "<!doctype html><html><head><title> Pump \n 7 </title><style>p {color: red}</style></head><body>"
        "<script>var x = '<p>no</p>';</script><!-- no --><h1>The pump</h1><p>A &amp; B &lt; C <b>bold</b></p>"
        "<table><tr><td>one</td><td>two</td></tr></table><ul><li>first<li>second</ul></body></html>",
    )
    document = only(tmp_path)
    assert document.title == "Pump 7"
    assert [line.split() for line in document.text.splitlines() if line.strip()] == [
        ["The", "pump"],
        ["A", "&", "B", "<", "C", "bold"],
        ["one", "two"],
        ["*", "first"],
        ["*", "second"],
    ]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'\xef\xbb\xbf<meta charset="iso-8859-1"><p>gr\xc3\xb6\xc3\x9fe', "größe"),
        ('\ufeff<meta charset="utf-8"><p>größe'.encode("utf-16-le"), "größe"),
        (b'<meta charset="iso-8859-1"><p>\x93quotes\x94 it\x92s', "“quotes” it’s"),
        (b'<?xml version="1.0" encoding="iso-8859-1"?><html><body><p>gr\xf6\xdfe</p></body></html>', "größe"),
    ],
)
def test_html_is_read_as_browsers_read_it(tmp_path: Path, data: bytes, text: str) -> None:
    """A byte order mark decides, Latin-1 means windows-1252, and XHTML may say its encoding as XML does."""
    write(tmp_path / "a.html", data)
    assert [document.text for document in read(tmp_path)] == [text]


def test_html_encoding(tmp_path: Path) -> None:
    """HTML is read in the encoding that it says; one that there is not is an error."""
    write(tmp_path / "a.htm", '<?xml version="1.0"?><meta charset="cp1252"><p>Br\u00fccke'.encode("cp1252"))
    assert only(tmp_path).text == "Brücke"
    write(tmp_path / "a.htm", '<meta charset="klingon"><p>x')
    with pytest.raises(InputError, match=r"a\.htm: says that its encoding is 'klingon', which there is not"):
        read(tmp_path)


def test_word(tmp_path: Path, make: SimpleNamespace) -> None:
    """Of a Word document stay paragraphs and tables, and its own title."""
    make.docx(tmp_path / "a.docx", ["The relief valve", "opens &amp; closes."], "Valves", [["bar", "11"]])
    document = only(tmp_path)
    assert document.title == "Valves"
    assert [line.split() for line in document.text.splitlines() if line.strip()] == [
        ["The", "relief", "valve"],
        ["opens", "&", "closes."],
        ["bar", "11"],
    ]


def test_pdf(tmp_path: Path, make: SimpleNamespace) -> None:
    """Of a PDF stay its pages' texts, a blank line between them, and its own title."""
    make.pdf(tmp_path / "a.pdf", ["The relief valve", "opens at eleven bar."], "Valves")
    assert only(tmp_path) == Document("a.pdf", "Valves", "The relief valve\n\nopens at eleven bar.")


def test_ligatures() -> None:
    """Ligatures of typesetting become letters, and pairs of surrogates the character that they stand for."""
    assert _whole("di\ufb00erent, e\ufb03cient \ud83d\udea7\0\ud83d.") == "different, efficient 🚧\ufffd."


def test_titles_by_name(tmp_path: Path, make: SimpleNamespace) -> None:
    """With `title = "name"` all titles are the files' names, for folders whose documents' own are rubbish."""
    make.pdf(tmp_path / "valves.pdf", ["Text"], "Microsoft Word - Dokument1")
    assert only(tmp_path, title="name").title == "valves"


def test_include_exclude(tmp_path: Path) -> None:
    """A file is a document where it matches a pattern of `include` and none of `exclude`; `*` spans folders."""
    for name in ("a.md", "a.txt", "drafts/b.md", "manuals/c.md", "manuals/old/d.md"):
        write(tmp_path / name)
    found = read(tmp_path, include=["*.md"], exclude=["drafts/*", "*/old/*"])
    assert [document.id for document in found] == ["a.md", "manuals/c.md"]
    with pytest.raises(InputError, match=r"include: no file matches '\*\.rst', 'docs/\*'"):
        read(tmp_path, include=["*.rst", "docs/*", "*.md"])


def test_other_kinds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files of kinds that are not read are an error that names and counts them, or are left out with a warning."""
    for name in ("a.txt", *(f"{number}.xlsx" for number in range(7)), "none"):
        write(tmp_path / name)
    for method in ("fingerprint", "documents"):
        with pytest.raises(InputError, match=r"8 of a kind that is not read: 0\.xlsx, .*4\.xlsx and 3 more\. Read are"):
            list(getattr(make_plugin(Files, {"path": tmp_path}), method)())
    plugin = make_plugin(Files, {"path": tmp_path, "others": "skip", "date": "2024"})
    with caplog.at_level(logging.WARNING):
        assert [document.id for document in plugin.documents()] == ["a.txt"]
    assert "8 files of other kinds left out: 0.xlsx, 1.xlsx" in caplog.text
    assert plugin.notes()["others"] == 8
    assert plugin.notes()["date"] == "2024"


def test_hidden(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Hidden files and folders, and what Word leaves beside an open document, are no part of the folder."""
    for name in ("a.txt", ".git/config", ".notes.txt", "sub/.DS_Store", "~$a.docx"):
        write(tmp_path / name)
    plugin = make_plugin(Files, {"path": tmp_path})
    assert [document.id for document in plugin.documents()] == ["a.txt"]
    assert plugin.notes()["hidden"] == 4


def test_links(tmp_path: Path) -> None:
    """A link inside the folder is a file like others, a circle no trap, and a link that leaves it an error."""
    folder = tmp_path / "in"
    write(folder / "sub" / "a.txt")
    (folder / "b.txt").symlink_to("sub/a.txt")
    (folder / "sub" / "up").symlink_to("..")
    assert [document.id for document in read(folder)] == ["b.txt", "sub/a.txt"]
    (folder / "c.txt").symlink_to(write(tmp_path / "secret.txt"))
    with pytest.raises(InputError, match=r"c\.txt: a link that leaves the folder"):
        read(folder)
    assert len(read(folder, exclude=["c.txt"])) == 2


def test_link_to_outer_folder(tmp_path: Path) -> None:
    """A link to a folder outside is an error, not a way out."""
    write(tmp_path / "out" / "secret.txt")
    write(tmp_path / "in" / "a.txt")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "out")
    with pytest.raises(InputError, match="more: a link that leaves the folder"):
        read(tmp_path / "in")


def test_link_to_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A link to nothing or to itself is an error that names it, or is left out, counted and named."""
    write(tmp_path / "a.txt")
    (tmp_path / "b.txt").symlink_to("gone.txt")
    (tmp_path / "c.txt").symlink_to("c.txt")
    message = r"b\.txt: cannot be read: No such file or directory; `broken = \"skip\"` or `exclude` leaves it out"
    plugin = make_plugin(Files, {"path": tmp_path})
    for method in (plugin.fingerprint, lambda: list(plugin.documents())):
        with pytest.raises(InputError, match=message):
            method()
    plugin = make_plugin(Files, {"path": tmp_path, "broken": "skip"})
    before = plugin.fingerprint()
    with caplog.at_level(logging.WARNING):
        assert [document.id for document in plugin.documents()] == ["a.txt"]
    assert "left out: b.txt (cannot be read: No such file or directory), c.txt (cannot be read: Too many" in caplog.text
    assert plugin.notes()["broken"] == 2
    write(tmp_path / "gone.txt")
    assert plugin.fingerprint() != before


def test_pipe(tmp_path: Path) -> None:
    """A named pipe is an error at once, not a wait for ever."""
    write(tmp_path / "a.txt")
    os.mkfifo(tmp_path / "b.txt")
    with pytest.raises(InputError, match=r"b\.txt: neither a file nor a folder"):
        read(tmp_path)


def test_name_that_is_no_text(tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is an error that shows it."""
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.txt")).write_text("x", encoding="utf-8")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    write(tmp_path / "a.txt")
    message = r"the name 'b\\udcff\.txt' cannot be printed or is not UTF-8; rename .* by `exclude`"
    with pytest.raises(InputError, match=message):
        read(tmp_path, broken="skip")
    assert only(tmp_path, exclude=["b?.txt"]).id == "a.txt"


def test_spaces_in_names(tmp_path: Path) -> None:
    """Every kind of space in a name is the one on keyboards in ids, titles and patterns; two equal ids are an error."""
    write(tmp_path / "a" / "at\u00a09.41\u202fAM.txt")
    found = only(tmp_path, include=["a/at 9.41 AM.txt"])
    assert (found.id, found.title) == ("a/at 9.41 AM.txt", "at 9.41 AM")
    assert only(tmp_path, include=["*\u202fAM.txt"]) == found
    write(tmp_path / "a" / "at 9.41 AM.txt")
    message = r"the names 'a/at 9\.41 AM\.txt' and 'a/at\\xa09\.41\\u202fAM\.txt' differ by the kind of their spaces"
    with pytest.raises(InputError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("content", ["", " \n\t\n", b"\xef\xbb\xbf"])
def test_empty(tmp_path: Path, content: str | bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A file without text is an error that names it, or is left out, counted and named."""
    write(tmp_path / "a.txt")
    write(tmp_path / "b.md", content)
    with pytest.raises(InputError, match=r"b\.md: no text in it; `empty = \"skip\"` or `exclude` leaves it out"):
        read(tmp_path)
    plugin = make_plugin(Files, {"path": tmp_path, "empty": "skip"})
    with caplog.at_level(logging.WARNING):
        assert [document.id for document in plugin.documents()] == ["a.txt"]
    assert caplog.messages == [f"{tmp_path}: 1 without text left out: b.md"]
    assert plugin.notes()["empty"] == 1


@pytest.mark.parametrize("content", ["", "<!-- nothing -->", "<html><head><title>T</title></head><body></body></html>"])
def test_empty_html(tmp_path: Path, content: str) -> None:
    """HTML that shows nothing is a document without text."""
    write(tmp_path / "a.html", content)
    with pytest.raises(InputError, match=r"a\.html: no text in it"):
        read(tmp_path)


def test_scan(tmp_path: Path, make: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    """A PDF of pictures is an error that says why; single pages without text are counted and named."""
    make.pdf(tmp_path / "a.pdf", ["", ""])
    with pytest.raises(InputError, match=r"a\.pdf: no text on its 2 pages; a scan becomes text by OCR"):
        read(tmp_path)
    make.pdf(tmp_path / "a.pdf", ["", "One line.", ""])
    with caplog.at_level(logging.WARNING):
        assert only(tmp_path).text == "One line."
    assert caplog.messages == [f"{tmp_path}: 1 with pages without text: a.pdf (2 of 3)"]


def test_password(tmp_path: Path, make: SimpleNamespace) -> None:
    """A PDF that only its owner may change is read; one with a password to open it is an error that says so."""
    make.pdf(tmp_path / "a.pdf", ["The relief valve"])
    make.locked(tmp_path / "a.pdf", tmp_path / "b.pdf", "")
    assert [document.text for document in read(tmp_path)] == ["The relief valve", "The relief valve"]
    make.locked(tmp_path / "a.pdf", tmp_path / "b.pdf", "secret")
    with pytest.raises(InputError, match=r"b\.pdf: has a password; save it without one; `broken = \"skip\"`"):
        read(tmp_path)


BROKEN = {
    "a.txt": (b"na\xefve", r"not UTF-8: .* at byte 2; save it so, or name its encoding by `encoding`"),
    "a.md": (b"# T\n\xff", r"not UTF-8: invalid start byte at byte 4"),
    "a.html": (b"<p>na\xefve</p>", r"not UTF-8: .* at byte 5"),
    "a.pdf": (b"%PDF-1.4 nonsense", r"damaged, or no PDF \("),
    "b.pdf": (b"", r"damaged, or no PDF \("),
    "a.docx": (b"PK nonsense", r"damaged, or no Word document"),
    "b.docx": (bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 600, r"has a password, or is of an old Word"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be decoded or understood is an error that says why, or is left out, counted and named."""
    content, message = BROKEN[name]
    write(tmp_path / "sub" / name, content)
    write(tmp_path / "z.txt")
    with pytest.raises(InputError, match=rf"{re.escape(name)}: {message}.*; `broken = \"skip\"` or `exclude` leaves"):
        read(tmp_path)
    plugin = make_plugin(Files, {"path": tmp_path, "broken": "skip"})
    with caplog.at_level(logging.WARNING):
        assert [document.id for document in plugin.documents()] == ["z.txt"]
    assert re.search(rf"1 that cannot be read left out: sub/{re.escape(name)} \({message}", caplog.text)
    assert plugin.notes()["broken"] == 1


def test_no_word_document(tmp_path: Path) -> None:
    """A zip file that is named like a Word document is an error that says so."""
    with ZipFile(tmp_path / "a.docx", "w") as file:
        file.writestr("readme.txt", "no")
    with pytest.raises(InputError, match=r"a\.docx: damaged, or no Word document"):
        read(tmp_path)


def test_encoding(tmp_path: Path) -> None:
    """`encoding` is that of text, Markdown, and HTML that does not say its own."""
    for name in ("a.txt", "b.html"):
        write(tmp_path / name, b"na\xefve")
    assert [document.text for document in read(tmp_path, encoding="cp1252")] == ["naïve", "naïve"]


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A folder with a file that nobody may read; root, who may, is somebody else meanwhile."""
    user = os.geteuid()
    with TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        write(folder / "a.txt")
        write(folder / "b.txt").chmod(0)
        if user == 0:
            os.seteuid(65534)
        yield folder
        os.seteuid(user)


def test_cannot_be_read(forbidden: Path) -> None:
    """A file that may not be read is an error that says why, or is left out, counted and named."""
    plugin = make_plugin(Files, {"path": forbidden})
    for method in (plugin.fingerprint, lambda: list(plugin.documents())):
        with pytest.raises(InputError, match=r"b\.txt: cannot be read: Permission denied; `broken = \"skip\"`"):
            method()
    plugin = make_plugin(Files, {"path": forbidden, "broken": "skip"})
    assert plugin.fingerprint()
    assert [document.id for document in plugin.documents()] == ["a.txt"]
    assert plugin.notes()["broken"] == 1


def test_folder_cannot_be_read(forbidden: Path) -> None:
    """A folder inside that may not be read is an error that says why, or is left out, counted and named."""
    user = os.geteuid()
    os.seteuid(os.getuid())
    write(forbidden / "sub" / "c.txt").parent.chmod(0)
    os.seteuid(user)
    with pytest.raises(InputError, match=r"sub: cannot be read: Permission denied; `broken = \"skip\"` or `exclude`"):
        read(forbidden, exclude=["b.txt"])
    assert only(forbidden, exclude=["b.txt", "sub/*"]).id == "a.txt"
    plugin = make_plugin(Files, {"path": forbidden, "broken": "skip"})
    assert [document.id for document in plugin.documents()] == ["a.txt"]
    assert plugin.notes()["broken"] == 2


@pytest.mark.parametrize(
    ("name", "message"), [("none", "no such folder"), ("a.txt", "a file, expected a folder"), ("empty", "no document")]
)
@pytest.mark.parametrize("method", ["fingerprint", "documents"])
def test_no_folder(tmp_path: Path, name: str, message: str, method: str) -> None:
    """A folder that is not there, is a file or holds no document is an error that says so."""
    write(tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=rf"{name}: {message}"):
        list(getattr(make_plugin(Files, {"path": tmp_path / name}), method)())


def test_none_is_left(tmp_path: Path) -> None:
    """A folder of which nothing is left is an error that counts what was left out."""
    write(tmp_path / "a.txt", "")
    write(tmp_path / "b.txt", b"\xff")
    with pytest.raises(InputError, match=r"no document in it \(1 without text, 1 that cannot be read\)"):
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
    """A run says what it left out, and records with its cells what the corpus was."""
    write(tmp_path / "notes" / "deep" / "pump.md", "# Pump\n\nThe red lever. The green lever.")
    write(tmp_path / "notes" / "empty.txt", "")
    write(tmp_path / "notes" / "picture.png", b"\x89PNG")
    write(tmp_path / "notes.toml", SPEC)
    question = {"id": "q", "question": "Which?", "options": ["red", "green"], "answer": "A", "document": "deep/pump.md"}
    write(tmp_path / "quiz.jsonl", json.dumps(question))
    kib = [str(Path(sys.executable).with_name("kib"))]

    def call(*arguments: str) -> str:
        run = subprocess.run([*kib, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout + run.stderr

    said = call("run", "notes.toml")
    assert "1 files of other kinds left out: picture.png" in said
    assert "1 without text left out: empty.txt" in said
    said = call("show", "none/gold/quiz,0-shot")
    counts = "corpus notes: 1 documents, 3 passages, 39 characters"
    assert f"{counts}; licence CC0-1.0; as of 2024-05-01; digest " in said
    assert "of its making: empty 1, files 1, others 1" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start", "end"), [("a.txt", "", ""), ("a.md", "# T\n", ""), ("a.html", "<p>", "</p>")]
)
def test_large(tmp_path: Path, name: str, start: str, end: str) -> None:
    """A document of 50 MB is read like any other."""
    line = "The ferry leaves the harbour at dawn and returns at dusk. "
    write(tmp_path / name, start + line * 900_000 + end)
    text = only(tmp_path).text
    assert text.count("harbour") == 900_000
    assert text.rstrip().endswith("returns at dusk.")
