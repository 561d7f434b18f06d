"""Access to the Hugging Face Hub from plugins."""

import pytest

from kib.errors import InputError
from kib.support.hub import commit_of


@pytest.mark.parametrize("name", ["org/name-", "a--b"])
def test_an_invalid_name_is_an_error_in_a_sentence(name, monkeypatch, tmp_path):
    """An invalid repository name raises an error that states the name, without any request to the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=f"^{name}: invalid name for a hub repository: "):
        commit_of(name, "main", "model")
