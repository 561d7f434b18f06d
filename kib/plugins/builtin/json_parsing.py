"""JSON as users write it: whatever is wrong with it is an error that names the place."""

import json
from typing import Any

from kib.errors import InputError

__all__ = ["parse_json"]


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text; `where` stands before what is wrong: bad syntax, too deep, a number too long."""
    try:
        return json.loads(text.rstrip())  # or an error at the end stands on a line that nobody wrote
    except json.JSONDecodeError as error:
        place = where if error.lineno == 1 else f"{where}, line {error.lineno}"
        raise InputError(f"{place}: not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise InputError(f"{where}: lists within lists are too deep to be read") from error
    except ValueError as error:  # Python refuses whole numbers of thousands of digits
        raise InputError(f"{where}: not readable: {error}") from error
