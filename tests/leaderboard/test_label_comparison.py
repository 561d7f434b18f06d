"""The comparison with verdicts of people in the table: agreement, corrected accuracies and corrected gains."""

import csv
import io
import json

import pytest
from leaderboard_lab import Lab, row

from kib.errors import InputError
from kib.leaderboard import averages_only, render
from kib.leaderboard.render.machine_values import LABELS
from kib.store.label_records import Labels, output_digest, population_digest

N = 40
LABELLED = tuple(f"q{number}" for number in range(0, N, 2))
BASE = [int(number % 4 == 0) for number in range(N)]
RAG = [1] * 30 + [0] * 10


def outputs(arm, scores):
    """Return an output per question, which differs between arms only if the score differs."""
    return [f"{arm if score else 'wrong'} {number}" for number, score in enumerate(scores)]


def labels_of(lab, verdict, questions=LABELLED, drawn=None):
    """Return labels in which `verdict(number, arm)` judges the output of each arm to each labelled question."""
    verdicts = {}
    for arm, scores in lab.answers.items():
        for number, output in enumerate(outputs(arm, scores)):
            if f"q{number}" in questions:
                verdicts.setdefault(f"q{number}", {})[output_digest(f" {output}\n")] = verdict(number, arm)
    population = population_digest(f"q{number}" for number in range(N))
    return Labels(0, N, population, drawn or len(questions), tuple(questions), verdicts)


def bench(folder, **arms):
    """Write the results of arms with outputs, and return the lab."""
    lab = Lab(folder, n=N)
    lab.answers = {"base": BASE, "rag": RAG, **arms}
    for arm, scores in lab.answers.items():
        lab.add(scores, arm, outputs=outputs(arm, scores), metric="contains")
    return lab


def strict(number, arm):
    """Judge as the scores do, except that people reject each fifth labelled output of `rag` that the score accepts."""
    score = {"base": BASE, "rag": RAG}[arm][number]
    return float(score and not (arm == "rag" and number % 10 == 0))


@pytest.fixture
def lab(tmp_path):
    """The results of base and rag, with labels for half of the questions."""
    lab = bench(tmp_path)
    lab.save().save_labels({"new": labels_of(lab, strict)})
    return lab


def test_gains_are_corrected_by_the_verdicts(lab):
    """The corrected gain is the automatic gain plus the mean difference on the labelled questions."""
    table = lab.table()
    rag, base = row(table, "rag").labelled, row(table, "base").labelled
    assert (rag.agreement.outputs, rag.agreement.agreed) == (20, 17)
    assert (rag.agreement.too_high, rag.agreement.too_low) == (3, 0)
    assert (base.agreement.agreed, base.agreement.kappa, base.gain) == (20, 1, None)
    assert rag.accuracy.mean == pytest.approx(30 / 40 - 3 / 20)
    assert rag.gain.mean == pytest.approx(20 / 40 - 3 / 20)
    assert rag.gain.interval.low < rag.gain.mean < rag.gain.interval.high
    automatic = row(table, "rag").gain.interval
    assert rag.gain.interval.high - rag.gain.interval.low > automatic.high - automatic.low
    (block,) = table.labelled
    assert (block.population, block.drawn, block.questions, block.groups) == (40, 20, 20, 20)
    assert (block.agreement.outputs, block.agreement.too_high) == (40, 3)


def test_gains_over_another_arm_are_corrected_too(lab):
    """With `--against`, the corrected gain refers to the same reference as the gain."""
    found = row(lab.table(against="rag"), "base").labelled
    assert found.gain.mean == pytest.approx(-row(lab.table(), "rag").labelled.gain.mean)


def test_changed_outputs_are_never_compared(lab):
    """If an output to a labelled question has no verdict, its arm has no corrected values, and a note states why."""
    scores = [1] * N
    lab.add(scores, "ft", outputs=outputs("ft", scores), metric="contains")
    table = lab.table()
    found = row(table, "ft").labelled
    assert (found.agreement, found.accuracy, found.gain) == (None, None, None)
    assert found.reason == (
        "nobody judged the outputs of 20 of 20 labelled questions, because the outputs changed or were added after "
        "the sheet was written; run `kib label` again"
    )
    assert "ft: nobody judged the outputs of 20 of 20" in render(table, "terminal", width=120)
    assert table.labelled[0].agreement.outputs == 40
    assert row(table, "rag").labelled.gain is not None


def test_a_reference_without_verdicts_leaves_gains_uncorrected(tmp_path):
    """If the outputs of base changed, other arms have a corrected accuracy, but no corrected gain."""
    lab = bench(tmp_path)
    labels = labels_of(lab, strict)
    lab.answers["base"] = [0] * N
    lab.add([0] * N, "base", outputs=["other"] * N, salt="again", metric="contains")
    lab.cells.pop(0)
    lab.save().save_labels({"new": labels})
    found = row(lab.table(), "rag").labelled
    assert found.accuracy is not None
    assert found.gain is None


def test_other_questions_are_never_compared(lab):
    """If the questions of the task changed after the draw, no arm is compared."""
    labels = lab.results.labels()["new"]
    changed = Labels(0, 41, population_digest(["other"]), 20, labels.questions, labels.verdicts)
    lab.results.save_labels({"new": changed})
    table = lab.table()
    assert "the questions are not those from which" in row(table, "rag").labelled.reason
    assert table.labelled[0].agreement is None


def test_seeds_are_averaged(tmp_path):
    """With several seeds, every output counts in the agreement, and verdicts are averaged per question."""
    lab = Lab(tmp_path, n=N)
    lab.answers = {"base": BASE, "rag": RAG}
    lab.add(BASE, "base", outputs=outputs("base", BASE), metric="contains")
    for seed, arm in enumerate(("rag", "base")):
        lab.add(lab.answers[arm], "ft", seed=seed, outputs=outputs(arm, lab.answers[arm]), metric="contains")
    lab.save().save_labels({"new": labels_of(lab, strict)})
    found = row(lab.table(), "ft").labelled
    assert (found.agreement.outputs, found.agreement.too_high) == (40, 3)
    assert found.accuracy.mean == pytest.approx((30 + 10) / 80 - 3 / 40)
    assert found.gain.mean == pytest.approx((20 / 40 - 3 / 20) / 2)


def test_questions_without_all_verdicts_are_counted(tmp_path):
    """Questions whose verdicts are incomplete are left out, and a note counts them."""
    lab = bench(tmp_path)
    lab.save().save_labels({"new": labels_of(lab, strict, LABELLED[:12], drawn=20)})
    text = " ".join(render(lab.table(), "terminal", width=120).split())
    assert "labels · tiny · new · 0-shot · 12 of 40 questions labelled" in text
    assert "left out 8 of 20 drawn questions, because verdicts are missing" in text


def test_too_few_labels_have_no_intervals(tmp_path):
    """With fewer than 10 labelled groups, estimates have no interval, and a note says so."""
    lab = bench(tmp_path)
    lab.save().save_labels({"new": labels_of(lab, strict, LABELLED[:9])})
    table = lab.table()
    assert row(table, "rag").labelled.gain.interval is None
    assert "only 9 labelled questions: intervals need at least 10" in render(table, "markdown")


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex"])
def test_printed_formats_show_a_block(lab, form):
    """Terminal, Markdown and LaTeX print a line per arm, a line for all arms, and the legend."""
    text = " ".join(render(lab.table(), form, width=140).replace("{}", "").split())
    block = text[text.index("20 of 40 questions labelled") :]
    assert "75.0" in block
    assert "60.0" in block
    assert "+35.0" in block
    assert "all arms" in block
    assert "prediction-powered accuracy and gain" in block


def test_machine_formats_list_every_arm(lab):
    """JSON and CSV contain one entry per arm and one for all arms, with unrounded fractions."""
    table = lab.table()
    entries = json.loads(render(table, "json"))["labels"]
    assert [one["arm"] for one in entries] == ["base", "rag", None]
    assert set(entries[0]) == set(LABELS)
    assert (entries[1]["corrected_gain"], entries[1]["reference"], entries[1]["labelled"]) == (0.35, "base", 20)
    assert (entries[2]["outputs"], entries[2]["too_high"], entries[2]["corrected_gain"]) == (40, 3, None)
    lines = [one for one in csv.DictReader(io.StringIO(render(table, "csv"))) if one["entry"] == "labels"]
    assert [(one["arm"], one["corrected_gain"]) for one in lines] == [("base", ""), ("rag", "0.35"), ("", "")]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_block_fits_the_terminal(lab, width):
    """On a narrow terminal, columns of the comparison are omitted, and the omitted columns are listed."""
    text = render(lab.table(), "terminal", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert ("Cohen's kappa" in " ".join(text.split()).partition("Omitted")[2]) == (width < 100)


def test_tables_without_labels_do_not_change(tmp_path):
    """Without labels, no format mentions labels."""
    table = bench(tmp_path).table()
    assert not table.labelled
    for form in ("terminal", "markdown", "latex", "json", "csv"):
        assert "label" not in render(table, form, width=140)


def test_averages_leave_the_comparison_out(lab):
    """A table of averages alone contains no comparison with labels."""
    for method, right in (("base", 4), ("rag", 8)):
        lab.add(right, method, "other", metric="contains")
    table = averages_only(lab.table())
    assert table.averages
    assert json.loads(render(table, "json"))["labels"] == []
    assert "labels" not in render(table, "terminal", width=120)


def test_results_without_questions_keep_their_table(lab):
    """If the questions were omitted from published results, a remark states why the labels are not used."""
    lab.table()
    for path in lab.results.folder.rglob("questions.jsonl"):
        path.unlink()
    table = lab.table()
    assert row(table, "rag").gain is not None
    assert row(table, "rag").labelled is None
    assert "new: the labels are not used, because the questions of some cells are missing" in table.remarks


def test_damaged_labels_are_reported(lab):
    """A changed verdict in the results folder is damage, and the error states the remedy."""
    path = lab.results.folder / "labels.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"drawn": 20', '"drawn": 21'), encoding="utf-8")
    with pytest.raises(InputError, match=r"labels\.json: the file is damaged .*`kib run` writes the file again"):
        lab.table()
