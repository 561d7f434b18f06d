"""What an index on the server is worth: its scores, its order, and the proof that it is whole."""

import math
from itertools import islice
from urllib.error import HTTPError

import pytest
from kib_elasticsearch.note import read_note

from kib.commands.retrieve import Wanted, retrieve
from kib.errors import InputError
from kib.progress import SilentProgress
from kib.records import Passage, Query
from kib.store.folders import Work

SPEC = """
schema = 1
name = "lost"
[corpora.c]
plugin = "jsonl"
path = "corpus.jsonl"
[retrievers.words]
plugin = "elasticsearch"
url = "{url}"
"""


def passages(*texts, title=""):
    """A passage of each text."""
    return [Passage(f"p{number}", f"d{number}", title, text, 0, len(text)) for number, text in enumerate(texts)]


def find(retriever, folder, query, given, k=10):
    """The hits of one query after a fresh build."""
    retriever.build(given, folder)
    return retriever.search(folder, [Query("q", query)], k)[0]


def ids(hits):
    """The passages alone."""
    return [hit.passage for hit in hits]


def index_name(folder):
    """What the index of a folder is called on the server."""
    return read_note(folder).index


def test_formula(node, make, tmp_path):
    """The score is Lucene's BM25 with the k1 and b that were asked for."""
    given = passages("red lever", "red red door of boiler room", "green")
    hits = find(make(node, analyzer="standard", k1=1.7, b=0.3), tmp_path, "red", given)
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean = (2 + 6 + 1) / 3

    def score(frequency, length):
        return (1.7 + 1) * idf * frequency / (frequency + 1.7 * (1 - 0.3 + 0.3 * length / mean))

    expected = sorted([(score(1, 2), "p0"), (score(2, 6), "p1")], reverse=True)
    assert [(pytest.approx(hit.score, rel=1e-6), hit.passage) for hit in hits] == expected


def test_many_ties(node, make, tmp_path):
    """Of many equal passages the first by id are taken, wherever they stand in the corpus."""
    same = [Passage(f"p{number * 37 % 100:02}", "d", "", "a red lever", 0, 11) for number in range(100)]
    assert ids(find(make(node, bulk_passages=7), tmp_path, "red lever", same, k=3)) == ["p00", "p01", "p02"]


def test_title_counts(node, make, tmp_path):
    """A word of the title is found like a word of the text."""
    given = [Passage("p0", "d0", "Relief valve", "Opens at eleven bar.", 0, 20), *passages("pump", "pump")[1:]]
    assert ids(find(make(node), tmp_path, "valve", given)) == ["p0"]


def test_analyzer(node, make, tmp_path):
    """Words are cut by the analyzer that was asked for, the server's or one's own."""
    given = passages("Häuser am Fluss", "the levers")
    assert ids(find(make(node, analyzer="german"), tmp_path, "haus", given)) == ["p0"]
    assert ids(find(make(node, analyzer="standard"), tmp_path, "the", given)) == ["p1"]
    own = {"analyzer": {"own": {"type": "custom", "tokenizer": "keyword", "filter": ["lowercase"]}}}
    retriever = make(node, analyzer="own", analysis=own)
    assert find(retriever, tmp_path, "levers", given) == []
    assert ids(find(retriever, tmp_path, "THE LEVERS", given)) == ["p1"]


def test_an_analyzer_that_is_none(node, make, tmp_path):
    """The server's own words tell what is wrong with an analyzer."""
    with pytest.raises(InputError, match=r"the server refuses the request \(400\): .*klingon"):
        make(node, analyzer="klingon").build(passages("red"), tmp_path)


def test_long_ids_and_long_passages(node, make, tmp_path):
    """An id longer than the server takes, and a passage larger than a bulk, are found under their own names."""
    long = "d" * 600
    given = [Passage(f"{long}{end}", "d", "", f"lever {end} " * 2000, 0, 0) for end in "ab"]
    hits = find(make(node, bulk_bytes=1000), tmp_path, "b", given)
    assert ids(hits) == [f"{long}b"]


def test_more_hits_than_the_server_gives(node, make, tmp_path):
    """More hits a query than Elasticsearch gives is an error before it is asked."""
    make(node).build(passages("red"), tmp_path)
    with pytest.raises(InputError, match="Elasticsearch gives 10,000 at most"):
        make(node).search(tmp_path, [Query("q", "red")], 10_001)


def test_shards_change_no_score(node, make, tmp_path, synthetic, queries):
    """An index in three parts gives the hits and scores of one in one part."""
    found = []
    for shards in (1, 3):
        retriever, folder = make(node, shards=shards), tmp_path / str(shards)
        retriever.build(synthetic(2000), folder)
        found.append(retriever.search(folder, queries, 20))
    one, three = found
    assert [ids(hits) for hits in one] == [ids(hits) for hits in three]
    assert [hit.score for hits in three for hit in hits] == pytest.approx([hit.score for hits in one for hit in hits])


def test_an_index_is_named_by_its_step(node, make, tmp_path):
    """Two work folders share the index of one step, and the second finds it whole."""
    given, names = passages("red lever", "green door"), []
    for work in ("one", "two"):
        folder = tmp_path / work / ("c0ffee" * 6)[:32] / "index"
        retriever = make(node)
        retriever.build(given, folder)
        names.append(index_name(folder))
        assert ids(retriever.search(folder, [Query("q", "lever")], 5)[0]) == ["p0"]
    assert names == ["kib-bm25-" + ("c0ffee" * 6)[:32]] * 2
    assert node.ask("GET", f"/{names[0]}/_stats/indexing")["_all"]["primaries"]["indexing"]["index_total"] == 2


def test_steps_do_not_meet(node, make, tmp_path):
    """Another folder, other options and another prefix are another index."""
    names = set()
    for folder, options in (("a", {}), ("b", {}), ("a", {"k1": 1.2}), ("a", {"prefix": "mine-"})):
        make(node, **options).build(passages("red"), tmp_path / folder)
        names.add(index_name(tmp_path / folder))
    assert len(names) == 4
    assert sum(name.startswith("mine-bm25-") for name in names) == 1


def test_an_interrupted_build_goes_on(node, make, tmp_path, synthetic, queries):
    """What was sent before an interruption is not sent again, nothing of it is served, and the hits are the same."""
    make(node).build(synthetic(3000), tmp_path / "whole")
    whole = make(node).search(tmp_path / "whole", queries, 20)

    def stopping():
        yield from islice(synthetic(3000), 2000)
        raise KeyboardInterrupt

    retriever, folder = make(node, bulk_passages=100), tmp_path / "part"
    with pytest.raises(KeyboardInterrupt):
        retriever.build(stopping(), folder)
    with pytest.raises(InputError, match="no index was finished here"):
        retriever.search(folder, queries, 20)
    assert not retriever.holds(folder)
    sent = read_note(folder).sent.passages
    assert 0 < sent <= 2000
    make(node, bulk_passages=70).build(synthetic(3000), folder)
    assert make(node).search(folder, queries, 20) == whole
    stats = node.ask("GET", f"/{index_name(folder)}/_stats/indexing,docs")["_all"]["primaries"]
    assert (stats["docs"]["count"], stats["docs"]["deleted"]) == (3000, 0)


def test_a_lost_work_folder(node, make, tmp_path, synthetic, queries):
    """Where the work folder forgot how far it was, documents are sent again, and none is in the index twice."""
    make(node).build(synthetic(500), tmp_path / "whole")
    folder = tmp_path / "part"
    with pytest.raises(ZeroDivisionError):
        make(node).build((p if n < 300 else 1 / 0 for n, p in enumerate(synthetic(500))), folder)
    (folder / "index.json").unlink(missing_ok=True)
    make(node).build(synthetic(500), folder)
    found = [make(node).search(tmp_path / name, queries, 20) for name in ("whole", "part")]
    assert found[0] == found[1]


def test_other_documents_are_never_served(node, make, tmp_path):
    """A document of the right id and the wrong text is found out, the index deleted, and the next build is right."""
    given = passages("red lever", "green door")
    name = make(node)._name(tmp_path)
    foreign = {"passage": "p0", "check": 7, "text": "a blue pump"}
    make(node).build(given, tmp_path)
    node.ask("PUT", f"/{name}/_settings", {"index.blocks.write": None})
    node.ask("PUT", f"/{name}/_mapping", {"_meta": {}})
    node.ask("PUT", f"/{name}/_doc/p0", foreign)
    (tmp_path / "index.json").unlink()
    with pytest.raises(InputError, match="that are not the 2 passages of the corpus; it was deleted"):
        make(node).build(given, tmp_path)
    assert ids(find(make(node), tmp_path, "lever pump", given)) == ["p0"]


@pytest.mark.parametrize("change", ["delete", "unlock", "document", "mark"])
def test_an_index_that_was_changed_is_not_searched(node, make, tmp_path, change):
    """An index deleted or changed since it was built is an error that names it, and building again makes it right."""
    given = passages("red lever", "green door")
    before = find(make(node), tmp_path, "lever", given)
    assert make(node).holds(tmp_path)
    name = index_name(tmp_path)
    if change == "delete":
        node.ask("DELETE", f"/{name}")
    elif change == "mark":
        node.ask("PUT", f"/{name}/_mapping", {"_meta": {}})
    else:
        node.ask("PUT", f"/{name}/_settings", {"index.blocks.write": None})
    if change == "document":
        node.ask("DELETE", f"/{name}/_doc/p1?refresh=true")
        node.ask("PUT", f"/{name}/_settings", {"index.blocks.write": True})
    assert not make(node).holds(tmp_path)
    with pytest.raises(InputError, match=f"the index {name} is gone, or is no more the one that was built"):
        make(node).search(tmp_path, [Query("q", "lever")], 5)
    assert read_note(tmp_path) is None
    assert find(make(node), tmp_path, "lever", given) == before
    assert make(node).holds(tmp_path)


def test_an_index_deleted_between_two_searches(node, make, tmp_path):
    """An index that goes while it is searched is an error that names it."""
    retriever = make(node)
    find(retriever, tmp_path, "lever", passages("red lever"))
    node.ask("DELETE", f"/{index_name(tmp_path)}")
    with pytest.raises(InputError, match=f"the index {index_name(tmp_path)} is gone, .*; run the same command again"):
        retriever.search(tmp_path, [Query("q", "lever")], 5)


def test_nobody_writes_into_a_whole_index(node, make, tmp_path):
    """A finished index takes no more documents."""
    make(node).build(passages("red lever"), tmp_path)
    with pytest.raises(HTTPError, match="403"):
        node.ask("POST", f"/{index_name(tmp_path)}/_doc", {"passage": "p9", "check": 1, "text": "blue"})


def test_another_corpus_in_the_same_folder(node, make, tmp_path):
    """A folder that is given other passages says so once, and holds them after the next build."""
    make(node).build(passages("red lever", "green door"), tmp_path)
    other = passages("blue pump")
    with pytest.raises(InputError, match="held other passages than the corpus has; it was deleted"):
        make(node).build(other, tmp_path)
    assert ids(find(make(node), tmp_path, "pump lever", other)) == ["p0"]


def test_a_run_makes_a_lost_index_anew(node, tmp_path):
    """What kib searches is built again where the server lost it, without a word of the user."""
    (tmp_path / "bench.toml").write_text(SPEC.format(url=node.url), encoding="utf-8")
    (tmp_path / "corpus.jsonl").write_text(
        '{"id": "pump", "text": "a red lever"}\n{"id": "door", "text": "a green door"}\n', encoding="utf-8"
    )
    work, found = Work(tmp_path / "work"), []
    for query in ("lever", "levers"):
        queries = tmp_path / f"{query}.jsonl"
        queries.write_text(f'{{"id": "q", "text": "{query}"}}\n', encoding="utf-8")
        report = retrieve(tmp_path / "bench.toml", Wanted(queries=queries), work, SilentProgress())
        assert report.failures == {}
        [line] = report.blocks[0].lines
        found.append([hit.passage for hits in line.hits.values() for hit in hits])
        assert line.index_bytes > 1000
        [folder] = (tmp_path / "work" / "index").glob("[0-9a-f]*/index")
        assert index_name(folder) == f"kib-bm25-{folder.parent.name}"
        node.ask("DELETE", f"/{index_name(folder)}")
    assert found[0] == found[1] != []


def test_index_size(node, make, tmp_path, synthetic):
    """The size of an index is what it takes on the server."""
    make(node).build(synthetic(2000), tmp_path)
    assert 50_000 < make(node).index_bytes(tmp_path) < 5_000_000


@pytest.mark.parametrize("use", ["build", "holds", "search"])
def test_replicas_of_an_index_that_is_there(node, make, tmp_path, use):
    """A finished index gets the number of copies that is asked for now, and keeps its own where none is named."""

    def replicas(**options):
        retriever = make(node, **options)
        if use == "build":
            retriever.build(passages("red lever"), tmp_path)
        elif use == "holds":
            assert retriever.holds(tmp_path)
        assert ids(retriever.search(tmp_path, [Query("q", "lever")], 5)[0]) == ["p0"]
        settings = node.ask("GET", f"/{index_name(tmp_path)}/_settings")[index_name(tmp_path)]["settings"]
        return settings["index"]["number_of_replicas"]

    make(node).build(passages("red lever"), tmp_path)
    assert replicas(replicas=1) == "1"
    assert replicas() == "1"
    assert replicas(replicas=0) == "0"
    assert make(node).holds(tmp_path)
