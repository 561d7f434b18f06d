"""Wraps calls of plugin methods. Every error message states the spec table, plugin, distribution and method."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kib.errors import KibError, PluginCallError, PluginError
from kib.plugins.resolve import Locked

__all__ = ["call_plugin", "check_list", "check_type", "iterate_plugin"]

T = TypeVar("T")


def _where(locked: Locked, method: str) -> str:
    source = f"{locked.distribution} {locked.version}".strip()
    return f"{locked.kind}.{locked.name} ({locked.plugin_name}, {source}), {method}"


@contextmanager
def call_plugin(locked: Locked, method: str) -> Iterator[None]:
    """Raise PluginCallError if the block, which calls `method` of a plugin, raises any error except a KibError."""
    try:
        yield
    except (KibError, PluginCallError):
        raise
    except Exception as error:
        raise PluginCallError(f"{_where(locked, method)}: {type(error).__name__}: {error}") from error


def check_type(locked: Locked, method: str, value: Any, expected: type[T]) -> T:
    """Return `value`; raise PluginError if `value` does not have the type that `method` of a plugin must return."""
    if not isinstance(value, expected):
        got = type(value).__name__
        raise PluginError(f"{_where(locked, method)}: returned {got}; expected {expected.__name__}")
    return value


def check_list(locked: Locked, method: str, value: Any, expected: type[T]) -> list[T]:
    """Return `value` as a list; raise PluginError unless it is a list or tuple of items of the expected type."""
    if not isinstance(value, list | tuple):
        got = type(value).__name__
        raise PluginError(f"{_where(locked, method)}: returned {got}; expected a list of {expected.__name__}")
    for item in value:
        if not isinstance(item, expected):
            got = type(item).__name__
            raise PluginError(f"{_where(locked, method)}: returned a list with {got}; expected {expected.__name__}")
    return list(value)


def iterate_plugin(locked: Locked, method: str, items: Any, *expected: type[T]) -> Iterator[T]:
    """Yield the items that `method` of a plugin returns, each of which has one of the expected types.

    Raises PluginCallError if the plugin fails, and PluginError if the method returns a value that is not iterable or an
    item of the wrong type. If the caller stops early, for example after Ctrl-C, the plugin's generator is closed at
    once, while the answers that it has paid for can still be stored.
    """
    names = " or ".join(one.__name__ for one in expected)
    if not isinstance(items, Iterable):
        got = type(items).__name__
        raise PluginError(f"{_where(locked, method)}: returned {got}; expected an iterable of {names}")
    iterator = iter(items)
    try:
        while True:
            with call_plugin(locked, method):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            if not isinstance(item, expected):
                raise PluginError(f"{_where(locked, method)}: returned {type(item).__name__}; expected {names}")
            yield item
    finally:
        if isinstance(iterator, Generator):
            with call_plugin(locked, method):
                iterator.close()
