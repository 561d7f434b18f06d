"""Renders jinja templates of a benchmark file in a sandbox, with limits on time, memory and output length.

A benchmark file may come from an untrusted source. The sandbox protects files and other data, but does not stop `{{
9**9**9 }}` or nested loops. Therefore, all templates except kib's own are compiled and rendered in a child process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from traceback import walk_tb
from typing import Any

from kib.support.limited_process import LimitedProcess, LimitError

__all__ = [
    "DEFAULT_LIMITS",
    "TemplateFailedError",
    "TemplateLimits",
    "failed_line",
    "render_template",
    "render_trusted",
    "template_variables",
]

MEMORY_MB = 1024
"""The memory limit of the process that renders templates."""


LIMIT_KEYS = {"seconds": "max_seconds", "characters": "max_characters"}
"""The key in `[prompt]` for each limit that users can set; the limits on memory and nesting are fixed."""


@dataclass(frozen=True, slots=True)
class TemplateLimits:
    """The maximum time for rendering a template once, and the maximum length of the rendered text."""

    seconds: float = 10.0
    characters: int = 10_000_000


DEFAULT_LIMITS = TemplateLimits()


class TemplateFailedError(Exception):
    """A template is invalid, fails or exceeds a limit.

    `line` is the faulty line, or None if a limit is exceeded; `limit` is the name of the limit, as in LimitError.
    """

    def __init__(self, message: str, line: int | None, limit: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.limit = limit

    def described(self) -> str:
        """Return the message with the line or, if a limit is exceeded, with the key that sets the limit in the spec."""
        if self.line is not None:
            return f"line {self.line} of the template: {self}"
        if self.limit in LIMIT_KEYS:
            return f"{self}; simplify the template, or increase `{LIMIT_KEYS[self.limit]}` in `[prompt]`"
        fixed = ", because this limit is fixed" if self.limit != "crash" else ""
        return f"{self}; simplify the template{fixed}"


def render_template(
    source: str, values: Mapping[str, Any], limits: TemplateLimits = DEFAULT_LIMITS, **environment: bool
) -> str:
    """Return the rendered text of a template; `environment` contains options of jinja, such as `trim_blocks`.

    Raise TemplateFailedError if the template is invalid, fails or exceeds a limit.
    """
    request = (source, tuple(sorted(environment.items())), dict(values), limits.characters)
    return str(_ask(request, limits)["text"])


def render_trusted(source: str, values: Mapping[str, Any], **environment: bool) -> str:
    """Return the rendered text of one of kib's own templates, which is rendered in this process without limits."""
    return str(_template(source, tuple(sorted(environment.items()))).render(values))


def template_variables(source: str) -> set[str]:
    """Return the names of the variables that a template uses; raise TemplateFailedError if the template is invalid."""
    return set(_ask((source, (), None, 0), DEFAULT_LIMITS)["variables"])


def _ask(request: tuple[Any, ...], limits: TemplateLimits) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = _PROCESS.call(request, limits.seconds)
    except LimitError as error:
        raise TemplateFailedError(f"the template {error}", None, error.limit) from error
    if "error" in answer:
        raise TemplateFailedError(answer["error"], answer["line"])
    return answer


@cache
def _template(source: str, environment: tuple[tuple[str, bool], ...]) -> Any:
    return _environment(dict(environment)).from_string(source)


def _environment(options: dict[str, Any]) -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, **options)
    # jinja does not compute intercepted operations, such as `9 ** (9**9)`, while it reads a template
    environment.intercepted_binops = frozenset(environment.default_binop_table)
    return environment


def _answer(request: tuple[str, tuple[tuple[str, bool], ...], dict[str, Any] | None, int]) -> dict[str, Any]:
    """In the child process, render a template or, without values, return the variables that the template uses."""
    from jinja2 import TemplateError, TemplateSyntaxError

    source, environment, values, characters = request
    try:
        if values is None:
            return {"variables": _variables(source)}
        return {"text": _limited_text(_template(source, environment), values, characters)}
    except (LimitError, MemoryError, RecursionError):
        raise
    except TemplateSyntaxError as error:
        return {"error": (error.message or "").rstrip("."), "line": failed_line(error)}
    except Exception as error:  # noqa: BLE001 - a template may raise any exception
        name = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
        return {"error": f"{name}{error}", "line": failed_line(error) or 1}


def _variables(source: str) -> list[str]:
    from jinja2 import meta

    return sorted(meta.find_undeclared_variables(_environment({}).parse(source)))


def _limited_text(template: Any, values: Mapping[str, Any], characters: int) -> str:
    parts: list[str] = []
    length = 0
    for part in template.generate(values):
        parts.append(part)
        length += len(part)
        if length > characters:
            raise LimitError(f"produces more than {characters:,} characters", "characters")
    return "".join(parts)


def failed_line(error: Exception) -> int | None:
    """Return the line of the jinja template that raised an error, or None if the error is not from a template."""
    from jinja2 import TemplateSyntaxError

    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    return next((line for name, line in reversed(frames) if name == "<template>"), None)


_PROCESS = LimitedProcess(_answer, MEMORY_MB)
