"""A plugin's options: read from a table, and written back as what counts for an identity."""

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

__all__ = ["identity_options", "paths", "read"]

Read = TypeVar("Read", bound=BaseModel)


def read(model: type[Read], raw: Mapping[str, Any], folder: Path) -> Read:
    """Options from a table, in pydantic's strict JSON mode: `"3"` and `true` are no whole numbers, a path is text.

    Relative paths start at `folder`. Raises pydantic's ValidationError.
    """
    return model.model_validate_json(json.dumps(raw), context={"folder": folder})


def identity_options(options: BaseModel) -> dict[str, Any]:
    """The options that count, defaults included, as JSON: those marked NotInIdentity are left out, on every level.

    Of a list or table of NotInIdentity values its length or its keys stay, each with null.
    """
    kept = {}
    for name, annotation, value in _fields(options):
        if not _is_local(annotation, value):
            kept[name] = _plain(annotation, value)
    return kept


def paths(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Path]]:
    """Every path in options, with where it stands: (key path, path)."""
    if isinstance(value, Path):
        yield place, value
    elif isinstance(value, BaseModel):
        for name, _, inner in _fields(value):
            yield from paths(inner, (*place, name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from paths(inner, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from paths(inner, (*place, number))


def _fields(options: BaseModel) -> Iterator[tuple[str, Any, Any]]:
    """Each option as (its key in the file, its full annotation, its value), extra ones included."""
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


def _is_local(annotation: Any, value: Any) -> bool:
    """Whether a value is of a type marked NotInIdentity; of a union, whether the member that it belongs to is."""
    if any(mark is NotInIdentity or isinstance(mark, NotInIdentity) for mark in _marks(annotation)):
        return True
    bare = _bare(annotation)
    if get_origin(bare) in (Union, UnionType):
        return any(_is_local(member, value) and _belongs(value, member) for member in get_args(bare))
    return False


def _belongs(value: Any, annotation: Any) -> bool:
    bare = _bare(annotation)
    kind = get_origin(bare) or bare
    return isinstance(kind, type) and isinstance(value, kind)


def _plain(annotation: Any, value: Any) -> Any:
    """A value as JSON, what is NotInIdentity in it replaced by null; sets sorted."""
    if _is_local(annotation, value):
        return None
    if isinstance(value, BaseModel):
        return identity_options(value)
    if isinstance(value, Mapping):
        inner = _inner(annotation, value)
        return {str(key): _plain(inner[-1] if inner else Any, item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return _plain_list(annotation, value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such number
    return to_jsonable_python(value)


def _plain_list(annotation: Any, value: Collection[Any]) -> list[Any]:
    inner = _inner(annotation, value)
    fixed = isinstance(value, tuple) and len(inner) == len(value) and Ellipsis not in inner
    kinds = inner if fixed else (inner[0] if inner else Any,) * len(value)
    items = [_plain(kind, item) for kind, item in zip(kinds, value, strict=True)]
    return sorted(items, key=canonical) if isinstance(value, set | frozenset) else items


def _inner(annotation: Any, value: Any) -> tuple[Any, ...]:
    """The types within a container's type; of a union, within the member that the value belongs to."""
    bare = _bare(annotation)
    if get_origin(bare) in (Union, UnionType):
        bare = next((_bare(member) for member in get_args(bare) if _belongs(value, member)), Any)
    return get_args(bare)


def __getattr__(name: str) -> Any:
    """Return `identity_options` for its former name `counting`, with a warning."""
    if name != "counting":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("kib.options.counting is now kib.spec.options.identity_options", DeprecationWarning, stacklevel=2)
    return identity_options
