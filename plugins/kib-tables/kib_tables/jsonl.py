"""The corpus `jsonl`: documents from a UTF-8 file with one JSON object per line; an error gives file and line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import InputPath, Options
from kib_tables.options import TableOptions
from kib_tables.table_corpus import TableCorpus

__all__ = ["Jsonl", "JsonlOptions", "read_jsonl"]


class JsonlOptions(TableOptions):
    """The file, and the names of its fields."""

    path: InputPath = Field(description="the file: UTF-8, with one JSON object per line")


class Jsonl(TableCorpus):
    """The corpus `jsonl`."""

    Options: ClassVar[type[Options]] = JsonlOptions
    file_format = "a JSONL file"

    def rows(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number of each line from 1, and its object; blank lines are skipped."""
        return read_jsonl(path)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a JSONL file with their line numbers from 1; raise InputError with file and line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _object(path, number, line)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    def invalid(problem: str) -> InputError:
        return InputError(f"{path}:{number}: {problem}")

    try:
        text = line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise invalid(f"not UTF-8: {error.reason} at byte {error.start}; save the file as UTF-8") from error
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise invalid("unreadable JSON: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise invalid(f"invalid JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:
        raise invalid(f"unreadable JSON: {error}") from error
    if not isinstance(value, dict):
        raise invalid(f"expected a JSON object, got {_json_type(value)}")
    return value


def _json_type(value: Any) -> str:
    types = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return types.get(type(value), "null")
