"""Pairwise comparisons of published arms: wins, ties and losses over all target rows of a paper's table."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from kib.leaderboard.table_records import PairwiseComparison

__all__ = ["compare_pairwise"]


def compare_pairwise(
    benchmark: str, arms: Sequence[str], blocks: Sequence[Mapping[str, float]]
) -> Iterator[PairwiseComparison]:
    """Yield one comparison per pair of arms; each block maps the arms of a target row to their printed accuracies."""
    for other, arm in combinations(arms, 2):
        pairs = [(block[arm], block[other]) for block in blocks if arm in block and other in block]
        wins, losses = sum(ours > theirs for ours, theirs in pairs), sum(ours < theirs for ours, theirs in pairs)
        if pairs:
            yield PairwiseComparison(benchmark, arm, other, wins, len(pairs) - wins - losses, losses)
