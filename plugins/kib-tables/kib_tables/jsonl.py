"""Documents from a JSONL file: one JSON object a line, UTF-8; anything wrong is told with file and line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import InputPath, Options
from kib_tables.fields import TableOptions
from kib_tables.table import Table

__all__ = ["Jsonl", "JsonlOptions", "read_jsonl"]


class JsonlOptions(TableOptions):
    """Which file, and what it calls things."""

    path: InputPath = Field(description="The file: one JSON object a line, UTF-8.")


class Jsonl(Table):
    """The corpus `jsonl`."""

    Options: ClassVar[type[Options]] = JsonlOptions
    kind = "a JSONL file"

    def records(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Line number from 1, and the object in it; blank lines hold none."""
        return read_jsonl(path)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their line numbers from 1; InputError names file and line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _record(path, number, line)


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    def wrong(what: str) -> InputError:
        return InputError(f"{path}:{number}: {what}")

    try:
        text = line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise wrong(f"not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8") from error
    try:
        record = json.loads(text)
    except RecursionError as error:
        raise wrong("not JSON that can be read: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise wrong(f"not JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:
        raise wrong(f"not JSON that can be read: {error}") from error
    if not isinstance(record, dict):
        raise wrong(f"expected a JSON object, got {_kind(record)}")
    return record


def _kind(record: Any) -> str:
    kinds = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(record), "null")
