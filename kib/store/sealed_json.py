"""JSON files that contain a digest of their own content, so that damage is detected when a file is read.

The digest is stored under the key `digest`. Files written by earlier versions have no digest and are read without
verification.
"""

import json
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from kib.identity import canonical, digest
from kib.store.files import file_status
from kib.support.json_parsing import unique_keys

__all__ = ["DIGEST", "parse_json", "read_and_tell_sealed", "read_sealed", "remove_digest", "sealed"]

DIGEST = "digest"

MOST_DIGITS = 300
"""The maximum length of a whole number; a float cannot represent a number with more than 309 digits."""


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises ValueError for invalid JSON, a repeated key, and too large or infinite numbers.
    """
    try:
        return DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("invalid JSON: nested too deeply") from error


def sealed(value: Any) -> dict[str, Any]:
    """Return a mapping or record as a JSON object with the digest of its content."""
    plain: dict[str, Any] = json.loads(canonical(value))
    return {**plain, DIGEST: digest(plain)}


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, after verifying and removing its digest.

    Raises ValueError if the content is damaged or the path is not a regular file.
    """
    return read_and_tell_sealed(path)[0]


def read_and_tell_sealed(path: Path) -> tuple[dict[str, Any], bool]:
    """Return the JSON object in a file as `read_sealed` does, and whether the file contains a digest."""
    file_status(path)
    value = parse_json(path.read_bytes().decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the content is wrong, not the type of an argument
    return value, remove_digest(value)


def remove_digest(value: dict[str, Any]) -> bool:
    """Remove the digest from a JSON object, and return whether the object contained a digest.

    Raises ValueError if the content does not match the digest.
    """
    recorded = value.pop(DIGEST, None)
    if digest(value) != recorded is not None:  # computing the digest also finds texts that are not valid Unicode
        raise ValueError("the content does not match the recorded digest")
    return recorded is not None


def _whole(text: str) -> int:
    digits = len(text.lstrip("-"))
    if digits > MOST_DIGITS:
        raise ValueError(f"a number with {digits:,} digits is too large")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


# creating a decoder for every text would take longer than parsing a small text
DECODER = json.JSONDecoder(parse_int=_whole, parse_float=_finite, parse_constant=_refuse, object_pairs_hook=unique_keys)
