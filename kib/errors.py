"""The errors that kib raises on purpose. Each class has its exit code; the command line catches KibError.

KibError
├── InputError          2  a spec, a name or data that the user can correct
│   ├── PromptTooLongError   2  a question does not fit into the prompt, even without passages
│   ├── PromptTemplateError  2  the passage template fails on a real passage
│   ├── SpecError       2  all mistakes in one benchmark file
│   ├── DamagedError    2  a stored file is damaged
│   ├── NoAnswerError   2  a system did not answer one question; all other questions are asked
│   └── PluginError     2  a missing, broken, ambiguous or malformed plugin
├── BusyError           2  a different run uses the results folder
├── StepError           3  a step of a run failed; all other steps finished
│   ├── MissingAnswersError     3  a server rejected or did not answer some requests, but answered all others
│   ├── ServerUnavailableError  5  a server cannot be reached, is overloaded or does not answer
│   └── UnansweredRequestsError 5  a MissingAnswersError and ServerUnavailableError: no request was rejected
├── OutputError         4  the command succeeded, but standard output could not be written
├── DriftError          6  rows are worse than a baseline, but the server of their model has changed
└── TableError          1  a leaderboard's check failed, or a cell is missing or failed

PluginCallError is not a KibError: a PluginCallError reports a bug in a plugin, and the traceback of the bug is shown or
stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

__all__ = [
    "BusyError",
    "DamagedError",
    "DriftError",
    "InputError",
    "KibError",
    "MissingAnswersError",
    "Mistake",
    "NoAnswerError",
    "OutputError",
    "PluginCallError",
    "PluginError",
    "PromptTemplateError",
    "PromptTooLongError",
    "ServerUnavailableError",
    "SpecError",
    "StepError",
    "TableError",
    "UnansweredRequestsError",
]


class KibError(Exception):
    """An error that is reported without a traceback; `str()` is the message for the user."""

    exit_code: ClassVar[int] = 2


class InputError(KibError):
    """Invalid input from the user; the message states the problem, its location and the expected input."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a benchmark file, printed as `file:line: key.path: message`."""

    file: Path
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else f"{self.file}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class SpecError(InputError):
    """All mistakes in one benchmark file, in the order of their lines."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda m: (m.line or 0, m.key, m.message)))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class DamagedError(InputError):
    """A stored file is damaged; the message names the file, the damage and the remedy."""


class NoAnswerError(InputError):
    """A system did not answer one question.

    `unavailable` states whether the system cannot be reached, is overloaded or fails on its side, so that the question
    may have an answer later.
    """

    def __init__(self, message: str, *, unavailable: bool = False) -> None:
        super().__init__(message)
        self.unavailable = unavailable


class PluginError(InputError):
    """A plugin cannot be used; the message names the plugin, its distribution and the reason."""


class PluginCallError(Exception):
    """A plugin method raised an error that is not a KibError; `__cause__` is the original error."""


class PromptTooLongError(InputError):
    """A question does not fit into the prompt, even without passages."""


class PromptTemplateError(InputError):
    """The passage template fails on a real passage; the message names the line of the template."""


class BusyError(KibError):
    """A different run is using the results folder; the message names the process and the host of that run."""


class StepError(KibError):
    """A step of a run failed; all steps that do not depend on the failed step finished."""

    exit_code: ClassVar[int] = 3


class MissingAnswersError(StepError):
    """A server rejected or did not answer some requests, but answered all others; the other answers are stored."""


class ServerUnavailableError(StepError):
    """A server cannot be reached, is overloaded or does not answer, so nothing is known about the missing results.

    Any plugin may raise this error. Its failures have an exit code of their own, so that CI does not mistake a server
    that is down for a worse result.
    """

    exit_code: ClassVar[int] = 5


class UnansweredRequestsError(MissingAnswersError, ServerUnavailableError):
    """A server did not answer some requests, rejected none, and answered all others."""

    exit_code: ClassVar[int] = 5


class OutputError(KibError):
    """The command succeeded, but standard output could not be written, for example because the disk is full."""

    exit_code: ClassVar[int] = 4

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output: {cause.strerror or cause}; the output is incomplete")


class DriftError(KibError):
    """Rows are worse than a baseline, but the server of their model has changed, which may be the reason."""

    exit_code: ClassVar[int] = 6


class TableError(KibError):
    """A comparison with a baseline failed, or a planned cell is missing or failed."""

    exit_code: ClassVar[int] = 1
