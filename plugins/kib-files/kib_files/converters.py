"""Converts files to plain text in child processes; each file type has a converter in a module of its own."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kib.identity import digest, digest_file
from kib.support.limited_pool import LimitedPool
from kib.support.limited_process import LimitError, batches
from kib_files.file_records import DEFAULT_LIMITS, BrokenFileError, ConvertedFile, FileLimits, check_size, decode
from kib_files.html_to_text import convert_html
from kib_files.markdown_to_text import convert_markdown
from kib_files.pdf_to_text import convert_pdf
from kib_files.text_cache import TextCache
from kib_files.word_to_text import convert_docx

__all__ = ["CONVERTERS", "Converter", "convert_file"]

MB = 1 << 20

PLAIN = (".txt",)
"""Extensions of files that are converted in linear time and in the main process."""

BATCH_FILES, BATCH_BYTES = 4, 4 * MB
"""The maximum number of files in a group that is converted at once, and the total size that ends a group."""

FRAMES_PER_LEVEL = 40
"""Maximum number of nested function calls that the converters need per level of nested elements."""


class Converter:
    """Converts files; all files except plain text are converted in separate processes with time and memory limits.

    If `cache` is given, each file is converted only once; `cache_key` is the part of the key that files share.
    """

    def __init__(
        self, encoding: str, limits: FileLimits = DEFAULT_LIMITS, cache: TextCache | None = None, cache_key: str = ""
    ) -> None:
        self.encoding = encoding
        self.limits = limits
        self.cache = cache
        self.cache_key = cache_key
        self._pool = LimitedPool(_convert_in_process, limits.memory_mb)

    def convert_each(self, paths: Iterable[Path]) -> Iterator[ConvertedFile | BrokenFileError | LimitError]:
        """Yield the result of `convert_file` for each path, or the error that `convert_file` raises."""
        waiting: deque[_Group] = deque()

        def requests() -> Iterator[list[tuple[Path, str, FileLimits]]]:
            for batch in batches(paths, _size, BATCH_FILES, BATCH_BYTES):
                group = self._group(batch)
                waiting.append(group)
                yield [(path, self.encoding, self.limits) for path in group.to_convert]

        for replies in self._pool.call_each(requests(), self.limits.seconds):
            group = waiting.popleft()
            results = dict(zip(group.to_convert, replies, strict=True))
            self._remember(group, results)
            for path in group.paths:
                reply = group.remembered.get(path) or results.get(path)
                reply = reply or _convert_here((path, self.encoding, self.limits))
                yield reply if isinstance(reply, LimitError) else _unpacked(reply)

    def _group(self, paths: Sequence[Path]) -> "_Group":
        """Return files with the results that the cache contains."""
        complex_files = [path for path in paths if path.suffix.lower() not in PLAIN]
        keys = {path: key for path in complex_files if self.cache and (key := self._key(path))}
        found = self.cache.get(list(keys.values())) if self.cache else {}
        remembered = {path: found[key] for path, key in keys.items() if key in found}
        return _Group(paths, keys, remembered, [path for path in complex_files if path not in remembered])

    def _key(self, path: Path) -> str:
        """Return the key of a file's text, or "" if the file cannot be read, which its conversion reports."""
        try:
            return digest([self.cache_key, path.suffix.lower(), digest_file(path)])
        except OSError:
            return ""

    def _remember(self, group: "_Group", results: Mapping[Path, Any]) -> None:
        """Store new results, except errors that may depend on the machine."""
        if self.cache:
            self.cache.put(
                {
                    group.keys[path]: reply
                    for path, reply in results.items()
                    if path in group.keys and isinstance(reply, dict) and "broken" not in reply
                }
            )


@dataclass(frozen=True, slots=True)
class _Group:
    """Files that are handled together: their cache keys, their cached results, and the files to convert."""

    paths: Sequence[Path]
    keys: Mapping[Path, str]
    remembered: Mapping[Path, dict[str, Any]]
    to_convert: Sequence[Path]


def _size(path: Path) -> int:
    """Return the size of a file in bytes; a file that has been deleted is reported when it is read."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _convert_here(request: tuple[Path, str, FileLimits]) -> dict[str, Any] | LimitError:
    """Convert a plain text file in the main process."""
    try:
        return _converted(request)
    except LimitError as error:
        return error


def _convert_in_process(request: tuple[Path, str, FileLimits]) -> dict[str, Any]:
    """Convert a file in a separate process, in which nested elements may need many nested function calls."""
    limits = request[-1]
    sys.setrecursionlimit(max(sys.getrecursionlimit(), FRAMES_PER_LEVEL * limits.nesting))
    return _converted(request)


def _converted(request: tuple[Path, str, FileLimits]) -> dict[str, Any]:
    """Return the fields of a ConvertedFile, or the reason why the file is broken."""
    try:
        return asdict(convert_file(*request))
    except BrokenFileError as error:
        return {"broken": str(error)}


def _unpacked(reply: dict[str, Any]) -> ConvertedFile | BrokenFileError:
    return BrokenFileError(reply["broken"]) if "broken" in reply else ConvertedFile(**reply)


def convert_file(path: Path, encoding: str, limits: FileLimits = DEFAULT_LIMITS) -> ConvertedFile:
    """Convert a file with the converter for its extension.

    `encoding` applies to plain text, Markdown, and HTML without a declared encoding. Raise BrokenFileError if the file
    cannot be read, decoded or parsed, and LimitError if the file is too large or nested too deeply.
    """
    try:
        check_size(path.stat().st_size, limits)
        data = path.read_bytes()
    except OSError as error:
        raise BrokenFileError(f"cannot be read: {error.strerror or error}") from error
    try:
        return CONVERTERS[path.suffix.lower()](data, encoding, limits)
    except (BrokenFileError, LimitError, MemoryError, RecursionError):
        raise
    except Exception as error:  # a damaged file can make a parser raise any exception
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BrokenFileError(f"the file is damaged, or its type differs from its extension ({reason})") from error


def _convert_text(data: bytes, encoding: str, _: FileLimits) -> ConvertedFile:
    return ConvertedFile(decode(data, encoding))


CONVERTERS: Mapping[str, Callable[[bytes, str, FileLimits], ConvertedFile]] = {
    ".docx": convert_docx,
    ".htm": convert_html,
    ".html": convert_html,
    ".markdown": convert_markdown,
    ".md": convert_markdown,
    ".pdf": convert_pdf,
    ".txt": _convert_text,
}
"""The converter for each supported file extension, in lowercase."""
