"""The table as JSON; `docs/leaderboard.md` describes it. A row stands on a line of its own, so that diffs are read."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from kib.leaderboard.render.machine_values import plain_across, plain_average, plain_row
from kib.leaderboard.table_records import Table

__all__ = ["SCHEMA", "to_json"]

SCHEMA = 1


def to_json(table: Table) -> str:
    """The whole table: one object."""
    parts = {
        "schema": _value(SCHEMA),
        "benchmarks": _lines(asdict(one) for one in table.benchmarks),
        "against": _value(table.against),
        "complete": _value(table.complete),
        "cells": _value(table.cells),
        "headings": _lines(table.headings),
        "remarks": _lines(table.remarks),
        "environments": _lines(asdict(one) for one in table.environments),
        "rows": _lines(plain_row(row, table) for row in table.rows),
        "averages": _lines(plain_average(row) for row in table.averages),
        "missing": _lines(asdict(one) for one in table.missing),
        "duels": _lines(asdict(one) for one in table.duels),
        "across": _lines(plain_across(one) for one in table.across),
        "apart": _lines(table.apart),
    }
    return "{\n" + ",\n".join(f'"{name}": {text}' for name, text in parts.items()) + "\n}\n"


def _lines(values: Iterable[Any]) -> str:
    texts = [_value(value) for value in values]
    return "[\n" + ",\n".join(texts) + "\n]" if texts else "[]"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
