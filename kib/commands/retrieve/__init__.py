"""The command `kib retrieve`: indexes and searches a corpus and measures retrieval quality, without loading a model."""

from kib.commands.retrieve.records import Block, Line, Report
from kib.commands.retrieve.search import SearchRequest, retrieve
from kib.commands.retrieve.table import FORMATS, render
from kib.commands.retrieve.trec_runs import UNITS, trec_runs

__all__ = ["FORMATS", "UNITS", "Block", "Line", "Report", "SearchRequest", "render", "retrieve", "trec_runs"]
