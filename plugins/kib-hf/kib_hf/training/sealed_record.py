"""A JSON record that is written after other files and contains their digests and a digest of its own content.

A power failure can leave a renamed file without its content. Files are therefore flushed to disk before their record is
written, and a reader can detect any later change to these files.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kib.identity import digest_file
from kib.store import write_text
from kib.store.files import flush_tree
from kib.store.sealed_json import read_and_tell_sealed, sealed

__all__ = ["DamagedRecordError", "read_record", "write_record"]

FILES = "files"


class DamagedRecordError(Exception):
    """Raised if a record, or a file listed in a record, has changed; the message names the file."""


def write_record(path: Path, value: Mapping[str, Any], folders: Iterable[Path]) -> None:
    """Flush the folders, then write `value` with the digest of each file in the folders.

    Each folder must be the folder that contains `path` or a subfolder of that folder.
    """
    files = {}
    for folder in folders:
        flush_tree(folder)
        for file in sorted(one for one in folder.rglob("*") if one.is_file() and one != path):
            files[file.relative_to(path.parent).as_posix()] = digest_file(file)
    write_text(path, json.dumps(sealed({**value, FILES: files})))


def read_record(path: Path, *, digests_required: bool = False) -> dict[str, Any]:
    """Return the value of a record; raise DamagedRecordError if the record or any file that it lists has changed.

    Records written by earlier versions of kib contain no digests and are accepted unless `digests_required` is true.
    """
    try:
        value, has_digests = read_and_tell_sealed(path)
    except (OSError, ValueError) as error:
        raise DamagedRecordError(f"{path}: the record cannot be used ({error})") from error
    if digests_required and not has_digests:
        raise DamagedRecordError(f"{path}: written by an earlier version, without the digests of the weights")
    files = value.pop(FILES, {})
    for name, expected in files.items():
        file = path.parent / name
        if not file.is_file():
            raise DamagedRecordError(f"{file}: the file is missing")
        if digest_file(file) != expected:
            raise DamagedRecordError(f"{file}: the content of the file has changed")
    return value
