"""Renders the table as CSV: a header, then one line per arm, average, gain by probe and comparison with labels."""

import csv
from io import StringIO
from typing import Any

from kib.leaderboard.render.machine_values import (
    AVERAGE,
    LABELS,
    PROBE,
    average_values,
    cost_keys,
    label_values,
    probe_values,
    retrieval_keys,
    row_keys,
    row_values,
)
from kib.leaderboard.table_records import Table

__all__ = ["to_csv"]

RISKY = ("=", "+", "-", "@", "\t", "\r")


def to_csv(table: Table) -> str:
    """Return all rows, averages, gains by probe and comparisons with labels; lists are joined with spaces.

    Fractions are not rounded. The column `entry` is "arm", "average", "probe" or "labels".
    """
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    probe = PROBE if table.by_probe else {}
    more = (*retrieval_keys(table), *cost_keys(table), *AVERAGE, *probe, *(LABELS if table.labelled else ()))
    columns = tuple(dict.fromkeys(("entry", *row_keys(table), *more)))
    writer.writerow(columns)
    entries = ({"entry": "arm", **row_values(row, table)} for row in table.rows)
    averages = ({"entry": "average", **average_values(row)} for row in table.averages)
    probes = ({"entry": "probe", **values} for values in probe_values(table))
    labels = ({"entry": "labels", **values} for values in label_values(table))
    for group in (entries, averages, probes, labels):
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
