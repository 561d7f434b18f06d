import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kib.errors import InputError
from kib.testing import make_plugin
from kib_hf import HF


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def model(folder: Path, **options: Any) -> HF:
    made: HF = make_plugin(HF, {"path": folder, "device": "cpu", **options})
    return made


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def shard(folder: Path, count: int = 2) -> None:
    """Split the weights into parts with an index, as large models have them."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-{number % count + 1}-of-{count}.safetensors" for number, name in enumerate(sorted(weights))}
    for place in set(places.values()):
        save_file({n: weights[n] for n in weights if places[n] == place}, folder / place, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def file_instead(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def only_an_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def half_of_the_shards(folder: Path) -> None:
    shard(folder)
    (folder / "model-2-of-2.safetensors").unlink()


def index_of_nothing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "no such folder; expected one with a model"),
        (
            file_instead,
            "a file; expected the folder with config.json",
        ),
        (lambda folder: (folder / "config.json").unlink(), "no config.json in it, so not a model"),
        (only_an_adapter, "an adapter, not a model; merge it"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights in it; expected model.safetensors"),
        (
            only_pickles,
            r"no model.safetensors, only pytorch_model.bin; .* takes safetensors alone; convert them: ",
        ),
        (half_of_the_shards, "1 of 2 weight files are missing: model-2-of-2.safetensors"),
        (index_of_nothing, "not an index of weights: no weight_map in it"),
    ],
)
def test_not_a_model(folder: Path, spoil: Callable[[Path], object], message: str) -> None:
    """What is not a folder with a whole model in safetensors is an error from the start, with the reason."""
    spoil(folder)
    for ask in (model(folder).fingerprint, model(folder).weights, model(folder).load):
        with pytest.raises(InputError, match=message):
            ask()


def test_shards(folder: Path, tiny: Path) -> None:
    """Weights in several files are known by all of them."""
    shard(folder)
    before = model(folder).fingerprint()
    assert model(folder).load().model.num_parameters() == model(tiny).load().model.num_parameters()
    part = folder / "model-2-of-2.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"\x01")
    assert model(folder).fingerprint() != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, r"the weights lack what config.json describes: model\.layers\.2.* and 6 more"),
        ({"intermediate_size": 48}, r"the weights have other sizes than config.json says: model\.layers\.0\.mlp"),
        ({"model_type": "nonsense"}, "transformers cannot read its config.json: .*`nonsense`"),
        ({"hidden_size": "wide"}, "transformers cannot (read its config.json|load it): .*'?(int|ints)'?"),
        ({"model_type": "vit"}, '"vit" is no causal language model'),
        ({"model_type": "t5"}, '"t5" is an encoder-decoder model; `hf` takes causal language models'),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"}},
            "it brings Python code of its own; set `trust_remote_code = true`",
        ),
    ],
)
def test_configuration(folder: Path, changes: dict[str, Any], message: str) -> None:
    """A configuration that does not fit is an error; above all no weight is left at random."""
    edit(folder / "config.json", **changes)
    with pytest.raises(InputError, match=message):
        model(folder).load()


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_damaged_weights(folder: Path, content: bytes | None) -> None:
    """Weights that were cut off or overwritten are an error that names the folder."""
    place = folder / "model.safetensors"
    place.write_bytes(place.read_bytes()[:5000] if content is None else content)
    with pytest.raises(InputError, match="model: transformers cannot load it: "):
        model(folder).load()


def test_no_tokenizer(folder: Path) -> None:
    """A folder without a tokenizer is an error that names the files which are missing."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    for ask in (model(folder).tokens, model(folder).load):
        with pytest.raises(InputError, match=r"cannot read its tokenizer \(tokenizer.json and tokenizer_config.json\)"):
            ask()


def test_no_special_token(folder: Path) -> None:
    """A tokenizer that can begin no text is an error that says what to add."""
    edit(folder / "tokenizer_config.json", bos_token=None, eos_token=None)
    with pytest.raises(InputError, match="neither a beginning-of-text nor an end-of-text token"):
        model(folder).tokens()


def test_trusted_code(folder: Path) -> None:
    """Code that comes with a model runs where it is trusted, and counts in the fingerprint."""
    edit(folder / "config.json", auto_map={"AutoConfig": "own.OwnConfig"}, model_type="own-of-kib")
    code = "from transformers import LlamaConfig\n\nclass OwnConfig(LlamaConfig):\n    model_type = 'own-of-kib'\n"
    (folder / "own.py").write_text(code, encoding="utf-8")
    before = model(folder).fingerprint()
    assert model(folder, trust_remote_code=True).context_length() == 512
    (folder / "own.py").write_text(code + "# changed\n", encoding="utf-8")
    assert model(folder).fingerprint() != before
