import os
from pathlib import Path

import pytest

from kib.testing import check_fingerprint, check_model, check_options, check_plugin, make_plugin, make_tiny_model
from kib_hf import HF


def test_installed() -> None:
    """The entry point loads a well-formed plugin that imports no large packages."""
    assert check_plugin("models", "hf") is HF


@pytest.mark.slow
def test_contract(tiny: Path, one_thread: None) -> None:
    """The plugin satisfies the contract for model plugins, within a tolerance that grows with the number of tokens."""
    check_model(lambda: make_plugin(HF, {"path": tiny, "device": "cpu"}), tolerance=1e-3)


def test_options() -> None:
    """Each option has a description, and invalid values are rejected."""
    check_options(
        HF,
        accepts=[
            {"path": "/models/x", "dtype": "bfloat16", "device": "cuda:1", "batch_size": 1, "max_length": 2048},
            {"hub": "org/name", "revision": "v1", "add_bos_token": False, "trust_remote_code": True},
        ],
        refuses=[
            {},
            {"path": "/x", "hub": "org/name"},
            {"path": "/x", "revision": "main"},
            {"path": 7},
            {"hub": "https://example.org/org/name"},
            {"hub": "org/name", "revision": ""},
            {"path": "/x", "dtype": "float64"},
            {"path": "/x", "device": "gpu"},
            {"path": "/x", "batch_size": 0},
            {"path": "/x", "batch_size": "auto"},
            {"path": "/x", "max_length": True},
            {"path": "/x", "trust_remote_code": "yes"},
        ],
    )


def test_fingerprint(tmp_path: Path) -> None:
    """The fingerprint depends on the bytes of the model's files, but not on timestamps or the README."""
    folder = make_tiny_model(tmp_path / "tiny", positions=512)

    def same() -> None:
        (folder / "README.md").write_text("A model.", encoding="utf-8")
        os.utime(folder / "model.safetensors", (0, 0))

    def change() -> None:
        weights = bytearray((folder / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (folder / "model.safetensors").write_bytes(weights)

    check_fingerprint(lambda: make_plugin(HF, {"path": folder}), same=same, change=change)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_fingerprint_of_small_files(tmp_path: Path, name: str) -> None:
    """The fingerprint of a model depends on the configuration and the tokenizer."""
    folder = make_tiny_model(tmp_path / "tiny", positions=512)
    change = (folder / name).read_text(encoding="utf-8") + "\n"
    check_fingerprint(
        lambda: make_plugin(HF, {"path": folder}),
        change=lambda: (folder / name).write_text(change, encoding="utf-8"),
    )
