"""The system `python`: a function of the user, which takes a question and returns the answer."""

import inspect
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from kib.errors import InputError, NoAnswerError
from kib.interfaces import InputPath, NotInIdentity
from kib.interfaces import Options as BaseOptions
from kib.plugins.systems.python_source import find_module, source_digest
from kib.plugins.systems.reported_fields import FIELDS, answer_of_fields
from kib.records import ServedAnswer
from kib.support.phrases import offer, shortened

__all__ = ["LoadedPythonSystem", "PythonSystem"]


class PythonSystem:
    """A function `module:function` in the folder of the benchmark file or in the environment."""

    class Options(BaseOptions):
        """The keys of `[systems.NAME]` with `plugin = "python"`."""

        function: str = Field(
            description="the function as `module:function`; the module is in `folder` or in the environment"
        )
        folder: InputPath | None = Field(
            None, description="folder of the module; default: the folder of the benchmark file"
        )
        version: str = Field(
            "",
            description=(
                "any text that names the version of everything that the function uses; if it changes, all questions "
                "are asked again"
            ),
        )
        concurrency: Annotated[int, NotInIdentity] = Field(
            1, ge=1, le=256, description="number of threads that call the function at the same time"
        )

        @field_validator("function")
        @classmethod
        def _is_function(cls, function: str) -> str:
            module, _, name = function.partition(":")
            parts = [*module.split("."), *name.split(".")]
            if not all(part.isidentifier() for part in parts):
                raise ValueError("expected `module:function`, such as `my_rag:answer`")
            return function

        _spec_folder: Path = PrivateAttr(default=Path())

        @model_validator(mode="after")
        def _keep_folder(self, info: ValidationInfo) -> Self:
            self._spec_folder = (info.context or {}).get("folder", Path())
            return self

        @property
        def search_folder(self) -> Path:
            """The folder in which the module is looked for before the environment."""
            return self.folder or self._spec_folder

    revision: ClassVar[int] = 1
    code_option: ClassVar[str] = "function"

    def __init__(self, options: "PythonSystem.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return the digest of the source code, without running the code; raise InputError if it is missing."""
        folder, module = self.options.folder, self.options.function.partition(":")[0]
        if folder is not None and not folder.is_dir():
            raise InputError(
                f"{folder}: {'this is a file; expected a folder' if folder.exists() else 'no such folder'}"
            )
        return source_digest(module, self._find_module(module))

    def _find_module(self, module: str) -> Path:
        """Return the file of a module; raise InputError that names the folders in which it is not."""
        where = self.options.folder or "the folder of the benchmark file"
        return find_module(module, self.options.search_folder, where)

    def reads_ids(self) -> bool:
        """Return False, because the function reads only the text of a question."""
        return False

    def check(self) -> None:
        """Import the module, and raise InputError unless it contains the function; the function is not called."""
        self.load()

    def load(self) -> "LoadedPythonSystem":
        """Import the module and return its function. Raises InputError if the function cannot be used."""
        module, _, name = self.options.function.partition(":")
        file, folder = self._find_module(module), str(self.options.search_folder.resolve())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        try:
            function = EntryPoint(name, self.options.function, "kib.systems").load()
        except AttributeError as error:
            if not _is_inside(error, file):
                raise InputError(f"{file}: the module has no function {name}") from error
            raise InputError(_failure(error, file)) from error
        except (Exception, SystemExit) as error:
            raise InputError(_failure(error, file)) from error
        origin = getattr(sys.modules.get(module), "__file__", None)
        if origin and Path(origin).resolve() != file:
            raise InputError(f"{file}: a different module with the name {module} is in use ({origin}); rename the file")
        if not callable(function) or inspect.iscoroutinefunction(function):
            got = "an `async` function" if callable(function) else f"a value of the type {type(function).__name__}"
            raise InputError(f"{file}: expected an ordinary function {name}, got {got}")
        return LoadedPythonSystem(function, file, self.options.concurrency)


class LoadedPythonSystem:
    """A function that answers questions, with the file of its module."""

    def __init__(self, function: Callable[[str], Any], file: Path, concurrency: int) -> None:
        self.concurrency = concurrency
        self._function = function
        self._file = file
        code = getattr(inspect.unwrap(function), "__code__", None)
        self._place = f"{code.co_filename}:{code.co_firstlineno}" if code else str(file)

    def answer(self, question: str, question_id: str) -> ServedAnswer:  # noqa: ARG002 - the protocol passes the id
        """Return the answer of the function. Raises NoAnswerError if it fails, or returns a value of the wrong type."""
        try:
            value = self._function(question)
        except (Exception, SystemExit) as error:
            raise NoAnswerError(_failure(error, self._file)) from error
        if isinstance(value, str):
            value = {"answer": value}
        if not isinstance(value, Mapping):
            got = type(value).__name__
            raise NoAnswerError(f"{self._place}: the function returned {got}; expected text or a mapping with `answer`")
        unknown = [str(key) for key in value if key not in FIELDS]
        if unknown:
            raise NoAnswerError(
                f"{self._place}: the function returned the unknown key {shortened(unknown[0])!r}; "
                f"{offer(unknown[0], FIELDS)}"
            )
        return answer_of_fields(value, lambda name: f"{self._place}: the function returned `{name}`")


def _is_inside(error: BaseException, file: Path) -> bool:
    """Return whether an error was raised by the code in a file."""
    return any(Path(frame.filename) == file for frame in extract_tb(error.__traceback__))


def _failure(error: BaseException, file: Path) -> str:
    """Return an error as one sentence that starts with the last line of the user's code that was running."""
    frames = extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(file.parent)]
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno or 1}"
    else:
        place = f"{own[-1].filename}:{own[-1].lineno}" if own else str(file)
    said = (str(error).splitlines() or [""])[0]
    return f"{place}: {type(error).__name__}{f': {said}' if said else ''}"
