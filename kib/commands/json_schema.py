"""JSON Schemas for editors: one for benchmark files, including the options of plugins, and one for published files."""

from collections.abc import Mapping
from typing import Any

from kib.errors import PluginError
from kib.interfaces import GROUPS
from kib.plugins.registry import find, load, names
from kib.published.file_format import PublishedFile
from kib.spec.tables import NAME, SINGULAR, TABLES, Head, own_keys

__all__ = ["benchmark_schema", "published_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMES = rf"^(?!.*\.\.){NAME.pattern}$"
CORE = "kib-bench"
"""The distribution of kib itself; its plugins are always installed."""

Schema = dict[str, Any]


def benchmark_schema(core_only: bool) -> Schema:
    """Return the JSON Schema (draft 2020-12) of a benchmark file with the options of all working plugins.

    If `core_only` is set, the schema contains only the options of core plugins and accepts any options for other
    plugins. Otherwise, the schema rejects plugins that are not installed, because kib rejects these plugins too.
    """
    definitions: Schema = {}
    head = _move_definitions(Head.model_json_schema(ref_template="#/$defs/{model}"), definitions, "")
    properties = dict(head["properties"])
    properties["name"]["pattern"] = NAMES
    for kind in (*GROUPS, "methods"):
        properties[kind] = {
            "type": "object",
            "description": f"tables [{kind}.NAME], one per {SINGULAR[kind]}",
            "propertyNames": {"pattern": NAMES},
            "additionalProperties": _table(kind, core_only, definitions),
        }
        if kind in ("models", "tasks", "methods"):
            properties[kind]["minProperties"] = 1
    whole = {
        "$schema": DIALECT,
        "description": "A knowledge injection benchmark: models x methods x tasks",
        "type": "object",
        "properties": properties,
        "required": [*head["required"], "models", "tasks", "methods"],
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }
    return _tidy(whole)


def published_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a file with published results."""
    found = PublishedFile.model_json_schema()
    found["properties"]["name"]["pattern"] = NAMES
    for kind in ("models", "tasks", "methods"):
        found["properties"][kind]["propertyNames"] = {"pattern": NAMES}
    return _tidy(
        {"$schema": DIALECT, **found, "description": ("Results published in a paper, with the source of the numbers")}
    )


def _tidy(node: Schema) -> Schema:
    """Return a schema without null, which does not exist in TOML, and without titles derived from key names."""
    node = {key: value for key, value in node.items() if key != "title" and not _is_useless(key, value)}
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


def _is_useless(key: str, value: Any) -> bool:
    return key == "default" and (value is None or isinstance(value, dict))


def _move_definitions(found: Schema, definitions: Schema, prefix: str) -> Schema:
    """Move a model's definitions to the shared definitions under a prefix; return the rest of the model's schema."""
    for name, definition in found.pop("$defs", {}).items():
        definitions[prefix + name] = definition
    return found


def _table(kind: str, core_only: bool, definitions: Schema) -> Schema:
    """Return the schema of the tables of one kind: kib's own keys, and the options of each plugin."""
    own = _move_definitions(TABLES[kind].model_json_schema(ref_template="#/$defs/{model}"), definitions, "")
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
    """Return whether a plugin works and, with `core_only`, belongs to the core."""
    try:
        if core_only and find(kind, name).distribution != CORE:
            return False
        load(kind, name)
    except PluginError:
        return False
    return True


def _options(kind: str, name: str, definitions: Schema) -> Schema:
    """Return the schema of a plugin's options; no option of a trainer is required, because `vary` may set options."""
    prefix = f"{kind}.{name}."
    cls = load(kind, name)
    found: Mapping[str, Any] = cls.Options.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    options = _move_definitions(dict(found), definitions, prefix)
    if kind == "trainers":
        options.pop("required", None)
    return options
