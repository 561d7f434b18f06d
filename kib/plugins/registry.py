"""Which plugins are installed, and one of them loaded: lazily, so that a broken one stops nobody else.

A plugin is an entry point of the group `kib.<kind>`. Two distributions that claim one name, a failing import and a
malformed class are each named with their distribution, and only when that name is used.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from types import UnionType
from typing import Annotated, Any, Generic, Protocol, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kib.errors import PluginError
from kib.interfaces import (
    GROUPS,
    Corpus,
    GoldRetriever,
    HarnessTask,
    Model,
    Options,
    Plugin,
    Reranker,
    Retriever,
    Task,
    Trainer,
    Writer,
)
from kib.spec.messages import join, nearest
from kib.spec.tables import SINGULAR, own_keys

__all__ = ["Installed", "find", "installed", "load", "names", "problem"]

PROTOCOLS: dict[str, tuple[type, ...]] = {
    "models": (Model,),
    "corpora": (Corpus,),
    "retrievers": (Retriever, Reranker, GoldRetriever),
    "tasks": (Task, HarnessTask),
    "writers": (Writer,),
    "trainers": (Trainer,),
}
"""What a plugin of each kind may be: any one of these."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An entry point: a plugin that a distribution says it has. Nothing of it has been imported."""

    kind: str
    name: str
    distribution: str
    version: str
    target: str
    editable: bool

    @property
    def source(self) -> str:
        """The distribution with its version, as messages name it."""
        return f"{self.distribution} {self.version}".strip()

    def __str__(self) -> str:
        return f'{SINGULAR[self.kind]} plugin "{self.name}" of {self.source}'


@dataclass(frozen=True, slots=True)
class _Shelf:
    plugins: tuple[Installed, ...]
    unreadable: tuple[str, ...] = field(default=())


def installed() -> tuple[Installed, ...]:
    """Every plugin of every kind, by kind, name and distribution; imports none of them."""
    return _shelf(tuple(sys.path)).plugins


def names(kind: str) -> tuple[str, ...]:
    """The names of the installed plugins of a kind, sorted, each once."""
    return tuple(sorted({plugin.name for plugin in installed() if plugin.kind == kind}))


def find(kind: str, name: str) -> Installed:
    """The one plugin of that name; PluginError where there is none, or where several distributions claim it."""
    found = [plugin for plugin in installed() if (plugin.kind, plugin.name) == (kind, name)]
    if not found:
        raise PluginError(_say_unknown(kind, name))
    if len(found) > 1:
        claims = join([f"{plugin.source} ({plugin.target})" for plugin in found])
        raise PluginError(
            f'the {SINGULAR[kind]} plugin "{name}" is claimed by {claims}; uninstall all but one of them, '
            "or ask their authors for another name"
        )
    return found[0]


def load(kind: str, name: str) -> type[Any]:
    """The class of a plugin. PluginError where there is none, it is claimed twice, or it does not work."""
    plugin = find(kind, name)
    cls = _import(plugin)
    wrong = next(_faults(plugin, cls), None)
    if wrong is not None:
        raise PluginError(f"{plugin}: {wrong}")
    made: type[Any] = cls
    return made


def problem(plugin: Installed) -> str | None:
    """Import a plugin and say why it does not work; None where it does."""
    try:
        load(plugin.kind, plugin.name)
    except PluginError as error:
        return str(error)
    return None


def _say_unknown(kind: str, name: str) -> str:
    known = names(kind)
    like = nearest(name, known)
    other = next((plugin.kind for plugin in installed() if plugin.name == name), None)
    said = [f'no {SINGULAR[kind]} plugin "{name}" is installed']
    if like:
        said.append(f'did you mean "{like}"?')
    elif other:
        said.append(f"there is a {SINGULAR[other]} plugin of that name")
    else:
        package = name if name.startswith("kib-") else f"kib-{name}"
        said.append(f"such a plugin usually comes with the package {package}: is it installed in this environment?")
    said.append(f"installed: {', '.join(known) or 'none'}")
    said += _shelf(tuple(sys.path)).unreadable
    return "; ".join(said).replace("?;", "?")


@lru_cache(maxsize=4)
def _shelf(path: tuple[str, ...]) -> _Shelf:
    """What the distributions on `sys.path` (given, so that a changed one is read anew) say they have."""
    del path
    plugins: list[Installed] = []
    unreadable: list[str] = []
    seen: set[str] = set()
    for distribution in metadata.distributions():
        name = _name(distribution)
        if name.lower().replace("_", "-") in seen:
            continue  # hidden by an earlier folder of sys.path, as its modules are
        seen.add(name.lower().replace("_", "-"))
        try:
            plugins += _entries(distribution, name)
        except Exception as error:  # noqa: BLE001 - whatever one distribution's metadata hold, the others go on
            if "kib." in (distribution.read_text("entry_points.txt") or ""):
                unreadable.append(f"the entry points of {name} cannot be read: {error}")
    order = {kind: number for number, kind in enumerate(GROUPS)}
    plugins.sort(key=lambda plugin: (order[plugin.kind], plugin.name, plugin.distribution))
    return _Shelf(tuple(plugins), tuple(unreadable))


def _name(distribution: metadata.Distribution) -> str:
    try:
        return str(distribution.metadata["Name"] or "a distribution without a name")
    except Exception:  # noqa: BLE001 - metadata of any shape; a nameless distribution is still told of
        return "a distribution without a name"


def _entries(distribution: metadata.Distribution, name: str) -> Iterator[Installed]:
    ours = [entry for entry in distribution.entry_points if entry.group.removeprefix("kib.") in GROUPS]
    ours = [entry for entry in ours if entry.group.startswith("kib.")]
    if ours:
        editable = _is_editable(distribution)
        version = str(distribution.metadata["Version"] or "")
        for entry in ours:
            yield Installed(entry.group.removeprefix("kib."), entry.name, name, version, entry.value, editable)


def _is_editable(distribution: metadata.Distribution) -> bool:
    """Whether pip noted an editable install (PEP 610)."""
    try:
        noted = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    return bool(isinstance(noted, dict) and (noted.get("dir_info") or {}).get("editable"))


def _import(plugin: Installed) -> Any:
    entry = metadata.EntryPoint(plugin.name, plugin.target, f"kib.{plugin.kind}")
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{plugin} cannot be imported ({plugin.target}): {type(error).__name__}: {error}; "
            "mend or update that package, or use another plugin"
        ) from error


def _faults(plugin: Installed, cls: Any) -> Iterator[str]:
    """What a loaded class lacks of what a plugin promises."""
    if not inspect.isclass(cls):
        yield f"{plugin.target} is not a class"
        return
    named = cls.__qualname__
    revision = getattr(cls, "revision", None)
    if isinstance(revision, bool) or not isinstance(revision, int):
        yield f"class {named} needs `revision`, a whole number, got {revision!r}"
    options = getattr(cls, "Options", None)
    if not inspect.isclass(options) or not issubclass(options, Options):
        yield f"class {named} needs `Options`, a class derived from kib.interfaces.Options, got {options!r}"
    else:
        yield from (f"class {named}: {fault}" for fault in _option_faults(plugin.kind, options))
    yield from (f"class {named} {fault}" for fault in _method_faults(plugin.kind, cls))


def _option_faults(kind: str, options: type[Options]) -> Iterator[str]:
    for key, value in (("strict", True), ("extra", "forbid"), ("frozen", True)):
        if options.model_config.get(key) != value:
            yield f"its Options must keep {key} = {value!r} of kib.interfaces.Options"
    for name, info in options.model_fields.items():
        key = info.alias or name
        if key in own_keys(kind):
            yield f"its option `{key}` is a key of kib's own in [{kind}.NAME]; rename it"
        if not info.description:
            yield f"its option `{key}` has no description"
        for model in _models_in(info):
            yield from (f"its option `{key}`: {fault}" for fault in _nested_faults(model))
    try:
        options.model_json_schema()
    except Exception as error:  # noqa: BLE001 - pydantic raises several, and a plugin's own code runs in there
        yield f"its Options have no JSON Schema: {str(error).splitlines()[0]}"


def _nested_faults(model: type[BaseModel]) -> Iterator[str]:
    """A table within an option must not swallow wrong keys, nor take text for numbers."""
    if model.model_config.get("extra", "ignore") == "ignore":
        yield f'{model.__qualname__} ignores unknown keys; derive it from kib.interfaces.Options (extra = "forbid")'
    if not model.model_config.get("strict"):
        yield f"{model.__qualname__} is not strict; derive it from kib.interfaces.Options"
    for name, info in model.model_fields.items():
        if not info.description:
            yield f"`{info.alias or name}` has no description"


def _models_in(info: FieldInfo) -> Iterable[type[BaseModel]]:
    """Every pydantic model that a field's type mentions, inner ones included, each once."""
    found: dict[type[BaseModel], None] = {}
    waiting: list[Any] = [info.annotation]
    while waiting:
        annotation = waiting.pop()
        if get_origin(annotation) in (Annotated, Union, UnionType) or get_args(annotation):
            waiting += get_args(annotation)
        elif inspect.isclass(annotation) and issubclass(annotation, BaseModel) and annotation not in found:
            found[annotation] = None
            waiting += [inner.annotation for inner in annotation.model_fields.values()]
    return found


def _method_faults(kind: str, cls: type[Any]) -> Iterator[str]:
    """The methods that are missing, or cannot be called as kib calls them, of the protocol that fits best."""
    faults = [list(_against(protocol, cls)) for protocol in PROTOCOLS[kind]]
    if all(faults):
        fewest = min(faults, key=len)
        wanted = join([protocol.__name__ for protocol in PROTOCOLS[kind]], "or")
        yield from (f"is no {wanted}: {fault}" for fault in fewest)


def _against(protocol: type[Any], cls: type[Any]) -> Iterator[str]:
    for name, promised in _promises(protocol).items():
        if not hasattr(cls, name):
            yield f"it has no `{name}`" + ("()" if callable(promised) else "")
        elif callable(promised):
            yield from _signature_faults(name, promised, getattr(cls, name))


def _promises(protocol: type[Any]) -> dict[str, Any]:
    """The members of a protocol by name, sorted: methods as functions, attributes as None."""
    parts = [part for part in reversed(protocol.__mro__) if part not in (object, Protocol, Generic)]
    found: dict[str, Any] = {"__init__": Plugin.__init__}
    for part in parts:
        found.update(dict.fromkeys(inspect.get_annotations(part)))
        found.update({name: value for name, value in vars(part).items() if inspect.isfunction(value)})
    checked_by_itself = {"Options", "revision"}
    return {
        name: found[name]
        for name in sorted(found)
        if name == "__init__" or (not name.startswith("_") and name not in checked_by_itself)
    }


def _signature_faults(name: str, promised: Callable[..., Any], given: Any) -> Iterator[str]:
    """Whether a method takes what kib passes: the promised arguments in their order, those with a default or not."""
    if not callable(given):
        yield f"`{name}` is not a method"
        return
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):
        return
    parameters = list(inspect.signature(promised).parameters.values())
    needed = [parameter for parameter in parameters if parameter.default is inspect.Parameter.empty]
    for arguments in (needed, parameters):
        try:
            signature.bind(*arguments)
        except TypeError as error:
            called = ", ".join(parameter.name for parameter in arguments)
            yield f"`{name}` must be callable as {name}({called}), but {error}"
            return
