"""The template that renders the fields of a question as a search query."""

from collections.abc import Callable, Mapping
from typing import Any

from kib.errors import InputError

__all__ = ["query_template"]


def query_template(name: str, template: str | None) -> Callable[[Mapping[str, Any]], str | None]:
    """Return a function that renders a question's fields as a search query; without a template, it returns None.

    The template runs in a sandbox. This function, or the returned function, raises InputError if the template is
    invalid or uses an unknown field.
    """
    if template is None:
        return lambda _: None
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def wrong(error: TemplateError, fields: Mapping[str, Any]) -> InputError:
        known = f"; known fields are {', '.join(sorted(fields))}" if fields else ""
        return InputError(f"tasks.{name}.query: {error}{known}")

    try:
        compiled = ImmutableSandboxedEnvironment(undefined=StrictUndefined).from_string(template)
    except TemplateError as error:
        raise wrong(error, {}) from error

    def render(fields: Mapping[str, Any]) -> str:
        try:
            return compiled.render(fields)
        except TemplateError as error:
            raise wrong(error, fields) from error

    return render
