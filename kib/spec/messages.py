"""Error messages for a benchmark file: the expected value, the value found, and the correct spelling."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from kib.spec.line_numbers import KeyPath
from kib.support.phrases import counted, join, nearest, offer

__all__ = ["explain", "models_in", "print_key", "show_value"]

BARE = re.compile(r"[A-Za-z0-9_-]+")
LONGEST = 60
"""The number of characters of a value shown in a message."""

VALIDATOR_ERRORS = ("value_error", "assertion_error")
"""Error types whose message comes from a validator in kib or in a plugin."""

TAG_ERRORS = ("union_tag_invalid", "union_tag_not_found")

LISTS = ("list_type", "tuple_type", "set_type", "frozen_set_type")

ITEMS: Mapping[Any, str] = {int: "whole numbers", float: "numbers", str: "texts", Path: "paths"}
"""Names of the types of list items; a list of a different type is called "a list"."""

SEQUENCES = (list, tuple, set, frozenset, Sequence)

EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text in quotes",
    "path_type": "a path in quotes",
    **dict.fromkeys(LISTS, "a list"),
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dataclass_type": "a table",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "text of at least {min_length}",
    "string_too_long": "text of at most {max_length}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}
"""The expected value for each of pydantic's error types; the placeholders are filled from the context of the error."""


def print_key(path: KeyPath) -> str:
    """Return a key path in TOML syntax: `methods."ft-par+rag".top_k[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text


def show_value(value: Any) -> str:
    """Return a value in TOML syntax, truncated if necessary; tables are shown as "a table"."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, str | bool | None):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(show_value(item) for item in value[:10])}{', …' if len(value) > 10 else ''}]"
    else:
        text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def explain(
    error: ValidationError, data: Any, model: type[BaseModel], known: Collection[str] = ()
) -> Iterator[tuple[KeyPath, str]]:
    """Yield the key path and the message of each mistake that pydantic found in `data`, one per key path.

    `known` lists additional keys that are valid at the top level.
    """
    grouped: dict[KeyPath, list[ErrorDetails]] = {}
    for details in _best_branches(error.errors(include_url=False), data):
        grouped.setdefault(_key_path(details, data), []).append(details)
    for path, several in grouped.items():
        has_inner = any(other[: len(path)] == path for other in grouped if other != path)
        if has_inner and all(one["type"] == "too_short" for one in several):
            continue  # pydantic counts only the valid items of a list
        yield path, _message(path, several, model, known)


def _walk(details: ErrorDetails, data: Any) -> Iterator[tuple[str | int, bool]]:
    """Yield the parts of an error's location: (part, True) for a key in `data`, or (part, False) for a union label."""
    node = data
    last = len(details["loc"]) - 1
    for number, part in enumerate(details["loc"]):
        if isinstance(node, Mapping) and part in node:
            node = node[str(part)]
            yield part, True
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
            yield part, True
        else:
            yield part, details["type"] == "missing" and number == last


def _key_path(details: ErrorDetails, data: Any) -> KeyPath:
    """Return an error's location as a key path, without pydantic's labels of union members."""
    return tuple(part for part, is_key in _walk(details, data) if is_key)


def _best_branches(errors: Sequence[ErrorDetails], data: Any) -> list[ErrorDetails]:
    """Return the errors, reduced for each union to the member with the most deeply nested errors."""
    kept: list[ErrorDetails] = []
    unions: dict[KeyPath, dict[str | int, list[ErrorDetails]]] = {}
    for details in errors:
        walked = list(_walk(details, data))
        label = next((number for number, (_, is_key) in enumerate(walked) if not is_key), None)
        if label is None:
            kept.append(details)
        else:
            stem = tuple(part for part, _ in walked[:label])
            unions.setdefault(stem, {}).setdefault(walked[label][0], []).append(details)
    for stem, members in unions.items():
        depth = {label: max(len(_key_path(one, data)) for one in several) for label, several in members.items()}
        deepest = max(depth.values())
        if deepest > len(stem):
            candidates = [several for label, several in members.items() if depth[label] == deepest]
            fewest: list[ErrorDetails] = min(candidates, key=len)
            kept += fewest
        else:
            kept += [one for several in members.values() for one in several]
    return kept


def _message(path: KeyPath, several: Sequence[ErrorDetails], model: type[BaseModel], known: Collection[str]) -> str:
    """Return the message for all errors at one key path."""
    details = next((one for one in several if one["type"] in VALIDATOR_ERRORS), several[0])
    kind, value = details["type"], details["input"]
    if kind == "missing":
        about = _description(model, path)
        return f"missing ({about})" if about else "missing"
    if kind == "extra_forbidden":
        keys = {info.alias or name for one in _models_at(model, path[:-1]) for name, info in one.model_fields.items()}
        return f"unknown key; {offer(str(path[-1]), keys | set(known if len(path) == 1 else ()))}"
    if kind in VALIDATOR_ERRORS:
        text = str(details.get("ctx", {}).get("error") or details["msg"].removeprefix("Assertion failed, "))
        return text if isinstance(value, Mapping | list) or "got " in text else f"{text} (got {show_value(value)})"
    if kind in TAG_ERRORS:
        return _missing_tag(details)
    items = _item_types(model, path)
    expected = list(dict.fromkeys(_expected(one, items) for one in several))
    if "a number" in expected and "a whole number" in expected:
        expected.remove("a whole number")
    if kind not in EXPECTED and not details["msg"].startswith("Input should "):
        return f"{details['msg']} (got {show_value(value)})"
    return f"expected {join(expected, 'or')}, got {show_value(value)}{_hint(value, several, items)}"


def _missing_tag(details: ErrorDetails) -> str:
    context = {key: str(value).replace("'", "") for key, value in details.get("ctx", {}).items()}
    key, values = context.get("discriminator"), context.get("expected_tags")
    return f"`{key}` must be one of: {values}" if values else f"the key `{key}` is missing"


def _expected(details: ErrorDetails, items: Sequence[Any]) -> str:
    """Return the expected value as a noun phrase; `items` are the item types of the lists accepted for the key."""
    if details["type"] in LISTS and len(items) == 1 and (name := ITEMS.get(_without_metadata(items[0]))):
        return f"a list of {name}"
    template = EXPECTED.get(details["type"])
    if template is None:
        return re.sub(r"^Input should (be|have) ", "", details["msg"])
    noun = "character" if details["type"].startswith("string") else "item"
    context = {key: _context(key, value, noun) for key, value in details.get("ctx", {}).items()}
    return template.format(**context)


def _context(key: str, value: Any, noun: str) -> str:
    if key in ("min_length", "max_length"):
        return counted(value, noun)
    return re.sub(r"'([^']*)'", r'"\1"', value) if key == "expected" else str(value).removesuffix(".0")


def _hint(value: Any, several: Sequence[ErrorDetails], items: Sequence[Any]) -> str:
    """Return the correct spelling of a value if the value and the expected types determine it, or else ""."""
    kinds = {one["type"] for one in several}
    choices = re.findall(r"'([^']*)'", " ".join(str(one.get("ctx", {}).get("expected", "")) for one in several))
    if choices and isinstance(value, str):
        like = nearest(value, choices)
        return f'; did you mean "{like}"?' if like else ""
    if kinds & set(LISTS) and any(_is_valid(value, item) for item in items):
        return f"; write [{show_value(value)}]"
    if isinstance(value, str):
        return f"; write {value.strip()} without quotes" if _fits(_literal(value), kinds) else ""
    if kinds & {"string_type", "path_type"} and isinstance(value, bool | int | float):
        return f"; write {show_value(show_value(value))}"
    if kinds & {"int_type", "int_from_float"} and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    return ""


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _fits(value: Any, kinds: Collection[str]) -> bool:
    """Return whether a value has a type that one of the given errors expects."""
    if isinstance(value, bool):
        return "bool_type" in kinds
    return (isinstance(value, int) and "int_type" in kinds) or (
        isinstance(value, int | float) and "float_type" in kinds
    )


def _is_valid(value: Any, annotation: Any) -> bool:
    """Return whether a value in a benchmark file is valid for a type."""
    try:
        TypeAdapter(annotation).validate_json(json.dumps(value, default=str), strict=True)
    except (ValidationError, PydanticUserError):  # pydantic raises the latter for a type without a schema
        return False
    return True


def _without_metadata(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, or the type itself if it is not a union, without metadata."""
    plain = _without_metadata(annotation)
    if get_origin(plain) in (Union, UnionType):
        for member in get_args(plain):
            yield from _members(member)
    else:
        yield plain


def _inner(annotation: Any, part: str | int) -> Iterator[Any]:
    """Yield the types of the value at one key of a table, or at one index of a list."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from (info.annotation for name, info in annotation.model_fields.items() if part == (info.alias or name))
    elif origin in SEQUENCES and len(arguments) == (2 if origin is tuple and Ellipsis in arguments else 1):
        yield arguments[0]
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield arguments[1]


def _item_types(model: type[BaseModel], path: KeyPath) -> list[Any]:
    """Return the item type of each list type that is valid at a key path; omit tuples with different item types."""
    found: list[Any] = [model]
    for part in path:
        found = [member for one in found for inner in _inner(one, part) for member in _members(inner)]
    return [item for one in found if get_origin(one) in SEQUENCES for item in _inner(one, 0)]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the pydantic models that a type contains, excluding models that occur only in fields of other models."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]


def _models_at(model: type[BaseModel], path: KeyPath) -> list[type[BaseModel]]:
    """Return the models that may describe the table at a key path; for a union, return several models."""
    found = [model]
    for part in path:
        fields = [info for one in found for name, info in one.model_fields.items() if part == (info.alias or name)]
        if fields:  # otherwise the part is a list index or a free key of a table
            found = [inner for info in fields for inner in models_in(info.annotation)]
    return found


def _description(model: type[BaseModel], path: KeyPath) -> str:
    """Return the description of the option at a key path, or "" if the option has no description."""
    found = [
        info.description or ""
        for one in _models_at(model, path[:-1])
        for name, info in one.model_fields.items()
        if path[-1] == (info.alias or name)
    ]
    return next(iter(found), "")
