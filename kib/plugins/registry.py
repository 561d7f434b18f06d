"""Finds installed plugins and loads them lazily, so that a broken plugin does not affect other plugins.

A plugin is an entry point in the group `kib.<kind>`. A name claimed by two distributions, a failing import or a
malformed class is reported together with the distribution, but only when that plugin is used.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from typing import Any, Generic, Protocol

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kib.errors import PluginError
from kib.interfaces import (
    GROUPS,
    Corpus,
    GoldRetriever,
    HarnessTask,
    Judge,
    Model,
    Options,
    Plugin,
    Reranker,
    Retriever,
    System,
    Task,
    Trainer,
    Writer,
)
from kib.spec.messages import models_in
from kib.spec.tables import SINGULAR, own_keys
from kib.support.phrases import join, nearest

__all__ = ["Installed", "find", "installed", "load", "names", "problem"]

PROTOCOLS: dict[str, tuple[type, ...]] = {
    "models": (Model,),
    "corpora": (Corpus,),
    "retrievers": (Retriever, Reranker, GoldRetriever),
    "tasks": (Task, HarnessTask),
    "writers": (Writer,),
    "trainers": (Trainer,),
    "judges": (Judge,),
    "systems": (System,),
}
"""The protocols of each kind; a plugin must implement one of the protocols of its kind."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An entry point with which a distribution declares a plugin, whose module has not been imported yet."""

    kind: str
    name: str
    distribution: str
    version: str
    target: str
    editable: bool

    @property
    def source(self) -> str:
        """The name and version of the distribution, as shown in messages."""
        return f"{self.distribution} {self.version}".strip()

    def __str__(self) -> str:
        return f'{SINGULAR[self.kind]} plugin "{self.name}" of {self.source}'


@dataclass(frozen=True, slots=True)
class _Inventory:
    """All declared plugins, and an error message for each distribution with unreadable entry points."""

    plugins: tuple[Installed, ...]
    unreadable: tuple[str, ...] = field(default=())


def installed() -> tuple[Installed, ...]:
    """Return every plugin, sorted by kind, name and distribution, without importing any plugin."""
    return _inventory(tuple(sys.path)).plugins


def names(kind: str) -> tuple[str, ...]:
    """Return the sorted, unique names of the installed plugins of the given kind."""
    return tuple(sorted({plugin.name for plugin in installed() if plugin.kind == kind}))


def find(kind: str, name: str) -> Installed:
    """Return the plugin with a name; raise PluginError unless exactly one distribution declares this name."""
    found = [plugin for plugin in installed() if (plugin.kind, plugin.name) == (kind, name)]
    if not found:
        raise PluginError(_unknown(kind, name))
    if len(found) > 1:
        claims = join([f"{plugin.source} ({plugin.target})" for plugin in found])
        raise PluginError(
            f'several packages declare the {SINGULAR[kind]} plugin "{name}": {claims}; uninstall all but one of '
            "these packages, or ask the authors to rename a plugin"
        )
    return found[0]


def load(kind: str, name: str) -> type[Any]:
    """Return the class of a plugin; raise PluginError if the plugin is missing, declared twice or broken."""
    plugin = find(kind, name)
    cls = _import(plugin)
    fault = next(_faults(plugin, cls), None)
    if fault is not None:
        raise PluginError(f"{plugin}: {fault}")
    loaded: type[Any] = cls
    return loaded


def problem(plugin: Installed) -> str | None:
    """Import a plugin and return the reason why it does not work; None if the plugin works."""
    try:
        load(plugin.kind, plugin.name)
    except PluginError as error:
        return str(error)
    return None


def _unknown(kind: str, name: str) -> str:
    """Return the error message for a plugin name that is not installed."""
    known = names(kind)
    like = nearest(name, known)
    other = next((plugin.kind for plugin in installed() if plugin.name == name), None)
    parts = [f'no {SINGULAR[kind]} plugin "{name}" is installed']
    if like:
        parts.append(f'did you mean "{like}"?')
    elif other:
        parts.append(f"a {SINGULAR[other]} plugin has this name")
    else:
        package = name if name.startswith("kib-") else f"kib-{name}"
        parts.append(f"is the package {package} installed in this environment?")
    parts.append(f"installed: {', '.join(known) or 'none'}")
    parts += _inventory(tuple(sys.path)).unreadable
    return "; ".join(parts).replace("?;", "?")


@lru_cache(maxsize=4)
def _inventory(path: tuple[str, ...]) -> _Inventory:
    """Return the declared plugins of all distributions; a change of `path` (`sys.path`) causes a new search."""
    del path
    plugins: list[Installed] = []
    unreadable: list[str] = []
    seen: set[str] = set()
    for distribution in metadata.distributions():
        name = _name(distribution)
        if name.lower().replace("_", "-") in seen:
            continue  # an earlier folder of sys.path takes precedence, as for modules
        seen.add(name.lower().replace("_", "-"))
        try:
            plugins += _entries(distribution, name)
        except Exception as error:  # noqa: BLE001 - one distribution with broken metadata must not affect the others
            if "kib." in (distribution.read_text("entry_points.txt") or ""):
                unreadable.append(f"the entry points of the package {name} cannot be read: {error}")
    order = {kind: number for number, kind in enumerate(GROUPS)}
    plugins.sort(key=lambda plugin: (order[plugin.kind], plugin.name, plugin.distribution))
    return _Inventory(tuple(plugins), tuple(unreadable))


def _name(distribution: metadata.Distribution) -> str:
    try:
        return str(distribution.metadata["Name"] or "a distribution without a name")
    except Exception:  # noqa: BLE001 - metadata may be broken in any way; the distribution is reported without a name
        return "a distribution without a name"


def _entries(distribution: metadata.Distribution, name: str) -> Iterator[Installed]:
    """Yield the plugins that a distribution declares."""
    ours = [entry for entry in distribution.entry_points if entry.group.removeprefix("kib.") in GROUPS]
    ours = [entry for entry in ours if entry.group.startswith("kib.")]
    if ours:
        editable = _is_editable(distribution)
        version = str(distribution.metadata["Version"] or "")
        for entry in ours:
            yield Installed(entry.group.removeprefix("kib."), entry.name, name, version, entry.value, editable)


def _is_editable(distribution: metadata.Distribution) -> bool:
    """Return whether pip recorded an editable install (PEP 610)."""
    try:
        record = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    return bool(isinstance(record, dict) and (record.get("dir_info") or {}).get("editable"))


def _import(plugin: Installed) -> Any:
    entry = metadata.EntryPoint(plugin.name, plugin.target, f"kib.{plugin.kind}")
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{plugin} cannot be imported ({plugin.target}): {type(error).__name__}: {error}; "
            "repair or update this package, or use a different plugin"
        ) from error


def _faults(plugin: Installed, cls: Any) -> Iterator[str]:
    """Yield the faults in a plugin's class."""
    if not inspect.isclass(cls):
        yield f"{plugin.target} is not a class"
        return
    named = cls.__qualname__
    revision = getattr(cls, "revision", None)
    if isinstance(revision, bool) or not isinstance(revision, int):
        yield f"class {named}: `revision` must be a whole number, got {revision!r}"
    options = getattr(cls, "Options", None)
    if not inspect.isclass(options) or not issubclass(options, Options):
        yield f"class {named}: `Options` must be a class derived from kib.interfaces.Options, got {options!r}"
    else:
        yield from (f"class {named}: {fault}" for fault in _option_faults(plugin.kind, options))
    yield from (f"class {named} {fault}" for fault in _method_faults(plugin.kind, cls))


def _option_faults(kind: str, options: type[Options]) -> Iterator[str]:
    for key, value in (("strict", True), ("extra", "forbid"), ("frozen", True)):
        if options.model_config.get(key) != value:
            yield f"the class Options must keep the setting {key} = {value!r} of kib.interfaces.Options"
    for name, info in options.model_fields.items():
        key = info.alias or name
        if key in own_keys(kind):
            yield (
                f"the option `{key}` has the same name as a key that kib itself uses in [{kind}.NAME]; rename the "
                "option"
            )
        if not info.description:
            yield f"the option `{key}` has no description"
        for model in _models_in(info):
            yield from (f"the option `{key}`: {fault}" for fault in _nested_faults(model))
    try:
        options.model_json_schema()
    except Exception as error:  # noqa: BLE001 - pydantic and the plugin's own code may raise anything
        yield f"the JSON Schema of the class Options cannot be created: {str(error).splitlines()[0]}"


def _nested_faults(model: type[BaseModel]) -> Iterator[str]:
    """Yield the faults in a table within an option: a table must reject unknown keys and values of the wrong type."""
    if model.model_config.get("extra", "ignore") == "ignore":
        yield f"{model.__qualname__} ignores unknown keys; derive this class from kib.interfaces.Options"
    if not model.model_config.get("strict"):
        yield f"{model.__qualname__} is not strict; derive this class from kib.interfaces.Options"
    for name, info in model.model_fields.items():
        if not info.description:
            yield f"`{info.alias or name}` has no description"


def _models_in(info: FieldInfo) -> Iterable[type[BaseModel]]:
    """Return every pydantic model in a field's type without duplicates, including nested models."""
    found: dict[type[BaseModel], None] = {}
    waiting = models_in(info.annotation)
    while waiting:
        model = waiting.pop()
        if model not in found:
            found[model] = None
            waiting += [one for inner in model.model_fields.values() for one in models_in(inner.annotation)]
    return found


def _method_faults(kind: str, cls: type[Any]) -> Iterator[str]:
    """Yield the missing and the non-callable methods of the protocol that the class implements most completely."""
    faults = [list(_protocol_faults(protocol, cls)) for protocol in PROTOCOLS[kind]]
    if all(faults):
        fewest = min(faults, key=len)
        wanted = join([protocol.__name__ for protocol in PROTOCOLS[kind]], "or")
        yield from (f"is not a {wanted}: {fault}" for fault in fewest)


def _protocol_faults(protocol: type[Any], cls: type[Any]) -> Iterator[str]:
    """Yield the members that a class lacks to implement one protocol."""
    for name, required in _members(protocol).items():
        if not hasattr(cls, name):
            yield f"`{name}` is missing" + (" (a method)" if callable(required) else "")
        elif callable(required):
            yield from _signature_faults(name, required, getattr(cls, name))


def _members(protocol: type[Any]) -> dict[str, Any]:
    """Return the members of a protocol, sorted by name: methods as functions, attributes as None."""
    parts = [part for part in reversed(protocol.__mro__) if part not in (object, Protocol, Generic)]
    found: dict[str, Any] = {"__init__": Plugin.__init__}
    for part in parts:
        found.update(dict.fromkeys(inspect.get_annotations(part)))
        found.update({name: value for name, value in vars(part).items() if inspect.isfunction(value)})
    checked_elsewhere = {"Options", "revision"}
    return {
        name: found[name]
        for name in sorted(found)
        if name == "__init__" or (not name.startswith("_") and name not in checked_elsewhere)
    }


def _signature_faults(name: str, required: Callable[..., Any], given: Any) -> Iterator[str]:
    """Yield a fault if a method does not accept the protocol's arguments in order, with or without defaults."""
    if not callable(given):
        yield f"`{name}` is not a method"
        return
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):
        return
    parameters = list(inspect.signature(required).parameters.values())
    needed = [parameter for parameter in parameters if parameter.default is inspect.Parameter.empty]
    for arguments in (needed, parameters):
        try:
            signature.bind(*arguments)
        except TypeError as error:
            called = ", ".join(parameter.name for parameter in arguments)
            yield f"kib calls `{name}` as {name}({called}), but {error}"
            return
