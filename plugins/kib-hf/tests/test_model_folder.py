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
    plugin: HF = make_plugin(HF, {"path": folder, "device": "cpu", **options})
    return plugin


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def shard(folder: Path) -> None:
    """Split the weights into two files with an index, as in the folder of a large model."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    file_of = {name: f"model-{number % 2 + 1}-of-2.safetensors" for number, name in enumerate(sorted(weights))}
    for file in set(file_of.values()):
        save_file({n: weights[n] for n in weights if file_of[n] == file}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": file_of}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def file_instead_of_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def pickles_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def adapter_only(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def half_of_the_shards(folder: Path) -> None:
    shard(folder)
    (folder / "model-2-of-2.safetensors").unlink()


def index_of_nothing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}", encoding="utf-8")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder; expected a folder with a model"),
        (file_instead_of_folder, "this is a file; expected a folder with config.json"),
        (no_config, "this is not a model in transformers' format, because the folder contains no config.json"),
        (adapter_only, "this is an adapter, not a model; merge the adapter into its model first"),
        (no_weights, "the folder contains no weights; expected model.safetensors"),
        (
            pickles_only,
            "found pytorch_model.bin instead of model.safetensors; kib reads only safetensors, .*; convert the files ",
        ),
        (half_of_the_shards, "1 of 2 weight files are missing: model-2-of-2.safetensors"),
        (index_of_nothing, "invalid weight index; expected a JSON object with the key `weight_map`"),
    ],
)
def test_not_a_model(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    """A folder without a complete safetensors model raises an error that states the reason."""
    damage(folder)
    for read in (model(folder).fingerprint, model(folder).weights, model(folder).load):
        with pytest.raises(InputError, match=message):
            read()


def test_an_unreadable_file_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the model folder that cannot be read raises an error that names the file."""

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("kib_hf.model_folder.cached_digest", refuse)
    with pytest.raises(InputError, match=r"model/.*: this file cannot be read: Permission denied"):
        model(folder).fingerprint()


def test_weights_in_several_files(folder: Path, tiny: Path) -> None:
    """All weight files of a sharded model are loaded, and the fingerprint depends on every weight file."""
    shard(folder)
    before = model(folder).fingerprint()
    assert model(folder).load().model.num_parameters() == model(tiny).load().model.num_parameters()
    part = folder / "model-2-of-2.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"\x01")
    assert model(folder).fingerprint() != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, r"weights described by config.json are missing: model\.layers\.2.* and 6 more"),
        ({"intermediate_size": 48}, r"the shapes of these weights do not match config.json: model\.layers\.0\.mlp"),
        ({"model_type": "nonsense"}, "transformers cannot read config.json: .*`nonsense`"),
        ({"hidden_size": "wide"}, "transformers cannot (read config.json|load the model): .*'?(int|ints)'?"),
        ({"model_type": "vit"}, '"vit" is not a causal language model that this version'),
        ({"model_type": "t5"}, '"t5" is an encoder-decoder model; `hf` requires a causal language model'),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"}},
            "the model requires Python code from its own files; set `trust_remote_code = true`",
        ),
    ],
)
def test_a_wrong_configuration_is_an_error(folder: Path, changes: dict[str, Any], message: str) -> None:
    """A configuration that does not match the weights raises an error, so no weight remains randomly initialized."""
    edit(folder / "config.json", **changes)
    with pytest.raises(InputError, match=message):
        model(folder).load()


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", None])
def test_damaged_weights(folder: Path, content: bytes | None) -> None:
    """Truncated or overwritten weight files raise an error that names the folder."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000] if content is None else content)
    with pytest.raises(InputError, match="model: transformers cannot load the model: "):
        model(folder).load()


def test_no_tokenizer(folder: Path) -> None:
    """A model folder without a tokenizer raises an error that names the missing files."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    for read in (model(folder).tokens, model(folder).load):
        with pytest.raises(InputError, match=r"cannot read the tokenizer \(tokenizer.json and tokenizer_config.json\)"):
            read()


def test_no_special_token(folder: Path) -> None:
    """A tokenizer that has neither a BOS nor an EOS token raises an error."""
    edit(folder / "tokenizer_config.json", bos_token=None, eos_token=None)
    with pytest.raises(InputError, match="neither a beginning-of-sequence nor an end-of-sequence token"):
        model(folder).tokens()


def test_trusted_code(folder: Path) -> None:
    """A model's custom code runs only with `trust_remote_code`, and the fingerprint depends on the code."""
    edit(folder / "config.json", auto_map={"AutoConfig": "own.OwnConfig"}, model_type="own-of-kib")
    code = "from transformers import LlamaConfig\n\nclass OwnConfig(LlamaConfig):\n    model_type = 'own-of-kib'\n"
    (folder / "own.py").write_text(code, encoding="utf-8")
    before = model(folder).fingerprint()
    assert model(folder, trust_remote_code=True).context_length() == 512
    (folder / "own.py").write_text(code + "# changed\n", encoding="utf-8")
    assert model(folder).fingerprint() != before
