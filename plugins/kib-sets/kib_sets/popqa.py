"""PopQA: questions about entities of Wikidata, with the popularity of each entity."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import Options
from kib.records import Gold, Question
from kib.support.json_parsing import parse_json
from kib.support.phrases import counted, join
from kib_sets.base import SetTask, TaskOptions
from kib_sets.citations import POPQA

__all__ = ["PopqaTask"]

NEEDED = ("id", "subj", "s_wiki_title", "s_pop", "question", "possible_answers")
"""The columns that kib reads from the official file."""

BUCKETS = (
    (100, "popularity below 100"),
    (1_000, "popularity 100 to 999"),
    (10_000, "popularity 1,000 to 9,999"),
    (100_000, "popularity 10,000 to 99,999"),
)
"""The probes of questions, each with the number of monthly page views that its subjects do not reach.

The buckets are powers of ten, because Mallen et al. (ACL 2023) plot accuracies against the logarithm of the popularity.
"""

MOST_POPULAR = "popularity from 100,000"
"""The probe of all other questions."""


class PopqaOptions(TaskOptions):
    """The options of `popqa`."""

    min_popularity: int = Field(
        default=0,
        ge=0,
        description="Smallest number of monthly page views of the subject; other questions are omitted.",
    )
    max_popularity: int | None = Field(
        default=None, ge=1, description="Numbers of monthly page views must be below this value; default: no limit."
    )
    gold: bool = Field(
        default=False,
        description=(
            "Whether the Wikipedia page of the subject is the gold document, identified by its title as in the corpus "
            "`wikipedia`."
        ),
    )


class PopqaTask(SetTask):
    """The questions of PopQA with all possible answers; the subject is the group, and its popularity the probe."""

    Options: ClassVar[type[Options]] = PopqaOptions
    revision: ClassVar[int] = 2
    bibliography = POPQA

    def read(self, path: Path, remarks: list[str]) -> Iterator[Question]:
        """Yield the questions with a popularity in the range of the options."""
        options, omitted = self.options, 0
        for where, row in _rows(path):
            popularity = _popularity(where, row)
            if popularity < options.min_popularity or (
                options.max_popularity is not None and popularity >= options.max_popularity
            ):
                omitted += 1
                continue
            yield Question(
                _cell(where, row, "id"),
                _cell(where, row, "question"),
                gold=(Gold(_cell(where, row, "s_wiki_title")),) if options.gold else (),
                group=_cell(where, row, "subj"),
                accepted=_answers(where, row),
                probe=next((name for end, name in BUCKETS if popularity < end), MOST_POPULAR),
            )
        if omitted:
            remarks.append(f"omitted {counted(omitted, 'question')} with a popularity outside the range of the options")


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the position and the cells of each row of a file with tabs."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", strict=True)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                columns = join([f"`{name}`" for name in missing])
                raise InputError(f"{path}:1: the columns {columns} are missing; expected the official file test.tsv")
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or None in row.values():
                    raise InputError(f"{where}: the row and the header have different numbers of fields")
                yield where, row
    except csv.Error as error:
        raise InputError(f"{path}: not a table with tabs: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error


def _cell(where: str, row: dict[str, Any], name: str) -> str:
    value: str = row[name]
    if not value.strip():
        raise InputError(f"{where}: {name}: the cell is empty")
    return value


def _popularity(where: str, row: dict[str, Any]) -> int:
    value = _cell(where, row, "s_pop")
    if not value.isdecimal():
        raise InputError(f"{where}: s_pop: expected a whole number, got {value!r}")
    return int(value)


def _answers(where: str, row: dict[str, Any]) -> tuple[str, ...]:
    answers = parse_json(_cell(where, row, "possible_answers"), f"{where}: possible_answers")
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) and one.strip() for one in answers):
        raise InputError(f"{where}: possible_answers: expected a JSON list of texts, got {row['possible_answers']}")
    return tuple(answers)
