import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Document, JudgedQuery
from kib.testing import make_plugin
from kib_beir import Beir

DATA = Path(os.environ.get("KIB_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
CORPUS = [{"_id": "d1", "title": "Pump", "text": "The red lever."}, {"_id": "d2", "title": "", "text": "A bridge."}]
QUERIES = [{"_id": "q1", "text": "Which lever?"}, {"_id": "q2", "text": "Who asked?"}, {"_id": "q3", "text": "A?"}]
QRELS = "q3\td2\t2\nq1\td1\t1\nq3\td1\t0\n"


def lines(values: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def collection(place: Path, qrels: str = QRELS, name: str = "qrels/test.tsv", **files: str) -> Path:
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text(qrels, encoding="utf-8")
    (place / "corpus.jsonl").write_text(files.get("corpus", lines(CORPUS)), encoding="utf-8")
    (place / "queries.jsonl").write_text(files.get("queries", lines(QUERIES)), encoding="utf-8")
    return place


def judged(place: Path, **options: Any) -> list[JudgedQuery]:
    return list(make_plugin(Beir, {"path": place, **options}).judged_queries())


@pytest.mark.parametrize("line", ["q1\td1\t1.0\n", "q1\td1\tone\n"])
def test_a_first_judgment_is_no_header(tmp_path: Path, line: str) -> None:
    """A first line whose grade is no whole number is a mistake like any other's, unless it names the columns."""
    with pytest.raises(InputError, match=r":1: expected a whole number as the grade, got '(1\.0|one)'"):
        judged(collection(tmp_path, line + QRELS))


@pytest.mark.parametrize("header", ["", "query-id\tcorpus-id\tscore\n", "\ufeffquery-id\tcorpus-id\tscore\r\n"])
@pytest.mark.parametrize("name", ["qrels.tsv", "qrels/test.tsv"])
def test_judged_queries(tmp_path: Path, header: str, name: str) -> None:
    """Judged queries come in the order of queries.jsonl with their grades, header or not, either layout."""
    found = judged(collection(tmp_path, header + QRELS, name))
    assert found == [
        JudgedQuery("q1", "Which lever?", (("d1", 1),)),
        JudgedQuery("q3", "A?", (("d2", 2), ("d1", 0))),
    ]


def test_split(tmp_path: Path) -> None:
    """`split` says which judgments count."""
    collection(tmp_path)
    (tmp_path / "qrels" / "dev.tsv").write_text("q2\td1\t1\n", encoding="utf-8")
    assert [query.id for query in judged(tmp_path, split="dev")] == ["q2"]
    with pytest.raises(InputError, match=r"train\.tsv: no such file; the splits are dev, test$"):
        judged(tmp_path, split="train")


def test_single_file_is_test(tmp_path: Path) -> None:
    """A single qrels.tsv holds the judgments of `test` and of no other split."""
    collection(tmp_path, name="qrels.tsv")
    with pytest.raises(InputError, match=r"dev\.tsv: no such file; the splits are test$"):
        judged(tmp_path, split="dev")


def test_two_files(tmp_path: Path) -> None:
    """Judgments in both places are an error that names both."""
    collection(tmp_path, name="qrels.tsv")
    collection(tmp_path, name="qrels/test.tsv")
    with pytest.raises(InputError, match=r"judgments in .*test\.tsv and in .*qrels\.tsv"):
        judged(tmp_path)


def test_no_judgments(tmp_path: Path) -> None:
    """A folder without judgments is an error."""
    collection(tmp_path).joinpath("qrels", "test.tsv").unlink()
    with pytest.raises(InputError, match=r"test\.tsv: no such file; it has no judgments at all"):
        make_plugin(Beir, {"path": tmp_path}).fingerprint()


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ("q1\td1\t1\nq1\td9\t1\nq3\td8\t1\n", r'test\.tsv:2: the document "d9" is not in .*corpus\.jsonl \(2 judged'),
        ("q1\td1\t1\nq1\td9\t0\n", r'test\.tsv:2: the document "d9" is not in .*corpus\.jsonl$'),
        ("q1\td1\t1\nq9\td1\t1\n", r'test\.tsv:2: the query "q9" is not in .*queries\.jsonl$'),
        ("q1\td1\t1\nq1\td2\n", r"test\.tsv:2: expected query id, document id and grade with tabs between, got 2"),
        ("q1 0 d1 1\n", r"test\.tsv:1: expected query id, document id and grade with tabs between, got 1"),
        ("q1\td1\t1\nq1\td2\tyes\n", r"test\.tsv:2: expected a whole number as the grade, got 'yes'"),
        ("q1\td1\t1\nq1\td1\t2\n", r'test\.tsv:2: query "q1" and document "d1" are judged otherwise in line 1'),
        ("", r"test\.tsv: no judgment in it"),
        ("query-id\tcorpus-id\tscore\n", r"test\.tsv: no judgment in it"),
    ],
)
def test_wrong_judgments(tmp_path: Path, qrels: str, message: str) -> None:
    """A lost id and a malformed judgment are errors with file and line."""
    with pytest.raises(InputError, match=message):
        judged(collection(tmp_path, qrels))


def test_judged_twice(tmp_path: Path) -> None:
    """A judgment that stands twice with the same grade counts once."""
    assert judged(collection(tmp_path, "q1\td1\t1\nq1\td1\t1\n"))[0].relevance == (("d1", 1),)


def test_judgments_not_utf8(tmp_path: Path) -> None:
    """Judgments that are not UTF-8 are an error with file and line."""
    collection(tmp_path).joinpath("qrels", "test.tsv").write_bytes(b"q1\td1\t1\nq\xff\td1\t1\n")
    with pytest.raises(InputError, match=r"test\.tsv:2: not UTF-8: invalid start byte at byte 1"):
        judged(tmp_path)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([*QUERIES, QUERIES[0]], r'queries\.jsonl:4: the id "q1" stands in line 1 already'),
        ([{"_id": "q1", "text": " "}, *QUERIES[1:]], r'queries\.jsonl:1: the query "q1" has no "text"'),
        ([{"id": "q1", "text": "?"}], r'queries\.jsonl:1: no "_id"'),
    ],
)
def test_wrong_queries(tmp_path: Path, queries: list[dict[str, Any]], message: str) -> None:
    """A query that stands twice, has no text or no id is an error with file and line."""
    with pytest.raises(InputError, match=message):
        judged(collection(tmp_path, queries=lines(queries)))


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    """Ids may be whole numbers in JSON; the judgments have them as text."""
    corpus, queries = lines([{"_id": 7, "text": "one"}]), lines([{"_id": 1, "text": "?"}])
    assert judged(collection(tmp_path, "1\t7\t1\n", corpus=corpus, queries=queries))[0].relevance == (("7", 1),)


def test_documents(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A title without text is the text; a document with neither is left out, counted and named, and stays judged."""
    corpus = lines([*CORPUS, {"_id": "d3", "title": "Alone", "text": " "}, {"_id": "d4", "title": "", "text": ""}])
    collection(tmp_path, "q1\td4\t1\n", corpus=corpus)
    plugin = make_plugin(Beir, {"path": tmp_path, "licence": "CC0-1.0"})
    with caplog.at_level(logging.WARNING):
        found = list(plugin.documents())
    assert found[2] == Document("d3", "", "Alone", "", "CC0-1.0")
    assert [document.id for document in found] == ["d1", "d2", "d3"]
    assert caplog.messages == [f"{tmp_path / 'corpus.jsonl'}: 1 without text left out: d4"]
    assert plugin.notes()["left_out"] == 1
    assert judged(tmp_path)[0].relevance == (("d4", 1),)
    with pytest.raises(InputError, match=r'corpus\.jsonl:4: "text" is empty'):
        list(make_plugin(Beir, {"path": tmp_path, "empty": "error"}).documents())


def test_document_twice(tmp_path: Path) -> None:
    """An id that two documents have is an error that names both lines."""
    collection(tmp_path, corpus=lines([*CORPUS, CORPUS[0]]))
    with pytest.raises(InputError, match=r'corpus\.jsonl:3: the id "d1" stands in line 1 already'):
        list(make_plugin(Beir, {"path": tmp_path}).documents())


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    """A file of the layout that is not there is an error that names it, whoever reads it first."""
    collection(tmp_path).joinpath(name).unlink()
    plugin = make_plugin(Beir, {"path": tmp_path})
    for method in (plugin.fingerprint, lambda: list(plugin.judged_queries())):
        with pytest.raises(InputError, match=re.escape(f"{name}: no such file")):
            method()


@pytest.mark.parametrize(
    ("name", "documents", "queries", "judgments"), [("scifact", 5183, 300, 339), ("vaswani", 11429, 93, 2083)]
)
def test_published(name: str, documents: int, queries: int, judgments: int) -> None:
    """Published collections have the documents, queries and judgments that they are known for."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no {name} in {DATA}; KIB_TEST_DATA names the folder of test data")
    plugin = make_plugin(Beir, {"path": DATA / name})
    found = list(plugin.judged_queries())
    assert sum(1 for _ in plugin.documents()) == documents
    assert len(found) == queries
    assert sum(len(query.relevance) for query in found) == judgments
