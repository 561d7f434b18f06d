"""The retrieval part of a benchmark alone, with its measures: no model is loaded, nothing is asked."""

from kib.commands.retrieve.records import Block, Line, Report
from kib.commands.retrieve.search import Wanted, retrieve
from kib.commands.retrieve.table import FORMATS, render
from kib.commands.retrieve.trec_runs import trec_runs

__all__ = ["FORMATS", "Block", "Line", "Report", "Wanted", "render", "retrieve", "trec_runs"]
