import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Hit, Query
from kib.testing import PASSAGES, check_fingerprint, check_reranker, make_plugin
from kib_dense.rerank import Rerank
from kib_dense.source import bundled_encoder

Make = Callable[..., Path]

TEXTS = {passage.id: passage for passage in PASSAGES}
FOUND = [Hit(passage.id, 9.0 - place) for place, passage in enumerate(PASSAGES)]
QUERY = Query("q", "Which lever switches off pump 7?")


def reranker(path: Path, **options: Any) -> Rerank:
    made: Rerank = make_plugin(Rerank, {"device": "cpu", "path": path, "of": ["bm25"], **options})
    return made


def test_contract(cross_encoder: Path) -> None:
    """It keeps what a reranker promises, over one retriever and over two."""
    check_reranker(lambda: reranker(cross_encoder, depth=12))
    check_reranker(lambda: reranker(cross_encoder, of=["bm25", "dense"], depth=5))


def test_the_same_as_sentence_transformers(cross_encoder: Path) -> None:
    """Scores are the raw ones that sentence-transformers gives for question and passage, the title first."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(cross_encoder), device="cpu", local_files_only=True)
    texts = {p.id: f"{p.title}\n{p.text}" if p.title else p.text for p in PASSAGES}
    pairs = [(QUERY.text, text) for text in texts.values()]
    expected = dict(zip(texts, model.predict(pairs, activation_fn=torch.nn.Identity()), strict=True))
    hits = reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)
    assert {hit.passage: hit.score for hit in hits} == pytest.approx(expected, abs=1e-4)
    assert [hit.passage for hit in hits] != [hit.passage for hit in FOUND]


def test_saved_by_sentence_transformers(cross_encoder: Path, tmp_path: Path) -> None:
    """A folder that sentence-transformers saved, with modules.json, gives the scores of the transformers folder."""
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(cross_encoder), device="cpu", local_files_only=True).save_pretrained(str(tmp_path))
    assert (tmp_path / "modules.json").is_file()
    hits = reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 9)
    assert reranker(tmp_path).rerank(QUERY, {"bm25": FOUND}, TEXTS, 9) == hits


def test_twins_by_id(cross_encoder: Path) -> None:
    """Passages of one text have one score and come by their ids."""
    hits = reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)
    twins = [hit for hit in hits if hit.passage.startswith("twin")]
    assert [hit.passage for hit in twins] == ["twin-a#0", "twin-b#0"]
    assert twins[0].score == twins[1].score


def test_depth(cross_encoder: Path) -> None:
    """Only the first `depth` hits of each retriever are read, each passage once."""
    both = reranker(cross_encoder, of=["bm25", "dense"], depth=3)
    assert both.sources() == {"bm25": 3, "dense": 3}
    hits = both.rerank(QUERY, {"bm25": FOUND, "dense": FOUND[::-1]}, TEXTS, 99)
    assert {hit.passage for hit in hits} == {hit.passage for hit in [*FOUND[:3], *FOUND[-3:]]}
    again = both.rerank(QUERY, {"bm25": FOUND, "dense": FOUND}, TEXTS, 99)
    assert sorted(hit.passage for hit in again) == sorted(hit.passage for hit in FOUND[:3])


def test_batches_differ_by_rounding(cross_encoder: Path) -> None:
    """Several pairs at once give the same scores but for rounding."""
    alone = reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)
    together = reranker(cross_encoder, batch_tokens=2048).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)
    assert [hit.passage for hit in together] == [hit.passage for hit in alone]
    assert [hit.score for hit in together] == pytest.approx([hit.score for hit in alone], abs=1e-4)


def test_a_blank_query(cross_encoder: Path) -> None:
    """A query without a visible sign has no hit."""
    assert reranker(cross_encoder).rerank(Query("q", " \n"), {"bm25": FOUND}, TEXTS, 9) == []


def test_a_long_passage(cross_encoder: Path) -> None:
    """A pair that is longer than the model reads loses the end of its passage, not the question."""
    short = reranker(cross_encoder, max_tokens=24)
    [hit] = short.rerank(QUERY, {"bm25": [Hit("long#0", 1.0)]}, TEXTS, 1)
    other = short.rerank(Query("q", "When does the ferry leave?"), {"bm25": [Hit("long#0", 1.0)]}, TEXTS, 1)
    assert [hit] != other


def test_fingerprint(tmp_path: Path, make_cross: Make) -> None:
    """The fingerprint follows the weights, not the prose."""
    folder = make_cross(tmp_path / "model")
    check_fingerprint(
        lambda: reranker(folder),
        change=lambda: make_cross(folder, seed=1),
        same=lambda: (folder / "README.md").write_text("About it."),
    )


def nowhere(folder: Path, _: Make) -> Path:
    return folder / "nowhere"


def an_encoder(_: Path, __: Make) -> Path:
    return bundled_encoder()


def three_labels(folder: Path, make: Make) -> Path:
    return make(folder, labels=3)


def plain_model(folder: Path, _: Make) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    return folder


def lost_classifier(folder: Path, _: Make) -> Path:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nowhere, "no such folder; expected one with a cross-encoder"),
        (an_encoder, "a SentenceTransformer of sentence-transformers; expected a cross-encoder"),
        (plain_model, "its architecture, BertModel, gives no score; expected a cross-encoder"),
        (lost_classifier, "the weights lack what config.json describes: classifier"),
        (three_labels, "gives 3 numbers for a pair; expected a cross-encoder"),
    ],
    ids=["nowhere", "encoder", "plain", "classifier", "labels"],
)
def test_no_such_model(tmp_path: Path, make_cross: Make, spoil: Callable[[Path, Make], Path], message: str) -> None:
    """What is no cross-encoder with one score is refused in a sentence, instead of being filled up at random."""
    folder = spoil(make_cross(tmp_path / "model"), make_cross)
    with pytest.raises(InputError) as caught:
        reranker(folder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 3)
    assert str(caught.value).startswith(str(folder))
    assert message in str(caught.value)


def test_nothing_on_the_screen(cross_encoder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Reranking prints nothing."""
    reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 3)
    assert capfd.readouterr() == ("", "")
