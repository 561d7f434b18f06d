"""JSON Schemas for editors: of a benchmark file, with each plugin's options by its name, and of a published one."""

from collections.abc import Mapping
from typing import Any

from kib.errors import PluginError
from kib.interfaces import GROUPS
from kib.plugins.registry import find, load, names
from kib.published.file_format import PublishedFile
from kib.spec.tables import NAME, SINGULAR, TABLES, Head, own_keys

__all__ = ["published_schema", "schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMES = rf"^(?!.*\.\.){NAME.pattern}$"
CORE = "kib-bench"
"""The distribution whose plugins are there wherever kib is."""

Schema = dict[str, Any]


def schema(core_only: bool) -> Schema:
    """JSON Schema (draft 2020-12) of a benchmark file, with the options of the plugins that are installed and work.

    With `core_only` it knows the options of the core's own plugins and lets those of all others pass; else a plugin
    that is not installed is an error, as it is for kib.
    """
    definitions: Schema = {}
    head = _take(Head.model_json_schema(ref_template="#/$defs/{model}"), definitions, "")
    properties = dict(head["properties"])
    properties["name"]["pattern"] = NAMES
    for kind in (*GROUPS, "methods"):
        properties[kind] = {
            "type": "object",
            "description": f"tables [{kind}.NAME], a {SINGULAR[kind]} each",
            "propertyNames": {"pattern": NAMES},
            "additionalProperties": _table(kind, core_only, definitions),
        }
        if kind in ("models", "tasks", "methods"):
            properties[kind]["minProperties"] = 1
    whole = {
        "$schema": DIALECT,
        "description": "A benchmark of knowledge injection: models x methods x tasks",
        "type": "object",
        "properties": properties,
        "required": [*head["required"], "models", "tasks", "methods"],
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }
    return _tidy(whole)


def published_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a file with published numbers."""
    made = PublishedFile.model_json_schema()
    made["properties"]["name"]["pattern"] = NAMES
    for kind in ("models", "tasks", "methods"):
        made["properties"][kind]["propertyNames"] = {"pattern": NAMES}
    return _tidy({"$schema": DIALECT, **made, "description": "Numbers that a paper published, and where they stand"})


def _tidy(node: Schema) -> Schema:
    """A schema without what TOML does not have (null) and nobody reads (titles made of the keys' names)."""
    node = {key: value for key, value in node.items() if key != "title" and not _says_nothing(key, value)}
    members = [member for member in node.get("anyOf", ()) if member != {"type": "null"}]
    if len(members) == 1:
        node = {**members[0], **{key: value for key, value in node.items() if key != "anyOf"}}
        return _tidy(node)
    if members:
        node["anyOf"] = members
    for key, value in node.items():
        if key in ("properties", "$defs"):
            node[key] = {name: _tidy(inner) if isinstance(inner, dict) else inner for name, inner in value.items()}
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
            node[key] = [_tidy(inner) for inner in value]
        elif key in ("items", "additionalProperties", "propertyNames", "if", "then") and isinstance(value, dict):
            node[key] = _tidy(value)
    return node


def _says_nothing(key: str, value: Any) -> bool:
    return key == "default" and (value is None or isinstance(value, dict))


def _take(found: Schema, definitions: Schema, prefix: str) -> Schema:
    """A model's schema without its definitions, which move to the common ones under a prefix."""
    for name, definition in found.pop("$defs", {}).items():
        definitions[prefix + name] = definition
    return found


def _table(kind: str, core_only: bool, definitions: Schema) -> Schema:
    """The schema of the tables of a kind: kib's own keys, then the options of whichever plugin it names."""
    own = _take(TABLES[kind].model_json_schema(ref_template="#/$defs/{model}"), definitions, "")
    if kind == "methods":
        return own
    options = {name: _options(kind, name, definitions) for name in names(kind) if _usable(kind, name, core_only)}
    table: Schema = {key: value for key, value in own.items() if key != "additionalProperties"}
    table["properties"]["plugin"] |= (
        {"anyOf": [{"enum": sorted(options)}, {"type": "string"}]} if core_only else {"enum": sorted(options)}
    )
    branches = [
        {
            "if": {"properties": {"plugin": {"const": name}}, "required": ["plugin"]},
            "then": {
                **{key: value for key, value in found.items() if key in ("description", "required")},
                "properties": {**dict.fromkeys(own_keys(kind), True), **found.get("properties", {})},
                "additionalProperties": False,
            },
        }
        for name, found in sorted(options.items())
    ]
    return {**table, "allOf": branches} if branches else table


def _usable(kind: str, name: str, core_only: bool) -> bool:
    """Whether a plugin works and, with `core_only`, is the core's own; `kib plugins` says why one does not."""
    try:
        if core_only and find(kind, name).distribution != CORE:
            return False
        load(kind, name)
    except PluginError:
        return False
    return True


def _options(kind: str, name: str, definitions: Schema) -> Schema:
    """A plugin's options; what a trainer needs may stand in `vary` instead, so that nothing is required there."""
    prefix = f"{kind}.{name}."
    cls = load(kind, name)
    found: Mapping[str, Any] = cls.Options.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    taken = _take(dict(found), definitions, prefix)
    if kind == "trainers":
        taken.pop("required", None)
    return taken
