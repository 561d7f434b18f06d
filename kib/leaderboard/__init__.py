"""Results become a table of gains: for the terminal, Markdown, CSV and JSON, and the check that CI runs."""

from kib.leaderboard.check import Changes, baseline, check
from kib.leaderboard.render import FORMATS, render
from kib.leaderboard.row import AverageRow, BenchmarkLine, Missing, Row, Table
from kib.leaderboard.table import make_table

__all__ = [
    "FORMATS",
    "AverageRow",
    "BenchmarkLine",
    "Changes",
    "Missing",
    "Row",
    "Table",
    "baseline",
    "check",
    "make_table",
    "render",
]
