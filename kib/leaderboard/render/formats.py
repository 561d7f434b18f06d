"""Selects the renderer for an output format."""

from typing import Literal, get_args

from kib.errors import InputError
from kib.leaderboard.table_records import Table

__all__ = ["FORMATS", "Format", "render"]

Format = Literal["terminal", "markdown", "csv", "json", "latex"]

FORMATS: tuple[str, ...] = get_args(Format)
WIDTH = 80


def render(table: Table, format: str, *, width: int | None = None, colour: bool = False) -> str:  # noqa: A002 - named after the option --format
    """Return a table as a string with a final line break; `width` (default 80) and `colour` apply only to the terminal.

    Equal tables yield identical bytes. Raises InputError for an unknown format.
    """
    if format == "terminal":
        from kib.leaderboard.render.terminal import terminal

        return terminal(table, width=WIDTH if width is None else width, colour=colour)
    if format == "markdown":
        from kib.leaderboard.render.markdown import markdown

        return markdown(table)
    if format == "csv":
        from kib.leaderboard.render.csv import to_csv

        return to_csv(table)
    if format == "json":
        from kib.leaderboard.render.json import to_json

        return to_json(table)
    if format == "latex":
        from kib.leaderboard.render.latex import latex

        return latex(table)
    raise InputError(f"unknown format {format!r}; available: {', '.join(FORMATS)}")
