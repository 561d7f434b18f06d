"""Determines the line number of every key in a TOML text.

tomli returns values without line numbers, and parsers that return line numbers do not support TOML 1.1. This module
processes only text that tomli has already accepted, so splitting the text into words, brackets and dots is enough.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["KeyPath", "Lines", "find_lines"]

KeyPath = tuple[str | int, ...]
"""The keys that lead to a value, starting at the top of the file: names for tables, zero-based indexes for lists."""

TOKEN = re.compile(
    r'''(?P<blank>[ \t\r]+|\#[^\n]*)
      | (?P<text>"""(?:\\.|(?!""").)*""""{0,2}|\'\'\'(?:(?!\'\'\').)*\'\'\'\'{0,2}|"(?:\\.|[^"\\])*"|\'[^\']*\')
      | (?P<sign>[\[\]{}=,.\n])
      | (?P<word>[^\s\[\]{}=,."'\#]+)''',
    re.DOTALL | re.VERBOSE,
)


class Token(NamedTuple):
    """A bare word, a quoted string or a punctuation mark, with its first line."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Lines:
    """One-based line numbers by key path."""

    by_key: Mapping[KeyPath, int] = field(default_factory=dict)

    def find(self, *keys: str | int) -> int | None:
        """Return the line of a key path, or of its nearest parent with a line; None if no parent has a line."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.by_key:
                return self.by_key[keys[:end]]
        return None


def find_lines(text: str) -> Lines:
    """Return the number of the line on which each key and each list item of a valid TOML text first appears."""
    finder = _Finder(list(_tokens(text)))
    finder.document()
    return Lines(finder.found)


def _tokens(text: str) -> Iterator[Token]:
    line = 1
    for match in TOKEN.finditer(text):
        kind, shown = str(match.lastgroup), match.group()
        if kind != "blank":
            yield Token(kind, shown, line)
        line += shown.count("\n")


class _Finder:
    """Reads the tokens of a TOML text once and records the line of every key path."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.found: dict[KeyPath, int] = {}
        self.last_item: dict[KeyPath, int] = {}

    def sees(self, *texts: str) -> bool:
        """Return whether the next token is one of these punctuation marks, or False at the end of the text."""
        if self.at >= len(self.tokens):
            return False
        token = self.tokens[self.at]
        return token.kind == "sign" and token.text in texts

    def document(self) -> None:
        """Record all keys of the text."""
        table: KeyPath = ()
        while self.at < len(self.tokens):
            if self.sees("\n"):
                self.at += 1
            elif self.sees("["):
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> KeyPath:
        """Record a `[table]` or `[[table]]` header and return its path, which has an index for each list of tables."""
        self.at += 1
        is_list = self.sees("[")
        self.at += is_list
        names = self.key()
        self.at += 1 + is_list
        path: KeyPath = ()
        for number, token in enumerate(names):
            path = (*path, _name(token.text))
            self.found.setdefault(path, token.line)
            if is_list and number == len(names) - 1:
                self.last_item[path] = self.last_item.get(path, -1) + 1
            if path in self.last_item:
                path = (*path, self.last_item[path])
                self.found.setdefault(path, token.line)
        return path

    def key(self) -> list[Token]:
        """Return the parts of a dotted key."""
        parts = []
        while self.at < len(self.tokens) and (self.sees(".") or self.tokens[self.at].kind != "sign"):
            if not self.sees("."):
                parts.append(self.tokens[self.at])
            self.at += 1
        return parts

    def pair(self, path: KeyPath) -> None:
        """Record `key = value`: each part of a dotted key, and all keys in the value."""
        for token in self.key():
            path = (*path, _name(token.text))
            self.found.setdefault(path, token.line)
        self.at += 1
        self.value(path)

    def value(self, path: KeyPath) -> None:
        """Record the keys in a list or an inline table; skip any other value."""
        if self.sees("[", "{"):
            is_list = self.sees("[")
            self.at += 1
            number = 0
            while self.at < len(self.tokens) and not self.sees("]", "}"):
                if self.sees("\n", ","):
                    self.at += 1
                elif is_list:
                    self.found[(*path, number)] = self.tokens[self.at].line
                    self.value((*path, number))
                    number += 1
                else:
                    self.pair(path)
            self.at += 1
        else:
            while self.at < len(self.tokens) and not self.sees("\n", ",", "]", "}"):
                self.at += 1


def _name(raw: str) -> str:
    """Return a key without its quotes and escapes."""
    if raw[0] not in "\"'":
        return raw
    import tomli

    return next(iter(tomli.loads(f"{raw} = 0")))
