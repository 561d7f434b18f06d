"""Former names of modules that plugins import; these names still work, with a DeprecationWarning."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["MOVED", "install"]

MOVED = {
    "kib.bibtex": "kib.support.bibtex",
    "kib.hub": "kib.support.hub",
    "kib.literature": "kib.support.literature",
    "kib.options": "kib.spec.options",
    "kib.questions": "kib.commands.questions",
    "kib.retries": "kib.support.retries",
}
"""Current module names by former name; the former names are removed in version 0.3."""


class _Finder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol
        target: ModuleType | None = None,  # noqa: ARG002 - the protocol
    ) -> ModuleSpec | None:
        if fullname not in MOVED:
            return None
        return ModuleSpec(fullname, _Alias(MOVED[fullname]))


class _Alias(Loader):
    """Loads a moved module under its former name; both names refer to the same module object."""

    def __init__(self, present: str) -> None:
        self.present = present

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        warnings.warn(f"{spec.name} is now {self.present}", DeprecationWarning, stacklevel=2)
        module = import_module(self.present)
        self.own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own_spec  # the import system has replaced it


def install() -> None:
    """Install the finder that makes former module names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
