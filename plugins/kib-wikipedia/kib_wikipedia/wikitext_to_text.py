"""Convert wikitext to plain text; keep visible sentences, headings and lists, and remove everything else.

mwparserfromhell parses the wikitext, and regular expressions remove any markup that the parser leaves in place.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from html import unescape
from typing import TYPE_CHECKING, Any

from kib_wikipedia.template_text import template_text

if TYPE_CHECKING:
    from mwparserfromhell.wikicode import Wikicode

__all__ = ["DROPPED_SECTIONS", "HIDDEN_NAMESPACES", "wikitext_to_text"]

DROPPED_SECTIONS = (
    "References",
    "Notes",
    "Footnotes",
    "Citations",
    "Notes and references",
    "References and notes",
    "Sources",
    "Bibliography",
    "Further reading",
    "External links",
    "See also",
)
"""Titles of the English Wikipedia's sections that contain references and links."""

HIDDEN_TAGS = frozenset(
    (
        *("ref", "references", "table", "gallery", "imagemap", "img", "timeline", "score", "graph", "hiero"),
        *("math", "chem", "ce", "style", "script", "templatestyles", "mapframe", "maplink", "indicator"),
        *("inputbox", "categorytree", "charinsert", "section", "includeonly", "hr", "wbr"),
    )
)
"""Tags without readable text, such as notes, tables, images and formulas."""

BLOCK_TAGS = frozenset(
    (
        *("blockquote", "center", "div", "dd", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("li", "ol", "p", "poem", "pre", "source", "syntaxhighlight", "ul"),
    )
)
"""Tags whose content is placed on separate lines."""

SUPERSCRIPTS = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
"""Maps characters to their Unicode superscripts, if they exist."""

SPACES = {0x00A0: " ", 0x2002: " ", 0x2003: " ", 0x2009: " ", 0x200A: " ", 0x202F: " ", 0x200B: "", 0xFEFF: ""}
"""Replacements for special space characters and invisible characters."""

TAG_NAMES = (
    "abbr b big blockquote br caption center cite code dd del dfn div dl dt em font gallery h[1-6] hr i img ins kbd li "
    "math nowiki ol p poem pre q ref references rp ruby s samp section small source span strike strong sub sup "
    "syntaxhighlight table tbody td th thead tr tt u ul var wbr onlyinclude noinclude includeonly"
)
STRAY_TAG = re.compile(rf"</?(?:{'|'.join(TAG_NAMES.split())})(?:\s[^<>]*)?/?>", re.IGNORECASE)
STRAY_LINE = re.compile(r"^[ \t]*(?:\{\||\|\}|\|[-+]?|!).*$", re.MULTILINE)
STRAY_MARKUP = re.compile(r"\[\[|\]\]|\{\{+|\}\}+|'{2,}|__[A-Z]{3,}__")
"""Markup that the parser returns as text because it is malformed."""

LANGUAGE_PREFIX = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,10})*|simple|meta|mw|species")
"""Prefixes of links to other languages and projects, which a wiki displays beside the article."""

BRACKET = re.compile(r"[(\[)\]]")
BETWEEN_BRACKETS = re.compile(r"[\s,;:·•/–—-]*")
"""Matches the characters that may remain between brackets after a template or note has been removed."""

CLEANUP: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\([\s,;:·•/–—]+(?=\S)"), "("),
    (re.compile(r"(?<![\s,;:·•/–—])[\s,;:·•/–—]+\)"), ")"),
    (re.compile(r"(?<![ \t,;])(?:[ \t]*[,;])+(?=[ \t]*[.;](?:\s|$))"), ""),
    (re.compile(r"(?<![ \t])[ \t]+(?=[,;)]|\.(?:\s|$))"), ""),
    (re.compile(r",(?:[ \t]*,)+"), ","),
    (re.compile(r"(?<=[ \t(])[,;] ?(?=\w)"), ""),
    (re.compile(r"[ \t]{2,}"), " "),
    (re.compile(r"^(?:: )+(?=\S)", re.MULTILINE), ""),
    (re.compile(r"^- (?:[-:] )*", re.MULTILINE), "- "),
    (re.compile(r"^-?[\s,;:.·•*#|–—-]*$", re.MULTILINE), ""),
    (re.compile(r"\n{3,}"), "\n\n"),
)
"""Patterns and replacements, in order of application, for spaces, commas and blank lines left by removed markup.

A pattern that starts with a repetition has a lookbehind, so that it is not tried again at each repeated character.
"""


HIDDEN_NAMESPACES = frozenset({"file", "image", "media", "category"})
"""Lowercase English names of the file and category namespaces; links to these namespaces are not part of the text."""


@dataclass(frozen=True, slots=True)
class _Section:
    level: int
    title: str
    text: str


def wikitext_to_text(
    wikitext: str,
    hidden_namespaces: Collection[str] = HIDDEN_NAMESPACES,
    dropped_sections: Iterable[str] = DROPPED_SECTIONS,
) -> str:
    """Convert an article to text, with a blank line between paragraphs.

    Templates are removed unless they produce words in a sentence. `hidden_namespaces` are the wiki's lowercase names
    for the file and category namespaces. Sections whose title is in `dropped_sections` are removed together with their
    subsections. Headings without text below them are removed, too.
    """
    from mwparserfromhell import parse

    renderer = _Renderer(hidden_namespaces)
    dropped = {title.casefold() for title in dropped_sections}
    # Bold and italic quotes are often not closed; if they were parsed as tags, unclosed quotes would swallow links.
    sections = list(_sections(parse(wikitext, skip_style_tags=True), renderer))
    return _clean_up("\n\n".join(_section_texts(sections, dropped)))


def _sections(code: "Wikicode", renderer: "_Renderer") -> Iterator[_Section]:
    """Yield the text before the first heading, then each heading with the text after the heading."""
    from mwparserfromhell.nodes import Heading

    level, title, parts = 0, "", list[str]()
    for node in code.nodes:
        if isinstance(node, Heading):
            yield _Section(level, title, _clean_up("".join(parts)))
            level, title, parts = node.level, _clean_up(renderer.render(node.title)), []
        else:
            parts.append(renderer.render_node(node))
    yield _Section(level, title, _clean_up("".join(parts)))


def _section_texts(sections: list[_Section], dropped: Collection[str]) -> Iterator[str]:
    """Yield the title and text of each section, excluding dropped sections and titles without text."""
    dropped_level = 0  # level of the dropped section that contains the current section, or 0
    for index, section in enumerate(sections):
        if dropped_level and section.level > dropped_level:
            continue
        dropped_level = section.level if section.title.casefold() in dropped else 0
        if not dropped_level and _has_text(sections, index, dropped):
            yield "\n".join(part for part in (section.title, section.text) if part)


def _has_text(sections: list[_Section], index: int, dropped: Collection[str]) -> bool:
    """Return whether a section, or one of its remaining subsections, contains text."""
    if sections[index].text:
        return True
    dropped_level = 0
    for section in sections[index + 1 :]:
        if section.level <= sections[index].level:
            return False
        if dropped_level and section.level > dropped_level:
            continue
        dropped_level = section.level if section.title.casefold() in dropped else 0
        if section.text and not dropped_level:
            return True
    return False


class _Renderer:
    """Converts the nodes of parsed wikitext to plain text."""

    def __init__(self, hidden_namespaces: Collection[str]) -> None:
        from mwparserfromhell import nodes

        self.hidden_namespaces = hidden_namespaces
        self.methods: dict[type[Any], Callable[[Any], str]] = {
            nodes.Text: lambda text: _plain(str(text)),
            nodes.Wikilink: self._link,
            nodes.ExternalLink: self._external_link,
            nodes.Template: self._template,
            nodes.Tag: self._tag,
            nodes.HTMLEntity: _entity,
            nodes.Heading: lambda heading: f"\n{self.render(heading.title)}\n",
        }

    def render(self, code: Any) -> str:
        """Return the rendered text, or "" if the wikitext is None."""
        return "".join(map(self.render_node, code.nodes)) if code is not None else ""

    def render_node(self, node: Any) -> str:
        """Return the text of one node; comments and template arguments have no text."""
        method = self.methods.get(type(node))
        return method(node) if method else ""

    def _external_link(self, node: Any) -> str:
        """Return an external link's label, or its address if the link has neither a label nor brackets."""
        if node.title is not None:
            return self.render(node.title)
        return "" if node.brackets else str(node.url)

    def _link(self, node: Any) -> str:
        target = str(node.title).strip()
        prefix, colon, _ = target.partition(":")
        if colon and prefix:
            if prefix.strip().casefold() in self.hidden_namespaces:
                return ""
            if node.text is None and LANGUAGE_PREFIX.fullmatch(prefix):
                return ""
        if node.text is not None:
            return self.render(node.text)
        return _plain(target.removeprefix(":").replace("_", " "))

    def _template(self, node: Any) -> str:
        @cache  # otherwise, templates inside parameters could be rendered 2 ** 40 times
        def named(name: str) -> str:
            return self.render(node.get(name).value).strip() if node.has(name) else ""

        unnamed = [self.render(parameter.value).strip() for parameter in node.params if not parameter.showkey]
        return template_text(str(node.name).strip(), unnamed, named)

    def _tag(self, node: Any) -> str:
        tag = str(node.tag).strip().lower()
        if tag in HIDDEN_TAGS:
            return ""
        if tag == "br":
            return "\n"
        if node.wiki_markup and tag in ("li", "dt", "dd"):
            return {"li": "- ", "dd": ": "}.get(tag, "")
        if tag in ("nowiki", "pre", "source", "syntaxhighlight"):
            inner = str(node.contents) if node.contents is not None else ""
        else:
            inner = self.render(node.contents)
        if tag == "sup":
            return _superscript(inner)
        return f"\n{inner}\n" if tag in BLOCK_TAGS else inner


def _superscript(text: str) -> str:
    """Convert an exponent to Unicode superscripts or put "^" before it: `10<sup>3</sup>` becomes 10³, not 103.

    Superscripts that consist only of letters, as in `4<sup>th</sup>`, become ordinary letters.
    """
    text = text.strip()
    if not any(character.isalnum() for character in text):
        return text
    superscript = text.translate(SUPERSCRIPTS)
    if not set(superscript) & set(text):
        return superscript
    return text if text.isalpha() else f"^{text}"


def _entity(node: Any) -> str:
    try:
        character: str = node.normalize()
    except (ValueError, KeyError, OverflowError):
        return ""
    return _replace_spaces(character)


def _replace_spaces(text: str) -> str:
    """Replace special space characters with ordinary spaces, and remove invisible characters."""
    return text.translate(SPACES)


def _plain(text: str) -> str:
    """Remove markup that the parser left in the text, and decode HTML entities."""
    for pattern in (STRAY_TAG, STRAY_MARKUP):
        text = pattern.sub("", text)
    return _replace_spaces(unescape(text))


def _clean_up(text: str) -> str:
    """Remove remnants of deleted markup, such as table rows, empty brackets, spaces, commas and blank lines."""
    text = _strip_lines(_remove_empty_brackets(STRAY_LINE.sub("", text)))
    for pattern, replacement in CLEANUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def _remove_empty_brackets(text: str) -> str:
    """Remove all pairs of brackets without text between them, starting with the innermost pairs."""
    parts: list[str] = []
    opened: list[int] = []  # the indices in `parts` of opening brackets that are not followed by text
    position = 0
    for bracket in BRACKET.finditer(text):
        if not BETWEEN_BRACKETS.fullmatch(text, position, bracket.start()):
            opened.clear()
        parts.append(text[position : bracket.start()])
        position = bracket.end()
        if bracket[0] in "([":
            opened.append(len(parts))
            parts.append(bracket[0])
        elif opened:
            del parts[opened.pop() :]
        else:
            parts.append(bracket[0])
    return "".join([*parts, text[position:]])


def _strip_lines(text: str) -> str:
    """Remove whitespace and invisible characters next to line breaks."""
    first, *others = text.split("\n")
    lines = [first, *(line.lstrip(" \t") for line in others)]
    return "\n".join([*(line.rstrip(" \t\u200b\ufeff") for line in lines[:-1]), lines[-1]])
