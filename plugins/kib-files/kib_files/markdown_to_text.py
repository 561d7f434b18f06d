"""Converts Markdown: the text keeps its markup, and titles are found with a CommonMark parser."""

import re
import tomllib
from itertools import pairwise
from typing import Any

from kib_files.file_records import BrokenFileError, ConvertedFile, FileLimits, decode, one_line

__all__ = ["convert_markdown"]

FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)\n*", re.DOTALL | re.MULTILINE)
"""Metadata in YAML (between `---`) or TOML (between `+++`) at the start of a file."""

YAML_NULL = "tag:yaml.org,2002:null"

TOML_TITLE = re.compile(r"""^[ \t]*["']?title["']?[ \t]*=[ \t]*([^#\n]+)""", re.MULTILINE)
TOML_REPEATED = re.compile(r"Cannot (?:overwrite|declare) .*\(at line (\d+),")

TITLE_SEARCH = (1 << 16, 1 << 20)
"""The numbers of characters that are searched for a title, one after the other, so that large files stay fast."""


def convert_markdown(data: bytes, encoding: str, _: FileLimits) -> ConvertedFile:
    """Return a Markdown file's text without its front matter, and the title from the front matter or a heading.

    The title is the `title` of the front matter or, if missing, the text of the first heading of level 1. Raise
    BrokenFileError if the front matter repeats the title.
    """
    text = decode(data, encoding)
    found = FRONT_MATTER.match(text)
    if found is None:
        return ConvertedFile(text, _heading(text))
    mark, source = found.groups()
    try:
        title = _yaml_title(source) if mark == "---" else _toml_title(source)
    except ValueError as error:
        return ConvertedFile(text, _heading(text), remarks={"invalid front matter, kept as text": str(error)})
    if title is None:
        return ConvertedFile(text, _heading(text))
    text = text[found.end() :]
    return ConvertedFile(text, one_line(title) or _heading(text))


def _yaml_title(source: str) -> str | None:
    """Return the title in front matter as written, "" if missing, or None if the text is ordinary text.

    Raise ValueError with the name of the format if the text can be neither metadata nor ordinary text, and
    BrokenFileError if the title appears twice.
    """
    import yaml

    try:
        root = yaml.compose(source, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError("YAML") from error
    if not isinstance(root, yaml.MappingNode):
        return None if source.strip() else ""
    titles = [(key, value) for key, value in root.value if key.value == "title"]
    if titles[1:]:
        raise _repeated(titles[1][0].start_mark.line + 1)
    values = [value for _, value in titles if isinstance(value, yaml.ScalarNode) and value.tag != YAML_NULL]
    return values[0].value if values else ""


def _toml_title(source: str) -> str:
    """Return the title in front matter as written, or "" if missing.

    Raise ValueError with the name of the format if the text is invalid, and BrokenFileError if a key appears twice.
    """
    try:
        title = tomllib.loads(source).get("title", [])
    except tomllib.TOMLDecodeError as error:
        if repeated := TOML_REPEATED.match(str(error)):
            raise _repeated(int(repeated[1])) from error
        raise ValueError("TOML") from error
    if isinstance(title, list | dict):
        return ""
    written = TOML_TITLE.search(source)
    return title if isinstance(title, str) or not written else written[1]


def _repeated(line: int) -> BrokenFileError:
    """Return the error for a repeated key in a line of front matter, which starts in the second line of the file."""
    return BrokenFileError(f"line {line + 1}: the front matter repeats a key; remove one of the two lines")


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
