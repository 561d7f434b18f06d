"""Gains by probe: accuracies and gains on the questions of one probe alone, and gains that do not generalise."""

import csv
import io
import json

import pytest
from leaderboard_lab import Lab, row

from kib.leaderboard import render
from kib.leaderboard.render.machine_values import PROBE
from kib.records import Score
from kib.store.result_records import score_to_json

DIRECT, REVERSE, LOCAL = ["direct"] * 40, ["reverse"] * 40, ["locality"] * 20
PROBES = [*DIRECT, *REVERSE, *LOCAL]
BASE = [0] * 80 + [1] * 20
FT = [1] * 30 + [0] * 49 + [1] * 11 + [0] * 10
RAG = [1] * 30 + [0] * 10 + [1] * 25 + [0] * 15 + [1] * 20


def bench(folder, **arms):
    """Write the results of arms with the scores of the questions in PROBES."""
    lab = Lab(folder, n=len(PROBES))
    for name, scores in {"base": BASE, **arms}.items():
        lab.add(scores, name.replace("_", "+"), probes=PROBES)
    return lab


@pytest.fixture
def table(tmp_path):
    """The table by probe of a method whose gain generalises (rag) and a method whose gain does not (ft)."""
    return bench(tmp_path, ft=FT, rag=RAG).table(by="probe")


def of(table, arm):
    """Return the gains of an arm by the name of the probe."""
    return {one.probe: one for one in row(table, arm).probes}


def test_gains_are_computed_on_the_questions_of_a_probe_alone(table):
    """Accuracies, paired gains, p values and counts refer to the questions of one probe; Holm covers all probes."""
    found = of(table, "ft")
    assert list(found) == ["direct", "reverse", "locality"]
    direct, reverse, local = found.values()
    assert (direct.accuracy.mean, direct.accuracy.n, direct.gain.absolute) == (0.75, 40, 0.75)
    assert (direct.gain.wins, direct.gain.ties, direct.gain.losses) == (30, 10, 0)
    assert direct.gain.p == pytest.approx(2 * 0.5**30)
    assert direct.gain.interval.low > 0.5
    assert (reverse.gain.absolute, reverse.gain.p) == (0.025, 1.0)
    assert reverse.gain.interval.low < 0 < reverse.gain.interval.high
    assert (local.gain.absolute, local.gain.losses) == (-0.5, 10)
    gains = [one for arm in ("ft", "rag") for one in of(table, arm).values()]
    ps = sorted(one.gain.p for one in gains)
    assert min(one.p_adjusted for one in gains) == pytest.approx(6 * ps[0])
    assert sum(one.gain.wins for one in found.values()) == row(table, "ft").gain.wins


def test_the_reference_has_accuracies_only(table):
    """Base has an accuracy on every probe, but no gain."""
    assert [(one.accuracy.mean, one.gain, one.p) for one in row(table, "base").probes] == [
        (0, None, None),
        (0, None, None),
        (1, None, None),
    ]


def test_the_heading_says_where_a_gain_does_not_generalise(table):
    """A sentence names the probes without a significant gain, and a loss on questions that must not change."""
    (sentence,) = [one for one in table.headlines if "generalise" in one]
    assert sentence.startswith(
        "tiny on new: the gain of ft does not generalise to reverse (+2.5 points [-6.0, 10.7], p 1.000)"
    )
    assert "; ft lowers the score on locality (-50.0 points " in sentence
    assert not any("the gain of rag" in one for one in table.headlines)


def test_a_gain_on_one_probe_only_is_named(tmp_path):
    """If the gain over all questions is not significant, the sentence names the probe with the gain or the loss."""
    scores = [1] * 12 + [0] * 68 + [1] * 20
    base = [0] * 68 + [1] * 12 + [1] * 20
    lab = Lab(tmp_path, n=100)
    for method, some in (("base", base), ("ft", scores)):
        lab.add(some, method, probes=PROBES)
    (sentence,) = [one for one in lab.table(by="probe").headlines if "lowers" in one]
    assert "ft lowers the score on reverse (-30.0 points" in sentence
    assert "generalise" not in sentence
    lab.add([1] * 12 + [0] * 28 + [0] * 31 + [1] * 9 + [1] * 20, "rag", probes=PROBES)
    lab.add([1] * 12 + [0] * 28 + [0] * 28 + [1] * 6 + [0] * 6 + [1] * 20, "ft+rag", probes=PROBES)
    (sentence,) = [one for one in lab.table(by="probe").headlines if "the gain of ft+rag" in one]
    assert "the gain of ft+rag on direct does not generalise to reverse (-15.0 points" in sentence


def test_a_probe_with_few_questions_is_no_evidence(tmp_path):
    """A probe whose questions are too few for a significant gain is not named in the heading."""
    lab = Lab(tmp_path, n=44)
    probes = [*["direct"] * 40, *["reverse"] * 4]
    lab.add(0, "base", probes=probes)
    lab.add(40, "ft", probes=probes)
    table = lab.table(by="probe")
    assert of(table, "ft")["reverse"].lowest_p >= 0.05
    assert not any("generalise" in one for one in table.headlines)


def test_questions_are_paired_by_id_and_averaged_over_seeds(tmp_path):
    """The order of questions does not matter, and the scores of several seeds are averaged first."""
    ids = [f"q{number}" for number in range(100)]
    lab = bench(tmp_path, ft=FT)
    lab.add(FT[::-1], "ft+rag", ids=ids[::-1], probes=PROBES[::-1], k=1)
    lab.add(RAG, "rag", probes=PROBES, k=1)
    lab.add(FT, "rag", probes=PROBES, k=1, seed=1)
    table = lab.table(by="probe")
    reverse, ft = of(table, "ft+rag,k=1"), of(table, "ft")
    assert {name: one.gain for name, one in reverse.items()} == {name: one.gain for name, one in ft.items()}
    assert of(table, "rag,k=1")["reverse"].gain.absolute == pytest.approx((25 + 1) / 80)


def test_questions_without_a_probe_are_shown_apart(tmp_path):
    """Questions without a probe form a line of their own, and never count as a probe without a gain."""
    lab = Lab(tmp_path, n=80)
    probes = [*DIRECT, *[None] * 40]
    lab.add(0, "base", probes=probes)
    lab.add([1] * 30 + [0] * 50, "ft", probes=probes)
    table = lab.table(by="probe")
    assert [(one.name, one.gain.absolute) for one in row(table, "ft").probes] == [("direct", 0.75), ("(no probe)", 0)]
    assert not any("generalise" in one for one in table.headlines)


def test_results_without_probes_get_a_remark(lab):
    """If no question of a task names a probe, as in results of earlier versions, a remark names the task."""
    lab.add(4, "base")
    lab.add(12, "ft")
    table = lab.table(by="probe")
    assert table.remarks == ("No gains by probe: no question of new names a probe",)
    assert json.loads(render(table, "json"))["probes"] == []
    assert "by probe ·" not in render(table, "terminal", width=120)


def test_probes_are_stored_only_if_a_question_names_one():
    """A stored score has the key `probe` only if the question names a probe, so other files keep their bytes."""
    score = Score("q", None, 1, 0, 0)
    assert "probe" not in score_to_json(score)
    assert score_to_json(Score("q", None, 1, 0, 0, probe="direct"))["probe"] == "direct"


def test_every_format_shows_gains_by_probe(table):
    """Terminal, Markdown and LaTeX print a block by probe; JSON and CSV list one entry per arm and probe."""
    for form in ("terminal", "markdown", "latex"):
        text = " ".join(render(table, form, width=120).replace("{}", "").split())
        assert "tiny" in text[text.index("by probe") :]
        assert "does not generalise to reverse" in text
        assert "over the 6 gains of all methods and probes" in text
    assert "| ft | reverse | 40 | 2.5 |" in render(table, "markdown")
    entries = json.loads(render(table, "json"))["probes"]
    assert len(entries) == 9
    assert set(entries[0]) == set(PROBE)
    (found,) = [one for one in entries if (one["arm"], one["probe"]) == ("ft", "direct")]
    assert (found["gain"], found["n"], found["wins"], found["reference"]) == (0.75, 40, 30, "base")
    lines = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert [line["probe"] for line in lines if line["entry"] == "probe"] == ["direct", "reverse", "locality"] * 3
    assert all(line["probe"] == "" for line in lines if line["entry"] == "arm")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_block_fits_the_terminal(table, width):
    """On a narrow terminal, columns of the table by probe are omitted, and the omitted columns are listed."""
    text = render(table, "terminal", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert ("confidence interval for accuracy by probe" in " ".join(text.split())) == (width < 75)


def test_other_tables_do_not_change(tmp_path):
    """Without `--by probe`, a table has no entries by probe in any format."""
    table = bench(tmp_path, ft=FT).table()
    assert not row(table, "ft").probes
    assert "probes" not in json.loads(render(table, "json"))
    assert "probe" not in next(csv.reader(io.StringIO(render(table, "csv"))))
    assert not any("generalise" in one for one in table.headlines)
