"""Rows: accuracy, gain, recall, adjusted p values and shares of the gold passage's gain."""

import json

import pytest
from leaderboard_lab import row

from kib.leaderboard import render
from kib.statistics.multiple_testing import holm
from kib.statistics.paired_gains import gain


def test_cells_that_differ_in_seed_form_one_row(lab):
    """Cells that differ only in their seed form one row with the mean and standard deviation over seeds."""
    lab.add(4, "base")
    for seed, right in enumerate((10, 12, 14)):
        lab.add(right, "ft", seed=seed)
    table = lab.table()
    found = row(table, "ft")
    assert len(table.rows) == 2
    assert (found.seeds, found.accuracy.mean) == ((0, 1, 2), 0.6)
    assert found.seed_accuracies == (0.5, 0.6, 0.7)
    assert found.spread == pytest.approx(0.1)
    assert found.gain.absolute == pytest.approx(0.4)
    assert row(table, "base").spread is None


def test_gains_are_paired_with_the_base(lab):
    """The gain of a row is its paired difference from the base with the same model, task and number of shots."""
    other = [1] * 10 + [0] * 10
    lab.add(4, "base")
    lab.add(other, "rag", k=3)
    lab.add(20, "base", model="large")
    lab.add(18, "base", shots=5)
    expected = gain([1] * 4 + [0] * 16, other, [None] * 20)
    assert row(lab.table(), "rag,k=3").gain == expected


def test_questions_are_paired_by_id(lab):
    """Questions are paired by id, regardless of their order in the two files."""
    ids = [f"q{number}" for number in range(20)]
    lab.add([1] * 4 + [0] * 16, "base", ids=ids)
    lab.add([0] * 16 + [1] * 4, "rag", k=1, ids=ids[::-1])
    found = row(lab.table(), "rag,k=1").gain
    assert (found.absolute, found.wins, found.losses) == (0.0, 0, 0)


def test_groups_are_resampled_together(lab):
    """Questions with a common group are resampled together."""
    groups = [f"p{number // 5}" for number in range(20)]
    lab.add(5, "base", groups=groups)
    lab.add(15, "rag", k=1, groups=groups)
    found = row(lab.table(), "rag,k=1")
    assert found.accuracy.groups == 4
    assert found.gain == gain([1] * 5 + [0] * 15, [1] * 15 + [0] * 5, groups)


def test_holm_family_contains_all_planned_gains(lab):
    """Holm's family contains all planned gains on target tasks, even if missing, but not gold and random passages."""
    lab.task("known", "control")
    for task in ("new", "known"):
        lab.add(2, "base", task)
        lab.add(12, "rag", task, k=1)
        lab.add(14, "rag", task, k=2)
    lab.add(19, "gold", k=1)
    lab.add(3, "random", k=1)
    lab.plan("rag", k=3)
    lab.fail("rag", k=4)
    table = lab.table()
    assert table.benchmarks[0].family == 4
    raw = [row(table, f"rag,k={k}").gain.p for k in (1, 2)]
    assert [row(table, f"rag,k={k}").p_adjusted for k in (1, 2)] == holm([*raw, 1.0, 1.0])[:2]
    for arm, task in (("gold,k=1", "new"), ("random,k=1", "new"), ("rag,k=1", "known")):
        found = row(table, arm, task)
        assert (found.p_adjusted, found.p) == (None, found.gain.p)


def test_share_of_gold_is_a_ratio_of_absolute_gains(lab):
    """The share of gold is an arm's absolute gain divided by the untrained model's gain with the gold passage."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    lab.add(20, "gold", k=1)
    table = lab.table()
    assert row(table, "rag,k=1").gold_share == pytest.approx(8 / 16)
    assert row(table, "gold,k=1").gold_share == 1.0
    assert row(table, "base").gold_share is None


def test_no_share_of_a_gold_passage_without_gain(lab):
    """If the gold passage yields no gain, no row has a share of the gold passage's gain."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    lab.add(4, "gold", k=1)
    assert row(lab.table(), "rag,k=1").gold_share is None


@pytest.mark.parametrize(("gold", "groups"), [(7, None), (20, [f"p{number // 7}" for number in range(20)])])
def test_no_share_of_an_insignificant_gain(lab, gold, groups):
    """If the gain from the gold passage is not significant, rows, tables and JSON contain no share of this gain."""
    for right, method in ((4, "base"), (9, "rag"), (gold, "gold")):
        lab.add(right, method, groups=groups, **({} if method == "base" else {"k": 1}))
    table = lab.table()
    assert row(table, "gold,k=1").gain.p >= 0.05
    assert {one.gold_share for one in table.rows} == {None}
    assert "gold %" not in render(table, "markdown")
    assert {one["share_of_gold"] for one in json.loads(render(table, "json"))["rows"]} == {None}


def test_recall_counts_questions_with_a_gold_passage(lab):
    """Recall is the share of questions with a retrieved gold passage, including passages dropped from the prompt."""
    lab.add(4, "base", gold=[()] * 20)
    lab.add(9, "rag", k=2, gold=[(False, True)] * 5 + [(True, True)] * 4 + [(False, False)] * 11, dropped=7)
    lab.add(9, "random", k=2)
    table = lab.table()
    assert row(table, "rag,k=2").recall == 9 / 20
    assert (row(table, "rag,k=2").dropped_passages, row(table, "rag,k=2").dropped_questions) == (7, 7)
    assert row(table, "base").recall is None
    assert row(table, "random,k=2").recall is None


def test_significant_drops_on_control_tasks_are_marked(lab):
    """A significant drop on a control task is marked "forgets" for trained arms and "harmed" for all other arms."""
    lab.task("known", "control")
    lab.add(20, "base", "known")
    lab.add(10, "ft", "known")
    lab.add(11, "rag", "known", k=1)
    lab.add(18, "rag", "known", k=2)
    table = lab.table()
    marks = {arm: row(table, arm, "known").mark for arm in ("ft", "rag,k=1", "rag,k=2", "base")}
    assert marks == {"ft": "forgets", "rag,k=1": "harmed", "rag,k=2": "", "base": ""}
