"""Renders the table as CSV: a header, one line per arm, then one line per average; fractions have full precision."""

import csv
from io import StringIO
from typing import Any

from kib.leaderboard.render.machine_values import AVERAGE, ROW, average_values, cost_keys, retrieval_keys, row_values
from kib.leaderboard.table_records import Table

__all__ = ["to_csv"]

RISKY = ("=", "+", "-", "@", "\t", "\r")


def to_csv(table: Table) -> str:
    """Return all rows and averages; the column `entry` is "arm" or "average", and lists are joined with spaces."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = tuple(dict.fromkeys(("entry", *ROW, *retrieval_keys(table), *cost_keys(table), *AVERAGE)))
    writer.writerow(columns)
    entries = ({"entry": "arm", **row_values(row, table)} for row in table.rows)
    averages = ({"entry": "average", **average_values(row)} for row in table.averages)
    for group in (entries, averages):
        writer.writerows([_field(entry.get(name)) for name in columns] for entry in group)
    return file.getvalue()


def _field(value: Any) -> Any:
    """Return a CSV field; a leading apostrophe prevents spreadsheets from evaluating the text as a formula."""
    kind = type(value)
    if kind is str:
        return f"'{value}" if value.startswith(RISKY) else value
    if kind is bool:
        return "true" if value else "false"
    if kind is list:
        return " ".join(map(str, value))
    if kind is dict:
        return " ".join(f"{key}={_field(one)}" for key, one in value.items())
    return value  # numbers and None; the csv module writes None as an empty field
