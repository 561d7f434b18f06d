"""Converts Markdown: the text keeps its markup, and titles are found with a CommonMark parser."""

import re
import tomllib
from itertools import pairwise
from typing import Any

from kib_files.file_records import ConvertedFile, FileLimits, decode, one_line

__all__ = ["convert_markdown"]

FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)\n*", re.DOTALL | re.MULTILINE)
"""Metadata in YAML (between `---`) or TOML (between `+++`) at the start of a file."""

TITLE_SEARCH = (1 << 16, 1 << 20)
"""The numbers of characters that are searched for a title, one after the other, so that large files stay fast."""


def convert_markdown(data: bytes, encoding: str, _: FileLimits) -> ConvertedFile:
    """Return a Markdown file's text without its front matter, and the title from the front matter or a heading.

    The title is the `title` of the front matter or, if missing, the text of the first heading of level 1.
    """
    text = decode(data, encoding)
    found = FRONT_MATTER.match(text)
    if found is None:
        return ConvertedFile(text, _heading(text))
    try:
        metadata = _metadata(*found.groups())
    except ValueError as error:
        return ConvertedFile(text, _heading(text), remarks={"invalid front matter, kept as text": str(error)})
    if metadata is None:
        return ConvertedFile(text, _heading(text))
    text = text[found.end() :]
    title = metadata.get("title")
    named = one_line(str(title)) if isinstance(title, str | int | float) else ""
    return ConvertedFile(text, named or _heading(text))


def _metadata(mark: str, source: str) -> dict[str, Any] | None:
    """Return the values in front matter, or None if the text between the marks is not metadata but ordinary text.

    Raise ValueError with the name of the format if the text can be neither metadata nor ordinary text.
    """
    import yaml

    try:
        values = yaml.safe_load(source) if mark == "---" else tomllib.loads(source)
    except (yaml.YAMLError, ValueError) as error:  # PyYAML raises ValueError for an impossible date
        raise ValueError("YAML" if mark == "---" else "TOML") from error
    if not source.strip():
        return {}
    return values if isinstance(values, dict) else None


def _heading(text: str) -> str:
    """Return the text of the first heading of level 1 that is neither empty nor inside a list, a quote or code."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").disable("inline")
    for size in TITLE_SEARCH:
        tokens = parser.parse(text[: text.rfind("\n", 0, size)] if len(text) > size else text)
        for heading, content in pairwise(tokens):
            is_title = heading.type == "heading_open" and heading.tag == "h1" and not heading.level
            if is_title and (title := _plain(content.content)):
                return title
        if len(text) <= size:
            break
    return ""


def _plain(markup: str) -> str:
    """Return the text of inline Markdown without its markup."""
    from markdown_it import MarkdownIt

    [line] = MarkdownIt("commonmark").parseInline(markup)
    return one_line("".join(_text(token) for token in line.children or ()))


def _text(token: Any) -> str:
    if token.type in ("softbreak", "hardbreak"):
        return " "
    if token.type == "image":
        return "".join(map(_text, token.children or ()))
    return token.content if token.type in ("text", "code_inline", "text_special") else ""
