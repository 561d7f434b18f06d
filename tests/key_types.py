"""Describes in words the values that a JSON Schema allows, for the tables of keys in the documentation."""

import re

from kib.spec.messages import show_value
from kib.support.phrases import join

LIMITS = (
    ("minimum", "from"),
    ("exclusiveMinimum", "above"),
    ("maximum", "up to"),
    ("exclusiveMaximum", "below"),
    ("multipleOf", "divisible by"),
)


def describe(node, schema, plural=False):
    """Return the allowed values, for example `a whole number from 1`."""
    node = resolve(node, schema)
    members = node.get("anyOf", node.get("oneOf"))
    if members:
        useless = ("null", "integer") if {"type": "number"} in members else ("null",)
        words = [describe(member, schema, plural) for member in members if member.get("type") not in useless]
        return join(list(dict.fromkeys(words)), "or")
    if "const" in node or "enum" in node:
        return join([show_value(value) for value in node.get("enum", [node.get("const")])], "or")
    kind = node["type"]
    if kind in ("integer", "number"):
        return describe_number(node, plural)
    if kind == "string":
        return describe_text(node, plural)
    if kind == "array":
        items = describe(node["items"], schema, plural=True)
        count = f"{node['minItems']} or more " if "minItems" in node else ""
        return f"a list of {count}{'different ' if node.get('uniqueItems') else ''}{items}"
    return {"boolean": "true or false", "object": "tables" if plural else "a table"}[kind]


def key_table(schema, values=describe):
    """Return a Markdown table of the keys in a JSON Schema; `values(node, schema)` describes the allowed values."""
    lines = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    for key, node in schema["properties"].items():
        default = "needed" if key in schema.get("required", ()) else describe_default(node.get("default"))
        lines.append(f"| `{key}` | {values(node, schema)} | {default} | {node['description']} |")
    return "\n".join(lines) + "\n"


def describe_default(default):
    """Return a default value as code, or no text if there is no default that a user can write in one line."""
    return "" if default is None or default == [] or isinstance(default, dict) else f"`{show_value(default)}`"


def replace_key_tables(text, marker, table_of):
    """Return a page with the table after each `<!-- MARKER: NAME -->` replaced by `table_of(NAME)`, and the names."""
    pattern = rf"(<!-- {marker}: (\w+) -->\n)(?:\n\|(?:.*\|\n)*)?"
    names = {match[2] for match in re.finditer(pattern, text)}
    return re.sub(pattern, lambda match: f"{match[1]}\n{table_of(match[2])}", text), names


def describe_number(node, plural):
    """Return a number's type and limits."""
    noun = "whole number" if node["type"] == "integer" else "number"
    limits = " and ".join(f"{word} {show_value(node[key])}" for key, word in LIMITS if key in node)
    if {"minimum", "maximum"} <= set(node):
        limits = limits.replace(" and up to ", " to ")
    return (f"{noun}s {limits}" if plural else f"a {noun} {limits}").rstrip()


def describe_text(node, plural):
    """Return the minimum length and the pattern of a text."""
    least = node.get("minLength", 0)
    length = f"of at least {least} characters" if least > 1 else ""
    pattern = f"that matches {node['pattern']}" if "pattern" in node else ""
    return " ".join(filter(None, ["texts" if plural else "text", length, pattern]))


def resolve(node, schema):
    """Follow a `$ref`, or the only non-null member of an `allOf` or `anyOf`; TOML has no null."""
    if "$ref" in node:
        return resolve(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    if len(node.get("allOf", ())) == 1:
        return resolve(node["allOf"][0], schema)
    members = [member for member in node.get("anyOf", ()) if member.get("type") != "null"]
    return resolve(members[0], schema) if len(members) == 1 else node
