"""Accuracies, gains, intervals and p values, compared with scipy, statsmodels and worked examples."""

import random
import subprocess
import sys
from collections import Counter
from itertools import product
from math import fsum

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kib.statistics import confidence_intervals
from kib.statistics.gains import Gain, Interval
from kib.statistics.multiple_testing import holm
from kib.statistics.paired_gains import accuracy, average, gain, p_value
from kib.statistics.question_groups import totals_by_group

ZERO_ONE = st.integers(0, 1)
SEEDS = st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0])
UNEVEN = st.sampled_from([0.0, 0.123, 0.377, 0.711, 1.0])  # differences have no common fraction
ANY = st.floats(0, 1, allow_subnormal=False)


@st.composite
def pairs(draw, score=ZERO_ONE, grouped=True, smallest=1):
    """The scores of two arms on the same questions, and the group of each question."""
    group = st.sampled_from([None, "a", "b", "c", "d"]) if grouped else st.none()
    rows = draw(st.lists(st.tuples(score, score, group), min_size=smallest, max_size=40))
    base, scores, groups = (list(column) for column in zip(*rows, strict=True))
    return base, scores, groups


def average_of(tasks):
    """Return the average over tasks, given the scores of the two arms and the groups for each task."""
    return average([(task, gain(*task)) for task in tasks])


def dice(seed):
    """Return a seeded random number generator."""
    return random.Random(seed)  # noqa: S311 - not used for security


@given(st.lists(ZERO_ONE, min_size=1, max_size=60))
def test_accuracy_of_independent_questions_is_wilsons(scores):
    """The accuracy of independent questions has the Wilson interval computed by statsmodels."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(sum(scores), len(scores), alpha=0.05, method="wilson")
    found = accuracy(scores, [None] * len(scores))
    assert found.mean == pytest.approx(sum(scores) / len(scores))
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=1e-9)
    assert (found.n, found.groups) == (len(scores), len(scores))


def test_intervals_of_large_groups_are_t_intervals_of_group_means():
    """For large groups of equal size, intervals are about as wide as the t intervals of the group means."""
    import numpy as np
    from scipy.stats import t

    rng = np.random.default_rng(1)
    levels = np.repeat(0.3 + 0.4 * rng.random(12), 50)
    scores, groups = (rng.random(600) < levels).astype(int), [f"g{number // 50}" for number in range(600)]
    means = scores.reshape(12, 50).mean(axis=1)
    low, high = t.interval(0.95, 11, loc=means.mean(), scale=means.std(ddof=1) / np.sqrt(12))
    found = [accuracy(scores.tolist(), groups).interval, gain([0] * 600, scores.tolist(), groups).interval]
    assert [(one.low, one.high) for one in found] == [pytest.approx((low, high), abs=0.02)] * 2
    alone = accuracy(scores.tolist(), [None] * 600).interval
    assert high - low > 1.2 * (alone.high - alone.low)


def test_interval_of_independent_questions_is_bonett_and_prices():
    """Without groups, the interval of a gain is that of Bonett & Price, with quantiles of the t distribution."""
    from scipy.stats import t

    wins, losses, n = 9, 2, 40
    up, down = (wins + 1) / (n + 2), (losses + 1) / (n + 2)
    error = ((up + down - (up - down) ** 2) / (n + 2)) ** 0.5
    found = gain([0] * wins + [1] * losses + [1] * 29, [1] * wins + [0] * losses + [1] * 29, [None] * n).interval
    expected = [up - down - t.ppf(0.975, n - 1) * error, up - down + t.ppf(0.975, n - 1) * error]
    assert [found.low, found.high] == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("sizes", [(5, 5, 5, 5), (1, 2, 3, 10, 4, 6), (1, 1, 1, 40), (7, 3)])
def test_variance_and_freedom_are_those_of_bell_and_mccaffrey(sizes):
    """The variance and the degrees of freedom for groups of unequal size equal their matrix definitions (CR2)."""
    import numpy as np
    from scipy.linalg import block_diag, sqrtm

    number = sum(sizes)
    values = np.random.default_rng(3).random(number)
    ends = np.cumsum(sizes)
    kinds = tuple(((values[end - size : end].sum(), float(size)), 1) for size, end in zip(sizes, ends, strict=True))
    residual = np.eye(number) - np.full((number, number), 1 / number)
    blocks = [
        np.linalg.inv(sqrtm(residual[end - size : end, end - size : end]))
        for size, end in zip(sizes, ends, strict=True)
    ]
    columns = [
        residual[:, end - size : end] @ block @ np.full(size, 1 / number)
        for size, end, block in zip(sizes, ends, blocks, strict=True)
    ]
    spread = np.linalg.eigvalsh(np.array(columns) @ np.array(columns).T)
    groups = confidence_intervals._groups(kinds)
    assert confidence_intervals._freedom(groups) == pytest.approx(spread.sum() ** 2 / (spread**2).sum())
    adjusted = block_diag(*blocks) @ (values - values.mean())
    sums = [adjusted[end - size : end].sum() for size, end in zip(sizes, ends, strict=True)]
    residuals = [totals[0] - values.mean() * totals[1] for totals, _ in kinds]
    assert confidence_intervals._covariance(groups, residuals, residuals) == pytest.approx(np.square(sums).sum())


@given(st.lists(SEEDS, min_size=2, max_size=30))
def test_accuracy_lies_in_its_interval(scores):
    """An accuracy lies within its interval, and the interval lies between 0 and 1, even for means over seeds."""
    found = accuracy(scores, [None] * len(scores))
    assert 0 <= found.interval.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.interval.high <= 1


@given(pairs(score=SEEDS))
def test_gain_over_itself_is_zero(pair):
    """The gain of an arm over itself is 0, with p = 1 and all questions tied."""
    _, scores, groups = pair
    found = gain(scores, scores, groups)
    assert (found.absolute, found.p, found.wins, found.ties, found.losses) == (0.0, 1.0, 0, len(scores), 0)
    assert found.interval.low < 0 < found.interval.high


@given(st.one_of(pairs(), pairs(score=SEEDS), pairs(score=ANY)), st.randoms(use_true_random=False))
def test_order_of_questions_does_not_matter(pair, rng):
    """The order of questions and the names of groups do not affect any statistic."""
    base, scores, groups = pair
    order = list(range(len(base)))
    rng.shuffle(order)
    renamed = {name: name and f"{name}-{rng.random()}" for name in groups}
    there = [[column[number] for number in order] for column in (base, scores)]
    others = [renamed[groups[number]] for number in order]
    assert gain(*there, others) == gain(base, scores, groups)
    assert accuracy(there[1], others) == accuracy(scores, groups)
    assert average_of([(*there, others)]) == average_of([(base, scores, groups)])


@given(st.one_of(pairs(), pairs(score=SEEDS), pairs(score=ANY)))
@example(([0, 0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1, 1, 0, 0], [None, *"abbb", None, "a", None, "a"]))
def test_swapping_sides_flips_the_sign(pair):
    """Swapping two arms mirrors the gain, interval, wins and losses, but does not change p."""
    base, scores, groups = pair
    there, back = gain(base, scores, groups), gain(scores, base, groups)
    assert back.absolute == -there.absolute
    assert back.interval == Interval(-there.interval.high, -there.interval.low)
    assert (back.wins, back.ties, back.losses, back.p) == (there.losses, there.ties, there.wins, there.p)


@given(pairs(grouped=False))
def test_p_of_independent_questions_is_mcnemars(pair):
    """For binary scores of independent questions, p equals the p value of the exact McNemar test."""
    from scipy.stats import binomtest

    base, scores, groups = pair
    wins, losses = (sum(one - other == sign for one, other in zip(scores, base, strict=True)) for sign in (1, -1))
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert p_value(base, scores, groups) == pytest.approx(expected, rel=1e-9)


def test_p_of_many_questions_is_mcnemars():
    """The p value for thousands of questions is accurate far into the tail."""
    from scipy.stats import binomtest

    base, scores = [0] * 700 + [1] * 500 + [1] * 3000, [1] * 700 + [0] * 500 + [1] * 3000
    expected = binomtest(500, 1200).pvalue
    assert p_value(base, scores, [None] * 4200) == pytest.approx(expected, rel=1e-9)
    assert expected < 1e-7


@given(st.one_of(pairs(), pairs(score=SEEDS), pairs(score=UNEVEN)))
def test_p_of_groups_counts_all_sign_flips(pair):
    """For few groups, p is the share of sign flips with a sum at least as extreme as the observed sum."""
    base, scores, groups = pair
    names = [group or f"alone {number}" for number, group in enumerate(groups)]
    sums = dict.fromkeys(names, 0.0)
    for name, score, other in zip(names, scores, base, strict=True):
        sums[name] += score - other
    sums = [abs(value) for value in sums.values() if abs(value) > 1e-9][:12]
    observed = sum(sum(s - b for s, b, n in zip(scores, base, names, strict=True) if n == name) for name in set(names))
    assume(len(sums) < 12)
    flips = [
        abs(sum(sign * value for sign, value in zip(signs, sums, strict=True)))
        for signs in product((1, -1), repeat=len(sums))
    ]
    expected = sum(flip >= abs(observed) - 1e-9 for flip in flips) / len(flips)
    assert gain(base, scores, groups).p == pytest.approx(expected, rel=1e-9)


def test_p_of_arbitrary_scores_is_scipys():
    """For arbitrary differences, p approximates the p value of scipy's sign-flip test and is never 0."""
    import numpy as np
    from scipy.stats import permutation_test

    rng = np.random.default_rng(4)
    base, scores = rng.random(60), rng.random(60) + 0.08
    other = permutation_test(
        (scores, base), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=20_000, rng=5, axis=0
    )
    assert gain(base.tolist(), scores.tolist(), [None] * 60).p == pytest.approx(other.pvalue, abs=0.015)
    assert gain([0.0] * 60, (0.5 + base / 3).tolist(), [None] * 60).p > 0


def test_relative_gain_is_relative_to_the_base():
    """The relative gain is (arm - base) / base, or None if the base accuracy is 0."""
    found = gain([1, 0, 0, 0], [1, 1, 1, 0], [None] * 4)
    assert (found.absolute, found.relative) == (0.5, 2.0)
    assert gain([0, 0], [1, 0], [None] * 2).relative is None


def test_one_group_has_no_interval():
    """If all questions belong to one group, the p value is 1 and the intervals contain all possible values."""
    found = gain([0] * 50, [1] * 50, ["a"] * 50)
    assert (found.absolute, found.p, found.interval) == (1.0, 1.0, Interval(-1.0, 1.0))
    assert accuracy([1] * 50, ["a"] * 50).interval == Interval(0.0, 1.0)


@given(st.one_of(pairs(), pairs(score=SEEDS), pairs(score=ANY)))
def test_gain_lies_in_its_interval(pair):
    """A gain lies within its interval, and the interval lies between -1 and 1."""
    found = gain(*pair)
    assert -1 <= found.interval.low <= found.absolute + 1e-9
    assert found.absolute - 1e-9 <= found.interval.high <= 1


@pytest.mark.parametrize(("wins", "groups"), [(1, 3), (6, 3), (1, 18), (9, 18)])
def test_ties_have_the_narrowest_interval(wins, groups):
    """An arm that ties on every question has a narrower interval than an arm that wins any of the same questions."""
    names = [f"g{number % groups}" for number in range(18)]
    tied, other = (gain([0] * 18, [1] * number + [0] * (18 - number), names).interval for number in (0, wins))
    assert 0 < tied.high - tied.low < other.high - other.low
    assert tied.low == -tied.high


@pytest.mark.parametrize("wins", range(12))
def test_interval_and_test_agree_without_groups(wins):
    """Without groups, an interval excludes 0 if and only if p is below .05, except near this limit."""
    found = gain([0] * wins + [1] * 49, [1] * wins + [0] + [1] * 48, [None] * (wins + 49))
    assert (found.interval.low > 0) == (found.p < 0.05) or 0.02 < found.p < 0.08


def test_unanimous_groups_have_a_positive_interval():
    """If all groups agree, the interval still has a positive width, which shrinks with the number of groups."""
    few, many = (gain([0] * n, [0] * n, [None] * n).interval for n in (3, 300))
    assert few.high == -few.low > 0.5
    assert 0 < many.high == -many.low < 0.013
    assert gain([0] * 300, [1] * 300, [None] * 300).interval.high == 1.0
    assert accuracy([1] * 60, [str(number // 3) for number in range(60)]).interval.low == pytest.approx(0.94, abs=0.02)


def test_identical_seeds_do_not_change_p():
    """The mean over several identical seeds has the same p value as a single seed."""
    base = [0, 0, 0, 1, 0, 1, 0, 0]
    scores = [1, 1, 0, 1, 1, 1, 0, 1]
    agreed = [sum([score] * 3) / 3 for score in scores]
    assert gain(base, agreed, [None] * 8).p == gain(base, scores, [None] * 8).p


def test_holm_of_a_worked_example():
    """Holm's method multiplies the sorted p values by n, n - 1, … and never returns a decreasing sequence."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_keeps_order_and_never_lowers(values):
    """Holm's adjustment never lowers a p value, preserves the order and never exceeds 1."""
    adjusted = holm(values)
    assert all(value - 1e-9 <= after <= 1 for value, after in zip(values, adjusted, strict=True))
    ordered = sorted(zip(values, adjusted, strict=True))
    assert [after for _, after in ordered] == sorted(adjusted)


def test_average_is_the_mean_of_tasks():
    """An average weights tasks equally, regardless of their numbers of questions."""
    small = ([1, 0], [1, 1], [None] * 2)
    large = ([1, 0, 0, 0] * 10, [1, 1, 0, 0] * 10, [None] * 40)
    found = average_of([small, large])
    assert found.tasks == 2
    assert found.absolute == pytest.approx((0.5 + 0.25) / 2)
    assert found.relative == pytest.approx((1.0 + 1.0) / 2)


def test_average_without_a_base_has_no_relative_gain():
    """A relative average needs nonzero base accuracies, and its interval needs base accuracies that differ from 0."""
    never = ([0] * 20, [1, 0] * 10, [None] * 20)
    seldom = ([1] + [0] * 19, [1, 0] * 10, [None] * 20)
    often = ([1, 0] * 10, [1, 1] * 10, [None] * 20)
    assert average_of([never, often]).relative is None
    assert average_of([seldom, often]).relative is not None
    assert average_of([seldom, often]).relative_interval is None
    assert average_of([often, often]).relative_interval is not None
    assert average_of([(*often[:2], ["a"] * 20), often]).relative_interval is None


@given(pairs(smallest=8))
def test_relative_intervals_are_fiellers(pair):
    """The ends of a relative interval are the ratios that a t test of (arm - ratio x base) just rejects."""
    base, scores, _ = pair
    n = len(base) + 2
    rows = list(zip(scores, base, strict=True))
    kinds = totals_by_group([None] * (n - 2), rows, lambda row: (*row, (row[0] - row[1]) ** 2))
    found = confidence_intervals.ratio_interval(kinds)
    assume(found is not None)
    means = [(fsum(side) + 1) / n for side in (scores, base)]
    for ratio in (found.low, found.high):
        rows = [(a - means[0]) - ratio * (b - means[1]) for a, b in zip(scores, base, strict=True)]
        added = [(1 - means[0]) + ratio * means[1], -means[0] - ratio * (1 - means[1])]
        error = (fsum(one**2 for one in rows) * (n - 2) / (n - 3) + fsum(one**2 for one in added)) ** 0.5 / n
        quantile = confidence_intervals._t_quantile(n - 3.0)
        assert abs(means[0] - ratio * means[1]) == pytest.approx(quantile * error, rel=1e-6, abs=1e-9)


def test_average_over_tasks_narrows_the_interval():
    """Averaging n equal tasks narrows the interval of a single task by a factor of sqrt(n)."""
    rng = dice(8)
    tasks = [
        ([int(rng.random() < 0.3) for _ in range(100)], [int(rng.random() < 0.5) for _ in range(100)], [None] * 100)
        for _ in range(4)
    ]
    widths = [found.high - found.low for found in (gain(*task).interval for task in tasks)]
    found = average_of(tasks)
    assert found.interval.high - found.interval.low == pytest.approx(sum(widths) / 4 / 2, rel=0.1)
    assert found.interval.low < found.absolute < found.interval.high
    assert found.relative_interval.low < found.relative < found.relative_interval.high


def plain_totals(groups, *columns):
    """Return the distinct totals of all groups and their numbers, computed group by group."""
    names = [f"alone {number}" if group is None else f"group {group}" for number, group in enumerate(groups)]
    members = [[number for number, other in enumerate(names) if other == name] for name in sorted(set(names))]
    totals = [
        (*(round(fsum(column[number] for number in some), 9) + 0.0 for column in columns), float(len(some)))
        for some in members
    ]
    return tuple(sorted(Counter(totals).items()))


@given(pairs(SEEDS))
def test_totals_are_those_of_each_group(pair):
    """Totals that are computed from the distinct rows equal totals that are computed group by group."""
    base, scores, groups = pair
    assert totals_by_group(groups, list(zip(base, scores, strict=True)), tuple) == plain_totals(groups, base, scores)


@pytest.mark.parametrize("call", [lambda: accuracy([], []), lambda: gain([], [], [])])
def test_statistics_need_questions(call):
    """Computing a statistic without questions raises an error."""
    with pytest.raises(ValueError, match="no questions"):
        call()


def test_arms_of_unequal_length_are_rejected():
    """Comparing arms with different numbers of questions raises an error."""
    with pytest.raises(ValueError, match=r"shorter|longer"):
        gain([0, 1], [1], [None])


def test_bytes_do_not_depend_on_the_process():
    """A process with a different hash seed computes exactly the same numbers."""
    code = (
        "import random; from kib.statistics.paired_gains import *; r = random.Random(1)\n"
        "b, s = ([r.randint(0, 1) for _ in range(90)] for _ in 'bs'); g = [f'g{i // 4}' for i in range(90)]\n"
        "found = repr((gain(b, s, g), accuracy(s, g), average([((b, s, g), gain(b, s, g))] * 3)))\n"
    )
    here = {}
    exec(code, here)  # noqa: S102 - the code above
    environment = {"PYTHONHASHSEED": "2"}
    call = [sys.executable, "-c", f"{code}print(found)"]
    run = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == here["found"]


def rejections(rounds, groups, size, shared):
    """Return the rejection rates (p < .05) of the grouped and the ungrouped test for two equally good arms.

    With probability `shared`, an arm repeats its answer to the first question of a group for a later question.
    """
    rng = dice(9)
    names = [f"g{number // size}" for number in range(groups * size)]
    ours = theirs = 0
    for _ in range(rounds):
        sides = []
        for _ in range(2):
            side = []
            for _ in range(groups):
                first = rng.random() < 0.4
                side += [int(first if rng.random() < shared else rng.random() < 0.4) for _ in range(size)]
            sides.append(side)
        ours += p_value(*sides, names) < 0.05
        theirs += p_value(*sides, [None] * len(names)) < 0.05
    return ours / rounds, theirs / rounds


@pytest.mark.slow
def test_false_positive_rate_of_grouped_tests():
    """Under the null hypothesis, at most 5 % of grouped tests but more than 5 % of McNemar's tests have p < .05."""
    ours, theirs = rejections(rounds=600, groups=40, size=5, shared=0.8)
    assert ours <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5
    assert theirs > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "largest"), [(5, 5), (8, 1), (8, 30), (20, 30)])
def test_intervals_cover_with_few_groups(groups, largest):
    """At least 93 % of the intervals contain the true gain even for few groups of unequal size."""
    rng, held = dice(11), 0
    for _ in range(400):
        base, scores, names = [], [], []
        for group in range(groups):
            level = rng.choice([0.1, 0.5])
            size = rng.randint(1, largest)
            names += [str(group)] * size
            base += [int(rng.random() < 0.3) for _ in range(size)]
            scores += [int(rng.random() < 0.3 + level) for _ in range(size)]
        interval = gain(base, scores, names).interval
        held += interval.low <= 0.3 <= interval.high
    assert held / 400 >= 0.93


@pytest.mark.slow
def test_gain_intervals_cover_the_true_gain():
    """About 95 % of intervals for gains on grouped questions contain the true gain."""
    rng = dice(10)
    names = [f"g{number // 4}" for number in range(240)]
    held = 0
    for _ in range(300):
        base, scores = [], []
        for _ in range(60):
            level = rng.random()
            base += [int(rng.random() < 0.6 * level) for _ in range(4)]
            scores += [int(rng.random() < 0.4 + 0.6 * level) for _ in range(4)]
        interval = gain(base, scores, names).interval
        held += interval.low <= 0.4 <= interval.high
    assert 0.91 <= held / 300 <= 0.99


def test_the_minimum_detectable_effect():
    """The detectable gain is 2.80 standard errors wide, at most 1, and unknown without paired questions."""
    found = Gain(0.1, None, Interval(0.1 - 1.959964 * 0.05, 0.1 + 1.959964 * 0.05), 0.05, 5, 5, 5)
    assert found.detectable == pytest.approx((1.959964 + 0.841621) * 0.05)
    assert Gain(0.0, None, Interval(-1.0, 1.0), 1.0, 0, 1, 0).detectable == 1
    assert Gain(0.1, None, Interval(0.0, 0.2), 0.05).detectable is None
    assert Gain(0.1, None, None, None, 1, 1, 1).detectable is None
