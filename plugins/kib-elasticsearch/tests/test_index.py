"""Tests of BM25 search on the server, covering scores, the order of hits and the check for completeness."""

import math
from itertools import islice
from urllib.error import HTTPError

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.errors import InputError
from kib.records import Passage, Query
from kib.testing import make_plugin
from kib_elasticsearch import Elasticsearch
from kib_elasticsearch.index_metadata import read_metadata

SPEC = """
schema = 1
name = "lost"
[corpora.c]
plugin = "jsonl"
path = "corpus.jsonl"
[retrievers.words]
plugin = "elasticsearch"
url = "{url}"
ca_certs = "{ca_certs}"
user = "{user}"
password_env = "{password_env}"
"""

COUNT = 600
LEVER = [Query("q", "lever")]
LONG_ID = "d" * 600


def passages(*texts):
    """Return one passage per text."""
    return [Passage(f"p{number}", f"d{number}", "", text, 0, len(text)) for number, text in enumerate(texts)]


def find(retriever, folder, query, given, k=10):
    """Build an index, and return the hits for one query."""
    retriever.build(given, folder)
    return retriever.search(folder, [Query("q", query)], k)[0]


def ids(hits):
    """Return the passage ids of the given hits."""
    return [hit.passage for hit in hits]


def index_name(folder):
    """Return the name of the server's index that belongs to a work folder."""
    return read_metadata(folder).index


@pytest.fixture(scope="module")
def library(node, make, tmp_path_factory):
    """A retriever, and the work folder of an index that the tests do not modify."""
    folder = tmp_path_factory.mktemp("library")
    retriever = make(node, bulk_bytes=1000)
    titled = Passage("titled", "d", "Relief valve", "Opens at eleven bar.", 0, 20)
    long = [Passage(f"{LONG_ID}{end}", "d", "", f"flange {end} " * 2000, 0, 0) for end in "xy"]
    retriever.build([titled, *long], folder)
    return retriever, folder


@pytest.fixture(scope="module")
def undisturbed(node, make, synthetic, queries, tmp_path_factory):
    """The hits among the synthetic passages after an uninterrupted build."""
    folder = tmp_path_factory.mktemp("undisturbed")
    retriever = make(node)
    retriever.build(synthetic(COUNT), folder)
    return retriever.search(folder, queries, 20)


def test_formula(node, make, tmp_path):
    """A hit's score is Lucene's BM25 score with the given `k1` and `b`."""
    given = passages("red lever", "red red door of boiler room", "green")
    hits = find(make(node, analyzer="standard", k1=1.7, b=0.3), tmp_path, "red", given)
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean = (2 + 6 + 1) / 3

    def score(frequency, length):
        return (1.7 + 1) * idf * frequency / (frequency + 1.7 * (1 - 0.3 + 0.3 * length / mean))

    expected = sorted([(score(1, 2), "p0"), (score(2, 6), "p1")], reverse=True)
    assert [(pytest.approx(hit.score, rel=1e-6), hit.passage) for hit in hits] == expected


def test_many_ties(node, make, tmp_path):
    """Passages with equal scores are ordered by passage id, regardless of their position in the corpus."""
    same = [Passage(f"p{number * 37 % 100:02}", "d", "", "a red lever", 0, 11) for number in range(100)]
    assert ids(find(make(node, bulk_passages=21), tmp_path, "red lever", same, k=3)) == ["p00", "p01", "p02"]


def test_title_counts(library):
    """A search finds words in a passage's title as well as words in its text."""
    retriever, folder = library
    assert ids(retriever.search(folder, [Query("q", "valve")], 5)[0]) == ["titled"]


def test_long_ids_and_long_passages(library):
    """A hit has the correct passage id, even if the id is too long for the server or the text for one request."""
    retriever, folder = library
    assert ids(retriever.search(folder, [Query("q", "y")], 5)[0]) == [f"{LONG_ID}y"]


def test_more_hits_than_elasticsearch_returns(library):
    """A search for more hits per query than Elasticsearch can return raises an error."""
    retriever, folder = library
    with pytest.raises(
        InputError, match="10,001 hits per query were requested, but Elasticsearch returns at most 10,000"
    ):
        retriever.search(folder, LEVER, 10_001)


def test_a_complete_index_is_read_only(library, node):
    """A complete index is read-only and accepts no further documents."""
    with pytest.raises(HTTPError, match="403"):
        node.ask("POST", f"/{index_name(library[1])}/_doc", {"passage": "p9", "check": 1, "text": "blue"})


def test_index_size(library):
    """The method `index_bytes` returns the size of the index on the server."""
    retriever, folder = library
    assert 1000 < retriever.index_bytes(folder) < 1_000_000


def test_analyzer(node, make, tmp_path):
    """Passages and queries are split by the selected analyzer, whether it is built in or defined in the options."""
    given = passages("Häuser am Fluss", "the levers")
    assert ids(find(make(node, analyzer="german"), tmp_path, "haus", given)) == ["p0"]
    own = {"analyzer": {"own": {"type": "custom", "tokenizer": "keyword", "filter": ["lowercase"]}}}
    retriever = make(node, analyzer="own", analysis=own)
    assert find(retriever, tmp_path, "levers", given) == []
    assert ids(retriever.search(tmp_path, [Query("q", "THE LEVERS")], 5)[0]) == ["p1"]


def test_unknown_analyzer(node, make, tmp_path):
    """The error for an unknown analyzer quotes the server's message."""
    with pytest.raises(InputError, match=r"the server rejected the request \(400\): .*klingon"):
        make(node, analyzer="klingon").build(passages("red"), tmp_path)


def test_shards_change_no_score(node, make, tmp_path, synthetic, queries, undisturbed, assert_same_hits):
    """An index with three shards returns the same scores as an index with one shard."""
    retriever = make(node, shards=3)
    retriever.build(synthetic(COUNT), tmp_path)
    assert_same_hits(retriever.search(tmp_path, queries, 20), undisturbed)


def test_two_work_folders_share_an_index(node, make, tmp_path):
    """Two work folders share one index for the same build step, and the second build sends no documents."""
    given, names = passages("red lever", "green door"), []
    for work in ("one", "two"):
        folder = tmp_path / work / ("c0ffee" * 6)[:32] / "index"
        retriever = make(node)
        retriever.build(given, folder)
        names.append(index_name(folder))
        assert ids(retriever.search(folder, LEVER, 5)[0]) == ["p0"]
    assert names == ["kib-bm25-" + ("c0ffee" * 6)[:32]] * 2
    assert node.ask("GET", f"/{names[0]}/_stats/indexing")["_all"]["primaries"]["indexing"]["index_total"] == 2


def test_index_names(tmp_path):
    """Different work folders, options and prefixes result in different index names."""
    variants = (("a", {}), ("b", {}), ("a", {"k1": 1.2}), ("a", {"prefix": "mine-"}))
    names = {make_plugin(Elasticsearch, options)._index_name(tmp_path / folder) for folder, options in variants}
    assert len(names) == 4
    assert sum(name.startswith("mine-bm25-") for name in names) == 1


def test_an_interrupted_build_resumes(node, make, tmp_path, synthetic, queries, undisturbed, assert_same_hits):
    """A resumed build sends only the missing documents and returns the same hits as an uninterrupted build."""

    def interrupted():
        yield from islice(synthetic(COUNT), 400)
        raise KeyboardInterrupt

    retriever = make(node, bulk_passages=50)
    with pytest.raises(KeyboardInterrupt):
        retriever.build(interrupted(), tmp_path)
    with pytest.raises(InputError, match="the index is incomplete or missing"):
        retriever.search(tmp_path, queries, 20)
    assert not retriever.holds(tmp_path)
    assert 0 < read_metadata(tmp_path).sent.passages <= 400
    retriever = make(node, bulk_passages=35)
    retriever.build(synthetic(COUNT), tmp_path)
    assert_same_hits(retriever.search(tmp_path, queries, 20), undisturbed)
    stats = node.ask("GET", f"/{index_name(tmp_path)}/_stats/indexing,docs")["_all"]["primaries"]
    assert (stats["docs"]["count"], stats["docs"]["deleted"]) == (COUNT, 0)


def test_a_lost_work_folder(node, make, tmp_path, synthetic, queries, undisturbed, assert_same_hits):
    """A build that lost its progress record resends all documents, and the index contains each document once."""
    retriever = make(node, bulk_passages=50)
    with pytest.raises(ZeroDivisionError):
        retriever.build((p if n < 300 else 1 / 0 for n, p in enumerate(synthetic(COUNT))), tmp_path)
    (tmp_path / "index.json").unlink()
    retriever.build(synthetic(COUNT), tmp_path)
    assert_same_hits(retriever.search(tmp_path, queries, 20), undisturbed)


def test_incorrect_documents_are_detected(node, make, tmp_path):
    """A document with a correct id but an incorrect text is detected, and the next build produces a correct index."""
    given = passages("red lever", "green door")
    retriever = make(node)
    retriever.build(given, tmp_path)
    name = index_name(tmp_path)
    node.ask("PUT", f"/{name}/_settings", {"index.blocks.write": None})
    node.ask("PUT", f"/{name}/_mapping", {"_meta": {}})
    node.ask("PUT", f"/{name}/_doc/p0", {"passage": "p0", "check": 7, "text": "a blue pump"})
    (tmp_path / "index.json").unlink()
    with pytest.raises(InputError, match="did not match the 2 passages of the corpus; the index was deleted"):
        retriever.build(given, tmp_path)
    assert ids(find(retriever, tmp_path, "lever pump", given)) == ["p0"]


def test_a_changed_index_is_not_searched(node, make, tmp_path):
    """Searching an index that was deleted or changed after the build raises an error, and the next build repairs it."""
    given = passages("red lever", "green door")
    make(node).build(given, tmp_path)
    name = index_name(tmp_path)

    def delete_document():
        node.ask("PUT", f"/{name}/_settings", {"index.blocks.write": None})
        node.ask("DELETE", f"/{name}/_doc/p1?refresh=true")
        node.ask("PUT", f"/{name}/_settings", {"index.blocks.write": True})

    for change in (
        lambda: node.ask("DELETE", f"/{name}"),
        lambda: node.ask("PUT", f"/{name}/_mapping", {"_meta": {}}),
        lambda: node.ask("PUT", f"/{name}/_settings", {"index.blocks.write": None}),
        delete_document,
    ):
        assert make(node).holds(tmp_path)
        change()
        retriever = make(node)
        assert not retriever.holds(tmp_path)
        with pytest.raises(InputError, match=f"the index {name} was deleted or changed after the build"):
            retriever.search(tmp_path, LEVER, 5)
        assert read_metadata(tmp_path) is None
        assert ids(find(retriever, tmp_path, "lever", given)) == ["p0"]


def test_an_index_deleted_between_two_searches(node, make, tmp_path):
    """A search in an index that was deleted after the first search raises an error that names the index."""
    retriever = make(node)
    find(retriever, tmp_path, "lever", passages("red lever"))
    name = index_name(tmp_path)
    node.ask("DELETE", f"/{name}")
    with pytest.raises(InputError, match=f"the index {name} was deleted .*; run the same command again"):
        retriever.search(tmp_path, LEVER, 5)


def test_another_corpus_in_the_same_folder(node, make, tmp_path):
    """If an index contains different passages, a build raises an error and deletes it, and the next build succeeds."""
    retriever = make(node)
    retriever.build(passages("red lever", "green door"), tmp_path)
    other = passages("blue pump")
    with pytest.raises(InputError, match="did not match the passages of the corpus and was deleted"):
        retriever.build(other, tmp_path)
    assert ids(find(retriever, tmp_path, "pump lever", other)) == ["p0"]


def test_a_run_rebuilds_a_lost_index(node, tmp_path):
    """The command `kib retrieve` automatically rebuilds an index that was deleted on the server."""
    spec = SPEC.format(url=node.url, **node.retriever_options)
    (tmp_path / "bench.toml").write_text(spec, encoding="utf-8")
    (tmp_path / "corpus.jsonl").write_text(
        '{"id": "pump", "text": "a red lever"}\n{"id": "door", "text": "a green door"}\n', encoding="utf-8"
    )
    command = ["retrieve", str(tmp_path / "bench.toml"), "--work", str(tmp_path / "work")]
    for query in ("lever", "levers"):
        queries, run = tmp_path / f"{query}.jsonl", tmp_path / f"{query}.run"
        queries.write_text(f'{{"id": "q", "text": "{query}"}}\n', encoding="utf-8")
        result = CliRunner().invoke(main, [*command, "--queries", str(queries), "--run", str(run)])
        assert result.exit_code == 0, result.output
        assert run.read_text(encoding="utf-8").startswith("q Q0 pump 1 ")
        [folder] = (tmp_path / "work" / "index").glob("[0-9a-f]*/index")
        assert index_name(folder) == f"kib-bm25-{folder.parent.name}"
        node.ask("DELETE", f"/{index_name(folder)}")


def test_replicas(node, make, tmp_path):
    """A finished index gets the number of replicas set in the options or, by default, keeps its current number."""

    def replicas():
        settings = node.ask("GET", f"/{index_name(tmp_path)}/_settings")[index_name(tmp_path)]["settings"]
        return int(settings["index"]["number_of_replicas"])

    given = passages("red lever")
    make(node).build(given, tmp_path)
    assert replicas() == 0
    make(node, replicas=1).build(given, tmp_path)
    assert replicas() == 1
    assert make(node).holds(tmp_path)
    assert replicas() == 1
    assert ids(make(node, replicas=0).search(tmp_path, LEVER, 5)[0]) == ["p0"]
    assert replicas() == 0
    assert make(node, replicas=1).holds(tmp_path)
    assert replicas() == 1
