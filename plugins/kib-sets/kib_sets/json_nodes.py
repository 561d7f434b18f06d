"""Reads fields of JSON files; an invalid field raises an error with its path in the file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.support.json_parsing import parse_json
from kib.support.phrases import shortened

__all__ = ["Node", "read_json"]


@dataclass(frozen=True, slots=True)
class Node:
    """A value in a JSON file; `place` is the path of the value in the file, such as `data[0].title`."""

    path: Path
    value: Any
    place: str = ""

    def error(self, problem: str) -> InputError:
        """Return an InputError about this value."""
        return InputError(f"{self.path}: {self.place}: {problem}" if self.place else f"{self.path}: {problem}")

    def has(self, key: str) -> bool:
        """Return whether this value is an object with the given key."""
        return isinstance(self.value, dict) and key in self.value

    def at(self, key: str) -> "Node":
        """Return the value of a key; raise InputError if this value is not an object with this key."""
        if not isinstance(self.value, dict):
            raise self.error(f"expected an object, got {shortened(repr(self.value))}")
        if key not in self.value:
            raise self.error(f"the key {key!r} is missing")
        return Node(self.path, self.value[key], f"{self.place}.{key}".lstrip("."))

    def items(self) -> "list[Node]":
        """Return the items of a list; raise InputError if this value is not a list."""
        if not isinstance(self.value, list):
            raise self.error(f"expected a list, got {shortened(repr(self.value))}")
        return [Node(self.path, item, f"{self.place}[{number}]") for number, item in enumerate(self.value)]

    def text(self) -> str:
        """Return this value; raise InputError if the value is not a text with visible characters."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error(f"expected a text, got {shortened(repr(self.value))}")
        return self.value

    def number(self) -> int:
        """Return this value; raise InputError if the value is not a whole number from 0."""
        if type(self.value) is not int or self.value < 0:
            raise self.error(f"expected a whole number from 0, got {shortened(repr(self.value))}")
        return self.value

    def name(self) -> str:
        """Return this value, a text or a whole number, as text."""
        return str(self.value) if type(self.value) is int else self.text()


def read_json(path: Path) -> Node:
    """Return the content of a JSON file; raise InputError if the file is not valid JSON in UTF-8."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error
    return Node(path, parse_json(text, str(path), whole_file=True))
