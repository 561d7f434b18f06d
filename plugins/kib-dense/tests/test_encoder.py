import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kib.errors import InputError
from kib.identity import digest_file
from kib.testing import check_fingerprint
from kib_dense.batching import split_into_batches
from kib_dense.embedding_cache import EmbeddingCache, cache_key
from kib_dense.encoder import PRESETS, Encoder, EncoderOptions
from kib_dense.encoder_location import EncoderLocation, bundled_encoder
from kib_dense.model_loading import run_quietly

TEXTS = [
    "A rope of hemp.",
    "The relief valve opens at eleven bar. " * 9,
    "",
    "Über die Brücke 桥 🚧",
    "A rope of hemp.",
]
PUBLISHED_DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The SHA-256 digest of model.safetensors in the hub model sentence-transformers/all-MiniLM-L6-v2."""


def small_encoder(**options: Any) -> Encoder:
    """Return a new encoder, by default the small encoder."""
    text = json.dumps({"device": "cpu", **options}, default=str)
    return Encoder(EncoderOptions.model_validate_json(text, context={"folder": Path()}))


@pytest.fixture
def encoder(tiny_encoder: Path) -> Callable[..., Encoder]:
    """Return a function that returns a new encoder, by default the tiny encoder."""
    return lambda **options: small_encoder(**{"path": tiny_encoder, **options})


def assert_close(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> None:
    """Assert that vectors are equal up to rounding, relative to the largest component."""
    largest = float(np.abs(expected).max(initial=1e-9))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * largest)


def test_small_encoder() -> None:
    """The default encoder is an exact copy of all-MiniLM-L6-v2 with 384 vector components and a limit of 256 tokens."""
    small = small_encoder()
    assert digest_file(bundled_encoder() / "model.safetensors") == PUBLISHED_DIGEST
    assert (small.dimension(), small.max_tokens()) == (384, 256)
    assert np.linalg.norm(small.queries(["rope"]), axis=1) == pytest.approx(1, rel=1e-3)


def test_same_vectors_as_sentence_transformers(encoder: Callable[..., Encoder], tiny_encoder: Path) -> None:
    """Vectors equal those from sentence-transformers up to rounding, even if the model has a layer after pooling."""
    from sentence_transformers import SentenceTransformer

    for made, folder in ((encoder(), tiny_encoder), (small_encoder(), bundled_encoder())):
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        expected = model.encode(TEXTS, batch_size=2, show_progress_bar=False)
        assert_close(made.passages(TEXTS), expected)
        assert_close(made.queries(TEXTS), expected)
    assert (encoder().dimension(), encoder().max_tokens()) == (16, 64)


def test_batches_differ_by_rounding(encoder: Callable[..., Encoder]) -> None:
    """Texts encoded in a batch have the same vectors as texts encoded one by one, up to rounding."""
    together = encoder(batch_tokens=10_000).passages(TEXTS)
    assert together.dtype == np.float32
    for text, vector in zip(TEXTS, together, strict=True):
        assert_close(encoder().passages([text])[0], vector)
        assert_close(encoder().queries([text])[0], vector)


def test_texts_are_computed_one_by_one_on_a_cpu(
    encoder: Callable[..., Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, texts are encoded one by one unless `batch_tokens` is set."""
    sizes: list[int] = []
    real = Encoder._encode

    def recorded(self: Encoder, texts: list[str], *others: Any) -> Any:
        sizes.append(len(texts))
        return real(self, texts, *others)

    monkeypatch.setattr(Encoder, "_encode", recorded)
    encoder().passages(TEXTS)
    encoder().queries(TEXTS)
    assert sizes == [1] * (4 + 5)
    encoder(batch_tokens=10_000).passages(TEXTS)
    assert sizes[-1] == 4


def test_no_texts(encoder: Callable[..., Encoder]) -> None:
    """Encoding an empty list returns an array with no rows and one column per vector component."""
    assert encoder().passages([]).shape == encoder().queries([]).shape == (0, 16)


def test_equal_texts_are_computed_once(encoder: Callable[..., Encoder], encoded: list[str]) -> None:
    """A text that occurs twice in a list is encoded only once."""
    encoder().passages(TEXTS)
    assert sorted(encoded) == sorted(set(TEXTS))


def test_prompts(encoder: Callable[..., Encoder], copied: Path) -> None:
    """The prompt before a text is read from the options or, by default, from the model's configuration."""
    query, passage = encoder().passages(["query: rope", "passage: rope"])
    given = encoder(query_prompt="query: ", passage_prompt="passage: ")
    assert_close(given.queries(["rope"])[0], query)
    assert_close(given.passages(["rope"])[0], passage)
    config = copied / "config_sentence_transformers.json"
    config.write_text(json.dumps({"prompts": {"query": "query: ", "document": "passage: "}}))
    own = encoder(path=copied)
    assert_close(own.queries(["rope"])[0], query)
    assert_close(own.passages(["rope"])[0], passage)
    assert_close(encoder(path=copied, query_prompt="").queries(["rope"]), encoder().queries(["rope"]))


def test_normalize(encoder: Callable[..., Encoder]) -> None:
    """With the option `normalize`, vectors have length 1."""
    assert (abs(np.linalg.norm(encoder().passages(TEXTS), axis=1) - 1) > 0.1).any()
    assert np.linalg.norm(encoder(normalize=True).passages(TEXTS), axis=1) == pytest.approx(1, rel=1e-3)


def test_length(encoder: Callable[..., Encoder]) -> None:
    """The reported token count covers the prompt and the whole text, but the model reads only `max_tokens` tokens."""
    short = encoder(max_tokens=8, passage_prompt="passage: ")
    embedded = short.embed(["one two three four", "one two three four five six", "one two three four nine ten", "one"])
    assert embedded.tokens == (8, 10, 10, 5)
    assert_close(embedded.vectors[1], embedded.vectors[0])
    assert_close(embedded.vectors[2], embedded.vectors[0])
    assert not np.allclose(embedded.vectors[3], embedded.vectors[0], atol=0.01)


@pytest.mark.parametrize("limit", [None, 128])
def test_without_a_transformer(tmp_path: Path, limit: int | None) -> None:
    """A model without a transformer has the token limit of its tokenizer, and rejects the option `max_tokens`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(bundled_encoder() / "tokenizer.json"))
    words.no_truncation()
    if limit:
        words.enable_truncation(limit)
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=8)], device="cpu").save_pretrained(str(tmp_path))
    embedded = small_encoder(path=tmp_path).embed(["red lever", "lever " * 500])
    assert (embedded.vectors.shape, embedded.tokens) == ((2, 8), (2, 500))
    assert small_encoder(path=tmp_path).max_tokens() == limit
    with pytest.raises(InputError, match="max_tokens = 8 has no effect, because the model contains no transformer"):
        small_encoder(path=tmp_path, max_tokens=8).passages(["red lever"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype(dtype: str) -> None:
    """A model loaded with a lower-precision dtype computes similar vectors, which are returned as float32."""
    found, expected = small_encoder(dtype=dtype).passages(TEXTS[:2]), small_encoder().passages(TEXTS[:2])
    assert found.dtype == np.float32
    assert not np.array_equal(found, expected)
    assert (np.sum(found * expected, axis=1) > 0.95).all()


def test_batches() -> None:
    """Batches are filled with the longest texts first, and a resumed run forms the same batches."""
    lengths = [3, 9, 1, 20, 9, 4, 2]
    batches = list(split_into_batches(lengths, 18))
    assert batches == [[3], [1, 4], [5, 0, 6, 2]]
    rest = sorted(position for batch in batches[1:] for position in batch)
    again = split_into_batches([lengths[position] for position in rest], 18)
    assert [[rest[position] for position in batch] for batch in again] == batches[1:]


def test_cached_vectors_are_not_computed_again(
    encoder: Callable[..., Encoder], tmp_path: Path, encoded: list[str]
) -> None:
    """Only texts missing from the embedding cache are encoded, and cached vectors are returned bit for bit."""
    first = encoder().embed(TEXTS, tmp_path)
    encoded.clear()
    again = encoder().embed([*TEXTS[::-1], "A new one."], tmp_path)
    assert encoded == ["A new one."]
    assert np.array_equal(again.vectors[: len(TEXTS)], first.vectors[::-1])
    assert again.tokens[: len(TEXTS)] == first.tokens[::-1]


def test_an_interrupted_call(encoder: Callable[..., Encoder], tmp_path: Path, encoded: list[str]) -> None:
    """After an interruption, finished batches are cached, and the next call computes the remaining batches."""
    texts = [f"Pump {number} is beside the door. " * (number % 5 + 1) for number in range(20)]
    whole = encoder(batch_tokens=60).passages(texts)
    order = list(encoded)
    encoded.clear()

    def stop(_: int) -> None:
        if len(encoded) > 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder(batch_tokens=60).embed(texts, tmp_path, stop)
    assert 6 < len(encoded) < 20
    resumed = encoder(batch_tokens=60).passages(texts, tmp_path)
    assert encoded == order
    assert_close(resumed, whole)


def test_progress(encoder: Callable[..., Encoder], tmp_path: Path) -> None:
    """The progress callback counts each text once, and reports all cached texts in a single call."""
    counts: list[int] = []
    distinct = list(dict.fromkeys(TEXTS))
    encoder().embed(distinct[:2], tmp_path)
    encoder().embed(distinct, tmp_path, counts.append)
    assert counts == [2, 1, 1]


def test_a_damaged_cache(encoder: Callable[..., Encoder], tmp_path: Path) -> None:
    """If the embedding cache or some of its vectors are damaged, the affected texts are encoded again."""
    whole = encoder().passages(TEXTS)
    (tmp_path / "embeddings.sqlite").write_bytes(b"not a database, but long enough to look like one " * 99)
    assert np.array_equal(encoder().passages(TEXTS, tmp_path), whole)
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as connection:
        connection.execute("UPDATE embeddings SET vector = x'00000000'")
    connection.close()
    assert np.array_equal(encoder().passages(TEXTS, tmp_path), whole)


def test_a_cache_of_a_different_encoder(encoder: Callable[..., Encoder], tmp_path: Path) -> None:
    """Cached vectors of the wrong length raise an error that names the cache."""
    with EmbeddingCache.open(tmp_path) as cache:
        cache.add({cache_key(text): (1, np.ones(3, np.float32)) for text in TEXTS})
    with pytest.raises(InputError, match="expected cached vectors with 16 components, as the encoder computes; delete"):
        encoder().passages(TEXTS, tmp_path)


def test_memory_names(encoder: Callable[..., Encoder], copied: Path) -> None:
    """An option changes the name of the embedding cache if and only if the option changes passage vectors."""
    name = encoder().memory()
    assert name.startswith("embeddings-")
    for same in ({"path": copied}, {"query_prompt": "query: "}, {"batch_tokens": 99}, {"device": "auto"}):
        assert encoder(**same).memory() == name
    others = [{"passage_prompt": "passage: "}, {"dtype": "bfloat16"}, {"max_tokens": 128}, {"normalize": True}]
    assert len({name, *(encoder(**other).memory() for other in others)}) == 1 + len(others)


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "tokenizer.json", "model.safetensors"])
def test_fingerprint(copied: Path, name: str) -> None:
    """The fingerprint depends on all files that affect vectors, including files in subfolders, not on documentation."""

    def change() -> None:
        with (copied / name).open("ab") as file:
            file.write(b" ")

    def same() -> None:
        (copied / "README.md").write_text("About this model.")
        (copied / "onnx").mkdir()
        (copied / "onnx" / "config.json").write_text("{}")

    check_fingerprint(lambda: small_encoder(path=copied), change=change, same=same)


def test_a_copy_has_the_same_fingerprint(encoder: Callable[..., Encoder], copied: Path) -> None:
    """A copy of an encoder in a different folder has the same fingerprint."""
    assert encoder(path=copied).fingerprint() == encoder().fingerprint()


def test_preset() -> None:
    """The preset `paper` pins a commit of BAAI/bge-large-en and the query instruction from its model card."""
    paper = small_encoder(preset="paper")
    assert paper.fingerprint() == PRESETS["paper"].revision
    assert str(paper.location) == "BAAI/bge-large-en"
    assert paper._query_prompt == "Represent this sentence for searching relevant passages: "


def test_preset_in_a_folder(encoder: Callable[..., Encoder]) -> None:
    """With `preset` and `path`, the encoder is loaded from the folder, and the prompts are taken from the preset."""
    prompt = PRESETS["paper"].query_prompt
    paper = encoder(preset="paper")
    assert_close(paper.queries(["rope"])[0], encoder().passages([f"{prompt}rope"])[0])
    assert_close(encoder(preset="paper", query_prompt="").queries(["rope"]), encoder().queries(["rope"]))


def no_folder(folder: Path) -> Path:
    return folder / "nowhere"


def a_file(folder: Path) -> Path:
    return folder / "config.json"


def without(*names: str) -> Callable[[Path], Path]:
    def damage(folder: Path) -> Path:
        for name in names:
            (folder / name).unlink()
        return folder

    return damage


def only_bin(folder: Path) -> Path:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


def a_lost_part(folder: Path) -> Path:
    (folder / "model.safetensors").unlink()
    weights = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(weights))
    (folder / "model-2.safetensors").touch()
    return folder


def broken_modules(folder: Path) -> Path:
    (folder / "modules.json").write_text('[{"name": "0"}]')
    return folder


def broken_index(folder: Path) -> Path:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}")
    return folder


def with_config(text: str) -> Callable[[Path], Path]:
    def damage(folder: Path) -> Path:
        (folder / "config_sentence_transformers.json").write_text(text)
        return folder

    return damage


def other_kind(folder: Path) -> Path:
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "SparseEncoder"}))
    return folder


def lost_weights(folder: Path) -> Path:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "layer.0.output" not in key}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def own_code(folder: Path) -> Path:
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["type"] = "custom_code.Transformer"
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_folder, "no such folder; expected a folder with an encoder saved by sentence-transformers"),
        (a_file, "this is a file; expected a folder with an encoder"),
        (without("modules.json"), "modules.json is missing, so the pooling of token vectors is unknown"),
        (without("modules.json", "config.json"), "contains neither modules.json nor config.json"),
        (
            without("model.safetensors", "2_Dense/model.safetensors"),
            "the folder contains no weights; expected model.safetensors",
        ),
        (only_bin, "the weights exist only in pytorch_model.bin"),
        (a_lost_part, "1 of 2 weight files are missing: model-1.safetensors"),
        (other_kind, "contains a SparseEncoder model; expected an encoder"),
        (broken_modules, "modules.json: invalid content; expected a list of modules with their paths"),
        (broken_index, "model.safetensors.index.json: invalid weight index; expected a JSON object"),
        (with_config("{"), "config_sentence_transformers.json: invalid JSON"),
        (with_config("[]"), "config_sentence_transformers.json: not a JSON object"),
    ],
)
def test_unsuitable_folders(copied: Path, damage: Callable[[Path], Path], message: str) -> None:
    """Computing the fingerprint of a folder without an encoder raises an error that names the folder."""
    folder = damage(copied)
    with pytest.raises(InputError) as caught:
        small_encoder(path=folder).fingerprint()
    assert str(caught.value).startswith(str(folder))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (lost_weights, {}, "weights described in config.json are missing: encoder.layer.0.output"),
        (own_code, {}, "the model requires Python code from its own files; set `trust_remote_code = true`"),
        (
            without("tokenizer.json", "tokenizer_config.json"),
            {},
            "the tokenizer's vocabulary is empty; tokenizer.json",
        ),
        (Path, {"max_tokens": 4096}, "max_tokens = 4096 exceeds the model's limit of 64 positions"),
    ],
    ids=["lost weights", "own code", "no tokenizer", "too long"],
)
def test_an_encoder_that_cannot_be_loaded(
    copied: Path, damage: Callable[[Path], Path], options: dict[str, Any], message: str
) -> None:
    """An error that occurs while a model is loaded names the model."""
    damage(copied)
    with pytest.raises(InputError) as caught:
        small_encoder(path=copied, **options).passages(["rope"])
    assert str(caught.value).startswith(str(copied))
    assert message in str(caught.value)


def test_vectors_that_are_not_finite(copied: Path) -> None:
    """A vector with an infinite component raises an error that names the model and suggests float32."""
    broken = small_encoder(path=copied)
    next(broken._model.parameters()).data.fill_(float("inf"))
    with pytest.raises(InputError, match=r"encoder: a vector computed in float32 is not finite; set dtype"):
        broken.queries(["rope"])


def test_a_full_gpu() -> None:
    """If the GPU runs out of memory, the error names the model and the option to lower."""
    import torch

    message = "BAAI/bge-large-en: the GPU ran out of memory; lower `batch_tokens`"
    with pytest.raises(InputError, match=message), run_quietly(small_encoder(preset="paper").location):
        raise torch.cuda.OutOfMemoryError


def test_a_missing_device() -> None:
    """An unavailable device raises an error that names the device."""
    with pytest.raises(InputError, match='device = "cuda:77": '):
        small_encoder(device="cuda:77").passages(["rope"])


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, a hub model that has not been downloaded raises an error that names the model."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"^BAAI/bge-large-en: .*`abe7d9d8.*`path`"):
        small_encoder(preset="paper").passages(["rope"])
    with pytest.raises(InputError, match=r"^intfloat/e5-small-v2: .*`path`"):
        small_encoder(hub="intfloat/e5-small-v2", revision="main").fingerprint()


def test_a_downloaded_commit_needs_no_network(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached commit of a hub model is loaded without network access."""
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "hub" / "models--kib-tests--small" / "snapshots" / commit
    folder.parent.mkdir(parents=True)
    copied.rename(folder)
    location = EncoderLocation("SentenceTransformer", None, "kib-tests/small", commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert location.fingerprint() == commit
    assert location.folder() == folder


def test_no_output(copied: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Loading an encoder and encoding texts print nothing."""
    small_encoder(path=copied).passages(["word " * 999])
    assert capfd.readouterr() == ("", "")
