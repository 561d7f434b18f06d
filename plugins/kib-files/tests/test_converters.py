from pathlib import Path

import pytest

from kib_files.converters import convert_file
from kib_files.file_records import BrokenFileError, ConvertedFile


def convert(path: Path, content: str | bytes, encoding: str = "utf-8") -> ConvertedFile:
    """Write a file with the given content, convert the file, and return the result."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return convert_file(path, encoding)


def test_plain_text(tmp_path: Path) -> None:
    """Plain text is unchanged except for line endings, and a byte order mark is removed."""
    content = b"\xef\xbb\xbfThe red lever.\r\nBeside the d\xc3\xb6\xc3\xb6r.\r"
    assert convert(tmp_path / "a.txt", content) == ConvertedFile("The red lever.\nBeside the döör.\n")


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_given_encoding(tmp_path: Path, name: str) -> None:
    """A file without a declared encoding is decoded with the encoding in the options."""
    assert convert(tmp_path / name, b"na\xefve", "cp1252").text == "naïve"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"na\xefve", r"^the file is not valid UTF-8 \(.* at byte 2\); convert the file, or set `encoding`"),
        ("a.md", b"# T\n\xff", r"^the file is not valid UTF-8 \(invalid start byte at byte 4"),
        ("a.html", b"<p>na\xefve</p>", r"^the file is not valid UTF-8 \(.* at byte 5"),
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


def test_parser_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception in a parser is converted to an error with the first line of the exception's message."""

    def fail(*_: object) -> None:
        raise RuntimeError("no such glyph\nmore")

    monkeypatch.setattr("pypdfium2.PdfDocument", fail)
    with pytest.raises(BrokenFileError, match=r"extension \(RuntimeError: no such glyph\)$"):
        convert(tmp_path / "a.pdf", b"")


def test_missing_file(tmp_path: Path) -> None:
    """A file that the operating system cannot open raises an error that states the system's reason."""
    with pytest.raises(BrokenFileError, match=r"^cannot be read: No such file or directory$"):
        convert_file(tmp_path / "a.txt", "utf-8")
