"""The corpus plugin `beir`, which reads a test collection in the BEIR format.

A collection has documents (corpus.jsonl), queries (queries.jsonl) and relevance judgments (qrels), which assign a grade
to pairs of a query id and a document id.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.records import Document, JudgedQuery
from kib.support.ids import normal_id

if TYPE_CHECKING:
    from kib_tables.row_documents import RowDocuments

__all__ = ["Beir", "BeirOptions"]

QRELS_COLUMNS = 3
JUDGMENT_LINE = "query id, document id and grade, separated by tabs"
GRADE = re.compile(r"[+-]?[0-9]{1,9}")
QUERY_COLUMN = re.compile(r"(query|topic|q)[-_ ]?id|query|topic", re.IGNORECASE)
"""Possible names of the first column in the header of a judgments file."""


class Judgment(NamedTuple):
    """The grade of a document for a query, and the line number of the judgment in the judgments file."""

    grade: int
    line: int


Judgments = dict[str, dict[str, Judgment]]
"""Judgments by query id and document id."""


class BeirOptions(Options):
    """Options of the corpus `beir`: the collection, and the split whose judgments are used."""

    path: InputPath = Field(
        description="Folder with corpus.jsonl, queries.jsonl and the judgment file, qrels/SPLIT.tsv or qrels.tsv."
    )
    split: str = Field(
        default="test",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description=(
            "Name of the split, whose judgments are read from qrels/SPLIT.tsv; for `test`, the file qrels.tsv also "
            "works."
        ),
    )
    empty: Literal["error", "skip"] = Field(
        default="skip",
        description="How to treat documents with neither title nor text: `skip` and count them, or report an `error`.",
    )
    ignore_identical_ids: Annotated[bool, NotInIdentity] = Field(
        default=True,
        description=(
            "Whether to leave the document with the id of the query out of the hits, as BEIR does; the queries of "
            "ArguAna and Quora are documents."
        ),
    )
    source: str = Field(default="", description="Source of the documents.")
    licence: str = Field(default="", description="Licence of the documents.")
    date: str = Field(
        default="", description="Date or version of the documents; recorded with the corpus but not used otherwise."
    )
    max_unpacked_mb: Annotated[int, NotInIdentity] = Field(
        default=64, ge=1, le=2047, description="Maximum size of one line; a larger line raises an error."
    )


class Beir:
    """The corpus `beir`, which reads a test collection in the BEIR format."""

    Options: ClassVar[type[Options]] = BeirOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: BeirOptions) -> None:
        self.options = options
        self.corpus_path = options.path / "corpus.jsonl"
        self.queries_path = options.path / "queries.jsonl"
        self.left_out = 0

    def fingerprint(self) -> str:
        """Return a digest of the documents, queries and judgments; raise InputError if a file cannot be read."""
        files = {"corpus": self.corpus_path, "queries": self.queries_path, "qrels": self._qrels_path()}
        digests = {}
        for name, path in files.items():
            try:
                digests[name] = digest_file(path)
            except OSError as error:
                raise _unreadable(path, error) from error
        return digest(digests)

    def documents(self) -> Iterator[Document]:
        """Yield the documents in the order of corpus.jsonl; if a document has no text, its title becomes the text."""
        rows = self._rows()
        yield from rows.documents(self._document_rows())
        self.left_out = len(rows.left_out)

    def judged_queries(self) -> Iterator[JudgedQuery]:
        """Yield the queries with at least one judgment.

        The queries are in the order of queries.jsonl, and each query's documents are in the order of the judgments
        file. Raise InputError with the file and line of a judgment if its query or document is not in the collection.
        """
        path = self._qrels_path()
        judgments = _read_qrels(path, self.options.max_unpacked_mb)
        identical = self._check_documents(path, judgments)
        texts = self._read_queries(judgments)
        missing = {
            query_id: next(iter(documents.values())).line
            for query_id, documents in judgments.items()
            if query_id not in texts
        }
        if missing:
            raise _missing_id(path, missing, "query", self.queries_path)
        for query_id, text in texts.items():
            grades = tuple((document_id, judgment.grade) for document_id, judgment in judgments[query_id].items())
            left_out = (query_id,) if self.options.ignore_identical_ids and query_id in identical else ()
            yield JudgedQuery(query_id, text, grades, left_out)

    def notes(self) -> dict[str, Any]:
        """Return the corpus date and the number of documents that the last pass omitted, for the corpus record."""
        return {"date": self.options.date, "left_out": self.left_out}

    def _rows(self) -> "RowDocuments":
        from kib_tables.options import Fields, Origin
        from kib_tables.row_documents import RowDocuments

        origin = Origin(source=self.options.source, licence=self.options.licence)
        return RowDocuments(self.corpus_path, Fields(id="_id"), origin, self.options.empty)

    def _qrels_path(self) -> Path:
        """Return the judgments file of the split; raise InputError unless exactly one such file exists."""
        folder, single, split = self.options.path / "qrels", self.options.path / "qrels.tsv", self.options.split
        candidates = [folder / f"{split}.tsv", *([single] if split == "test" else [])]
        existing = [path for path in candidates if path.is_file()]
        if len(existing) > 1:
            raise InputError(
                f"{self.options.path}: both {existing[0]} and {existing[1]} contain judgments; delete one file"
            )
        if not existing:
            splits = sorted(path.stem for path in folder.glob("*.tsv")) or (["test"] if single.is_file() else [])
            available = (
                f"available splits: {', '.join(splits)}" if splits else "the collection contains no judgment file"
            )
            raise InputError(f"{candidates[0]}: no such file; {available}")
        return existing[0]

    def _document_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the rows of corpus.jsonl with their line numbers; if a text is empty, the title becomes the text."""
        for line, row in _read_jsonl(self.corpus_path, self.options.max_unpacked_mb):
            title, text = row.get("title"), row.get("text")
            is_empty = text is None or (isinstance(text, str) and not text.strip())
            yield line, {**row, "title": "", "text": title} if is_empty and isinstance(title, str) else row

    def _check_documents(self, path: Path, judgments: Judgments) -> set[str]:
        """Return the ids of judged queries that are also ids of documents.

        Raise InputError if a judged document is missing from corpus.jsonl.
        """
        identical: set[str] = set()
        missing: dict[str, int] = {}
        for documents in judgments.values():
            for document_id, judgment in documents.items():
                missing.setdefault(document_id, judgment.line)
        for line, row in self._document_rows():
            document_id = _row_id(self.corpus_path, line, row)
            missing.pop(document_id, None)
            if document_id in judgments:
                identical.add(document_id)
        if missing:
            raise _missing_id(path, missing, "document", self.corpus_path)
        return identical

    def _read_queries(self, judgments: Judgments) -> dict[str, str]:
        """Return a mapping from judged query ids to query texts, in the order of queries.jsonl."""
        lines: dict[str, int] = {}
        texts = {}
        for line, row in _read_jsonl(self.queries_path, self.options.max_unpacked_mb):
            query_id, text = _row_id(self.queries_path, line, row), row.get("text")
            if query_id in lines:
                first = f"the id is already used in line {lines[query_id]}"
                raise InputError(f'{self.queries_path}:{line}: duplicate id "{query_id}"; {first}')
            lines[query_id] = line
            if query_id not in judgments:
                continue
            if not isinstance(text, str) or not text.strip():
                raise InputError(
                    f'{self.queries_path}:{line}: the field "text" of the query "{query_id}" is missing or empty'
                )
            texts[query_id] = text
        return texts


def _read_jsonl(path: Path, max_mb: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects in a JSON Lines file together with their line numbers."""
    from kib_tables.jsonl import read_jsonl

    try:
        yield from read_jsonl(path, max_mb)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    from kib_tables.row_documents import unreadable

    return unreadable(path, error, "a file in the BEIR format")


def _row_id(path: Path, line: int, row: dict[str, Any]) -> str:
    """Return the id of a document or query; an integer id is converted to a string."""
    value = normal_id(row.get("_id"))
    if not isinstance(value, str) or not value.strip():
        raise InputError(f'{path}:{line}: the field "_id" is missing or empty; expected a string or a whole number')
    return str(value)


def _read_qrels(path: Path, max_mb: int) -> Judgments:
    """Read the judgments in file order; the header line is optional."""
    from kib_tables.limited_lines import limited_lines

    judgments: Judgments = {}
    try:
        with path.open("rb") as file:
            for number, line in limited_lines(path, file, max_mb):
                if line.strip():
                    _add_judgment(judgments, path, number, _split_line(path, number, line))
    except OSError as error:
        raise _unreadable(path, error) from error
    if not judgments:
        raise InputError(f"{path}: the file contains no judgments; expected lines with {JUDGMENT_LINE}")
    return judgments


def _split_line(path: Path, number: int, line: bytes) -> list[str]:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}:{number}: the line is not valid UTF-8 ({error.reason} at byte {error.start})"
        ) from error


def _add_judgment(judgments: Judgments, path: Path, number: int, values: list[str]) -> None:
    """Add the judgment on a line unless the line is the header; raise InputError if the line is malformed."""
    if len(values) != QRELS_COLUMNS:
        raise InputError(
            f"{path}:{number}: expected {QRELS_COLUMNS} values per line ({JUDGMENT_LINE}), got {len(values)}"
        )
    query_id, document_id, grade = normal_id(values[0]), normal_id(values[1]), values[2]
    if not GRADE.fullmatch(grade.strip()):
        if number == 1 and QUERY_COLUMN.fullmatch(query_id.strip()):
            return
        raise InputError(f"{path}:{number}: invalid grade {grade!r}; expected a whole number")
    judgment = Judgment(int(grade), number)
    first = judgments.setdefault(query_id, {}).setdefault(document_id, judgment)
    if first.grade != judgment.grade:
        pair = f'query "{query_id}" and document "{document_id}"'
        raise InputError(f"{path}:{number}: the grade of {pair} differs from the grade in line {first.line}")


def _missing_id(path: Path, missing: dict[str, int], kind: str, collection: Path) -> InputError:
    """Return an InputError for judgments whose ids are missing from the collection.

    `missing` maps each missing id to its line number.
    """
    first, line = next(iter(missing.items()))
    total = f" ({len(missing):,} judged ids are missing in total)" if len(missing) > 1 else ""
    return InputError(f'{path}:{line}: the judged {kind} "{first}" is missing from {collection}{total}')
