"""Turns results into a leaderboard: a table of gains as text, files and figures, and a check for CI."""

from kib.leaderboard.compute.baseline_check import Changes, baseline, check
from kib.leaderboard.compute.table import make_table
from kib.leaderboard.render.averages_only import averages_only
from kib.leaderboard.render.figure import FIGURES, save_figure
from kib.leaderboard.render.formats import FORMATS, render
from kib.leaderboard.table_records import ArmRow, AverageRow, BenchmarkLine, Missing, Table
from kib.published.results import PublishedResults

__all__ = [
    "FIGURES",
    "FORMATS",
    "ArmRow",
    "AverageRow",
    "BenchmarkLine",
    "Changes",
    "Missing",
    "PublishedResults",
    "Table",
    "averages_only",
    "baseline",
    "check",
    "make_table",
    "render",
    "save_figure",
]
