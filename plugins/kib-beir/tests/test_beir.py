import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest

from kib.commands.check import check_corpora, read_corpora
from kib.commands.retrieve import SearchRequest, render, retrieve
from kib.errors import InputError
from kib.progress import SilentProgress
from kib.records import Document, JudgedQuery
from kib.store.work import Work
from kib.testing import make_plugin
from kib_beir import Beir

DATA = Path(os.environ.get("KIB_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
CORPUS = [{"_id": "d1", "title": "Pump", "text": "The red lever."}, {"_id": "d2", "title": "", "text": "A bridge."}]
QUERIES = [{"_id": "q1", "text": "Which lever?"}, {"_id": "q2", "text": "Who asked?"}, {"_id": "q3", "text": "A?"}]
QRELS = "q3\td2\t2\nq1\td1\t1\nq3\td1\t0\n"


def json_lines(values: list[dict[str, Any]]) -> str:
    """Return values as text in the JSON Lines format."""
    return "".join(json.dumps(value) + "\n" for value in values)


def write_collection(folder: Path, qrels: str = QRELS, name: str = "qrels/test.tsv", **files: str) -> Path:
    """Write a collection whose judgments are in the file `name`; `files` may replace the corpus or the queries."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(qrels, encoding="utf-8")
    (folder / "corpus.jsonl").write_text(files.get("corpus", json_lines(CORPUS)), encoding="utf-8")
    (folder / "queries.jsonl").write_text(files.get("queries", json_lines(QUERIES)), encoding="utf-8")
    return folder


def read_queries(folder: Path, **options: Any) -> list[JudgedQuery]:
    """Return the judged queries of a collection."""
    return list(make_plugin(Beir, {"path": folder, **options}).judged_queries())


@pytest.mark.parametrize("line", ["q1\td1\t1.0\n", "q1\td1\tone\n"])
def test_invalid_first_line(tmp_path: Path, line: str) -> None:
    """In a judgments file, a first line with an invalid grade raises an error unless the line is a header."""
    with pytest.raises(InputError, match=r":1: invalid grade '(1\.0|one)'; expected a whole number"):
        read_queries(write_collection(tmp_path, line + QRELS))


@pytest.mark.parametrize("header", ["", "query-id\tcorpus-id\tscore\n", "\ufeffquery-id\tcorpus-id\tscore\r\n"])
@pytest.mark.parametrize("name", ["qrels.tsv", "qrels/test.tsv"])
def test_judged_queries(tmp_path: Path, header: str, name: str) -> None:
    """Judged queries are read with their grades in the order of queries.jsonl, with or without a judgments header."""
    found = read_queries(write_collection(tmp_path, header + QRELS, name))
    assert found == [
        JudgedQuery("q1", "Which lever?", (("d1", 1),)),
        JudgedQuery("q3", "A?", (("d2", 2), ("d1", 0))),
    ]


CHESS = "Schools should teach chess because it trains memory and patience."
OWN_QUERIES = {
    "corpus": [
        {"_id": "a1", "text": f"{CHESS} {CHESS[:26]}. Chess!"},
        {"_id": "a2", "text": "Chess in schools wastes time that reading needs."},
        {"_id": "a3", "text": "The ferry leaves at noon."},
        {"_id": 4, "text": "A text about pumps."},
    ],
    "queries": [{"_id": "a1", "text": CHESS}, {"_id": "q2", "text": "When does the ferry leave?"}],
}


@pytest.mark.parametrize("chunk", ["", "chunk = { sentences = 1 }\n"])
@pytest.mark.parametrize(("options", "ndcg"), [("", 1.0), ("ignore_identical_ids = false\n", 0.8155)])
def test_queries_that_are_documents(tmp_path: Path, options: str, ndcg: float, chunk: str) -> None:
    """As in BEIR, all passages of the document with the id of the query are left out, unless an option keeps them."""
    files = {name: json_lines(rows) for name, rows in OWN_QUERIES.items()}
    write_collection(tmp_path, "a1\ta2\t1\nq2\ta3\t1\n", **files)
    spec = tmp_path / "s.toml"
    table = f'[corpora.c]\nplugin = "beir"\npath = "."\n{chunk}{options}'
    spec.write_text(f'schema = 1\nname = "own"\n{table}[retrievers.words]\nplugin = "bm25"\n', encoding="utf-8")
    report = retrieve(spec, SearchRequest(depth=10), Work(tmp_path / "work"), SilentProgress())
    [line] = report.blocks[0].lines
    assert line.measures["nDCG@10"].mean == pytest.approx(ndcg, abs=1e-4)
    left_out = int(ndcg == 1)
    assert json.loads(render(report, "json"))["blocks"][0]["own_documents_left_out"] == left_out
    assert ("left out of the hits: 1 of 2 queries" in render(report, "terminal")) == bool(left_out)


OWN_GOLD = [
    ("a1\ta1\t1\nq2\ta3\t1\n", 0.5, ["a1"]),
    ("a1\ta1\t1\na1\ta2\t1\nq2\ta3\t1\n", 0.75, ["a1"]),
    ("a1\ta1\t0\na1\ta2\t2\nq2\ta3\t1\n", 1.0, []),
]


@pytest.mark.parametrize(("qrels", "recall", "named"), OWN_GOLD)
def test_gold_that_is_the_query_itself(tmp_path: Path, qrels: str, recall: float, named: list[str]) -> None:
    """As in BEIR, a relevant document that is left out counts as not found, and its query is named in reports."""
    write_collection(tmp_path, qrels, **{name: json_lines(rows) for name, rows in OWN_QUERIES.items()})
    spec = tmp_path / "s.toml"
    tables = '[corpora.c]\nplugin = "beir"\npath = "."\n[retrievers.words]\nplugin = "bm25"\n'
    spec.write_text(f'schema = 1\nname = "own"\n{tables}', encoding="utf-8")
    work = Work(tmp_path / "work")
    report = retrieve(spec, SearchRequest(depth=10), work, SilentProgress())
    [block] = report.blocks
    assert block.lines[0].measures["recall@10"].mean == recall
    assert json.loads(render(report, "json"))["blocks"][0]["own_documents_relevant"] == len(named)
    corpora = read_corpora(spec)
    assert corpora
    for text in (render(report, "terminal"), check_corpora(*corpora, work, SilentProgress()).text):
        assert "left out of the hits: 1 of 2 queries." in text
        assert ("is relevant to 1 query (a1); as in BEIR, this document counts as not found" in text) == bool(named)


def test_split(tmp_path: Path) -> None:
    """The option `split` selects the judgments file to read."""
    write_collection(tmp_path)
    (tmp_path / "qrels" / "dev.tsv").write_text("q2\td1\t1\n", encoding="utf-8")
    assert [query.id for query in read_queries(tmp_path, split="dev")] == ["q2"]
    with pytest.raises(InputError, match=r"train\.tsv: no such file; available splits: dev, test$"):
        read_queries(tmp_path, split="train")


def test_single_file_is_test(tmp_path: Path) -> None:
    """If the only judgments file is qrels.tsv, the collection has the split `test` and no other split."""
    write_collection(tmp_path, name="qrels.tsv")
    with pytest.raises(InputError, match=r"dev\.tsv: no such file; available splits: test$"):
        read_queries(tmp_path, split="dev")


def test_two_files(tmp_path: Path) -> None:
    """Two judgments files for one split raise an error that names both files."""
    write_collection(tmp_path, name="qrels.tsv")
    write_collection(tmp_path, name="qrels/test.tsv")
    with pytest.raises(InputError, match=r"both .*test\.tsv and .*qrels\.tsv contain judgments; delete one file"):
        read_queries(tmp_path)


def test_no_judgments(tmp_path: Path) -> None:
    """A collection without judgments raises an error."""
    write_collection(tmp_path).joinpath("qrels", "test.tsv").unlink()
    with pytest.raises(InputError, match=r"test\.tsv: no such file; the collection contains no judgment file"):
        make_plugin(Beir, {"path": tmp_path}).fingerprint()


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        (
            "q1\td1\t1\nq1\td9\t1\nq3\td8\t1\n",
            r'test\.tsv:2: the judged document "d9" is missing from .*corpus\.jsonl \(2 judged',
        ),
        ("q1\td1\t1\nq1\td9\t0\n", r'test\.tsv:2: the judged document "d9" is missing from .*corpus\.jsonl$'),
        ("q1\td1\t1\nq9\td1\t1\n", r'test\.tsv:2: the judged query "q9" is missing from .*queries\.jsonl$'),
        (
            "q1\td1\t1\nq1\td2\n",
            r"test\.tsv:2: expected 3 values per line \(query id, document id and grade, separated by tabs\), got 2",
        ),
        (
            "q1 0 d1 1\n",
            r"test\.tsv:1: expected 3 values per line \(query id, document id and grade, separated by tabs\), got 1",
        ),
        ("q1\td1\t1\nq1\td2\tyes\n", r"test\.tsv:2: invalid grade 'yes'; expected a whole number"),
        (
            "q1\td1\t1\nq1\td1\t2\n",
            r'test\.tsv:2: the grade of query "q1" and document "d1" differs from the grade in line 1',
        ),
        ("", r"test\.tsv: the file contains no judgments; "),
        ("query-id\tcorpus-id\tscore\n", r"test\.tsv: the file contains no judgments; "),
    ],
)
def test_invalid_judgments(tmp_path: Path, qrels: str, message: str) -> None:
    """A malformed judgment, or a judged id missing from the collection, raises an error that states file and line."""
    with pytest.raises(InputError, match=message):
        read_queries(write_collection(tmp_path, qrels))


def test_duplicate_judgment(tmp_path: Path) -> None:
    """If a judgment occurs twice with the same grade, the repetition is ignored."""
    assert read_queries(write_collection(tmp_path, "q1\td1\t1\nq1\td1\t1\n"))[0].relevance == (("d1", 1),)


def test_judgments_not_utf8(tmp_path: Path) -> None:
    """A judgments file that is not UTF-8 raises an error that states the file and line."""
    write_collection(tmp_path).joinpath("qrels", "test.tsv").write_bytes(b"q1\td1\t1\nq\xff\td1\t1\n")
    with pytest.raises(InputError, match=r"test\.tsv:2: the line is not valid UTF-8 \(invalid start byte at byte 1\)"):
        read_queries(tmp_path)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([*QUERIES, QUERIES[0]], r'queries\.jsonl:4: duplicate id "q1"; the id is already used in line 1'),
        (
            [{"_id": "q1", "text": " "}, *QUERIES[1:]],
            r'queries\.jsonl:1: the field "text" of the query "q1" is missing',
        ),
        ([{"id": "q1", "text": "?"}], r'queries\.jsonl:1: the field "_id" is missing or empty'),
    ],
)
def test_invalid_queries(tmp_path: Path, queries: list[dict[str, Any]], message: str) -> None:
    """A duplicate query, or a query without text or id, raises an error that states the file and line."""
    with pytest.raises(InputError, match=message):
        read_queries(write_collection(tmp_path, queries=json_lines(queries)))


def test_numeric_ids(tmp_path: Path) -> None:
    """An integer id in JSON matches the same number written as text in the judgments."""
    corpus, queries = json_lines([{"_id": 7, "text": "one"}]), json_lines([{"_id": 1, "text": "?"}])
    assert read_queries(write_collection(tmp_path, "1\t7\t1\n", corpus=corpus, queries=queries))[0].relevance == (
        ("7", 1),
    )


def test_decomposed_ids(tmp_path: Path) -> None:
    """Judgments name queries and documents in composed or decomposed Unicode."""
    composed, decomposed = "für", "fu\u0308r"
    write_collection(
        tmp_path,
        f"{composed}\t{decomposed}\t1\n",
        corpus=json_lines([{"_id": composed, "title": "", "text": "A bridge."}]),
        queries=json_lines([{"_id": decomposed, "text": "Which?"}]),
    )
    assert read_queries(tmp_path) == [JudgedQuery(composed, "Which?", ((composed, 1),), (composed,))]


def test_documents(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The title replaces a missing text; a document with neither title nor text is omitted, but remains judged."""
    corpus = json_lines([*CORPUS, {"_id": "d3", "title": "Alone", "text": " "}, {"_id": "d4", "title": "", "text": ""}])
    write_collection(tmp_path, "q1\td4\t1\n", corpus=corpus)
    plugin = make_plugin(Beir, {"path": tmp_path, "licence": "CC0-1.0"})
    with caplog.at_level(logging.WARNING):
        found = list(plugin.documents())
    assert found[2] == Document("d3", "", "Alone", "", "CC0-1.0")
    assert [document.id for document in found] == ["d1", "d2", "d3"]
    [message] = caplog.messages
    assert message.startswith(f"{tmp_path / 'corpus.jsonl'}: ")
    assert message.split()[-1] == "d4"
    assert plugin.notes()["left_out"] == 1
    assert read_queries(tmp_path)[0].relevance == (("d4", 1),)
    with pytest.raises(InputError, match=r'corpus\.jsonl:4: the field "text" is empty'):
        list(make_plugin(Beir, {"path": tmp_path, "empty": "error"}).documents())


def test_duplicate_document(tmp_path: Path) -> None:
    """A duplicate document id raises an error that states both line numbers."""
    write_collection(tmp_path, corpus=json_lines([*CORPUS, CORPUS[0]]))
    with pytest.raises(InputError, match=r'corpus\.jsonl:3: .*"d1".* line 1\b'):
        list(make_plugin(Beir, {"path": tmp_path}).documents())


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    """A missing file of the collection raises an error that names the file."""
    write_collection(tmp_path).joinpath(name).unlink()
    plugin = make_plugin(Beir, {"path": tmp_path})
    for method in (plugin.fingerprint, lambda: list(plugin.judged_queries())):
        with pytest.raises(InputError, match=re.escape(f"{name}: no such file")):
            method()


@pytest.mark.parametrize(
    ("name", "documents", "queries", "judgments"), [("scifact", 5183, 300, 339), ("vaswani", 11429, 93, 2083)]
)
def test_published(name: str, documents: int, queries: int, judgments: int) -> None:
    """The collections SciFact and Vaswani have the published numbers of documents, queries and judgments."""
    if not (DATA / name).is_dir():
        pytest.skip(f"no {name} in {DATA}; KIB_TEST_DATA names the folder of test data")
    plugin = make_plugin(Beir, {"path": DATA / name})
    found = list(plugin.judged_queries())
    assert sum(1 for _ in plugin.documents()) == documents
    assert len(found) == queries
    assert sum(len(query.relevance) for query in found) == judgments
