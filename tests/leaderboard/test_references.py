"""Reference points for gains: second base measurements, other methods and several benchmarks."""

import pytest
from leaderboard_lab import Lab, row

from kib.errors import InputError
from kib.leaderboard import make_table, render
from kib.statistics.paired_gains import gain
from kib.store.results import Results


def test_known_questions_come_from_the_second_base_measurement(lab):
    """Questions count as known according to the second base measurement, not the base measurement used for the gain."""
    base = [1] * 6 + [0] * 14
    probe = [0] * 2 + [1] * 8 + [0] * 10
    arm = [1] * 4 + [0] * 4 + [1] * 12
    lab.add(base, "base")
    lab.add(probe, "base", split="probe")
    lab.add(arm, "rag", k=1)
    found = row(lab.table(), "rag,k=1")
    assert found.known == gain(base[2:10], arm[2:10], [None] * 8)
    assert found.unknown == gain(base[:2] + base[10:], arm[:2] + arm[10:], [None] * 12)


def test_legend_explains_missing_second_measurements(lab):
    """The legend states the reason why a task has no second measurement."""
    lab.task("new", no_probe="lm-eval brings its own prompt")
    lab.add(4, "base")
    lab.add(5, "rag", k=1)
    text = render(lab.table(), "markdown")
    said = (
        "Gains on the task \\`new\\` are not reported separately for known and unknown questions: "
        "lm-eval brings its own prompt."
    )
    assert said in text


def test_gains_against_a_given_arm(lab):
    """With `against`, all gains are relative to the given arm, and Holm's method adjusts only for these gains."""
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


def test_against_a_method_uses_the_arm_with_equal_settings(lab):
    """If the reference method has several arms, an arm is compared with the reference arm with its settings."""
    lab.add(4, "base")
    for k, right in ((1, 10), (3, 12)):
        lab.add(right, "rag", k=k)
        lab.add(right + 5, "ft+rag", k=k, settings=(("rank", 4),))
    table = lab.table(against="rag")
    assert [row(table, f"ft+rag,rank=4,k={k}").reference for k in (1, 3)] == ["rag,k=1", "rag,k=3"]
    assert row(table, "base").reason.startswith("rag has several arms (rag,k=1, rag,k=3)")
    assert "against" in render(table, "terminal", width=200).splitlines()[4]


def test_an_unknown_name_in_against_lists_known_names(lab):
    """An unknown name in `against` raises an error that suggests the nearest name and lists all known names."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    with pytest.raises(InputError, match=r"no method or arm 'rga'.*did you mean \"rag\"\? Known: base, rag"):
        lab.table(against="rga")
    with pytest.raises(InputError, match="rag,k=1"):
        lab.table(against="rag,k=9")


def test_benchmarks_are_ranked_separately(tmp_path):
    """Two benchmarks have separate gains, ranks and Holm families."""
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


def test_two_results_folders_of_one_benchmark_are_rejected(tmp_path):
    """Passing two results folders of the same benchmark raises an error that names both folders."""
    folders = [Lab(tmp_path / place) for place in ("here", "there")]
    for lab in folders:
        lab.add(4, "base")
    with pytest.raises(InputError, match=r"'lab' appears in several folders: .*here.*there"):
        make_table([lab.save() for lab in folders])


def test_a_folder_without_results_is_an_error(tmp_path):
    """A folder without results raises an error that explains how to create results."""
    with pytest.raises(InputError, match="kib run SPEC"):
        make_table([Results(tmp_path)])
    with pytest.raises(InputError, match="kib run SPEC"):
        make_table([])
