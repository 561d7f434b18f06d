"""Compute the parser functions of MediaWiki that display words or numbers, such as `#if`, `#expr` and `formatnum`."""

import ast
import operator
import re
from collections.abc import Callable, Sequence

__all__ = ["function_name", "function_text"]

Arguments = Sequence[str]
"""The arguments of a parser function as plain text; the first argument follows the colon."""

OTHER_FUNCTIONS = frozenset(
    (
        *("anchorencode", "canonicalurl", "defaultsort", "displaytitle", "filepath", "fullurl", "gender", "grammar"),
        *("int", "localurl", "msg", "msgnw", "ns", "nse", "plural", "raw", "safesubst", "subst", "urlencode"),
    )
)
"""Parser functions without "#" that are counted by name, because their text depends on the wiki."""

OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
ARITHMETIC = re.compile(r"[\d.+*/%() -]{1,100}")
ROUNDED = re.compile(r"(.+)\bround *(-?\d{1,2})")
WORDS = {"−": "-", "–": "-", "^": "**", "div": "/", "mod": "%", "&nbsp;": " "}


def function_name(name: str) -> str | None:
    """Return the lowercase name of a parser function, such as `#if` for `#if: x`, or None for a template's name."""
    function, colon, _ = name.partition(":")
    function = function.strip().lower()
    if function == "#tag":  # its first argument is the name of a tag
        return name.strip().lower()
    known = function in FUNCTIONS or function in OTHER_FUNCTIONS
    return function if function.startswith("#") or (colon and known) else None


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
    """Return the value of an arithmetic expression: `{{#expr: 7 / 3 round 2}}` becomes "2.33"."""
    source = arguments[0].lower()
    for word, sign in WORDS.items():
        source = source.replace(word, sign)
    rounded = ROUNDED.fullmatch(source.strip())
    value = _value(rounded[1] if rounded else source)
    if value is None:
        return None
    return f"{round(value, int(rounded[2])) if rounded else value:.14g}"


def _value(source: str) -> float | None:
    source = re.sub(r"(?<![\d.])0+(?=\d)", "", " ".join(source.split()))  # Python rejects numbers such as 007
    if not ARITHMETIC.fullmatch(source):
        return None
    try:
        value = _computed(ast.parse(source, mode="eval").body)
    except (SyntaxError, ArithmeticError, TypeError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, float) else None


def _computed(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_computed(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _computed(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATORS:
            return OPERATORS[type(sign)](_computed(left), _computed(right))
    raise SyntaxError("expected an arithmetic expression")


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
