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
    "tooltip railgauge underline overline overbar unicode var vanchor vr xt nombre abreviatura versalita esd"
)
"""Templates that display their first parameter."""

SHOW_LAST = (
    "color colour lang rtl-lang sort sortkey transl transliteration wikt-lang script/arabic script/hebrew polytonic "
    "iast nihongo2"
)
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
    **dict.fromkeys(("0", "00", "dtsh", "hs", "hidden sort key", "ntsh", "number table sorting hidden"), ""),
    "'s": "'s",
    "' \"": "'\"",
    '-"': '"',
    "eqm": "⇌",
}
"""Templates that always display the same text."""

CURRENCIES = {
    "US$": "us$ usd $",
    "£": "gbp £",
    "€": "eur € euro",
    "A$": "a$ aud au$",
    "C$": "cad c$ ca$",
    "NZ$": "nz$ nzd",
    "HK$": "hk$ hkd",
    "S$": "s$ sgd",
    "NT$": "nt$ twd",
    "R$": "r$ brl",
    "¥": "jpy yen ¥ cny cn¥ rmb",
    "₹": "inr rs rupee",
    "₩": "krw ₩ won",
    "₱": "php ₱ peso",
    "₽": "rub ₽",
    "₪": "ils nis ₪",
    "CHF ": "chf",
    "kr ": "sek nok dkk",
}
"""The sign of a currency, and the lowercase names of the templates that display the sign before an amount."""

SHIPS = ("HMS", "USS", "SS", "MS", "MV", "RMS", "HMAS", "HMCS", "HMNZS", "USCGC", "USNS", "SMS", "INS", "RV", "HSC")
IDENTIFIERS = ("ISBN", "ISSN", "OCLC", "PMID", "DOI", "ASIN", "LCCN", "arXiv", "JSTOR")

FRACTION = re.compile(r"\d+/\d+")
"""Matches names of templates such as `1/2`."""

NOTHING_SHOWN = frozenset(("coord", *(name for name, text in FIXED_TEXT.items() if not text.strip())))
"""Templates whose parameters may contain digits that no reader sees, such as keys for sorting."""


def template_text(name: str, unnamed: Unnamed, named: Named) -> str | None:
    """Return the text that a template displays inside a sentence; `name` is in lowercase.

    Return None if the template is unknown, or if its text is empty although its parameters contain a number.
    """
    text = _text(name, unnamed, named)
    if text is not None and not text.strip() and name not in NOTHING_SHOWN and any(map(HAS_DIGIT.search, unnamed)):
        return None
    return text


def _text(name: str, unnamed: Unnamed, named: Named) -> str | None:
    if name in FIXED_TEXT:
        return FIXED_TEXT[name]
    if name in TEXT_FUNCTIONS:
        return TEXT_FUNCTIONS[name](unnamed, named)
    if name.startswith("lang-"):
        return _first(unnamed, named)
    return name if FRACTION.fullmatch(name) else None


UNKNOWN_SHOWN = 4, 40
"""The largest number of parameters of an unknown template that are displayed, and the largest length of each."""

OTHER_THAN_PARAMETERS = re.compile(
    r"^(?:cite|citation|ref|note|foot|sfn|harv|infobox|navbox|taxobox|geobox|sidebar|toc|col|div|portal|commons|wiki"
    r"|image|gallery|chart|graph|map|location|main|see|further|flag|icon|use |pp-|ipa|respell|pron|literatur|internet)"
    r"|\b(?:inline|icon|box|needed|verif\w*|update|after|stub|nav|clade|tree|clarify|quote|timeline|diagram|image|map"
    r"|inflation|populations?|bevölkerung|población|einwohner\w*|age|alter|edad|ago|wikidata|currency|exchange|time|now"
    r"|sort|sortkey|anchor|hidden)\b"
)
"""Names of templates that display a note, a box or a picture, or a text that they compute from other pages."""

SEPARATE = re.compile(r"://|[\n|{}\[\]]|\bQ\d+|\bP\d+")
"""Parts of parameters that are not displayed as words: addresses, markup, lines, and numbers of Wikidata."""


def parameters_text(name: str, unnamed: Unnamed) -> str | None:
    """Return the parameters of an unknown template if a reader probably sees them, or else None.

    A template such as `{{MLB year|1990}}` usually displays its parameters, together with a link or a sign. Only short
    parameters that contain a number are displayed, because templates without a number are mostly marks and boxes.
    """
    most, longest = UNKNOWN_SHOWN
    shown = [value for value in unnamed if value]
    if len(shown) > most or not any(map(HAS_DIGIT.search, shown)) or OTHER_THAN_PARAMETERS.search(name):
        return None
    if any(len(value) > longest or SEPARATE.search(value) for value in shown):
        return None
    return " ".join(shown)


HAS_DIGIT = re.compile(r"[\d½¼¾⅐-⅞]")


def _first(unnamed: Unnamed, named: Named) -> str:
    return next(iter(unnamed), "") or named("text")


def _last(unnamed: Unnamed, _: Named) -> str:
    return next((value for value in reversed(unnamed) if value), "")


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


def _currency(unnamed: Unnamed, _: Named) -> str:
    """Return an amount with the sign of its currency: `{{currency|5|USD}}` becomes "US$5"."""
    amount, code = (*unnamed, "", "")[:2]
    sign = next((sign for sign, names in CURRENCIES.items() if code.lower() in names.split()), f"{code} ")
    return f"{sign}{amount}".strip()


def _cited(start: str, end: str) -> Callable[[Unnamed, Named], str]:
    """Return a function for short references: `{{harvnb|Smith|2010|p=3}}` becomes "Smith 2010, p. 3"."""

    def text(unnamed: Unnamed, named: Named) -> str:
        author = " ".join(part for part in (" & ".join(unnamed[:-1]), *unnamed[-1:]) if part)
        places = [f"{word} {named(key)}" for key, word in (("p", "p."), ("pp", "pp.")) if named(key)]
        return start + ", ".join([author, *places]) + end

    return text


def _century(unnamed: Unnamed, _: Named) -> str:
    """Return a Spanish century: `{{siglo|XIX||s}}` becomes "siglo XIX"."""
    return f"siglo {unnamed[0].upper()}" if unnamed else "siglo"


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
    **dict.fromkeys(
        ("interlanguage link", "visible anchor", "linktext", "format price", "number table sorting"), _first
    ),
    **dict.fromkeys(("columns-list", "font color", "fontcolor", "text color"), _last),
    **dict.fromkeys(SHOW_LAST.split(), _last),
    **dict.fromkeys(("circa", "c.", "ca."), _circa),
    **dict.fromkeys(("bibleref", "bibleverse"), _first_two),
    **{prefix.lower(): _ship(prefix) for prefix in SHIPS},
    "ship": _named_ship,
    "music": _musical_sign,
    **dict.fromkeys(("quote", "blockquote", "quotation", "cquote", "quote box", "bquote", "poemquote"), _quote),
    **dict.fromkeys(("nihongo", "nihongo3"), _nihongo),
    **{name: _amount(sign) for sign, names in CURRENCIES.items() for name in names.split()},
    "indian rupee": _amount("₹"),
    "currency": _currency,
    "harvnb": _cited("", ""),
    "harv": _cited("(", ")"),
    "siglo": _century,
    "höhe": lambda unnamed, _: f"{unnamed[0]} m" if unnamed else "",
    "§": lambda unnamed, _: f"§ {unnamed[0]}" if unnamed else "§",
    **dict.fromkeys(("reign", "r."), _numbered("r.")),
    **dict.fromkeys(("floruit", "fl."), _numbered("fl.")),
    **{name.lower(): _number_of(name) for name in IDENTIFIERS},
    **{name: _numbered(name) for name in ("vol.", "p.", "pp.")},
    **dict.fromkeys(("numero", "no.", "number"), _numbered("No.")),
    **dict.fromkeys(("nuclide", "nuclide2", "simplenuclide"), lambda unnamed, _: "-".join(unnamed[:2])),
    "sic": _sic,
    **dict.fromkeys(("harvtxt", "harvcoltxt"), _author_and_year),
    "gaps": _list(""),
    **dict.fromkeys(("sortname", "sort name"), _first_two),
    "hlist": _list(", "),
    **dict.fromkeys(("plainlist", "flatlist", "unbulleted list", "ubl"), _list("\n")),
    **dict.fromkeys(("ordered list", "bulleted list"), _list("\n- ", "\n- ")),
    **QUANTITY_FUNCTIONS,
    **DATE_FUNCTIONS,
}
"""Maps the lowercase name of a template to the function that computes the template's text."""
