"""The Hugging Face Hub as plugins use it."""

import pytest

from kib.errors import InputError
from kib.support.hub import commit_of


@pytest.mark.parametrize("name", ["org/name-", "a--b"])
def test_an_invalid_name_is_an_error_in_a_sentence(name, monkeypatch, tmp_path):
    """A name that the hub does not allow is an error that names it, with nothing sent."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=f"^{name}: invalid name for a hub repository: "):
        commit_of(name, "main", "model")
