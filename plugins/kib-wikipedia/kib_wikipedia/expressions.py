"""Compute the expressions of MediaWiki's functions `#expr` and `#ifexpr`, such as `7 / 3 round 2` and `3 > 2`."""

import math
import operator
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

__all__ = ["expression_value", "rounded"]

TOKEN = re.compile(r"\d+\.?\d*|\.\d+|[a-z]+|<=|>=|<>|!=|[-+*/^()<>=]")
SIGNS = {"−": "-", "–": "-", "&nbsp;": " "}

CONSTANTS = {"pi": math.pi, "e": math.e}
UNARY: dict[str, Callable[[float], float]] = {
    "not": lambda value: not value,
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "trunc": math.trunc,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "ln": math.log,
}
UNARY_RANK, SIGN_RANK = 9, 10

BINARY: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "e": (10, lambda one, other: one * math.pow(10, other)),
    "^": (8, math.pow),
    "*": (7, operator.mul),
    "/": (7, operator.truediv),
    "div": (7, operator.truediv),
    "mod": (7, lambda one, other: math.fmod(math.trunc(one), math.trunc(other))),
    "fmod": (7, math.fmod),
    "+": (6, operator.add),
    "-": (6, operator.sub),
    "round": (5, lambda value, digits: rounded(value, int(digits))),
    **{sign: (4, compare) for sign, compare in (("=", operator.eq), ("<>", operator.ne), ("!=", operator.ne))},
    **{sign: (4, compare) for sign, compare in (("<", operator.lt), (">", operator.gt))},
    **{sign: (4, compare) for sign, compare in (("<=", operator.le), (">=", operator.ge))},
    "and": (3, lambda one, other: bool(one and other)),
    "or": (2, lambda one, other: bool(one or other)),
}
"""The rank and the function of each operator; an operator of a higher rank is computed first."""


def expression_value(source: str) -> float | None:
    """Return the value of an expression, where a comparison has the value 1 or 0; None if the value is unknown."""
    source = source.lower()
    for sign, replacement in SIGNS.items():
        source = source.replace(sign, replacement)
    if TOKEN.sub("", source).strip():
        return None
    tokens = TOKEN.findall(source)[::-1]
    try:
        value = float(_computed(tokens, 0))
    except (ValueError, IndexError, ArithmeticError, RecursionError):
        return None
    return value if not tokens and math.isfinite(value) else None


def rounded(value: float, digits: int) -> float:
    """Return a number rounded to decimal places, or to a power of ten if `digits` is negative.

    Halves are rounded away from zero.

    Raises ValueError if the absolute value of `digits` is larger than 30.
    """
    if abs(digits) > 30:
        raise ValueError(f"expected at most 30 decimal places, got {digits}")
    return float(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def _computed(tokens: list[str], rank: int) -> float:
    """Remove an operand and all operators above a rank from the end of the reversed tokens, and return the value."""
    value = _operand(tokens)
    while tokens and tokens[-1] in BINARY and BINARY[tokens[-1]][0] > rank:
        above, compute = BINARY[tokens.pop()]
        value = compute(value, _computed(tokens, above))
    return value


def _operand(tokens: list[str]) -> float:
    word = tokens.pop()
    if word == "(":
        value = _computed(tokens, 0)
        if tokens.pop() != ")":
            raise ValueError("expected a closing bracket")
        return value
    if word in "+-":
        return (-1 if word == "-" else 1) * _computed(tokens, SIGN_RANK)
    if word in UNARY:
        return UNARY[word](_computed(tokens, UNARY_RANK))
    return CONSTANTS[word] if word in CONSTANTS else float(word)
