"""The comparison of automatic scores with verdicts: agreement, Cohen's kappa and prediction-powered means."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.statistics.confidence_intervals import mean_interval
from kib.statistics.gains import Interval
from kib.statistics.human_labels import LEAST_GROUPS, Corrected, agreement, corrected_mean
from kib.statistics.question_groups import totals_by_group


def chance(*key):
    """Return a reproducible number between 0 and 1."""
    return int(sha256(repr(key).encode()).hexdigest()[:8], 16) / 2**32


def test_agreement_counts_both_kinds_of_errors():
    """A score or verdict of at least 0.5 counts as right, and kappa relates agreement to agreement by chance."""
    scores = [1, 0.5, 0.9, 0.2, 0, 0.4, 1, 1]
    verdicts = [1, 1, 0.4, 0, 0, 0.5, 1, 1]
    found = agreement(scores, verdicts, [None] * 8)
    assert (found.outputs, found.agreed, found.too_high, found.too_low) == (8, 6, 1, 1)
    by_chance = (5 / 8) * (5 / 8) + (3 / 8) * (3 / 8)
    assert found.kappa == pytest.approx((6 / 8 - by_chance) / (1 - by_chance))
    assert found.interval is None


def test_kappa_is_unknown_if_chance_gives_full_agreement():
    """If every output is right in both opinions, kappa is 0 / 0 and therefore None."""
    found = agreement([1] * 20, [1] * 20, [None] * 20)
    assert (found.agreed, found.kappa, found.interval) == (20, None, None)


def test_full_agreement_is_not_certain_agreement():
    """The interval of kappa contains 1 but not only 1 if score and verdict agree on all of a few outputs."""
    found = agreement([0, 1] * 10, [0, 1] * 10, [None] * 20)
    assert found.kappa == 1
    assert found.interval.high == 1
    assert 0.4 < found.interval.low < 0.95


def test_kappa_matches_the_textbook_interval():
    """For many independent outputs, the interval of kappa is close to the large-sample interval of Fleiss et al."""
    counts = {(1, 1): 400, (1, 0): 100, (0, 1): 50, (0, 0): 450}
    pairs = [pair for pair, number in counts.items() for _ in range(number)]
    found = agreement([one for one, _ in pairs], [other for _, other in pairs], [None] * 1000)
    assert found.kappa == pytest.approx(0.7)
    # statsmodels.stats.inter_rater.cohens_kappa([[400, 100], [50, 450]]) states this interval
    assert (found.interval.low, found.interval.high) == pytest.approx((0.65596, 0.74404), abs=0.003)


def test_the_corrected_mean_adds_the_mean_correction():
    """The corrected mean is the mean automatic value plus the mean difference on the labelled questions."""
    values, verdicts = [1, 1, 1, 0], [1, 0, None, None]
    assert corrected_mean(values, verdicts, [None] * 4, 0.0, 1.0) == Corrected(0.25, None)


def test_the_corrected_mean_stays_in_its_range():
    """An estimate below 0 or above 1, which few labels can cause, is set to the bound."""
    assert corrected_mean([0, 0, 0, 1], [None, None, None, 0], [None] * 4, 0.0, 1.0).mean == 0
    assert corrected_mean([1, 1, 1, 0], [None, None, None, 1], [None] * 4, 0.0, 1.0).mean == 1


def test_the_estimate_equals_the_reference_implementation():
    """Estimate and interval agree with ppi-python, whose interval ignores the two added questions and a covariance."""
    truth = [float(chance("truth", number) < 0.5) for number in range(2000)]
    values = [float(chance("judge", number) < (0.9 if right else 0.3)) for number, right in enumerate(truth)]
    drawn = set(sorted(range(2000), key=lambda number: chance("draw", number))[:200])
    verdicts = [right if number in drawn else None for number, right in enumerate(truth)]
    found = corrected_mean(values, verdicts, [None] * 2000, 0.0, 1.0)
    # ppi-python 0.2.3: ppi_mean_pointestimate and ppi_mean_ci with lam=1, all 2000 values as `Yhat_unlabeled`
    assert found.mean == pytest.approx(0.5125)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.44907777, 0.57592223), abs=0.003)


def test_if_all_questions_are_labelled_only_the_verdicts_count():
    """With a verdict on every question, the estimate is the mean verdict, whatever the automatic score says."""
    verdicts = [float(chance("verdict", number) < 0.6) for number in range(300)]
    groups = [f"g{number // 3}" for number in range(300)]
    kinds = totals_by_group(groups, verdicts, lambda value: (value, value * value))
    plain = mean_interval(kinds, 0.0, 1.0)
    for values in ([1.0] * 300, [chance("score", number) for number in range(300)]):
        found = corrected_mean(values, verdicts, groups, 0.0, 1.0)
        assert found.mean == pytest.approx(sum(verdicts) / 300)
        assert (found.interval.low, found.interval.high) == pytest.approx((plain.low, plain.high), abs=0.01)


def test_a_judge_without_observed_errors_is_not_perfect():
    """If a few labels agree with every automatic score, the interval is still wider than without labels."""
    values = [float(number % 2) for number in range(400)]
    verdicts = [value if number < 30 else None for number, value in enumerate(values)]
    found = corrected_mean(values, verdicts, [None] * 400, 0.0, 1.0)
    kinds = totals_by_group([None] * 400, values, lambda value: (value, value * value))
    plain = mean_interval(kinds, 0.0, 1.0)
    assert found.mean == 0.5
    assert found.interval.high - found.interval.low > 1.5 * (plain.high - plain.low)


def test_correlated_corrections_widen_the_interval():
    """If the automatic score errs for whole groups, the interval is wider than for independent errors."""
    values = [1.0] * 400
    verdicts = [float(chance("group", number // 10) < 0.6) if number < 200 else None for number in range(400)]
    alone = corrected_mean(values, verdicts, [None] * 400, 0.0, 1.0)
    grouped = corrected_mean(values, verdicts, [f"g{number // 10}" for number in range(400)], 0.0, 1.0)
    assert grouped.mean == alone.mean
    assert grouped.interval.high - grouped.interval.low > 1.5 * (alone.interval.high - alone.interval.low)


@pytest.mark.parametrize(("groups", "known"), [(LEAST_GROUPS - 1, False), (LEAST_GROUPS, True)])
def test_few_labelled_groups_have_no_interval(groups, known):
    """With fewer than 10 labelled groups, neither kappa nor a corrected mean has an interval."""
    names = [f"g{number % groups}" for number in range(60)]
    scores, verdicts = [float(number % 2) for number in range(60)], [float(number % 3 > 0) for number in range(60)]
    assert (agreement(scores, verdicts, names).interval is not None) == known
    assert (corrected_mean(scores, verdicts, names, 0.0, 1.0).interval is not None) == known


differences = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0])
questions = st.lists(st.tuples(differences, st.one_of(st.none(), differences), st.integers(0, 14)), max_size=40)


@given(questions)
def test_swapping_the_arms_mirrors_estimate_and_interval(drawn):
    """The corrected gain of base over an arm is the negative of the arm's gain over base, and so is the interval."""
    rows = [*drawn, *((0.5, 0.0, 20 + number) for number in range(LEAST_GROUPS))]
    values, verdicts, groups = zip(*rows, strict=True)
    names = [f"g{one}" for one in groups]
    found = corrected_mean(values, verdicts, names, -1.0, 1.0)
    swapped = [None if one is None else -one for one in verdicts]
    mirrored = corrected_mean([-one for one in values], swapped, names, -1.0, 1.0)
    assert mirrored.mean == pytest.approx(-found.mean)
    expected = Interval(-found.interval.high, -found.interval.low)
    assert (mirrored.interval.low, mirrored.interval.high) == pytest.approx((expected.low, expected.high))
    assert found.interval.low - 1e-9 <= found.mean <= found.interval.high + 1e-9


@given(questions, st.randoms(use_true_random=False))
def test_the_order_of_questions_does_not_matter(drawn, random):
    """The same questions in a different order give exactly the same numbers."""
    rows = [*drawn, *((1.0, 0.0, 20 + number) for number in range(LEAST_GROUPS))]
    shuffled = random.sample(rows, len(rows))
    first, second = (
        corrected_mean(*map(list, zip(*some, strict=True)), -1.0, 1.0)
        for some in ([(v, w, f"g{g}") for v, w, g in rows], [(v, w, f"g{g}") for v, w, g in shuffled])
    )
    assert first == second
