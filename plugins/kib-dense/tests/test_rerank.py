import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Hit, Query
from kib.testing import PASSAGES, check_fingerprint, check_reranker, make_plugin
from kib_dense.encoder_location import bundled_encoder
from kib_dense.rerank import Rerank

Create = Callable[..., Path]

TEXTS = {passage.id: passage for passage in PASSAGES}
FOUND = [Hit(passage.id, 9.0 - position) for position, passage in enumerate(PASSAGES)]
QUERY = Query("q", "Which lever switches off pump 7?")


def reranker(path: Path, **options: Any) -> Rerank:
    made: Rerank = make_plugin(Rerank, {"device": "cpu", "path": path, "of": ["bm25"], **options})
    return made


def scores(hits: Sequence[Hit]) -> dict[str, float]:
    return {hit.passage: hit.score for hit in hits}


def same(hits: Sequence[Hit]) -> Any:
    """Return the scores of hits for a comparison that tolerates rounding."""
    return pytest.approx(scores(hits), rel=1e-3, abs=1e-4)


def test_contract(cross_encoder: Path) -> None:
    """The plugin `rerank` satisfies the contract for rerankers with two retrievers."""
    check_reranker(lambda: reranker(cross_encoder, of=["bm25", "dense"], depth=5))


def test_the_same_as_sentence_transformers(cross_encoder: Path) -> None:
    """Scores equal the raw sentence-transformers scores for the question and the passage's title and text."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(cross_encoder), device="cpu", local_files_only=True)
    texts = {p.id: f"{p.title}\n{p.text}" if p.title else p.text for p in PASSAGES}
    pairs = [(QUERY.text, text) for text in texts.values()]
    expected = dict(zip(texts, model.predict(pairs, activation_fn=torch.nn.Identity()), strict=True))
    hits = reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)
    assert {hit.passage: hit.score for hit in hits} == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert [hit.passage for hit in hits] != [hit.passage for hit in FOUND]


def test_saved_by_sentence_transformers(cross_encoder: Path, tmp_path: Path) -> None:
    """A cross-encoder has the same scores whether it was saved by transformers or by sentence-transformers."""
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(cross_encoder), device="cpu", local_files_only=True).save_pretrained(str(tmp_path))
    assert (tmp_path / "modules.json").is_file()
    hits = reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)
    assert scores(reranker(tmp_path).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)) == same(hits)


def test_twins_by_id(cross_encoder: Path) -> None:
    """Passages with identical texts have equal scores and are ordered by passage id."""
    hits = reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)
    twins = [hit for hit in hits if hit.passage.startswith("twin")]
    assert [hit.passage for hit in twins] == ["twin-a#0", "twin-b#0"]
    assert twins[0].score == twins[1].score


def test_depth(cross_encoder: Path) -> None:
    """Only the first `depth` hits from each retriever are reranked, and each passage is scored only once."""
    both = reranker(cross_encoder, of=["bm25", "dense"], depth=3)
    assert both.sources() == {"bm25": 3, "dense": 3}
    hits = both.rerank(QUERY, {"bm25": FOUND, "dense": FOUND[::-1]}, TEXTS, 99)
    assert {hit.passage for hit in hits} == {hit.passage for hit in [*FOUND[:3], *FOUND[-3:]]}
    again = both.rerank(QUERY, {"bm25": FOUND, "dense": FOUND}, TEXTS, 99)
    assert sorted(hit.passage for hit in again) == sorted(hit.passage for hit in FOUND[:3])


def test_batches_differ_by_rounding(cross_encoder: Path) -> None:
    """Pairs scored in one batch have the same scores as pairs scored one by one, up to rounding."""
    alone = reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)
    together = reranker(cross_encoder, batch_tokens=2048).rerank(QUERY, {"bm25": FOUND}, TEXTS, 99)
    assert scores(together) == same(alone)


def test_a_blank_query(cross_encoder: Path) -> None:
    """A blank query has no hits."""
    assert reranker(cross_encoder).rerank(Query("q", " \n"), {"bm25": FOUND}, TEXTS, 9) == []


def test_a_long_passage(cross_encoder: Path) -> None:
    """If a question and a passage are too long for the model, the end of the passage is truncated, not the question."""
    short = reranker(cross_encoder, max_tokens=24)
    [hit] = short.rerank(QUERY, {"bm25": [Hit("long#0", 1.0)]}, TEXTS, 1)
    other = short.rerank(Query("q", "When does the ferry leave?"), {"bm25": [Hit("long#0", 1.0)]}, TEXTS, 1)
    assert [hit] != other


def test_fingerprint(tmp_path: Path, create_cross_encoder: Create) -> None:
    """The fingerprint depends on the weights, but not on documentation files."""
    folder = create_cross_encoder(tmp_path / "model")
    check_fingerprint(
        lambda: reranker(folder),
        change=lambda: create_cross_encoder(folder, seed=1),
        same=lambda: (folder / "README.md").write_text("About it."),
    )


def nowhere(folder: Path, _: Create) -> Path:
    return folder / "nowhere"


def an_encoder(_: Path, __: Create) -> Path:
    return bundled_encoder()


def three_labels(folder: Path, make: Create) -> Path:
    return make(folder, labels=3)


def plain_model(folder: Path, _: Create) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    return folder


def lost_classifier(folder: Path, _: Create) -> Path:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (nowhere, "no such folder; expected a folder with a cross-encoder"),
        (an_encoder, "contains a SentenceTransformer model; expected a cross-encoder"),
        (plain_model, "the architecture BertModel does not produce scores; expected a cross-encoder"),
        (lost_classifier, "weights described in config.json are missing: classifier"),
        (three_labels, "the model computes 3 scores per pair; expected a cross-encoder"),
    ],
    ids=["nowhere", "encoder", "plain", "classifier", "labels"],
)
def test_unsuitable_models(
    tmp_path: Path, create_cross_encoder: Create, damage: Callable[[Path, Create], Path], message: str
) -> None:
    """A folder without a single-score cross-encoder raises an error instead of loading a model with random layers."""
    folder = damage(create_cross_encoder(tmp_path / "model"), create_cross_encoder)
    with pytest.raises(InputError) as caught:
        reranker(folder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 3)
    assert str(caught.value).startswith(str(folder))
    assert message in str(caught.value)


def test_no_output(cross_encoder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Reranking hits prints nothing."""
    reranker(cross_encoder).rerank(QUERY, {"bm25": FOUND}, TEXTS, 3)
    assert capfd.readouterr() == ("", "")
