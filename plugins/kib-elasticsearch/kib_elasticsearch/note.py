"""What a work folder keeps of an index that lies on a server: its name, and how much of it is in."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kib.identity import canonical
from kib.store.folders import write_text
from kib_elasticsearch.index import Content

__all__ = ["Note", "drop_note", "read_note", "write_note"]

FILE = "index.json"


@dataclass(frozen=True, slots=True)
class Note:
    """`sent` is in the index without a gap; once `whole`, it is all there is. `uuid` is the server's, of this index."""

    index: str
    uuid: str
    server: str
    sent: Content
    whole: bool


def read_note(folder: Path) -> Note | None:
    """The folder's note; None where there is none, or what an interrupted build left is not readable."""
    try:
        value: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Note(**{**value, "sent": Content(**value["sent"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_note(folder: Path, note: Note) -> None:
    """Replace the folder's note."""
    write_text(folder / FILE, canonical(asdict(note)) + "\n")


def drop_note(folder: Path) -> None:
    """Forget an index that is no more: a step that lost a file is made again."""
    (folder / FILE).unlink(missing_ok=True)
