"""Formats unexpected errors: one line for the user, and the traceback in a file in the work folder."""

import traceback

from kib.errors import KibError, PluginCallError
from kib.identity import digest_lines
from kib.store.work import Work

__all__ = ["explain_error"]


def explain_error(work: Work, step: str, error: Exception) -> str:
    """Return the message of an error; for an unexpected error, store its traceback in `work` and name the file."""
    if isinstance(error, KibError):
        return str(error)
    text = "".join(traceback.format_exception(error))
    path = work.folder / "errors" / f"{digest_lines([step, text])[:12]}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    first = (str(error).splitlines() or [""])[0]
    said = first if isinstance(error, PluginCallError) else f"{type(error).__name__}: {first}"
    return f"{said} (the traceback is in errors/{path.name} in the work folder)"
