"""How a mistake is said: the key path, what was expected, what was found, and the nearest right name."""

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

__all__ = ["Path", "counted", "describe", "explain", "join", "nearest", "offer", "print_key", "show"]

Path = tuple[str | int, ...]
Schema = Mapping[str, Any]

BARE = re.compile(r"[A-Za-z0-9_-]+")
LONGEST = 60
OWN_WORDS = ("value_error", "assertion_error")
"""Errors whose text a validator wrote for the reader."""
TAGS = ("union_tag_invalid", "union_tag_not_found")


def print_key(path: Path) -> str:
    """A key path as one would type it: `methods."ft-par+rag".top_k[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text


def show(value: Any) -> str:
    """A value as TOML spells it, shortened; tables by that word."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, str | bool | None):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(show(item) for item in value[:10])}{', …' if len(value) > 10 else ''}]"
    else:
        text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def join(names: Collection[str], word: str = "and") -> str:
    """Names as a sentence lists them: `a, b and c`; "" for none."""
    *others, last = names or [""]
    return f"{', '.join(others)} {word} {last}" if others else last


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that looks most like `name`; None where none does."""
    folded = {other.lower(): other for other in sorted(known)}
    found = difflib.get_close_matches(name.lower(), sorted(folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def offer(name: str, known: Collection[str]) -> str:
    """The end of a sentence about a wrong name: the nearest right one, and what there is."""
    if not known:
        return "there is none"
    like = nearest(name, known)
    listed = ", ".join(sorted(known))
    return f'did you mean "{like}"? There is: {listed}' if like else f"there is: {listed}"


def explain(
    error: ValidationError, data: Any, model: type[BaseModel], known: Collection[str] = ()
) -> Iterator[tuple[Path, str]]:
    """Each mistake that pydantic found in `data` as (key path, message), one a path.

    `known` names keys that are right at the top level beside the model's own.
    """
    schema = model.model_json_schema()
    grouped: dict[Path, list[ErrorDetails]] = {}
    for details in _best_branches(error.errors(include_url=False), data):
        grouped.setdefault(_real_path(details, data), []).append(details)
    for path, several in grouped.items():
        within = any(other[: len(path)] == path for other in grouped if other != path)
        if within and all(one["type"] == "too_short" for one in several):
            continue  # pydantic counts only the items that are right
        yield path, _message(path, several, schema, known)


def _walk(details: ErrorDetails, data: Any) -> Iterator[tuple[str | int, bool]]:
    """The parts of an error's path, each with whether it is a key of `data` or only pydantic's label of a branch."""
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


def _real_path(details: ErrorDetails, data: Any) -> Path:
    return tuple(part for part, real in _walk(details, data) if real)


def _best_branches(errors: Sequence[ErrorDetails], data: Any) -> list[ErrorDetails]:
    """Of the members of a union, which have all failed, keep the one that came furthest."""
    kept: list[ErrorDetails] = []
    unions: dict[Path, dict[str | int, list[ErrorDetails]]] = {}
    for details in errors:
        walked = list(_walk(details, data))
        label = next((number for number, (_, real) in enumerate(walked) if not real), None)
        if label is None:
            kept.append(details)
        else:
            stem = tuple(part for part, _ in walked[:label])
            unions.setdefault(stem, {}).setdefault(walked[label][0], []).append(details)
    for stem, members in unions.items():
        depth = {label: max(len(_real_path(one, data)) for one in several) for label, several in members.items()}
        furthest = max(depth.values())
        if furthest > len(stem):
            best = [several for label, several in members.items() if depth[label] == furthest]
            fewest: list[ErrorDetails] = min(best, key=len)
            kept += fewest
        else:
            kept += [one for several in members.values() for one in several]
    return kept


def _message(path: Path, several: Sequence[ErrorDetails], schema: Schema, known: Collection[str]) -> str:
    node = _node(schema, path, schema)
    details = next((one for one in several if one["type"] in OWN_WORDS), several[0])
    value = details["input"]
    if details["type"] == "missing":
        about = f" ({node['description']})" if node.get("description") else ""
        return f"missing: expected {describe(node, schema)}{about}"
    if details["type"] == "extra_forbidden":
        keys = _keys(_node(schema, path[:-1], schema), schema)
        return f"unknown key; {offer(str(path[-1]), keys | set(known if len(path) == 1 else ()))}"
    if details["type"] in OWN_WORDS:
        said = str(details.get("ctx", {}).get("error") or details["msg"].removeprefix("Assertion failed, "))
        return said if isinstance(value, Mapping | list) or "got " in said else f"{said} (got {show(value)})"
    if details["type"] in TAGS:
        tags = {key: str(value).replace("'", "") for key, value in details.get("ctx", {}).items()}
        one_of = f" to be one of: {tags['expected_tags']}" if "expected_tags" in tags else " to be there"
        return f"expected the key {tags.get('discriminator')}{one_of}"
    if details["loc"][-1:] == ("[key]",):
        node = _resolve(_node(schema, path[:-1], schema), schema).get("propertyNames", {})
    expected = describe(node, schema)
    if expected == "a value" or details["type"] not in PLAIN:
        return _say_theirs(details["msg"], value)
    return f"expected {expected}, got {show(value)}{_hint(value, _resolve(node, schema), schema)}"


def _say_theirs(message: str, value: Any) -> str:
    """Turn pydantic's own words into ours."""
    wanted = re.fullmatch(r"Input should (?:be|have) (.*)", message, re.DOTALL)
    if wanted:
        return f"expected {wanted.group(1)}, got {show(value)}"
    return f"{message} (got {show(value)})"


def _keys(node: Schema, schema: Schema) -> set[str]:
    """The keys of a table, those of all members of a union together."""
    node = _resolve(node, schema)
    members = [key for member in node.get("anyOf", node.get("oneOf", ())) for key in _keys(member, schema)]
    return {*node.get("properties", ()), *members}


PLAIN = frozenset(
    {
        "bool_parsing",
        "bool_type",
        "dataclass_type",
        "dict_type",
        "enum",
        "float_parsing",
        "float_type",
        "frozen_set_type",
        "greater_than",
        "greater_than_equal",
        "int_from_float",
        "int_parsing",
        "int_type",
        "less_than",
        "less_than_equal",
        "list_type",
        "literal_error",
        "mapping_type",
        "model_attributes_type",
        "model_type",
        "multiple_of",
        "none_required",
        "path_type",
        "set_type",
        "string_pattern_mismatch",
        "string_too_long",
        "string_too_short",
        "string_type",
        "too_long",
        "too_short",
        "tuple_type",
    }
)
"""Errors about which the JSON Schema of the place says all that there is to say."""


def _resolve(node: Schema, schema: Schema) -> Schema:
    """Follow a `$ref`, or the only member of an `allOf`; null, which TOML does not have, is left out of an `anyOf`."""
    if "$ref" in node:
        target: Any = schema
        for part in str(node["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        return _resolve(target, schema)
    if len(node.get("allOf", ())) == 1:
        return _resolve(node["allOf"][0], schema)
    members = [member for member in node.get("anyOf", ()) if member.get("type") != "null"]
    return _resolve(members[0], schema) if len(members) == 1 else node


def _node(node: Schema, path: Path, schema: Schema) -> Schema:
    """The part of a JSON Schema that speaks of a key path; {} where it says nothing."""
    if not path:
        return node
    node = _resolve(node, schema)
    first, rest = path[0], path[1:]
    if isinstance(first, str):
        inner = node.get("properties", {}).get(first, node.get("additionalProperties"))
    else:
        fixed = node.get("prefixItems", [])
        inner = fixed[first] if first < len(fixed) else node.get("items")
    if isinstance(inner, Mapping):
        return _node(inner, rest, schema)
    for member in node.get("anyOf", node.get("oneOf", ())):
        if found := _node(member, path, schema):
            return found
    return {}


def describe(node: Schema, schema: Schema, plural: bool = False) -> str:
    """What a JSON Schema allows, in words: `a whole number from 1`; "a value" where it says nothing."""
    node = _resolve(node, schema)
    members = node.get("anyOf", node.get("oneOf"))
    if members:
        useless = ("null", "integer") if {"type": "number"} in members else ("null",)
        said = [describe(member, schema, plural) for member in members if member.get("type") not in useless]
        return join(list(dict.fromkeys(said)), "or")
    if "const" in node or "enum" in node:
        return join([show(value) for value in node.get("enum", [node.get("const")])], "or")
    words = {"integer": _number, "number": _number, "string": _text, "array": _list}.get(node.get("type", ""))
    if words is not None:
        return words(node, schema, plural)
    if node.get("type") == "boolean":
        return "true or false"
    if node.get("type") == "object":
        keys = list(node.get("properties", ()))
        return ("tables" if plural else "a table") + (f" with {join(keys, 'or')}" if keys else "")
    return "values" if plural else "a value"


def _number(node: Schema, schema: Schema, plural: bool) -> str:
    del schema
    noun = "whole number" if node["type"] == "integer" else "number"
    limits = [
        f"{word} {show(node[key])}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "up to"),
            ("exclusiveMaximum", "below"),
            ("multipleOf", "divisible by"),
        )
        if key in node
    ]
    limit = " and ".join(limits)
    if {"minimum", "maximum"} <= set(node):
        limit = limit.replace(" and up to ", " to ")
    return f"{noun}s {limit}".rstrip() if plural else f"a {noun} {limit}".rstrip()


def _text(node: Schema, schema: Schema, plural: bool) -> str:
    del schema
    if "path" in str(node.get("format", "")):
        return "paths" if plural else "a path in quotes"
    least, most = node.get("minLength", 0), node.get("maxLength")
    length = f"of at least {least} characters" if least > 1 else "that is not empty" if least else ""
    if most is not None:
        length = f"of {least} to {most} characters" if least else f"of at most {most} characters"
    pattern = f"that matches {node['pattern']}" if "pattern" in node else ""
    return " ".join(filter(None, ["texts" if plural else "text in quotes", length, pattern]))


def _list(node: Schema, schema: Schema, plural: bool) -> str:
    fixed = node.get("prefixItems")
    if fixed:
        return f"[{', '.join(describe(item, schema) for item in fixed)}]"
    items = describe(node.get("items", {}), schema, plural=True)
    least, most = node.get("minItems", 0), node.get("maxItems")
    count = f"{least} or more " if least else ""
    count = f"at most {most} " if most is not None and not least else count
    count = f"{least} to {most} " if most is not None and least else count
    different = "different " if node.get("uniqueItems") else ""
    return f"{'lists' if plural else 'a list'} of {count}{different}{items}"


def _hint(value: Any, node: Schema, schema: Schema) -> str:
    """How the value would have to be written, where that is plain."""
    choices = [choice for choice in _choices(node) if isinstance(choice, str)]
    if choices and isinstance(value, str):
        like = nearest(value, choices)
        return f'; did you mean "{like}"?' if like else ""
    kind = node.get("type")
    if kind == "array" and not isinstance(value, list | Mapping):
        items = _resolve(node.get("items", {}), schema)
        kinds = [member.get("type") for member in items.get("anyOf", [items])]
        return f"; write [{show(value)}]" if any(_fits(value, kind) for kind in kinds) else ""
    if isinstance(value, str) and kind in ("integer", "number", "boolean") and _fits(_literal(value), kind):
        return f"; write {value.strip()} without quotes"
    if kind == "string" and isinstance(value, bool | int | float):
        return f"; write {show(show(value))}"
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    return ""


def _choices(node: Schema) -> list[Any]:
    """The fixed values that a place allows, those of a union's members together."""
    members = [choice for member in node.get("anyOf", ()) for choice in _choices(member)]
    return [*members, *node.get("enum", [node["const"]] if "const" in node else [])]


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _fits(value: Any, kind: str | None) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, int):
        return kind in ("integer", "number")
    return (isinstance(value, float) and kind == "number") or (isinstance(value, str) and kind == "string")


def counted(number: int, thing: str) -> str:
    """`1 cell`, `2 cells`, `1,000 cells`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
