import json
import os
import time
from pathlib import Path

import pytest

from kib.identity import digest, digest_file
from kib_hf.digest_cache import cached_digest

AN_HOUR_AGO = time.time() - 3600


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def overwrite_entry(cache: Path, sha256: str) -> None:
    """Write an incorrect digest into the only cache entry, to test whether the entry is read."""
    (entry,) = cache.iterdir()
    known = json.loads(entry.read_text()) | {"sha256": sha256}
    del known["digest"]
    entry.write_text(json.dumps({**known, "digest": digest(known)}))


def test_an_unchanged_file_is_read_once(file: Path, cache: Path) -> None:
    """If a file is unchanged, its digest is read from the cache without reading the file."""
    assert cached_digest(file, cache) == digest_file(file)
    overwrite_entry(cache, "0" * 64)
    assert cached_digest(file, cache) == "0" * 64


def test_a_changed_file_is_read_again(file: Path, cache: Path) -> None:
    """If the size or a timestamp of a file has changed, the file is read again."""
    cached_digest(file, cache)
    overwrite_entry(cache, "0" * 64)
    file.write_bytes(b"two")
    assert cached_digest(file, cache) == digest_file(file)


def test_a_change_is_detected_despite_a_restored_time_stamp(file: Path, cache: Path) -> None:
    """A change in a file's content is detected even if the size is equal and the modification time was restored."""
    cached_digest(file, cache)
    overwrite_entry(cache, "0" * 64)
    created = file.stat().st_ctime_ns
    file.write_bytes(b"two")
    while file.stat().st_ctime_ns == created:  # some clocks of file systems tick every few milliseconds
        os.utime(file, (AN_HOUR_AGO, AN_HOUR_AGO))
    assert cached_digest(file, cache) == digest_file(file)


def test_a_new_file_is_not_cached(file: Path, cache: Path) -> None:
    """The digest of a recently written file is not cached, because the file may change without a new timestamp."""
    an_hour_ahead = time.time() + 3600  # however slow the machine is, the file is new
    os.utime(file, (an_hour_ahead, an_hour_ahead))
    assert cached_digest(file, cache) == digest_file(file)
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": null}', '{"state": 1, "sha256": 2}'])
def test_a_damaged_entry_is_ignored(file: Path, cache: Path, content: str) -> None:
    """A damaged cache entry is ignored."""
    cached_digest(file, cache)
    (entry,) = cache.iterdir()
    entry.write_text(content or entry.read_text().replace('"sha256"', '"sha1"'))
    assert cached_digest(file, cache) == digest_file(file)


def test_a_changed_entry_is_ignored(file: Path, cache: Path) -> None:
    """A cache entry whose digest has a changed digit is ignored."""
    cached_digest(file, cache)
    (entry,) = cache.iterdir()
    first = digest_file(file)[0]
    entry.write_text(entry.read_text().replace(f'"sha256": "{first}', f'"sha256": "{"0" if first != "0" else "1"}'))
    assert cached_digest(file, cache) == digest_file(file)


def test_a_digest_is_returned_without_a_writable_cache(file: Path, cache: Path) -> None:
    """If the cache folder is not writable, a file's digest is still returned."""
    cache.write_text("a file where the folder should be")
    assert cached_digest(file, cache) == digest_file(file)


def test_the_default_folder_is_the_users_cache(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests are cached in the user's cache folder by default."""
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, **_: tmp_path / "user" / name)
    cached_digest(file)
    assert len(list((tmp_path / "user" / "kib" / "digests").glob("*.json"))) == 1
