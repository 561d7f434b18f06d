"""Every error kib raises on purpose. The exit code sits on the class; the command line catches KibError once.

KibError
├── InputError          2  a spec, a name or data that the user can mend
│   ├── PromptTooLongError   2  a question does not fit into the prompt, even without passages
│   ├── PromptTemplateError  2  the passage template fails on a real passage
│   ├── SpecError       2  all mistakes of one benchmark file
│   └── PluginError     2  a plugin that is missing, broken, claimed twice or malformed
├── BusyError           2  another run holds the results folder
├── StepError           3  a step of a run failed; the rest was finished
└── TableError          1  a leaderboard's check failed, or a cell is missing or failed
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

__all__ = [
    "BusyError",
    "InputError",
    "KibError",
    "Mistake",
    "PluginError",
    "PromptTemplateError",
    "PromptTooLongError",
    "SpecError",
    "StepError",
    "TableError",
]


class KibError(Exception):
    """What kib says instead of a traceback; `str()` is the message a user reads."""

    exit_code: ClassVar[int] = 2


class InputError(KibError):
    """Something the user gave is wrong: the message says what, where, and what would be right."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a benchmark file; prints as `file:line: key.path: message`."""

    file: Path
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else f"{self.file}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class SpecError(InputError):
    """All mistakes of one benchmark file, in the order of their lines."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda m: (m.line or 0, m.key, m.message)))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class PluginError(InputError):
    """A plugin cannot be used; the message names it, its distribution and what is wrong."""


class PromptTooLongError(InputError):
    """A question does not fit into the prompt, even without passages."""


class PromptTemplateError(InputError):
    """The passage template fails on a real passage; the message names the line of the template."""


class BusyError(KibError):
    """Another run holds the results folder; the message names its process and host."""


class StepError(KibError):
    """A step of a run failed; what did not depend on it was finished."""

    exit_code: ClassVar[int] = 3


class TableError(KibError):
    """A leaderboard's check failed, or a cell of its plan is missing or failed."""

    exit_code: ClassVar[int] = 1
