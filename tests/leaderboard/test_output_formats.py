"""Output of the leaderboard as terminal, Markdown, CSV and JSON tables."""

import csv
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaderboard_lab import Lab, costly

from kib.errors import InputError
from kib.leaderboard import baseline, make_table, render
from kib.leaderboard.number_format import percent, whole_percent
from kib.leaderboard.render.machine_values import (
    AVERAGE,
    ELSEWHERE,
    ENTERED,
    LABELS,
    PROBE,
    REPEAT,
    ROW,
    SYSTEM,
    SYSTEM_COST,
)

EXPECTED = Path(__file__).parent / "expected"
DOCS = Path(__file__).parent.parent.parent / "docs" / "leaderboard.md"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


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
    """Halves are rounded away from zero, regardless of their binary representation."""
    assert (whole_percent(fraction), percent(fraction)) == (shown, cut)


COSTS = {
    "cost-100.txt": ("terminal", {"width": 100}),
    "cost-160.txt": ("terminal", {"width": 160}),
    "cost.md": ("markdown", {}),
}


@pytest.mark.parametrize("name", COSTS)
def test_cost_table_equals_the_expected_output(lab, name):
    """The cost table equals the expected output, which KIB_UPDATE_EXPECTED=1 regenerates."""
    form, more = COSTS[name]
    text = render(costly(lab).table(times=True), form, **more)
    path = EXPECTED / name
    if os.environ.get("KIB_UPDATE_EXPECTED"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_bytes().decode("utf-8")


FORMATS = {
    "terminal-80.txt": ("terminal", {"width": 80}),
    "terminal-120.txt": ("terminal", {"width": 120}),
    "terminal-200.txt": ("terminal", {"width": 200}),
    "colour-120.txt": ("terminal", {"width": 120, "colour": True}),
    "table.md": ("markdown", {}),
    "table.csv": ("csv", {}),
    "table.json": ("json", {}),
}
FRACTION = re.compile(r"-?\d+\.\d{7,}(?:e-\d+)?|-?\d+(?:\.\d+)?e-\d+")
"""A number at full precision, whose last digits may depend on the processor."""


@pytest.mark.parametrize("name", FORMATS)
def test_formats_equal_the_expected_output(full_table, name):
    """Every text format equals the expected output, which KIB_UPDATE_EXPECTED=1 regenerates."""
    form, more = FORMATS[name]
    text = render(full_table, form, **more)
    path = EXPECTED / name
    if os.environ.get("KIB_UPDATE_EXPECTED"):
        path.write_text(text, encoding="utf-8", newline="\n")
    expected = path.read_bytes().decode("utf-8")
    assert FRACTION.sub("#", text) == FRACTION.sub("#", expected)
    numbers, expected_numbers = ([float(one) for one in FRACTION.findall(some)] for some in (text, expected))
    assert numbers == pytest.approx(expected_numbers, rel=1e-9)


@pytest.mark.parametrize("width", [52, 80, 120, 240])
def test_no_line_is_wider_than_the_terminal(full_table, width):
    """No table line is wider than the terminal, and omitted columns are listed."""
    text = render(full_table, "terminal", width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert ("Omitted at this width" in text) == (width < 200)


@pytest.mark.parametrize("width", [40, 60])
def test_sentences_are_wrapped_at_the_terminal_width(full_table, width):
    """Sentences are wrapped at the terminal width, even below a table that is wider than the terminal."""
    text = render(full_table, "terminal", width=width)
    below = text[text.index("Accuracy in %") :]
    assert max(map(len, below.splitlines())) <= width


def test_long_notes_are_wrapped_to_fit(full_table):
    """Long notes are wrapped so that the table fits into 60 columns."""
    text = render(full_table, "terminal", width=60)
    assert "forgets" in text
    assert max(map(len, text.splitlines())) <= 60


def test_numbers_are_never_truncated(full_table):
    """Numbers are never truncated, even in a very narrow terminal."""
    narrow = " ".join(render(full_table, "terminal", width=20).split())
    for found in full_table.rows:
        if found.gain:
            assert f"{100 * found.accuracy.mean:.1f}" in narrow


def test_colour_does_not_change_the_text(full_table):
    """Without its colour codes, the coloured table is identical to the plain table."""
    plain, coloured = (render(full_table, "terminal", width=120, colour=colour) for colour in (False, True))
    stripped = [line.rstrip() for line in ANSI.sub("", coloured).splitlines()]
    assert coloured != plain
    assert stripped == plain.splitlines()


def test_the_terminal_prints_the_first_200_rows(lab):
    """The terminal prints the first 200 rows and the total number, and all other formats contain all rows."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    small = lab.table()
    rows = tuple(replace(one, model=f"m{number}") for number in range(130) for one in small.rows)
    table = replace(small, rows=rows, headlines=small.headlines * 130)
    text = render(table, "terminal", width=100)
    assert len([line for line in text.splitlines() if re.search(r"(base|rag,k=1) +\d", line)]) == 200
    assert "Showing the first 200 of 260 rows" in text
    assert text.count("retrieval with 1 passage") == 12
    assert "and 118 more headlines" in text
    assert len(list(csv.reader(io.StringIO(render(table, "csv"))))) == 261
    assert len(json.loads(render(table, "json"))["rows"]) == 260
    assert render(table, "markdown").count("| rag,k=1 |") == 130


def test_csv_contains_every_key(full_table):
    """CSV contains every key, one line per row or average, and floats with full precision."""
    lines = list(csv.DictReader(io.StringIO(render(full_table, "csv"))))
    assert set(lines[0]) == {"entry", *ROW, *AVERAGE}
    assert [line["entry"] for line in lines] == ["arm"] * len(full_table.rows) + ["average"] * len(full_table.averages)
    for line, found in zip(lines, full_table.rows, strict=False):
        assert line["gain"] == ("" if found.gain is None else repr(found.gain.absolute))
        assert line["seeds"] == " ".join(map(str, found.seeds))


def test_documentation_lists_all_json_keys(full_results):
    """The documentation lists exactly the keys of the JSON table."""
    value = json.loads(render(make_table([full_results], cost=True, times=True, retrieval=True, by="probe"), "json"))
    assert value["schema"] == 1
    lists = ("rows", "averages", "missing", "benchmarks", "environments")
    listed = (*PROBE, "repeats", *REPEAT, *ELSEWHERE, *ENTERED, *SYSTEM, *SYSTEM_COST, "labels", *LABELS)
    keys = {*value, *listed, *(key for name in lists for one in value[name] for key in one)}
    documented = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(set(documented)) == sorted(keys)


EVIL = "=1+1|<b>x</b>[red]y[/red](z)](http://e) `c` *d* \x1b[31m\u2028\n| a | b |\n# head"


def test_untrusted_text_cannot_inject_markup(lab):
    """Untrusted titles and messages cannot inject markup, formulas, control characters or line breaks."""
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


def test_markdown_shows_untrusted_text_literally(lab):
    """Rendered Markdown shows untrusted titles and messages character by character."""
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


@settings(max_examples=10)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_leaves_the_format_valid(tmp_path_factory, title, error):
    """Arbitrary titles and messages neither break the columns of Markdown tables nor invalidate JSON."""
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


def test_an_unknown_format_is_rejected(lab):
    """An unknown format raises an error that lists the available formats."""
    lab.add(4, "base")
    with pytest.raises(InputError, match="terminal, markdown, csv, json"):
        render(lab.table(), "html")


def test_output_depends_only_on_the_results(full_table, full_copy):
    """Identical results in a different folder produce identical bytes in every format."""
    other = make_table([full_copy])
    for form in ("terminal", "markdown", "csv", "json"):
        assert render(other, form) == render(full_table, form)
    assert baseline(other) == baseline(full_table)
