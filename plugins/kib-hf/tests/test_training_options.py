import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.records import Weights
from kib.testing import check_options, check_plugin, make_plugin, make_tiny_model
from kib_hf.trainers import Full, Lora

BOTH = pytest.mark.parametrize("trainer", [Full, Lora])
CPU = {"device": "cpu", "block": 128}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "small", layers=1, width=16, positions=512)


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "copy"))


def check(trainer: type[Any], start: Weights, *, validation: bool = False, **options: Any) -> None:
    make_plugin(trainer, {**CPU, **options}).check(start, validation=validation)


@pytest.mark.parametrize(("name", "trainer"), [("full", Full), ("lora", Lora)])
def test_installed(name: str, trainer: type[Any]) -> None:
    """The entry points `full` and `lora` load well-formed trainers that import no large packages."""
    assert check_plugin("trainers", name) is trainer


@BOTH
def test_options(trainer: type[Any]) -> None:
    """Every option of a trainer has a description, and invalid values are rejected."""
    check_options(
        trainer,
        accepts=[
            {},
            {"epochs": 5, "block": 256, "batch_size": 64, "learning_rate": 1e-6, "pack": "concatenate"},
            {"pack": "none", "schedule": "linear", "warmup": 0.1, "dtype": "bfloat16", "betas": [0.9, 0.95]},
            {"patience": 2, "processes": 4, "gradient_checkpointing": True},
            {"accelerate": "/etc/accelerate.yaml"},
        ],
        refuses=[
            {"epochs": 0},
            {"epochs": 1.5},
            {"learning_rate": 0},
            {"learning_rate": 1},
            {"block": 4},
            {"pack": "true"},
            {"layout": "side by side"},
            {"warmup": 1},
            {"betas": [0.9, 1.0]},
            {"dtype": "auto"},
            {"patience": 0},
            {"device": "cuda:1"},
            {"processes": 4, "accelerate": "/etc/accelerate.yaml"},
            {"processes": 1, "accelerate": "/etc/accelerate.yaml"},
        ],
    )


def test_infinite_option() -> None:
    """An infinite option value is rejected."""
    with pytest.raises(ValueError, match="expected a finite number"):
        Full.Options.model_validate({"max_grad_norm": float("inf")})


def test_options_of_lora() -> None:
    """The trainer `lora` validates the adapter options, and the trainer `full` rejects these options as unknown."""
    given = {"rank": 8, "alpha": 16, "dropout": 0.1, "targets": ["q_proj"], "dora": True, "rslora": True}
    check_options(
        Lora, accepts=[given, {"targets": "all-linear"}], refuses=[{"rank": 0}, {"dropout": 1}, {"targets": "["}]
    )
    check_options(Full, refuses=[{name: value} for name, value in given.items()])


def test_papers() -> None:
    """The BibTeX entries of the trainer `lora` include the papers on the selected variants."""
    found = make_plugin(Lora, {"dora": True}).bibtex()
    assert [key in found for key in ("hu2021lora", "liu2024dora", "kalajdzievski2023rslora")] == [True, True, False]


@pytest.mark.parametrize("other", [{"device_batch": 2}, {"layout": "packed"}, {"processes": 2}])
def test_layout_is_part_of_the_identity_only_with_dropout(other: dict[str, Any]) -> None:
    """Options that change the arrangement of rows are part of a result's identity only if dropout is used."""
    plain, changed = (make_plugin(Lora, {"dropout": 0.1, **more}).fingerprint() for more in ({}, other))
    assert plain != changed
    assert make_plugin(Lora, {"dropout": 0.1, "checkpoint_every": 7}).fingerprint() == plain
    for trainer, options in ((Lora, {"dropout": 0.0}), (Full, {})):
        assert make_plugin(trainer, options).fingerprint() == make_plugin(trainer, {**options, **other}).fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 513}, "block = 513 exceeds the model's limit of 512 positions; lower block"),
        ({"patience": 1}, "patience = 1 requires a validation text"),
        ({"dtype": "float16"}, 'dtype = "float16" requires a CUDA GPU'),
    ],
)
def test_refused(small: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """The methods `check` and `train` reject options that are incompatible with the model or the machine."""
    with pytest.raises(InputError, match=message):
        check(Full, Weights(small), **options)
    with pytest.raises(InputError, match=message):
        make_plugin(Full, {**CPU, **options}).train(Weights(small), [], tmp_path / "out", 0, lambda _: None)
    assert not list((tmp_path / "out").iterdir())


def test_refused_device(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device `cuda` is rejected on a machine without a GPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match=r'device = "cuda": PyTorch .* finds no such device'):
        check(Full, Weights(small), device="cuda")


@BOTH
def test_check_needs_no_weights(trainer: type[Any], copy: Path) -> None:
    """The method `check` reads only configuration and tokenizer, and does not change the random number generators."""
    import torch

    (copy / "model.safetensors").unlink()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check(trainer, Weights(copy), validation=True, patience=1)
    assert torch.rand(1).equal(expected)


def test_check_of_a_tokenizer(copy: Path) -> None:
    """A tokenizer without an end-of-sequence token is rejected before training."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (copy / name).is_file():
            value = json.loads((copy / name).read_text(encoding="utf-8"))
            (copy / name).write_text(json.dumps({**value, "eos_token": None}), encoding="utf-8")
    with pytest.raises(InputError, match="the tokenizer has no end-of-sequence token"):
        check(Full, Weights(copy))


def test_refused_start(small: Path, tmp_path: Path) -> None:
    """Training from weights that include an adapter is rejected."""
    with pytest.raises(InputError, match="adapter: weights with an adapter cannot be trained"):
        check(Full, Weights(small, tmp_path / "adapter"))


def test_sharding(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An accelerate configuration that would shard the model across processes is rejected."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(InputError, match="ACCELERATE_USE_FSDP is set, but every training process must hold the whole"):
        check(Full, Weights(small))


def test_wrong_targets(small: Path) -> None:
    """An unknown layer name is rejected with an error that lists the model's layers."""
    with pytest.raises(
        InputError, match=r"targets = \['query'\].*linear layers of the model: down_proj, gate_proj, k_proj, lm_head"
    ):
        check(Lora, Weights(small), targets=["query"])


@pytest.mark.parametrize("tied", [False, True])
def test_adapter_on_the_output_layer(copy: Path, tied: bool) -> None:
    """An adapter on the output layer is rejected if the layer shares its weight with the embedding."""
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tied}), encoding="utf-8")
    check(Lora, Weights(copy))
    if not tied:
        check(Lora, Weights(copy), targets=["q_proj", "lm_head"])
        return
    with pytest.raises(InputError, match=r"lm_head shares its weight with .*; remove lm_head from targets"):
        check(Lora, Weights(copy), targets=["q_proj", "lm_head"])


def test_a_rank_beyond_the_layers(small: Path) -> None:
    """An adapter rank that exceeds the highest possible rank of every targeted layer is rejected."""
    with pytest.raises(InputError, match="rank = 17 exceeds 16, the highest possible rank"):
        check(Lora, Weights(small), rank=17)
    check(Lora, Weights(small), rank=16)
