"""Computes the number that Word shows before a paragraph; mammoth only states whether a list has numbers."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from xml.etree.ElementTree import Element

from kib_files.numerals import roman

__all__ = ["WORD", "ListNumbers", "Lists"]

WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"

BULLET = "*"

NUMBER = re.compile(r"[+-]?\d{1,9}")
PLACEHOLDER = re.compile(r"%([1-9])")
"""The place of a level's number in the text of a level."""

MOST_LETTERS = 780
"""The largest number that Word writes as letters."""


@dataclass(frozen=True, slots=True)
class _Level:
    """One level of a list: `restart` is the number of levels above that restart the level."""

    start: int
    format: str
    text: str
    restart: int
    is_legal: bool
    style: str


@dataclass(frozen=True, slots=True)
class _List:
    """A list: lists with the same `series` continue each other's numbers, except at the levels in `restarted`."""

    number_id: str
    series: str
    levels: Mapping[int, _Level]
    restarted: frozenset[int]

    def level_of(self, style: str) -> int | None:
        """Return the level that belongs to a paragraph style, or None if the list has no such level."""
        return next((index for index, level in self.levels.items() if level.style == style), None)


class Lists:
    """The lists that a document defines, given the root of its part `numbering` and its styles by their ids."""

    def __init__(self, root: Element, styles: Mapping[str, Element]) -> None:
        self.styles = styles
        self.abstract = {one.get(f"{WORD}abstractNumId", ""): one for one in root.findall(f"{WORD}abstractNum")}
        self.numbers = {one.get(f"{WORD}numId", ""): one for one in root.findall(f"{WORD}num")}

    def place(self, paragraph: Element) -> tuple[_List, int] | None:
        """Return the list and level of a paragraph, set by the paragraph or its style, or None outside lists."""
        own = paragraph.find(f"{WORD}pPr/{WORD}numPr")
        styles = list(self._styles_of(_value(paragraph, "pPr/pStyle")))
        inherited = [self.styles[style].find(f"{WORD}pPr/{WORD}numPr") for style in styles]
        listing = self._find(_first([own, *inherited], "numId"))
        if listing is None:
            return None
        level = _value(own, "ilvl")
        if not level and not _value(own, "numId"):
            linked = (listing.level_of(style) for style in styles)
            level = str(next((one for one in linked if one is not None), _first(inherited, "ilvl")))
        return listing, _whole(level, 0)

    def _styles_of(self, style: str) -> Iterator[str]:
        """Yield the ids of a style and of the styles that it is based on."""
        seen: set[str] = set()
        while style in self.styles and style not in seen:
            seen.add(style)
            yield style
            style = _value(self.styles[style], "basedOn")

    def _find(self, number_id: str) -> _List | None:
        """Return the list with an id; a definition may refer to the list of a style."""
        overrides: list[Element] = []
        seen: set[str] = set()
        while number_id in self.numbers and number_id not in seen:
            seen.add(number_id)
            overrides += self.numbers[number_id].findall(f"{WORD}lvlOverride")
            series = _value(self.numbers[number_id], "abstractNumId")
            definition = self.abstract.get(series, Element("none"))
            link = _value(definition, "numStyleLink")
            if not link:
                return _list(number_id, series, definition, overrides)
            number_id = _value(self.styles.get(link), "pPr/numPr/numId")
        return None


class ListNumbers:
    """Counts the paragraphs of one part of a document; `unknown` counts numbers in a format without a function."""

    def __init__(self, lists: Lists) -> None:
        self.lists = lists
        self.counts: dict[str, dict[int, int]] = {}
        self.started: set[str] = set()
        self.unknown = 0

    def label(self, paragraph: Element) -> str:
        """Return the number or bullet of the next paragraph, or "" if Word shows neither."""
        place = self.lists.place(paragraph)
        if place is None or place[1] not in place[0].levels:
            return ""
        listing, level = place
        counts = self.counts.setdefault(listing.series, {})
        if listing.number_id not in self.started:
            self.started.add(listing.number_id)
            for restarted in listing.restarted:
                counts.pop(restarted, None)
        counts[level] = counts[level] + 1 if level in counts else listing.levels[level].start
        for deeper in [one for one in counts if one > level and level < listing.levels[one].restart]:
            del counts[deeper]
        return self._text(listing, level, counts)

    def _text(self, listing: _List, current: int, counts: Mapping[int, int]) -> str:
        """Return the label of the current level; a higher level without a paragraph has its first number."""
        shown = listing.levels[current]
        if shown.format == "bullet":
            return BULLET

        def number(found: re.Match[str]) -> str:
            index = int(found[1]) - 1
            level = listing.levels.get(index)
            if level is None:
                return ""
            written = "decimal" if shown.is_legal and level.format != "none" else level.format
            self.unknown += written not in FORMATS
            return FORMATS.get(written, str)(counts.get(index, level.start))

        return PLACEHOLDER.sub(number, shown.text).strip()


def _list(number_id: str, series: str, definition: Element, overrides: list[Element]) -> _List:
    """Return a list with the levels of its definition, or of the first override for a level."""
    elements = {_index(level): level for level in definition.findall(f"{WORD}lvl")}
    starts: dict[int, int] = {}
    for override in reversed(overrides):
        level = override.find(f"{WORD}lvl")
        elements.update({} if level is None else {_index(override): level})
        if start := _value(override, "startOverride"):
            starts[_index(override)] = _whole(start, 0)
    levels = {index: _level(level, index, starts.get(index)) for index, level in elements.items()}
    return _List(number_id, series, levels, frozenset(starts))


def _level(level: Element, index: int, start: int | None) -> _Level:
    shown = next(level.iter(f"{WORD}numFmt"), None)  # may be inside the alternatives for versions of Word
    legal = level.find(f"{WORD}isLgl")
    return _Level(
        start=_whole(_value(level, "start"), 0) if start is None else start,
        format="decimal" if shown is None else shown.get(f"{WORD}val", "decimal"),
        text=_value(level, "lvlText"),
        restart=_whole(_value(level, "lvlRestart"), index),
        is_legal=legal is not None and legal.get(f"{WORD}val", "1") not in ("0", "false", "off"),
        style=_value(level, "pStyle"),
    )


def _index(element: Element) -> int:
    return _whole(element.get(f"{WORD}ilvl", ""), 0)


def _value(element: Element | None, path: str) -> str:
    """Return the value of the element at a path of names, or "" if missing."""
    found = None if element is None else element.find("/".join(WORD + name for name in path.split("/")))
    return "" if found is None else found.get(f"{WORD}val", "")


def _first(elements: list[Element | None], name: str) -> str:
    return next(filter(None, (_value(element, name) for element in elements)), "")


def _whole(text: str, default: int) -> int:
    return int(text) if NUMBER.fullmatch(text) else default


def _letters(number: int) -> str:
    """Return a number as Word's letters: a to z, then aa, bb and so on."""
    if not 0 < number <= MOST_LETTERS:
        return str(number)
    repeated, letter = divmod(number - 1, len(ascii_lowercase))
    return ascii_lowercase[letter] * (repeated + 1)


FORMATS: Mapping[str, Callable[[int], str]] = {
    "bullet": lambda _: "",
    "decimal": str,
    "decimalZero": lambda number: f"{number:02}",
    "lowerLetter": _letters,
    "lowerRoman": roman,
    "none": lambda _: "",
    "upperLetter": lambda number: _letters(number).upper(),
    "upperRoman": lambda number: roman(number).upper(),
}
"""The function that writes a number, for each value of a level's property `numFmt`."""
