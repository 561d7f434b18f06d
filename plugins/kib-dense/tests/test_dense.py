import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Passage, Query
from kib.testing import PASSAGES, QUERIES, make_plugin
from kib_dense.dense import Dense


def dense(**options: Any) -> Dense:
    made: Dense = make_plugin(Dense, {"device": "cpu", **options})
    return made


def passages(*texts: str, title: str = "") -> list[Passage]:
    return [Passage(f"p{number}", f"d{number}", title, text, 0, len(text)) for number, text in enumerate(texts)]


def test_finds_by_meaning(tmp_path: Path) -> None:
    """A passage that answers in other words is found first, with the dot product as its score."""
    retriever = dense()
    rodents = "Felines feed on small rodents."
    retriever.build(passages(rodents, "The bridge was built in 1970.", "Soup"), tmp_path)
    [hits] = retriever.search(tmp_path, [Query("q", "What do cats eat?")], 2)
    assert hits[0].passage == "p0"
    vectors = (
        retriever.encoder.queries(["What do cats eat?"])
        @ retriever.encoder.passages(["Felines feed on small rodents."]).T
    )
    assert hits[0].score == pytest.approx(float(vectors[0, 0]), abs=1e-6)


def test_title_counts(tmp_path: Path) -> None:
    """A passage's title is encoded before its text."""
    retriever = dense()
    retriever.build([Passage("p0", "d0", "Cats", "They eat mice.", 0, 14), *passages("They eat mice.")], tmp_path)
    [hits] = retriever.search(tmp_path, [Query("q", "Cats\nThey eat mice.")], 2)
    assert hits[0].passage == "p0"
    assert hits[0].score == pytest.approx(1, abs=1e-6)


def test_a_blank_query_finds_nothing(tmp_path: Path) -> None:
    """A query without a visible sign means nothing, so nothing is near to it, also with a prompt before it."""
    retriever = dense(query_prompt="query: ")
    retriever.build(PASSAGES, tmp_path)
    found = retriever.search(tmp_path, [Query("a", " \n"), Query("b", "rope"), Query("c", "")], 3)
    assert [len(hits) for hits in found] == [0, 3, 0]


def test_long_passages_are_told(tmp_path: Path) -> None:
    """How many passages are longer than the encoder reads is said, the longest of them by name; none is no remark."""
    retriever = dense(max_tokens=16)
    given = passages(*(f"{'lever ' * (10 * number)}" for number in range(1, 9)))
    retriever.build(given, tmp_path)
    [remark] = retriever.remarks(tmp_path)
    assert remark.startswith("7 of 8 passages have more than the 16 tokens that the encoder reads, and what follows")
    assert "p7 (82), p6 (72), p5 (62), p4 (52), p3 (42), …; `chunk`" in remark
    retriever.build(given[:1], tmp_path)
    assert retriever.remarks(tmp_path) == []


def test_a_changed_corpus_encodes_what_changed(tmp_path: Path, encoded: list[str]) -> None:
    """An index of a changed corpus encodes the new passages alone, and is byte for byte the one built anew."""
    dense().build(PASSAGES, tmp_path / "old", tmp_path / "memory")
    del encoded[:]
    changed = [*passages("A new passage."), *PASSAGES[3:], *passages("Another new passage.", title="New")]
    changed = [Passage(f"{number}", p.document, p.title, p.text, 0, p.end) for number, p in enumerate(changed)]
    dense().build(changed, tmp_path / "new", tmp_path / "memory")
    assert sorted(encoded) == ["A new passage.", "New\nAnother new passage."]
    dense().build(changed, tmp_path / "anew")
    assert contents(tmp_path / "new") == contents(tmp_path / "anew")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_another_encoder_shares_no_memory() -> None:
    """Retrievers whose vectors differ have other memories; how vectors are searched makes no difference."""
    name = dense().memory()
    assert dense(passage_prompt="passage: ").memory() != name
    assert dense(index="hnsw", query_prompt="query: ").memory() == name


KILLED = """
import os, pathlib, signal, sys
from kib.testing import make_plugin
from kib_dense.dense import Dense
from kib_dense.encoder import Encoder
from kib.records import Passage

real, count = Encoder._encode, 0

def stopping(self, texts, *others):
    global count
    count += len(texts)
    if count > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, texts, *others)

Encoder._encode = stopping
folder = pathlib.Path(sys.argv[1])
given = [Passage(f"p{n}", "d", "", f"Pump {n} is beside door {n % 7}. " * (n % 5 + 1), 0, 1) for n in range(40)]
make_plugin(Dense, {"device": "cpu"}).build(given, folder / "index", folder / "memory")
print(count)
"""


@pytest.mark.slow
def test_a_killed_build_goes_on(tmp_path: Path) -> None:
    """A build that is killed in the middle is finished by the next one, which encodes the rest alone, to the bit."""

    def run(folder: str, limit: int) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", KILLED, str(tmp_path / folder), str(limit)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    assert run("disturbed", 25).returncode == -9
    assert not (tmp_path / "disturbed" / "index" / "index.json").exists()
    assert run("disturbed", 99).stdout == "15\n"
    assert run("undisturbed", 99).stdout == "40\n"
    assert contents(tmp_path / "disturbed" / "index") == contents(tmp_path / "undisturbed" / "index")


def test_approximate_only_from_a_size_on(tmp_path: Path) -> None:
    """Below `exact_below` passages an approximate index is not built, and the search is exact."""
    for name, limit in (("exact", len(PASSAGES) + 1), ("graph", len(PASSAGES))):
        dense(index="hnsw", exact_below=limit).build(PASSAGES, tmp_path / name)
    assert not (tmp_path / "exact" / "faiss.index").exists()
    assert (tmp_path / "graph" / "faiss.index").exists()
    plain = dense()
    plain.build(PASSAGES, tmp_path / "plain")
    expected = plain.search(tmp_path / "plain", QUERIES, 3)
    for name in ("exact", "graph"):
        assert dense(index="hnsw").search(tmp_path / name, QUERIES, 3) == expected


def test_too_few_to_train(tmp_path: Path) -> None:
    """Lists that are wanted over too few passages are an error that names the way out."""
    with pytest.raises(InputError, match=r"14 passages are too few for .* leave `exact_below` as it is"):
        dense(index="ivf-pq", exact_below=0).build(PASSAGES, tmp_path)


def test_an_index_of_another_encoder(tmp_path: Path) -> None:
    """An index whose vectors have another length than the encoder's is refused in a sentence that names both."""
    retriever = dense()
    retriever.build(PASSAGES, tmp_path)
    about = json.loads((tmp_path / "index.json").read_text())
    half = {**about, "dimension": 192, "passages": [str(number) for number in range(2 * len(PASSAGES))]}
    (tmp_path / "index.json").write_text(json.dumps(half))
    with pytest.raises(InputError, match=r"the index holds vectors of length 192, but the encoder .* gives 384"):
        dense().search(tmp_path, QUERIES, 3)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("index.json", Path.unlink),
        ("index.json", lambda path: path.write_text("{")),
        ("vectors.f32", Path.unlink),
        ("vectors.f32", lambda path: path.write_bytes(b"1234")),
        ("faiss.index", Path.unlink),
    ],
)
def test_a_damaged_index(tmp_path: Path, name: str, spoil: Callable[[Path], Any]) -> None:
    """A file of an index that is lost or cut short is named with what to do."""
    dense(index="hnsw", exact_below=0).build(PASSAGES, tmp_path)
    spoil(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: .*lost; delete its folder and run again"):
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
    """Both libraries work in one process with several threads, whichever is loaded first."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", CLASH.format(imports=imports), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["['pump#0', 'valve#0', 'cook#0']"] * 2


def test_nothing_on_the_screen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Building and searching print nothing, not even a progress bar."""
    retriever = dense(index="hnsw", exact_below=0)
    retriever.build(PASSAGES, tmp_path)
    retriever.search(tmp_path, QUERIES, 3)
    assert capfd.readouterr() == ("", "")
