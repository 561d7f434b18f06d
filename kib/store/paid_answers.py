"""Data that outlives individual steps: the answers that writers and judges have paid for, and the caches of plugins.

Paid answers are not a cache. If a file of paid answers is deleted, its answers must be paid for again.
"""

import re
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager
from pathlib import Path

from kib.errors import InputError
from kib.store.sqlite_file import OUT_OF_ORDER, SqliteFile, Table

__all__ = ["PaidAnswers", "paid_answers_path", "plugin_memory", "verdicts_path"]

NAME = re.compile(r"[a-z0-9-]{1,100}")

KEPT = Table("kept", {"key": "TEXT", "value": "TEXT"})
DAMAGED = "damaged"
"""The table for damaged rows, which may still be readable in part."""

REPAIR = (
    "do not delete this file: it contains answers that have been paid for. Restore the file from a backup, or "
    "recover the readable answers with `sqlite3 FILE .recover`"
)


def paid_answers_path(work: Path, plugin: str) -> Path:
    """Return the path of a writer plugin's file of paid answers, which all tables of the plugin share."""
    return work / "written" / f"{plugin}.sqlite"


def verdicts_path(work: Path, plugin: str) -> Path:
    """Return the path of a judge plugin's file of paid verdicts, which all tables of the plugin share."""
    return work / "judged" / f"{plugin}.sqlite"


def plugin_memory(work: Path, name: str) -> Path:
    """Return the folder shared by all plugins with the cache `name`. Raises InputError for an invalid name."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"memory() returned the name {name!r}; expected a name of lowercase letters, digits and hyphens"
        )
    return work / "remembered" / name


class PaidAnswers(MutableMapping[str, str]):
    """Paid answers by key; thread-safe. An assignment returns only after the answer has been written to disk."""

    def __init__(self, file: SqliteFile) -> None:
        self.file = file

    @classmethod
    @contextmanager
    def open(cls, path: Path, say: Callable[[str], None] = lambda _: None) -> Iterator["PaidAnswers"]:
        """Open or create a file of paid answers. Raises InputError if the file is locked, damaged or not writable.

        Damaged answers are moved to the table `damaged` and count as missing; `say` prints the number of damaged
        answers.
        """
        with closing(SqliteFile.open(path, (KEPT,), REPAIR)) as file:
            repair = file.remove_damaged(KEPT, keep_in=DAMAGED)
            if repair.removed:
                say(
                    f"{path}: {repair.removed:,} paid answers are damaged; kib moves them to the table `{DAMAGED}` of "
                    "this file, and requests and pays for these answers again"
                )
            if repair.unordered:
                say(f"{path}: the file is damaged ({OUT_OF_ORDER}); kib puts all paid answers in order again")
            yield cls(file)

    def __getitem__(self, key: str) -> str:
        rows = self.file.rows("SELECT value FROM kept WHERE key = ?", (key,))
        if not rows:
            raise KeyError(key)
        return str(rows[0][0])

    def __setitem__(self, key: str, value: str) -> None:
        self.file.write(self.file.insertion(KEPT, [(key, value)], replace=True))

    def __delitem__(self, key: str) -> None:
        self[key]
        self.file.write(("DELETE FROM kept WHERE key = ?", [(key,)]))

    def __iter__(self) -> Iterator[str]:
        return (str(key) for (key,) in self.file.rows("SELECT key FROM kept ORDER BY key"))

    def __len__(self) -> int:
        return int(self.file.rows("SELECT COUNT(*) FROM kept")[0][0])
