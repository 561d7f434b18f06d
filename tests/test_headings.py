"""Headings are recognised by marks, or as short lines between blank lines."""

import pytest

from kib.run.headings import Headings


def found(text):
    return [text[start:end] for start, end in Headings(text).ranges]


@pytest.mark.parametrize(
    "heading",
    [
        "# Pump",
        "###### Pump",
        "  ## Pump ##",
        "#",
        "== Pump ==",
        "=== Pump ===",
        "Pump\n====",
        "Pump\n--",
        "Pump 7",
        "What?",
    ],
)
def test_headings(heading):
    """Markdown and wiki headings, and short lines without a full stop above other text, are headings."""
    assert found(f"{heading}\n\nIt is red.") == heading.split("\n")
    assert found(f"It is red.\n\n{heading}\n\nIt is red.") == heading.split("\n")


@pytest.mark.parametrize(
    "line",
    [
        "It is red.",
        "Stop!",
        "- a red lever",
        "1. Pull the lever",
        "b) Pull the lever",
        "pump | 7",
        "pump\t7",
        "42",
        "====",
        "```\n# a comment\n```",
        "Pump\nValve",
        "word " * 20,
    ],
)
def test_other_lines(line):
    """Sentences, list items, table rows, numbers, comments in code and long lines are not headings."""
    assert found(f"{line}\n\nIt is red.") == []


def test_the_last_line_is_a_heading_only_with_marks():
    """A last line without marks is not a heading, because no text follows."""
    assert found("It is red.\n\nPump") == []
    assert found("Pump") == []
    assert found("It is red.\n\n# Pump") == ["# Pump"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [("# Pump", True), ("Pump\n\nValve", True), ("Valve\n\nIt", False), ("It is red", False), ("\n\n", False)],
)
def test_ranges_that_headings_fill(part, expected):
    """A range consists of headings if the range contains a heading and no other text, even if a heading is cut."""
    text = "# Pump\n\nValve\n\nIt is red."
    start = text.index(part)
    assert Headings(text).fill(start, start + len(part)) == expected
