"""Missing results, and arms that cannot be compared."""

import json
from dataclasses import replace

import pytest
from leaderboard_lab import METHODS, NEW, OLD, row

from kib.errors import InputError
from kib.identity import digest_file
from kib.leaderboard import render
from kib.store.result_records import Failure, MethodEntry, TaskEntry
from kib.store.sealed_json import read_sealed


@pytest.mark.parametrize(
    ("base", "arm", "reason"),
    [
        ({}, {"where": NEW}, "torch 2.14.1 against 2.13.0"),
        ({}, {"where": replace(OLD, device="NVIDIA H100")}, "NVIDIA H100 against cpu"),
        ({}, {"where": replace(OLD, packages={"torch": "2.13.0"})}, "lm-eval (none) against 0.4.13"),
        ({}, {"where": (OLD, NEW)}, "mixes 2 environments: torch 2.13.0 against 2.14.1"),
        ({"where": (OLD, NEW)}, {}, "base: mixes 2 environments: torch 2.13.0 against 2.14.1"),
        ({}, {"n": 19}, "measured on 19 questions, but the plan has 20"),
        ({"n": 19}, {}, "base: measured on 19 questions, but the plan has 20"),
        ({}, {"metric": "exact_match"}, "metric exact_match against acc"),
        (
            {},
            {"ids": [f"x{number}" for number in range(20)]},
            "the questions differ: the reference lacks 20 of 20 questions",
        ),
        ({}, {"groups": ["a"] * 20}, "the questions are grouped differently"),
    ],
)
def test_incomparable_arms_have_no_gain(lab, base, arm, reason):
    """Arms with different versions, devices, metrics or questions are not compared, and the reason is printed."""
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


def test_configurations_of_an_endpoint_are_a_warning(lab):
    """Rows of an endpoint with several fingerprints are ranked with a warning, but a different served model is not."""
    first, second = ({**OLD.packages, "served model": "m", "system_fingerprint": name} for name in ("fp-1", "fp-2"))
    lab.add(4, "base", where=replace(OLD, packages=first))
    lab.add(12, "rag", k=1, where=replace(OLD, packages=first))
    lab.add(12, "rag", k=2, where=(replace(OLD, packages=first), replace(OLD, packages=second)))
    lab.add(12, "rag", k=3, where=replace(OLD, packages={**second, "served model": "n"}))
    table = lab.table()
    assert [row(table, f"rag,k={k}").warnings for k in (1, 2)] == [(), ("configurations (2)",)]
    assert [row(table, f"rag,k={k}").rank is None for k in (1, 2, 3)] == [False, False, True]
    assert row(table, "rag,k=3").reason == "served model n against m"


def test_seeds_with_different_versions_are_not_averaged(lab):
    """Seeds measured with different package versions are not averaged into one gain."""
    lab.add(4, "base")
    lab.add(9, "ft", seed=0)
    lab.add(9, "ft", seed=1, where=NEW)
    assert row(lab.table(), "ft").reason == "mixes 2 environments: torch 2.13.0 against 2.14.1"


def test_missing_and_failed_cells_are_rows(lab):
    """A cell without a result has a row with a reason, is counted, and makes the table incomplete."""
    lab.add(4, "base")
    missing, failed = lab.plan("rag", k=1), lab.fail("rag", k=2, error="boom\n\x1b[31mbad\x07")
    table = lab.table()
    assert not table.complete
    assert [(one.cell, one.state) for one in table.missing] == [(missing.id, "missing"), (failed.id, "failed")]
    assert (row(table, "rag,k=1").status, row(table, "rag,k=1").reason) == ("missing", "not measured")
    assert row(table, "rag,k=2").status == "failed"
    assert row(table, "rag,k=2").reason == "failed at answers: boom \ufffd[31mbad\ufffd"
    text = render(table, "terminal", width=100)
    assert "Cells without a result: 1 missing and 1 failed of 3 planned" in text
    assert "\x1b" not in text


def test_a_missing_seed_makes_an_arm_incomplete(lab):
    """An arm without a result for one of its seeds has no accuracy."""
    lab.add(4, "base")
    lab.add(9, "ft", seed=0)
    lab.plan("ft", seed=1)
    lab.fail("ft", seed=2)
    found = row(lab.table(), "ft")
    assert (found.status, found.accuracy, found.gain, found.spread) == ("incomplete", None, None, None)
    assert found.reason == "seed 1 not measured; seed 2 failed at answers: out of memory"


def test_without_base_there_are_no_gains_but_ranks(lab):
    """Without a base result, no arm has a gain, but arms are still ranked."""
    lab.fail("base")
    lab.add(18, "rag", k=1)
    lab.add(2, "rag", k=2)
    table = lab.table()
    found = row(table, "rag,k=1")
    assert (found.gain, found.reason) == (None, "base has no result: failed at answers: out of memory")
    assert [row(table, f"rag,k={k}").rank for k in (1, 2)] == [1, 2]


def test_a_measured_cell_does_not_count_as_failed(lab):
    """A measured cell does not count as failed, even if an outdated failure list contains the cell."""
    cell = lab.add(4, "base")
    lab.failures[cell.id] = Failure("answers", "once")
    assert lab.table().complete


def test_manually_edited_files_are_rejected(lab):
    """A manually edited question file raises an error that names the file."""
    cell = lab.add(4, "base")
    path = lab.save().cell_folder(cell) / "questions.jsonl"
    path.write_text(path.read_text().replace('"score":0', '"score":1'))
    with pytest.raises(InputError, match=r"questions\.jsonl: the file differs from the measured file"):
        lab.table()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (lambda lines: lines[:-1], "the file contradicts cell.json, which states a total score of 4 for 20 questions"),
        (
            lambda lines: [lines[0].replace('"score":1', '"score":0'), *lines[1:]],
            "the file contradicts cell.json, which states a total score of 4 for 20 questions",
        ),
        (lambda lines: [lines[0], lines[0], *lines[2:]], "the file contains a question twice"),
    ],
)
def test_inconsistent_question_records_are_rejected(lab, lines, said):
    """Question records that are duplicated or inconsistent with their cell raise an error that suggests a remedy."""
    cell = lab.add(4, "base")
    folder = lab.save().cell_folder(cell)
    path = folder / "questions.jsonl"
    path.write_text("".join(lines(path.read_text().splitlines(keepends=True))))
    value = read_sealed(folder / "cell.json")
    (folder / "cell.json").write_text(json.dumps({**value, "questions": digest_file(path)}))
    with pytest.raises(InputError, match=f"{said}; delete .* and run the benchmark again"):
        lab.table()


def test_seeds_with_different_questions_are_rejected(lab):
    """An arm with seeds that were measured on different questions raises an error."""
    lab.add(9, "ft", seed=0)
    lab.add(9, "ft", seed=1, ids=[f"x{number}" for number in range(20)])
    with pytest.raises(InputError, match="the questions differ from the questions of the arm's first seed"):
        lab.table()


def test_seeds_with_different_metrics_are_not_averaged(lab):
    """Seeds measured with different metrics are not averaged into one gain."""
    lab.add(4, "base")
    lab.add(9, "ft", seed=0)
    lab.add(9, "ft", seed=1, metric="exact_match")
    assert row(lab.table(), "ft").reason == "mixes metrics: acc, exact_match"


def test_arms_need_equal_numbers_of_questions(lab):
    """If the plan does not state the number of questions, an arm and its base must have equal numbers of questions."""
    lab.add(4, "base")
    lab.add(4, "rag", k=1, n=19)
    lab.tasks["new"] = TaskEntry("target", None)
    assert row(lab.table(), "rag,k=1").reason == "19 questions against 20"


def test_a_plan_without_base_has_no_gains(lab):
    """A plan without a base has no gains and no Holm family, and the headline states the reason."""
    lab.add(12, "rag", k=1)
    table = lab.table()
    assert row(table, "rag,k=1").reason == "the plan has no base with the same model, task and number of shots"
    assert (table.benchmarks[0].family, row(table, "rag,k=1").rank) == (0, 1)
    assert table.headlines == (
        "tiny on new: no gain to report; the plan has no base with the same model, task and number of shots",
    )


def test_results_with_a_different_identity_are_ignored(lab):
    """A result with a different identity is ignored, even if the two identities share a prefix."""
    cell = lab.add(4, "base")
    lab.cells = [replace(cell, identity=cell.identity[:8] + "0" * 56)]
    assert lab.table().missing[0].reason == "not measured"


def test_a_model_trained_elsewhere_has_another_served_model(lab):
    """A model trained elsewhere is compared with its base despite another served name, but not on another device."""
    lab.methods = {**METHODS, **{name: MethodEntry(None, None, trained_as=name) for name in ("ft-a", "ft-b")}}
    base = {**OLD.packages, "served model": "m", "system_fingerprint": "fp-1"}
    tuned = {**base, "served model": "m:ft", "system_fingerprint": "fp-2"}
    lab.add(4, "base", where=replace(OLD, packages=base))
    lab.add(15, "ft-a", where=replace(OLD, packages=tuned))
    lab.add(15, "ft-b", where=replace(OLD, device="NVIDIA H100", packages=tuned))
    table = lab.table()
    assert row(table, "ft-a").gain.absolute == pytest.approx(11 / 20)
    assert (row(table, "ft-a").warnings, row(table, "ft-a").trained, row(table, "ft-a").kind) == ((), True, "")
    assert row(table, "ft-b").reason == "NVIDIA H100 against cpu"
    assert row(lab.table(against="ft-a"), "base").reason == ""


def test_a_model_trained_elsewhere_that_changes_is_not_comparable(lab):
    """If the server reports two models for the answers of one arm, the arm has no gain."""
    lab.methods = {**METHODS, "ft": MethodEntry(None, None, trained_as="m-ft")}
    lab.add(4, "base", where=replace(OLD, packages={**OLD.packages, "served model": "m"}))
    names = [{**OLD.packages, "served model": name} for name in ("m:ft-1", "m:ft-2")]
    lab.add(15, "ft", where=tuple(replace(OLD, packages=one) for one in names))
    assert row(lab.table(), "ft").reason == "mixes 2 environments: served model m:ft-1 against m:ft-2"
