"""Row warnings: signs of an ineffective method or a meaningless accuracy."""

import json

import pytest
from leaderboard_lab import Lab, row

from kib.identity import digest
from kib.leaderboard import render


def test_regular_results_have_no_warnings(full_table):
    """A table with normal results has no warnings."""
    assert not [one.warnings for one in full_table.rows if one.warnings]


@pytest.mark.parametrize(
    ("last", "expected"), [(1.998, ()), (1.9995, ("loss not falling",)), (2.1, ("loss not falling",))]
)
def test_warning_loss_not_falling(lab, last, expected):
    """A trained arm has a warning if the training loss of any seed fell by less than 0.001 nats per token."""
    lab.add(4, "base")
    lab.add(14, "ft", seed=0, training={"first_loss": 2.0, "last_loss": 1.0})
    lab.add(14, "ft", seed=1, training={"first_loss": 2.0, "last_loss": last})
    assert row(lab.table(), "ft").warnings == expected


@pytest.mark.parametrize(("change", "expected"), [(1e-5, ()), (5e-7, ("hardly trained",))])
def test_warning_weights_hardly_changed(lab, change, expected):
    """A trained arm has a warning if any seed changed the weights by less than one millionth of their norm."""
    lab.add(4, "base")
    lab.add(14, "ft", seed=0, training={"change": 0.1})
    lab.add(14, "ft", seed=1, training={"change": change})
    assert row(lab.table(), "ft").warnings == expected


@pytest.mark.parametrize(
    ("last", "expected"), [(1.5, ()), (1.6, ("rounded away",)), (2.1, ("loss not falling", "rounded away"))]
)
def test_warning_training_undone_by_rounding(lab, last, expected):
    """A trained arm has a warning if rounding any seed's weights undid more than half of the decrease in loss."""
    lab.add(4, "base")
    lab.add(14, "ft", seed=0, training={"first_loss": 2.0, "unrounded_loss": None, "last_loss": 1.0})
    lab.add(14, "ft", seed=1, training={"first_loss": 2.0, "unrounded_loss": 1.0, "last_loss": last})
    assert row(lab.table(), "ft").warnings == expected


def test_held_out_perplexity(lab):
    """Held-out perplexity before and after training is the exponential of the mean loss over seeds."""
    lab.add(4, "base")
    for seed, last in enumerate((1.0, 2.0)):
        lab.add(14, "ft", seed=seed, training={"held_out_first_loss": 0.0, "held_out_last_loss": last})
    table = lab.table()
    assert row(table, "base").perplexity is None
    assert row(table, "ft").perplexity == pytest.approx((1.0, 4.4817), rel=1e-4)
    assert "1.00>4.48" in render(table, "markdown")


def test_warning_log_probabilities_equal_an_untrained_arm(lab):
    """A trained arm has a warning if the log-probabilities of one of its seeds equal those of an untrained arm."""
    same = [(-float(number), -1.0) for number in range(20)]
    ids = [f"q{number}" for number in range(20)]
    lab.add(4, "base", logprobs=same)
    lab.add([0] * 16 + [1] * 4, "ft", seed=0, logprobs=same[::-1], ids=ids[::-1])
    lab.add(4, "ft", seed=1, ids=ids[::-1])
    lab.add(14, "ft+rag", k=1, logprobs=[*same[:-1], (-19.5, -1.0)])
    lab.add(14, "rag", k=1)
    alarms = {one.arm: one.warnings for one in lab.table().rows}
    assert "as untrained" in alarms["ft"]
    assert "as untrained" not in alarms["ft+rag,k=1"] + alarms["base"]


def test_warning_prompts_equal_the_base_prompts(lab):
    """A retrieval arm has a warning if all of its prompts equal the base prompts."""
    prompts = [digest(number) for number in range(20)]
    lab.add(4, "base", prompts=prompts)
    lab.add(14, "rag", k=1, prompts=prompts)
    lab.add(14, "rag", k=2, prompts=[*prompts[:-1], digest("other")])
    table = lab.table()
    assert row(table, "rag,k=1").warnings == ("prompts as base",)
    assert row(table, "rag,k=2").warnings == ()


def test_warning_one_passage(lab):
    """An arm without the gold passage has a warning if most questions share the same top-ranked passage."""
    lab.add(4, "base")
    for k, same in ((1, 10), (2, 11)):
        passages = [tuple(f"{'a' if number < same else number}#{rank}" for rank in range(k)) for number in range(20)]
        lab.add(14, "rag", k=k, passages=passages)
    lab.add(19, "gold", k=1, passages=[("a#0",)] * 20)
    table = lab.table()
    assert [row(table, f"{arm}").warnings for arm in ("rag,k=1", "rag,k=2", "gold,k=1")] == [(), ("one passage",), ()]


def test_no_warning_for_few_questions(tmp_path):
    """If an arm has only nine questions, a shared top-ranked passage causes no warning."""
    lab = Lab(tmp_path, n=9)
    lab.add(1, "base")
    lab.add(9, "rag", k=1, passages=[("a#0",)] * 9)
    assert row(lab.table(), "rag,k=1").warnings == ()


def test_warning_few_passages(lab):
    """A warning states the number of questions with fewer than K retrieved passages."""
    lab.add(4, "base")
    lab.add(14, "rag", k=2, passages=[("a#0",), (), *((f"b{number}", "c") for number in range(18))])
    assert row(lab.table(), "rag,k=2").warnings == ("few passages (2)",)


def test_warning_at_chance(lab):
    """A target arm has a warning if its gain is not significant and its accuracy could be due to chance."""
    lab.task("new").task("known", "control")
    for task in ("new", "known"):
        lab.add(4, "base", task)
        lab.add(5, "rag", task, k=1)
        lab.add(5, "random", task, k=1)
    lab.add(14, "rag", k=2)
    table = lab.table()
    assert [(one.arm, one.task) for one in table.rows if one.warnings] == [("rag,k=1", "new")]
    assert row(table, "rag,k=1").warnings == ("at chance",)


def test_warnings_are_explained(lab):
    """Each warning appears in the note of its row and is explained once below the table."""
    lab.add(4, "base", prompts=["a" * 64] * 20)
    lab.add(4, "rag", k=1, prompts=["a" * 64] * 20, passages=[()] + [("a#0",)] * 19)
    table = lab.table()
    assert row(table, "rag,k=1").warnings == ("prompts as base", "one passage", "few passages (1)", "at chance")
    text = render(table, "terminal", width=100)
    assert all(text.count(name) == 2 for name in ("prompts as base", "one passage", "few passages", "at chance"))
    assert max(map(len, text.splitlines())) <= 100
    assert "prompts as base, one passage, few passages (1), at chance |" in render(table, "markdown")
    assert json.loads(render(table, "json"))["rows"][1]["alarms"][2] == "few passages (1)"
