"""Search requests, which send queries in batches (`_msearch`) and convert the responses to hits."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib.records import Hit
from kib_elasticsearch.bulk_indexing import vector_numbers
from kib_elasticsearch.error_messages import error_text, is_retryable
from kib_elasticsearch.options import ElasticsearchOptions
from kib_elasticsearch.server import RetryTimer, Server
from kib_elasticsearch.server_index import LostIndexError

if TYPE_CHECKING:
    from elastic_transport import ObjectApiResponse
    from elasticsearch import Elasticsearch

__all__ = ["search_all", "vector_query", "word_query"]

MOST_HITS = 10_000
"""Maximum number of hits per query in Elasticsearch (`index.max_result_window`)."""

SCRIPT = "double dot = dotProduct(params.query, 'vector'); return dot < 0 ? 1 / (1 - dot) : dot + 1;"
"""Maps a dot product to a positive score, as Elasticsearch requires; the same formula as `max_inner_product`."""


def word_query(text: str) -> dict[str, Any]:
    """Return the body of a search for passages that have words in common with `text`."""
    return {"query": {"match": {"text": {"query": text}}}}


def vector_query(row: Iterable[float], options: ElasticsearchOptions) -> dict[str, Any]:
    """Return the body of a search for the passages with the largest dot products with a query vector."""
    vector = vector_numbers(row)
    if options.index == "exact":
        script = {"source": SCRIPT, "params": {"query": vector}}
        return {"query": {"script_score": {"query": {"match_all": {}}, "script": script}}}
    # The number of candidates is fixed, because otherwise the best hits could depend on the number of hits requested.
    count = options.candidates
    return {"knn": {"field": "vector", "query_vector": vector, "k": count, "num_candidates": count}}


def search_all(server: Server, index_name: str, queries: Sequence[dict[str, Any]], k: int) -> list[list[Hit]]:
    """Return at most `k` hits per query, best first, with ties ordered by passage id; queries are independent."""
    if k < 1:
        return [[] for _ in queries]
    if k > MOST_HITS:
        raise InputError(f"{k:,} hits per query were requested, but Elasticsearch returns at most {MOST_HITS:,}")
    common = {
        "size": k,
        "track_total_hits": False,
        "sort": [{"_score": "desc"}, {"passage": "asc"}],
        "_source": False,
        "stored_fields": "_none_",
    }
    bodies = [{**query, **common} for query in queries]
    batch = server.options.queries
    found: list[list[Hit]] = []
    for first in range(0, len(bodies), batch):
        found += _search_batch(server, index_name, bodies[first : first + batch])
    if server.options.mode == "knn":
        return [[Hit(hit.passage, _dot_product(hit.score)) for hit in hits] for hits in found]
    return found


def _dot_product(score: float) -> float:
    """Recover the dot product from a score by inverting the formula in `SCRIPT`."""
    return score - 1 if score >= 1 else 1 - 1 / score


def _search_batch(server: Server, index_name: str, bodies: Sequence[dict[str, Any]]) -> list[list[Hit]]:
    """Return the hits for each search in a batch; repeat incomplete searches after a pause."""
    found: dict[int, list[Hit]] = {}
    timer = RetryTimer(server)
    while len(found) < len(bodies):
        left = [position for position in range(len(bodies)) if position not in found]
        answer = server.call(partial(_msearch, server, index_name, [bodies[position] for position in left]))
        retry_reason = ""
        for position, response in zip(left, answer["responses"], strict=True):
            reason = _find_failure(server, index_name, response)
            if not reason:
                found[position] = [Hit(hit["sort"][1], float(hit["sort"][0])) for hit in response["hits"]["hits"]]
            retry_reason = reason or retry_reason
        if retry_reason:
            timer.wait(retry_reason)
    return [found[position] for position in range(len(bodies))]


def _msearch(
    server: Server, index_name: str, bodies: Sequence[dict[str, Any]], client: "Elasticsearch"
) -> "ObjectApiResponse[Any]":
    header = {"index": index_name, "allow_partial_search_results": False, "preference": "kib"}
    searches: list[dict[str, Any]] = []
    for body in bodies:
        searches += [header, body]
    # With several shards, BM25 needs the word frequencies of the whole index, not of a single shard.
    all_shards = server.options.mode == "bm25" and server.options.shards > 1
    return client.msearch(searches=searches, search_type="dfs_query_then_fetch" if all_shards else None)


def _find_failure(server: Server, index_name: str, response: Mapping[str, Any]) -> str:
    """Return the reason why a search is incomplete, or "" if it is complete.

    Raise InputError if retrying the search cannot help.
    """
    if "error" in response:
        status, error = int(response["status"]), response["error"]
        if status == 404:
            raise LostIndexError(server.addresses, index_name)
        if not is_retryable(status, error):
            raise server.rejection(status, error)
        return f"the server is temporarily unable to search ({status}: {server.redact(error_text(error))})"
    if response["timed_out"] or response["_shards"]["failed"]:
        return "the server searched only part of the index"
    return ""
