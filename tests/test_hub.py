"""Access to the Hugging Face Hub from plugins."""

import hashlib

import pytest

from kib.errors import InputError
from kib.support.hub import commit_of, remove_damaged_files


@pytest.mark.parametrize("name", ["org/name-", "a--b"])
def test_an_invalid_repository_name_is_an_error(name, monkeypatch, tmp_path):
    """An invalid repository name raises an error that states the name, without any request to the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=f"^{name}: invalid name for a hub repository: "):
        commit_of(name, "main", "model")


@pytest.mark.parametrize("kind", ["sha256", "git"])
def test_a_damaged_file_is_removed_from_the_cache(kind, tmp_path, caplog):
    """A cached file that does not match its digest is reported and removed, and all other files are retained."""
    data = b"weights"
    git = hashlib.sha1(b"blob 7\0" + data, usedforsecurity=False).hexdigest()
    name = {"sha256": hashlib.sha256(data).hexdigest(), "git": git}[kind]
    (tmp_path / "blobs").mkdir()
    folder = tmp_path / "snapshots" / "commit"
    folder.mkdir(parents=True)
    (tmp_path / "blobs" / name).write_bytes(data)
    (folder / "model").symlink_to(tmp_path / "blobs" / name)
    (folder / "other").write_bytes(b"not a link")
    assert not remove_damaged_files(folder)
    (tmp_path / "blobs" / name).write_bytes(b"weighty")
    assert remove_damaged_files(folder)
    assert [path.name for path in tmp_path.rglob("*") if not path.is_dir()] == ["other"]
    assert f"{folder / 'model'}: the content of the file has changed" in caplog.text
