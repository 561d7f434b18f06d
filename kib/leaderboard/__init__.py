"""Results become a table of gains: for the terminal, Markdown, CSV and JSON, and the check that CI runs."""

from kib.leaderboard.brief import brief
from kib.leaderboard.check import Changes, baseline, check
from kib.leaderboard.figure import FIGURES, save_figure
from kib.leaderboard.published import PublishedResults
from kib.leaderboard.render import FORMATS, render
from kib.leaderboard.row import AverageRow, BenchmarkLine, Missing, Row, Table
from kib.leaderboard.table import make_table

__all__ = [
    "FIGURES",
    "FORMATS",
    "AverageRow",
    "BenchmarkLine",
    "Changes",
    "Missing",
    "PublishedResults",
    "Row",
    "Table",
    "baseline",
    "brief",
    "check",
    "make_table",
    "render",
    "save_figure",
]
