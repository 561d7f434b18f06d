"""The quality of retrieval by each arm, and the accuracy on questions with and without a retrieved gold passage."""

from collections.abc import Sequence
from math import fsum
from typing import Any

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.question_scores import QuestionScoresReader
from kib.leaderboard.table_records import RetrievalQuality
from kib.records import Score
from kib.statistics.gains import Accuracy
from kib.statistics.paired_gains import accuracy
from kib.statistics.ranking_measures import is_judged, measures_by_question
from kib.store.results import Results

__all__ = ["retrieval_quality"]


def retrieval_quality(results: Results, arms: Sequence[Arm], *, times: bool) -> dict[Arm, RetrievalQuality]:
    """Return the retrieval quality of every measured arm that retrieves; include measured seconds if `times` is set."""
    reader = QuestionScoresReader(results, "the quality of retrieval")
    found = {}
    for arm in (arm for arm in arms if arm.method.retrieve is not None):
        known = [one for one in (results.times(result.cell) for result in arm.results) if one is not None]
        timed = times and len(known) == len(arm.results)
        found[arm] = RetrievalQuality(
            **_quality(reader.seeds(arm)),
            index_bytes=known[0].index_bytes if known else None,
            indexing=fsum(one.indexing for one in known) / len(known) if timed else None,
            searching=fsum(one.searching for one in known) / len(known) / arm.results[0].n if timed else None,
        )
    return found


def _quality(seeds: Sequence[Sequence[Score]]) -> dict[str, Any]:
    """Return all measures of one arm; its seeds share passages, and question scores are averaged over seeds."""
    scores = [tuple(line.score for line in lines) for lines in zip(*seeds, strict=True)]
    pairs = [(line, some) for line, some in zip(seeds[0], scores, strict=True) if is_judged(line)]
    lines = [line for line, _ in pairs]
    values = measures_by_question(lines) if lines else {}
    groups = [line.group for line in lines]
    hit = [any(line.gold or ()) for line in lines]
    return {
        "judged": len(lines),
        "accuracy": fsum(map(_mean, (some for _, some in pairs))) / len(pairs) if pairs else None,
        **{name: accuracy(values[name], groups) if name in values else None for name in ("recall", "mrr", "ndcg")},
        "found": _accuracy_on(pairs, hit),
        "missed": _accuracy_on(pairs, [not one for one in hit]),
    }


def _accuracy_on(pairs: Sequence[tuple[Score, tuple[float, ...]]], selected: Sequence[bool]) -> Accuracy | None:
    """Return the accuracy on the selected questions, or None if no questions are selected.

    `pairs` contains a line of each question with the scores of all seeds.
    """
    some = [pair for pair, one in zip(pairs, selected, strict=True) if one]
    if not some:
        return None
    by_seed = list(map(_mean, zip(*(scores for _, scores in some), strict=True)))
    return accuracy([_mean(scores) for _, scores in some], [line.group for line, _ in some], by_seed)


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
