"""Published files: recomputed numbers, errors with line numbers, and tables with measured and published rows."""

import csv
import itertools
import json
import os
import re
import runpy
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist

import pytest
import tomli
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from kib.cli import main
from kib.commands.json_schema import published_schema
from kib.errors import InputError, SpecError
from kib.identity import digest
from kib.leaderboard import PublishedResults, averages_only, make_table, render, save_figure
from kib.leaderboard.render.figure import _panels
from kib.published import file_format
from kib.published.load import load_published
from kib.records import Cell, Environment, Score
from kib.statistics.unpaired_gains import unpaired_average, unpaired_gain
from kib.store.result_records import BenchmarkPlan, CellResult, MethodEntry, TaskEntry
from kib.store.results import Results
from kib.store.sealed_json import read_sealed

ROOT = Path(__file__).parent.parent
FILES = ROOT / "benchmarks" / "published"
NAMES = {"mmlu": "ovadia2024-mmlu", "current_events": "ovadia2024-current-events", "topk": "ovadia2024-topk"}
DATA = Path(os.environ.get("KIB_TEST_DATA") or ROOT.parent / "shared" / "data")
WRITE = os.environ.get("KIB_WRITE_DOCS")
KEY_TYPES = runpy.run_path(str(ROOT / "tests" / "key_types.py"))
ARMS = {
    "ft_rag": "ft+rag",
    "ft_reg": "ft-reg",
    "ft_par": "ft-par",
    "ft_reg_rag": "ft-reg+rag",
    "ft_par_rag": "ft-par+rag",
    "base_k0": "base",
    **{f"k{k}": f"rag,k={k}" for k in range(1, 6)},
}
"""kib's name of the arm in each CSV column."""


def own_rows(name):
    """Read a TOML file's numbers independently of kib: (task, shots, model) -> (n, arm -> exact decimal)."""
    data = tomli.loads((FILES / f"{NAMES[name]}.toml").read_text(encoding="utf-8"), parse_float=Fraction)
    return {
        (row["task"], row.get("shots", 0), row["model"]): (data["tasks"][row["task"]]["n"], row["accuracy"])
        for row in data["table"]["rows"]
    }


def csv_rows(name):
    """Read the numbers in a CSV file in the format of `own_rows`; skip the test if the file is missing."""
    path = DATA.parent / "reference" / "published" / f"ovadia2024_{name}.csv"
    if not path.is_file():
        pytest.skip(f"no {path}")
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            task = row.pop("task", "current-events").replace("_", "-")
            n, shots = int(row.pop("n_test", 910)), int(row.pop("shots", 0))
            model = row.pop("model").lower().replace(" ", "-")
            found[task, shots, model] = (n, {ARMS.get(key, key): Fraction(value) for key, value in row.items()})
    return found


def table_of(*names, **more):
    """Return the leaderboard of published files."""
    return make_table([PublishedResults(load_published(FILES / f"{NAMES[name]}.toml")) for name in names], **more)


@pytest.fixture(scope="module")
def tables():
    """The leaderboards of all published files of the study."""
    return {name: table_of(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_numbers_match_the_paper(name):
    """Every accuracy, number of questions and number of shots in a shipped file equals the transcribed table."""
    assert own_rows(name) == csv_rows(name)


@pytest.mark.parametrize("name", NAMES)
def test_gains_are_recomputed(tables, name):
    """The accuracy and gain in every row are computed exactly from the printed numbers."""
    rows, seen = own_rows(name), 0
    for row in tables[name].rows:
        n, numbers = rows[row.task, row.shots, row.model]
        base, arm = numbers["base"], numbers[row.arm]
        seen += 1
        assert (row.n, row.accuracy.mean) == (n, pytest.approx(float(arm), abs=1e-12))
        if row.arm == "base":
            assert row.gain is None
        else:
            assert row.gain.absolute == pytest.approx(float(arm - base), abs=1e-12)
            assert row.gain.relative == pytest.approx(float((arm - base) / base), abs=1e-11)
    assert seen == sum(len(numbers) for _, numbers in rows.values())


def mean(values):
    """Return the exact mean of the fractions."""
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize("name", ["mmlu", "topk"])
def test_averages_are_recomputed(tables, name):
    """Averages of each model and arm weight experiments equally, per number of shots and over all shots."""
    rows, seen = own_rows(name), 0
    for row in tables[name].averages:
        some = [
            numbers
            for (_, shots, model), (_, numbers) in rows.items()
            if model == row.model and row.shots in (None, shots)
        ]
        assert len(some) == (10 if row.shots is None else 5)
        assert row.accuracy == pytest.approx(float(mean(one[row.arm] for one in some)), abs=1e-12)
        if row.arm == "base":
            continue
        seen += 1
        gains = [(one[row.arm] - one["base"], one["base"]) for one in some]
        assert row.average.absolute == pytest.approx(float(mean(gain for gain, _ in gains)), abs=1e-11)
        assert row.average.relative == pytest.approx(float(mean(gain / base for gain, base in gains)), abs=1e-11)
    assert seen == {"mmlu": 27, "topk": 45}[name]


def test_figure_2_has_numbers(tables):
    """Averaged over all experiments, retrieval has a larger gain than fine-tuning for every model."""
    found = {
        (row.model, row.arm): row.average.relative
        for row in tables["mmlu"].averages
        if row.shots is None and row.average
    }
    for model in ("mistral-7b", "llama2-7b", "orca2-7b"):
        assert found[model, "rag"] > found[model, "ft"]
        assert found[model, "ft+rag"] > found[model, "ft"]


def count(rows, ours, theirs):
    """Return the numbers of rows in which one arm is better than, equal to or worse than the other arm."""
    pairs = [(numbers[ours], numbers[theirs]) for _, numbers in rows.values()]
    wins, losses = sum(one > other for one, other in pairs), sum(one < other for one, other in pairs)
    return wins, len(pairs) - wins - losses, losses


@pytest.mark.parametrize("name", NAMES)
def test_pairwise_comparisons_are_recomputed(tables, name):
    """Pairwise wins, ties and losses are computed from the printed numbers."""
    rows = own_rows(name)
    arms = list(next(iter(rows.values()))[1])
    comparisons = {(one.arm, one.other): (one.wins, one.ties, one.losses) for one in tables[name].pairwise}
    assert len(comparisons) == len(arms) * (len(arms) - 1) // 2
    assert comparisons == {(ours, theirs): count(rows, ours, theirs) for ours, theirs in comparisons}


def test_the_studys_own_counts(tables):
    """In the printed numbers, fine-tuning beats base in 22 rows, ties in 2 rows and loses in 6 rows."""
    comparisons = {(one.arm, one.other): (one.wins, one.ties, one.losses) for one in tables["mmlu"].pairwise}
    assert comparisons["ft", "base"] == (22, 2, 6)
    wins, ties, losses = comparisons["ft", "rag"]
    assert (losses, wins + ties) == (28, 2)
    assert comparisons["ft+rag", "rag"] == (8, 5, 17)


def test_k_was_chosen_on_the_test_questions(tables):
    """In all 30 rows, the published RAG number is the maximum over K, and the row has a warning."""
    single, swept = own_rows("mmlu"), own_rows("topk")
    flags = {(row.task, row.shots, row.model): row.warnings for row in tables["mmlu"].rows if row.arm == "rag"}
    assert len(flags) == 30
    for place, (_, numbers) in single.items():
        values = {k: swept[place][1][f"rag,k={k}"] for k in range(1, 6)}
        assert numbers["rag"] == max(values.values())
        best = " or ".join(str(k) for k, value in values.items() if value == max(values.values()))
        assert f"best K on test (k={best})" in flags[place]
    assert not any("best K" in alarm for row in tables["mmlu"].rows if row.arm != "rag" for alarm in row.warnings)
    assert (
        "In 30 of 30 rows, the published accuracy of rag is the highest accuracy over all K in ovadia2024-topk "
        "(Table 3), so K was chosen on the test questions"
    ) in tables["mmlu"].remarks


def test_a_fixed_k_is_not_flagged(tmp_path):
    """A row has no warning about K and is not counted if its accuracy is not the maximum of its sweep."""
    text = (FILES / "ovadia2024-topk.toml").read_text(encoding="utf-8")
    (tmp_path / "ovadia2024-topk.toml").write_text(
        text.replace('= 0.681, "rag,k=3" = 0.630', '= 0.689, "rag,k=3" = 0.630')
    )
    (tmp_path / "one.toml").write_text((FILES / "ovadia2024-mmlu.toml").read_text(encoding="utf-8"))
    table = make_table([PublishedResults(load_published(tmp_path / "one.toml"))])
    assert sum("best K on test" in alarm for row in table.rows for alarm in row.warnings) == 29
    assert any(sentence.startswith("In 29 of 30 rows,") and "chosen" not in sentence for sentence in table.remarks)


def wilson(share, n):
    """Return Wilson's interval, computed from its formula."""
    z = NormalDist().inv_cdf(0.975)
    middle, reach = share + z * z / (2 * n), z * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5
    return (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)


@pytest.mark.parametrize("name", NAMES)
def test_intervals_are_recomputed(tables, name):
    """The intervals of accuracies and gains match the formulas of Wilson and Newcombe."""
    rows = own_rows(name)
    for row in tables[name].rows:
        n, numbers = rows[row.task, row.shots, row.model]
        arm, base = float(numbers[row.arm]), float(numbers["base"])
        low, high = wilson(arm, n)
        assert (row.accuracy.interval.low, row.accuracy.interval.high) == pytest.approx((low, high), abs=1e-9)
        if row.gain:
            base_low, base_high = wilson(base, n)
            down = ((arm - low) ** 2 + (base_high - base) ** 2) ** 0.5
            up = ((high - arm) ** 2 + (base - base_low) ** 2) ** 0.5
            ends = (row.gain.interval.low, row.gain.interval.high)
            assert ends == pytest.approx((arm - base - down, arm - base + up), abs=1e-9)
            assert not row.gain.paired
            assert (row.gain.wins, row.gain.ties, row.gain.losses) == (None, None, None)


def test_few_of_the_differences_are_significant(tables):
    """After adjustment, only a few gains in Table 1 are significant, but all RAG gains in Table 2 are significant."""
    over = [row for row in tables["mmlu"].rows if row.p is not None and row.p < 0.05]
    assert len(over) < 5
    rag = [row for row in tables["current_events"].rows if row.arm == "rag"]
    assert len(rag) == 3
    assert all(row.p < 0.001 and row.rank == 1 for row in rag)


shares = st.floats(0.05, 0.95)


@given(shares, shares, st.integers(20, 2000))
def test_unpaired_gains_are_antisymmetric(start, end, n):
    """Swapping the sides of an unpaired comparison mirrors the interval but does not change p."""
    there, back = unpaired_gain((start, n), (end, n)), unpaired_gain((end, n), (start, n))
    assert there.absolute == pytest.approx(-back.absolute, abs=1e-9)
    ends = (there.interval.low, there.interval.high)
    assert ends == pytest.approx((-back.interval.high, -back.interval.low), abs=1e-9)
    assert there.p == pytest.approx(back.p, abs=1e-9)


def test_unpaired_extremes():
    """An accuracy of 0 or 1 yields a valid p value."""
    assert unpaired_gain((0.0, 10), (0.0, 10)).p == 1.0
    assert unpaired_gain((1.0, 10), (1.0, 10)).p == 1.0
    assert unpaired_gain((0.0, 50), (1.0, 50)).p < 1e-6
    assert unpaired_gain((0.0, 50), (1.0, 50)).relative is None


def test_the_entigraph_paper_is_shown():
    """The table of Yang et al. has the printed accuracies, and each gain except that of raw text is significant."""
    table = make_table([PublishedResults(load_published(FILES / "entigraph2024-quality.toml"))])
    found = {row.arm: row for row in table.rows}
    printed = {"base": 39.49, "cpt-raw": 38.15, "cpt-entigraph": 56.22, "rag": 60.35, "cpt-entigraph+rag": 62.60}
    assert {arm: round(100 * row.accuracy.mean, 2) for arm, row in found.items()} == printed
    assert {row.n for row in table.rows} == {4609}
    assert found["rag"].gain.absolute == pytest.approx(0.2086)
    assert [arm for arm, row in found.items() if row.p is not None and row.p >= 0.05] == ["cpt-raw"]
    assert found["rag"].tied  # 2.25 points more from training are not significant without the answers per question


GRADED = """schema = 1
kind = "published"
name = "doe"

[paper]
title = "A paper"
table = "Table 4"
arxiv = "3101.00001"
transcribed = "2026-02-03"
bibtex = "@misc{doe, title = {A paper}}"

[models.m]

[tasks.deeds]
n = 400
graded = true

[tasks.wills]
n = 400
graded = true

[methods.base]

[methods.rag]
retrieve = "BM25"

[table]
decimals = 3
rows = [
  { task = "deeds", model = "m", accuracy = { base = 0.251, rag = 0.501 } },
  { task = "wills", model = "m", accuracy = { base = 0.300, rag = 0.351 } },
]
"""
ERRORS = "error = { base = 0.02, rag = 0.015 }"


def graded_table(folder, text):
    path = folder / "graded.toml"
    path.write_text(text)
    return make_table([PublishedResults(load_published(path))])


def test_published_graded_scores_have_no_intervals(tmp_path):
    """Graded scores without a stated error have gains, but no intervals, p values and ranks, and the table says why."""
    table = graded_table(tmp_path, GRADED)
    base, rag = table.rows[:2]
    assert (base.accuracy.mean, rag.gain.absolute) == pytest.approx((0.251, 0.25))
    assert (base.accuracy.interval, rag.gain.interval, rag.p, rag.rank) == (None, None, None, None)
    average = next(row.average for row in table.averages if row.arm == "rag")
    assert (average.absolute, average.interval, average.relative_interval) == (pytest.approx(0.1505), None, None)
    assert table.benchmarks[0].family == 0
    for form in ("terminal", "markdown", "latex"):
        text = " ".join(render(table, form, width=120).replace("{}", "").split())
        assert "the paper states no standard errors, so no intervals, p values and ranks can be computed" in text
    assert json.loads(render(table, "json"))["rows"][1]["gain_low"] is None
    assert "retrieval: 25 -> 50 %, +25 points\n" in render(table, "terminal", width=120)
    save_figure(table, "gains", tmp_path / "graded.svg")


def test_stated_errors_give_intervals(tmp_path):
    """If the paper states standard errors, graded scores have normal intervals, p values and ranks."""
    text = GRADED.replace("rag = 0.501 } }", f"rag = 0.501 }}, {ERRORS} }}")
    text = text.replace("rag = 0.351 } }", f"rag = 0.351 }}, {ERRORS} }}")
    table = graded_table(tmp_path, text)
    base, rag = (next(row for row in table.rows if (row.task, row.arm) == ("wills", arm)) for arm in ("base", "rag"))
    z = NormalDist().inv_cdf(0.975)
    ends = (base.accuracy.interval.low, base.accuracy.interval.high)
    assert ends == pytest.approx((0.3 - z * 0.02, 0.3 + z * 0.02))
    ends = (rag.gain.interval.low, rag.gain.interval.high)
    assert ends == pytest.approx((0.051 - z * 0.025, 0.051 + z * 0.025))
    assert rag.gain.p == pytest.approx(2 * (1 - NormalDist().cdf(0.051 / 0.025)))
    average = next(row.average for row in table.averages if row.arm == "rag")
    reach = z * (2 * 0.025**2) ** 0.5 / 2
    assert average.interval.high - average.absolute == pytest.approx(reach)
    assert (rag.rank, table.benchmarks[0].family) == (1, 2)
    assert "standard errors that the paper states" in " ".join(render(table, "terminal", width=120).split())


def test_shared_questions_widen_averages():
    """Experiments with shared questions yield a wider interval than independent experiments."""
    pair = ((0.5, 0.05), (0.6, 0.049))
    same, other = unpaired_average([[pair, pair]]), unpaired_average([[pair], [pair]])
    assert same.absolute == other.absolute
    assert same.interval.low < other.interval.low
    assert same.interval.low == pytest.approx(unpaired_average([[pair]]).interval.low)


GOOD = """schema = 1
kind = "published"
name = "doe"

[paper]
title = "A paper"
table = "Table 4"
arxiv = "3101.00001"
transcribed = "2026-02-03"
bibtex = "@misc{doe, title = {A paper}}"

[models.m]

[tasks.deeds]
n = 40

[methods.base]

[methods.rag]
retrieve = "BM25"

[table]
decimals = 3
rows = [
  { task = "deeds", model = "m", accuracy = { base = 0.250, rag = 0.500 } },
  { task = "deeds", model = "m", shots = 5, accuracy = { base = 0.275, rag = 0.475 } },
]
"""

SWEEP = f"""{GOOD.partition("[methods.rag]")[0].replace('"doe"', '"roe"')}[methods.rag]
retrieve = "BM25"
top_k = [1, 2]

[table]
decimals = 3
rows = [
  {{ task = "deeds", model = "m", accuracy = {{ base = 0.250, "rag,k=1" = 0.500, "rag,k=2" = 0.400 }} }},
  {{ task = "deeds", model = "m", shots = 5, accuracy = {{ base = 0.275, "rag,k=1" = 0.300, "rag,k=2" = 0.475 }} }},
]
"""

WRONG = {
    "out of range": (
        "rag = 0.500",
        "rag = 50.0",
        25,
        "table.rows[0].accuracy.rag",
        "expected a number of at most 1, got 50.0; write percentages as fractions: 0.5",
    ),
    "negative": ("base = 0.275", "base = -0.275", 26, "table.rows[1].accuracy.base", "of at least 0, got -0.275"),
    "no number": ("rag = 0.475", 'rag = "0.475"', 26, "table.rows[1].accuracy.rag", "write 0.475 without quotes"),
    "nan": ("rag = 0.475", "rag = nan", 26, "table.rows[1].accuracy.rag", "expected a finite number"),
    "row twice": ("shots = 5, ", "", 26, "table.rows[1]", "a second row for m on deeds, 0-shot"),
    "missing n": ("n = 40\n", "", 14, "tasks.deeds.n", "missing"),
    "n of 0": ("n = 40", "n = 0", 15, "tasks.deeds.n", "of at least 1, got 0"),
    "impossible": (
        "base = 0.275",
        "base = 0.276",
        26,
        "table.rows[1].accuracy.base",
        "0.276 is not a possible accuracy on 40 questions; the nearest possible values are 11 / 40 = 0.275, 12 / 40",
    ),
    "unknown task": (
        'task = "deeds", model = "m", shots',
        'task = "deds", model = "m", shots',
        26,
        "table.rows[1].task",
        'did you mean "deeds"?',
    ),
    "unknown model": ('model = "m", shots', 'model = "n", shots', 26, "table.rows[1].model", "no table [models.n]"),
    "unknown arm": ("rag = 0.475", "rga = 0.475", 26, "table.rows[1].accuracy.rga", 'did you mean "rag"?'),
    "unused": ("[methods.rag]", "[methods.ft]\n\n[methods.rag]", 19, "methods.ft", "this table is not used in any row"),
    "no source": ('arxiv = "3101.00001"\n', "", 5, "paper", "at least one of `arxiv`, `acl`, `doi` and `url`"),
    "no day": ("2026-02-03", "in spring", 9, "paper.transcribed", 'expected a date such as "2026-01-31"'),
    "no entry": ("@misc{doe, title = {A paper}}", "Doe (2031)", 10, "paper.bibtex", "expected one BibTeX entry, got 0"),
    "no rows": (re.compile(r"rows = \[.*\]\n", re.DOTALL), "rows = []\n", 24, "table.rows", "list of at least 1 item"),
    "name": ("[models.m]", "[models.M]", 12, "models.M", "expected a valid folder name"),
    "error of an accuracy": (
        "rag = 0.475 }",
        "rag = 0.475 }, error = { rag = 0.01 }",
        26,
        "table.rows[1].error",
        "`error` requires `graded = true` in [tasks.deeds]",
    ),
    "unknown key": ("n = 40", "n = 40\nm = 3", 16, "tasks.deeds.m", "unknown key"),
    "no sweep": (
        'retrieve = "BM25"',
        'retrieve = "BM25"\nsweep = "other.toml"',
        21,
        "methods.rag.sweep",
        "no such file",
    ),
    "more decimals": (
        "base = 0.275",
        "base = 0.2754",
        26,
        "table.rows[1].accuracy.base",
        "0.2754 has more than 3 decimals",
    ),
    "no accuracy": (
        "{ base = 0.275, rag = 0.475 }",
        "{}",
        26,
        "table.rows[1].accuracy",
        "of at least one arm, got none",
    ),
    "day of another form": ("2026-02-03", "20260203", 9, "paper.transcribed", 'expected a date such as "2026-01-31"'),
    "entries on a line": (
        'paper}}"',
        'paper}} @misc{roe, title = {B}}"',
        10,
        "paper.bibtex",
        "one BibTeX entry, got 2",
    ),
    "second base": ('retrieve = "BM25"\n', "", 19, "methods.rag", "the method base is already the base"),
    "passages of nothing": (
        "[methods.base]",
        "[methods.base]\ntop_k = [1]",
        18,
        "methods.base.top_k",
        "needs `retrieve`",
    ),
    "metric of nothing": ("n = 40", 'n = 40\nmetric = "acc"', 16, "tasks.deeds.metric", "requires `task`"),
    "own sweep": (
        'retrieve = "BM25"',
        'retrieve = "BM25"\nsweep = "doe.toml"',
        21,
        "methods.rag.sweep",
        "refers to the file itself",
    ),
    "day to come": ("2026-02-03", "2999-02-03", 9, "paper.transcribed", "expected a date that is not in the future"),
    "no number on arXiv": ("3101.00001", "3113.00001", 8, "paper.arxiv", 'such as "2312.05934" or "cs/0112017"'),
    "no DOI": ('arxiv = "3101.00001"', 'doi = "10."', 8, "paper.doi", "expected a DOI"),
    "no address": ('arxiv = "3101.00001"', 'url = "http://"', 8, "paper.url", "expected a URL"),
    "a comment": ("@misc{doe,", "@comment{doe,", 10, "paper.bibtex", "one BibTeX entry, got 0"),
    "text before": ('"@misc', '"hello @misc', 10, "paper.bibtex", 'only a BibTeX entry, got additional text "hello"'),
    "text behind": (
        'paper}}"',
        'paper}} }} junk"',
        10,
        "paper.bibtex",
        'only a BibTeX entry, got additional text "}} junk"',
    ),
    "parentheses": ("@misc{doe, title = {A paper}}", "@misc(doe, title = {A})", 10, "paper.bibtex", "in parentheses"),
    "kib's own key": ("@misc{doe,", "@misc{Kib,", 10, "paper.bibtex", 'the BibTeX key "kib" is reserved'),
    "n beyond reason": ("n = 40", "n = 10000001", 15, "tasks.deeds.n", "of at most 10000000, got"),
    "sweep of stated passages": (
        'retrieve = "BM25"',
        'retrieve = "BM25"\ntop_k = [1]\nsweep = "roe.toml"',
        22,
        "methods.rag.sweep",
        "conflicts with `top_k`",
    ),
}


def swept(folder, **changes):
    """Return the leaderboard of a file with a sweep, after applying text replacements."""
    text = SWEEP
    for old, new in changes.get("sweep", ()):
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "roe.toml").write_text(text, encoding="utf-8")
    text = GOOD.replace('retrieve = "BM25"\n', 'retrieve = "BM25"\nsweep = "roe.toml"\n')
    for old, new in changes.get("file", ()):
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "doe.toml").write_text(text, encoding="utf-8")
    return make_table([PublishedResults(load_published(folder / "doe.toml"))])


@pytest.mark.parametrize(
    ("old", "new", "trouble"),
    [
        ("3101.00001", "2901.00001", 'the paper\'s arxiv is "2901.00001" in the sweep and "3101.00001" in this file'),
        (
            'arxiv = "3101.00001"',
            'url = "https://roe.org"',
            "the paper is https://roe.org in the sweep and arXiv 3101.00001 in this file",
        ),
        ("n = 40", "n = 80", "deeds's n is 80 in the sweep and 40 in this file"),
        (
            "base = 0.275",
            "base = 0.250",
            "the base accuracy of m on deeds, 5-shot, is 0.25 in the sweep and 0.275 in this file",
        ),
        ('retrieve = "BM25"', 'retrieve = "dense"', 'rag\'s retrieve is "dense" in the sweep and "BM25" in this file'),
        ('retrieve = "BM25"', 'retrieve = "BM25"\ntrain = "x"', 'rag\'s train is "x" in the sweep and'),
    ],
)
def test_a_sweep_that_contradicts_its_table_is_rejected(tmp_path, old, new, trouble):
    """A sweep is rejected with its line number if its paper, questions, base or method differs from the table's."""
    with pytest.raises(SpecError) as caught:
        swept(tmp_path, sweep=[(old, new)])
    [mistake] = caught.value.mistakes
    assert (mistake.line, mistake.key) == (21, "methods.rag.sweep")
    assert f"roe.toml does not contain the sweep for these numbers: {trouble}" in mistake.message


def test_a_sweep_may_be_printed_with_other_decimals(tmp_path):
    """Base accuracies in a table and a sweep may differ by rounding."""
    two = [("decimals = 3\n", "decimals = 2\n"), ("base = 0.275", "base = 0.28"), ("0.475", "0.48")]
    assert swept(tmp_path, sweep=two)


def test_several_k_are_needed_to_show_a_choice(tmp_path):
    """K counts as chosen on the test questions only if no single K yields all published accuracies."""
    start = "the published accuracy of rag is the highest accuracy over all K in roe (Table 4)"
    assert f"In 2 of 2 rows, {start}, so K was chosen on the test questions" in swept(tmp_path).remarks
    fixed = swept(tmp_path, sweep=[('"rag,k=1" = 0.300', '"rag,k=1" = 0.475')])
    assert (
        f"In 2 of 2 rows, {start}, and K = 1 yields all of these accuracies, so K may have been fixed in advance"
        in fixed.remarks
    )
    row = GOOD.partition("accuracy = { base = 0.250")[2].partition("\n")[2].partition("\n")[0]
    assert (
        f"In 1 of 1 row, {start}, and K = 1 yields all of these accuracies"
        in swept(tmp_path, file=[(row, "")]).remarks[1]
    )


def test_a_sweep_with_one_k_has_no_warning(tmp_path):
    """A row with only one K in its sweep has no warning about K and is not counted."""
    table = swept(tmp_path, sweep=[(', "rag,k=2" = 0.400', ""), ('"rag,k=1" = 0.300, ', "")])
    assert len(table.remarks) == 1
    assert not any(row.warnings for row in table.rows)


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_reported_with_their_line(tmp_path, name):
    """Each mistake in a published file is reported with its line, its key and the expected value."""
    old, new, line, key, message = WRONG[name]
    path = tmp_path / "doe.toml"
    (tmp_path / "roe.toml").write_text(SWEEP, encoding="utf-8")
    text = old.sub(new, GOOD) if isinstance(old, re.Pattern) else GOOD.replace(old, new, 1)
    assert text != GOOD
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_published(path)
    found = [one for one in caught.value.mistakes if one.key == key]
    assert [one.line for one in found] == [line], str(caught.value)
    assert message in found[0].message


@pytest.mark.parametrize("number", ["2312.05934", "0704.0001v2", "cs/0112017", "math.GT/0309136v1"])
def test_both_arxiv_identifier_formats_are_accepted(tmp_path, number):
    """arXiv identifiers are accepted in both the current and the older format."""
    path = tmp_path / "doe.toml"
    path.write_text(GOOD.replace("3101.00001", number), encoding="utf-8")
    assert load_published(path).data.paper.ids == [f"arXiv {number}"]


@pytest.mark.parametrize(("kind", "got"), [("", "nothing"), ('kind = "publshed"\n', '"publshed"'), ("kind = 3\n", "3")])
@pytest.mark.parametrize("command", ["leaderboard", "run", "cite"])
def test_a_wrong_kind_produces_one_error(tmp_path, kind, got, command):
    """A published file with a wrong `kind` produces only one error."""
    path = tmp_path / "doe.toml"
    path.write_text(GOOD.replace('kind = "published"\n', kind), encoding="utf-8")
    result = CliRunner().invoke(main, [command, str(path)])
    assert result.exit_code == 2
    line = 2 if kind else 1
    said = f'expected "published", because a file with [paper] and [table] contains published results; got {got}'
    assert result.output == f"{path}:{line}: kind: {said}\n"


def test_a_folder_of_published_files_is_not_a_results_folder(tmp_path):
    """If a folder of published files is passed as results, the error lists these files."""
    (tmp_path / "doe.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "broken.toml").write_text("[", encoding="utf-8")
    result = CliRunner().invoke(main, ["leaderboard", f"{tmp_path}/"])
    assert result.exit_code == 2
    assert "got a folder of published results; choose one of its files: doe.toml" in result.output


def test_a_benchmark_without_targets_has_no_averages(tmp_path):
    """If a benchmark has no target task, `--averages` prints a message that names the benchmark."""
    (tmp_path / "doe.toml").write_text(GOOD.replace("n = 40", 'n = 40\nrole = "control"'), encoding="utf-8")
    cut = averages_only(make_table([PublishedResults(load_published(tmp_path / "doe.toml"))]))
    assert (cut.rows, cut.averages) == ((), ())
    assert "No average to show: benchmark doe has no target task" in render(cut, "terminal")


def test_legends_appear_only_with_their_tables(tables, tmp_path):
    """Published numbers have no cost or retrieval tables, and therefore no legends for these tables."""
    both = [PublishedResults(load_published(FILES / "ovadia2024-mmlu.toml"))]
    for more in ({"cost": True}, {"times": True}, {"retrieval": True}):
        assert render(make_table(both, **more), "markdown") == render(tables["mmlu"], "markdown")
    assert "Cost: " in render(make_table([*both, measured(tmp_path / "mine")], cost=True), "markdown")


def test_all_mistakes_in_a_published_file_are_reported_together(tmp_path):
    """All mistakes in a published file are reported together in line order, with exit code 2."""
    path = tmp_path / "doe.toml"
    path.write_text(GOOD.replace("0.250", "25").replace("n = 40", "n = 0").replace("0.475", "1.5"), encoding="utf-8")
    result = CliRunner().invoke(main, ["leaderboard", str(path)])
    assert result.exit_code == 2
    assert [int(line.split(":")[1]) for line in result.output.splitlines()] == [15, 25, 26]


def test_means_over_seeds_need_no_whole_number_of_answers(tmp_path):
    """Without `decimals`, a published number may be a mean over seeds instead of a whole number of correct answers."""
    path = tmp_path / "doe.toml"
    path.write_text(GOOD.replace("0.275", "0.2761").replace("decimals = 3\n", ""), encoding="utf-8")
    assert load_published(path).data.table.rows[1].accuracy["base"] == 0.2761


def test_schema_rejects_files_with_mistakes(tmp_path):
    """The JSON Schema accepts the shipped files and rejects files with mistakes."""
    schema = published_schema()
    Draft202012Validator.check_schema(schema)
    check = Draft202012Validator(schema)
    for path in FILES.glob("*.toml"):
        assert not list(check.iter_errors(tomli.loads(path.read_text(encoding="utf-8"))))
    for name in ("out of range", "missing n", "unknown key", "no rows", "name"):
        old, new, *_ = WRONG[name]
        text = old.sub(new, GOOD) if isinstance(old, re.Pattern) else GOOD.replace(old, new, 1)
        assert not check.is_valid(tomli.loads(text)), name


def test_the_shipped_schema_is_current():
    """docs/schema-published.json equals the output of `kib schema --published`."""
    made = CliRunner().invoke(main, ["schema", "--published"]).output
    file = ROOT / "docs" / "schema-published.json"
    if WRITE:
        file.write_text(made, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == made, "run: kib schema --published > docs/schema-published.json"


def allowed_values(node, schema):
    """Return the allowed values of a key as text, without patterns; nested tables are described by their header."""
    inner = node.get("additionalProperties", {})
    if "$ref" in inner:
        return f"tables [{next(key for key, one in schema['properties'].items() if one is node)}.NAME]"
    return "fractions by arm" if inner else KEY_TYPES["describe"](node, schema).partition(" that matches ")[0]


def published_keys(name):
    """Return the table of keys that follows a marker in docs/published.md."""
    return KEY_TYPES["key_table"](getattr(file_format, name).model_json_schema(), allowed_values)


def test_every_key_is_documented():
    """The tables of keys in docs/published.md match the code."""
    file = ROOT / "docs" / "published.md"
    text = file.read_text(encoding="utf-8")
    made, shown = KEY_TYPES["replace_key_tables"](text, "published keys", published_keys)
    if WRITE:
        file.write_text(made, encoding="utf-8")
        text = made
    assert text == made, "run: KIB_WRITE_DOCS=1 pytest tests/test_published.py"
    assert shown


def test_documented_files_are_right(tmp_path):
    """The example file in docs/published.md is valid."""
    page = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    (tmp_path / "doe.toml").write_text(re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    table = make_table([PublishedResults(load_published(tmp_path / "doe.toml"))])
    assert [row.arm for row in table.rows] == ["base", "rag,k=5", "rag,k=1"]


def measured(folder, *, task="mmlu_anatomy", metric="acc", shots=0, n=135, right=90, data=None, limit=0, chats=()):
    """Write results of one arm and its base on an lm-eval task, for `tiny` and for models with a chat template."""
    results, cells = Results(folder), []
    models = dict.fromkeys(("tiny", *(chats or ())))
    for model, (method, correct) in itertools.product(models, (("base", 60), ("rag", right))):
        cell = Cell(model, method, (), "anatomy", None, shots, 0, digest([model, method, n]))
        cells.append(cell)
        scores = [
            Score(f"q{i}", None, int(i < correct), 0, 0, (-1.0, -2.0, -2.0, -2.0), prompt=digest([method, i]))
            for i in range(n)
        ]
        where = (Environment("cpu", {"torch": "2"}),)
        results.save_cell(CellResult(cell, n, correct, metric, where), scores)
    source = {"tasks": {"anatomy": {"plugin": "lm-eval", "options": {"task": task, "data": data}}}}
    methods = {"base": MethodEntry(None, None), "rag": MethodEntry(None, "bm25")}
    tasks = {"anatomy": TaskEntry("target", None, n, limit=limit)}
    results.save_plan(BenchmarkPlan("mine", "", tasks, methods, tuple(cells), sources=source, chats=chats))
    return results


def with_metric(folder, *, metric='metric = "acc"\n'):
    """Return Table 1 with an added metric, as if the paper reported its scoring method."""
    for path in FILES.glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        (folder / path.name).write_text(text.replace("options = 4\n", f"options = 4\n{metric}"), encoding="utf-8")
    return PublishedResults(load_published(folder / "ovadia2024-mmlu.toml"))


def test_origins_are_not_ranked_together(tmp_path, tables):
    """Published and measured rows share a table but not a ranking, and the table states the reason."""
    plain = PublishedResults(load_published(FILES / "ovadia2024-mmlu.toml"))
    table = make_table([measured(tmp_path / "mine"), plain])
    assert not table.cross_origin
    ranks = {(row.task, row.shots, row.model, row.arm): row.rank for row in tables["mmlu"].rows}
    assert ranks == {
        (row.task, row.shots, row.model, row.arm): row.rank for row in table.rows if row.origin == "published"
    }
    assert len(table.not_ranked_together) == 1
    assert table.not_ranked_together[0].startswith(
        "ovadia2024-mmlu (published) and mine (measured) are not ranked together: "
    )
    assert "anatomy: ovadia2024-mmlu does not state how answers were scored" in table.not_ranked_together[0]
    assert (
        "astronomy, college-biology, college-chemistry and prehistory: mine asks different questions"
        in table.not_ranked_together[0]
    )
    text = render(table, "markdown")
    assert table.not_ranked_together[0] in text.replace("\\", "")
    assert "| method | origin |" in text
    assert "| rag | measured |" in text
    assert "| rag | published |" in text
    assert {row["origin"] for row in json.loads(render(table, "json"))["rows"]} == {"measured", "published"}


def test_published_graded_scores_are_not_ranked_with_measured_rows(tmp_path):
    """Published graded scores are not ranked with measured rows of the same task, and the reason is given."""
    paper = with_metric(tmp_path, metric='metric = "acc"\ngraded = true\n')
    table = make_table([measured(tmp_path / "mine"), paper])
    assert not table.cross_origin
    assert "ranks of graded scores require the scores of each question" in table.not_ranked_together[0]


def test_one_origin_has_no_column(tables):
    """If all rows are published, the block titles contain "published", and the table has no column for the origin."""
    text = render(tables["current_events"], "markdown")
    assert "origin" not in text
    assert "current-events · 0-shot · published, unpaired · 910 questions" in text
    assert "not measured by kib" in text


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "json"])
def test_remarks_name_their_benchmark(tmp_path, tables, form):
    """If a table covers several benchmarks, each remark names its benchmark."""
    table = make_table([PublishedResults(load_published(FILES / "ovadia2024-mmlu.toml")), measured(tmp_path / "mine")])
    assert len(table.remarks) == 2
    assert all(remark.startswith("ovadia2024-mmlu: ") for remark in table.remarks)
    text = " ".join(render(table, form).replace("{}", "").split())
    assert all(f"ovadia2024-mmlu: {start}" in text for start in ("Published in", "In 30 of 30 rows, the published"))
    assert tables["mmlu"].remarks[0].startswith("Published in")


def test_headings_skip_no_level(tmp_path):
    """Markdown headings never skip a level, even with several benchmarks."""
    table = make_table([PublishedResults(load_published(FILES / "ovadia2024-mmlu.toml")), measured(tmp_path / "mine")])
    for text in (render(table, "markdown"), (ROOT / "README.md").read_text(encoding="utf-8")):
        levels = [
            len(found) for found in re.findall(r"^(#+) ", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
        ]
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert re.findall(r"^## .*$", render(table, "markdown"), re.MULTILINE) == ["## ovadia2024-mmlu, mine"]


def test_equal_conditions_are_ranked_together(tmp_path):
    """Rows are ranked together if their questions, shots, scoring and number of questions are stated and equal."""
    table = make_table([measured(tmp_path / "mine", right=100), with_metric(tmp_path)])
    [across] = table.cross_origin
    assert (across.questions, across.shots) == ("mmlu_anatomy", 0)
    assert {place.row.origin for place in across.rows} == {"published", "measured"}
    assert len(across.rows) == 2 + 12
    assert across.rows[0].row.arm == "rag"
    assert across.rows[0].row.benchmark == "mine"
    means = [place.row.accuracy.mean for place in across.rows]
    assert means == sorted(means, reverse=True)
    assert "published and measured · mmlu_anatomy · 0-shot" in render(table, "terminal", width=160)


def test_a_cross_origin_ranking_has_its_own_columns(tmp_path):
    """A cross-origin ranking has columns for benchmark, model and arm, and retains the warning about K."""
    table = make_table([measured(tmp_path / "mine", right=100), with_metric(tmp_path)])
    text = render(table, "markdown").partition("### published and measured")[2]
    assert "| # | benchmark | model | arm | origin | acc. % | interval | note |" in text
    assert (
        "| 1= | ovadia2024-mmlu | mistral-7b | rag | published | 68.1 | [59.8, 75.4] | best K on test (k=2) |" in text
    )
    assert "& mine & tiny & rag & measured" in render(table, "latex")


@pytest.mark.parametrize("width", [60, 120])
def test_a_ranking_across_origins_fits_the_terminal(tmp_path, width):
    """A cross-origin ranking fits the terminal width, and names are wrapped only at separators."""
    table = make_table([measured(tmp_path / "mine", right=100), with_metric(tmp_path)])
    shown = render(table, "terminal", width=width)
    assert max(map(len, shown.splitlines())) <= width
    block = shown.partition("published and measured")[2].partition("\n\n")[0]
    assert "best K on" in block
    words = {word for line in block.splitlines()[2:] for word in line.split()}
    assert {"mine", "tiny", "mistral-7b", "llama2-7b", "orca2-7b", "ft+rag"} <= words
    assert "ovadia2024-mmlu" in words or {"ovadia2024-", "mmlu"} <= words


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "mmlu_continuation_anatomy"}, "mine asks different questions"),
        ({"metric": "acc_norm"}, "scored by acc against acc_norm"),
        ({"shots": 3}, "mine used 3 examples"),
        ({"n": 100}, "135 questions against 100"),
        ({"limit": 135}, "mine used only 135 of the questions"),
        ({"data": {"layout": "mmlu"}}, "mine takes its questions from local files"),
        ({"chats": ("tiny",)}, "mine used the chat template of tiny"),
        ({"limit": None}, "mine was run by an earlier version of kib that did not record limits and chat templates"),
        ({"chats": None}, "mine was run by an earlier version of kib that did not record limits and chat templates"),
    ],
)
def test_any_difference_prevents_a_common_ranking(tmp_path, change, reason):
    """Rows with different questions, scoring, shots, sizes or formats are not ranked together; the reason is stated."""
    text = GOOD.replace("n = 40", 'n = 135\ntask = "mmlu_anatomy"\nmetric = "acc"').replace("decimals = 3\n", "")
    (tmp_path / "doe.toml").write_text(text.replace("deeds", "anatomy"), encoding="utf-8")
    published = PublishedResults(load_published(tmp_path / "doe.toml"))
    table = make_table([measured(tmp_path / "mine", **change), published])
    assert not table.cross_origin
    assert "are not ranked together: " in table.not_ranked_together[0]
    assert reason in table.not_ranked_together[0]


def test_a_limit_above_the_number_of_questions_has_no_effect(tmp_path):
    """Published and measured rows are ranked together despite a question limit if the limit excludes no question."""
    assert make_table([measured(tmp_path / "mine", limit=200), with_metric(tmp_path)]).cross_origin


def test_models_with_a_chat_template_are_not_ranked_with_published_rows(tmp_path):
    """A model with a chat template is not ranked with published rows, but other models in the same run are."""
    table = make_table([measured(tmp_path / "mine", chats=("chatty",)), with_metric(tmp_path)])
    [across] = table.cross_origin
    assert {place.row.model for place in across.rows if place.row.origin == "measured"} == {"tiny"}
    assert (
        "only partly ranked together: anatomy (0-shot): mine used the chat template of chatty; anatomy (5-shot):"
        in table.not_ranked_together[0]
    )


def test_runs_without_results_are_not_ranked(tmp_path):
    """A run without results is not ranked together with published rows, and the explanation states the reason."""
    results = measured(tmp_path / "mine")
    for path in (tmp_path / "mine").rglob("cell.json"):
        path.unlink()
    table = make_table([results, with_metric(tmp_path)])
    assert not table.cross_origin
    assert "anatomy (0-shot): mine has no result to rank" in table.not_ranked_together[0]


def test_a_plan_of_an_earlier_kib_is_read(tmp_path):
    """A plan from an earlier version can be read, but its rows are not ranked together with published rows."""
    results = measured(tmp_path / "mine")
    path = tmp_path / "mine" / "plan.json"
    value = read_sealed(path)
    del value["chats"], value["tasks"]["anatomy"]["limit"]
    path.write_text(json.dumps(value), encoding="utf-8")
    table = make_table([results, with_metric(tmp_path)])
    assert [row.status for row in table.rows if row.origin == "measured"] == ["measured", "measured"]
    assert not table.cross_origin


@pytest.mark.parametrize("kind", ["gains", "top-k"])
def test_figures_show_both_origins(tmp_path, kind):
    """Figures show measured and published benchmarks in separate panels."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'kib-bench[figures]'")
    other = PublishedResults(load_published(FILES / "ovadia2024-topk.toml"))
    table = make_table([measured(tmp_path / "mine"), other])
    save_figure(table, kind, tmp_path / "both.svg")
    assert "<svg" in (tmp_path / "both.svg").read_text(encoding="utf-8")
    titles = [panel.title for name in ("mine", "ovadia2024-topk") for panel in _panels(table, name)]
    assert titles == ["mine (measured): anatomy, 0-shot", "ovadia2024-topk (published): average of 5 tasks, all shots"]


def test_benchmark_names_are_unique(tmp_path):
    """A measured benchmark and a published file with the same name raise an error that suggests a remedy."""
    names = [tomli.loads(path.read_text(encoding="utf-8"))["name"] for path in (ROOT / "benchmarks").rglob("*.toml")]
    assert len(names) == len(set(names))
    text = GOOD.replace('name = "doe"', 'name = "mine"')
    (tmp_path / "doe.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"'mine' is both published and measured: .*change `name`"):
        make_table([measured(tmp_path / "mine"), PublishedResults(load_published(tmp_path / "doe.toml"))])


def test_excluded_shot_counts_are_listed(tmp_path):
    """If rows are ranked together for only some shot counts, the other counts are listed with the reason."""
    table = make_table([measured(tmp_path / "mine"), with_metric(tmp_path)])
    assert table.cross_origin
    assert table.not_ranked_together[0] == (
        "ovadia2024-mmlu (published) and mine (measured) are only partly ranked together: anatomy "
        "(5-shot): mine used 0 examples; astronomy, college-biology, college-chemistry and prehistory: mine asks "
        "different questions."
    )


def test_pairwise_comparisons_exclude_controls(tmp_path):
    """Pairwise comparisons exclude control tasks."""
    text = GOOD.replace("[methods.base]", '[tasks.other]\nn = 40\nrole = "control"\n\n[methods.base]')
    row = '  { task = "other", model = "m", accuracy = { base = 0.5, rag = 0.25 } },\n]\n'
    (tmp_path / "doe.toml").write_text(text.removesuffix("]\n") + row, encoding="utf-8")
    [comparison] = make_table([PublishedResults(load_published(tmp_path / "doe.toml"))]).pairwise
    assert (comparison.wins, comparison.ties, comparison.losses) == (2, 0, 0)


def test_against_another_arm():
    """Published gains can be measured against any arm."""
    rows = own_rows("mmlu")
    for row in table_of("mmlu", against="rag").rows:
        _, numbers = rows[row.task, row.shots, row.model]
        if row.arm != "rag":
            assert row.gain.absolute == pytest.approx(float(numbers[row.arm] - numbers["rag"]), abs=1e-12)


def test_leaderboard_prints_a_published_file():
    """`kib leaderboard FILE` reproducibly prints gains, averages and pairwise comparisons."""
    call = ["leaderboard", str(FILES / "ovadia2024-mmlu.toml"), "--format", "markdown"]
    first, second = CliRunner().invoke(main, call), CliRunner().invoke(main, call)
    assert first.exit_code == 0, first.output
    assert first.output == second.output
    assert "average of 5 tasks · all shots" in first.output
    assert "| ft | base | 22 | 2 | 6 |" in first.output


@pytest.mark.parametrize("form", ["terminal", "markdown", "csv", "json", "latex"])
def test_every_format_prints_published_tables(tables, form):
    """Every format prints published tables and their averages."""
    for table in tables.values():
        assert render(table, form)
        assert render(averages_only(table), form)


def test_averages_alone(tables):
    """The option `--averages` prints only averages over all shots, or the rows of a benchmark with one task."""
    cut = averages_only(tables["mmlu"])
    assert not cut.rows
    assert {row.shots for row in cut.averages} == {None}
    assert len(cut.averages) == 12
    assert averages_only(tables["current_events"]).rows == tables["current_events"].rows


@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_a_published_file_cannot_be_run(command):
    """Commands that measure a benchmark reject a published file."""
    result = CliRunner().invoke(main, [command, str(FILES / "ovadia2024-mmlu.toml")])
    assert result.exit_code == 2
    assert "got a file of published results" in result.output


def test_cite_names_paper_models_data_and_kib():
    """`kib cite` prints one entry each for the paper, its models, its data sets and kib."""
    result = CliRunner().invoke(main, ["cite", str(FILES / "ovadia2024-mmlu.toml")])
    keys = re.findall(r"^@\w+\{([^,]+),", result.output, re.MULTILINE)
    assert keys == [
        "kib",
        "ovadia2024finetuning",
        "jiang2023mistral",
        "touvron2023llama2",
        "mitra2023orca2",
        "hendryckstest2021",
        "xiao2023cpack",
    ]
    assert result.output.count("{") == result.output.count("}")


def test_baselines_contain_published_rows(tmp_path):
    """A baseline contains published rows, and an unchanged table passes the baseline check."""
    file, call = tmp_path / "baseline.json", ["leaderboard", str(FILES / "ovadia2024-current-events.toml")]
    assert CliRunner().invoke(main, [*call, "--update-baseline", str(file)]).exit_code == 0
    assert CliRunner().invoke(main, [*call, "--check", str(file)]).exit_code == 0


BLOCK = re.compile(r"<!-- table: (kib leaderboard [^\n]*?) -->\n(.*?)<!-- table: end -->\n", re.DOTALL)


def test_readme_tables_match_the_command_output(monkeypatch):
    """Each marked table in README.md matches the output of the command in its marker."""
    file = ROOT / "README.md"
    text = file.read_text(encoding="utf-8")
    if not BLOCK.search(text):
        pytest.skip("README.md has no marker `<!-- table: kib leaderboard … -->`")
    monkeypatch.chdir(ROOT)
    made = BLOCK.sub(lambda block: f"<!-- table: {block[1]} -->\n\n{printed(block[1])}\n<!-- table: end -->\n", text)
    if WRITE:
        file.write_text(made, encoding="utf-8")
        text = made
    assert text == made, "run: KIB_WRITE_DOCS=1 pytest tests/test_published.py"


def printed(command):
    """Return the output of a command with every heading moved down one level."""
    result = CliRunner().invoke(main, command.split()[1:])
    assert result.exit_code == 0, result.output
    return re.sub(r"^(#+ )", r"#\1", result.output.strip(), flags=re.MULTILINE) + "\n"
