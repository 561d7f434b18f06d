"""Converts Word documents with mammoth, which writes HTML, after rewriting what mammoth does not read."""

from io import BytesIO
from xml.etree.ElementTree import Element
from zipfile import BadZipFile, ZipFile

from kib_files.file_records import BrokenFileError, ConvertedFile, FileLimits, check_size, one_line
from kib_files.html_to_text import render_html
from kib_files.word_xml import rewrite_document

__all__ = ["convert_docx"]

OLE_SIGNATURE = bytes.fromhex("d0cf11e0a1b11ae1")
"""First bytes of files from old Office versions and of password-protected files from new Office versions."""

CORE_TITLE = "{http://purl.org/dc/elements/1.1/}title"
"""XML name of the title in the properties of a Word document."""

LIST_ITEMS = 'li:not([id^="footnote-"], [id^="endnote-"])'
"""The paragraphs of lists, whose text contains their number, but not the notes, which mammoth numbers."""

BACK_LINKS = 'a[href^="#footnote-ref-"], a[href^="#endnote-ref-"]'
"""The arrows that mammoth adds to the end of each note."""


def convert_docx(data: bytes, _: str, limits: FileLimits) -> ConvertedFile:
    """Return the text of a Word document: headers, paragraphs, lists, tables, text boxes, footers and notes.

    Raise BrokenFileError if the document is damaged or has a password, and LimitError if the document unpacks to too
    many bytes or its elements are nested too deeply.
    """
    from xml.dom import minidom

    import mammoth
    from defusedxml import DefusedXmlException
    from defusedxml import minidom as defused

    if data.startswith(OLE_SIGNATURE):
        raise BrokenFileError(
            "the file has a password or was saved by an old version of Word; save the document as .docx without a "
            "password"
        )
    minidom.parse = defused.parse  # the function that mammoth calls; it refuses XML entities
    try:
        with ZipFile(BytesIO(data)) as archive:
            check_size(sum(part.file_size for part in archive.infolist()), limits, "unpacks to")
            document, remarks = rewrite_document(archive, _parse)
            title = _title(archive)
        html = mammoth.convert_to_html(document, convert_image=lambda _: []).value
    except DefusedXmlException as error:
        raise BrokenFileError("the file defines XML entities, which Word never writes") from error
    except (BadZipFile, KeyError, OSError) as error:  # mammoth raises OSError if the main part is missing
        raise BrokenFileError("the file is damaged or is not a Word document") from error
    rendered = render_html(html, limits, leave_out=BACK_LINKS, unmarked=LIST_ITEMS)
    return ConvertedFile(rendered.text, title or rendered.title, remarks=remarks)


def _parse(data: bytes) -> Element:
    """Return the root element of an XML part; the parser refuses XML entities."""
    from defusedxml.ElementTree import fromstring

    root: Element = fromstring(data)
    return root


def _title(archive: ZipFile) -> str:
    """Return the title from a Word document's properties, or "" if the document has no title."""
    if "docProps/core.xml" not in archive.namelist():
        return ""
    return one_line(_parse(archive.read("docProps/core.xml")).findtext(CORE_TITLE) or "")
