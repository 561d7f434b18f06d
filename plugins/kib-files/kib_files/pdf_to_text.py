"""Converts PDF files with pypdf."""

import logging
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from kib.support.limited_process import LimitError
from kib_files.file_records import BLANK_PAGES, BrokenFileError, ConvertedFile, FileLimits, one_line

__all__ = ["convert_pdf"]

PDF_REPLACEMENTS = {
    0: "",
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
}
"""Replacements for the null characters and typographic ligatures found in text extracted from PDF files."""


def convert_pdf(data: bytes, _: str, __: FileLimits) -> ConvertedFile:
    """Return the text of all pages of a PDF, separated by blank lines."""
    from pypdf import PasswordType, PdfReader
    from pypdf.errors import LimitReachedError, PdfReadError

    monitor = _PdfMonitor()
    try:
        reader = PdfReader(BytesIO(data))
        if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
            raise BrokenFileError("the file has a password; save the file without a password")
        pages = [_clean_pdf_text(page.extract_text()).strip() for page in reader.pages]
        title: Any = reader.metadata.title if reader.metadata else ""
        monitor.check()
    except LimitReachedError as error:
        raise LimitError(f"exceeds a limit of pypdf ({str(error).rstrip('.')})") from error
    except PdfReadError as error:
        raise BrokenFileError(f"the file is damaged or is not a PDF ({error})") from error
    texts = [page for page in pages if page]
    blank = len(pages) - len(texts)
    remarks = {BLANK_PAGES: f"{blank} of {len(pages)}"} if blank else {}
    return ConvertedFile("\n\n".join(texts), one_line(str(title or "")), len(pages), remarks)


class _PdfMonitor(logging.Handler):
    """Handles pypdf warnings: ignores minor defects, but records that pypdf has omitted text because of a limit."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.reached = ""
        logger = logging.getLogger("pypdf")
        logger.handlers, logger.propagate = [self], False

    def emit(self, record: logging.LogRecord) -> None:
        """Record a log message if it mentions a limit or an exception that was raised because of a limit."""
        from pypdf.errors import LimitReachedError

        values = record.args if isinstance(record.args, Mapping) else {}
        if "limit" in values or isinstance(values.get("exception"), LimitReachedError):
            self.reached = record.getMessage()

    def check(self) -> None:
        """Raise LimitError if pypdf has omitted text because of a limit."""
        if self.reached:
            raise LimitError(f"exceeds a limit of pypdf ({self.reached.rstrip('.')})")


def _clean_pdf_text(text: str) -> str:
    """Join surrogate pairs, replace unpaired surrogates with U+FFFD, expand ligatures, and remove null characters."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return joined.translate(PDF_REPLACEMENTS)
