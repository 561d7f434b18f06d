"""A test collection in BEIR's layout: documents, queries, and judgments that join the two by their ids."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath, Options
from kib.records import Document, JudgedQuery

if TYPE_CHECKING:
    from kib_tables.fields import Rows

__all__ = ["Beir", "BeirOptions"]

COLUMNS = 3
GRADE = re.compile(r"[+-]?[0-9]{1,9}")
HEADER = re.compile(r"(query|topic|q)[-_ ]?id|query|topic", re.IGNORECASE)
"""What the first column of judgments is called where a header stands above them."""

Judgments = dict[str, dict[str, tuple[int, int]]]
"""By query id and document id: the grade, and the line that gives it."""


class BeirOptions(Options):
    """Which collection, and which of its judgments."""

    path: InputPath = Field(description="The folder: corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv or qrels.tsv.")
    split: str = Field(
        default="test",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Which judgments: those of qrels/SPLIT.tsv; a single qrels.tsv is `test`.",
    )
    empty: Literal["error", "skip"] = Field(
        default="skip", description="What a document with neither title nor text is: left out (`skip`), or an `error`."
    )
    source: str = Field(default="", description="Where the documents come from.")
    licence: str = Field(default="", description="Licence of the documents.")
    date: str = Field(default="", description="As of when the documents are: a day, a version; it is only recorded.")


class Beir:
    """The corpus `beir`."""

    Options: ClassVar[type[Options]] = BeirOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: BeirOptions) -> None:
        self.options = options
        self.corpus = options.path / "corpus.jsonl"
        self.queries = options.path / "queries.jsonl"
        self.left_out = 0

    def fingerprint(self) -> str:
        """Digest of documents, queries and the split's judgments; InputError if a file cannot be read."""
        files = {"corpus": self.corpus, "queries": self.queries, "qrels": self._qrels()}
        found = {}
        for name, path in files.items():
            try:
                found[name] = digest_file(path)
            except OSError as error:
                raise _unreadable(path, error) from error
        return digest(found)

    def documents(self) -> Iterator[Document]:
        """The documents in the order of corpus.jsonl; one that has a title alone has it as its text."""
        rows = self._rows()
        yield from rows.documents(self._records())
        self.left_out = len(rows.left_out)

    def judged_queries(self) -> Iterator[JudgedQuery]:
        """The queries that have a judgment, in the order of queries.jsonl, documents in the order of the judgments.

        InputError names file and line where a judged query or document is not in the collection.
        """
        path = self._qrels()
        judgments = _read_qrels(path)
        self._check_documents(path, judgments)
        texts = self._texts(judgments)
        lost = {query: next(iter(judged.values()))[1] for query, judged in judgments.items() if query not in texts}
        if lost:
            raise _lost(path, lost, "query", self.queries)
        for query, text in texts.items():
            yield JudgedQuery(query, text, tuple((document, of[0]) for document, of in judgments[query].items()))

    def notes(self) -> dict[str, Any]:
        """What is recorded with the corpus: its date, and how many were left out when it was read last."""
        return {"date": self.options.date, "left_out": self.left_out}

    def _rows(self) -> "Rows":
        from kib_tables.fields import Fields, Origin, Rows

        options = self.options
        return Rows(
            self.corpus, Fields(id="_id"), Origin(source=options.source, licence=options.licence), options.empty
        )

    def _qrels(self) -> Path:
        folder, single, split = self.options.path / "qrels", self.options.path / "qrels.tsv", self.options.split
        found = [path for path in (folder / f"{split}.tsv", single) if path.is_file()]
        if single in found and split != "test":
            found.remove(single)
        if len(found) > 1:
            raise InputError(f"{self.options.path}: judgments in {found[0]} and in {found[1]}; keep the right ones")
        if not found:
            there = sorted(path.stem for path in folder.glob("*.tsv")) or (["test"] if single.is_file() else [])
            has = f"the splits are {', '.join(there)}" if there else "it has no judgments at all"
            raise InputError(f"{folder / f'{split}.tsv'}: no such file; {has}")
        return found[0]

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in _read(self.corpus):
            title, text = row.get("title"), row.get("text")
            untold = text is None or (isinstance(text, str) and not text.strip())
            yield number, {**row, "title": "", "text": title} if untold and isinstance(title, str) else row

    def _check_documents(self, path: Path, judgments: Judgments) -> None:
        wanted: dict[str, int] = {}
        for judged in judgments.values():
            for document, (_, line) in judged.items():
                wanted.setdefault(document, line)
        for number, row in self._records():
            wanted.pop(_id(self.corpus, number, row), None)
        if wanted:
            raise _lost(path, wanted, "document", self.corpus)

    def _texts(self, judgments: Judgments) -> dict[str, str]:
        """The text of each judged query in the order of the file."""
        seen: dict[str, int] = {}
        texts = {}
        for number, row in _read(self.queries):
            query, text = _id(self.queries, number, row), row.get("text")
            if query in seen:
                raise InputError(f'{self.queries}:{number}: the id "{query}" stands in line {seen[query]} already')
            seen[query] = number
            if query not in judgments:
                continue
            if not isinstance(text, str) or not text.strip():
                raise InputError(f'{self.queries}:{number}: the query "{query}" has no "text"')
            texts[query] = text
        return texts


def _read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their line numbers."""
    from kib_tables.jsonl import read_jsonl

    try:
        yield from read_jsonl(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    from kib_tables.fields import unreadable

    return unreadable(path, error, "a file of a collection in BEIR's layout")


def _id(path: Path, number: int, row: dict[str, Any]) -> str:
    value = row.get("_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'{path}:{number}: no "_id"; each line has one, text or a whole number')
    return value


def _read_qrels(path: Path) -> Judgments:
    """Judgments by query and document in the order of the file, with or without a header."""
    judgments: Judgments = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    _add(judgments, path, number, _decoded(path, number, line))
    except OSError as error:
        raise _unreadable(path, error) from error
    if not judgments:
        raise InputError(f"{path}: no judgment in it; a line is query id, document id and grade, with tabs between")
    return judgments


def _decoded(path: Path, number: int, line: bytes) -> list[str]:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:{number}: not UTF-8: {error.reason} at byte {error.start}") from error


def _add(judgments: Judgments, path: Path, number: int, parts: list[str]) -> None:
    if len(parts) != COLUMNS:
        what = f"expected query id, document id and grade with tabs between, got {len(parts)} fields"
        raise InputError(f"{path}:{number}: {what}")
    query, document, grade = parts
    if not GRADE.fullmatch(grade.strip()):
        if number == 1 and HEADER.fullmatch(query.strip()):
            return
        raise InputError(f"{path}:{number}: expected a whole number as the grade, got {grade!r}")
    judged = judgments.setdefault(query, {})
    before = judged.setdefault(document, (int(grade), number))
    if before[0] != int(grade):
        again = f'query "{query}" and document "{document}" are judged otherwise in line {before[1]}'
        raise InputError(f"{path}:{number}: {again}")


def _lost(path: Path, lost: dict[str, int], what: str, where: Path) -> InputError:
    name, line = next(iter(lost.items()))
    more = f" ({len(lost):,} judged ids are not there)" if len(lost) > 1 else ""
    return InputError(f'{path}:{line}: the {what} "{name}" is not in {where}{more}')
