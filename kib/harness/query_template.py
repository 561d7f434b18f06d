"""The template that renders the fields of a question as a search query."""

from collections.abc import Callable, Mapping
from typing import Any

from kib.errors import InputError
from kib.support.templates import (
    DEFAULT_LIMITS,
    TemplateFailedError,
    TemplateLimits,
    render_template,
    template_variables,
)

__all__ = ["query_template"]


def query_template(
    name: str, template: str | None, limits: TemplateLimits = DEFAULT_LIMITS
) -> Callable[[Mapping[str, Any]], str | None]:
    """Return a function that renders a question's fields as a search query; if there is no template, it returns None.

    The template runs in a sandbox. Both this function and the returned function raise InputError if the template is
    invalid, uses an unknown field or exceeds a limit.
    """
    if template is None:
        return lambda _: None

    def wrong(error: TemplateFailedError, fields: Mapping[str, Any]) -> InputError:
        if error.line is None:
            return InputError(f"tasks.{name}.query: {error.described()}")
        known = f"; known fields are {', '.join(sorted(fields))}" if fields else ""
        return InputError(f"tasks.{name}.query: {error}{known}")

    try:
        used = template_variables(template)
    except TemplateFailedError as error:
        raise wrong(error, {}) from error

    def render(fields: Mapping[str, Any]) -> str:
        try:
            return render_template(template, {field: fields[field] for field in used & fields.keys()}, limits)
        except TemplateFailedError as error:
            raise wrong(error, fields) from error

    return render
