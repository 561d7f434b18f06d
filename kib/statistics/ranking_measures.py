"""Measures of a ranking, by ir_measures: what trec_eval computes, so that values compare with published ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from kib.records import Score

__all__ = ["Judgments", "Ranked", "is_judged", "measure", "of_lines"]

Judgments = Mapping[str, Mapping[str, int]]
"""By query: grades of relevance by id, 0 is not relevant."""

Ranked = Mapping[str, Sequence[str]]
"""By query: ids, best first, each once."""


def measure(names: Sequence[str], judgments: Judgments, ranked: Ranked) -> dict[str, dict[str, float]]:
    """By measure and query, values from 0 to 1; a judged query for which nothing was found has 0.

    `names` are those of ir_measures: `R@10`, `Success@10`, `RR@10`, `nDCG@10`, `AP`. Gains of nDCG are the grades
    themselves, as in trec_eval. Queries without a judgment are left out.
    """
    import ir_measures

    parsed: dict[Any, str] = {ir_measures.parse_measure(name): name for name in names}
    # Ranks as scores: equal scores of a retriever are in the order that it gave, not in that of an evaluator.
    run = {query: {one: -float(rank) for rank, one in enumerate(ids)} for query, ids in ranked.items() if ids}
    grades = {query: dict(some) for query, some in judgments.items()}
    values = {name: dict.fromkeys(judgments, 0.0) for name in names}
    for found in ir_measures.iter_calc(list(parsed), grades, run):
        if found.query_id in judgments:
            values[parsed[found.measure]][found.query_id] = float(found.value)
    return values


def is_judged(line: Score) -> bool:
    """Whether a passage of the corpus is gold for a question.

    Lines that were written before these were counted say so by the flags of what was retrieved.
    """
    return line.gold is not None if line.relevant is None else line.relevant > 0


def of_lines(lines: Sequence[Score]) -> dict[str, list[float]]:
    """Of judged questions, one by one: recall (1 where a gold passage was retrieved), MRR and nDCG of gold passages.

    MRR and nDCG are left out where it was not noted how many passages are gold.
    """
    values = {"recall": [float(any(line.gold or ())) for line in lines]}
    if not lines or any(line.relevant is None for line in lines):
        return values
    judged, ranked = {}, {}
    for line in lines:
        gold = [passage for passage, flag in zip(line.passages, line.gold or (), strict=False) if flag]
        unseen = [f"#{number}" for number in range((line.relevant or 0) - len(gold))]  # they count in the ideal
        judged[line.question_id] = dict.fromkeys([*gold, *unseen], 1)
        ranked[line.question_id] = line.passages
    cut = f"nDCG@{max([1, *(len(line.passages) for line in lines)])}"
    found = measure(["RR", cut], judged, ranked)
    for name, theirs in (("mrr", "RR"), ("ndcg", cut)):
        values[name] = [found[theirs][line.question_id] for line in lines]
    return values
