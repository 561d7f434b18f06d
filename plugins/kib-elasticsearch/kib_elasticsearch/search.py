"""Queries as `_msearch` takes them, in batches, and the hits that come back."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib.identity import canonical
from kib.records import Hit
from kib_elasticsearch.bulk import write_vector
from kib_elasticsearch.options import ElasticsearchOptions
from kib_elasticsearch.server import AGAIN, Patience, Server, says

if TYPE_CHECKING:
    from elastic_transport import ObjectApiResponse
    from elasticsearch import Elasticsearch

__all__ = ["WINDOW", "LostIndexError", "search_all", "vector_query", "word_query"]

WINDOW = 10_000
"""Hits that Elasticsearch gives for one query at most."""

SCRIPT = "double dot = dotProduct(params.query, 'vector'); return dot < 0 ? 1 / (1 - dot) : dot + 1;"
"""Scores may not be negative: the server's own way of making them so, for its graphs as well."""


class LostIndexError(InputError):
    """An index that was built is not on the server any more, or not as it was built."""

    def __init__(self, place: str, name: str) -> None:
        super().__init__(
            f"{place}: the index {name} is gone, or is no more the one that was built; run the same command again, it "
            "makes a new one"
        )


def word_query(text: str) -> str:
    """The body of a search for the words of a text."""
    return canonical({"query": {"match": {"text": {"query": text}}}})


def vector_query(row: Iterable[float], options: ElasticsearchOptions) -> str:
    """The body of a search for what is nearest to a vector by dot product."""
    vector = write_vector(row)
    if options.index == "exact":
        script = f'{{"source":{canonical(SCRIPT)},"params":{{"query":{vector}}}}}'
        return f'{{"query":{{"script_score":{{"query":{{"match_all":{{}}}},"script":{script}}}}}}}'
    # The same number whatever `k` is: the first hits are then the same at every depth.
    most = options.candidates
    return f'{{"knn":{{"field":"vector","query_vector":{vector},"k":{most},"num_candidates":{most}}}}}'


def search_all(server: Server, name: str, bodies: Sequence[str], k: int) -> list[list[Hit]]:
    """At most `k` hits of each body, best first, equal scores by passage id; each as if it were asked alone."""
    if k < 1:
        return [[] for _ in bodies]
    if k > WINDOW:
        raise InputError(f"{k:,} hits a query, but Elasticsearch gives {WINDOW:,} at most")
    order = '"sort":[{"_score":"desc"},{"passage":"asc"}],"_source":false,"stored_fields":"_none_"'
    rest = f'"size":{k},"track_total_hits":false,{order}'
    lines = [f"{body[:-1]},{rest}}}" for body in bodies]
    found: list[list[Hit]] = []
    width = server.options.queries
    for first in range(0, len(lines), width):
        found += _ask(server, name, lines[first : first + width])
    if server.options.mode == "knn":
        return [[Hit(hit.passage, _dot(hit.score)) for hit in hits] for hits in found]
    return found


def _dot(score: float) -> float:
    """The dot product that a score was made of."""
    return score - 1 if score >= 1 else 1 - 1 / score


def _ask(server: Server, name: str, lines: Sequence[str]) -> list[list[Hit]]:
    """The hits of each line; those that the server could not answer are asked again, after a while."""
    head = canonical({"index": name, "allow_partial_search_results": False, "preference": "kib"}).encode()
    words_of_all = server.options.mode == "bm25" and server.options.shards > 1
    found: dict[int, list[Hit]] = {}
    patience = Patience(server)
    while len(found) < len(lines):
        left = [number for number in range(len(lines)) if number not in found]
        searches: list[Any] = [part for number in left for part in (head, lines[number].encode())]
        answer = server.call(partial(_msearch, searches, words_of_all))
        reason = ""
        for number, response in zip(left, answer["responses"], strict=True):
            reason = _trouble(server, name, response) or reason
            if "error" not in response and not _trouble(server, name, response):
                found[number] = [Hit(hit["sort"][1], float(hit["sort"][0])) for hit in response["hits"]["hits"]]
        if reason:
            patience.wait(reason)
    return [found[number] for number in range(len(lines))]


def _msearch(searches: Sequence[Any], words_of_all: bool, client: "Elasticsearch") -> "ObjectApiResponse[Any]":
    """Ask; with `words_of_all` a word is as rare as it is in all shards together, not in each."""
    return client.msearch(searches=searches, search_type="dfs_query_then_fetch" if words_of_all else None)


def _trouble(server: Server, name: str, response: Mapping[str, Any]) -> str:
    """Why a search has no full answer yet, "" where it has one; InputError where it never will."""
    if "error" in response:
        status, error = int(response["status"]), response["error"]
        if status == 404:
            raise LostIndexError(server.place, name)
        if status not in AGAIN:
            raise server.refuse(status, error)
        return f"the server does not search now ({status}: {server.clean(says(error))})"
    if response["timed_out"] or response["_shards"]["failed"]:
        return "the server searched a part of the index only"
    return ""
