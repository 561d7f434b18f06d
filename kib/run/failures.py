"""Formats unexpected errors: one line for the user, and the traceback in a file in the work folder."""

import traceback

from kib.errors import KibError, PluginCallError
from kib.identity import digest_lines
from kib.store.work import Work
from kib.support.disk_errors import explain_os_error, is_disk_full, naming

__all__ = ["explain_error"]


def explain_error(work: Work, step: str, error: Exception) -> str:
    """Return the message of an error; for an unexpected error, name the file in `work` with the traceback."""
    if isinstance(error, KibError):
        return str(error)
    if is_disk_full(error):
        return explain_os_error(_os_error_in(error))
    first = (str(error).splitlines() or [""])[0]
    said = first if isinstance(error, PluginCallError) else f"{type(error).__name__}: {first}"
    text = "".join(traceback.format_exception(error))
    path = work.folder / "errors" / f"{digest_lines([step, text])[:12]}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with naming(path):
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as trouble:
        return f"{said} (the traceback could not be stored: {explain_os_error(trouble)})"
    return f"{said} (the traceback is in errors/{path.name} in the work folder)"


def _os_error_in(error: BaseException) -> BaseException:
    """Return the first OSError among an error and its causes, or the error itself if there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause or error
