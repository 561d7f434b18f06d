"""The queries of `kib retrieve`: from tasks, from a corpus that is a test collection, or from a file."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kib.commands.retrieve.records import QuerySet
from kib.errors import InputError
from kib.interfaces import HarnessTask, JudgedCorpus
from kib.plugins.builtin.questions_file_task import FileTask
from kib.plugins.resolve import Lock
from kib.records import JudgedQuery, RenderedQuestion, document_id
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin, iterate_plugin
from kib.run.steps.gold_passages import LocatedGold, locate_gold
from kib.run.steps.passages import Passages
from kib.run.steps.render_questions import task_queries
from kib.support.ids import normal_id
from kib.support.json_parsing import parse_json
from kib.support.phrases import counted
from kib.support.question_text import trimmed

__all__ = ["of_corpus", "of_file", "of_tasks"]

FIELDS = ("id", "_id", "text", "relevance", "gold", "metadata")


def of_tasks(context: RunContext, corpus: str, passages: Passages) -> list[QuerySet]:
    """Return the test questions of tasks with gold passages in a corpus, or else of all tasks that use this corpus."""
    tables = [table for table in context.spec.tasks.values() if table.corpus == corpus and table.role == "target"]
    # lm-eval tasks have no gold passages and take seconds to read, so these tasks are used only if there are no other
    # questions.
    own = [table.name for table in tables if not isinstance(context.lock.get("tasks", table.name).plugin, HarnessTask)]
    found = [_of_task(name, context, passages) for name in own]
    if judged := [one for one in found if one.relevance]:
        return judged
    rest = [table.name for table in tables if table.name not in own]
    return found + [_of_task(name, context, passages) for name in rest]


def _of_task(name: str, context: RunContext, passages: Passages) -> QuerySet:
    asked = task_queries(name, context)
    located = _located(asked, passages)  # the search prints the remarks on gold of tasks
    return _by_gold(f"task {name}", asked, located, name)


def _located(asked: Iterable[RenderedQuestion], passages: Passages) -> LocatedGold:
    return locate_gold({one.question_id: one.gold for one in asked if one.gold}, passages)


def _by_gold(title: str, asked: list[RenderedQuestion], located: LocatedGold, task: str | None = None) -> QuerySet:
    """Return questions with the passages that contain their gold."""
    relevance = {name: dict.fromkeys(ids, 1) for name, ids in located.passages.items()}
    return QuerySet(title, asked, "passages", relevance, task)


def of_corpus(name: str, lock: Lock) -> QuerySet | None:
    """Return the judged queries of a corpus, or None; the corpus plugin checks the document ids of the judgments."""
    locked = lock.get("corpora", name)
    if not isinstance(locked.plugin, JudgedCorpus):
        return None
    with call_plugin(locked, "judged_queries"):
        queries = locked.plugin.judged_queries()
    return _by_judgment(f"queries of corpus {name}", iterate_plugin(locked, "judged_queries", queries, JudgedQuery))


def _by_judgment(title: str, queries: Iterable[JudgedQuery]) -> QuerySet:
    """Return queries with judged documents, without white space around their texts, which is counted in the title.

    Raises InputError if there is no query or if a query id is duplicated.
    """
    read = list(map(_with_normal_ids, queries))
    found = [replace(query, text=trimmed(query.text)) for query in read]
    count = sum(query != other for query, other in zip(found, read, strict=True))
    title += f" (removed white space around {count:,} of them)" if count else ""
    asked = [RenderedQuestion(query.id, "", "", query.text) for query in found]
    _check_ids(title, asked)
    judged = [query for query in found if any(grade > 0 for _, grade in query.relevance)]
    left_out = {query.id: query.left_out for query in found if query.left_out}
    relevance = {query.id: dict(query.relevance) for query in judged}
    return QuerySet(title, asked, "documents", relevance, left_out=left_out)


def _with_normal_ids(query: JudgedQuery) -> JudgedQuery:
    """Return a query with ids in Unicode's composed form, as the corpus names its documents."""
    relevance = tuple((normal_id(document), grade) for document, grade in query.relevance)
    left_out = tuple(map(normal_id, query.left_out))
    return replace(query, id=normal_id(query.id), relevance=relevance, left_out=left_out)


def _check_documents(title: str, relevance: Mapping[str, Mapping[str, int]], passages: Passages) -> None:
    """Raise InputError if any judged document is not in the corpus."""
    documents = {document_id(one) for one in passages.ids}
    lost = dict.fromkeys(one for grades in relevance.values() for one in grades if one not in documents)
    if lost:
        shown = ", ".join(map(repr, list(lost)[:3]))
        subject = f"{counted(len(lost), 'judged document')} {'is' if len(lost) == 1 else 'are'}"
        raise InputError(f"{title}: {subject} not in the corpus: {shown}")


def _check_ids(title: str, asked: list[RenderedQuestion]) -> None:
    seen: set[str] = set()
    for one in asked:
        if one.question_id in seen:
            raise InputError(f"{title}: the id {one.question_id!r} appears twice; ids must be unique")
        seen.add(one.question_id)
    if not asked:
        raise InputError(f"{title}: no queries found")


def of_file(path: Path, passages: Passages, say: Callable[[str], None] = lambda _: None) -> QuerySet:
    """Read queries from a file: questions of a `file` task (.jsonl, .csv, .xlsx), or ids with texts (.jsonl, .tsv).

    A JSON line may contain judgments: `relevance` with grades by document id, or `gold` with document ids. A line of a
    .tsv file consists of an id, a tab and a text. `say` reports gold ranges that were moved, or that have no quote.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    title, ending = f"queries of {path.name}", path.suffix.lower()
    if ending == ".tsv":
        return _by_judgment(title, _tsv(path))
    if ending in (".csv", ".xlsx") or (ending == ".jsonl" and _holds_questions(path)):
        task = FileTask(FileTask.Options(path=path))
        questions = list(task.questions("test"))
        title += "".join(f" ({remark})" for remark in task.remarks("test"))
        asked = [RenderedQuestion(one.id, "", "", one.text, gold=one.gold, group=one.group) for one in questions]
        located = _located(asked, passages)
        for remark in located.remarks():
            say(f"{title}: {remark}")
        return _by_gold(title, asked, located)
    if ending != ".jsonl":
        raise InputError(
            f"{path}: expected a .jsonl, .csv, .xlsx or .tsv file, got {ending or 'a file without an extension'}"
        )
    aliases = passages.aliases()
    found = _by_judgment(title, (_named(where, _query(where, row), aliases) for where, row in _rows(path)))
    _check_documents(title, found.relevance, passages)
    return found


def _named(where: str, query: JudgedQuery, aliases: Mapping[str, str]) -> JudgedQuery:
    """Replace aliases with document ids; raise InputError if aliases of one document have different grades."""
    grades: dict[str, int] = {}
    for name, grade in query.relevance:
        document = aliases.get(normal_id(name), normal_id(name))
        if grades.setdefault(document, grade) != grade:
            raise InputError(
                f"{where}: relevance: {name!r} is an alias of document {document!r}, which also has a different grade"
            )
    return replace(query, relevance=tuple(grades.items()))


def _holds_questions(path: Path) -> bool:
    """Return whether the first line of a file is a question of a `file` task."""
    first: tuple[str, Any] = next(_rows(path), ("", {}))
    return "question" in first[1]


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for where, line in _lines(path):
        row = parse_json(line, where)
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected an object with the keys id and text")
        yield where, row


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the position and the text of each line that is not empty."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error


def _tsv(path: Path) -> Iterator[JudgedQuery]:
    for where, line in _lines(path):
        name, tab, text = line.partition("\t")
        if not (name.strip() and tab and text.strip()):
            raise InputError(f"{where}: expected an id, a tab and the text of a query")
        yield JudgedQuery(name.strip(), text, ())


def _query(where: str, row: Mapping[str, Any]) -> JudgedQuery:
    if unknown := sorted(set(row) - set(FIELDS)):
        raise InputError(
            f"{where}: {unknown[0]}: unknown field; expected id, text, relevance, gold or one of BEIR's fields "
            "(_id, metadata)"
        )
    name, text = normal_id(row.get("id", row.get("_id"))), row.get("text")
    for key, value in (("id", name), ("text", text)):
        if not isinstance(value, str) or not value.strip() or (key == "id" and not value.isprintable()):
            raise InputError(f"{where}: {key}: expected text, got {value!r}")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise InputError(f"{where}: {key}: contains an unpaired surrogate, which is not a character: {value!r}")
    return JudgedQuery(str(name), str(text), tuple(_grades(where, row)))


def _grades(where: str, row: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    relevance, gold = row.get("relevance"), row.get("gold")
    if relevance is not None and gold is not None:
        raise InputError(f"{where}: expected either `relevance` or `gold`, got both")
    if gold is not None:
        named = [normal_id(one) for one in (gold if isinstance(gold, list) else [gold])]
        if not all(isinstance(one, str) for one in named):
            raise InputError(f"{where}: gold: expected a document id or a list of document ids, got {gold!r}")
        relevance = dict.fromkeys(named, 1)
    if not isinstance(relevance or {}, dict):
        raise InputError(f"{where}: relevance: expected an object that maps document ids to grades, got {relevance!r}")
    for document, grade in (relevance or {}).items():
        if type(grade) is not int:
            raise InputError(f"{where}: relevance: expected a whole number as the grade of {document!r}, got {grade!r}")
        yield document, grade
