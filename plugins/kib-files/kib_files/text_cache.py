"""Remembers the text of converted files by the digest of their bytes, so that each file is converted only once."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kib.errors import DamagedError
from kib.identity import digest, digest_file
from kib.store.sqlite_file import SqliteFile, Table, set_aside

__all__ = ["TextCache", "converter_versions"]

LOGGER = logging.getLogger("kib_files")

FILE = "texts.sqlite"
TEXTS = Table("texts", {"key": "TEXT", "value": "TEXT"})
LIBRARIES = ("mammoth", "markdown-it-py", "pypdfium2", "turbohtml")

REPAIR = "delete the file; kib then converts the documents again"


class TextCache:
    """The results of conversions by key; a damaged result is deleted, and its file is converted again."""

    def __init__(self, file: SqliteFile) -> None:
        self.file = file

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["TextCache"]:
        """Open or create the cache in a folder; raise InputError if the cache is locked or not writable."""
        path = folder / FILE
        try:
            file = SqliteFile.open(path, (TEXTS,), REPAIR)
        except DamagedError as error:
            LOGGER.warning("%s; kib renames the file to %s and converts the documents again", error, set_aside(path))
            file = SqliteFile.open(path, (TEXTS,), REPAIR)
        with closing(file):
            yield cls(file)

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the stored result for each key with an intact result."""
        found = {}
        for row in self.file.rows_by_key("SELECT key, value, digest FROM texts WHERE key IN ({keys})", keys):
            if row[-1] == self.file.row_digest(row[:-1]):
                found[row[0]] = json.loads(row[1])
        return found

    def put(self, results: Mapping[str, Any]) -> None:
        """Store results; a result replaces a damaged result with the same key."""
        rows = [(key, json.dumps(value)) for key, value in results.items()]
        self.file.write(self.file.insertion(TEXTS, rows, replace=True))


@cache
def converter_versions() -> dict[str, str]:
    """Return the versions of the conversion libraries, and the digest of the source code of this package."""
    sources = {path.name: digest_file(path) for path in sorted(Path(__file__).parent.glob("*.py"))}
    return {**{name: version(name) for name in LIBRARIES}, "source": digest(sources)}
