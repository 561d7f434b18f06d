"""Convert templates that display quantities, such as `convert`, `val`, `frac` and `height`, without losing a number."""

import re
from collections.abc import Callable, Mapping, Sequence

from kib.support.raised_text import subscript, superscript
from kib_wikipedia.expressions import rounded

__all__ = ["QUANTITY_FUNCTIONS"]

Unnamed = Sequence[str]
Named = Callable[[str], str]

NUMBER = re.compile(r"[~<>≈]?[ \t]*[+−–-]?[.,]?[\d¼-¾⅐-⅞]")
"""Matches the start of a number; the code of a unit never starts with a digit."""

RANGE_SIGNS = {"x": "×", "xx": "×", "*": "×", "×": "×", "+/-": "±", "±": "±", "+": "+", "/": "/", "&": "&"}
RANGE_SIGNS |= {word: word for word in ("to", "and", "or", "by", "to about", "and about", "or about", "up to", "vs")}
JOINED_SIGNS = {"-": "–", "–": "–", ",": ", ", ", and": ", and ", ", or": ", or "}
"""The words and signs between two numbers of `convert`, displayed between spaces or, in JOINED_SIGNS, unchanged."""

VARIANT = re.compile(r"(?<=\w)(?:-|\([-x]\))$")
"""The end of a range word that changes only how the quantity is displayed, as in `to-`, `and(-)` and `by(x)`."""

UNITS = {
    "C": "°C",
    "F": "°F",
    "C-change": "°C",
    "F-change": "°F",
    "sqmi": "sq mi",
    "sqft": "sq ft",
    "sqyd": "sq yd",
    "cuft": "cu ft",
    "cuyd": "cu yd",
}
POWER_OF_TEN = re.compile(r"e(\d+)(?=[A-Za-z])")
LARGE_NUMBERS = {"3": "thousand ", "6": "million ", "9": "billion ", "12": "trillion "}
UNITS_OF_VAL = {
    "degC": "°C",
    "degF": "°F",
    "deg": "°",
    "arcmin": "′",
    "arcsec": "″",
    "angstrom": "Å",
    "ohm": "Ω",
    "Ohm": "Ω",
    "um": "µm",
    "us": "µs",
    "ug": "µg",
}
JOINED_UNITS = frozenset("°′″%")
"""The units of `val`, in which `C` is the coulomb, and the units that follow their number without a space."""

AREA = re.compile(r"(?<=[a-zµ])[23]$")
"""The exponent in the code of a unit, such as `km2`."""

ANGLE_SIGNS = "°′″"
HOUR_SIGNS = "hms"
DIRECTIONS = frozenset("NSEW")

CHARGE = re.compile(r"\(?(\d*[+−-])\)?")
COUNT = re.compile(r"(?<=[A-Za-z)\]])\d+")
FORMULA_CHARGE = re.compile(r"\((\d*[+−-])\)|(?<=\w)([+−-])(?=$|[ \])])")
"""The charge of an ion, the number of atoms in a formula of `chem2`, and a charge in such a formula."""

RUPEES = {
    "k": "thousand",
    "l": "lakh",
    "m": "million",
    "c": "crore",
    "b": "billion",
    "t": "trillion",
    "lc": "lakh crore",
}


def _convert(unnamed: Unnamed, named: Named) -> str:
    """Return the quantity that is converted: `{{convert|6|ft|2|in|m}}` becomes "6 ft 2 in".

    Up to the first unit, numbers alternate with range words. A number after a unit belongs to the same quantity if a
    second unit follows; otherwise, the number is the precision of the conversion.
    """
    values = [value for value in unnamed if value]
    if named("disp") in ("unit", "unit2"):
        return _unit(next(iter(values[2 if named("disp") == "unit2" else 1 :]), ""))
    words = values.pop() if named("adj") in ("pre", "mid") and len(values) > 2 else ""
    before, after = (words, "") if named("adj") == "pre" else ("", words)
    text = joint = ""
    while values and _is_number(values[0]):
        numbers = _take_numbers(values)
        if joint == " " and not values:
            break
        unit = _unit(values.pop(0)) if values else ""
        quantity = " ".join(part for part in (numbers, before, unit) if part)
        text += joint + quantity + (f" {after}" if after and not after.startswith("-") else after)
        before = after = ""
        joint = _take_separator(values) or " "
    return text or next(iter(unnamed), "")


def _is_number(value: str) -> bool:
    return NUMBER.match(value) is not None


def _take_numbers(values: list[str]) -> str:
    """Remove the numbers and range words at the start of a list, and return them as displayed."""
    text = _number(values.pop(0))
    while sign := _take_separator(values):
        text += sign + _number(values.pop(0))
    return text


def _take_separator(values: list[str]) -> str | None:
    """Remove the range word at the start of a list if a number follows, and return the range word as displayed."""
    if len(values) < 2 or not _is_number(values[1]):
        return None
    word = VARIANT.sub("", values[0].strip())
    sign = RANGE_SIGNS.get(word)
    shown = JOINED_SIGNS.get(word) if sign is None else f" {sign} "
    if shown:
        del values[0]
    return shown


def _number(value: str) -> str:
    """Return a number with its fraction as displayed: `1+1/2` becomes "1 1/2"."""
    return re.sub(r"(?<=\d)\+(?=\d+/)", " ", value.replace("//", "/"))


def _unit(code: str) -> str:
    """Return the symbol of a unit: `km2` becomes "km²", and `e6sqmi` becomes "million sq mi"."""
    code = POWER_OF_TEN.sub(lambda match: LARGE_NUMBERS.get(match[1], f"× 10^{match[1]} "), code, count=1)
    large, _, symbol = code.rpartition(" ")
    symbol = AREA.sub(lambda match: superscript(match[0]), UNITS.get(symbol, symbol))
    return f"{large} {symbol}" if large else symbol


def _units_by_name(units: Mapping[str, str]) -> Callable[[Unnamed, Named], str]:
    """Return a function for templates with one named parameter per unit: `{{height|ft=6|in=2}}` becomes "6 ft 2 in"."""

    def text(unnamed: Unnamed, named: Named) -> str:
        found = [f"{_number(value)} {symbol}" for unit, symbol in units.items() if (value := named(unit))]
        return " ".join(found or unnamed[:1])

    return text


SUM = re.compile(r"\S ?[+−-]|\S ")
"""Matches a part of a fraction that needs brackets, as in `{{sfrac|a + b|2}}`."""


def _fraction(unnamed: Unnamed, _: Named) -> str:
    if len(unnamed) == 1:
        return unnamed[0] if "/" in unnamed[0] else f"1/{unnamed[0]}"
    parts = [f"({part})" if SUM.search(part) else part for part in unnamed]
    return f"{parts[0]} {parts[1]}/{parts[2]}" if len(parts) == 3 else "/".join(parts)


def _quantity(unnamed: Unnamed, named: Named) -> str:
    """Return a number with its error, power of ten and unit: `{{val|6.02|e=23|u=mol}}` becomes "6.02 × 10^23 mol"."""
    errors = list(unnamed)
    number = _take_numbers(errors) if errors else ""
    power = named("e")
    times = (f" × 10^{power}" if number else f"10^{power}") if power else ""
    unit, per = (_unit_of_val(named(key) or named(f"{key}l")) for key in ("u", "up"))
    units = f"{unit}/{per}" if per else unit
    if units and units not in JOINED_UNITS:
        units = f" {units}"
    return f"{named('p')}{number}{_errors(errors)}{times}{units}{named('s')}"


def _unit_of_val(code: str) -> str:
    """Return the symbol of a unit or of a quotient of units: `m/s2` becomes "m/s²"."""
    symbols = (UNITS_OF_VAL.get(part, part) for part in code.split("/"))
    return "/".join(AREA.sub(lambda match: superscript(match[0]), symbol) for symbol in symbols)


def _errors(values: Sequence[str]) -> str:
    """Return the error of a number, or its upper and lower error, as displayed."""
    if len(values) < 2:
        return "".join(value if value.startswith("(") else f" ± {value}" for value in values)
    return "".join(f" {sign}{value.lstrip('+-−')}" for sign, value in zip("+−", values, strict=False))


def _power_of_ten(unnamed: Unnamed, _: Named) -> str:
    return f" × 10^{unnamed[0]}" if unnamed else ""


def _power(unnamed: Unnamed, _: Named) -> str:
    """Return a power of e, or of the second parameter: `{{exp|5}}` becomes "e⁵"."""
    return f"{(*unnamed, '', '')[1] or 'e'}{superscript(unnamed[0])}" if unnamed else "e"


def _raised(unnamed: Unnamed, _: Named) -> str:
    return "".join(map(superscript, unnamed[:1]))


def _lowered(unnamed: Unnamed, _: Named) -> str:
    return "".join(map(subscript, unnamed[:1]))


def _atoms(symbol: str) -> Callable[[Unnamed, Named], str]:
    """Return a function for templates of an element: `{{hydrogen|2}}` becomes "H₂"."""
    return lambda unnamed, _: symbol + "".join(map(subscript, unnamed[:1]))


def _chemical(unnamed: Unnamed, _: Named) -> str:
    """Return a formula of parts: `{{chem|S|O|4|2-}}` becomes "SO₄²⁻"."""
    return "".join(_part(part, first=not index) for index, part in enumerate(unnamed))


def _part(part: str, *, first: bool) -> str:
    if charge := CHARGE.fullmatch(part):
        return superscript(charge[1])
    return subscript(part) if part.isdigit() and not first else part


def _formula(unnamed: Unnamed, _: Named) -> str:
    """Return a formula in one parameter: `{{chem2|SO4(2-)}}` becomes "SO₄²⁻"."""
    charged = FORMULA_CHARGE.sub(lambda match: superscript(match[1] or match[2]), "".join(unnamed))
    return COUNT.sub(lambda match: subscript(match[0]), charged)


def _ordinal(unnamed: Unnamed, _: Named) -> str:
    """Return an ordinal number: `{{ordinal|21}}` becomes "21st"."""
    number = next(iter(unnamed), "")
    if not number[-1:].isdigit():
        return number
    ending = "th" if number[-2:-1] == "1" else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
    return number + ending


def _percentage(unnamed: Unnamed, named: Named) -> str:
    """Return a share in percent: `{{percentage|1|3|1}}` becomes "33.3%"."""
    part, whole, digits = (*unnamed, "", "", "")[:3]
    share = _quotient(part, whole)
    if share is None:
        return f"{part} / {whole}" if whole else part
    return f"{100 * share:.{_digits(digits)}f}{named('%') or '%'}"


def _rounded(unnamed: Unnamed, _: Named) -> str:
    """Return a rounded number: `{{rnd|3.14159|2}}` becomes "3.14"."""
    number, digits = (*unnamed, "", "")[:2]
    if not re.fullmatch(r"[+-]?\d[\d,]*(?:\.\d+)?", number.replace("−", "-")) or not re.fullmatch(r"-?\d?", digits):
        return number
    places = int(digits or 0)
    value = rounded(float(number.replace("−", "-").replace(",", "")), places)
    return f"{value:,.{max(0, places)}f}".replace("-", "−")


def _rupees(unnamed: Unnamed, _: Named) -> str:
    """Return an amount in Indian rupees: `{{INRConvert|5|c}}` becomes "₹5 crore"."""
    amount, size = (*unnamed, "", "")[:2]
    return f"₹{amount} {RUPEES.get(size, '')}".strip()


def _sky(signs: str) -> Callable[[Unnamed, Named], str]:
    """Return a function for coordinates of the sky: `{{RA|12|34|56}}` becomes "12h 34m 56s"."""
    return lambda unnamed, _: " ".join(value + sign for value, sign in zip(unnamed, signs, strict=False) if value)


def _raised_and_lowered(unnamed: Unnamed, named: Named) -> str:
    """Return the text of `su`, which displays one text above another: `{{su|p=+1|b=-2}}` becomes " +1 -2"."""
    shown = [*unnamed[:2], named("p"), named("b")]
    return "".join(f" {value}" for value in shown if value)


def _root(unnamed: Unnamed, _: Named) -> str:
    """Return a root: `{{sqrt|2}}` becomes "√2"."""
    return f"{superscript(unnamed[1]) if len(unnamed) > 1 else ''}√{unnamed[0]}" if unnamed else "√"


def _duration(unnamed: Unnamed, named: Named) -> str:
    """Return hours, minutes and seconds: `{{duration|m=3|s=20}}` becomes "3:20"."""
    parts = [named(key) for key in ("h", "m", "s")] if not any(unnamed) else list(unnamed[:3])
    while parts and not parts[0]:
        del parts[0]
    return ":".join([*parts[:1], *(part.zfill(2) for part in parts[1:])])


def _suffixed(suffix: str) -> Callable[[Unnamed, Named], str]:
    """Return a function for templates that display a number or a range with fixed words: `{{mya|66}}`."""
    return lambda unnamed, _: f"{'–'.join(unnamed[:2])}{suffix}" if unnamed else ""


def _density(unnamed: Unnamed, named: Named) -> str:
    """Return people per area: `{{pop density|3645257|640081.87|km2|prec=1}}` becomes "5.7/km²"."""
    people, area, unit = (*unnamed, "", "", "")[:3]
    density = _quotient(people, area)
    return "" if density is None else f"{density:,.{_digits(named('prec'))}f}/{_unit(unit)}"


def _quotient(one: str, other: str) -> float | None:
    try:
        return float(one.replace(",", "")) / float(other.replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None


def _digits(value: str) -> int:
    """Return a number of decimal places, at most 9; an unreadable value counts as 0."""
    return min(int(value), 9) if re.fullmatch(r"\d{1,3}", value) else 0


def _teeth(_: Unnamed, named: Named) -> str:
    return " / ".join(teeth for teeth in (named("upper"), named("lower")) if teeth)


def _of(unnamed: Unnamed, _: Named) -> str:
    """Return a rating: `{{rating|3|5}}` becomes "3/5"."""
    return "/".join(unnamed[:2])


def _coordinates(unnamed: Unnamed, named: Named) -> str:
    """Return coordinates in a sentence: `{{coord|51|30|N|0|7|W}}` becomes "51°30′N 0°7′W"."""
    if named("display") not in ("", "inline", "inline,title", "title,inline", "it", "ti"):
        return ""  # displayed beside the title only
    values = [
        value for value in unnamed if value and ":" not in value
    ]  # parameters such as type:city are not displayed
    if not DIRECTIONS.intersection(values):
        return ", ".join(values)
    text, signs = "", iter(ANGLE_SIGNS)
    for value in values:
        is_direction = value in DIRECTIONS
        text += f"{value} " if is_direction else f"{value}{next(signs, '')}"
        signs = iter(ANGLE_SIGNS) if is_direction else signs
    return text.strip()


QUANTITY_FUNCTIONS: dict[str, Callable[[Unnamed, Named], str]] = {
    **dict.fromkeys(("convert", "cvt", "convinfobox", "convertir", "unidad", "unité"), _convert),
    **dict.fromkeys(
        ("frac", "fraction", "sfrac", "tfrac", "cfrac", "dfrac", "nfrac", "xfrac", "bruch", "fracción"), _fraction
    ),
    **dict.fromkeys(("val", "num"), _quantity),
    "height": _units_by_name({"m": "m", "cm": "cm", "ft": "ft", "in": "in"}),
    "weight": _units_by_name({"kg": "kg", "st": "st", "lb": "lb"}),
    **dict.fromkeys(("hand", "hands", "hh"), _suffixed(" hands")),
    **dict.fromkeys(("sup", "esp", "smallsup"), _raised),
    **dict.fromkeys(("sub", "smallsub"), _lowered),
    "chem": _chemical,
    "chem2": _formula,
    **{name: _atoms(name[0].upper()) for name in ("carbon", "hydrogen", "nitrogen", "oxygen", "sulfur", "phosphorus")},
    "ordinal": _ordinal,
    **dict.fromkeys(("percentage", "percent", "pct"), _percentage),
    **dict.fromkeys(("rnd", "round"), _rounded),
    "ratio": lambda unnamed, _: ":".join(unnamed),
    "inrconvert": _rupees,
    "ra": _sky(HOUR_SIGNS),
    "dec": _sky(ANGLE_SIGNS),
    "exp": _power,
    "su": _raised_and_lowered,
    **dict.fromkeys(("sqrt", "radic"), _root),
    **dict.fromkeys(("e", "x10^", "×10^"), _power_of_ten),
    "10^": lambda unnamed, _: f"10^{unnamed[0]}" if unnamed else "",
    "duration": _duration,
    **dict.fromkeys(("mya", "ma"), _suffixed(" million years ago")),
    **dict.fromkeys(("deg", "degree"), _suffixed("°")),
    "rating": _of,
    "pop density": _density,
    "dentalformula": _teeth,
    "coord": _coordinates,
}
"""Maps the lowercase name of a template to the function that computes the template's text."""
