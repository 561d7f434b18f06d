import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kib.errors import InputError
from kib.testing import check_fingerprint
from kib_dense.encoder import PRESETS, Encoder, EncoderOptions
from kib_dense.loading import batches
from kib_dense.source import Source, bundled_encoder

TEXTS = [
    "A rope of hemp.",
    "The relief valve opens at eleven bar. " * 9,
    "",
    "Über die Brücke 桥 🚧",
    "A rope of hemp.",
]
MEASURED = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of model.safetensors of sentence-transformers/all-MiniLM-L6-v2 on the hub."""


def encoder(**options: Any) -> Encoder:
    """An encoder that was not used before."""
    text = json.dumps({"device": "cpu", **options}, default=str)
    return Encoder(EncoderOptions.model_validate_json(text, context={"folder": Path()}))


def test_small_encoder() -> None:
    """Without an option it is all-MiniLM-L6-v2, byte for byte, of 384 numbers and 256 tokens."""
    from kib.identity import digest_file

    small = encoder()
    assert digest_file(bundled_encoder() / "model.safetensors") == MEASURED
    assert (small.dimension(), small.max_tokens()) == (384, 256)
    assert np.allclose(np.linalg.norm(small.queries(["rope"]), axis=1), 1)


def test_meaning() -> None:
    """A text is nearer to what answers it in other words than to what shares its words."""
    question = encoder().queries(["What do cats eat?"])[0]
    mice, eaters = encoder().passages(["Felines feed on small rodents.", "What do you call a band of horns?"])
    assert question @ mice > question @ eaters


def test_the_same_as_sentence_transformers() -> None:
    """Vectors are those that sentence-transformers gives for the same model, to rounding."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(bundled_encoder()), device="cpu", local_files_only=True)
    expected = model.encode(TEXTS, batch_size=2, show_progress_bar=False)
    assert np.allclose(encoder().passages(TEXTS), expected, atol=1e-5)
    assert np.allclose(encoder().queries(TEXTS), expected, atol=1e-5)


def test_a_vector_depends_on_its_text_alone() -> None:
    """On a CPU a text has the same vector to the bit, alone and among others, in this instance and another."""
    together = encoder().passages(TEXTS)
    assert together.dtype == np.float32
    for text, vector in zip(TEXTS, together, strict=True):
        assert np.array_equal(encoder().passages([text])[0], vector)
        assert np.array_equal(encoder().queries([text])[0], vector)


def test_batches_differ_by_rounding() -> None:
    """Several texts at once give the same vectors but for rounding."""
    assert np.allclose(encoder(batch_tokens=10_000).passages(TEXTS), encoder().passages(TEXTS), atol=1e-5)


def test_no_text_at_all() -> None:
    """No text gives no vector, of the encoder's length."""
    assert encoder().passages([]).shape == encoder().queries([]).shape == (0, 384)


def test_equal_texts_are_computed_once(encoded: list[str]) -> None:
    """A text that stands twice is encoded once."""
    encoder().passages(TEXTS)
    assert sorted(encoded) == sorted(set(TEXTS))


def test_prompts(copied: Path) -> None:
    """A prompt stands before the text: the option's, else the one that the model's own configuration names."""
    asked, told = encoder().passages(["query: rope", "passage: rope"])
    given = encoder(query_prompt="query: ", passage_prompt="passage: ")
    assert np.array_equal(given.queries(["rope"])[0], asked)
    assert np.array_equal(given.passages(["rope"])[0], told)
    config = copied / "config_sentence_transformers.json"
    config.write_text(json.dumps({"prompts": {"query": "query: ", "document": "passage: "}}))
    own = encoder(path=copied)
    assert np.array_equal(own.queries(["rope"])[0], asked)
    assert np.array_equal(own.passages(["rope"])[0], told)
    assert np.array_equal(encoder(path=copied, query_prompt="").queries(["rope"]), encoder().queries(["rope"]))


def test_normalize(copied: Path) -> None:
    """A model without a layer that scales its vectors gives them length 1 where it is asked to."""
    listed = copied / "modules.json"
    listed.write_text(json.dumps(json.loads(listed.read_text())[:2]))
    lengths = np.linalg.norm(encoder(path=copied).passages(TEXTS), axis=1)
    assert (abs(lengths - 1) > 0.1).any()
    assert np.allclose(np.linalg.norm(encoder(path=copied, normalize=True).passages(TEXTS), axis=1), 1)


def test_length() -> None:
    """A text's tokens are counted whole, its prompt included, and only the first `max_tokens` are read."""
    short = encoder(max_tokens=8, passage_prompt="passage: ")
    embedded = short.embed(["one two three four", "one two three four five six", "one two three four nine ten", "one"])
    assert embedded.tokens == (8, 10, 10, 5)
    assert np.array_equal(embedded.vectors[1], embedded.vectors[0])
    assert np.array_equal(embedded.vectors[2], embedded.vectors[0])
    assert not np.array_equal(embedded.vectors[3], embedded.vectors[0])


def test_layers_on_top(tiny_encoder: Path) -> None:
    """A model with a layer after pooling is loaded whole, that layer's weights from its own folder."""
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(tiny_encoder), device="cpu", local_files_only=True).encode(TEXTS)
    found = encoder(path=tiny_encoder)
    assert (found.dimension(), found.max_tokens()) == (16, 64)
    assert np.allclose(found.passages(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("limit", [None, 128])
def test_without_a_transformer(tmp_path: Path, limit: int | None) -> None:
    """A model that looks vectors up reads as much of a text as its tokenizer says, and no option changes that."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(bundled_encoder() / "tokenizer.json"))
    words.no_truncation()
    if limit:
        words.enable_truncation(limit)
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=8)], device="cpu").save_pretrained(str(tmp_path))
    embedded = encoder(path=tmp_path).embed(["red lever", "lever " * 500])
    assert (embedded.vectors.shape, embedded.tokens) == ((2, 8), (2, 500))
    assert encoder(path=tmp_path).max_tokens() == limit
    with pytest.raises(InputError, match="max_tokens = 8, but a model without a transformer reads as much as"):
        encoder(path=tmp_path, max_tokens=8).passages(["red lever"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype(dtype: str) -> None:
    """Another number format gives nearly the same vectors, as float32."""
    found, expected = encoder(dtype=dtype).passages(TEXTS), encoder().passages(TEXTS)
    assert found.dtype == np.float32
    assert not np.array_equal(found, expected)
    assert np.allclose(found, expected, atol=0.02)


def test_batches() -> None:
    """Batches hold what fits with padding, longest first, and what is left after any of them makes the same ones."""
    lengths = [3, 9, 1, 20, 9, 4, 2]
    whole = list(batches(lengths, 18))
    assert whole == [[3], [1, 4], [5, 0, 6, 2]]
    left = [place for group in whole[1:] for place in sorted(group)]
    again = [
        [sorted(left)[place] for place in group] for group in batches([lengths[place] for place in sorted(left)], 18)
    ]
    assert again == whole[1:]


def test_what_is_remembered_is_not_computed_again(tmp_path: Path, encoded: list[str]) -> None:
    """With a memory, only texts that it does not know are encoded, and all come out alike to the bit."""
    first = encoder().embed(TEXTS, tmp_path)
    del encoded[:]
    again = encoder().embed([*TEXTS[::-1], "A new one."], tmp_path)
    assert encoded == ["A new one."]
    assert np.array_equal(again.vectors[: len(TEXTS)], first.vectors[::-1])
    assert again.tokens[: len(TEXTS)] == first.tokens[::-1]


def test_what_a_killed_call_computed_is_remembered(tmp_path: Path, encoded: list[str]) -> None:
    """Each batch is on the disk before the next one, and the rest makes the batches that an undisturbed call makes."""
    texts = [f"Pump {number} is beside the door. " * (number % 5 + 1) for number in range(20)]
    whole = encoder(batch_tokens=60).passages(texts)
    order = list(encoded)
    del encoded[:]

    def stop(_: int) -> None:
        if len(encoded) > 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder(batch_tokens=60).embed(texts, tmp_path, stop)
    assert 6 < len(encoded) < 20
    resumed = encoder(batch_tokens=60).passages(texts, tmp_path)
    assert encoded == order
    assert np.array_equal(resumed, whole)


def test_progress(tmp_path: Path) -> None:
    """Every text is told once, those that are known at once."""
    told: list[int] = []
    distinct = list(dict.fromkeys(TEXTS))
    encoder().embed(distinct[:2], tmp_path)
    encoder().embed(distinct, tmp_path, told.append)
    assert told == [2, 1, 1]


def test_a_damaged_memory(tmp_path: Path) -> None:
    """A memory that is no database, or of another encoder, is named with what to do."""
    (tmp_path / "embeddings.sqlite").write_bytes(b"not a database, but long enough to look like one " * 99)
    with pytest.raises(InputError, match=r"embeddings\.sqlite: not readable as stored embeddings .*; delete it"):
        encoder().passages(TEXTS, tmp_path)
    (tmp_path / "embeddings.sqlite").unlink()
    encoder().passages(TEXTS, tmp_path)
    with sqlite3.connect(tmp_path / "embeddings.sqlite") as connection:
        connection.execute("UPDATE embeddings SET vector = x'00000000'")
    connection.close()
    with pytest.raises(InputError, match="holds vectors of another length than 384; delete it"):
        encoder().passages(TEXTS, tmp_path)


def test_memory_names(copied: Path) -> None:
    """What decides a passage's vector makes another memory, and nothing else does."""
    name = encoder().memory()
    assert name.startswith("embeddings-")
    for same in ({"path": copied}, {"query_prompt": "query: "}, {"batch_tokens": 99}, {"device": "auto"}):
        assert encoder(**same).memory() == name
    others = [{"passage_prompt": "passage: "}, {"dtype": "bfloat16"}, {"max_tokens": 128}, {"normalize": True}]
    assert len({name, *(encoder(**other).memory() for other in others)}) == 1 + len(others)


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "tokenizer.json", "model.safetensors"])
def test_fingerprint(copied: Path, name: str) -> None:
    """The fingerprint follows the files that decide a vector, those in subfolders included, and no prose."""

    def change() -> None:
        with (copied / name).open("ab") as file:
            file.write(b" ")

    def same() -> None:
        (copied / "README.md").write_text("About this model.")
        (copied / "onnx").mkdir()
        (copied / "onnx" / "config.json").write_text("{}")

    check_fingerprint(lambda: encoder(path=copied), change=change, same=same)


def test_the_place_does_not_count(copied: Path) -> None:
    """A copy of the small encoder in another folder is the same encoder."""
    assert encoder(path=copied).fingerprint() == encoder().fingerprint()


def test_preset() -> None:
    """The paper's encoder is pinned to a commit of the hub, with the instruction that its card gives."""
    paper = encoder(preset="paper")
    assert paper.fingerprint() == PRESETS["paper"].revision
    assert str(paper.source) == "BAAI/bge-large-en"
    assert paper._query_prompt == "Represent this sentence for searching relevant passages: "


def test_preset_in_a_folder(copied: Path) -> None:
    """A folder beside a preset is taken instead of the hub, with the preset's prompts."""
    prompt = PRESETS["paper"].query_prompt
    found = encoder(preset="paper", path=copied)
    assert np.array_equal(found.queries(["rope"])[0], encoder().passages([f"{prompt}rope"])[0])
    assert np.array_equal(
        encoder(preset="paper", path=copied, query_prompt="").queries(["rope"]), encoder().queries(["rope"])
    )


def no_folder(folder: Path) -> Path:
    return folder / "nowhere"


def a_file(folder: Path) -> Path:
    return folder / "config.json"


def without(*names: str) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        for name in names:
            (folder / name).unlink()
        return folder

    return spoil


def only_bin(folder: Path) -> Path:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


def a_lost_part(folder: Path) -> Path:
    (folder / "model.safetensors").unlink()
    weights = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(weights))
    (folder / "model-2.safetensors").touch()
    return folder


def other_kind(folder: Path) -> Path:
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"model_type": "SparseEncoder"}))
    return folder


def lost_weights(folder: Path) -> Path:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "layer.3.output" not in key}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def own_code(folder: Path) -> Path:
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["type"] = "custom_code.Transformer"
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_folder, "no such folder; expected one with an encoder that sentence-transformers saved"),
        (a_file, "a file; expected a folder with an encoder"),
        (without("modules.json"), "no modules.json in it, so nothing says how tokens become one vector"),
        (without("modules.json", "config.json"), "neither modules.json nor config.json in it"),
        (without("model.safetensors"), "no weights in it; expected model.safetensors"),
        (only_bin, "weights in pytorch_model.bin alone"),
        (a_lost_part, "1 of 2 weight files are missing: model-1.safetensors"),
        (other_kind, "a SparseEncoder of sentence-transformers; expected an encoder"),
    ],
)
def test_no_such_encoder(copied: Path, spoil: Callable[[Path], Path], message: str) -> None:
    """A folder that holds no encoder is refused when it is fingerprinted, in a sentence that names it."""
    folder = spoil(copied)
    with pytest.raises(InputError) as caught:
        encoder(path=folder).fingerprint()
    assert str(caught.value).startswith(str(folder))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (lost_weights, {}, "the weights lack what config.json describes: encoder.layer.3.output"),
        (own_code, {}, "it brings Python code of its own; set `trust_remote_code = true`"),
        (
            without("tokenizer.json", "vocab.txt", "tokenizer_config.json"),
            {},
            "its tokenizer knows no word; are tokenizer.json",
        ),
        (Path, {"max_tokens": 4096}, "max_tokens = 4096, but the model has 512 positions"),
    ],
    ids=["lost weights", "own code", "no tokenizer", "too long"],
)
def test_an_encoder_that_cannot_be_loaded(
    copied: Path, spoil: Callable[[Path], Path], options: dict[str, Any], message: str
) -> None:
    """What only loading shows is said in a sentence that names the model."""
    spoil(copied)
    with pytest.raises(InputError) as caught:
        encoder(path=copied, **options).passages(["rope"])
    assert str(caught.value).startswith(str(copied))
    assert message in str(caught.value)


def test_a_device_that_is_not_here() -> None:
    """A device that PyTorch does not see is named with those that it sees."""
    with pytest.raises(InputError, match=r'device = "cuda:77": PyTorch .* finds no such device'):
        encoder(device="cuda:77").passages(["rope"])


def test_the_hub_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network a model of the hub that is not downloaded is an error that says what to do."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"BAAI/bge-large-en: `abe7d9d8.*` is not on this machine"):
        encoder(preset="paper").passages(["rope"])
    with pytest.raises(InputError, match="go online, or give a folder as `path`"):
        encoder(hub="intfloat/e5-small-v2", revision="main").fingerprint()


def test_a_downloaded_commit_needs_no_network(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that lies in the hub's cache is used without asking anybody."""
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "hub" / "models--kib-tests--small" / "snapshots" / commit
    place.parent.mkdir(parents=True)
    copied.rename(place)
    found = Source("SentenceTransformer", None, "kib-tests/small", commit)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert found.fingerprint() == commit
    assert found.folder() == place


def test_nothing_on_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    """Loading and encoding print nothing."""
    encoder().passages(["word " * 999])
    assert capfd.readouterr() == ("", "")
