"""The table as CSV: one header, a row an arm, then a row an average; fractions at full precision."""

import csv
from io import StringIO
from typing import Any

from kib.leaderboard.render.machine_values import AVERAGE, ROW, cost_keys, plain_average, plain_row, retrieval_keys
from kib.leaderboard.table_records import Table

__all__ = ["to_csv"]

RISKY = ("=", "+", "-", "@", "\t", "\r")


def to_csv(table: Table) -> str:
    """All rows and averages; the column `entry` tells them apart ("arm", "average"), lists are joined by spaces."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = tuple(dict.fromkeys(("entry", *ROW, *retrieval_keys(table), *cost_keys(table), *AVERAGE)))
    writer.writerow(columns)
    entries = ({"entry": "arm", **plain_row(row, table)} for row in table.rows)
    averages = ({"entry": "average", **plain_average(row)} for row in table.averages)
    for some in (entries, averages):
        writer.writerows([_field(entry.get(name)) for name in columns] for entry in some)
    return file.getvalue()


def _field(value: Any) -> Any:
    """Empty for None; a text that a spreadsheet would run as a formula begins with an apostrophe."""
    kind = type(value)
    if kind is str:
        return f"'{value}" if value.startswith(RISKY) else value
    if kind is bool:
        return "true" if value else "false"
    if kind is list:
        return " ".join(map(str, value))
    if kind is dict:
        return " ".join(f"{key}={_field(one)}" for key, one in value.items())
    return value  # numbers; the csv module leaves None empty
