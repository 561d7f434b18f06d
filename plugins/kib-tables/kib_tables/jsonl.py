"""The corpus `jsonl`, which reads one JSON object per line from a UTF-8 file; errors name the file and line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import InputPath, Options
from kib.support.json_parsing import parse_json
from kib_tables.limited_lines import MAX_UNPACKED_MB, limited_lines
from kib_tables.options import TableOptions
from kib_tables.table_corpus import TableCorpus

__all__ = ["Jsonl", "JsonlOptions", "read_jsonl"]


class JsonlOptions(TableOptions):
    """Options of `jsonl`: the file and its field names."""

    path: InputPath = Field(
        description="path of the JSON Lines file, which must be encoded in UTF-8 with one JSON object per line"
    )


class Jsonl(TableCorpus):
    """The corpus `jsonl`, which reads one document per line of a JSON Lines file."""

    Options: ClassVar[type[Options]] = JsonlOptions
    file_format = "a JSONL file"

    def rows(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each line's one-based number and JSON object; skip blank lines."""
        return read_jsonl(path, self.options.max_unpacked_mb)


def read_jsonl(path: Path, max_mb: int = MAX_UNPACKED_MB) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield one-based line numbers and the JSON objects on these lines.

    Raise InputError for an invalid line or a line that is larger than `max_mb` MiB.
    """
    with path.open("rb") as file:
        for number, line in limited_lines(path, file, max_mb):
            if line.strip():
                yield number, _object(path, number, line)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    def invalid(problem: str) -> InputError:
        return InputError(f"{path}:{number}: {problem}")

    try:
        text = line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise invalid(
            f"the line is not valid UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8"
        ) from error
    value = parse_json(text, f"{path}:{number}")
    if not isinstance(value, dict):
        raise invalid(f"expected a JSON object, got {_json_type(value)}")
    return value


def _json_type(value: Any) -> str:
    types = {list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number"}
    return types.get(type(value), "null")
