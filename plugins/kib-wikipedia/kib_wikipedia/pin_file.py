"""The pin file, which lists the pages in a corpus and pins each page to one revision.

A pin file is in the JSON Lines format. The first line describes the selection and the wiki. Each further line describes
one page or redirect; all pages come before all redirects, and both groups are sorted by title.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.identity import canonical
from kib.store import write_text
from kib.support.json_parsing import unique_keys

__all__ = ["Pin", "Pins", "Selection", "read_pins", "write_pins"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Selection:
    """The options that select pages; the field names are the keys in the pin file."""

    api: str
    pages: tuple[str, ...] = ()
    link_depth: int = 0
    categories: tuple[str, ...] = ()
    category_depth: int = 0
    namespaces: tuple[int, ...] = (0,)
    as_of: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """A page revision, with the hexadecimal SHA-1 of its wikitext; the field names are the keys in the pin file."""

    title: str
    page: int
    revision: int
    timestamp: str
    sha1: str


@dataclass(frozen=True, slots=True)
class Pins:
    """The content of a pin file; the field names are the keys in the file."""

    selection: Selection
    site: str
    address: str
    licence: str
    made: str
    """The day on which the pin file was written."""
    hidden: tuple[str, ...]
    """The wiki's lowercase names for the file and category namespaces."""
    pages: tuple[Pin, ...] = ()
    redirects: Mapping[str, str] = field(default_factory=dict)
    """A mapping from the title of each redirect to the title of its target page."""
    missing: int = 0
    """The number of linked titles that have no page."""


def write_pins(path: Path, pins: Pins) -> None:
    """Write a pin file atomically."""
    head = {key: value for key, value in asdict(pins).items() if key not in ("pages", "redirects")}
    lines = [{"schema": SCHEMA, **head}, *map(asdict, pins.pages)]
    lines += [{"title": title, "redirect": target} for title, target in sorted(pins.redirects.items())]
    write_text(path, "".join(canonical(line) + "\n" for line in lines))


def read_pins(path: Path) -> Pins:
    """Read a pin file; raise InputError if it does not exist or is malformed."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such pin file; create the file with `kib-wikipedia pin SPEC`") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    number = 0
    try:
        values = []
        for number, line in enumerate(lines, 1):  # noqa: B007 - the error below names the line
            values.append(json.loads(line, object_pairs_hook=unique_keys))
        number = 1
        return _parse(values)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        problem = f"this is not a valid pin file ({type(error).__name__}: {error})"
        fix = "create the pin file again with `kib-wikipedia pin --again SPEC`"
        raise InputError(f"{path}:{max(number, 1)}: {problem}; {fix}") from error


def _parse(values: Sequence[Mapping[str, Any]]) -> Pins:
    head = dict(values[0])
    if head.pop("schema") != SCHEMA:
        raise ValueError(f"expected schema {SCHEMA}")
    stored: Mapping[str, Any] = head.pop("selection")
    options: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    return Pins(
        **{**head, "selection": Selection(**options), "hidden": tuple(head["hidden"])},
        pages=tuple(Pin(**value) for value in values[1:] if "redirect" not in value),
        redirects={value["title"]: value["redirect"] for value in values[1:] if "redirect" in value},
    )
