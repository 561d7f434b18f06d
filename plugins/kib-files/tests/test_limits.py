"""Tests of files whose conversion would require too much time, memory or disk space."""

import logging
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from kib.errors import InputError
from kib.testing import make_plugin
from kib_files.converters import Converter
from kib_files.corpus import Files
from kib_files.file_records import FileLimits

Write = Callable[[Path, SimpleNamespace], object]

GUARD = 120
"""The timeout of a test in seconds; the tested code takes less than one second."""

ENTITIES = '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "x">]>'


def write_compressed(path: Path, files: SimpleNamespace, body: str, start: str = "") -> None:
    """Write a Word document with the given body in a compressed archive."""
    text = files.BODY.format(body=body)
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", files.CONTENT_TYPES)
        archive.writestr("_rels/.rels", files.RELATIONSHIPS)
        archive.writestr("word/document.xml", start + text.partition("?>")[2] if start else text)


def write_pdf_bomb(path: Path, size: int) -> None:
    """Write a one-page PDF in which a compressed form on the page unpacks to `size` bytes."""
    bomb, text = b"BT /F1 12 Tf (x) Tj ET" + b" " * size, b"BT /F1 12 Tf (x) Tj ET /X1 Do"
    font = b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> /XObject << /X1 5 0 R >> >>"
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources %b " % font
    streams = [(b"", text), (form, bomb)]
    packed = [(entries, zlib.compress(stream)) for entries, stream in streams]
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources %b >>" % font,
        *(
            b"<< %b/Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (entries, len(content), content)
            for entries, content in packed
        ),
    ]
    data, offsets = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    tail = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)
    path.write_bytes(data + b"xref\n0 6\n0000000000 65535 f \n" + table + tail)


def paragraph(text: str) -> str:
    """Return a paragraph of a Word document."""
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


@pytest.mark.parametrize(
    ("name", "write", "options", "problem", "advice"),
    [
        (
            "unpacked.docx",
            lambda path, files: write_compressed(path, files, paragraph("x" * (3 << 20))),
            {"max_unpacked_mb": 2},
            "the file unpacks to 3 MB, more than `max_unpacked_mb = 2`",
            "to convert the file, increase `max_unpacked_mb`",
        ),
        (
            "paragraphs.docx",
            lambda path, files: write_compressed(path, files, paragraph("x") * 40_000),
            {"max_seconds": 0.3},
            "the file takes longer than 0.3 seconds",
            "to convert the file, increase `max_seconds`",
        ),
        (
            "deep.html",
            lambda path, _: path.write_text("<div>" * 9 + "x"),
            {"max_nesting": 8},
            "the file nests more elements than `max_nesting = 8`",
            "to convert the file, increase `max_nesting`",
        ),
        (
            "tags.docx",
            lambda path, files: write_compressed(
                path, files, "<w:smartTag>" * 9000 + paragraph("x") + "</w:smartTag>" * 9000
            ),
            {},
            "the file is nested too deeply",
            "to convert the file, increase `max_nesting`",
        ),
        (
            "form.pdf",
            lambda path, _: write_pdf_bomb(path, 20 << 20),
            {"max_seconds": 0.05},
            "the file takes longer than 0.05 seconds",
            "to convert the file, increase `max_seconds`",
        ),
        (
            "long.txt",
            lambda path, _: path.write_text("x" * (3 << 20)),
            {"max_unpacked_mb": 2},
            "the file has 3 MB, more than `max_unpacked_mb = 2`",
            "to convert the file, increase `max_unpacked_mb`",
        ),
    ],
)
def test_over_limit(
    tmp_path: Path,
    files: SimpleNamespace,
    caplog: pytest.LogCaptureFixture,
    name: str,
    write: Write,
    options: dict[str, float],
    problem: str,
    advice: str,
) -> None:
    """A file that exceeds a limit raises an error or, with `over_limit = "skip"`, is omitted and recorded."""
    write(tmp_path / name, files)
    (tmp_path / "z.txt").write_text("The red lever.")
    with pytest.raises(InputError) as caught:
        list(make_plugin(Files, {"path": tmp_path, **options}).documents())
    assert f"{tmp_path / name}: {problem}" in str(caught.value)
    assert f'; {advice}; to leave out the file, set `over_limit = "skip"`' in str(caught.value)
    plugin = make_plugin(Files, {"path": tmp_path, "over_limit": "skip", **options})
    with caplog.at_level(logging.WARNING):
        assert [document.id for document in plugin.documents()] == ["z.txt"]
    assert f"left out 1 file beyond a limit: {name} ({problem}" in caplog.text
    assert plugin.notes()["over_limit"] == 1
    assert plugin.notes()["skipped"][0].startswith(f"{name} ({problem}")


def test_fingerprint(tmp_path: Path) -> None:
    """The limits are part of the fingerprint only with `over_limit = "skip"`, because they then affect the corpus."""
    (tmp_path / "a.txt").write_text("The red lever.")

    def fingerprint(**options: object) -> str:
        return str(make_plugin(Files, {"path": tmp_path, **options}).fingerprint())

    assert fingerprint() == fingerprint(max_seconds=7.0)
    assert len({fingerprint(), fingerprint(over_limit="skip"), fingerprint(over_limit="skip", max_seconds=7.0)}) == 3


def test_deep_documents(tmp_path: Path, files: SimpleNamespace) -> None:
    """Documents with elements nested up to the limit are converted."""
    (tmp_path / "a.html").write_text("<table><tr><td>" * 120 + "The red lever.")
    tables = "<w:tbl><w:tr><w:tc>" * 60 + paragraph("The green lever.") + "</w:tc></w:tr></w:tbl>" * 60
    write_compressed(tmp_path / "b.docx", files, tables)
    texts = [document.text.strip() for document in make_plugin(Files, {"path": tmp_path}).documents()]
    assert texts == ["The red lever.", "The green lever."]


def test_entities(tmp_path: Path, files: SimpleNamespace) -> None:
    """A Word document that defines XML entities is treated as broken, because entities could exhaust the memory."""
    write_compressed(tmp_path / "a.docx", files, paragraph("&a;"), ENTITIES)
    with pytest.raises(InputError, match=r"a\.docx: the file defines XML entities, which Word never writes; to leave"):
        list(make_plugin(Files, {"path": tmp_path}).documents())


@pytest.mark.parametrize("heading", ["# " + " #" * 20_000 + " x", "# x" + " " * 40_000 + "y", "#" + " " * 40_000])
def test_long_heading(tmp_path: Path, heading: str) -> None:
    """The time needed to find the title of a Markdown file is proportional to the file's length."""
    path = tmp_path / "a.md"
    path.write_text(heading)
    script = "import pathlib, sys; from kib_files.converters import convert_file; "
    script += "convert_file(pathlib.Path(sys.argv[1]), 'utf-8')"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=GUARD)


def test_groups(tmp_path: Path) -> None:
    """Conversion results are returned in the order of the files, even if one of the files exceeds a limit."""
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(f"plain {number}")
        (tmp_path / f"{number:02}.html").write_text("<i>" * (9 if number == 3 else 1) + f"page {number}")
    paths = sorted(tmp_path.iterdir())
    results = list(Converter("utf-8", FileLimits(nesting=8)).convert_each(paths))
    expected = [f"{'plain' if path.suffix == '.txt' else 'page'} {int(path.stem)}" for path in paths]
    expected[6] = "nests more elements than `max_nesting = 8`"
    assert [getattr(result, "text", str(result)).strip() for result in results] == expected
