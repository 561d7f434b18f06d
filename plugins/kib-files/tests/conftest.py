"""Functions that write small PDF and Word files byte by byte, independently of the libraries under test."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest

CONTENT_TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/word/document.xml"
 ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/>
</Types>"""

RELATIONSHIPS = """<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
<Relationship Id="r1" Target="word/document.xml"
 Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/>
</Relationships>"""

CORE_PROPERTIES = """<?xml version="1.0" encoding="UTF-8"?>
<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></cp:coreProperties>"""

BODY = """<?xml version="1.0" encoding="UTF-8"?>
<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{body}</w:body></w:document>"""


def write_docx(path: Path, paragraphs: Sequence[str], title: str = "", table: Sequence[Sequence[str]] = ()) -> Path:
    """Write a Word document with paragraphs, followed by a table."""

    def paragraph(text: str) -> str:
        return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"

    rows = "".join(f"<w:tr>{''.join(f'<w:tc>{paragraph(cell)}</w:tc>' for cell in row)}</w:tr>" for row in table)
    body = "".join(map(paragraph, paragraphs)) + (f"<w:tbl>{rows}</w:tbl>" if rows else "")
    with ZipFile(path, "w") as file:
        file.writestr("[Content_Types].xml", CONTENT_TYPES)
        file.writestr("_rels/.rels", RELATIONSHIPS)
        file.writestr("word/document.xml", BODY.format(body=body))
        if title:
            file.writestr("docProps/core.xml", CORE_PROPERTIES.format(title=title))
    return path


def write_pdf(path: Path, pages: Sequence[str], title: str = "") -> Path:
    """Write a PDF with one line of text per page; an empty string produces a page without text, as in a scan."""
    contents = [f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET" if text else "0 0 100 100 re f" for text in pages]
    return write_pdf_contents(path, contents, info=f"/Title ({title})")


def write_pdf_contents(
    path: Path,
    contents: Sequence[str],
    entries: str = "",
    objects: Sequence[str] = (),
    catalog: str = "",
    info: str = "",
) -> Path:
    """Write a PDF with the given page contents, entries of every page, additional objects and document entries.

    The first additional object has the number 4 plus twice the number of pages.
    """
    count = len(contents)
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(count))
    parts = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    resources = "" if "/Resources" in entries else "/Resources << /Font << /F1 3 0 R >> >>"
    for number, stream in enumerate(contents):
        page = f"/Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {resources} {entries}"
        parts.append(f"<< {page} /Contents {5 + 2 * number} 0 R >>")
        parts.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    parts += [*objects, f"<< {info} >>"]
    out, offsets = BytesIO(b"%PDF-1.4\n"), []
    out.seek(0, 2)
    for number, content in enumerate(parts, 1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1"))
    start = out.tell()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    tail = f"<< /Size {len(parts) + 1} /Root 1 0 R /Info {len(parts)} 0 R >>\nstartxref\n{start}\n%%EOF\n"
    out.write(f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}trailer\n{tail}".encode())
    path.write_bytes(out.getvalue())
    return path


@pytest.fixture
def files() -> SimpleNamespace:
    """Return the functions that write PDF and Word files, and the parts of a Word file."""
    functions = {"write_pdf": write_pdf, "write_pdf_contents": write_pdf_contents}
    parts = {"BODY": BODY, "CONTENT_TYPES": CONTENT_TYPES, "RELATIONSHIPS": RELATIONSHIPS}
    return SimpleNamespace(write_docx=write_docx, **functions, **parts)
