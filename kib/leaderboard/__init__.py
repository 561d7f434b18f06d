"""Results become a table of gains: for the terminal, Markdown, CSV and JSON, and the check that CI runs."""

from kib.leaderboard.compute.baseline_check import Changes, baseline, check
from kib.leaderboard.compute.published_results import PublishedResults
from kib.leaderboard.compute.table import make_table
from kib.leaderboard.render.averages_only import brief
from kib.leaderboard.render.figure import FIGURES, save_figure
from kib.leaderboard.render.formats import FORMATS, render
from kib.leaderboard.table_records import AverageRow, BenchmarkLine, Missing, Row, Table

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
