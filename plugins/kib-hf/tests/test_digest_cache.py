import json
import os
import time
from pathlib import Path

import pytest

from kib.identity import digest_file
from kib_hf.digest_cache import cached_digest

OLD = time.time() - 3600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    os.utime(path, (OLD, OLD))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def spoil(cache: Path, digest: str) -> None:
    """Write a wrong digest into the one entry, to see whether it is read."""
    (entry,) = cache.iterdir()
    entry.write_text(json.dumps(json.loads(entry.read_text()) | {"sha256": digest}))


def test_remembered(file: Path, cache: Path) -> None:
    """A file that has not changed is not read again."""
    assert cached_digest(file, cache) == digest_file(file)
    spoil(cache, "0" * 64)
    assert cached_digest(file, cache) == "0" * 64


def test_changed(file: Path, cache: Path) -> None:
    """A file with another size or time stamp is read again."""
    cached_digest(file, cache)
    spoil(cache, "0" * 64)
    file.write_bytes(b"two")
    assert cached_digest(file, cache) == digest_file(file)


def test_time_stamp_put_back(file: Path, cache: Path) -> None:
    """Another content of the same size under the old modification time is noticed."""
    cached_digest(file, cache)
    spoil(cache, "0" * 64)
    file.write_bytes(b"two")
    os.utime(file, (OLD, OLD))
    assert cached_digest(file, cache) == digest_file(file)


def test_just_written(file: Path, cache: Path) -> None:
    """A file written a moment ago is not remembered: it may change within its time stamp's precision."""
    os.utime(file)
    assert cached_digest(file, cache) == digest_file(file)
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": null}', '{"state": 1, "sha256": 2}'])
def test_damaged_entry(file: Path, cache: Path, content: str) -> None:
    """An entry that cannot be read is as good as none."""
    cached_digest(file, cache)
    (entry,) = cache.iterdir()
    entry.write_text(content or entry.read_text().replace('"sha256"', '"sha1"'))
    assert cached_digest(file, cache) == digest_file(file)


def test_unwritable(file: Path, cache: Path) -> None:
    """A cache that cannot be written costs time, not the run."""
    cache.write_text("a file where the folder should be")
    assert cached_digest(file, cache) == digest_file(file)


def test_default_place(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests are kept in the user's cache folder."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, **_: tmp_path / "user" / name)
    cached_digest(file)
    assert len(list((tmp_path / "user" / "kib" / "digests").glob("*.json"))) == 1
