"""Renders the table as JSON, documented in `docs/leaderboard.md`; one line per row keeps diffs readable."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from kib.leaderboard.render.machine_values import (
    average_values,
    label_values,
    probe_values,
    ranking_values,
    repeat_values,
    row_values,
)
from kib.leaderboard.table_records import Table

__all__ = ["SCHEMA", "to_json"]

SCHEMA = 1


def to_json(table: Table) -> str:
    """Return the entire table as one JSON object."""
    parts = {
        "schema": _value(SCHEMA),
        "benchmarks": _lines(asdict(one) for one in table.benchmarks),
        "against": _value(table.against),
        "complete": _value(table.complete),
        "cells": _value(table.cells),
        "headings": _lines(table.headlines),
        "remarks": _lines(table.remarks),
        "environments": _lines(asdict(one) for one in table.environments),
        "rows": _lines(row_values(row, table) for row in table.rows),
        "averages": _lines(average_values(row) for row in table.averages),
        **({"probes": _lines(probe_values(table))} if table.by_probe else {}),
        **({"repeats": _lines(map(repeat_values, table.repeats))} if table.repeats else {}),
        **({"labels": _lines(label_values(table))} if table.labelled else {}),
        "missing": _lines(asdict(one) for one in table.missing),
        "duels": _lines(asdict(one) for one in table.pairwise),
        "across": _lines(ranking_values(one) for one in table.cross_origin),
        "apart": _lines(table.not_ranked_together),
    }
    return "{\n" + ",\n".join(f'"{name}": {text}' for name, text in parts.items()) + "\n}\n"


def _lines(values: Iterable[Any]) -> str:
    texts = [_value(value) for value in values]
    return "[\n" + ",\n".join(texts) + "\n]" if texts else "[]"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
