"""The paired sign-flip test, which is the exact McNemar test for 0/1 scores of independent questions."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from math import fsum

from kib.statistics.question_groups import CHUNK, Kinds, random_state, rounded

__all__ = ["sign_flip_p", "smallest_p"]

FLIPS = 20_000
LARGEST_GRID = 100

MOST_ENUMERATED = 16
"""The largest number of differing groups for which all sign flips are enumerated."""


def smallest_p(groups: int) -> float:
    """Return the smallest p value that a number of groups allows: the same sign in all groups, for both directions."""
    return rounded(2.0 ** (1 - groups))


def sign_flip_p(kinds: Kinds) -> float:
    """Return the two-sided p value for a sum of group differences under random sign flips.

    The first column of `kinds` is the sum of the differences. The p value is exact if all differences are multiples of
    a common fraction or few groups differ, and a Monte Carlo estimate otherwise.
    """
    observed = fsum(count * totals[0] for totals, count in kinds)
    magnitudes: Counter[float] = Counter()
    for totals, count in kinds:
        if totals[0]:
            magnitudes[abs(totals[0])] += count
    if abs(observed) < 1e-9:
        return 1.0
    grid = _grid(magnitudes)
    if grid is not None:
        return _exact_p(grid, magnitudes, observed)
    if magnitudes.total() <= MOST_ENUMERATED:
        return _enumerated_p(magnitudes, observed)
    return _monte_carlo_p(magnitudes, observed)


def _grid(magnitudes: Mapping[float, int]) -> int | None:
    """Return the smallest factor (usually the number of seeds) that makes all magnitudes integers."""
    for grid in range(1, LARGEST_GRID + 1):
        if all(round(value * grid) > 0 and abs(value * grid - round(value * grid)) < 1e-6 for value in magnitudes):
            return grid
    return None


def _exact_p(grid: int, magnitudes: Mapping[float, int], observed: float) -> float:
    """Return the exact p value; the sum's distribution is a convolution of one binomial per magnitude."""
    import numpy as np

    chances = np.ones(1)
    for value in sorted(magnitudes):
        step, count = round(value * grid), magnitudes[value]
        part = np.zeros(step * count + 1)
        part[::step] = _flip_chances(count)
        chances = np.convolve(chances, part)
    total = len(chances) - 1
    tail = chances[: (total - abs(round(observed * grid))) // 2 + 1]
    return rounded(min(1.0, 2 * fsum(tail.tolist())))


def _enumerated_p(magnitudes: Counter[float], observed: float) -> float:
    """Return the exact p value for differences without a common fraction, by enumerating all sign flips."""
    import numpy as np

    sums = np.zeros(1)
    for value in sorted(magnitudes.elements()):
        sums = np.concatenate([sums + value, sums - value])
    return rounded(float((np.abs(sums) >= abs(observed) - 1e-9).sum()) / len(sums))


@lru_cache(maxsize=256)
def _flip_chances(count: int) -> list[float]:
    """Return the probability of each number of heads, from 0 to `count`, in `count` flips of a fair coin."""
    ways = [1]
    for heads in range(count // 2):
        ways.append(ways[-1] * (count - heads) // (heads + 1))
    half = [number / 2**count for number in ways]  # dividing whole numbers rounds only once
    return half + half[: (count + 1) // 2][::-1]


def _monte_carlo_p(magnitudes: Mapping[float, int], observed: float) -> float:
    """Return a Monte Carlo p value with the +1 correction (Phipson & Smyth 2010)."""
    import numpy as np

    values = np.array(sorted(magnitudes))
    counts = np.array([magnitudes[value] for value in sorted(magnitudes)])
    state, reached = random_state(), 0
    chunk = max(1, CHUNK // len(values))
    for start in range(0, FLIPS, chunk):
        ups = state.binomial(counts, 0.5, size=(min(chunk, FLIPS - start), len(values)))
        reached += int((np.abs((2 * ups - counts) @ values) >= abs(observed) - 1e-9).sum())
    return rounded((reached + 1) / (FLIPS + 1))
