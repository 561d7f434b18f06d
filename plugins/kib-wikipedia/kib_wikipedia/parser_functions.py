"""Compute the parser functions of MediaWiki that display words or numbers, such as `#if`, `#expr` and `formatnum`."""

import re
from collections.abc import Callable, Sequence

from kib_wikipedia.expressions import expression_value

__all__ = ["FIRST_ARGUMENT", "function_name", "function_text", "mark_arguments"]

Arguments = Sequence[str]
"""The arguments of a parser function as plain text; the first argument follows the colon."""

OTHER_FUNCTIONS = frozenset(
    (
        *("anchorencode", "canonicalurl", "defaultsort", "displaytitle", "filepath", "fullurl", "gender", "grammar"),
        *("int", "localurl", "msg", "msgnw", "ns", "nse", "plural", "raw", "safesubst", "subst", "urlencode"),
    )
)
"""Parser functions without "#" that are counted by name, because their text depends on the wiki."""

FIRST_ARGUMENT = "\x03|"
"""Separates the name of a parser function from its first argument; wikitext never contains the control character."""


def function_name(name: str) -> str | None:
    """Return the lowercase name of a parser function, such as `#if` for `#if: x`, or None for a template's name."""
    function, colon, _ = name.partition(":")
    function = function.strip().lower()
    if function == "#tag":  # its first argument is the name of a tag
        return name.strip().lower()
    known = function in FUNCTIONS or function in OTHER_FUNCTIONS
    return function if function.startswith("#") or (colon and known) else None


def mark_arguments(wikitext: str) -> str:
    """Return wikitext in which FIRST_ARGUMENT precedes the first argument of each parser function.

    mwparserfromhell takes a function's first argument for a part of the name of a template, and returns the whole call
    as text if this name contains `<`, a link, a tag or a line break.
    """
    return CALL.sub(lambda call: f"{call[0]}{FIRST_ARGUMENT}", wikitext.replace(FIRST_ARGUMENT[0], ""))


def function_text(function: str, arguments: Arguments) -> str | None:
    """Return the text that a parser function displays, or None if the text is unknown."""
    compute = FUNCTIONS.get(function)
    return compute(arguments) if compute else None


def _at(arguments: Arguments, index: int) -> str:
    return arguments[index] if index < len(arguments) else ""


def _if(arguments: Arguments) -> str:
    return _at(arguments, 1 if arguments[0] else 2)


def _if_equal(arguments: Arguments) -> str:
    one, other = arguments[0], _at(arguments, 1)
    try:
        same = float(one) == float(other)
    except ValueError:
        same = one == other
    return _at(arguments, 2 if same else 3)


def _if_error(arguments: Arguments) -> str:
    return _at(arguments, 2) or arguments[0]


def _switch(arguments: Arguments) -> str:
    """Return the value of the first equal case; a case without a value has the value of the next case."""
    key, *cases = arguments
    found, default = False, ""
    for number, case in enumerate(cases, 1):
        name, equals, value = (part.strip() for part in case.partition("="))
        found = found or name == key
        if equals and found:
            return value
        if equals and name == "#default":
            default = value
        elif not equals and number == len(cases):
            return name
    return default


def _expression(arguments: Arguments) -> str | None:
    """Return the value of an expression: `{{#expr: 7 / 3 round 2}}` becomes "2.33"."""
    value = expression_value(arguments[0])
    return None if value is None else f"{value + 0.0:.14g}"  # without the sign of -0


def _if_expression(arguments: Arguments) -> str | None:
    """Return the text for a true or a false expression: `{{#ifexpr: 3 > 2|big|small}}` becomes "big"."""
    value = expression_value(arguments[0]) if arguments[0] else 0
    return None if value is None else _at(arguments, 1 if value else 2)


def _first(arguments: Arguments) -> str:
    return arguments[0]


def _capital(arguments: Arguments) -> str:
    return arguments[0][:1].upper() + arguments[0][1:]


def _small_initial(arguments: Arguments) -> str:
    return arguments[0][:1].lower() + arguments[0][1:]


def _padded(adjust: Callable[[str, int, str], str]) -> Callable[[Arguments], str]:
    def text(arguments: Arguments) -> str:
        width = _at(arguments, 1)
        return adjust(arguments[0], int(width) if re.fullmatch(r"\d{1,3}", width) else 0, (_at(arguments, 2) or "0")[0])

    return text


FUNCTIONS: dict[str, Callable[[Arguments], str | None]] = {
    "#if": _if,
    "#ifeq": _if_equal,
    "#ifexpr": _if_expression,
    "#iferror": _if_error,
    "#switch": _switch,
    "#expr": _expression,
    "formatnum": _first,
    "#formatdate": _first,
    "#dateformat": _first,
    "lc": lambda arguments: arguments[0].lower(),
    "uc": lambda arguments: arguments[0].upper(),
    "ucfirst": _capital,
    "lcfirst": _small_initial,
    "padleft": _padded(str.rjust),
    "padright": _padded(str.ljust),
}
"""Maps the lowercase name of a parser function to the function that computes its text."""

WITHOUT_SIGN = "|".join(name for name in sorted(OTHER_FUNCTIONS.union(FUNCTIONS)) if not name.startswith("#"))
CALL = re.compile(rf"\{{\{{\s*(?:#(?!tag\s*:)[^\s:|<>{{}}\[\]]+|{WITHOUT_SIGN})\s*:", re.IGNORECASE)
"""Matches the name of a parser function; the first argument of `#tag` is the name of a tag, and stays unmarked."""
