"""Templates that stand for words of the sentence around them; all others are boxes, notes and remarks, and go.

What a template shows is written in the wiki it belongs to. These are the ones of the English Wikipedia that carry
text; other Wikipedias share many of the names.
"""

from collections.abc import Callable, Sequence

__all__ = ["shown"]

Numbered = Sequence[str]

FIRST = (
    "abbr angbr big bold crossreference em flag flagcountry flagu gaps green highlight italic keypress kbd linktext "
    "ill ipa mvar nobold nobr noitalic nowrap red resize sc script small smallcaps smaller strong sub "
    "sup tooltip railgauge underline unicode var vanchor xt"
)
"""They show their first parameter."""

LAST = "lang rtl-lang transl transliteration wikt-lang script/arabic script/hebrew polytonic iast nihongo2"
"""They show their last unnamed parameter: the ones before it are codes."""

FIXED = {
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

UNNAMED_UNITS = ("to", "and", "or", "by", "-", "–", "x", "+/-", "±")
"""What may stand between the numbers of `convert`."""


def shown(name: str, numbered: Numbered, named: Callable[[str], str]) -> str:
    """What a template shows in running text, "" where it shows nothing that belongs there.

    `numbered` are its unnamed parameters as clean text; `named` gives a named one, "" where it is not set.
    """
    name = " ".join(name.replace("_", " ").split()).lower()
    if name in FIXED:
        return FIXED[name]
    if name in RULES:
        return RULES[name](numbered, named)
    if name.startswith("lang-"):
        return _first(numbered, named)
    value = name.removeprefix("formatnum:").strip()
    return value if value != name and _is_number(value) else ""


def _first(numbered: Numbered, named: Callable[[str], str]) -> str:
    return next(iter(numbered), "") or named("1") or named("text")


def _last(numbered: Numbered, named: Callable[[str], str]) -> str:
    return next((value for value in reversed(numbered) if value), "") or named("2") or named("1")


def _convert(numbered: Numbered, _: Callable[[str], str]) -> str:
    """`{{convert|5|to|7|km|mi}}`: the numbers and the first unit."""
    parts = []
    for value in numbered:
        parts.append("×" if value == "x" else value)
        if not _is_number(value) and value not in UNNAMED_UNITS:
            break
    return " ".join(parts)


def _is_number(value: str) -> bool:
    return bool(value) and value.strip("+-−").replace(",", "").replace(".", "", 1).replace("/", "", 1).isdigit()


def _circa(numbered: Numbered, _: Callable[[str], str]) -> str:
    return " – ".join(f"c. {value}" for value in numbered if value) or "c."


def _as_of(numbered: Numbered, named: Callable[[str], str]) -> str:
    """`{{As of|2016|4}}`: the year; months are numbers or names, which nobody needs to guess."""
    if named("alt"):
        return named("alt")
    word = "as of" if named("lc") else "As of"
    return f"{word} {numbered[0]}" if numbered else ""


def _fraction(numbered: Numbered, _: Callable[[str], str]) -> str:
    if len(numbered) == 1:
        return f"1/{numbered[0]}"
    return f"{numbered[0]} {numbered[1]}/{numbered[2]}" if len(numbered) == 3 else "/".join(numbered)


def _joined(numbered: Numbered, _: Callable[[str], str]) -> str:
    return "".join(numbered)


def _value(numbered: Numbered, named: Callable[[str], str]) -> str:
    """`{{val|6.02|e=23|u=mol}}`."""
    if not numbered:
        return ""
    error = f" ± {numbered[1]}" if len(numbered) > 1 else ""
    power = f" × 10^{named('e')}" if named("e") else ""
    unit = f" {named('u') or named('ul')}" if named("u") or named("ul") else ""
    return f"{numbered[0]}{error}{power}{unit}"


def _quote(numbered: Numbered, named: Callable[[str], str]) -> str:
    text = _first(numbered, named) or named("quote")
    return f"\n{text}\n" if text else ""


def _nihongo(numbered: Numbered, named: Callable[[str], str]) -> str:
    """`{{nihongo|English|日本|Nihon}}`."""
    foreign = ", ".join(value for value in numbered[1:3] if value)
    return f"{_first(numbered, named)} ({foreign})" if foreign else _first(numbered, named)


def _dates(numbered: Numbered, _: Callable[[str], str]) -> str:
    return "-".join(value for value in numbered[:3] if value)


def _money(sign: str) -> Callable[[Numbered, Callable[[str], str]], str]:
    return lambda numbered, named: f"{sign}{_first(numbered, named)}"


def _power(numbered: Numbered, _: Callable[[str], str]) -> str:
    return f" × 10^{numbered[0]}" if numbered else ""


def _spaced(numbered: Numbered, _: Callable[[str], str]) -> str:
    return " ".join(value for value in numbered[:2] if value)


def _note(numbered: Numbered, _: Callable[[str], str]) -> str:
    """`{{music|flat}}`."""
    return {"flat": "♭", "sharp": "♯", "natural": "♮"}.get(next(iter(numbered), ""), "")


def _ship(numbered: Numbered, _: Callable[[str], str]) -> str:
    return f"HMS {numbered[0]}" if numbered else ""


def _reign(numbered: Numbered, _: Callable[[str], str]) -> str:
    return f"r. {'–'.join(value for value in numbered if value)}" if numbered else ""


RULES: dict[str, Callable[[Numbered, Callable[[str], str]], str]] = {
    **dict.fromkeys(FIRST.split(), _first),
    **dict.fromkeys(("interlanguage link", "visible anchor", "linktext"), _first),
    **dict.fromkeys(LAST.split(), _last),
    **dict.fromkeys(("convert", "cvt"), _convert),
    **dict.fromkeys(("circa", "c.", "ca."), _circa),
    **dict.fromkeys(("as of", "asof"), _as_of),
    **dict.fromkeys(("frac", "fraction", "sfrac", "tfrac"), _fraction),
    **dict.fromkeys(("chem", "chem2"), _joined),
    **dict.fromkeys(("oldstyledate", "bibleref", "bibleverse"), _spaced),
    "e": _power,
    "hms": _ship,
    "music": _note,
    **dict.fromkeys(("val", "num"), _value),
    **dict.fromkeys(("quote", "blockquote", "quotation", "cquote", "quote box", "bquote", "poemquote"), _quote),
    **dict.fromkeys(("nihongo", "nihongo3"), _nihongo),
    **dict.fromkeys(("dts", "date", "start date", "end date", "birth date", "death date"), _dates),
    **dict.fromkeys(("us$", "usd"), _money("US$")),
    **dict.fromkeys(("gbp", "£"), _money("£")),
    **dict.fromkeys(("eur", "€", "euro"), _money("€")),
    **dict.fromkeys(("a$", "aud"), _money("A$")),
    **dict.fromkeys(("reign", "r."), _reign),
}
"""What a template of this name shows, from its unnamed parameters and a way to its named ones."""
