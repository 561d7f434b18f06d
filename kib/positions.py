"""Where each key of a TOML text stands: the line of every key path."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tree_sitter import Node

__all__ = ["Key", "Lines", "find_lines"]

Key = tuple[str | int, ...]

KEYS = ("bare_key", "quoted_key", "dotted_key")
VALUES = ("inline_table", "array")
# Escapes that TOML 1.1 added: the grammar knows 1.0, so they are spelled the old way before it looks.
ESCAPE = re.compile(r"\\(?:e|x([0-9a-fA-F]{2})|.)", re.DOTALL)


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
    """Find the line of every key path of a TOML text: where its key stands first, or where its list item begins."""
    import tree_sitter
    import tree_sitter_toml

    language = tree_sitter.Language(tree_sitter_toml.language())
    source = ESCAPE.sub(_spell_old, text).encode()
    root = tree_sitter.Parser(language).parse(source).root_node
    found: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    for node in root.named_children:
        if node.type == "pair":
            _pair(node, (), found)
        elif node.type in ("table", "table_array_element"):
            _table(node, counts, found)
    return Lines(found)


def _spell_old(match: re.Match[str]) -> str:
    if match.group() == "\\e":
        return "\\u001b"
    return f"\\u00{match.group(1)}" if match.group(1) else match.group()


def _table(node: "Node", counts: dict[Key, int], found: dict[Key, int]) -> None:
    """Note a `[table]` or `[[table]]`: a header's path runs through the last item of each list on its way."""
    header = next((child for child in node.named_children if child.type in KEYS), None)
    if header is None:
        return
    path: Key = ()
    parts = list(_parts(header))
    for number, (name, line) in enumerate(parts):
        path = (*path, name)
        found.setdefault(path, line)
        last = number == len(parts) - 1
        if last and node.type == "table_array_element":
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
            found.setdefault(path, line)
    for child in node.named_children:
        if child.type == "pair":
            _pair(child, path, found)


def _pair(node: "Node", parent: Key, found: dict[Key, int]) -> None:
    path = parent
    for child in node.named_children:
        if child.type in KEYS:
            for name, line in _parts(child):
                path = (*path, name)
                found.setdefault(path, line)
        elif child.type in VALUES:
            _value(child, path, found)


def _value(node: "Node", path: Key, found: dict[Key, int]) -> None:
    items = [child for child in node.named_children if child.type != "comment" and not child.is_error]
    for number, child in enumerate(items):
        if child.type == "pair":
            _pair(child, path, found)
        elif node.type == "array":
            found[(*path, number)] = child.start_point.row + 1
            if child.type in VALUES:
                _value(child, (*path, number), found)


def _parts(node: "Node") -> Iterator[tuple[str, int]]:
    if node.type == "dotted_key":
        for child in node.named_children:
            yield from _parts(child)
    elif node.type in KEYS and node.text is not None:
        yield _name(node.text.decode()), node.start_point.row + 1


def _name(raw: str) -> str:
    """What a key is called, without its quotes and escapes."""
    if raw[:1] not in "\"'":
        return raw
    import tomli

    try:
        parsed: dict[str, Any] = tomli.loads(f"{raw} = 0")
    except tomli.TOMLDecodeError:
        return raw
    return next(iter(parsed))
