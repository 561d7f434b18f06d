"""Check that the patterns of a data set's files cannot match anything outside the data set."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kib.errors import InputError

__all__ = ["check_data_card", "check_pattern"]

STANDALONE_CARD = ".huggingface.yaml"
"""A file in which `datasets` looks for configurations in addition to the header of README.md."""


def check_pattern(pattern: str) -> str:
    """Return a pattern unchanged; raise ValueError if the pattern is an address, leaves the folder or is hidden.

    Hidden files and the files of hidden folders are not part of the fingerprint.
    """
    expected = "expected a pattern of files inside the data set, such as `data/train-*.parquet`"
    if "::" in pattern or "://" in pattern or _has_scheme(pattern):
        raise ValueError(f"{expected}, not an address")
    if pattern.startswith(("/", "~")):
        raise ValueError(f"{expected}, not an absolute path")
    parts = pattern.split("/")
    if ".." in parts:
        raise ValueError(f"{expected}, without `..`")
    if any(part.startswith(".") and part != "." for part in parts):
        raise ValueError(f"{expected}, not a hidden file or folder")
    return pattern


def _has_scheme(pattern: str) -> bool:
    """Return whether a pattern begins with a scheme such as `file:`; an unreadable address counts as one."""
    try:
        return bool(urlsplit(pattern).scheme)
    except ValueError:
        return True


def check_data_card(folder: Path) -> None:
    """Raise InputError if a configuration in README.md or .huggingface.yaml lists files outside the folder."""
    import yaml
    from huggingface_hub import DatasetCard

    readme, standalone = folder / "README.md", folder / STANDALONE_CARD
    cards: dict[Path, Any] = {}
    if readme.is_file():
        cards[readme] = DatasetCard.load(readme, ignore_metadata_errors=True).data.to_dict()
    if standalone.is_file():
        cards[standalone] = yaml.safe_load(standalone.read_text(encoding="utf-8"))
    for path, card in cards.items():
        for key, pattern in _patterns(card.get("configs") if isinstance(card, Mapping) else None):
            try:
                check_pattern(pattern)
            except ValueError as error:
                raise InputError(f"{path}: `configs`: `{key}`: {error}; got {pattern!r}") from error


def _patterns(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string in the keys `data_files` and `data_dir` at any level, with the key."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _patterns(inner, name if name in ("data_files", "data_dir") else "" if name == "split" else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _patterns(inner, key)
    elif isinstance(value, str) and key:
        yield key, value
