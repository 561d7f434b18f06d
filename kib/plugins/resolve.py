"""Resolves the plugins of a spec: creates each plugin with validated options and fingerprints its input files.

The resolved plugins are called a lock, as in "lock file". No step is executed, and data is read only to compute
fingerprints. All mistakes in the spec are reported together.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from kib.errors import InputError, KibError, PluginError, SpecError
from kib.identity import canonical, digest, digest_file
from kib.interfaces import (
    GROUPS,
    ChatOnlyModel,
    CodePlugin,
    GoldRetriever,
    HarnessTask,
    Reranker,
    SendingPlugin,
    TokenizerModel,
)
from kib.plugins.registry import Installed, find, load
from kib.records import Setting, Settings
from kib.spec.line_numbers import KeyPath
from kib.spec.load import Spec, read_draft
from kib.spec.messages import explain, show_value
from kib.spec.options import identity_options, paths, read
from kib.spec.references import references
from kib.spec.tables import ANSWER_METRICS, ModelTable, PluginTable, Table, TaskTable, TrainerTable, own_keys
from kib.support.phrases import join, offer
from kib.support.recipients import refusal

__all__ = ["Lock", "Locked", "open_spec", "resolve"]

Tables = Mapping[str, Mapping[str, Table]]

MOST_ARMS = 1000
"""The largest number of arms per trainer; a typo in `vary` could otherwise create millions of arms."""

REMOTE = (
    "this option would run code that comes with the model or data; pass --trust-remote-code if you trust the code, "
    "otherwise set the option to false"
)
NO_TEXT = (
    'expected true or false without quotation marks, because libraries treat every text as true, even "False"; got '
)
CODE = (
    "kib would run the code that this option names; read the code, then pass --trust-remote-code to allow kib to run it"
)
REMOTE_KEY = re.compile(r"trust[_-]?remote[_-]?code", re.IGNORECASE)
REMOTE_CODE = re.compile(
    rf"--{REMOTE_KEY.pattern}\b(?!\s*=)|{REMOTE_KEY.pattern}[\"']?\s*[=:](?!\s*(false|0)\s*([,;}}\]]|$))", re.IGNORECASE
)
"""A setting in a string of arguments; the value is off only if it is `false` or `0` without quotation marks."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A resolved table: a plugin that is ready to use, and everything that determines the plugin's output."""

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
        """Everything that determines a model's tokens: the tokenizer's fingerprint or else the entire model table."""
        if self.tokenizer_fingerprint is None:
            return self.identity
        return {
            "plugin": self.plugin_name,
            "revision": self.revision,
            "source": self.source,
            "tokenizer": self.tokenizer_fingerprint,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines the output of a table; tables with equal identities yield equal output."""
        return {
            "plugin": self.plugin_name,
            "revision": self.revision,
            "source": self.source,
            "options": dict(self.options),
            "fingerprint": self.fingerprint,
        }


@dataclass(frozen=True)
class Lock:
    """The resolved plugins of a spec: one entry per table and, for trainers, one entry per combination of `vary`."""

    tables: Mapping[tuple[str, str, str], Locked]
    """Resolved tables by kind, name and arm. The key of an arm is its `vary` values as canonical JSON."""
    absent: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Unused tables with missing data, and the error message for each table."""

    def get(self, kind: str, name: str, settings: Settings = ()) -> Locked:
        """Return a resolved table; for a trainer, return the arm with these values of `vary`, ignoring "text.count".

        Raises InputError if the spec does not contain the table or if the data of the table is missing.
        """
        found = self.tables.get((kind, name, _arm(settings)))
        if found is None:
            reason = self.absent.get((kind, name), "the file contains no such table, or the trainer has no such arm")
            raise InputError(f"[{kind}.{name}]: {reason}")
        return found

    def sources(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the distribution, version and identity of each plugin by kind and table, as stored with the results.

        The record omits the varied options of trainers, unused tables with missing data and, as before there were
        judges and systems, these kinds if there are none.
        """
        found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in GROUPS}
        for (kind, name, arm), locked in self.tables.items():
            varied = json.loads(arm)
            options = {key: value for key, value in locked.options.items() if key not in varied}
            origin = {"distribution": locked.distribution, "version": locked.version}
            found[kind][name] = {**origin, **locked.identity, "options": options}
        return {kind: tables for kind, tables in found.items() if tables or kind not in ("judges", "systems")}


def resolve(spec: Spec, *, trust_remote_code: bool = False) -> Lock:
    """Create and fingerprint the plugin of every table; raise SpecError that lists all mistakes in plugins and options.

    The data of an unused table may be missing, and an unused table may contain a server that is not allowed.
    """
    resolver = _Resolver(spec.file, {kind: spec.tables(kind) for kind in (*GROUPS, "methods")}, trust_remote_code)
    lock = resolver.resolve()
    if resolver.mistakes:
        raise SpecError([spec.mistake(message, *key_path) for key_path, message in resolver.mistakes])
    return lock


def open_spec(
    path: Path, *, trust_remote_code: bool = False, look: bool = True, whole: bool = True
) -> tuple[Spec, Lock]:
    """Load and resolve a benchmark file; raise SpecError that lists the mistakes found in both steps.

    If `look` is False, input files are not read and need not exist; the resulting lock has no fingerprints and cannot
    be run. If `whole` is False, the file may lack models, tasks and methods.
    """
    draft = read_draft(path, whole=whole)
    resolver = _Resolver(draft.file, draft.readable(), trust_remote_code or not look, look)
    lock = resolver.resolve()
    for key_path, message in resolver.mistakes:
        draft.blame(message, *key_path)
    return draft.spec(), lock


@dataclass
class _Built:
    """The plugin of a table, before its input files are fingerprinted."""

    table: PluginTable
    record: Installed
    settings: Settings
    options: BaseModel
    plugin: Any


class _Resolver:
    """Resolves the tables of one file and collects all mistakes."""

    def __init__(self, file: Path, tables: Tables, trust_remote_code: bool, look: bool = True) -> None:
        self.folder = file.parent
        self.look = look
        self.tables = tables
        self.trust_remote_code = trust_remote_code
        self.mistakes: list[tuple[KeyPath, str]] = []

    def resolve(self) -> Lock:
        """Resolve every valid table, and add the mistakes in all other tables to `mistakes`."""
        built = [one for kind in GROUPS for table in self.tables[kind].values() for one in self._build(kind, table)]
        sources_of = self._check_rerankers(built)
        used = _used(self.tables, sources_of)
        found: dict[tuple[str, str, str], Locked] = {}
        absent: dict[tuple[str, str], str] = {}
        source_of = cache(_source)  # a trainer's arms share their source code
        for one in built:
            kind, name = one.record.kind, one.table.name
            troubles = self._refused_recipients(one) if self.look else []
            fingerprint = ""
            if self.look and not troubles:
                fingerprint, troubles = self._fingerprint(one)
            if not troubles:
                found[kind, name, _arm(one.settings)] = _locked(one, fingerprint, source_of(one.record))
            elif (kind, name) in used:
                for trouble in troubles:
                    self._blame(*trouble)
            else:
                absent[kind, name] = "; ".join(message for _, message in troubles)
        self._check_arms(found)
        return Lock(found, absent)

    def _check_arms(self, found: Mapping[tuple[str, str, str], Locked]) -> None:
        """Report arms of a trainer with equal output, because cells of these arms would differ only in their names."""
        seen: dict[tuple[str, str], str] = {}
        for (kind, name, arm), locked in found.items():
            other = seen.setdefault((name, digest(locked.identity)), arm) if kind == "trainers" else arm
            if other != arm:
                two = f"{_say(json.loads(other))} yields the same output as {_say(json.loads(arm))}"
                self._blame((kind, name, "vary"), f"expected arms with different outputs, but {two}")

    def _blame(self, key_path: KeyPath, message: str) -> None:
        if key_path not in {other for other, _ in self.mistakes}:
            self.mistakes.append((key_path, message))

    def _build(self, kind: str, table: Table) -> Iterator[_Built]:
        """Yield a table's plugin once per combination of `vary`, or report the mistakes in an invalid table."""
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
        for key_path, message in faults:
            self._blame((kind, table.name, *key_path), message)
        if not faults:
            yield from self._arms(kind, table, record, cls)

    def _arms(self, kind: str, table: PluginTable, record: Installed, cls: type[Any]) -> Iterator[_Built]:
        vary = _vary(table)
        for values in product(*vary.values()):
            settings = tuple(zip(vary, values, strict=True))
            raw = {**table.options, **dict(settings)}
            for _, message in self._read_faults(kind, record, cls, raw):  # each value is valid on its own
                self._blame((kind, table.name, "vary"), f"{message} (with {_say(dict(settings))})")
                return
            options = read(cls.Options, raw, self.folder)
            plugin = self._create(record, table, cls, options)
            if plugin is None:
                return
            self._check_plugin(kind, table, plugin, options)
            yield _Built(table, record, settings, options, plugin)

    def _option_faults(
        self, kind: str, table: PluginTable, record: Installed, cls: type[Any]
    ) -> Iterator[tuple[KeyPath, str]]:
        """Yield the key path and the message for each invalid option and each invalid value of `vary`."""
        vary = _vary(table)
        known = {info.alias or name for name, info in cls.Options.model_fields.items()}
        for key in sorted(set(vary) - known):
            yield ("vary", key), f"unknown option; {offer(key, known | {'text.count'})}"
            del vary[key]
        first = {key: values[0] for key, values in vary.items()}
        for key_path, message in self._read_faults(kind, record, cls, {**table.options, **first}):
            if not key_path or key_path[0] not in first:
                yield key_path, message
        for key, values in vary.items():
            for number, value in enumerate(values):
                for key_path, message in self._read_faults(kind, record, cls, {**table.options, **first, key: value}):
                    if key_path[:1] == (key,):
                        yield ("vary", key, number), message
        arms = prod(len(values) for values in vary.values())
        if arms > MOST_ARMS:
            yield ("vary",), f"expected lists that yield at most {MOST_ARMS} arms, got {arms} arms"

    def _read_faults(
        self, kind: str, record: Installed, cls: type[Any], raw: Mapping[str, Any]
    ) -> Sequence[tuple[KeyPath, str]]:
        """Return the key path and the message for each mistake in the options `raw` of a plugin's class."""
        try:
            read(cls.Options, raw, self.folder)
        except ValidationError as error:
            return list(explain(error, raw, cls.Options, own_keys(kind)))
        except Exception as error:  # noqa: BLE001 - a plugin's validator may raise anything
            return [((), _fault(record, "the options could not be read", error))]
        return []

    def _create(self, record: Installed, table: PluginTable, cls: type[Any], options: BaseModel) -> Any:
        """Create a plugin; if its class raises an error, report the mistake and return None."""
        key_path = (record.kind, table.name)
        try:
            return cls(options)
        except KibError as error:
            self._blame(key_path, str(error))
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            self._blame(key_path, _fault(record, "the plugin could not be created", error))
        return None

    def _check_plugin(self, kind: str, table: PluginTable, plugin: Any, options: BaseModel) -> None:
        """Report the keys of a table that its plugin does not support."""
        if isinstance(table, TaskTable) and table.scoring is not None and isinstance(plugin, HarnessTask):
            self._blame(
                ("tasks", table.name, "scoring"),
                f'not supported, because tasks of the plugin "{table.plugin}" define their own scoring',
            )
        if isinstance(table, TaskTable) and table.labels and not (table.metrics or isinstance(plugin, HarnessTask)):
            self._blame(
                ("tasks", table.name, "labels"),
                f"applies only to generated answers; add `scoring` with one of: {join(ANSWER_METRICS, 'or')}",
            )
        chats = isinstance(plugin, ChatOnlyModel) and "chat_template" in table.model_fields_set
        if chats and isinstance(table, ModelTable) and not table.chat_template:
            self._blame((kind, table.name, "chat_template"), "expected true, because this model reads only chats")
        if isinstance(plugin, CodePlugin) and not self.trust_remote_code:
            self._blame((kind, table.name, plugin.code_option), CODE)
        if getattr(options, "trust_remote_code", False) and not self.trust_remote_code:
            self._blame((kind, table.name, "trust_remote_code"), REMOTE)

    def _check_rerankers(self, built: Sequence[_Built]) -> dict[str, list[str]]:
        """Return the source retrievers of each reranker; report sources that are missing or invalid."""
        sources_of: dict[str, list[str]] = {}
        for one in built:
            if isinstance(one.plugin, Reranker):
                try:
                    sources_of[one.table.name] = sorted(one.plugin.sources())
                except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                    self._blame(
                        ("retrievers", one.table.name),
                        _fault(one.record, "the source retrievers could not be listed", error),
                    )
        gold_aware = {one.table.name for one in built if isinstance(one.plugin, GoldRetriever)}
        for name, sources in sources_of.items():
            others = sorted(set(self.tables["retrievers"]) - {name})
            for source in sources:
                key_path = ("retrievers", name, *_key_of_source(source, self.tables["retrievers"][name]))
                got = show_value(source)
                if source not in others:
                    self._blame(
                        key_path,
                        (f"expected a different retriever declared in this file, got {got}; {offer(source, others)}"),
                    )
                elif source in gold_aware:
                    self._blame(
                        key_path,
                        (
                            f"{got} does not search: this retriever returns the gold passages directly; expected a "
                            "retriever that searches the corpus"
                        ),
                    )
                elif name in _all_sources(sources_of, source):
                    self._blame(
                        key_path,
                        (f"circular reference: {got} itself uses this retriever; expected a different retriever"),
                    )
        return sources_of

    def _check_trust(self, kind: str, table: PluginTable) -> None:
        """Report options that would run downloaded code without --trust-remote-code, or whose value is a string."""
        raw = {**table.options, "vary": dict(table.vary)} if isinstance(table, TrainerTable) else table.options
        for key_path, value in _remote_code(raw):
            if isinstance(value, str) and _is_remote_key(key_path):
                self._blame((kind, table.name, *key_path), f"{NO_TEXT}{show_value(value)}")
            elif not self.trust_remote_code:
                self._blame((kind, table.name, *key_path), REMOTE)

    def _refused_recipients(self, one: _Built) -> list[tuple[KeyPath, str]]:
        """Return a mistake for each server that must not receive the text or the credential of a table."""
        if not isinstance(one.plugin, SendingPlugin):
            return []
        table = (one.record.kind, one.table.name)
        try:
            found = [(recipient.key, refusal(recipient)) for recipient in one.plugin.recipients()]
        except KibError as error:
            return [(table, str(error))]
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            return [(table, _fault(one.record, "the servers that the plugin contacts could not be listed", error))]
        return [((*table, *key), reason) for key, reason in found if reason]

    def _fingerprint(self, one: _Built) -> tuple[str, list[tuple[KeyPath, str]]]:
        """Return the digest of a plugin's input files and an empty list, or else "" and a list of mistakes."""
        try:
            return str(one.plugin.fingerprint()), []
        except KibError as error:
            message = str(error)
        except OSError as error:
            message = f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            message = _fault(one.record, "the fingerprint could not be computed", error)
        lines = message.splitlines()
        separate = lines if len(lines) > 1 and all(_path_in(line, one.options) for line in lines) else [message]
        return "", [((one.record.kind, one.table.name, *_path_in(text, one.options)), text) for text in separate]


def _path_in(message: str, options: BaseModel) -> KeyPath:
    """Return the key of the option whose path is the longest in the message; () if the message contains no path."""
    named = [(key, path) for key, path in paths(options) if str(path) in message]
    return max(named, key=lambda pair: len(str(pair[1])), default=((), None))[0]


def _say(settings: Mapping[str, Setting]) -> str:
    """Return settings as a string, such as `rank = 4, target = "all"`."""
    return ", ".join(f"{key} = {show_value(value)}" for key, value in settings.items())


def _locked(one: _Built, fingerprint: str, source: str) -> Locked:
    return Locked(
        kind=one.record.kind,
        name=one.table.name,
        plugin=one.plugin,
        plugin_name=one.record.name,
        distribution=one.record.distribution,
        version=one.record.version,
        revision=type(one.plugin).revision,
        source=source,
        options=identity_options(one.options),
        fingerprint=fingerprint,
        tokenizer_fingerprint=_tokenizer_fingerprint(one.plugin) if fingerprint else None,
    )


def _tokenizer_fingerprint(plugin: Any) -> str | None:
    """Return the fingerprint of a model's tokenizer, if the model provides this fingerprint."""
    return plugin.tokenizer_fingerprint() if isinstance(plugin, TokenizerModel) else None


def _fault(record: Installed, failure: str, error: Exception) -> str:
    """Return the message for an unexpected exception in a plugin."""
    return f"{record}: {failure}; this is a bug in the plugin: {type(error).__name__}: {error}"


def _vary(table: PluginTable) -> dict[str, tuple[Setting, ...]]:
    """Return the plugin options that a trainer varies; "text.count" is excluded because it is one of kib's own keys."""
    vary = table.vary if isinstance(table, TrainerTable) else {}
    own = own_keys("trainers")
    return {key: values for key, values in vary.items() if key not in own and not key.startswith("text.")}


def _arm(settings: Settings) -> str:
    """Return the key of an arm in `Lock.tables`; unlike Python's own keys, this key distinguishes 1, 1.0 and true."""
    return canonical({key: value for key, value in settings if key != "text.count"})


def _used(tables: Tables, sources_of: Mapping[str, Sequence[str]]) -> set[tuple[str, str]]:
    """Return the tables that methods use, directly or through other tables."""
    links: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for key_path, kind, name in references(tables):
        links.setdefault((str(key_path[0]), str(key_path[1])), set()).add((kind, name))
    for name, others in sources_of.items():
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


def _all_sources(sources_of: Mapping[str, Sequence[str]], retriever: str) -> set[str]:
    """Return all source retrievers of a reranker, including the source retrievers of its source rerankers."""
    found: set[str] = set()
    waiting = [*sources_of.get(retriever, ())]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += sources_of.get(name, ())
    return found


def _key_of_source(name: str, table: Table) -> KeyPath:
    """Return the key path of a retriever listed in a reranker's option `of`, which is a name, a list or a table."""
    of = table.options.get("of") if isinstance(table, PluginTable) else None
    if isinstance(of, list) and name in of:
        return ("of", of.index(name))
    if isinstance(of, Mapping) and name in of:
        return ("of", name)
    return ("of",) if of is not None else ()


def _remote_code(value: Any, key_path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the key path and the value of each option that requests the execution of downloaded code.

    Such an option is `trust_remote_code` with a value other than false or 0, or a string of arguments that contains
    this setting.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _remote_code(inner, (*key_path, key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _remote_code(inner, (*key_path, number))
    elif _is_remote_key(key_path):
        if isinstance(value, str) or value not in (False, 0):
            yield key_path, value
    elif isinstance(value, str) and REMOTE_CODE.search(value):
        yield key_path, value


def _is_remote_key(key_path: KeyPath) -> bool:
    return any(isinstance(key, str) and REMOTE_KEY.search(key) for key in key_path)


def _source(record: Installed) -> str:
    """Return the digest of an editable plugin's source code; "" for other plugins, which are identified by version.

    The source code is the top-level package or module of the plugin; for kib's own plugins, it is
    `kib/plugins/builtin`.
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
