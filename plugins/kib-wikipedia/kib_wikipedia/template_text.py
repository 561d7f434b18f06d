"""Convert templates that produce words in a sentence, and replace all other templates with an empty string.

Each wiki defines its own templates. This module supports the English Wikipedia templates that produce text inside a
sentence. Many other Wikipedias use the same template names.
"""

import re
from collections.abc import Callable, Sequence

from kib_wikipedia.date_templates import DATE_FUNCTIONS
from kib_wikipedia.quantity_templates import QUANTITY_FUNCTIONS

__all__ = ["template_text"]

Unnamed = Sequence[str]
"""The values of a template's unnamed parameters, as plain text."""

Named = Callable[[str], str]
"""Returns the value of a named parameter as plain text, or "" if the template call does not set the parameter."""

SHOW_FIRST = (
    "abbr angbr big bigmath bold crossreference em flag flagcountry flagu green highlight italic keypress kbd large "
    "linktext ill ipa math mvar nobold nobr noitalic nowrap nts red resize sc script small smallcaps smaller strong "
    "sub tooltip railgauge underline unicode var vanchor vr xt"
)
"""Templates that display their first parameter."""

SHOW_LAST = "lang rtl-lang transl transliteration wikt-lang script/arabic script/hebrew polytonic iast nihongo2"
"""Templates that display their last unnamed parameter; earlier parameters are codes, such as a language code."""

FIXED_TEXT = {
    "!": "|",
    "'": "'",
    "''": '"',
    "=": "=",
    "–": "–",
    "—": "—",
    "·": " · ",
    "•": " • ",
    "dot": " · ",
    "bullet": " • ",
    "middot": " · ",
    "\\": " / ",
    "ndash": "–",
    "en dash": "–",
    "spaced ndash": " – ",
    "spnd": " – ",
    "snd": " – ",
    "mdash": "—",
    "mdashb": "—",
    "em dash": "—",
    "spaced mdash": " — ",
    "nbsp": " ",
    "space": " ",
    "spaces": " ",
    "thinsp": " ",
    "thin space": " ",
    "hairsp": " ",
    "pi": "π",
    "ad": "AD",
    "bc": "BC",
    "'s": "'s",
    "' \"": "'\"",
    '-"': '"',
    "eqm": "⇌",
    "carbon": "C",
    "hydrogen": "H",
    "nitrogen": "N",
    "oxygen": "O",
}
"""Templates that always display the same text."""

SHIPS = ("HMS", "USS", "SS", "MS", "MV", "RMS", "HMAS", "HMCS", "HMNZS", "USCGC", "USNS", "SMS", "INS", "RV", "HSC")
IDENTIFIERS = ("ISBN", "ISSN", "OCLC", "PMID", "DOI", "ASIN", "LCCN", "arXiv", "JSTOR")

NUMBER = re.compile(r"[+−-]?[\d,]*\.?\d+(?:/\d+)?")
"""Matches the argument of `formatnum`, and names of templates such as `1/2`."""


def template_text(name: str, unnamed: Unnamed, named: Named) -> str | None:
    """Return the text that a template displays inside a sentence, or None if the template is unknown."""
    name = " ".join(name.replace("_", " ").split()).lower()
    if name in FIXED_TEXT:
        return FIXED_TEXT[name]
    if name in TEXT_FUNCTIONS:
        return TEXT_FUNCTIONS[name](unnamed, named)
    if name.startswith("lang-"):
        return _first(unnamed, named)
    value = name.removeprefix("formatnum:").strip()
    return value if NUMBER.fullmatch(value) else None


def _first(unnamed: Unnamed, named: Named) -> str:
    return next(iter(unnamed), "") or named("1") or named("text")


def _last(unnamed: Unnamed, named: Named) -> str:
    return next((value for value in reversed(unnamed) if value), "") or named("2") or named("1")


def _circa(unnamed: Unnamed, _: Named) -> str:
    return " – ".join(f"c. {value}" for value in unnamed if value) or "c."


def _quote(unnamed: Unnamed, named: Named) -> str:
    text = _first(unnamed, named) or named("quote")
    return f"\n{text}\n" if text else ""


def _nihongo(unnamed: Unnamed, named: Named) -> str:
    """Return a term and its Japanese forms: `{{nihongo|Japan|日本|Nihon}}` becomes "Japan (日本, Nihon)"."""
    foreign = ", ".join(value for value in unnamed[1:3] if value)
    return f"{_first(unnamed, named)} ({foreign})" if foreign else _first(unnamed, named)


def _amount(sign: str) -> Callable[[Unnamed, Named], str]:
    return lambda unnamed, named: f"{sign}{_first(unnamed, named)}"


def _first_two(unnamed: Unnamed, _: Named) -> str:
    return " ".join(value for value in unnamed[:2] if value)


def _musical_sign(unnamed: Unnamed, _: Named) -> str:
    """Return a musical symbol: `{{music|flat}}` becomes "♭"."""
    return {"flat": "♭", "sharp": "♯", "natural": "♮"}.get(next(iter(unnamed), ""), "")


def _ship(prefix: str) -> Callable[[Unnamed, Named], str]:
    """Return a function for templates of ships: `{{USS|Enterprise|CVN-65}}` becomes "USS Enterprise (CVN-65)"."""

    def text(unnamed: Unnamed, _: Named) -> str:
        name, number = (*unnamed, "", "")[:2]
        return f"{prefix} {name} ({number})" if number else f"{prefix} {name}".strip()

    return text


def _named_ship(unnamed: Unnamed, named: Named) -> str:
    return _ship(unnamed[0])(unnamed[1:], named).strip() if unnamed else ""


def _numbered(word: str) -> Callable[[Unnamed, Named], str]:
    """Return a function for templates of a year, page or range: `{{reign|1837|1901}}` becomes "r. 1837–1901"."""
    return lambda unnamed, _: f"{word} {'–'.join(value for value in unnamed if value)}" if unnamed else ""


def _sic(unnamed: Unnamed, _: Named) -> str:
    return f"{''.join(unnamed)} [sic]".strip()


def _author_and_year(unnamed: Unnamed, _: Named) -> str:
    """Return an author named in a sentence: `{{harvtxt|Smith|Jones|2010}}` becomes "Smith & Jones (2010)"."""
    return f"{' & '.join(unnamed[:-1])} ({unnamed[-1]})" if len(unnamed) > 1 else "".join(unnamed)


def _number_of(name: str) -> Callable[[Unnamed, Named], str]:
    """Return a function for identifiers: `{{ISBN|0-19-853453-1}}` becomes "ISBN 0-19-853453-1"."""
    return lambda unnamed, _: f"{name} {', '.join(value for value in unnamed if value)}" if unnamed else ""


def _list(separator: str, start: str = "") -> Callable[[Unnamed, Named], str]:
    return lambda unnamed, _: start + separator.join(value for value in unnamed if value)


TEXT_FUNCTIONS: dict[str, Callable[[Unnamed, Named], str]] = {
    **dict.fromkeys(SHOW_FIRST.split(), _first),
    **dict.fromkeys(("interlanguage link", "visible anchor", "linktext", "format price"), _first),
    "columns-list": _last,
    **dict.fromkeys(SHOW_LAST.split(), _last),
    **dict.fromkeys(("circa", "c.", "ca."), _circa),
    **dict.fromkeys(("bibleref", "bibleverse"), _first_two),
    **{prefix.lower(): _ship(prefix) for prefix in SHIPS},
    "ship": _named_ship,
    "music": _musical_sign,
    **dict.fromkeys(("quote", "blockquote", "quotation", "cquote", "quote box", "bquote", "poemquote"), _quote),
    **dict.fromkeys(("nihongo", "nihongo3"), _nihongo),
    **dict.fromkeys(("us$", "usd"), _amount("US$")),
    **dict.fromkeys(("gbp", "£"), _amount("£")),
    **dict.fromkeys(("eur", "€", "euro"), _amount("€")),
    **dict.fromkeys(("a$", "aud"), _amount("A$")),
    **dict.fromkeys(("cad", "c$"), _amount("C$")),
    **dict.fromkeys(("jpy", "yen", "¥"), _amount("¥")),
    **dict.fromkeys(("inr", "indian rupee"), _amount("₹")),
    **dict.fromkeys(("reign", "r."), _numbered("r.")),
    **dict.fromkeys(("floruit", "fl."), _numbered("fl.")),
    **{name.lower(): _number_of(name) for name in IDENTIFIERS},
    **{name: _numbered(name) for name in ("vol.", "p.", "pp.")},
    **dict.fromkeys(("nuclide", "nuclide2", "simplenuclide"), lambda unnamed, _: "-".join(unnamed[:2])),
    "sic": _sic,
    **dict.fromkeys(("harvtxt", "harvcoltxt"), _author_and_year),
    **dict.fromkeys(("gaps", "chem", "chem2"), _list("")),
    "hlist": _list(", "),
    **dict.fromkeys(("plainlist", "flatlist", "unbulleted list", "ubl"), _list("\n")),
    **dict.fromkeys(("ordered list", "bulleted list"), _list("\n- ", "\n- ")),
    **QUANTITY_FUNCTIONS,
    **DATE_FUNCTIONS,
}
"""Maps the lowercase name of a template to the function that computes the template's text."""
