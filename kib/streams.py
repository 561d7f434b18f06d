"""Standard output and standard error: a stream that cannot be written never stops a command.

The streams of a command can be closed (`2>&-`), lose their reader (`| head`), write to a full disk, or use an encoding
that cannot represent some characters. A stream that fails is replaced by the null device. Characters that the encoding
of a stream cannot represent are printed in ASCII.
"""

import codecs
import errno
import io
import json
import os
import select
import sys
from typing import Any, BinaryIO, TextIO, cast

from kib.safe_text import escaped_json, visible, visible_or_style

__all__ = ["lost_output", "prepare_streams", "write_json", "write_styled", "write_text"]

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
ERRORS = "kib-ascii"
"""The name of the error handler for characters that an encoding cannot represent."""

EQUIVALENTS = {
    **dict.fromkeys("–—−‑·─━╸╺", "-"),
    **dict.fromkeys("│┃", "|"),
    **dict.fromkeys("├└", "+"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("\u00a0\u202f", " "),
    "•": "*",
    "×": "x",
    "±": "+/-",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "…": "...",
}
"""ASCII replacements for punctuation; letters are escaped instead, so that different names never look identical."""


def prepare_streams() -> None:
    """Open closed standard streams on the null device, and replace both output streams with streams that never fail.

    If a standard stream stayed closed, the next opened file would take its file descriptor, and libraries would print
    into this file.
    """
    codecs.register_error(ERRORS, _in_ascii)
    for name, mode in STREAMS:
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - open until exit
    sys.stdout, sys.stderr = _unfailing(sys.stdout), _unfailing(sys.stderr)


def write_text(text: str, *, err: bool = False) -> bool:
    """Print untrusted text to standard output or standard error, with unsafe characters replaced.

    Returns whether the encoding of the stream contains all characters of the text.
    """
    stream, text = sys.stderr if err else sys.stdout, visible(text)
    _write(text, stream)
    return _is_encodable(text, stream)


def write_styled(text: str) -> None:
    """Print text with colours to standard output."""
    _write(visible_or_style(text), sys.stdout)


def write_json(text: str) -> bool:
    """Print JSON to standard output, with unprintable characters escaped.

    Always returns True, because the output is complete.
    """
    text = escaped_json(text)
    if not _is_encodable(text, sys.stdout):
        text = "".join(letter if letter.isascii() else json.dumps(letter)[1:-1] for letter in text)
    _write(text, sys.stdout)
    return True


def lost_output() -> OSError | None:
    """Return the error that ended standard output, or None; a closed pipe is not an error."""
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    lost = getattr(getattr(buffer, "raw", buffer), "lost", None)
    return None if lost is not None and lost.errno == errno.EPIPE else lost


class _UnfailingFile(io.FileIO):
    """An open file that discards all data after the first error, which is stored in `lost`."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all data or discard the rest, and return the number of bytes in `data`."""
        rest = memoryview(data).cast("B")
        while self.lost is None and rest:
            try:
                written = super().write(rest)
                if written is None:  # a non-blocking pipe is full
                    select.select([], [self], [])
                rest = rest[written or 0 :]
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes


def _unfailing(stream: TextIO) -> TextIO:
    """Return a stream that writes to the same file as `stream` and never raises an error.

    A stream that is not a file remains unchanged, for example the Windows console or a stream in a test.
    """
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # an unbuffered stream has no raw file below its buffer
    if type(raw) is not io.FileIO or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    file = _UnfailingFile(raw.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        cast("BinaryIO", file if raw is buffer else io.BufferedWriter(file)),
        encoding=stream.encoding,
        errors=ERRORS,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Return the ASCII form of characters that cannot be encoded, as an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    shown = (EQUIVALENTS.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters)
    return "".join(shown), error.end


def _is_encodable(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write(text: str, stream: TextIO) -> None:
    stream.write(text)
    stream.flush()
