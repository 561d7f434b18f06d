"""Ranking measures, computed with ir_measures, whose values equal the values of trec_eval and published tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from kib.records import Score

__all__ = ["Judgments", "Ranked", "is_judged", "measure", "measures_by_question"]

Judgments = Mapping[str, Mapping[str, int]]
"""Relevance grades by query and document id; grade 0 means not relevant."""

Ranked = Mapping[str, Sequence[str]]
"""Distinct document ids by query, best first."""


def measure(names: Sequence[str], judgments: Judgments, ranked: Ranked) -> dict[str, dict[str, float]]:
    """Return values from 0 to 1 by measure and query; a judged query without results has the value 0.

    `names` are ir_measures names: `R@10`, `Success@10`, `RR@10`, `nDCG@10`, `AP`. As in trec_eval, the gain in nDCG is
    the grade itself. Queries without judgments are omitted.
    """
    import ir_measures

    parsed: dict[Any, str] = {ir_measures.parse_measure(name): name for name in names}
    # Ranks serve as scores, so that ties follow the order of the retriever and not the order of the evaluator.
    run = {query: {one: -float(rank) for rank, one in enumerate(ids)} for query, ids in ranked.items() if ids}
    grades = {query: dict(some) for query, some in judgments.items()}
    values = {name: dict.fromkeys(judgments, 0.0) for name in names}
    for found in ir_measures.iter_calc(list(parsed), grades, run):
        if found.query_id in judgments:
            values[parsed[found.measure]][found.query_id] = float(found.value)
    return values


def is_judged(line: Score) -> bool:
    """Return whether the corpus contains a gold passage for a question.

    Records from earlier versions have no gold-passage count; the question of such a record counts as judged if the
    record has gold flags for the retrieved passages.
    """
    return line.gold is not None if line.relevant is None else line.relevant > 0


def measures_by_question(lines: Sequence[Score]) -> dict[str, list[float]]:
    """Return recall, MRR and nDCG of judged questions, question by question; recall is 1 if a gold passage was found.

    MRR and nDCG are omitted if any score lacks the number of gold passages.
    """
    values = {"recall": [float(any(line.gold or ())) for line in lines]}
    if not lines or any(line.relevant is None for line in lines):
        return values
    judged, ranked = {}, {}
    for line in lines:
        gold = [passage for passage, flag in zip(line.passages, line.gold or (), strict=False) if flag]
        unseen = [
            f"#{number}" for number in range((line.relevant or 0) - len(gold))
        ]  # gold passages that were not retrieved count in the ideal ranking
        judged[line.question_id] = dict.fromkeys([*gold, *unseen], 1)
        ranked[line.question_id] = line.passages
    cut = f"nDCG@{max([1, *(len(line.passages) for line in lines)])}"
    found = measure(["RR", cut], judged, ranked)
    for name, theirs in (("mrr", "RR"), ("ndcg", cut)):
        values[name] = [found[theirs][line.question_id] for line in lines]
    return values
