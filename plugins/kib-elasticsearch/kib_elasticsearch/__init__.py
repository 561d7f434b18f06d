"""Elasticsearch retrieval for kib, with BM25 or vector search on a server or cluster."""

from kib_elasticsearch.options import ElasticsearchOptions
from kib_elasticsearch.retriever import Elasticsearch

__all__ = ["Elasticsearch", "ElasticsearchOptions"]
