"""A spec becomes a lock: each table's plugin built with its checked options, and what they point at fingerprinted.

Nothing is run, and no data are read beyond what a fingerprint needs. All mistakes are told in one go.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from kib.errors import InputError, KibError, PluginError, SpecError
from kib.identity import canonical, digest, digest_file
from kib.interfaces import GROUPS, GoldRetriever, HarnessTask, Reranker, TokenizerModel
from kib.plugins.registry import Installed, find, load
from kib.spec.load import Spec, read_draft
from kib.spec.messages import explain, offer, show
from kib.spec.options import identity_options, paths, read
from kib.spec.references import Key, references
from kib.spec.tables import PluginTable, Setting, Table, TaskTable, TrainerTable, own_keys

__all__ = ["Lock", "Locked", "open_spec", "resolve"]

Tables = Mapping[str, Mapping[str, Table]]
Settings = tuple[tuple[str, Setting], ...]

MOST_ARMS = 1000
"""Arms of one trainer; a slip in `vary` makes millions."""

REMOTE = (
    "would run code that comes with the model or data; if you trust it, say so by the flag --trust-remote-code, "
    "else set it to false"
)
REMOTE_CODE = re.compile(r"\btrust_remote_code\s*=\s*[\"']?(true|yes|1)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Locked:
    """A table with its plugin ready to use, and what decides the plugin's output."""

    kind: str
    name: str
    plugin: Any
    plugin_name: str
    distribution: str
    version: str
    revision: int
    source: str
    options: Mapping[str, Any]
    fingerprint: str
    tokenizer_fingerprint: str | None = None

    @property
    def tokenizer_identity(self) -> dict[str, Any]:
        """What determines a model's tokens: the tokenizer if the plugin can tell it apart, else the whole model."""
        if self.tokenizer_fingerprint is None:
            return self.identity
        return {"plugin": self.plugin_name, "revision": self.revision, "tokenizer": self.tokenizer_fingerprint}

    @property
    def identity(self) -> dict[str, Any]:
        """What counts: two tables with the same identity do the same, whatever they are called."""
        return {
            "plugin": self.plugin_name,
            "revision": self.revision,
            "source": self.source,
            "options": dict(self.options),
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True)
class Lock:
    """Every table of a spec with its plugin; a trainer once for each combination of its `vary`."""

    tables: Mapping[tuple[str, str, str], Locked]
    """By kind, name and arm: the values of `vary` as canonical JSON, "{}" where there is but one."""
    absent: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Unused tables whose data are not there, with the reason."""

    def get(self, kind: str, name: str, settings: Settings = ()) -> Locked:
        """A table's plugin, of a trainer the arm with these values of `vary` ("text.count" makes no difference).

        InputError where the table is not in the spec or its data are not there.
        """
        found = self.tables.get((kind, name, _arm(settings)))
        if found is None:
            reason = self.absent.get((kind, name), "there is no such table, or no such arm of it")
            raise InputError(f"[{kind}.{name}]: {reason}")
        return found

    def sources(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By kind and table: distribution, version and identity, for the record of a result.

        Of a trainer's options those that `vary` changes are left out; unused tables whose data are not there as well.
        """
        found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in GROUPS}
        for (kind, name, arm), locked in self.tables.items():
            varied = json.loads(arm)
            options = {key: value for key, value in locked.options.items() if key not in varied}
            origin = {"distribution": locked.distribution, "version": locked.version}
            found[kind][name] = {**origin, **locked.identity, "options": options}
        return found


def resolve(spec: Spec, *, trust_remote_code: bool = False) -> Lock:
    """Build and fingerprint every table's plugin. SpecError with all mistakes in plugins and their options.

    What an unused table points at need not be there.
    """
    locker = _Locker(spec.file, {kind: spec.tables(kind) for kind in (*GROUPS, "methods")}, trust_remote_code)
    lock = locker.lock()
    if locker.mistakes:
        raise SpecError([spec.mistake(message, *place) for place, message in locker.mistakes])
    return lock


def open_spec(
    path: Path, *, trust_remote_code: bool = False, look: bool = True, whole: bool = True
) -> tuple[Spec, Lock]:
    """Load and resolve a benchmark file; SpecError with the mistakes of both in one go.

    With `look = False` nothing that options point at is looked at or need be there, and nothing can be run from it;
    with `whole = False` neither models, tasks nor methods need be there.
    """
    draft = read_draft(path, whole=whole)
    locker = _Locker(draft.file, draft.readable(), trust_remote_code or not look, look)
    lock = locker.lock()
    for place, message in locker.mistakes:
        draft.blame(message, *place)
    return draft.spec(), lock


@dataclass
class _Built:
    """A table's plugin before its fingerprint."""

    table: PluginTable
    record: Installed
    settings: Settings
    options: BaseModel
    plugin: Any


class _Locker:
    def __init__(self, file: Path, tables: Tables, trust_remote_code: bool, look: bool = True) -> None:
        self.folder = file.parent
        self.look = look
        self.tables = tables
        self.trust_remote_code = trust_remote_code
        self.mistakes: list[tuple[Key, str]] = []

    def lock(self) -> Lock:
        """Every table that has no mistake; what is wrong with the others is in `mistakes`."""
        built = [one for kind in GROUPS for table in self.tables[kind].values() for one in self._build(kind, table)]
        stands_on = self._check_rerankers(built)
        used = _used(self.tables, stands_on)
        found: dict[tuple[str, str, str], Locked] = {}
        absent: dict[tuple[str, str], str] = {}
        for one in built:
            kind, name = one.record.kind, one.table.name
            fingerprint, troubles = self._fingerprint(one) if self.look else ("", [])
            if not troubles:
                found[kind, name, _arm(one.settings)] = _locked(one, fingerprint)
            elif (kind, name) in used:
                for trouble in troubles:
                    self._blame(*trouble)
            else:
                absent[kind, name] = "; ".join(message for _, message in troubles)
        self._check_arms(found)
        return Lock(found, absent)

    def _check_arms(self, found: Mapping[tuple[str, str, str], Locked]) -> None:
        """No two arms of a trainer may do the same: their cells would differ by name alone."""
        seen: dict[tuple[str, str], str] = {}
        for (kind, name, arm), locked in found.items():
            other = seen.setdefault((name, digest(locked.identity)), arm) if kind == "trainers" else arm
            if other != arm:
                two = f"{_say(json.loads(other))} does the same as {_say(json.loads(arm))}"
                self._blame((kind, name, "vary"), f"expected arms that differ in what they do, but {two}")

    def _blame(self, place: Key, message: str) -> None:
        if place not in {other for other, _ in self.mistakes}:
            self.mistakes.append((place, message))

    def _build(self, kind: str, table: Table) -> Iterator[_Built]:
        """A table's plugin, one a combination of `vary`; nothing where something is wrong."""
        if not isinstance(table, PluginTable):
            return
        self._check_trust(kind, table)
        try:
            record = find(kind, table.plugin)
            cls = load(kind, table.plugin)
        except PluginError as error:
            self._blame((kind, table.name, "plugin"), str(error))
            return
        faults = list(self._option_faults(kind, table, record, cls))
        for place, message in faults:
            self._blame((kind, table.name, *place), message)
        if not faults:
            yield from self._arms(kind, table, record, cls)

    def _arms(self, kind: str, table: PluginTable, record: Installed, cls: type[Any]) -> Iterator[_Built]:
        vary = _vary(table)
        for values in product(*vary.values()):
            settings = tuple(zip(vary, values, strict=True))
            raw = {**table.options, **dict(settings)}
            for _, message in self._read_faults(kind, record, cls, raw):  # each value is right by itself
                self._blame((kind, table.name, "vary"), f"{message} (with {_say(dict(settings))})")
                return
            options = read(cls.Options, raw, self.folder)
            plugin = self._make(record, table, cls, options)
            if plugin is None:
                return
            self._check_plugin(kind, table, plugin, options)
            yield _Built(table, record, settings, options, plugin)

    def _option_faults(
        self, kind: str, table: PluginTable, record: Installed, cls: type[Any]
    ) -> Iterator[tuple[Key, str]]:
        """What is wrong with a table's options, each value of `vary` by itself: (key path in the table, message)."""
        vary = _vary(table)
        known = {info.alias or name for name, info in cls.Options.model_fields.items()}
        for key in sorted(set(vary) - known):
            yield ("vary", key), f"unknown option; {offer(key, known | {'text.count'})}"
            del vary[key]
        first = {key: values[0] for key, values in vary.items()}
        for place, message in self._read_faults(kind, record, cls, {**table.options, **first}):
            if not place or place[0] not in first:
                yield place, message
        for key, values in vary.items():
            for number, value in enumerate(values):
                for place, message in self._read_faults(kind, record, cls, {**table.options, **first, key: value}):
                    if place[:1] == (key,):
                        yield ("vary", key, number), message
        arms = prod(len(values) for values in vary.values())
        if arms > MOST_ARMS:
            yield ("vary",), f"expected lists that make at most {MOST_ARMS} arms, got {arms}"

    def _read_faults(
        self, kind: str, record: Installed, cls: type[Any], raw: Mapping[str, Any]
    ) -> Sequence[tuple[Key, str]]:
        try:
            read(cls.Options, raw, self.folder)
        except ValidationError as error:
            return list(explain(error, raw, cls.Options, own_keys(kind)))
        except Exception as error:  # noqa: BLE001 - a plugin's validator may raise anything
            return [((), _fault(record, "reading its options", error))]
        return []

    def _make(self, record: Installed, table: PluginTable, cls: type[Any], options: BaseModel) -> Any:
        place = (record.kind, table.name)
        try:
            return cls(options)
        except KibError as error:
            self._blame(place, str(error))
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._blame(place, _fault(record, "being built", error))
        return None

    def _check_plugin(self, kind: str, table: PluginTable, plugin: Any, options: BaseModel) -> None:
        """Keys that do not fit this plugin."""
        if isinstance(table, TaskTable) and table.scoring is not None and isinstance(plugin, HarnessTask):
            self._blame(
                ("tasks", table.name, "scoring"),
                f'a task of the plugin "{table.plugin}" brings its own scoring; expected no such key',
            )
        if getattr(options, "trust_remote_code", False) is True and not self.trust_remote_code:
            self._blame((kind, table.name, "trust_remote_code"), REMOTE)

    def _check_rerankers(self, built: Sequence[_Built]) -> dict[str, list[str]]:
        """The names that each reranker reads hits of; they must be there, and not stand on it themselves."""
        stands_on: dict[str, list[str]] = {}
        for one in built:
            if isinstance(one.plugin, Reranker):
                try:
                    stands_on[one.table.name] = sorted(one.plugin.sources())
                except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                    self._blame(("retrievers", one.table.name), _fault(one.record, "naming its sources", error))
        told = {one.table.name for one in built if isinstance(one.plugin, GoldRetriever)}
        for name, sources in stands_on.items():
            for source in sources:
                place = ("retrievers", name, *_place_of(source, self.tables["retrievers"][name]))
                others = sorted(set(self.tables["retrievers"]) - {name})
                if source not in others:
                    said = f"expected another retriever of this file, got {show(source)}; {offer(source, others)}"
                    self._blame(place, said)
                elif source in told:
                    said = f"expected a retriever that searches, but {show(source)} is told which passages are gold"
                    self._blame(place, said)
                elif name in _all_under(stands_on, source):
                    said = f"expected a retriever that does not stand on this one, got {show(source)}"
                    self._blame(place, said)
        return stands_on

    def _check_trust(self, kind: str, table: PluginTable) -> None:
        if self.trust_remote_code:
            return
        raw = {**table.options, "vary": dict(table.vary)} if isinstance(table, TrainerTable) else table.options
        for place in _remote_code(raw):
            self._blame((kind, table.name, *place), REMOTE)

    def _fingerprint(self, one: _Built) -> tuple[str, list[tuple[Key, str]]]:
        """The digest of what a plugin's options point at, or what is wrong with it."""
        try:
            return str(one.plugin.fingerprint()), []
        except KibError as error:
            message = str(error)
        except OSError as error:
            message = f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            message = _fault(one.record, "looking at what its options name", error)
        lines = message.splitlines()
        apart = lines if len(lines) > 1 and all(_path_in(line, one.options) for line in lines) else [message]
        return "", [((one.record.kind, one.table.name, *_path_in(text, one.options)), text) for text in apart]


def _path_in(message: str, options: BaseModel) -> Key:
    """The option whose path a message names, the longest where several are in it; () for none."""
    named = [(key, path) for key, path in paths(options) if str(path) in message]
    return max(named, key=lambda pair: len(str(pair[1])), default=((), None))[0]


def _say(settings: Mapping[str, Setting]) -> str:
    return ", ".join(f"{key} = {show(value)}" for key, value in settings.items())


def _locked(one: _Built, fingerprint: str) -> Locked:
    return Locked(
        kind=one.record.kind,
        name=one.table.name,
        plugin=one.plugin,
        plugin_name=one.record.name,
        distribution=one.record.distribution,
        version=one.record.version,
        revision=type(one.plugin).revision,
        source=_source(one.record),
        options=identity_options(one.options),
        fingerprint=fingerprint,
        tokenizer_fingerprint=_tokenizer_fingerprint(one.plugin) if fingerprint else None,
    )


def _tokenizer_fingerprint(plugin: Any) -> str | None:
    return plugin.tokenizer_fingerprint() if isinstance(plugin, TokenizerModel) else None


def _fault(record: Installed, doing: str, error: Exception) -> str:
    return f"{record} failed while {doing}: {type(error).__name__}: {error}; that is a fault of the plugin"


def _vary(table: PluginTable) -> dict[str, tuple[Setting, ...]]:
    """The options that a trainer varies; how many texts a writer makes is no option of the trainer."""
    vary = table.vary if isinstance(table, TrainerTable) else {}
    own = own_keys("trainers")
    return {key: values for key, values in vary.items() if key not in own and not key.startswith("text.")}


def _arm(settings: Settings) -> str:
    """An arm's name among the locked ones, whatever the order; it tells 1, 1.0 and true apart, as Python does not."""
    return canonical({key: value for key, value in settings if key != "text.count"})


def _used(tables: Tables, stands_on: Mapping[str, Sequence[str]]) -> set[tuple[str, str]]:
    """Tables that some method leads to: its models and tasks, and what those and its own keys name in turn."""
    links: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for place, kind, name in references(tables):
        links.setdefault((str(place[0]), str(place[1])), set()).add((kind, name))
    for name, others in stands_on.items():
        links[("retrievers", name)] = {("retrievers", other) for other in others}
    waiting = [("methods", name) for name in tables["methods"]]
    for name, method in tables["methods"].items():
        for kind in ("models", "tasks"):
            if getattr(method, kind, None) is None:
                links.setdefault(("methods", name), set()).update((kind, other) for other in tables[kind])
    used: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        if one not in used:
            used.add(one)
            waiting += links.get(one, ())
    return used


def _all_under(stands_on: Mapping[str, Sequence[str]], retriever: str) -> set[str]:
    """All retrievers that a reranker's hits come from, over any number of steps."""
    found: set[str] = set()
    waiting = [*stands_on.get(retriever, ())]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += stands_on.get(name, ())
    return found


def _place_of(name: str, table: Table) -> Key:
    """Where a reranker's table names a retriever: in its option `of`, a name, a list of names or a table by name."""
    of = table.options.get("of") if isinstance(table, PluginTable) else None
    if isinstance(of, list) and name in of:
        return ("of", of.index(name))
    if isinstance(of, Mapping) and name in of:
        return ("of", name)
    return ("of",) if of is not None else ()


def _remote_code(value: Any, place: Key = ()) -> Iterator[Key]:
    """Where options ask to run a stranger's code: a true `trust_remote_code`, or arguments in text that say so."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _remote_code(inner, (*place, key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _remote_code(inner, (*place, number))
    elif "trust_remote_code" in place:
        if value not in (False, 0, "", "false", "False"):
            yield place
    elif isinstance(value, str) and REMOTE_CODE.search(value):
        yield place


def _source(record: Installed) -> str:
    """Digest of the source of a plugin that is installed editable, else ""; its version tells those apart.

    That is its outermost package, or its module where that is all; of kib itself the folder of the core's plugins.
    """
    if not record.editable:
        return ""
    parts = EntryPoint(record.name, record.target, "").module.split(".")
    outer = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    if parts[0] == "kib":
        outer = outer[2:] or outer
    modules = [sys.modules[name] for name in outer if getattr(sys.modules.get(name), "__file__", None)]
    if not modules:
        return ""
    file = Path(str(modules[0].__file__))
    if not hasattr(modules[0], "__path__"):
        return digest_file(file)
    files = [path for path in sorted(file.parent.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return digest({path.relative_to(file.parent).as_posix(): digest_file(path) for path in files})
