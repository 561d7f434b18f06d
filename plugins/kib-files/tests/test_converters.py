from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest

from kib_files.converters import BrokenFileError, ConvertedFile, _clean_pdf_text, convert_file


def convert(path: Path, content: str | bytes, encoding: str = "utf-8") -> ConvertedFile:
    """Write a file with the given content, convert the file, and return the result."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return convert_file(path, encoding)


def words_by_line(text: str) -> list[list[str]]:
    """Return the list of words in each non-blank line of a text."""
    return [line.split() for line in text.splitlines() if line.strip()]


def test_plain_text(tmp_path: Path) -> None:
    """Plain text is unchanged except for line endings, and a byte order mark is removed."""
    content = b"\xef\xbb\xbfThe red lever.\r\nBeside the d\xc3\xb6\xc3\xb6r.\r"
    assert convert(tmp_path / "a.txt", content) == ConvertedFile("The red lever.\nBeside the döör.\n")


def test_markdown(tmp_path: Path) -> None:
    """Markdown text is not changed, and its first level-1 heading becomes the title."""
    text = "Intro\n\n## Not this\n\n# The *pump* #\n\n- red\n"
    assert convert(tmp_path / "a.md", text) == ConvertedFile(text, "The *pump*")


def test_html(tmp_path: Path) -> None:
    """HTML is converted to the text that a browser shows, without tags, scripts, styles and comments."""
    converted = convert(
        tmp_path / "a.html",
        "<!doctype html><html><head><title> Pump \n 7 </title><style>p {color: red}</style></head><body>"
        "<script>var x = '<p>no</p>';</script><!-- no --><h1>The pump</h1><p>A &amp; B &lt; C <b>bold</b></p>"
        "<table><tr><td>one</td><td>two</td></tr></table><ul><li>first<li>second</ul></body></html>",
    )
    assert converted.title == "Pump 7"
    assert words_by_line(converted.text) == [
        ["The", "pump"],
        ["A", "&", "B", "<", "C", "bold"],
        ["one", "two"],
        ["*", "first"],
        ["*", "second"],
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'\xef\xbb\xbf<meta charset="iso-8859-1"><p>gr\xc3\xb6\xc3\x9fe', "größe"),
        ('\ufeff<meta charset="utf-8"><p>größe'.encode("utf-16-le"), "größe"),
        (b'<meta charset="iso-8859-1"><p>\x93quotes\x94 it\x92s', "“quotes” it’s"),
        (b'<?xml version="1.0" encoding="iso-8859-1"?><html><body><p>gr\xf6\xdfe</p></body></html>', "größe"),
        ('<?xml version="1.0"?><meta charset="cp1252"><p>größe'.encode("cp1252"), "größe"),
    ],
)
def test_html_encoding(tmp_path: Path, content: bytes, text: str) -> None:
    """In HTML, a byte order mark overrides the declared encoding, and declared Latin-1 is read as windows-1252."""
    assert convert(tmp_path / "a.htm", content).text == text


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_given_encoding(tmp_path: Path, name: str) -> None:
    """A file without a declared encoding is decoded with the encoding in the options."""
    assert convert(tmp_path / name, b"na\xefve", "cp1252").text == "naïve"


@pytest.mark.parametrize("content", ["", "<!-- nothing -->", "<html><head><title>T</title></head><body></body></html>"])
def test_empty_html(tmp_path: Path, content: str) -> None:
    """HTML without visible content is converted to empty text."""
    assert convert(tmp_path / "a.html", content).text == ""


def test_word(tmp_path: Path, files: SimpleNamespace) -> None:
    """A Word document is converted to the text of its paragraphs and tables, with the title from its properties."""
    paragraphs = ["The relief valve", "opens &amp; closes."]
    converted = convert_file(files.write_docx(tmp_path / "a.docx", paragraphs, "Valves", [["bar", "11"]]), "utf-8")
    assert converted.title == "Valves"
    assert words_by_line(converted.text) == [["The", "relief", "valve"], ["opens", "&", "closes."], ["bar", "11"]]


def test_pdf(tmp_path: Path, files: SimpleNamespace) -> None:
    """A PDF is converted to the text of its pages, with its title and the number of pages without text."""
    files.write_pdf(tmp_path / "a.pdf", ["The relief valve", "", "opens at eleven bar."], "Valves")
    expected = ConvertedFile("The relief valve\n\nopens at eleven bar.", "Valves", blank_pages=1, pages=3)
    assert convert_file(tmp_path / "a.pdf", "utf-8") == expected


def test_pdf_characters() -> None:
    """In text from a PDF, ligatures become letters, surrogate pairs are joined, and null characters are removed."""
    assert _clean_pdf_text("di\ufb00erent, e\ufb03cient \ud83d\udea7\0\ud83d.") == "different, efficient 🚧\ufffd."


def test_password(tmp_path: Path, files: SimpleNamespace) -> None:
    """A PDF with only an owner password is read, and a PDF with a user password raises an error."""
    path = files.write_pdf(tmp_path / "a.pdf", ["The relief valve"])
    assert convert_file(files.encrypt_pdf(path, tmp_path / "b.pdf", ""), "utf-8").text == "The relief valve"
    with pytest.raises(BrokenFileError, match=r"^the file has a password; save the file without a password$"):
        convert_file(files.encrypt_pdf(path, tmp_path / "c.pdf", "secret"), "utf-8")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"na\xefve", r"^the file is not valid UTF-8 \(.* at byte 2\); convert the file, or set `encoding`"),
        ("a.md", b"# T\n\xff", r"^the file is not valid UTF-8 \(invalid start byte at byte 4"),
        ("a.html", b"<p>na\xefve</p>", r"^the file is not valid UTF-8 \(.* at byte 5"),
        ("a.html", b'<meta charset="klingon"><p>x', r"^the file declares an unknown encoding, 'klingon'"),
        ("a.pdf", b"%PDF-1.4 nonsense", r"^the file is damaged or is not a PDF \("),
        ("a.pdf", b"", r"^the file is damaged or is not a PDF \("),
        ("a.docx", b"PK nonsense", r"^the file is damaged or is not a Word document"),
        ("a.docx", bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 600, r"^the file has a password or was saved by an old"),
    ],
)
def test_broken_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """A file that cannot be decoded or parsed raises an error that states the reason."""
    with pytest.raises(BrokenFileError, match=message):
        convert(tmp_path / name, content)


def test_zip_file_named_docx(tmp_path: Path) -> None:
    """A zip file with the extension `.docx` raises an error if the zip file does not contain a Word document."""
    with ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("readme.txt", "no")
    with pytest.raises(BrokenFileError, match=r"^the file is damaged or is not a Word document"):
        convert_file(tmp_path / "a.docx", "utf-8")


def test_parser_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception in a parser is converted to an error with the first line of the exception's message."""

    def fail(*_: object) -> None:
        raise RuntimeError("no such glyph\nmore")

    monkeypatch.setattr("pypdf.PdfReader", fail)
    with pytest.raises(BrokenFileError, match=r"extension \(RuntimeError: no such glyph\)$"):
        convert(tmp_path / "a.pdf", b"")


def test_missing_file(tmp_path: Path) -> None:
    """A file that the operating system cannot open raises an error that states the system's reason."""
    with pytest.raises(BrokenFileError, match=r"^cannot be read: No such file or directory$"):
        convert_file(tmp_path / "a.txt", "utf-8")


@pytest.mark.slow
def test_large_html(tmp_path: Path) -> None:
    """HTML longer than libxml2's default limit of 10 million characters is converted completely."""
    line = "The ferry leaves the harbour at dawn and returns at dusk. "
    text = convert(tmp_path / "a.html", f"<p>{line * 180_000}</p>").text
    assert len(text) > 10_000_000
    assert text.count("harbour") == 180_000
