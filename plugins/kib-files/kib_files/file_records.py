"""The result of converting a file, the limits of a conversion, and the errors and helpers that all converters share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kib.errors import InputError
from kib.support.limited_process import LimitError

__all__ = [
    "BLANK_PAGES",
    "DEFAULT_LIMITS",
    "BrokenFileError",
    "ConvertedFile",
    "FileLimits",
    "check_size",
    "decode",
    "left_out_remarks",
    "one_line",
]

MB = 1 << 20

BLANK_PAGES = "pages without text, which are blank or scanned"
"""The remark about pages without text."""


class BrokenFileError(InputError):
    """Raised if a file of a supported type cannot be converted; the caller adds the file's path to the message."""


@dataclass(frozen=True, slots=True)
class FileLimits:
    """The limits for a conversion: time, process memory, unpacked file size, and levels of nested elements."""

    seconds: float = 120.0
    memory_mb: int = 2048
    unpacked_mb: int = 256
    nesting: int = 512


DEFAULT_LIMITS = FileLimits()


@dataclass(frozen=True, slots=True)
class ConvertedFile:
    """A file's text and title ("" if missing), its number of pages, and remarks about the text.

    A remark maps a noun phrase, which completes "3 files with", to the affected part of this file: `{"hidden text":
    "2 of 3"}`.
    """

    text: str
    title: str = ""
    pages: int = 0
    remarks: Mapping[str, str] = field(default_factory=dict)


def check_size(size: int, limits: FileLimits, verb: str = "has") -> None:
    """Raise LimitError if a number of bytes exceeds the limit."""
    if size > limits.unpacked_mb * MB:
        raise LimitError(f"{verb} {size / MB:,.0f} MB, more than `max_unpacked_mb = {limits.unpacked_mb}`", "unpacked")


def decode(data: bytes, encoding: str) -> str:
    """Decode text, remove a UTF-8 byte order mark, and convert all line endings to line feeds.

    Raise BrokenFileError if the bytes are not valid in the encoding.
    """
    try:
        text = data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        problem = f"the file is not valid {encoding.upper()} ({error.reason} at byte {error.start:,})"
        raise BrokenFileError(f"{problem}; convert the file, or set `encoding` to the file's encoding") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def one_line(text: str) -> str:
    """Return a text with each sequence of white space replaced by one space."""
    return " ".join(text.split())


def left_out_remarks(counts: Mapping[str, int]) -> dict[str, str]:
    """Return a remark for each kind of content that a reader would see or find, but that the text leaves out."""
    return {f"{what}, which the text leaves out": f"{count:,}" for what, count in counts.items() if count}
