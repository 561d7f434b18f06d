import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kib_dense.encoder import Encoder
from kib_dense.source import bundled_encoder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take a hundred times longer than one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder with random weights and the small one's tokenizer, as sentence-transformers saves it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny") / "encoder"
    tokenizer = AutoTokenizer.from_pretrained(bundled_encoder())
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **small)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    read = Transformer(str(folder))
    modules = [read, Pooling(32), Dense(32, 16)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with the small encoder, to be spoilt."""
    return Path(shutil.copytree(bundled_encoder(), tmp_path / "encoder"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that encoders computed, in their order, as they come."""
    texts: list[str] = []
    real: Callable[..., object] = Encoder._encode

    def watched(self: Encoder, some: list[str], *others: object) -> object:
        texts.extend(some)
        return real(self, some, *others)

    monkeypatch.setattr(Encoder, "_encode", watched)
    return texts


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cross-encoder with random weights and the small encoder's tokenizer, as sentence-transformers saves it."""
    return _make_cross(tmp_path_factory.mktemp("cross") / "model")


@pytest.fixture(scope="session")
def make_cross() -> Callable[..., Path]:
    """A function that makes a tiny cross-encoder in a folder, of so many labels and from a seed."""
    return _make_cross


def _make_cross(folder: Path, labels: int = 1, seed: int = 0) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(bundled_encoder())
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
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
