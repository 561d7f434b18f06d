"""How well an arm's passages hold what answers the questions, and what its accuracy is where they do and do not."""

from collections.abc import Sequence
from math import fsum
from typing import Any

from kib.leaderboard.compute.arms import Arm
from kib.leaderboard.compute.question_scores import Evidence
from kib.leaderboard.table_records import Retrieval
from kib.records import Score
from kib.statistics.gains import Accuracy
from kib.statistics.paired_gains import accuracy
from kib.statistics.ranking_measures import is_judged, measures_by_question
from kib.store.results import Results

__all__ = ["retrievals"]


def retrievals(results: Results, arms: Sequence[Arm], *, times: bool) -> dict[Arm, Retrieval]:
    """Of the measured arms that retrieve; seconds are in them where `times` asks for them."""
    evidence = Evidence(results, "the quality of retrieval")
    found = {}
    for arm in (arm for arm in arms if arm.method.retrieve is not None):
        known = [one for one in (results.times(result.cell) for result in arm.results) if one is not None]
        whole = len(known) == len(arm.results)
        quality = _quality(evidence.seeds(arm))
        found[arm] = Retrieval(
            **quality,
            index_bytes=known[0].index_bytes if known else None,
            indexing=fsum(one.indexing for one in known) / len(known) if times and whole else None,
            searching=fsum(one.searching for one in known) / len(known) / arm.results[0].n if times and whole else None,
        )
    return found


def _quality(seeds: Sequence[Sequence[Score]]) -> dict[str, Any]:
    """Passages are the same for all seeds; a question's score is its mean over them."""
    means = [fsum(line.score for line in lines) / len(lines) for lines in zip(*seeds, strict=True)]
    pairs = [(line, mean) for line, mean in zip(seeds[0], means, strict=True) if is_judged(line)]
    lines = [line for line, _ in pairs]
    values = measures_by_question(lines) if lines else {}
    groups = [line.group for line in lines]
    hit = [any(line.gold or ()) for line in lines]
    return {
        "judged": len(lines),
        "accuracy": fsum(mean for _, mean in pairs) / len(pairs) if pairs else None,
        **{name: accuracy(values[name], groups) if name in values else None for name in ("recall", "mrr", "ndcg")},
        "found": _part(pairs, hit),
        "missed": _part(pairs, [not one for one in hit]),
    }


def _part(pairs: Sequence[tuple[Score, float]], wanted: Sequence[bool]) -> Accuracy | None:
    some = [pair for pair, one in zip(pairs, wanted, strict=True) if one]
    return accuracy([mean for _, mean in some], [line.group for line, _ in some]) if some else None
