"""Parses JSON written by users, with errors that state the position of the mistake."""

import json
import sys
from typing import Any

from kib.errors import InputError

__all__ = ["parse_json"]


def parse_json(text: str, where: str) -> Any:
    """Parse a JSON text; raise InputError, prefixed with `where`, for invalid JSON, deep nesting or huge numbers."""
    try:
        return json.loads(text.rstrip())  # otherwise, an error at the end would be reported on a line after the text
    except json.JSONDecodeError as error:
        place = where if error.lineno == 1 else f"{where}, line {error.lineno}"
        raise InputError(f"{place}: not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise InputError(f"{where}: lists and objects are nested too deeply") from error
    except ValueError as error:  # Python's limit on the digits of an integer is the only other reason
        most = sys.get_int_max_str_digits()
        raise InputError(f"{where}: expected integers with at most {most:,} digits, got a longer integer") from error
