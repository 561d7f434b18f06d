"""Where each key of a TOML text stands: the line of every key path.

tomli tells the values of keys but not their lines, and the parsers that tell lines do not know TOML 1.1. The text has
passed tomli, so that finding keys in it needs no more than its words, brackets and dots.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Key", "Lines", "find_lines"]

Key = tuple[str | int, ...]

TOKEN = re.compile(
    r'''(?P<blank>[ \t\r]+|\#[^\n]*)
      | (?P<text>"""(?:\\.|(?!""").)*""""{0,2}|\'\'\'(?:(?!\'\'\').)*\'\'\'\'{0,2}|"(?:\\.|[^"\\])*"|\'[^\']*\')
      | (?P<sign>[\[\]{}=,.\n])
      | (?P<word>[^\s\[\]{}=,."'\#]+)''',
    re.DOTALL | re.VERBOSE,
)


class Token(NamedTuple):
    """A word, a text in quotes or a sign, with the line it begins on."""

    kind: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines, counted from 1, by key path; the items of a list are counted from 0."""

    by_key: Mapping[Key, int] = field(default_factory=dict)

    def find(self, *keys: str | int) -> int | None:
        """The line of a key path, or of its nearest parent that has one; None for the file as a whole."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.by_key:
                return self.by_key[keys[:end]]
        return None


def find_lines(text: str) -> Lines:
    """Find the line of every key path of a TOML text that tomli reads: where its key or list item stands first."""
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
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.found: dict[Key, int] = {}
        self.last_item: dict[Key, int] = {}

    def sees(self, *texts: str) -> bool:
        """Whether a sign is next; nothing is, after the end."""
        if self.at >= len(self.tokens):
            return False
        token = self.tokens[self.at]
        return token.kind == "sign" and token.text in texts

    def document(self) -> None:
        """Note all keys of the text."""
        table: Key = ()
        while self.at < len(self.tokens):
            if self.sees("\n"):
                self.at += 1
            elif self.sees("["):
                table = self.header()
            else:
                self.pair(table)

    def header(self) -> Key:
        """Note a `[table]` or `[[table]]`; the path runs through the last item of each list on its way."""
        self.at += 1
        is_list = self.sees("[")
        self.at += is_list
        names = self.key()
        self.at += 1 + is_list
        path: Key = ()
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
        """The parts of a key, with the dots between them skipped."""
        parts = []
        while self.at < len(self.tokens) and (self.sees(".") or self.tokens[self.at].kind != "sign"):
            if not self.sees("."):
                parts.append(self.tokens[self.at])
            self.at += 1
        return parts

    def pair(self, path: Key) -> None:
        """Note `key = value`, each part of a dotted key, and all keys in the value."""
        for token in self.key():
            path = (*path, _name(token.text))
            self.found.setdefault(path, token.line)
        self.at += 1
        self.value(path)

    def value(self, path: Key) -> None:
        """Note the keys in a list or inline table; pass over anything else."""
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
    """What a key is called, without its quotes and escapes."""
    if raw[0] not in "\"'":
        return raw
    import tomli

    return next(iter(tomli.loads(f"{raw} = 0")))
