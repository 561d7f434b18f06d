"""Intervals and p values of arms with several seeds, which cover other seeds as well as other questions."""

from itertools import product
from math import sqrt

import pytest
from leaderboard_lab import Lab, row
from scipy.stats import t

from kib.leaderboard import make_table, render
from kib.statistics.confidence_intervals import interval_p
from kib.statistics.gains import LEVEL
from kib.statistics.paired_gains import accuracy, average, gain
from kib.statistics.question_groups import totals_by_group

N = 40
BASE = [int(number < 10) for number in range(N)]
COVERED = "arms with three or more seeds cover other questions and other seeds"


def seed_scores(right):
    """Return the scores of a seed whose first `right` answers are correct."""
    return [int(number < right) for number in range(N)]


def over_seeds(rights, base=BASE, groups=None):
    """Return the gain of an arm whose seeds answer the given numbers of questions correctly."""
    seeds = [seed_scores(right) for right in rights]
    means = [sum(some) / len(some) for some in zip(*seeds, strict=True)]
    gains = [sum(seed) / N - sum(base) / N for seed in seeds]
    return gain(base, means, groups or [None] * N, gains)


@pytest.mark.parametrize("rights", [(20, 20, 20), (20, 20), (18, 22), (20,)])
def test_equal_or_few_seeds_leave_the_interval_unchanged(rights):
    """If three seeds agree, or if there are fewer than three, the interval is that of the averaged scores."""
    means = [sum(some) / len(some) for some in zip(*map(seed_scores, rights), strict=True)]
    assert over_seeds(rights).interval == gain(BASE, means, [None] * N).interval
    if len(rights) < 3:
        assert over_seeds(rights).p == gain(BASE, means, [None] * N).p


def test_differing_seeds_widen_the_interval():
    """The part of an interval for seeds has the t quantile of their number minus one, and is combined as a square."""
    rights = (14, 20, 26)
    means = [sum(some) / 3 for some in zip(*map(seed_scores, rights), strict=True)]
    alone, both = gain(BASE, means, [None] * N).interval, over_seeds(rights).interval
    reach = float(t.ppf(1 - LEVEL / 2, 2)) * (6 / N) / sqrt(3)
    assert (both.high - both.low) / 2 == pytest.approx(sqrt(((alone.high - alone.low) / 2) ** 2 + reach**2))
    assert both.high + both.low == pytest.approx(alone.high + alone.low)


@pytest.mark.parametrize("groups", [[None] * N, [f"g{number % 8}" for number in range(N)], ["g"] * N])
def test_p_and_interval_agree_over_seeds(groups):
    """A gain over three seeds is never significant if its interval contains 0."""
    significant = 0
    for rights in product((6, 13, 17, 25, 33), repeat=3):
        found = over_seeds(rights, groups=groups)
        contains = found.interval.low <= 0 <= found.interval.high
        assert not (found.significant and contains)
        significant += found.significant
    assert (significant > 0) is (len(set(groups)) > 7 or groups[0] is None)


@pytest.mark.parametrize("rights", [(20, 21, 22), (30, 32, 37), (4, 6, 9), (10, 10, 10)])
def test_the_level_at_which_an_interval_contains_0(rights):
    """The p value of an interval is below .05 exactly if the interval excludes 0, and has the same value for losses."""
    seeds = [seed_scores(right) for right in rights]
    differences = [sum(some) / 3 - base for some, base in zip(zip(*seeds, strict=True), BASE, strict=True)]
    gains = [right / N - sum(BASE) / N for right in rights]
    some, mirrored = (
        totals_by_group([None] * N, [sign * one for one in differences], lambda one: (one, one * one))
        for sign in (1, -1)
    )
    p = interval_p(some, gains)
    ends = over_seeds(rights).interval
    assert (p < LEVEL) is not (ends.low <= 0 <= ends.high)
    assert interval_p(mirrored, [-one for one in gains]) == pytest.approx(p)


def test_an_accuracy_covers_seeds():
    """The interval of an accuracy over three differing seeds is wider than for questions alone, and within 0 and 1."""
    means = [sum(some) / 3 for some in zip(*map(seed_scores, (30, 36, 40)), strict=True)]
    alone, both = accuracy(means, [None] * N).interval, accuracy(means, [None] * N, (0.75, 0.9, 1.0)).interval
    assert both.low < alone.low
    assert both.high == 1.0


def test_an_average_compares_the_averages_of_seeds():
    """If a good seed for one task is a bad seed for another, the interval of their average is as usual."""
    pairs = [(BASE, [0.5] * N, [None] * N)] * 2
    tasks = [(pair, gain(*pair)) for pair in pairs]
    usual = average(tasks)
    opposite = average(tasks, [(0.15, 0.25, 0.35), (0.35, 0.25, 0.15)])
    alike = average(tasks, [(0.15, 0.25, 0.35), (0.15, 0.25, 0.35)])
    assert opposite == usual
    assert alike.interval.low < usual.interval.low
    assert alike.relative_interval.high > usual.relative_interval.high
    assert (alike.absolute, alike.relative) == (usual.absolute, usual.relative)


def trained(lab, rights, method="ft"):
    """Add an arm whose seeds answer the given numbers of questions correctly."""
    for seed, right in enumerate(rights):
        lab.add(right, method, seed=seed)


def test_a_table_states_what_its_intervals_cover(tmp_path):
    """With three seeds, the gain covers seeds and the legend says so; with two seeds, nothing changes."""
    for name, rights in (("two", (14, 26)), ("three", (14, 20, 26))):
        lab = Lab(tmp_path, name, n=N)
        lab.add(BASE, "base")
        trained(lab, rights)
        table = lab.table()
        assert row(table, "ft").gain == over_seeds(rights)
        assert (COVERED in " ".join(render(table, "terminal", width=200).split())) is (len(rights) == 3)


def test_seeds_of_two_trained_arms_are_paired(tmp_path):
    """If two trained arms share the effect of each seed, the gain of one over the other does not vary with the seed."""
    lab = Lab(tmp_path, n=N)
    lab.add(BASE, "base")
    trained(lab, (14, 20, 26))
    for seed, right in enumerate((20, 26, 32)):
        lab.add(right, "ft+rag", k=1, seed=seed)
    found = row(lab.table(against="ft"), "ft+rag,k=1").gain
    means = [
        [sum(some) / 3 for some in zip(*map(seed_scores, one), strict=True)] for one in ((14, 20, 26), (20, 26, 32))
    ]
    assert found.interval == gain(*means, [None] * N).interval
    assert row(lab.table(), "ft+rag,k=1").gain.interval == over_seeds((20, 26, 32)).interval


def test_gains_by_probe_cover_seeds(tmp_path):
    """The gains on the questions of one probe cover seeds too."""
    lab = Lab(tmp_path, n=N)
    probes = ["direct"] * N
    lab.add(BASE, "base", probes=probes)
    for seed, right in enumerate((14, 20, 26)):
        lab.add(right, "ft", seed=seed, probes=probes)
    [found] = row(lab.table(by="probe"), "ft").probes
    assert found.gain == over_seeds((14, 20, 26))


def test_former_statistics_without_questions(tmp_path, monkeypatch):
    """If the questions are missing, statistics of an earlier version are shown, and a remark says so."""
    lab = Lab(tmp_path, n=N)
    lab.add(BASE, "base")
    trained(lab, (14, 20, 26))
    results = lab.save()
    with monkeypatch.context() as earlier:
        for module in ("arm_statistics", "question_scores"):
            earlier.setattr(f"kib.leaderboard.compute.{module}.FEWEST_SEEDS", 99)
        former = row(make_table([results]), "ft").gain
    for path in results.folder.rglob("questions.jsonl"):
        path.rename(path.with_suffix(".gone"))
    table = make_table([results])
    assert row(table, "ft").gain == former
    assert any("earlier version of kib" in remark for remark in table.remarks)
    for path in results.folder.rglob("questions.gone"):
        path.rename(path.with_suffix(".jsonl"))
    assert row(make_table([results]), "ft").gain == over_seeds((14, 20, 26))
