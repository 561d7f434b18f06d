"""The retrieval part of a benchmark alone, with its measures: no model is loaded, nothing is asked."""

from kib.retrieve.report import Block, Line, Report
from kib.retrieve.search import Wanted, retrieve
from kib.retrieve.table import FORMATS, render
from kib.retrieve.trec import trec_runs

__all__ = ["FORMATS", "Block", "Line", "Report", "Wanted", "render", "retrieve", "trec_runs"]
