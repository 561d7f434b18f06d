"""Reads a plugin's options from a table, and determines the options that are part of an identity."""

import json
import math
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from kib.identity import canonical
from kib.interfaces import NotInIdentity
from kib.spec.line_numbers import KeyPath

__all__ = ["identity_options", "paths", "read"]

Read = TypeVar("Read", bound=BaseModel)


def read(model: type[Read], raw: Mapping[str, Any], folder: Path) -> Read:
    """Read options from a table in pydantic's strict JSON mode, which accepts neither `"3"` nor `true` as a number.

    Relative paths are resolved against `folder`. Raises pydantic's ValidationError for invalid options.
    """
    return model.model_validate_json(json.dumps(raw), context={"folder": folder})


def identity_options(options: BaseModel) -> dict[str, Any]:
    """Return the options that are part of the identity, including defaults, as JSON.

    Options marked NotInIdentity are omitted on every level. In a list or table of NotInIdentity values, every value
    becomes null, so that the length of the list or the keys of the table still affect the identity.
    """
    kept = {}
    for name, annotation, value in _fields(options):
        if not _is_excluded(annotation, value):
            kept[name] = _as_json(annotation, value)
    return kept


def paths(value: Any, key: KeyPath = ()) -> Iterator[tuple[KeyPath, Path]]:
    """Yield every file path in a plugin's options together with the key path of the option."""
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, BaseModel):
        for name, _, inner in _fields(value):
            yield from paths(inner, (*key, name))
    elif isinstance(value, Mapping):
        for part, inner in value.items():
            yield from paths(inner, (*key, str(part)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from paths(inner, (*key, number))


def _fields(options: BaseModel) -> Iterator[tuple[str, Any, Any]]:
    """Yield each option, including undeclared options, as (key in the file, full annotation, value)."""
    fields = type(options).model_fields
    for name, info in fields.items():
        yield info.alias or name, Annotated[info.annotation, *info.metadata, None], getattr(options, name)
    if options.model_extra:
        declared = get_type_hints(type(options), include_extras=True).get("__pydantic_extra__")
        extra = (get_args(declared) or (str, Any))[1]
        for name, value in options.model_extra.items():
            yield name, extra, value


def _marks(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_excluded(annotation: Any, value: Any) -> bool:
    """Return whether the type of a value, or the union member that matches the value, is marked NotInIdentity."""
    if any(mark is NotInIdentity or isinstance(mark, NotInIdentity) for mark in _marks(annotation)):
        return True
    bare = _bare(annotation)
    if get_origin(bare) in (Union, UnionType):
        return any(_is_excluded(member, value) and _belongs(value, member) for member in get_args(bare))
    return False


def _belongs(value: Any, annotation: Any) -> bool:
    bare = _bare(annotation)
    kind = get_origin(bare) or bare
    return isinstance(kind, type) and isinstance(value, kind)


def _as_json(annotation: Any, value: Any) -> Any:
    """Return a value as JSON, with values marked NotInIdentity replaced by null and with sets sorted."""
    if _is_excluded(annotation, value):
        return None
    if isinstance(value, BaseModel):
        return identity_options(value)
    if isinstance(value, Mapping):
        inner = _inner(annotation, value)
        return {str(key): _as_json(inner[-1] if inner else Any, item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return _list_as_json(annotation, value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON cannot represent nan or infinity
    return to_jsonable_python(value)


def _list_as_json(annotation: Any, value: Collection[Any]) -> list[Any]:
    inner = _inner(annotation, value)
    fixed = isinstance(value, tuple) and len(inner) == len(value) and Ellipsis not in inner
    kinds = inner if fixed else (inner[0] if inner else Any,) * len(value)
    items = [_as_json(kind, item) for kind, item in zip(kinds, value, strict=True)]
    return sorted(items, key=canonical) if isinstance(value, set | frozenset) else items


def _inner(annotation: Any, value: Any) -> tuple[Any, ...]:
    """Return the type arguments of a container type, or of the union member that matches the value."""
    bare = _bare(annotation)
    if get_origin(bare) in (Union, UnionType):
        bare = next((_bare(member) for member in get_args(bare) if _belongs(value, member)), Any)
    return get_args(bare)


def __getattr__(name: str) -> Any:
    """Return `identity_options` for its former name `counting`, with a warning."""
    if name != "counting":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "kib.options.counting has been renamed to kib.spec.options.identity_options", DeprecationWarning, stacklevel=2
    )
    return identity_options
