"""Parses JSON written by users. An object with a repeated key raises an error instead of losing one of the values."""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from kib.errors import InputError

__all__ = ["RepeatedKeyError", "parse_json", "unique_keys"]

TOKEN = re.compile(r'(?P<key>"(?:[^"\\]|\\.)*")\s*:|"(?:[^"\\]|\\.)*"|[{}]')
"""The parts of a JSON text that locate a key: keys, other strings, and the ends of objects."""


class RepeatedKeyError(ValueError):
    """Raised for a JSON object that contains a key twice."""


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object from its keys and values; use this function as the `object_pairs_hook` of a JSON parser.

    Raises RepeatedKeyError if a key appears twice.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for number, key in enumerate(keys) if key in keys[:number])
        raise RepeatedKeyError(f"the key {json.dumps(repeated, ensure_ascii=False)} appears twice in one object")
    return value


DECODER = json.JSONDecoder(object_pairs_hook=unique_keys)  # creating a decoder for every line would take twice as long


def parse_json(text: str, where: str, *, whole_file: bool = False) -> Any:
    """Parse a JSON text at the position `where`, which is the path of the file if the text is the `whole_file`.

    Raises InputError with the position for invalid JSON, a repeated key, deep nesting or a huge number.
    """

    def invalid(line: int, problem: str) -> InputError:
        place = f"{where}:{line}" if whole_file else where if line == 1 else f"{where}, line {line}"
        return InputError(f"{place}: {problem}")

    try:
        return DECODER.decode(
            text.rstrip()
        )  # otherwise, an error at the end would be reported on a line after the text
    except json.JSONDecodeError as error:
        raise invalid(error.lineno, f"invalid JSON: {error.msg} at column {error.colno}") from error
    except RepeatedKeyError as error:
        raise invalid(_line_of_repeated_key(text), f"{error}; keep only one of the two values") from error
    except RecursionError as error:
        raise invalid(1, "lists and objects are nested too deeply") from error
    except ValueError as error:  # Python's limit on the digits of an integer is the only other reason
        most = sys.get_int_max_str_digits()
        raise invalid(1, f"expected integers with at most {most:,} digits, got a longer integer") from error


def _line_of_repeated_key(text: str) -> int:
    """Return the one-based line of the first key in a JSON text that appears twice in one object."""
    objects: list[set[str]] = []
    for token in TOKEN.finditer(text):
        if token["key"]:
            key = json.loads(token["key"])
            if key in objects[-1]:
                return text.count("\n", 0, token.start()) + 1
            objects[-1].add(key)
        elif token[0] == "{":
            objects.append(set())
        elif token[0] == "}":
            objects.pop()
    return 1
