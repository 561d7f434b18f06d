"""Convert templates that produce words in a sentence, and replace all other templates with an empty string.

Each wiki defines its own templates. This module supports the English Wikipedia templates that produce text inside a
sentence. Many other Wikipedias use the same template names.
"""

from collections.abc import Callable, Sequence

__all__ = ["template_text"]

Unnamed = Sequence[str]
"""The values of a template's unnamed parameters, as plain text."""

Named = Callable[[str], str]
"""Returns the value of a named parameter as plain text, or "" if the template call does not set the parameter."""

SHOW_FIRST = (
    "abbr angbr big bold crossreference em flag flagcountry flagu gaps green highlight italic keypress kbd linktext "
    "ill ipa mvar nobold nobr noitalic nowrap red resize sc script small smallcaps smaller strong sub "
    "sup tooltip railgauge underline unicode var vanchor xt"
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
    "carbon": "C",
    "hydrogen": "H",
    "nitrogen": "N",
    "oxygen": "O",
}
"""Templates that always display the same text."""

CONVERT_WORDS = ("to", "and", "or", "by", "-", "–", "x", "+/-", "±")
"""Words and signs that may separate the numbers in the template `convert`."""


def template_text(name: str, unnamed: Unnamed, named: Named) -> str:
    """Return the text that a template displays inside a sentence, or "" if the template is unknown or has no text."""
    name = " ".join(name.replace("_", " ").split()).lower()
    if name in FIXED_TEXT:
        return FIXED_TEXT[name]
    if name in TEXT_FUNCTIONS:
        return TEXT_FUNCTIONS[name](unnamed, named)
    if name.startswith("lang-"):
        return _first(unnamed, named)
    value = name.removeprefix("formatnum:").strip()
    return value if value != name and _is_number(value) else ""


def _first(unnamed: Unnamed, named: Named) -> str:
    return next(iter(unnamed), "") or named("1") or named("text")


def _last(unnamed: Unnamed, named: Named) -> str:
    return next((value for value in reversed(unnamed) if value), "") or named("2") or named("1")


def _convert(unnamed: Unnamed, _: Named) -> str:
    """Return the numbers and the first unit: `{{convert|5|to|7|km|mi}}` becomes "5 to 7 km"."""
    parts = []
    for value in unnamed:
        parts.append("×" if value == "x" else value)
        if not _is_number(value) and value not in CONVERT_WORDS:
            break
    return " ".join(parts)


def _is_number(value: str) -> bool:
    return bool(value) and value.strip("+-−").replace(",", "").replace(".", "", 1).replace("/", "", 1).isdigit()


def _circa(unnamed: Unnamed, _: Named) -> str:
    return " – ".join(f"c. {value}" for value in unnamed if value) or "c."


def _as_of(unnamed: Unnamed, named: Named) -> str:
    """Return only the year, because a month may be a number or a name: `{{As of|2016|4}}` becomes "As of 2016"."""
    if named("alt"):
        return named("alt")
    word = "as of" if named("lc") else "As of"
    return f"{word} {unnamed[0]}" if unnamed else ""


def _fraction(unnamed: Unnamed, _: Named) -> str:
    if len(unnamed) == 1:
        return f"1/{unnamed[0]}"
    return f"{unnamed[0]} {unnamed[1]}/{unnamed[2]}" if len(unnamed) == 3 else "/".join(unnamed)


def _concatenated(unnamed: Unnamed, _: Named) -> str:
    return "".join(unnamed)


def _quantity(unnamed: Unnamed, named: Named) -> str:
    """Return a number with its error, power of ten and unit: `{{val|6.02|e=23|u=mol}}` becomes "6.02 × 10^23 mol"."""
    if not unnamed:
        return ""
    error = f" ± {unnamed[1]}" if len(unnamed) > 1 else ""
    power = f" × 10^{named('e')}" if named("e") else ""
    unit = f" {named('u') or named('ul')}" if named("u") or named("ul") else ""
    return f"{unnamed[0]}{error}{power}{unit}"


def _quote(unnamed: Unnamed, named: Named) -> str:
    text = _first(unnamed, named) or named("quote")
    return f"\n{text}\n" if text else ""


def _nihongo(unnamed: Unnamed, named: Named) -> str:
    """Return a term and its Japanese forms: `{{nihongo|Japan|日本|Nihon}}` becomes "Japan (日本, Nihon)"."""
    foreign = ", ".join(value for value in unnamed[1:3] if value)
    return f"{_first(unnamed, named)} ({foreign})" if foreign else _first(unnamed, named)


def _date(unnamed: Unnamed, _: Named) -> str:
    return "-".join(value for value in unnamed[:3] if value)


def _amount(sign: str) -> Callable[[Unnamed, Named], str]:
    return lambda unnamed, named: f"{sign}{_first(unnamed, named)}"


def _power_of_ten(unnamed: Unnamed, _: Named) -> str:
    return f" × 10^{unnamed[0]}" if unnamed else ""


def _first_two(unnamed: Unnamed, _: Named) -> str:
    return " ".join(value for value in unnamed[:2] if value)


def _musical_sign(unnamed: Unnamed, _: Named) -> str:
    """Return a musical symbol: `{{music|flat}}` becomes "♭"."""
    return {"flat": "♭", "sharp": "♯", "natural": "♮"}.get(next(iter(unnamed), ""), "")


def _ship(unnamed: Unnamed, _: Named) -> str:
    return f"HMS {unnamed[0]}" if unnamed else ""


def _reign(unnamed: Unnamed, _: Named) -> str:
    return f"r. {'–'.join(value for value in unnamed if value)}" if unnamed else ""


TEXT_FUNCTIONS: dict[str, Callable[[Unnamed, Named], str]] = {
    **dict.fromkeys(SHOW_FIRST.split(), _first),
    **dict.fromkeys(("interlanguage link", "visible anchor", "linktext"), _first),
    **dict.fromkeys(SHOW_LAST.split(), _last),
    **dict.fromkeys(("convert", "cvt"), _convert),
    **dict.fromkeys(("circa", "c.", "ca."), _circa),
    **dict.fromkeys(("as of", "asof"), _as_of),
    **dict.fromkeys(("frac", "fraction", "sfrac", "tfrac"), _fraction),
    **dict.fromkeys(("chem", "chem2"), _concatenated),
    **dict.fromkeys(("oldstyledate", "bibleref", "bibleverse"), _first_two),
    "e": _power_of_ten,
    "hms": _ship,
    "music": _musical_sign,
    **dict.fromkeys(("val", "num"), _quantity),
    **dict.fromkeys(("quote", "blockquote", "quotation", "cquote", "quote box", "bquote", "poemquote"), _quote),
    **dict.fromkeys(("nihongo", "nihongo3"), _nihongo),
    **dict.fromkeys(("dts", "date", "start date", "end date", "birth date", "death date"), _date),
    **dict.fromkeys(("us$", "usd"), _amount("US$")),
    **dict.fromkeys(("gbp", "£"), _amount("£")),
    **dict.fromkeys(("eur", "€", "euro"), _amount("€")),
    **dict.fromkeys(("a$", "aud"), _amount("A$")),
    **dict.fromkeys(("reign", "r."), _reign),
}
"""Maps the lowercase name of a template to the function that computes the template's text."""
