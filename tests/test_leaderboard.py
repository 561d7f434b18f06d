"""Results folders, written by the store itself, become tables, texts and verdicts."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.leaderboard import Changes, baseline, check, make_table, render
from kib.leaderboard.number_format import percent, whole_percent
from kib.leaderboard.render.machine_values import AVERAGE, COST, ROW, TIMES
from kib.plan.planner import make_plan
from kib.plugins.resolve import open_spec
from kib.records import Cell, Environment, Score
from kib.statistics.gains import REVISION
from kib.statistics.multiple_testing import holm
from kib.statistics.paired_gains import gain
from kib.store.result_records import BenchmarkPlan, CellResult, Failure, MethodEntry, TaskEntry, Times, TrainingRecord
from kib.store.results import Results

GOLDENS = Path(__file__).parent / "leaderboard"
DOCS = Path(__file__).parent.parent / "docs" / "leaderboard.md"
OLD = Environment("cpu", {"lm-eval": "0.4.13", "torch": "2.13.0"})
NEW = Environment("cpu", {"lm-eval": "0.4.13", "torch": "2.14.1"})
METHODS = {
    "base": MethodEntry(None, None),
    "rag": MethodEntry(None, "bm25"),
    "ft": MethodEntry("lora", None),
    "ft+rag": MethodEntry("lora", "bm25"),
    "gold": MethodEntry(None, "gold", "ceiling"),
    "random": MethodEntry(None, "any", "control"),
}
FACTS = ("ids", "groups", "gold", "n", "metric", "where", "tokens", "passages", "prompts", "logprobs", "flops")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Lab:
    """A benchmark's results, cell by cell."""

    def __init__(self, folder, name="lab", n=20, methods=METHODS):
        self.results = Results(folder / name)
        self.name, self.n, self.methods = name, n, methods
        self.title = "A small world"
        self.tasks, self.cells, self.failures, self.prices = {}, [], {}, {}

    def task(self, name="new", role="target", **more):
        """Announce a task."""
        self.tasks[name] = TaskEntry(role, None, self.n, **more)
        return self

    def plan(self, method, task="new", k=None, seed=0, model="tiny", shots=0, salt="", **more):
        """Plan a cell without measuring it."""
        if task not in self.tasks:
            self.task(task)
        settings = more.pop("settings", ()) + ((("k", k),) if k else ())
        identity = digest([self.name, method, settings, task, seed, model, shots, salt, sorted(more)])
        cell = Cell(model, method, settings, task, more.pop("corpus", None), shots, seed, identity, **more)
        self.cells.append(cell)
        return cell

    def add(self, right, method, task="new", **more):
        """Plan and measure a cell; `right` is a number of right answers (the first ones), or the scores."""
        facts = {key: more.pop(key) for key in FACTS if key in more}
        dropped, training = more.pop("dropped", 0), more.pop("training", {})
        times = more.pop("times", None)
        cell = self.plan(method, task, **more)
        n = facts.get("n", self.n)
        scores = [int(number < right) for number in range(n)] if isinstance(right, int) else right
        lines = self._lines(scores, facts, cell)
        where = facts.get("where", OLD)
        result = CellResult(
            cell=cell,
            n=len(scores),
            correct=sum(scores),
            metric=facts.get("metric", "acc"),
            environments=where if isinstance(where, tuple) else (where,),
            prompt_tokens=facts.get("tokens"),
            dropped_passages=dropped,
            dropped_questions=min(dropped, n),
            flops=facts.get("flops"),
            training=TrainingRecord(**training) if training else None,
        )
        self.results.save_cell(result, lines, times)
        return cell

    def _lines(self, scores, facts, cell):
        ids = facts.get("ids") or [f"q{number}" for number in range(len(scores))]
        groups = facts.get("groups") or [None] * len(scores)
        gold = facts.get("gold") or [None] * len(scores)
        passages = facts.get("passages") or [
            tuple(f"{name}#{rank}" for rank in range(dict(cell.settings).get("k", 0))) for name in ids
        ]
        prompts = facts.get("prompts") or [digest([name, cell.identity]) for name in ids]
        logprobs = facts.get("logprobs") or [(-chance(name, cell.identity), -2.0, -2.0, -2.0) for name in ids]
        rows = zip(ids, groups, scores, logprobs, passages, gold, prompts, strict=True)
        return [
            Score(name, group, score, score, 1, values, None, found, some, 0, None, prompt)
            for name, group, score, values, found, some, prompt in rows
        ]

    def fail(self, method, task="new", error="out of memory", **more):
        """Plan a cell whose run failed."""
        cell = self.plan(method, task, **more)
        self.failures[cell.id] = Failure("answers", error)
        return cell

    def save(self):
        """Write plan and failures."""
        used = {cell.method for cell in self.cells}
        methods = {name: entry for name, entry in self.methods.items() if name in used}
        self.results.save_plan(
            BenchmarkPlan(self.name, self.title, self.tasks, methods, tuple(self.cells), prices=self.prices)
        )
        self.results.save_failures(self.failures)
        return self.results

    def table(self, **more):
        """The table of what was written so far."""
        return make_table([self.save()], **more)


@pytest.fixture
def lab(tmp_path):
    """An empty benchmark of 20 questions a task."""
    return Lab(tmp_path)


def row(table, arm, task="new"):
    """The only row of an arm."""
    (found,) = [one for one in table.rows if one.arm == arm and one.task == task]
    return found


def chance(*key):
    """A number in 0..1 that is the same on every machine."""
    return int(digest(key)[:8], 16) / 2**32


def full_lab(folder, name="lab"):
    """A benchmark with all that a table can show."""
    lab = Lab(folder, name, n=60)
    lab.title = "A fictional world: what a small model can be taught"
    lab.task("new").task("worded", no_probe="the questions have one wording only").task("known", "control")
    lab.methods = {**METHODS, "rag": MethodEntry(None, "bm25", chosen=("k",))}
    levels = {"base": 0.3, "rag": 0.8, "ft": 0.5, "ft+rag": 0.78, "gold": 0.95, "random": 0.3}
    arms = [("base", {}), *(("rag", {"k": k}) for k in (1, 2, 3)), ("random", {"k": 2}), ("gold", {"k": 2})]
    arms += [("ft", {"settings": (("rank", 4), ("text.count", 10)), "seed": seed}) for seed in (0, 1, 2)]
    arms += [("ft+rag", {"settings": (("rank", 4), ("text.count", 10)), "k": 3, "seed": seed}) for seed in (0, 1, 2)]
    for task in ("new", "worded", "known"):
        for method, more in arms:
            if task == "known" and method == "gold":
                continue
            level = levels[method] + 0.02 * more.get("k", 0)
            if task == "known":
                level = 0.55 if method.startswith("ft") else 0.85
            key = (task, method, more.get("k", 0), more.get("seed", 0))
            scores = [
                int(0.5 * chance(task, number // 2) + 0.5 * chance(*key, number) < level / 1.3) for number in range(60)
            ]
            some = None
            if more.get("k") and task != "known":
                some = [tuple(chance(*key, number, rank) < 0.5 for rank in range(more["k"])) for number in range(60)]
            facts = {"groups": [f"p{number // 2}" for number in range(60)], "gold": some}
            facts |= {"tokens": 2400 * (1 + more.get("k", 0)), "corpus": "new" if method != "base" else None}
            facts |= {"names_corpus": task == "known" and method.startswith("ft")}
            if task == "worded" and (method, more.get("k")) == ("rag", 2):
                lab.plan(method, task, corpus="new", **more)
            elif task == "worded" and method == "ft+rag" and more["seed"] == 1:
                lab.fail(method, task, corpus="new", error="out of memory:\n  tried to allocate 2.1 GiB", **more)
            else:
                where = NEW if (task, method, more.get("k")) == ("worded", "rag", 1) else OLD
                lab.add(scores, method, task, where=where, dropped=4 * (more.get("k") == 3), **facts, **more)
    probe = [int(0.5 * chance("new", number // 2) + 0.5 * chance("probe", number) < 0.25) for number in range(60)]
    lab.add(probe, "base", "new", split="probe", groups=[f"p{number // 2}" for number in range(60)])
    for task in ("new", "worded"):
        for k in (1, 2, 3):
            lab.add(35 + 4 * (k == 2) + k, "rag", task, k=k, corpus="new", split="validation")
    return lab


@pytest.fixture(scope="session")
def full_results(tmp_path_factory):
    """The results folder of the full example; not to be changed."""
    return full_lab(tmp_path_factory.mktemp("full")).save()


@pytest.fixture(scope="session")
def full_table(full_results):
    """Its table."""
    return make_table([full_results])


@pytest.fixture
def full_copy(full_results, tmp_path):
    """A copy of its results folder, without statistics."""
    folder = tmp_path / "lab"
    shutil.copytree(full_results.folder, folder, ignore=shutil.ignore_patterns("statistics.json"))
    return Results(folder)


# Rows


def test_a_row_is_an_arm(lab):
    """Cells that differ only by seed are one row: mean over seeds, their spread beside it."""
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


def test_a_gain_is_paired_with_base(lab):
    """A row's gain is that of its questions over the base of the same model, task and shots."""
    other = [1] * 10 + [0] * 10
    lab.add(4, "base")
    lab.add(other, "rag", k=3)
    lab.add(20, "base", model="large")
    lab.add(18, "base", shots=5)
    expected = gain([1] * 4 + [0] * 16, other, [None] * 20)
    assert row(lab.table(), "rag,k=3").gain == expected


def test_questions_are_paired_by_id(lab):
    """The order in which two sides list their questions does not matter."""
    ids = [f"q{number}" for number in range(20)]
    lab.add([1] * 4 + [0] * 16, "base", ids=ids)
    lab.add([0] * 16 + [1] * 4, "rag", k=1, ids=ids[::-1])
    found = row(lab.table(), "rag,k=1").gain
    assert (found.absolute, found.wins, found.losses) == (0.0, 0, 0)


def test_groups_are_resampled_together(lab):
    """Where questions carry groups, statistics are by group."""
    groups = [f"p{number // 5}" for number in range(20)]
    lab.add(5, "base", groups=groups)
    lab.add(15, "rag", k=1, groups=groups)
    found = row(lab.table(), "rag,k=1")
    assert found.accuracy.groups == 4
    assert found.gain == gain([1] * 5 + [0] * 15, [1] * 15 + [0] * 5, groups)


def test_holm_counts_the_plans_gains(lab):
    """Holm's family are the plan's gains on targets, ceiling and random passages left out, missing ones at p = 1."""
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
    """The share of gold is a gain over the gold passage's gain on the untrained model, in points of both."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    lab.add(20, "gold", k=1)
    table = lab.table()
    assert row(table, "rag,k=1").gold_share == pytest.approx(8 / 16)
    assert row(table, "gold,k=1").gold_share == 1.0
    assert row(table, "base").gold_share is None


def test_a_ceiling_that_gains_nothing_is_none(lab):
    """Where the gold passage gives nothing, nothing is a share of it."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    lab.add(4, "gold", k=1)
    assert row(lab.table(), "rag,k=1").gold_share is None


def test_recall_counts_questions_with_a_gold_passage(lab):
    """Recall is the share of questions with a gold passage among the retrieved ones, dropped ones included."""
    lab.add(4, "base", gold=[()] * 20)
    lab.add(9, "rag", k=2, gold=[(False, True)] * 5 + [(True, True)] * 4 + [(False, False)] * 11, dropped=7)
    lab.add(9, "random", k=2)
    table = lab.table()
    assert row(table, "rag,k=2").recall == 9 / 20
    assert (row(table, "rag,k=2").dropped_passages, row(table, "rag,k=2").dropped_questions) == (7, 7)
    assert row(table, "base").recall is None
    assert row(table, "random,k=2").recall is None


def test_a_controls_drop_is_marked(lab):
    """A control's drop by more than chance is "forgets" after training and "harmed" otherwise; chance is not marked."""
    lab.task("known", "control")
    lab.add(20, "base", "known")
    lab.add(10, "ft", "known")
    lab.add(11, "rag", "known", k=1)
    lab.add(18, "rag", "known", k=2)
    table = lab.table()
    marks = {arm: row(table, arm, "known").mark for arm in ("ft", "rag,k=1", "rag,k=2", "base")}
    assert marks == {"ft": "forgets", "rag,k=1": "harmed", "rag,k=2": "", "base": ""}


# Alarms


def test_a_table_without_doubts_has_no_alarm(full_table):
    """Where nothing is amiss no row bears an alarm."""
    assert not [one.warnings for one in full_table.rows if one.warnings]


@pytest.mark.parametrize(
    ("last", "expected"), [(1.998, ()), (1.9995, ("loss not falling",)), (2.1, ("loss not falling",))]
)
def test_a_loss_that_does_not_fall_is_an_alarm(lab, last, expected):
    """A trained arm is marked where the loss of one of its seeds fell by less than 0.001 nats a token, if at all."""
    lab.add(4, "base")
    lab.add(14, "ft", seed=0, training={"first_loss": 2.0, "last_loss": 1.0})
    lab.add(14, "ft", seed=1, training={"first_loss": 2.0, "last_loss": last})
    assert row(lab.table(), "ft").warnings == expected


@pytest.mark.parametrize(("change", "expected"), [(1e-5, ()), (5e-7, ("hardly trained",))])
def test_weights_that_hardly_moved_are_an_alarm(lab, change, expected):
    """A trained arm is marked where one of its seeds moved the weights by less than a millionth of their norm."""
    lab.add(4, "base")
    lab.add(14, "ft", seed=0, training={"change": 0.1})
    lab.add(14, "ft", seed=1, training={"change": change})
    assert row(lab.table(), "ft").warnings == expected


@pytest.mark.parametrize(
    ("last", "expected"), [(1.5, ()), (1.6, ("rounded away",)), (2.1, ("loss not falling", "rounded away"))]
)
def test_a_training_that_rounding_undid_is_an_alarm(lab, last, expected):
    """A trained arm is marked where rounding a seed's weights lost more than half of what its loss had gained."""
    lab.add(4, "base")
    lab.add(14, "ft", seed=0, training={"first_loss": 2.0, "unrounded_loss": None, "last_loss": 1.0})
    lab.add(14, "ft", seed=1, training={"first_loss": 2.0, "unrounded_loss": 1.0, "last_loss": last})
    assert row(lab.table(), "ft").warnings == expected


def test_held_out_perplexity(lab):
    """Beside a trained arm stands the perplexity of held-out text, e to the seeds' mean loss, before and after."""
    lab.add(4, "base")
    for seed, last in enumerate((1.0, 2.0)):
        lab.add(14, "ft", seed=seed, training={"held_out_first_loss": 0.0, "held_out_last_loss": last})
    table = lab.table()
    assert row(table, "base").perplexity is None
    assert row(table, "ft").perplexity == pytest.approx((1.0, 4.4817), rel=1e-4)
    assert "1.00>4.48" in render(table, "markdown")


def test_answers_of_the_untrained_model_are_an_alarm(lab):
    """A trained arm is marked where a seed's log-probabilities all equal an untrained arm's, in any order."""
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


def test_a_base_prompt_after_retrieval_is_an_alarm(lab):
    """A retrieving arm is marked where all its prompts are base's, and not where one differs."""
    prompts = [digest(number) for number in range(20)]
    lab.add(4, "base", prompts=prompts)
    lab.add(14, "rag", k=1, prompts=prompts)
    lab.add(14, "rag", k=2, prompts=[*prompts[:-1], digest("other")])
    table = lab.table()
    assert row(table, "rag,k=1").warnings == ("prompts as base",)
    assert row(table, "rag,k=2").warnings == ()


def test_one_passage_for_most_questions_is_an_alarm(lab):
    """An arm is marked where more than half of its questions got the same first passage, the ceiling never."""
    lab.add(4, "base")
    for k, same in ((1, 10), (2, 11)):
        passages = [tuple(f"{'a' if number < same else number}#{rank}" for rank in range(k)) for number in range(20)]
        lab.add(14, "rag", k=k, passages=passages)
    lab.add(19, "gold", k=1, passages=[("a#0",)] * 20)
    table = lab.table()
    assert [row(table, f"{arm}").warnings for arm in ("rag,k=1", "rag,k=2", "gold,k=1")] == [(), ("one passage",), ()]


def test_one_passage_for_few_questions_is_none(tmp_path):
    """Of nine questions it says nothing that all got the same first passage."""
    lab = Lab(tmp_path, n=9)
    lab.add(1, "base")
    lab.add(9, "rag", k=1, passages=[("a#0",)] * 9)
    assert row(lab.table(), "rag,k=1").warnings == ()


def test_fewer_passages_than_asked_for_are_counted(lab):
    """An arm is marked with the number of questions for which fewer than K passages were found."""
    lab.add(4, "base")
    lab.add(14, "rag", k=2, passages=[("a#0",), (), *((f"b{number}", "c") for number in range(18))])
    assert row(lab.table(), "rag,k=2").warnings == ("few passages (2)",)


def test_accuracy_at_chance_is_an_alarm(lab):
    """A target's arm without a gain is marked where its interval holds what guessing gives; base and random are not."""
    lab.task("new").task("known", "control")
    for task in ("new", "known"):
        lab.add(4, "base", task)
        lab.add(5, "rag", task, k=1)
        lab.add(5, "random", task, k=1)
    lab.add(14, "rag", k=2)
    table = lab.table()
    assert [(one.arm, one.task) for one in table.rows if one.warnings] == [("rag,k=1", "new")]
    assert row(table, "rag,k=1").warnings == ("at chance",)


def test_alarms_are_explained(lab):
    """Alarms stand in the note, in lines of their own where they are many, and below the table each once."""
    lab.add(4, "base", prompts=["a" * 64] * 20)
    lab.add(4, "rag", k=1, prompts=["a" * 64] * 20, passages=[()] + [("a#0",)] * 19)
    table = lab.table()
    assert row(table, "rag,k=1").warnings == ("prompts as base", "one passage", "few passages (1)", "at chance")
    text = render(table, "terminal", width=100)
    assert all(text.count(name) == 2 for name in ("prompts as base", "one passage", "few passages", "at chance"))
    assert max(map(len, text.splitlines())) <= 100
    assert "prompts as base, one passage, few passages (1), at chance |" in render(table, "markdown")
    assert json.loads(render(table, "json"))["rows"][1]["alarms"][2] == "few passages (1)"


# Costs


def costly(lab):
    """A lab whose arms cost something: retrieval each time, training once."""
    lab.prices = {"device_hour": 3.6}
    lab.add(4, "base", tokens=20 * 100, flops=20 * 1e6, times=Times(asking=2.0, peak_bytes=3_000_000))
    spent = Times(asking=8.0, searching=2.0, indexing=5.0, index_bytes=12_345)
    lab.add(14, "rag", k=1, tokens=20 * 400, flops=20 * 4e6, times=spent)
    for seed, tokens in ((0, 900), (1, 1100)):
        training = {"trained_tokens": tokens, "flops": 3e9, "first_loss": 2.0, "last_loss": 1.0}
        spent = Times(asking=2.0, training=100.0, peak_bytes=9_000_000)
        lab.add(14 + seed, "ft", seed=seed, tokens=20 * 100, flops=20 * 1e6, training=training, times=spent)
    lab.add(19, "gold", k=1, tokens=20 * 200, flops=20 * 2e6)
    return lab


def test_costs_are_counted(lab):
    """Tokens and operations are of a question or once, of seeds the mean; what an arm does not spend is 0 or none."""
    table = costly(lab).table(cost=True)
    base, rag, ft = (row(table, arm).cost for arm in ("base", "rag,k=1", "ft"))
    assert (base.prompt_tokens, base.operations, base.operations_once, base.trained_tokens) == (100, 1e6, 0, None)
    assert (rag.prompt_tokens, rag.operations, rag.index_bytes) == (400, 4e6, 12_345)
    assert (ft.operations, ft.operations_once, ft.trained_tokens) == (1e6, 3e9, 1000)
    assert (ft.asking, ft.training, ft.peak_bytes) == (None, None, None)


def test_times_are_shown_on_request(lab):
    """Seconds and memory are those measured: asking and searching a question, training and indexing once."""
    table = costly(lab).table(times=True)
    rag, ft, gold = (row(table, arm).cost for arm in ("rag,k=1", "ft", "gold,k=1"))
    assert (rag.asking, rag.searching, rag.indexing, rag.training) == (0.4, 0.1, 5.0, 0.0)
    assert (ft.asking, ft.training, ft.peak_bytes) == (0.1, 100.0, 9_000_000)
    assert (gold.asking, gold.index_bytes) == (None, None)
    text = render(table, "terminal", width=200)
    assert "12.3 kB" in text
    assert "9.0 MB" in text


def test_break_even_is_the_first_question_that_pays(lab):
    """A trained arm costs less than a longer prompt from the first number of questions whose sum is smaller."""
    table = costly(lab).table(cost=True)
    cost = row(table, "ft").cost
    assert cost.fewer_operations_from == {"rag,k=1": 1001}
    assert 3e9 + 1000 * 1e6 == 1000 * 4e6
    assert cost.less_money_from == {"rag,k=1": 238}
    assert 100 + 237 * 0.1 > 5 + 237 * 0.5
    assert 100 + 238 * 0.1 < 5 + 238 * 0.5
    assert row(table, "rag,k=1").cost.fewer_operations_from == {}
    assert "ft: fewer operations than rag,k=1 from 1,001 questions upwards" in render(table, "terminal", width=120)


def test_an_arm_that_asks_for_more_never_pays(lab):
    """Where the trained arm's prompts are no shorter there is no number of questions, whatever a clock said."""
    lab.prices = {"device_hour": 3.6}
    lab.add(4, "base", tokens=2000, flops=2e7)
    lab.add(14, "rag", k=1, tokens=8000, flops=8e7, times=Times(asking=2.0))
    training, spent = {"trained_tokens": 9, "flops": 1.0}, Times(asking=1.9, training=1.0)
    lab.add(16, "ft+rag", k=1, tokens=8000, flops=8e7, training=training, times=spent)
    cost = row(lab.table(cost=True), "ft+rag,k=1").cost
    assert (cost.fewer_operations_from, cost.less_money_from) == ({}, {})


def test_a_trained_arm_with_the_gold_passage_never_pays(lab):
    """A break-even is told of methods that can be used, and not of a trained arm that is shown the gold passage."""
    lab.methods = {**METHODS, "ft+gold": MethodEntry("lora", "gold", "ceiling")}
    lab.add(4, "base", tokens=2000, flops=2e7)
    lab.add(14, "rag", k=1, tokens=8000, flops=8e7)
    lab.add(16, "ft+gold", k=1, tokens=4000, flops=4e7, training={"trained_tokens": 9, "flops": 1.0})
    cost = row(lab.table(cost=True), "ft+gold,k=1").cost
    assert (cost.operations_once, cost.fewer_operations_from) == (1.0, {})


@pytest.mark.parametrize(
    ("prices", "device", "expected"),
    [
        ({}, "cpu", (None, None)),
        ({"device_hour": 3.6}, "cpu", (0.0005, 0.005)),
        ({"device_hour": 3.6, "input_tokens_million": 5.0}, "cpu", (0.0005, 0.005)),
        ({"input_tokens_million": 5.0}, "cpu", (0.002, 0.0)),
        ({"device_hour": 3.6, "input_tokens_million": 5.0}, "unknown", (0.002, 0.005)),
        ({"device_hour": 3.6}, "unknown", (None, 0.005)),
    ],
)
def test_money_is_by_hours_or_by_tokens(lab, prices, device, expected):
    """Money is by the device's hours where these have a price, by tokens where the model has no device of ours."""
    lab.prices = prices
    spent = Times(asking=8.0, searching=2.0, indexing=5.0)
    lab.add(14, "rag", k=1, tokens=8000, where=replace(OLD, device=device), times=spent)
    cost = row(lab.table(cost=True), "rag,k=1").cost
    assert (cost.money, cost.money_once) == tuple(pytest.approx(one) if one else one for one in expected)


WRITTEN = {"written_requests": 12, "written_input_tokens": 3_000_000, "written_output_tokens": 500_000}
TOKENS = {"input_tokens_million": 2.0, "output_tokens_million": 8.0}


@pytest.mark.parametrize(
    ("prices", "paid", "expected"),
    [
        ({"device_hour": 3.6} | TOKENS, WRITTEN, (10.0, 10.1)),
        ({"device_hour": 3.6} | TOKENS, {}, (0.0, 0.1)),
        ({"device_hour": 3.6}, {}, (0.0, 0.1)),
        ({"device_hour": 3.6}, WRITTEN, (None, None)),
        ({"device_hour": 3.6, "input_tokens_million": 2.0}, WRITTEN, (None, None)),
        ({"device_hour": 3.6} | TOKENS, WRITTEN | {"written_input_tokens": None}, (None, None)),
        (TOKENS, WRITTEN, (10.0, None)),
    ],
)
def test_money_of_writing_is_paid_once(lab, prices, paid, expected):
    """What writers were paid for the text is money once, by both token prices; unknown where a price or count is."""
    lab.prices = prices
    training = {"trained_tokens": 9, "flops": 1.0, **paid}
    lab.add(14, "ft", tokens=2000, training=training, times=Times(asking=2.0, training=100.0))
    cost = row(lab.table(cost=True), "ft").cost
    assert (cost.money_writing, cost.money_once) == tuple(pytest.approx(one) if one else one for one in expected)


def test_money_of_writing_moves_the_break_even(lab):
    """A trained arm whose text was paid for pays off later in money, and as soon in operations; the table says why."""
    costly(lab).prices |= TOKENS
    lab.methods = {**METHODS, "ft-par": MethodEntry("lora", None)}
    spent = Times(asking=2.0, training=100.0)
    training = {"trained_tokens": 1000, "flops": 3e9, **WRITTEN}
    lab.add(14, "ft-par", tokens=20 * 100, flops=20 * 1e6, training=training, times=spent)
    table = lab.table(cost=True)
    ft, par = row(table, "ft").cost, row(table, "ft-par").cost
    assert (par.fewer_operations_from, par.less_money_from) == (ft.fewer_operations_from, {"rag,k=1": 25238})
    assert 10.1 + 25_237 * 0.0001 > 0.005 + 25_237 * 0.0005
    assert 10.1 + 25_238 * 0.0001 < 0.005 + 25_238 * 0.0005
    assert (ft.written_requests, par.written_requests) == (0, 12)
    text = render(table, "terminal", width=200)
    assert "3,000,000 + 500,000" in text
    assert "Writing: tokens read and written by the writers of the training text" in text
    row_of_json = next(one for one in json.loads(render(table, "json"))["rows"] if one["arm"] == "ft-par")
    assert {**row_of_json, **WRITTEN, "money_writing": 10.0} == row_of_json


def test_prices_come_from_the_spec(tmp_path):
    """The plan that results keep holds the prices that the spec gives, and none where it gives none."""
    spec = tmp_path / "lab.toml"
    text = (DOCS.parent.parent / "benchmarks" / "lab.toml").read_text(encoding="utf-8")
    for more, expected in (("", {}), ("\n[prices]\ndevice_hour = 2.5\n", {"device_hour": 2.5})):
        spec.write_text(text + more, encoding="utf-8")
        assert make_plan(*open_spec(spec)).entry().prices == expected


def test_costs_that_nobody_noted_are_none(lab):
    """Cells without tokens, operations and times have costs of – and no break-even."""
    lab.add(4, "base")
    lab.add(14, "ft", training={"trained_tokens": 9})
    lab.add(14, "rag", k=1)
    table = lab.table(cost=True)
    assert (row(table, "ft").cost.operations_once, row(table, "ft").cost.fewer_operations_from) == (None, {})
    assert render(table, "terminal").count("cost · tiny") == 1


def test_costs_are_added_below(full_results, full_table, lab):
    """With costs the table itself stays as it is, in every format; rows only gain fields."""
    table = make_table([full_results], cost=True, times=True)
    blocks = render(full_table, "terminal", width=120).split("\n\n")
    with_costs = render(table, "terminal", width=120).split("\n\n")
    assert with_costs[: len(blocks) - 1] == blocks[:-1]
    plain, more = (json.loads(render(one, "json"))["rows"] for one in (full_table, table))
    assert [{key: one[key] for key in ROW} for one in more] == plain
    assert set(more[0]) == {*ROW, *COST, *TIMES}
    lines = list(csv.DictReader(io.StringIO(render(costly(lab).table(cost=True), "csv"))))
    assert {line["fewer_operations_from"] for line in lines if line["arm"] == "ft"} == {"rag,k=1=1001"}


@pytest.mark.parametrize("width", [64, 80, 100, 120])
def test_costs_keep_to_the_width(lab, width):
    """The table of costs leaves columns out, and says which, where the terminal is narrow."""
    text = render(costly(lab).table(times=True), "terminal", width=width)
    assert max(map(len, text.splitlines())) <= width


# What is not comparable, what is missing


@pytest.mark.parametrize(
    ("base", "arm", "reason"),
    [
        ({}, {"where": NEW}, "torch 2.14.1 against 2.13.0"),
        ({}, {"where": replace(OLD, device="NVIDIA H100")}, "NVIDIA H100 against cpu"),
        ({}, {"where": replace(OLD, packages={"torch": "2.13.0"})}, "lm-eval (none) against 0.4.13"),
        ({}, {"where": (OLD, NEW)}, "mixes 2 environments: torch 2.13.0 against 2.14.1"),
        ({"where": (OLD, NEW)}, {}, "base: mixes 2 environments: torch 2.13.0 against 2.14.1"),
        ({}, {"n": 19}, "19 questions, but the plan has 20"),
        ({"n": 19}, {}, "base: 19 questions, but the plan has 20"),
        ({}, {"metric": "exact_match"}, "metric exact_match against acc"),
        (
            {},
            {"ids": [f"x{number}" for number in range(20)]},
            "different questions: the reference lacks 20 of 20",
        ),
        ({}, {"groups": ["a"] * 20}, "the questions are grouped differently"),
    ],
)
def test_rows_that_are_not_comparable_have_no_gain(lab, base, arm, reason):
    """Where versions, devices, n, metric, questions or groups differ there is no gain, and the reason is printed."""
    lab.add(4, "base", **base)
    lab.add(12, "rag", k=1, **arm)
    lab.add(12, "rag", k=2)
    table = lab.table()
    found = row(table, "rag,k=1")
    assert (found.gain, found.p, found.gold_share) == (None, None, None)
    assert row(table, "rag,k=2").rank == 1
    assert (found.rank is None) == bool(arm)
    assert found.reason == reason
    assert found.accuracy is not None
    assert table.complete
    assert reason in " ".join(render(table, "terminal", width=200).split())


def test_seeds_of_other_environments_are_not_mixed(lab):
    """Seeds that were computed with other versions make no common number."""
    lab.add(4, "base")
    lab.add(9, "ft", seed=0)
    lab.add(9, "ft", seed=1, where=NEW)
    assert row(lab.table(), "ft").reason == "mixes 2 environments: torch 2.13.0 against 2.14.1"


def test_missing_and_failed_cells_are_rows(lab):
    """A cell without a number is a row with its reason, it is counted, and the table is not complete."""
    lab.add(4, "base")
    missing, failed = lab.plan("rag", k=1), lab.fail("rag", k=2, error="boom\n\x1b[31mbad\x07")
    table = lab.table()
    assert not table.complete
    assert [(one.cell, one.state) for one in table.missing] == [(missing.id, "missing"), (failed.id, "failed")]
    assert (row(table, "rag,k=1").status, row(table, "rag,k=1").reason) == ("missing", "not measured")
    assert row(table, "rag,k=2").status == "failed"
    assert row(table, "rag,k=2").reason == "failed at answers: boom \ufffd[31mbad\ufffd"
    text = render(table, "terminal", width=100)
    assert "Of 3 cells, 1 missing and 1 failed" in text
    assert "\x1b" not in text


def test_a_partial_set_of_seeds_is_no_number(lab):
    """An arm of which a seed has no number is incomplete: nothing is averaged over the others."""
    lab.add(4, "base")
    lab.add(9, "ft", seed=0)
    lab.plan("ft", seed=1)
    lab.fail("ft", seed=2)
    found = row(lab.table(), "ft")
    assert (found.status, found.accuracy, found.gain, found.spread) == ("incomplete", None, None, None)
    assert found.reason == "seed 1 not measured; seed 2 failed at answers: out of memory"


def test_a_missing_base_takes_its_gains_away(lab):
    """Without the base's number no arm gains, but arms are still ranked among each other."""
    lab.fail("base")
    lab.add(18, "rag", k=1)
    lab.add(2, "rag", k=2)
    table = lab.table()
    found = row(table, "rag,k=1")
    assert (found.gain, found.reason) == (None, "base has no result: failed at answers: out of memory")
    assert [row(table, f"rag,k={k}").rank for k in (1, 2)] == [1, 2]


def test_a_number_wins_over_an_old_failure(lab):
    """A cell that was measured is no failure, whatever the last run's list says."""
    cell = lab.add(4, "base")
    lab.failures[cell.id] = Failure("answers", "once")
    assert lab.table().complete


def test_files_changed_by_hand_are_refused(lab):
    """Questions that are not those that were measured are an error that names the file."""
    cell = lab.add(4, "base")
    path = lab.save().cell_folder(cell) / "questions.jsonl"
    path.write_text(path.read_text().replace('"score":0', '"score":1'))
    with pytest.raises(InputError, match=r"questions\.jsonl: not the measured file"):
        lab.table()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (lambda lines: lines[:-1], "contradicts cell.json, which lists 4 of 20 as correct"),
        (
            lambda lines: [lines[0].replace('"score":1', '"score":0'), *lines[1:]],
            "contradicts cell.json, which lists 4 of 20 as correct",
        ),
        (lambda lines: [lines[0], lines[0], *lines[2:]], "contains a question twice"),
    ],
)
def test_questions_that_do_not_fit_their_cell_are_refused(lab, lines, said):
    """Questions that contradict the number of their cell, or stand there twice, are an error that says what to do."""
    cell = lab.add(4, "base")
    folder = lab.save().cell_folder(cell)
    path = folder / "questions.jsonl"
    path.write_text("".join(lines(path.read_text().splitlines(keepends=True))))
    value = json.loads((folder / "cell.json").read_text())
    (folder / "cell.json").write_text(json.dumps({**value, "questions": digest_file(path)}))
    with pytest.raises(InputError, match=f"{said}; delete .* and run the benchmark again"):
        lab.table()


def test_seeds_of_other_questions_are_refused(lab):
    """Seeds of one arm that answered other questions are an error: there is nothing to average."""
    lab.add(9, "ft", seed=0)
    lab.add(9, "ft", seed=1, ids=[f"x{number}" for number in range(20)])
    with pytest.raises(InputError, match="not the same questions as in the arm's first seed"):
        lab.table()


def test_seeds_of_other_metrics_are_not_mixed(lab):
    """Seeds that were scored by other metrics make no common number."""
    lab.add(4, "base")
    lab.add(9, "ft", seed=0)
    lab.add(9, "ft", seed=1, metric="exact_match")
    assert row(lab.table(), "ft").reason == "mixes metrics: acc, exact_match"


def test_sides_differ_where_the_plan_knows_no_number(lab):
    """Where the plan does not say how many questions there are, two sides must agree."""
    lab.add(4, "base")
    lab.add(4, "rag", k=1, n=19)
    lab.tasks["new"] = TaskEntry("target", None)
    assert row(lab.table(), "rag,k=1").reason == "19 questions against 20"


def test_a_plan_without_base_has_no_gains(lab):
    """Where the plan has no base there is no gain and no family, and the reason says so."""
    lab.add(12, "rag", k=1)
    table = lab.table()
    assert row(table, "rag,k=1").reason == "the plan has no base with the same model, task and shots"
    assert (table.benchmarks[0].family, row(table, "rag,k=1").rank) == (0, 1)
    assert table.headlines == (
        "tiny on new: no gain to report; the plan has no base with the same model, task and shots",
    )


def test_a_result_of_another_identity_is_not_this_cells(lab):
    """A result whose identity is not the plan's, but begins alike, is missing."""
    cell = lab.add(4, "base")
    lab.cells = [replace(cell, identity=cell.identity[:8] + "0" * 56)]
    assert lab.table().missing[0].reason == "not measured"


# Ranks


def test_arms_share_ranks_unless_they_differ(lab):
    """Arms that do not differ from a rank's first by more than chance share it; base is ranked, the ceiling is not."""
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


def test_small_steps_do_not_add_up(lab):
    """An arm that differs from the first of a rank is not of this rank, however many arms stand between the two."""
    for k, right in enumerate((20, 17, 14, 11, 8, 5), 1):
        lab.add(right, "rag", k=k)
    lab.add(2, "base")
    ranks = {one.arm: one.rank for one in lab.table().rows}
    assert [ranks[f"rag,k={k}"] for k in range(1, 7)] == [1, 1, 1, 4, 4, 4]
    assert ranks["base"] == 7


def test_a_rank_of_its_own_has_no_mark(lab):
    """An arm that differs from its neighbours has its rank alone."""
    lab.add(1, "base")
    lab.add(11, "rag", k=1)
    lab.add(20, "rag", k=2)
    assert [(one.rank, one.tied) for one in lab.table().rows] == [(3, False), (1, False), (2, False)]


# Averages


def test_averages_need_two_targets(lab):
    """With one target task there is no average, and a control task is never part of one."""
    lab.task("known", "control")
    for task in ("new", "known"):
        lab.add(4, "base", task)
        lab.add(12, "rag", task, k=1)
    assert lab.table().averages == ()


def test_averages_are_over_all_targets(lab):
    """An average is over every target task; an arm that the plan has not on all of them has none."""
    for task, right in (("new", 12), ("worded", 8)):
        lab.add(4, "base", task)
        lab.add(right, "rag", task, k=1)
    lab.add(12, "rag", "new", k=2)
    base, rag = lab.table().averages
    assert (base.arm, base.average, base.accuracy) == ("base", None, 0.2)
    assert (rag.arm, rag.tasks, rag.accuracy) == ("rag,k=1", ("new", "worded"), 0.5)
    assert rag.average.absolute == pytest.approx((0.4 + 0.2) / 2)
    assert rag.average.relative == pytest.approx((2.0 + 1.0) / 2)


def test_an_average_with_a_gap_is_none(lab):
    """Where a task has no gain there is no average, and the reason names the task."""
    for task in ("new", "worded"):
        lab.add(4, "base", task)
    lab.add(12, "rag", "new", k=1)
    lab.add(12, "rag", "worded", k=1, where=NEW)
    found = lab.table().averages[1]
    assert (found.average, found.reason) == (None, "worded: torch 2.14.1 against 2.13.0")


def test_an_average_over_a_base_of_nothing_is_not_relative(lab):
    """A relative gain over a base of 0 is none, and so is the average that contains it."""
    for task, right in (("new", 0), ("worded", 4)):
        lab.add(right, "base", task)
        lab.add(12, "rag", task, k=1)
    table = lab.table()
    assert row(table, "rag,k=1").gain.relative is None
    assert table.averages[1].average.relative is None
    assert table.averages[1].average.absolute == pytest.approx((0.6 + 0.4) / 2)


# Headings


def test_heading_takes_the_largest_k(lab):
    """The heading speaks of the largest K, also where a smaller one is better on the test questions."""
    lab.add(4, "base")
    for k, right in ((1, 20), (5, 16), (3, 18)):
        lab.add(right, "rag", k=k)
    lab.add(20, "gold", k=1)
    (heading,) = lab.table().headlines
    assert heading.startswith("tiny on new: retrieval with 5 passages: 20 -> 80 %, +60 points [")
    assert heading.endswith("], 75 % of the gain from the gold passage")


def test_heading_takes_the_chosen_k(lab):
    """The heading speaks of the K chosen on validation, where there is one; equal ones go to the first."""
    lab.methods = {**METHODS, "rag": MethodEntry(None, "bm25", chosen=("k",))}
    lab.add(4, "base")
    for k, test, validation in ((1, 12, 9), (3, 14, 12), (5, 16, 12)):
        lab.add(test, "rag", k=k)
        lab.add(validation, "rag", k=k, split="validation")
    table = lab.table()
    assert table.headlines[0].startswith("tiny on new: retrieval with 3 passages: 20 -> 70 %")
    assert [(one.arm, one.validation) for one in table.rows if one.chosen] == [("rag,k=3", 0.6)]
    assert len(table.rows) == 4
    assert row(table, "rag,k=3").best_on_test == ("rag,k=5", 0.8)
    said = "rag,k=3, chosen on validation: 70.0 %; chosen on test: 80.0 % (rag,k=5)"
    assert said in render(table, "terminal", width=120)


def test_a_choice_that_is_best_on_test_says_so(lab):
    """Where no setting is better on test than the chosen one, the line says that choosing on test claims the same."""
    lab.methods = {**METHODS, "rag": MethodEntry(None, "bm25", chosen=("k",))}
    lab.task("new").task("known", "control")
    lab.add(4, "base")
    for k, test, validation in ((1, 12, 9), (3, 16, 12), (5, 16, 11)):
        lab.add(test, "rag", k=k)
        lab.add(test, "rag", "known", k=k)
        lab.add(validation, "rag", k=k, split="validation")
    table = lab.table()
    said = "rag,k=3, chosen on validation: 80.0 %; chosen on test: the same"
    assert [one.best_on_test for one in table.rows if one.best_on_test] == [("rag,k=3", 0.8)]
    assert said in render(table, "terminal", width=120)
    assert said in render(table, "markdown")


def test_rates_are_chosen_by_loss_and_then_k_on_questions(lab):
    """Where rates are chosen by loss and K on questions, K is chosen among the arms with the rate of the least loss."""
    by_loss = MethodEntry("adapter", "bm25", chosen=("rate", "k"), by_loss=("rate",))
    lab.methods = {**METHODS, "ft+rag": by_loss}
    lab.add(4, "base")
    for rate, losses in ((1e-5, (2.0, 2.2)), (5e-5, (1.9, 2.1))):
        for k, right in ((1, 9), (3, 11)):
            for seed, loss in enumerate(losses):
                arm = {"settings": (("rate", rate),), "k": k, "seed": seed, "training": {"validation_loss": loss}}
                lab.add(10, "ft+rag", **arm)
                lab.add(right + 5 * (rate == 1e-5), "ft+rag", split="validation", **arm)
    assert [one.arm for one in lab.table().rows if one.chosen] == ["ft+rag,rate=5e-05,k=3"]


def test_nothing_is_chosen_before_all_are_measured(lab):
    """Without all validation cells there is no choice, and the missing ones are named below the table."""
    lab.methods = {**METHODS, "rag": MethodEntry(None, "bm25", chosen=("k",))}
    lab.add(4, "base")
    for k in (1, 2):
        lab.add(12, "rag", k=k)
    lab.add(12, "rag", k=1, split="validation")
    missing = lab.plan("rag", k=2, split="validation")
    table = lab.table()
    assert not any(one.chosen for one in table.rows)
    assert (table.complete, table.missing[0].cell) == (False, missing.id)
    assert f"Without a row: {missing.id} (not measured)." in render(table, "terminal", width=200)


def test_heading_says_what_is_chance(lab):
    """A gain that may be chance is called so."""
    lab.add(4, "base")
    lab.add(5, "rag", k=1)
    (heading,) = lab.table().headlines
    assert heading.startswith("tiny on new: retrieval with 1 passage: 20 -> 25 %, +5 points [")
    assert heading.endswith("not significant")


def test_headings_cover_each_way(lab):
    """A model has a sentence for retrieval, for fine-tuning and for both, on its first target at its fewest shots."""
    lab.task("known", "control")
    for task, shots in (("known", 0), ("new", 5), ("new", 2), ("worded", 0)):
        for method, right, more in (("base", 4, {}), ("rag", 16, {"k": 2}), ("ft", 12, {}), ("ft+rag", 14, {"k": 2})):
            lab.add(right, method, task, shots=shots, **more)
    lab.cells.sort(key=lambda cell: ("known", "new", "worded").index(cell.task))
    starts = [heading.split(", +")[0] for heading in lab.table().headlines]
    assert starts == [
        "tiny on new, 2-shot: retrieval with 2 passages: 20 -> 80 %",
        "tiny on new, 2-shot: fine-tuning (ft): 20 -> 60 %",
        "tiny on new, 2-shot: fine-tuning and retrieval with 2 passages (ft+rag,k=2): 20 -> 70 %",
    ]


def test_heading_says_that_there_is_no_gain(lab):
    """A plan of base and random passages alone has no gain to report, and no Holm, and both are said."""
    lab.add(4, "base")
    lab.add(5, "random", k=1)
    table = lab.table()
    assert table.headlines == ("tiny on new: no gain to report; the plan has only base and random here",)
    assert "p: exact paired test; values in parentheses" in render(table, "terminal")


def test_heading_without_a_target_says_so(lab):
    """Where a model has no target task, the heading says that there is no gain to report."""
    lab.task("known", "control")
    lab.add(4, "base", "known")
    assert lab.table().headlines == ("tiny: no gain to report; the plan has no target task for this model",)


def test_heading_names_no_share_of_a_chance_gain(lab):
    """Where the gold passage gives no more than chance, the heading names no share of it."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    lab.add(6, "gold", k=1)
    assert "gold passage" not in lab.table().headlines[0]


def test_heading_without_a_gain_says_why(lab):
    """Where the heading's arm has no gain, the sentence gives the reason instead of a number."""
    lab.add(4, "base")
    lab.add(5, "rag", k=1, where=NEW)
    assert lab.table().headlines == (
        "tiny on new: retrieval with 1 passage: not comparable with base, torch 2.14.1 against 2.13.0",
    )


# Known and unknown before


def test_gains_are_split_by_another_measurement(lab):
    """What was known before is told by a second measurement of the base, never by the one that is gained over."""
    base = [1] * 6 + [0] * 14
    probe = [0] * 2 + [1] * 8 + [0] * 10
    arm = [1] * 4 + [0] * 4 + [1] * 12
    lab.add(base, "base")
    lab.add(probe, "base", split="probe")
    lab.add(arm, "rag", k=1)
    found = row(lab.table(), "rag,k=1")
    assert found.known == gain(base[2:10], arm[2:10], [None] * 8)
    assert found.unknown == gain(base[:2] + base[10:], arm[:2] + arm[10:], [None] * 12)


def test_why_gains_are_not_split_is_said(lab):
    """A task without a second measurement says why below the table."""
    lab.task("new", no_probe="lm-eval brings its own prompt")
    lab.add(4, "base")
    lab.add(5, "rag", k=1)
    text = render(lab.table(), "markdown")
    said = "Gains on the task \\`new\\` are not split into known and unknown: lm-eval brings its own prompt."
    assert said in text


# Against another method


def test_against_an_arm(lab):
    """`against` measures all gains over that arm, with Holm over that view alone."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    lab.add(18, "ft+rag", k=1)
    table = lab.table(against="rag,k=1")
    found = row(table, "ft+rag,k=1")
    assert found.gain == gain([1] * 12 + [0] * 8, [1] * 18 + [0] * 2, [None] * 20)
    assert row(table, "base").gain.absolute == pytest.approx(-0.4)
    assert row(table, "rag,k=1").gain is None
    assert table.benchmarks[0].family == 2
    assert found.gold_share is None
    assert table.headlines[0].startswith(
        "tiny on new: fine-tuning and retrieval with 1 passage (ft+rag,k=1) against rag,k=1: 60 -> 90 %, +30 points"
    )


def test_against_a_method_takes_the_arm_with_the_same_settings(lab):
    """A method with several arms is compared arm by arm: the one whose settings the row has too."""
    lab.add(4, "base")
    for k, right in ((1, 10), (3, 12)):
        lab.add(right, "rag", k=k)
        lab.add(right + 5, "ft+rag", k=k, settings=(("rank", 4),))
    table = lab.table(against="rag")
    assert [row(table, f"ft+rag,rank=4,k={k}").reference for k in (1, 3)] == ["rag,k=1", "rag,k=3"]
    assert row(table, "base").reason.startswith("rag has several arms (rag,k=1, rag,k=3)")
    assert "against" in render(table, "terminal", width=200).splitlines()[4]


def test_against_a_wrong_name_lists_what_exists(lab):
    """A name that no arm has is an error with the nearest right one and all that exist."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    with pytest.raises(InputError, match=r"no method or arm 'rga'.*did you mean \"rag\"\? Known: base, rag"):
        lab.table(against="rga")
    with pytest.raises(InputError, match="rag,k=1"):
        lab.table(against="rag,k=9")


@pytest.mark.parametrize(
    ("fraction", "shown", "cut"),
    [
        (0.225, "23", "22.5"),
        (-0.225, "-23", "-22.5"),
        (0.285, "29", "28.5"),
        (0.0625, "6", "6.3"),
        (-0.0001, "0", "0.0"),
    ],
)
def test_halves_are_rounded_away_from_zero(fraction, shown, cut):
    """Numbers are rounded as people do, halves away from zero, whatever their binary form is."""
    assert (whole_percent(fraction), percent(fraction)) == (shown, cut)


def test_one_point_is_no_points(tmp_path):
    """A sentence speaks of one point in the singular."""
    lab = Lab(tmp_path, n=100)
    lab.add(50, "base")
    lab.add(51, "rag", k=1)
    assert ", +1 point [" in lab.table().headlines[0]


# Several folders


def test_benchmarks_are_never_compared(tmp_path):
    """Rows of two benchmarks stand in one table, each with the gains, ranks and Holm of its own."""
    one, two = Lab(tmp_path, "one"), Lab(tmp_path, "two")
    for lab, right in ((one, 4), (two, 10)):
        lab.add(right, "base")
        lab.add(14, "rag", k=1)
    table = make_table([one.save(), two.save()])
    assert [(found.benchmark, found.arm) for found in table.rows] == [
        ("one", "base"),
        ("one", "rag,k=1"),
        ("two", "base"),
        ("two", "rag,k=1"),
    ]
    assert [found.gain.absolute for found in table.rows if found.gain] == pytest.approx([0.5, 0.2])
    assert [found.family for found in table.benchmarks] == [1, 1]
    assert table.headlines[1].startswith("two: tiny on new")
    assert "two: tiny · new" in render(table, "terminal")


def test_one_benchmark_twice_is_refused(tmp_path):
    """Two folders of one benchmark are an error that names both."""
    folders = [Lab(tmp_path / place) for place in ("here", "there")]
    for lab in folders:
        lab.add(4, "base")
    with pytest.raises(InputError, match=r"'lab' is in several folders: .*here.*there"):
        make_table([lab.save() for lab in folders])


def test_an_empty_place_is_refused(tmp_path):
    """A folder without results is an error that says how to make them."""
    with pytest.raises(InputError, match="kib run SPEC"):
        make_table([Results(tmp_path)])
    with pytest.raises(InputError, match="kib run SPEC"):
        make_table([])


# Stored statistics


def test_stored_statistics_need_no_questions(full_copy):
    """A second table reads no question, loads no numpy, and is the same byte for byte."""
    first = render(make_table([full_copy]), "json")
    for path in full_copy.folder.rglob("questions.jsonl"):
        path.unlink()
    code = (
        "import sys; from pathlib import Path; from kib.store.results import Results\n"
        "from kib.leaderboard import make_table, render\n"
        "sys.stdout.reconfigure(encoding='utf-8')\n"
        "print(render(make_table([Results(Path(sys.argv[1]))]), 'json'), end='')\n"
        "assert not {'numpy', 'scipy', 'statsmodels', 'rich'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, full_copy.folder], capture_output=True, check=True)
    assert run.stdout.decode() == first


@pytest.mark.parametrize(
    ("view", "user"),
    [
        ({"against": "rag"}, "a gain over rag needs the questions in it"),
        ({"retrieval": True}, "the quality of retrieval needs the questions in it"),
    ],
)
def test_other_views_say_that_they_need_the_questions(full_copy, view, user):
    """Of results without questions a view that is not stored says what needs them, and what can be shown without."""
    make_table([full_copy])
    for path in full_copy.folder.rglob("questions.jsonl"):
        path.unlink()
    with pytest.raises(InputError) as caught:
        make_table([full_copy], **view)
    assert user in str(caught.value)
    assert "they may have been left out on purpose; what is stored can be shown without them: gains over base." in str(
        caught.value
    )
    assert make_table([full_copy]).rows


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(json.dumps({"revision": REVISION, "arms": 3, "views": {"": [1]}})),
        lambda path: path.write_text(re.sub(r"\[[^\[\]]*\]", '["x"]', path.read_text())),
        lambda path: path.write_text(path.read_text().replace("]", ",0]")),
        lambda path: path.write_text(re.sub(r'"revision":\d+', '"revision":0', path.read_text())),
    ],
)
def test_damaged_statistics_are_computed_again(lab, damage):
    """Statistics that are gone, damaged or of another revision are computed again, to the same bytes."""
    lab.add(4, "base")
    lab.add(2, "base", split="probe")
    lab.add(12, "rag", k=1)
    path = lab.results.folder / "statistics.json"
    first, stored = render(lab.table(), "json"), path.read_bytes()
    damage(path)
    assert render(lab.table(), "json") == first
    assert path.read_bytes() == stored


def test_statistics_follow_the_questions(lab):
    """A cell that was measured anew is never given the statistics of the old one."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    before = row(lab.table(), "rag,k=1").gain
    lab.cells.pop()
    lab.add(13, "rag", k=1)
    after = row(lab.table(), "rag,k=1").gain
    assert (before.absolute, after.absolute) == pytest.approx((0.4, 0.45))


def test_statistics_hold_what_is_used(lab):
    """Statistics of cells that are gone are dropped, those of other views stay."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    lab.add(13, "rag", k=2)
    lab.table()
    lab.table(against="rag,k=1")
    stored = lab.results.statistics()
    assert sorted(stored["views"]) == ["", "rag,k=1"]
    lab.cells.pop()
    lab.table()
    pruned = lab.results.statistics()
    assert (len(stored["arms"]), len(pruned["arms"])) == (3, 2)
    assert len(pruned["views"][""]) < len(stored["views"][""])
    assert pruned["views"]["rag,k=1"] == stored["views"]["rag,k=1"]


def test_a_second_table_writes_nothing(lab):
    """Unchanged statistics are not written again."""
    lab.add(4, "base")
    lab.table()
    path = lab.results.folder / "statistics.json"
    before = path.stat().st_ino
    lab.table()
    assert path.stat().st_ino == before


def test_many_statistics_show_progress(tmp_path):
    """Where many arms have no statistics yet, progress counts each of them once; stored ones show nothing."""
    from kib.progress import LineProgress

    lab = Lab(tmp_path, n=3)
    for model in range(60):
        lab.add(1, "base", model=f"m{model}")
        lab.add(2, "rag", k=1, model=f"m{model}")
    stream = io.StringIO()
    ticks = iter(range(0, 10_000, 10))
    lab.table(progress=LineProgress(stream, clock=lambda: next(ticks)))
    lines = stream.getvalue().splitlines()
    assert (lines[0], lines[-1]) == ("statistics: 120", "statistics: 120 of 120")
    stream.truncate(0)
    lab.table(progress=LineProgress(stream))
    assert not stream.getvalue().strip("\0")


# Texts


COSTS = {
    "cost-100.txt": ("terminal", {"width": 100}),
    "cost-160.txt": ("terminal", {"width": 160}),
    "cost.md": ("markdown", {}),
}


@pytest.mark.parametrize("name", COSTS)
def test_costs_are_as_agreed(lab, name):
    """The texts of an example with costs are as stored in tests/leaderboard; KIB_UPDATE_GOLDENS=1 stores them anew."""
    form, more = COSTS[name]
    text = render(costly(lab).table(times=True), form, **more)
    path = GOLDENS / name
    if os.environ.get("KIB_UPDATE_GOLDENS"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_bytes().decode("utf-8")


FORMS = {
    "terminal-80.txt": ("terminal", {"width": 80}),
    "terminal-120.txt": ("terminal", {"width": 120}),
    "terminal-200.txt": ("terminal", {"width": 200}),
    "colour-120.txt": ("terminal", {"width": 120, "colour": True}),
    "table.md": ("markdown", {}),
    "table.csv": ("csv", {}),
    "table.json": ("json", {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_texts_are_as_agreed(full_table, name):
    """Every format of the full example is as stored in tests/leaderboard; KIB_UPDATE_GOLDENS=1 stores it anew."""
    form, more = FORMS[name]
    text = render(full_table, form, **more)
    path = GOLDENS / name
    if os.environ.get("KIB_UPDATE_GOLDENS"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_bytes().decode("utf-8")


@pytest.mark.parametrize("width", [52, 64, 80, 100, 120, 160, 240])
def test_terminal_keeps_to_its_width(full_table, width):
    """No line is wider than the terminal, and what is left out is said."""
    text = render(full_table, "terminal", width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert ("Left out at this width" in text) == (width < 200)


@pytest.mark.parametrize("width", [40, 60, 72])
def test_sentences_keep_to_the_terminal(full_table, width):
    """Sentences are as wide as the terminal, not as a table that does not fit into it."""
    text = render(full_table, "terminal", width=width)
    below = text[text.index("Accuracy in %") :]
    assert max(map(len, below.splitlines())) <= width


def test_a_note_is_folded_before_the_table_is_too_wide(full_table):
    """In 60 columns the table fits: what is noted of a row stands in several lines."""
    text = render(full_table, "terminal", width=60)
    assert "forgets" in text
    assert max(map(len, text.splitlines())) <= 60


def test_numbers_are_never_cut(full_table):
    """In a terminal that is too narrow for the numbers they stand complete all the same."""
    narrow = " ".join(render(full_table, "terminal", width=20).split())
    for found in full_table.rows:
        if found.gain:
            assert f"{100 * found.accuracy.mean:.1f}" in narrow


def test_colour_is_an_addition(full_table):
    """The coloured table says the same as the plain one."""
    plain, coloured = (render(full_table, "terminal", width=120, colour=colour) for colour in (False, True))
    stripped = [line.rstrip() for line in ANSI.sub("", coloured).splitlines()]
    assert coloured != plain
    assert stripped == plain.splitlines()


def test_long_tables_are_cut_and_say_so(tmp_path):
    """The terminal shows 200 rows and says how many there are; the other formats have all."""
    lab = Lab(tmp_path, n=3)
    for model in range(130):
        lab.add(1, "base", model=f"m{model}")
        lab.add(2, "rag", k=1, model=f"m{model}")
    table = lab.table()
    text = render(table, "terminal", width=100)
    assert len([line for line in text.splitlines() if re.search(r"(base|rag,k=1) +\d", line)]) == 200
    assert "First 200 of 260 rows" in text
    assert text.count("retrieval with 1 passage") == 12
    assert "and 118 more headlines" in text
    assert len(list(csv.reader(io.StringIO(render(table, "csv"))))) == 261
    assert len(json.loads(render(table, "json"))["rows"]) == 260
    assert render(table, "markdown").count("| rag,k=1 |") == 130


def test_csv_holds_everything(full_table):
    """CSV has one header with every key of rows and averages, one line each, and floats that read back exactly."""
    lines = list(csv.DictReader(io.StringIO(render(full_table, "csv"))))
    assert set(lines[0]) == {"entry", *ROW, *AVERAGE}
    assert [line["entry"] for line in lines] == ["arm"] * len(full_table.rows) + ["average"] * len(full_table.averages)
    for line, found in zip(lines, full_table.rows, strict=False):
        assert line["gain"] == ("" if found.gain is None else repr(found.gain.absolute))
        assert line["seeds"] == " ".join(map(str, found.seeds))


def test_json_is_what_the_documentation_says(full_results):
    """Every key of the JSON table is documented, and the documentation names no other."""
    value = json.loads(render(make_table([full_results], cost=True, times=True, retrieval=True), "json"))
    assert value["schema"] == 1
    lists = ("rows", "averages", "missing", "benchmarks", "environments")
    keys = {*value, *(key for name in lists for one in value[name] for key in one)}
    documented = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(set(documented)) == sorted(keys)


EVIL = "=1+1|<b>x</b>[red]y[/red](z)](http://e) `c` *d* \x1b[31m\u2028\n| a | b |\n# head"


def test_texts_of_others_cannot_break_the_formats(lab):
    """Titles and messages of others are printed as they are: no markup, no formula, no control character, no line."""
    lab.title = EVIL
    lab.add(4, "base")
    lab.fail("rag", k=1, error=EVIL)
    table = lab.table()
    for form in ("terminal", "markdown"):
        text = render(table, form, width=300)
        assert "\x1b" not in text
        assert "\u2028" not in text
        assert "[red]y[/red]" in text.replace("\\", "")
    lines = render(table, "markdown").splitlines()
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")}
    assert len(columns) == 1
    assert not [line for line in lines if "<b>" in line or "](" in line or line.startswith("# ")]
    cells = [cell for line in csv.reader(io.StringIO(render(table, "csv"))) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_markdown_shows_texts_as_they_are(lab):
    """A Markdown reader shows titles, names and messages letter by letter, and no element of their making."""
    from markdown_it import MarkdownIt

    lab.title = EVIL
    lab.add(4, "base")
    lab.fail("rag", k=1, error=EVIL)
    table = lab.table()
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(render(table, "markdown"))
    inline = [token for token in tokens if token.type == "inline"]
    assert {child.type for token in inline for child in token.children} <= {"text", "softbreak"}
    shown = ["".join(child.content for child in token.children) for token in inline]
    assert shown[0] == f"lab: {table.benchmarks[0].title}"
    assert f"rag,k=1: {table.missing[0].reason}" in shown
    assert shown.count("rag,k=1") == 1


@settings(max_examples=30)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_keeps_the_shape(tmp_path_factory, title, error):
    """Whatever title and message hold, Markdown rows keep their columns, JSON reads back, and nothing raises."""
    lab = Lab(tmp_path_factory.mktemp("lab"), n=2)
    lab.title = title
    lab.add(1, "base")
    lab.fail("rag", k=1, error=error)
    table = lab.table()
    rows = [line for line in render(table, "markdown").splitlines() if line.startswith("| ")]
    assert len(rows) == 4
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1
    assert json.loads(render(table, "json"))["missing"][0]["state"] == "failed"
    assert render(table, "terminal").replace("\n", "").isprintable()


def test_a_format_that_does_not_exist_is_refused(lab):
    """A wrong format is an error that lists the right ones."""
    lab.add(4, "base")
    with pytest.raises(InputError, match="terminal, markdown, csv, json"):
        render(lab.table(), "html")


def test_texts_depend_on_the_results_alone(full_table, full_copy):
    """Equal results in another place give equal bytes in every format, statistics computed anew."""
    other = make_table([full_copy])
    for form in ("terminal", "markdown", "csv", "json"):
        assert render(other, form) == render(full_table, form)
    assert baseline(other) == baseline(full_table)


# The check


def test_a_table_passes_its_own_baseline(tmp_path):
    """Checked against itself, a complete table has no changes."""
    lab = Lab(tmp_path)
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    table = lab.table()
    assert check(table, baseline(table)) == Changes((), ())


def changed(lab, change, **more):
    """What `check` says after a change to the results."""
    stored = baseline(lab.table(**more))
    change(lab)
    return check(lab.table(**more), stored)


def measured(lab):
    """A lab with a base and two arms."""
    lab.add(4, "base")
    lab.add(14, "rag", k=1)
    for seed in (0, 1):
        lab.add(12, "ft", seed=seed)
    return lab


def again(lab, number, right, method, **more):
    """Measure a cell anew, with another identity."""
    lab.cells.pop(number)
    lab.add(right, method, salt="new", **more)
    lab.cells.insert(number, lab.cells.pop())


def test_a_fall_by_more_than_chance_fails(lab):
    """A gain below the baseline's interval fails, whatever the cell's digest; a fall within it does not."""
    failed = changed(measured(lab), lambda lab: again(lab, 1, 7, "rag", k=1)).failed
    assert len(failed) == 1
    assert failed[0].startswith(
        "lab/tiny/rag,k=1/new,0-shot: the gain fell below the interval of the baseline: +50.0 ["
    )
    assert failed[0].endswith("] -> +15.0 points")
    assert changed(lab, lambda lab: again(lab, 1, 6, "rag", k=1)).failed == ()


def test_a_rise_is_only_noted(lab):
    """A gain above the baseline's interval is noted and fails nothing."""
    found = changed(measured(lab), lambda lab: again(lab, 1, 20, "rag", k=1))
    assert (found.failed, len(found.noted)) == ((), 1)
    assert "rose above the interval" in found.noted[0]


def test_missing_failed_and_gone_cells_fail(lab):
    """A cell that has no number any more fails the check, and so does one that left the plan."""

    def change(lab):
        lab.cells.pop(1)
        lab.fail("rag", k=1, salt="new", error="boom")
        lab.cells.pop(2)

    found = changed(measured(lab), change)
    assert [text.split(": ", 1)[1] for text in found.failed] == [
        "failed at answers: boom",
        "removed: no longer in the plan",
    ]
    assert found.failed[1].startswith("lab/tiny/ft/new,0-shot/s1")
    everything = changed(lab, lambda lab: lab.cells.pop(1))
    assert "lab/tiny/ft/new,0-shot: removed: no longer in the plan" in everything.failed


def test_rows_that_became_incomparable_fail(lab):
    """A gain that there is no more, for other versions, fails with the reason."""
    found = changed(measured(lab), lambda lab: again(lab, 1, 14, "rag", k=1, where=NEW))
    assert found.failed == ("lab/tiny/rag,k=1/new,0-shot: no longer has a gain: torch 2.14.1 against 2.13.0",)


def test_new_cells_are_only_noted(lab):
    """New arms and seeds are reported and fail nothing."""

    def change(lab):
        lab.add(14, "rag", k=2)
        lab.add(12, "ft", seed=2)

    found = changed(measured(lab), change)
    assert found.failed == ()
    assert sorted(found.noted) == ["lab/tiny/ft/new,0-shot/s2: new", "lab/tiny/rag,k=2/new,0-shot: new"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "not a leaderboard baseline"),
        ({"kind": "table"}, "not a leaderboard baseline"),
        ({"schema": 2}, "schema 2, but this version of kib reads 1"),
        ({"against": "rag"}, "against rag"),
        ({"rows": None}, "damaged"),
        ({"rows": {"a": {"seeds": 1, "gain": None}}}, "damaged"),
        ({"rows": {"a": {"seeds": [0]}}}, "damaged"),
        ({"rows": {"a": {"seeds": [0], "gain": [1, "x", 2]}}}, "damaged"),
    ],
)
def test_a_foreign_baseline_is_refused(lab, text, said):
    """A baseline that is damaged, of another kind, schema or view is an error that says so and how to make one."""
    lab.add(4, "base")
    if isinstance(text, dict):
        text = json.dumps({"kind": "kib leaderboard baseline", "schema": 1, "against": None, "rows": {}, **text})
    with pytest.raises(InputError, match=said) as caught:
        check(lab.table(), text)
    assert "--update-baseline" in str(caught.value)


def test_a_baseline_holds_no_digests(full_table):
    """A baseline names arms, never the digest of a cell."""
    assert not [one for found in full_table.rows for one in found.cells if one[-8:] in baseline(full_table)]
