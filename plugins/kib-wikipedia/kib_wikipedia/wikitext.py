"""Wikitext becomes text: mwparserfromhell takes it apart, what a reader sees of the sentences stays."""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, Any

from kib_wikipedia.templates import shown

if TYPE_CHECKING:
    from mwparserfromhell.wikicode import Wikicode

__all__ = ["DROPPED", "Names", "clean"]

DROPPED = (
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
"""Sections of the English Wikipedia that list where to read on."""

UNSEEN = frozenset(
    (
        *("ref", "references", "table", "gallery", "imagemap", "img", "timeline", "score", "graph", "hiero"),
        *("math", "chem", "ce", "style", "script", "templatestyles", "mapframe", "maplink", "indicator"),
        *("inputbox", "categorytree", "charinsert", "section", "includeonly", "hr", "wbr"),
    )
)
"""Tags that show nothing that can be read as text: notes, tables, pictures, formulas."""

BLOCKS = frozenset(
    (
        *("blockquote", "center", "div", "dd", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("li", "ol", "p", "poem", "pre", "source", "syntaxhighlight", "ul"),
    )
)
"""Tags that stand on lines of their own."""

RAISED = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")

SPACES = {0x00A0: " ", 0x2002: " ", 0x2003: " ", 0x2009: " ", 0x200A: " ", 0x202F: " ", 0x200B: "", 0xFEFF: ""}

KNOWN = (
    "abbr b big blockquote br caption center cite code dd del dfn div dl dt em font gallery h[1-6] hr i img ins kbd li "
    "math nowiki ol p poem pre q ref references rp ruby s samp section small source span strike strong sub sup "
    "syntaxhighlight table tbody td th thead tr tt u ul var wbr onlyinclude noinclude includeonly"
)
STRAY_TAG = re.compile(rf"</?(?:{'|'.join(KNOWN.split())})(?:\s[^<>]*)?/?>", re.IGNORECASE)
STRAY_LINE = re.compile(r"^[ \t]*(?:\{\||\|\}|\|[-+]?|!).*$", re.MULTILINE)
STRAY_SIGNS = re.compile(r"\[\[|\]\]|\{\{+|\}\}+|'{2,}|__[A-Z]{3,}__")

INTERWIKI = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,10})*|simple|meta|mw|species")

HOLLOW = re.compile(r"[(\[][\s,;:·•/–—-]*[)\]]")
"""Brackets around nothing, where a template or a note stood."""

TIDY: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[ \t\u200b\ufeff]*\n[ \t]*"), "\n"),
    (re.compile(r"\([\s,;:·•/–—]+(?=\S)"), "("),
    (re.compile(r"[\s,;:·•/–—]+\)"), ")"),
    (re.compile(r"(?:[ \t]*[,;])+(?=[ \t]*[.;](?:\s|$))"), ""),
    (re.compile(r"[ \t]+(?=[,;)]|\.(?:\s|$))"), ""),
    (re.compile(r",(?:[ \t]*,)+"), ","),
    (re.compile(r"(?<=[ \t(])[,;] ?(?=\w)"), ""),
    (re.compile(r"[ \t]{2,}"), " "),
    (re.compile(r"^(?:: )+(?=\S)", re.MULTILINE), ""),
    (re.compile(r"^- (?:[-:] )*", re.MULTILINE), "- "),
    (re.compile(r"^-?[\s,;:.·•*#|–—-]*$", re.MULTILINE), ""),
    (re.compile(r"\n{3,}"), "\n\n"),
)
"""What is left where something was taken out: spaces, commas, empty lines."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a wiki calls its namespaces of files and categories, in lower case: links there are pictures and labels."""

    hidden: Collection[str] = frozenset({"file", "image", "media", "category"})


@dataclass(frozen=True, slots=True)
class _Section:
    level: int
    title: str
    text: str


def clean(wikitext: str, names: Names | None = None, dropped: Iterable[str] = DROPPED) -> str:
    """The sentences, headings and lists of an article as text, paragraphs apart by a blank line.

    Templates, tables, notes, pictures and formulas are left out, but for templates that stand for words. Sections whose
    title is among `dropped` go with all below them, and so do headings over nothing.
    """
    from mwparserfromhell import parse

    reader = _Reader(names or Names())
    unwanted = {title.casefold() for title in dropped}
    # Quotes for bold and italic are often not closed, and would take links and templates around them along.
    sections = list(_sections(parse(wikitext, skip_style_tags=True), reader))
    return _tidy("\n\n".join(_kept(sections, unwanted)))


def _sections(code: "Wikicode", reader: "_Reader") -> Iterable[_Section]:
    """The text before the first heading, then each heading with what follows it."""
    from mwparserfromhell.nodes import Heading

    level, title, parts = 0, "", list[str]()
    for node in code.nodes:
        if isinstance(node, Heading):
            yield _Section(level, title, _tidy("".join(parts)))
            level, title, parts = node.level, _tidy(reader.read(node.title)), []
        else:
            parts.append(reader.node(node))
    yield _Section(level, title, _tidy("".join(parts)))


def _kept(sections: list[_Section], unwanted: Collection[str]) -> Iterable[str]:
    within = 0  # the level of the unwanted section that we are in
    for number, section in enumerate(sections):
        if within and section.level > within:
            continue
        within = section.level if section.title.casefold() in unwanted else 0
        if within or not _has_text(sections, number, unwanted):
            continue
        yield "\n".join(part for part in (section.title, section.text) if part)


def _has_text(sections: list[_Section], number: int, unwanted: Collection[str]) -> bool:
    """Whether a section, or a wanted one below it, has text."""
    if sections[number].text:
        return True
    within = 0
    for section in sections[number + 1 :]:
        if section.level <= sections[number].level:
            return False
        if within and section.level > within:
            continue
        within = section.level if section.title.casefold() in unwanted else 0
        if section.text and not within:
            return True
    return False


class _Reader:
    """Nodes of the parser as text."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def read(self, code: Any) -> str:
        """All nodes of a piece of wikitext, one after the other."""
        return "".join(self.node(node) for node in code.nodes) if code is not None else ""

    def node(self, node: Any) -> str:
        """What a reader sees of one node; nothing of comments and of parameters of templates."""
        from mwparserfromhell import nodes

        readers: dict[type[Any], Callable[[Any], str]] = {
            nodes.Text: lambda text: _plain(str(text)),
            nodes.Wikilink: self._link,
            nodes.ExternalLink: self._address,
            nodes.Template: self._template,
            nodes.Tag: self._tag,
            nodes.HTMLEntity: _entity,
            nodes.Heading: lambda heading: f"\n{self.read(heading.title)}\n",
        }
        reader = readers.get(type(node))
        return reader(node) if reader else ""

    def _address(self, node: Any) -> str:
        """A link that leaves the wiki: its words, or the address where it is bare."""
        if node.title is not None:
            return self.read(node.title)
        return "" if node.brackets else str(node.url)

    def _link(self, node: Any) -> str:
        target = str(node.title).strip()
        prefix, colon, _ = target.partition(":")
        if colon and prefix:
            if prefix.strip().casefold() in self.names.hidden:
                return ""
            if node.text is None and INTERWIKI.fullmatch(prefix):
                return ""
        if node.text is not None:
            return self.read(node.text)
        return _plain(target.removeprefix(":").replace("_", " "))

    def _template(self, node: Any) -> str:
        def named(name: str) -> str:
            return self.read(node.get(name).value).strip() if node.has(name) else ""

        numbered = [self.read(parameter.value).strip() for parameter in node.params if not parameter.showkey]
        return shown(str(node.name).strip(), numbered, named)

    def _tag(self, node: Any) -> str:
        tag = str(node.tag).strip().lower()
        if tag in UNSEEN:
            return ""
        if tag == "br":
            return "\n"
        if node.wiki_markup and tag in ("li", "dt", "dd"):
            return {"li": "- ", "dd": ": "}.get(tag, "")
        if tag in ("nowiki", "pre", "source", "syntaxhighlight"):
            inner = str(node.contents) if node.contents is not None else ""
        else:
            inner = self.read(node.contents)
        if tag == "sup":
            return _raised(inner)
        return f"\n{inner}\n" if tag in BLOCKS else inner


def _raised(text: str) -> str:
    """Exponents as raised signs: 10<sup>3</sup> is not 103."""
    text = text.strip()
    if not text or not any(sign.isalnum() for sign in text):
        return text
    raised = text.translate(RAISED)
    return raised if not set(raised) & set(text) else text if text.isalpha() else f"^{text}"


def _entity(node: Any) -> str:
    try:
        sign: str = node.normalize()
    except (ValueError, KeyError, OverflowError):
        return ""
    return _spaced(sign)


def _spaced(text: str) -> str:
    """Text with one kind of space, without marks that nobody sees."""
    return text.translate(SPACES)


def _plain(text: str) -> str:
    """Text without the pieces of markup that the parser could make nothing of."""
    for pattern in (STRAY_TAG, STRAY_SIGNS):
        text = pattern.sub("", text)
    return _spaced(unescape(text))


def _tidy(text: str) -> str:
    text = STRAY_LINE.sub("", text)
    before = ""
    while before != text:
        before, text = text, HOLLOW.sub("", text)
    for pattern, by in TIDY:
        text = pattern.sub(by, text)
    return text.strip()
