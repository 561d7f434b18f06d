"""Convert wikitext to plain text; keep visible sentences, headings and lists, and remove everything else.

mwparserfromhell parses the wikitext, and regular expressions remove any markup that the parser leaves in place.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import unescape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from kib.support.raised_text import subscript, superscript
from kib_wikipedia.parser_functions import FIRST_ARGUMENT, function_name, function_text, mark_arguments
from kib_wikipedia.quotation_marks import mark_quotes, remove_quotes
from kib_wikipedia.template_text import parameters_text, template_text

if TYPE_CHECKING:
    from mwparserfromhell.wikicode import Wikicode

__all__ = ["DROPPED_SECTIONS", "HIDDEN_NAMESPACES", "PageText", "convert_page", "wikitext_to_text"]

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
        *("style", "script", "templatestyles", "mapframe", "maplink", "indicator"),
        *("inputbox", "categorytree", "charinsert", "section", "includeonly", "hr", "wbr"),
    )
)
"""Tags without readable text, such as notes, tables and images."""

CODE_TAGS = frozenset(("nowiki", "pre", "source", "syntaxhighlight"))
"""Tags whose content is displayed unchanged."""

KEEPER = "\x02"
KEPT = re.compile(f"{KEEPER}(\\d+){KEEPER}")
"""Replaces code until all markup has been removed; wikitext never contains the character."""

UNPARSED = re.compile(rf"\{{\{{([^{{}}:]*):{re.escape(FIRST_ARGUMENT)}[^{{}}\n]*(?:\}}\}})?")
"""Matches a call of a parser function in a text, such as a call without closing braces."""

FORMULA_TAGS = frozenset(("math", "chem", "ce"))
"""Tags that contain a formula in TeX notation."""

NOTES = frozenset(
    (
        *("sfn", "sfnp", "sfnm", "efn", "refn", "rp", "r", "#tag:ref", "note", "ref", "ref label", "note label"),
        *("cref", "cref2", "dagger", "double dagger", "fn", "fnb", "mn", "nb", "tn", "zref"),
        *("citation needed", "cn", "fact", "clarify", "when", "which", "who", "by whom", "according to whom", "where"),
        *("page needed", "dubious", "vague", "failed verification", "better source", "full", "update inline", "anchor"),
    )
)
"""Templates that display only a note mark, or nothing, inside a sentence."""

BLOCK_TAGS = frozenset(
    (
        *("blockquote", "center", "div", "dd", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("li", "ol", "p", "poem", "pre", "source", "syntaxhighlight", "ul"),
    )
)
"""Tags whose content is placed on separate lines."""

SPACES = {0x00A0: " ", 0x2002: " ", 0x2003: " ", 0x2009: " ", 0x200A: " ", 0x202F: " ", 0x200B: "", 0xFEFF: ""}
"""Replacements for special space characters and invisible characters."""

TAG_NAMES = (
    "abbr b big blockquote br caption center cite code dd del dfn div dl dt em font gallery h[1-6] hr i img ins kbd li "
    "math nowiki ol p poem pre q ref references rp ruby s samp section small source span strike strong sub sup "
    "syntaxhighlight table tbody td th thead tr tt u ul var wbr onlyinclude noinclude includeonly"
)
STRAY_TAG = re.compile(rf"</?(?:{'|'.join(TAG_NAMES.split())})(?:\s[^<>]*)?/?>", re.IGNORECASE)
STRAY_LINE = re.compile(r"^[ \t]*(?:\{\||\|\}|\|[-+]?|!).*$", re.MULTILINE)
STRAY_MARKUP = re.compile(r"\[\[|\]\]|\{\{+|\}\}+|__[A-Z]{3,}__")
"""Markup that the parser returns as text because it is malformed."""

LANGUAGE_PREFIX = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,10})*|simple|meta|mw|species")
"""Prefixes of links to other languages and projects, which a wiki displays beside the article."""

FRACTION = re.compile(r"\d+/\d")
INSIDE_SENTENCE = re.compile(r"[^\W_][^.!?\n]{0,3}\Z")
SENTENCE_GOES_ON = re.compile(r"[ \t]+[a-zß-öø-ÿ(–-]")
"""Match a text that ends in the middle of a sentence, and a text that continues a sentence."""

LOOK_BACK = 80
"""The number of characters before a template that show whether the template is part of a sentence."""

ATTACHED = re.compile(r"[\w.,;:)]\Z")
"""Matches a text that is usually followed by the mark of a note if no space follows."""

CALL = re.compile(r"(?<=\w)\(\)")
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


@dataclass(slots=True)
class PageText:
    """The text of a page, and the templates without text of their own, by lowercase name.

    `left_out` counts the templates without any text, and `inside_sentences` those among them that follow text in the
    same line and are not marks of notes. `shown_by_parameters` counts the unknown templates whose parameters are
    displayed instead.
    """

    text: str = ""
    left_out: Counter[str] = field(default_factory=Counter)
    inside_sentences: Counter[str] = field(default_factory=Counter)
    shown_by_parameters: Counter[str] = field(default_factory=Counter)

    def count(self, other: "PageText") -> None:
        """Add the templates of a part of the page."""
        self.left_out.update(other.left_out)
        self.inside_sentences.update(other.inside_sentences)
        self.shown_by_parameters.update(other.shown_by_parameters)


def wikitext_to_text(
    wikitext: str,
    hidden_namespaces: Collection[str] = HIDDEN_NAMESPACES,
    dropped_sections: Iterable[str] = DROPPED_SECTIONS,
) -> str:
    """Return the text of an article, as `convert_page` does."""
    return convert_page(wikitext, hidden_namespaces, dropped_sections).text


def convert_page(
    wikitext: str,
    hidden_namespaces: Collection[str] = HIDDEN_NAMESPACES,
    dropped_sections: Iterable[str] = DROPPED_SECTIONS,
    mark: str = "",
) -> PageText:
    """Convert an article to text, with a blank line between paragraphs, and count the templates that are left out.

    Templates are left out unless they produce words in a sentence; `mark` replaces a template that is left out.
    `hidden_namespaces` are the wiki's lowercase names for the file and category namespaces. Sections whose title is in
    `dropped_sections` are removed together with their subsections. Headings without text below them are removed, too.
    """
    from mwparserfromhell import parse

    page = PageText()
    renderer = _Renderer(hidden_namespaces, page, mark)
    dropped = {title.casefold() for title in dropped_sections}
    # Bold and italic quotes are often not closed; if they were parsed as tags, unclosed quotes would swallow links.
    sections = list(_sections(parse(mark_arguments(wikitext), skip_style_tags=True), renderer))
    text = _clean_up("\n\n".join(_section_texts(sections, dropped)))
    page.text = KEPT.sub(lambda match: renderer.kept[int(match[1])], text)
    return page


def _sections(code: "Wikicode", renderer: "_Renderer") -> Iterator[_Section]:
    """Yield the text before the first heading, then each heading with the text after the heading."""
    from mwparserfromhell.nodes import Heading

    level, title, nodes = 0, "", list[Any]()
    for node in code.nodes:
        if isinstance(node, Heading):
            yield _Section(level, title, _clean_up("".join(renderer.render_nodes(nodes))))
            level, title, nodes = node.level, _clean_up(renderer.render(node.title)), []
        else:
            nodes.append(node)
    yield _Section(level, title, _clean_up("".join(renderer.render_nodes(nodes))))


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


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a node: the text before, the following node, and whether the nodes are a part of a line."""

    before: str
    following: Any
    in_line: bool

    def is_inside_sentence(self) -> bool:
        """Return whether the text before ends in the middle of a sentence."""
        return INSIDE_SENTENCE.search(self.before) is not None

    def displays_parameters(self) -> bool:
        """Return whether an unknown template in this place is a part of a sentence, and not the mark of a note."""
        if self.before and not self.before.endswith("\n"):
            return self.is_inside_sentence() and not ATTACHED.search(self.before)
        return self.in_line or SENTENCE_GOES_ON.match(str(self.following or "")) is not None


class _Renderer:
    """Converts the nodes of parsed wikitext to plain text, and counts the templates without text in `page`."""

    def __init__(self, hidden_namespaces: Collection[str], page: PageText, mark: str) -> None:
        from mwparserfromhell import nodes

        self.hidden_namespaces = hidden_namespaces
        self.page = page
        self.mark = mark
        self.kept: list[str] = []  # code, whose brackets and spaces must not be removed as remnants of markup
        self.template, self.tag = nodes.Template, nodes.Tag
        self.methods: dict[type[Any], Callable[[Any], str]] = {
            nodes.Text: lambda text: _plain(UNPARSED.sub(self._unparsed, str(text))),
            nodes.Wikilink: self._link,
            nodes.ExternalLink: self._external_link,
            nodes.HTMLEntity: _entity,
            nodes.Heading: lambda heading: f"\n{self.render(heading.title)}\n",
        }

    def render(self, code: Any, *, in_line: bool = True) -> str:
        """Return the rendered text, or "" if the wikitext is None; `in_line` means that the text is part of a line."""
        return "".join(self.render_nodes(code.nodes, in_line=in_line)) if code is not None else ""

    def render_nodes(self, nodes: Sequence[Any], *, in_line: bool = False) -> Iterator[str]:
        """Yield the text of each node."""
        before = ""  # the end of the text so far
        for node, following in zip_longest(nodes, nodes[1:]):
            text = self._render_node(node, _Place(before, following, in_line))
            if before[-1:].isdigit() and FRACTION.match(text):
                text = f" {text}"  # 5{{frac|1|2}} is 5 1/2 instead of 51/2
            before = (before + text)[-LOOK_BACK:]
            yield text

    def _render_node(self, node: Any, place: "_Place") -> str:
        """Return the text of a node; comments and template arguments have no text."""
        if type(node) is self.template:
            return self._template(node, place)
        if isinstance(node, self.tag):
            return self._tag(node, place.before)
        method = self.methods.get(type(node))
        return method(node) if method else ""

    def _external_link(self, node: Any) -> str:
        """Return an external link's label, or its address if the link has neither a label nor brackets."""
        if node.title is not None:
            return self.render(node.title)
        return "" if node.brackets else self.render(node.url)

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
        return self.render(node.title).strip().removeprefix(":").replace("_", " ")

    def _template(self, node: Any, place: "_Place") -> str:
        """Return the text of a template, and count the template if it has no text of its own."""
        outer, self.page = self.page, PageText()
        name = " ".join(_unmarked(str(node.name)).replace("_", " ").split()).lower()
        function = function_name(name)
        unnamed = [] if function else self._unnamed(node)
        text = self._function(function, node) if function else template_text(name, unnamed, self._named(node))
        inner, self.page = self.page, outer
        if text is None:
            name = function or name
            text = parameters_text(name, unnamed) if name not in NOTES and place.displays_parameters() else None
            if text is None:
                return self._leave_out(name, place)
            self.page.shown_by_parameters[name] += 1
        self.page.count(inner)
        return text

    def _named(self, node: Any) -> Callable[[str], str]:
        """Return a function that renders a named parameter."""

        @cache  # otherwise, templates inside parameters could be rendered 2 ** 40 times
        def named(name: str) -> str:
            return self._parameter(node.get(name).value) if node.has(name) else ""

        return named

    def _unnamed(self, node: Any) -> list[str]:
        """Return the unnamed parameters, some of which may have their number as a name: `{{circa|1=1450}}`."""
        found: dict[int, str] = {}
        for parameter in node.params:
            number = str(parameter.name).strip()
            if re.fullmatch("[1-9][0-9]{0,3}", number) and int(number) <= 2 * len(node.params):
                found[int(number)] = self._parameter(parameter.value)
        return [found.get(number, "") for number in range(1, max(found, default=0) + 1)]

    def _function(self, function: str, node: Any) -> str | None:
        """Return the text of a parser function."""
        arguments = [
            f"{self._parameter(one.name)}={self._parameter(one.value)}" if one.showkey else self._parameter(one.value)
            for one in node.params
        ]
        return function_text(function, arguments or [""])

    def _unparsed(self, call: re.Match[str]) -> str:
        """Leave out a parser function that the parser returned as text."""
        self.page.left_out[" ".join(call[1].split()).lower()] += 1
        return self.mark

    def _parameter(self, value: Any) -> str:
        return remove_quotes(self.render(value)).strip()

    def _leave_out(self, name: str, place: "_Place") -> str:
        """Count a template without text, and return the mark that replaces the template."""
        self.page.left_out[name] += 1
        if place.is_inside_sentence() and name not in NOTES:
            self.page.inside_sentences[name] += 1
        return self.mark

    def _tag(self, node: Any, before: str) -> str:
        tag = str(node.tag).strip().lower()
        if tag in HIDDEN_TAGS:
            return ""
        if tag in FORMULA_TAGS:
            return _formula(str(node.contents)) if node.contents is not None else ""
        if tag == "br":
            return "\n"
        if node.wiki_markup and tag in ("li", "dt", "dd"):
            return {"li": "- ", "dd": ": "}.get(tag, "")
        if tag in CODE_TAGS:
            inner = self._keep(str(node.contents or ""), entities=tag in ("nowiki", "pre"))
        else:
            inner = self.render(node.contents, in_line=tag not in BLOCK_TAGS)
        if tag in ("sup", "sub"):
            inner = remove_quotes(inner)
            return superscript(inner, before) if tag == "sup" else subscript(inner)
        return f"\n{inner}\n" if tag in BLOCK_TAGS else inner

    def _keep(self, code: str, *, entities: bool) -> str:
        """Return a mark that is replaced with the code at the end; lines keep their indentation."""
        code = _unmarked(code).translate(dict.fromkeys(map(ord, KEEPER), ""))
        lines = (unescape(code) if entities else code).strip("\n").split("\n")
        if not any(map(str.strip, lines)):
            return ""
        self.kept.append("\n".join(map(str.rstrip, lines)))
        return f"{KEEPER}{len(self.kept) - 1}{KEEPER}"


def _unmarked(wikitext: str) -> str:
    """Return wikitext as it was before `mark_arguments`."""
    return wikitext.replace(FIRST_ARGUMENT, "")


def _formula(source: str) -> str:
    """Return a formula in TeX notation between dollar signs, in one line."""
    source = " ".join(unescape(_unmarked(source)).split())
    return f"${source}$" if source else ""


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
    return mark_quotes(_replace_spaces(unescape(text)))


def _clean_up(text: str) -> str:
    """Remove remnants of deleted markup, such as table rows, empty brackets, spaces, commas and blank lines."""
    text = _strip_lines(_remove_empty_brackets(STRAY_LINE.sub("", remove_quotes(text))))
    for pattern, replacement in CLEANUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def _remove_empty_brackets(text: str) -> str:
    """Remove all pairs of brackets without text between them, starting with the innermost pairs.

    Brackets directly after a word, as in `main()`, are not remnants of markup.
    """
    parts: list[str] = []
    opened: list[int] = []  # the indices in `parts` of opening brackets that are not followed by text
    position = 0
    for bracket in BRACKET.finditer(text):
        if bracket.end() <= position:
            continue
        if CALL.match(text, bracket.start()):
            opened.clear()
            parts.append(text[position : bracket.end() + 1])
            position = bracket.end() + 1
            continue
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
