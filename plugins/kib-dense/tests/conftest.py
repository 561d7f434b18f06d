import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kib_dense import encoder, rerank
from kib_dense.encoder import Encoder
from kib_dense.encoder_location import EncoderLocation, bundled_encoder
from kib_dense.model_options import ModelOptions


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one torch thread, because several threads are far slower on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Store cached file digests in a temporary folder used only by these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def unchanging(tiny_encoder: Path, cross_encoder: Path) -> set[Path]:
    """The folders of the models that no test changes."""
    return {bundled_encoder(), tiny_encoder, cross_encoder}


@pytest.fixture(scope="session", autouse=True)
def load_once(unchanging: set[Path]) -> Iterator[None]:
    """Load each unchanged model folder only once per session for each set of options."""
    loaded: dict[tuple[Path, str], Any] = {}
    load = encoder.load_model

    def load_cached(location: EncoderLocation, options: ModelOptions) -> Any:
        if location.path not in unchanging:
            return load(location, options)
        key = location.path, f"{location.model_class} {options.device} {options.dtype} {options.max_tokens}"
        if key not in loaded:
            loaded[key] = load(location, options)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patch:
        for module in (encoder, rerank):
            patch.setattr(module, "load_model", load_cached)
        yield


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with random weights and the small encoder's tokenizer, saved by sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny") / "encoder"
    tokenizer = AutoTokenizer.from_pretrained(bundled_encoder())
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.5, **sizes)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    modules = [Transformer(str(folder)), Pooling(32), Dense(32, 16)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture
def copied(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder that a test may change."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that encoders have encoded during the test, in order."""
    texts: list[str] = []
    real: Callable[..., object] = Encoder._encode

    def recorded(self: Encoder, some: list[str], *others: object) -> object:
        texts.extend(some)
        return real(self, some, *others)

    monkeypatch.setattr(Encoder, "_encode", recorded)
    return texts


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cross-encoder with random weights and the small encoder's tokenizer, saved by transformers."""
    return _create_cross_encoder(tmp_path_factory.mktemp("cross") / "model")


@pytest.fixture(scope="session")
def create_cross_encoder() -> Callable[..., Path]:
    """Return a function that saves a tiny cross-encoder in a folder, with a number of labels and a seed."""
    return _create_cross_encoder


def _create_cross_encoder(folder: Path, labels: int = 1, seed: int = 0) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(bundled_encoder())
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        num_labels=labels,
    )
    model = BertForSequenceClassification(config)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in sorted(model.named_parameters()):
            if "LayerNorm" not in name:
                weights.normal_(0, 0.3, generator=random)
    tokenizer.model_max_length = 128
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
