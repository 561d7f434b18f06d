"""Ranks within a block and averages over tasks."""

import json

import pytest
from leaderboard_lab import NEW, row

from kib.leaderboard import averages_only, render


def test_arms_without_significant_difference_share_a_rank(lab):
    """Arms share a rank if they do not differ significantly from the rank's first arm; the gold passage has no rank."""
    lab.add(1, "base")
    lab.add(2, "random", k=1)
    lab.add(14, "rag", k=1)
    lab.add(15, "rag", k=2)
    lab.add(20, "gold", k=1)
    table = lab.table()
    ranks = {one.arm: (one.rank, one.tied) for one in table.rows}
    assert ranks == {
        "rag,k=2": (1, True),
        "rag,k=1": (1, True),
        "random,k=1": (3, True),
        "base": (3, True),
        "gold,k=1": (None, False),
    }
    assert [one.arm for one in table.rows] == ["base", "rag,k=2", "rag,k=1", "random,k=1", "gold,k=1"]


def test_a_significant_difference_starts_a_new_rank(lab):
    """An arm that differs significantly from the first arm of a rank starts a new rank."""
    for k, right in enumerate((20, 17, 14, 11, 8, 5), 1):
        lab.add(right, "rag", k=k)
    lab.add(2, "base")
    ranks = {one.arm: one.rank for one in lab.table().rows}
    assert [ranks[f"rag,k={k}"] for k in range(1, 7)] == [1, 1, 1, 4, 4, 4]
    assert ranks["base"] == 7


def test_a_sole_arm_does_not_share_its_rank(lab):
    """An arm that differs significantly from the arms directly above and below does not share a rank with them."""
    lab.add(1, "base")
    lab.add(11, "rag", k=1)
    lab.add(20, "rag", k=2)
    assert [(one.rank, one.tied) for one in lab.table().rows] == [(3, False), (1, False), (2, False)]


def test_base_does_not_share_a_rank_with_an_arm_that_beats_it(lab):
    """If an arm with a significant gain would share the rank of base, base and the arms below open a new rank."""
    lab.add(4, "base")
    for k, right in ((1, 10), (2, 10), (3, 10)):
        lab.add(right, "rag", k=k)
    table = lab.table()
    assert row(table, "rag,k=1").p > 0.05
    assert [one.rank for one in table.rows] == [1, 1, 1, 1]
    lab.cells.clear()
    lab.add(4, "base")
    for k in (1, 2, 3):
        lab.add(4 + 6, "random", k=k)
    lab.add(10, "rag", k=1)
    table = lab.table()
    assert row(table, "rag,k=1").p < 0.05
    ranks = {one.arm: (one.rank, one.tied) for one in table.rows}
    assert ranks["base"] == (5, False)
    assert ranks["rag,k=1"] == (1, True)
    assert {one.arm: (one.rank, one.tied) for one in lab.table(against="random,k=1").rows} == ranks


@pytest.mark.parametrize(("groups", "ranked"), [(3, False), (5, False), (6, True), (20, True)])
def test_few_groups_have_no_ranks(lab, groups, ranked):
    """If the number of groups allows no significant difference, the arms have no ranks, but stay in their order."""
    names = [f"g{number % groups}" for number in range(20)]
    lab.add(2, "base", groups=names)
    lab.add(16, "rag", k=1, groups=names)
    rows = lab.table().rows
    assert [one.arm for one in rows] == ["base", "rag,k=1"]
    assert [one.rank for one in rows] == ([2, 1] if ranked and groups > 5 else [None, None])
    assert rows[1].lowest_p == pytest.approx(2.0 ** (1 - groups))
    assert rows[1].undecidable is not ranked


def test_few_groups_are_stated_in_every_view(lab, tmp_path):
    """The table, the averages and the JSON format state the number of groups, and the smallest p they allow."""
    names = [f"g{number % 3}" for number in range(20)]
    for task in ("new", "worded"):
        lab.add(8, "base", task, groups=names, logprobs=[(-1.0, -2.0)] * 20)
        lab.add(11, "rag", task, k=1, groups=names, logprobs=[(-1.0, -3.0)] * 20)
    table = lab.table()
    note = "only 3 groups of questions: intervals are rough, and p cannot be smaller than .250 (.500 after Holm's "
    note += "adjustment), so the test cannot show that a gain is more than chance; the arms have no ranks"
    text = render(table, "markdown")
    assert text.count(note) == 4
    assert f"worded: {note}" in text
    assert note in " ".join(render(table, "terminal", width=100).split())
    assert [one["lowest_p"] for one in json.loads(render(table, "json"))["rows"]] == [None, 0.5] * 2
    assert "too few groups of questions to test significance" in table.headlines[0]
    assert "not significant" not in text
    assert "at chance" not in text


def test_many_groups_have_no_remark(lab):
    """Twenty groups of questions are enough for intervals and p values."""
    lab.add(8, "base")
    lab.add(11, "rag", k=1)
    assert "only" not in render(lab.table(), "markdown")


def test_averages_need_two_targets(lab):
    """An average requires at least two target tasks, and control tasks are not counted."""
    lab.task("known", "control")
    for task in ("new", "known"):
        lab.add(4, "base", task)
        lab.add(12, "rag", task, k=1)
    assert lab.table().averages == ()


def test_averages_are_over_all_targets(lab):
    """An average covers every target task, and an arm planned for only some target tasks has no average."""
    for task, right in (("new", 12), ("worded", 8)):
        lab.add(4, "base", task)
        lab.add(right, "rag", task, k=1)
    lab.add(12, "rag", "new", k=2)
    base, rag = lab.table().averages
    assert (base.arm, base.average, base.accuracy) == ("base", None, 0.2)
    assert (rag.arm, rag.tasks, rag.accuracy) == ("rag,k=1", ("new", "worded"), 0.5)
    assert rag.average.absolute == pytest.approx((0.4 + 0.2) / 2)
    assert rag.average.relative == pytest.approx((2.0 + 1.0) / 2)


def test_different_metrics_have_no_average(lab):
    """Tasks with different metrics have no average, and every view states the metrics instead."""
    for task, metric in (("new", "f1"), ("worded", "acc")):
        lab.add(4, "base", task, metric=metric)
        lab.add(12, "rag", task, k=1, metric=metric)
    table = lab.table()
    reason = "no average, because the tasks have different metrics: f1 (new) and acc (worded)"
    assert [(one.accuracy, one.average, one.reason) for one in table.averages] == [(None, None, reason)] * 2
    text = render(table, "markdown")
    assert text.count(reason) == 1
    assert "incomplete" not in text
    only = averages_only(table)
    assert only.averages == ()
    assert [one.arm for one in only.rows] == ["base", "rag,k=1"] * 2
    assert only.remarks == (f"tiny: {reason}",)


def test_an_average_needs_a_gain_on_every_task(lab):
    """An arm without a gain on one task has no average, and the printed reason names the task."""
    for task in ("new", "worded"):
        lab.add(4, "base", task)
    lab.add(12, "rag", "new", k=1)
    lab.add(12, "rag", "worded", k=1, where=NEW)
    found = lab.table().averages[1]
    assert (found.average, found.reason) == (None, "worded: torch 2.14.1 against 2.13.0")


def test_a_zero_base_has_no_relative_average(lab):
    """If the base accuracy is 0, the relative gain and the relative average are undefined."""
    for task, right in (("new", 0), ("worded", 4)):
        lab.add(right, "base", task)
        lab.add(12, "rag", task, k=1)
    table = lab.table()
    assert row(table, "rag,k=1").gain.relative is None
    assert table.averages[1].average.relative is None
    assert table.averages[1].average.absolute == pytest.approx((0.6 + 0.4) / 2)
