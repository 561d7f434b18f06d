"""Local metadata of an index on a server, with the index's name and the number of passages indexed so far."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kib.identity import canonical
from kib.store import write_text
from kib_elasticsearch.server_index import IndexContent

__all__ = ["IndexMetadata", "delete_metadata", "read_metadata", "write_metadata"]

FILE = "index.json"


@dataclass(frozen=True, slots=True)
class IndexMetadata:
    """The content of a work folder's `index.json`; the field names are the keys in `index.json`."""

    index: str
    """Name of the index on the server."""
    uuid: str
    """The server's unique id of the index, which changes if the index is deleted and recreated."""
    server: str
    """Version of the server."""
    sent: IndexContent
    """The passages at the start of the corpus that have been indexed completely."""
    whole: bool
    """Whether the build is complete, that is, the index contains exactly `sent`."""


def read_metadata(folder: Path) -> IndexMetadata | None:
    """Read the metadata in `folder`; return None if the file is missing or was damaged by an interrupted build."""
    try:
        value: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return IndexMetadata(**{**value, "sent": IndexContent(**value["sent"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_metadata(folder: Path, metadata: IndexMetadata) -> None:
    """Replace the index metadata stored in `folder`."""
    write_text(folder / FILE, canonical(asdict(metadata)) + "\n")


def delete_metadata(folder: Path) -> None:
    """Delete the metadata of a lost index, so that the next run rebuilds the index."""
    (folder / FILE).unlink(missing_ok=True)
