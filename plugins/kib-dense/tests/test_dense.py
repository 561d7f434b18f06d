import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kib.errors import InputError
from kib.records import Passage, Query
from kib.testing import PASSAGES, QUERIES, make_plugin
from kib_dense.dense import Dense
from kib_dense.embedding_cache import EmbeddingCache
from kib_dense.vector_search import HnswOptions, build_faiss_index


@pytest.fixture
def dense(tiny_encoder: Path) -> Callable[..., Dense]:
    """Return a function that creates a retriever, by default with the tiny encoder."""

    def create(**options: Any) -> Dense:
        made: Dense = make_plugin(Dense, {"device": "cpu", "path": tiny_encoder, **options})
        return made

    return create


def passages(*texts: str, title: str = "") -> list[Passage]:
    return [Passage(f"p{number}", f"d{number}", title, text, 0, len(text)) for number, text in enumerate(texts)]


def read_index(folder: Path) -> tuple[Any, Any]:
    """Return the metadata and the vectors of the index in a folder."""
    metadata = json.loads((folder / "index.json").read_text())
    vectors = np.fromfile(folder / "vectors.f32", dtype="<f4")
    return metadata, vectors.reshape(len(metadata["passages"]), metadata["dimension"])


def assert_same_index(one: Path, other: Path) -> None:
    """Assert that two indexes have the same metadata, and the same vectors up to rounding."""
    assert read_index(one)[0] == read_index(other)[0]
    np.testing.assert_allclose(read_index(one)[1], read_index(other)[1], rtol=1e-4, atol=1e-5)


def test_finds_by_meaning(tmp_path: Path) -> None:
    """The bundled encoder finds a passage that states the answer in different words, and scores are dot products."""
    retriever: Dense = make_plugin(Dense, {"device": "cpu"})
    texts = "Felines feed on small rodents.", "The bridge was built in 1970.", "What do you call a band of horns?"
    retriever.build(passages(*texts), tmp_path)
    [hits] = retriever.search(tmp_path, [Query("q", "What do cats eat?")], 2)
    assert hits[0].passage == "p0"
    [query], [passage] = retriever.encoder.queries(["What do cats eat?"]), retriever.encoder.passages(texts[:1])
    assert hits[0].score == pytest.approx(float(query @ passage), rel=1e-4)


def test_progress_counts_encoded_passages(dense: Callable[..., Dense], tmp_path: Path) -> None:
    """The progress of a build counts the passages that have been encoded, not the passages that have been read."""
    counts: list[int] = []
    counted_after_reading: list[int] = []

    def read() -> Iterator[Passage]:
        yield from PASSAGES
        counted_after_reading.append(sum(counts))

    dense().build(read(), tmp_path / "index", tmp_path / "memory", advance=counts.append)
    assert counted_after_reading == [0]
    assert sum(counts) == len(PASSAGES)
    assert len(counts) > 2


def test_title_counts(dense: Callable[..., Dense], tmp_path: Path) -> None:
    """The title of a passage is encoded before its text."""
    retriever = dense(normalize=True)
    retriever.build([Passage("p0", "d0", "Cats", "They eat mice.", 0, 14), *passages("They eat mice.")], tmp_path)
    [hits] = retriever.search(tmp_path, [Query("q", "Cats\nThey eat mice.")], 2)
    assert hits[0].passage == "p0"
    assert hits[0].score == pytest.approx(1, abs=1e-4)


def test_a_blank_query_returns_no_hits(dense: Callable[..., Dense], tmp_path: Path) -> None:
    """A blank query has no hits, even if the encoder adds a prompt before the query."""
    retriever = dense(query_prompt="query: ")
    retriever.build(PASSAGES, tmp_path)
    found = retriever.search(tmp_path, [Query("a", " \n"), Query("b", "rope"), Query("c", "")], 3)
    assert [len(hits) for hits in found] == [0, 3, 0]


def test_long_passages_are_reported(dense: Callable[..., Dense], tmp_path: Path) -> None:
    """A remark states the number of passages longer than the encoder's token limit, and names the longest passage."""
    retriever = dense(max_tokens=16)
    given = passages(*(f"{'lever ' * (10 * number)}" for number in range(1, 9)))
    retriever.build(given, tmp_path)
    [remark] = retriever.remarks(tmp_path)
    assert remark.startswith("7 of 8 passages exceed the encoder's limit of 16 tokens, and the encoder")
    assert "p7 (82), p6 (72), p5 (62), p4 (52), p3 (42), …; to split" in remark
    retriever.build(given[:1], tmp_path)
    assert retriever.remarks(tmp_path) == []


def test_a_changed_corpus(dense: Callable[..., Dense], tmp_path: Path, encoded: list[str]) -> None:
    """If the corpus changes, only new passages are encoded, and the index equals an index built from scratch."""
    dense().build(PASSAGES, tmp_path / "old", tmp_path / "memory")
    encoded.clear()
    changed = [*passages("A new passage."), *PASSAGES[3:], *passages("Another new passage.", title="New")]
    changed = [Passage(f"{number}", p.document, p.title, p.text, 0, p.end) for number, p in enumerate(changed)]
    dense().build(changed, tmp_path / "new", tmp_path / "memory")
    assert sorted(encoded) == ["A new passage.", "New\nAnother new passage."]
    dense().build(changed, tmp_path / "anew")
    assert_same_index(tmp_path / "new", tmp_path / "anew")


def test_memory_names(dense: Callable[..., Dense]) -> None:
    """Two retrievers share an embedding cache if and only if they compute equal passage vectors."""
    name = dense().memory()
    assert dense(passage_prompt="passage: ").memory() != name
    assert dense(index="hnsw", query_prompt="query: ").memory() == name


BUILD_AND_DIE = """
import os, pathlib, signal, sys
from kib.testing import make_plugin
from kib_dense.dense import Dense
from kib_dense.encoder import Encoder
from kib.records import Passage

real, count = Encoder._encode, 0

def stopping(self, texts, *others):
    global count
    count += len(texts)
    if count > 25:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, texts, *others)

Encoder._encode = stopping
folder = pathlib.Path(sys.argv[1])
given = [Passage(f"p{n}", "d", "", f"Pump {n} is beside door {n % 7}. " * (n % 5 + 1), 0, 1) for n in range(40)]
make_plugin(Dense, {"device": "cpu", "path": sys.argv[2]}).build(given, folder / "index", folder / "memory")
"""


@pytest.mark.slow
def test_a_killed_build_resumes(
    dense: Callable[..., Dense], tiny_encoder: Path, tmp_path: Path, encoded: list[str]
) -> None:
    """If an index build is killed, the next build encodes only the texts that are not in the embedding cache."""
    command = [sys.executable, "-c", BUILD_AND_DIE, str(tmp_path), str(tiny_encoder)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    assert not (tmp_path / "index" / "index.json").exists()
    given = [Passage(f"p{n}", "d", "", f"Pump {n} is beside door {n % 7}. " * (n % 5 + 1), 0, 1) for n in range(40)]
    dense().build(given, tmp_path / "index", tmp_path / "memory")
    assert len(encoded) == 15
    dense().build(given, tmp_path / "undisturbed")
    assert_same_index(tmp_path / "index", tmp_path / "undisturbed")


def test_a_stored_embedding_is_used(dense: Callable[..., Dense], tmp_path: Path) -> None:
    """An index build reuses vectors from the embedding cache."""
    dense().build(passages("rope"), tmp_path / "index", tmp_path / "memory")
    with EmbeddingCache.open(tmp_path / "memory") as cache:
        [(key, tokens)] = cache.connection.execute("SELECT key, tokens FROM embeddings").fetchall()
        cache.connection.execute("DELETE FROM embeddings")
        cache.add({key: (tokens, np.full(16, 7, "<f4"))})
    dense().build(passages("rope"), tmp_path / "index", tmp_path / "memory")
    assert (read_index(tmp_path / "index")[1] == 7).all()


def test_approximate_only_above_a_size(dense: Callable[..., Dense], tmp_path: Path) -> None:
    """No approximate index is built for a corpus with fewer than `exact_below` passages."""
    for name, limit in (("exact", len(PASSAGES) + 1), ("graph", len(PASSAGES))):
        dense(index="hnsw", exact_below=limit).build(PASSAGES, tmp_path / name)
    assert not (tmp_path / "exact" / "faiss.index").exists()
    assert (tmp_path / "graph" / "faiss.index").exists()
    expected = dense().search(tmp_path / "exact", QUERIES, 3)
    for name in ("exact", "graph"):  # all passages are candidates of so small a graph
        found = dense(index="hnsw").search(tmp_path / name, QUERIES, 3)
        assert [scores(hits) for hits in found] == [pytest.approx(scores(hits), rel=1e-6) for hits in expected]


def scores(hits: Sequence[Any]) -> list[float]:
    return [hit.score for hit in hits]


def test_too_few_passages_to_train(dense: Callable[..., Dense], tmp_path: Path) -> None:
    """If an index has too few passages for its number of lists, the error names the options to change."""
    with pytest.raises(InputError, match=r"14 passages are too few for .* keep the default value of `exact_below`"):
        dense(index="ivf-pq", exact_below=0).build(PASSAGES, tmp_path)


def test_an_index_of_a_different_encoder(dense: Callable[..., Dense], tmp_path: Path) -> None:
    """The error for vectors of the wrong dimension states the expected and the actual dimension."""
    dense().build(PASSAGES, tmp_path)
    metadata = json.loads((tmp_path / "index.json").read_text())
    half = {**metadata, "dimension": 8, "passages": [str(number) for number in range(2 * len(PASSAGES))]}
    (tmp_path / "index.json").write_text(json.dumps(half))
    with pytest.raises(InputError, match=r"vectors in the index have 8 components, but the encoder .* vectors with 16"):
        dense().search(tmp_path, QUERIES, 3)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("index.json", Path.unlink),
        ("index.json", lambda path: path.write_text("{")),
        ("index.json", lambda path: path.write_text("{}")),
        ("index.json", lambda path: path.write_bytes(b"\xff")),
        ("vectors.f32", Path.unlink),
        ("vectors.f32", lambda path: path.write_bytes(b"1234")),
        ("faiss.index", Path.unlink),
        ("faiss.index", lambda path: path.write_bytes(path.read_bytes()[:100])),
        ("faiss.index", lambda path: build_faiss_index(np.zeros((3, 16), np.float32), path, HnswOptions())),
    ],
)
def test_a_damaged_index(dense: Callable[..., Dense], tmp_path: Path, name: str, damage: Callable[[Path], Any]) -> None:
    """A missing, truncated or replaced index file raises an error that names the file."""
    dense(index="hnsw", exact_below=0).build(PASSAGES, tmp_path)
    damage(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: .*damaged.*; delete the folder of the index"):
        dense(index="hnsw", exact_below=0).search(tmp_path, QUERIES, 3)


CLASH = """
import sys
{imports}
import numpy as np
from kib.testing import PASSAGES, QUERIES, make_plugin
from kib_dense.dense import Dense
import pathlib

folder = pathlib.Path(sys.argv[1])
for name in ("flat", "hnsw"):
    retriever = make_plugin(Dense, {{"device": "cpu", "index": name, "exact_below": 0}})
    retriever.build(PASSAGES, folder / name)
    print([hits[0].passage for hits in retriever.search(folder / name, QUERIES[:3], 1)])
vectors = np.random.default_rng(0).normal(size=(20000, 64)).astype(np.float32)
faiss.knn(vectors[:200], vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)
torch.randn(500, 500) @ torch.randn(500, 500)
"""


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["import torch, faiss", "import faiss, torch"])
def test_torch_and_faiss_in_one_process(tmp_path: Path, imports: str) -> None:
    """FAISS and torch work in one process with several threads, in either order of import."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", CLASH.format(imports=imports), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["['pump#0', 'valve#0', 'cook#0']"] * 2


def test_no_output(dense: Callable[..., Dense], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Building and searching an index print nothing, not even a progress bar."""
    retriever = dense(index="hnsw", exact_below=0)
    retriever.build(PASSAGES, tmp_path)
    retriever.search(tmp_path, QUERIES, 3)
    assert capfd.readouterr() == ("", "")
