"""Renders the table as CSV: a header, then one line per arm, average and gain by probe, with unrounded fractions."""

import csv
from io import StringIO
from typing import Any

from kib.leaderboard.render.machine_values import (
    AVERAGE,
    PROBE,
    average_values,
    cost_keys,
    probe_values,
    retrieval_keys,
    row_keys,
    row_values,
)
from kib.leaderboard.table_records import Table

__all__ = ["to_csv"]

RISKY = ("=", "+", "-", "@", "\t", "\r")


def to_csv(table: Table) -> str:
    """Return all rows, averages and gains by probe; lists are joined with spaces.

    The column `entry` is "arm", "average" or "probe".
    """
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    probe = PROBE if table.by_probe else {}
    rows = (*row_keys(table), *retrieval_keys(table), *cost_keys(table))
    columns = tuple(dict.fromkeys(("entry", *rows, *AVERAGE, *probe)))
    writer.writerow(columns)
    entries = ({"entry": "arm", **row_values(row, table)} for row in table.rows)
    averages = ({"entry": "average", **average_values(row)} for row in table.averages)
    probes = ({"entry": "probe", **values} for values in probe_values(table))
    for group in (entries, averages, probes):
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
