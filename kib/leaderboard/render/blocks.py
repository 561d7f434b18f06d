"""Blocks of printable text: the common input of the terminal, Markdown and LaTeX renderers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kib.leaderboard.number_format import DASH

__all__ = ["Block", "Column", "Line", "Tone", "used_columns"]

Tone = Literal["base", "better", "worse", "same", "ceiling", "absent"]


@dataclass(frozen=True, slots=True)
class Column:
    """A printed column; `title` is the name of the column in sentences, and `left` aligns the column to the left."""

    name: str
    header: str
    title: str
    left: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """The texts of one line by column name; a column without a text is left blank."""

    texts: Mapping[str, str]
    tone: Tone


@dataclass(frozen=True, slots=True)
class Block:
    """Lines under one title, such as the arms of a model on a task; `notes` are sentences printed below the lines."""

    title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def used_columns(blocks: Sequence[Block], columns: Sequence[Column]) -> list[Column]:
    """Return the columns that have a value in at least one line."""
    names = {
        name for block in blocks for line in block.lines for name, text in line.texts.items() if text not in ("", DASH)
    }
    return [column for column in columns if column.name in names]
