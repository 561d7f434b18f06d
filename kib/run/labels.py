"""Reads the sheets in which people judged outputs, and stores their verdicts in the results folder.

A sheet is checked against the design that `kib label` stored with it, before anything is measured.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kib.errors import InputError, SpecError
from kib.plugins.builtin.input_files import check_columns
from kib.plugins.builtin.question_files.column_mapping import ColumnMapping
from kib.plugins.builtin.question_files.csv_table import csv_rows
from kib.plugins.builtin.question_files.fields import LocatedRow
from kib.plugins.builtin.question_files.spreadsheet import spreadsheet_rows
from kib.progress import Progress
from kib.spec.load import Spec
from kib.store.label_records import LabelDesign, Labels
from kib.store.results import Results
from kib.support.phrases import counted, join, shortened

__all__ = [
    "ITEM",
    "SHEET_FORMATS",
    "SHEET_NAME",
    "VERDICT",
    "VERDICT_WORDS",
    "read_labels",
    "read_sheet",
    "store_labels",
]

ITEM, VERDICT = "item", "verdict"
"""The columns of a sheet that kib reads; people may change or delete all other columns."""

SHEET_FORMATS = (".csv", ".xlsx")
SHEET_NAME = "labels"

VERDICT_WORDS: Mapping[str, float] = {"right": 1.0, "partly": 0.5, "wrong": 0.0}
"""The words that a sheet may contain instead of numbers."""


class _SheetColumns(ColumnMapping):
    """The columns `item` and `verdict`; other columns are ignored."""

    def check_keys(self, where: str, names: Any) -> None:
        """Raise InputError if one of the two columns is missing."""
        known = set(names)
        for column in (ITEM, VERDICT):
            if column not in known:
                raise InputError(f'{where}: no column "{column}"; expected the columns that `kib label` wrote')

    def check(self, where: str, names: Any) -> None:
        """Raise InputError if one of the two columns is missing or appears twice."""
        check_columns(where, [name for name in names if name in (ITEM, VERDICT)])
        self.check_keys(where, names)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a sheet: its position in error messages, its item, and its verdict (None: not yet judged)."""

    where: str
    item: str
    verdict: float | None


def store_labels(spec: Spec, results: Results, progress: Progress) -> None:
    """Store the verdicts of all sheets that the benchmark file names, and report the missing verdicts.

    Raises InputError for an invalid sheet.
    """
    labels, remarks = read_labels(spec, results)
    for remark in remarks:
        progress.say(remark)
    results.save_labels(labels)


def read_labels(spec: Spec, results: Results) -> tuple[dict[str, Labels], list[str]]:
    """Return the verdicts of all sheets that the benchmark file names, by task, and remarks on missing verdicts.

    Raises InputError for an invalid sheet. A sheet is not used if the results contain no design, for example because
    the benchmark has not been measured yet.
    """
    sheets = {task: table.labels for task, table in spec.tasks.items() if table.labels}
    designs = results.label_designs() if sheets else {}
    labels, remarks = {}, []
    for task, path in sheets.items():
        if not path.is_file():
            raise SpecError([spec.mistake(f"{path}: no such file", "tasks", task, "labels")])
        if task in designs:
            labels[task] = read_sheet(path, designs[task])
            remark = _missing_verdicts(labels[task], designs[task])
        else:
            remark = (
                f"the labels are not used, because {results.folder} contains no sample of questions for this task; "
                "draw questions with `kib label`, and judge the outputs in its sheet"
            )
        remarks += [f"tasks.{task}.labels: {path}: {remark}"] if remark else []
    return labels, remarks


def _missing_verdicts(labels: Labels, design: LabelDesign) -> str:
    """Return a sentence about missing verdicts, or "" if every item has a verdict."""
    missing = len(design.items) - sum(map(len, labels.verdicts.values()))
    left_out = labels.drawn - len(labels.questions)
    if not missing:
        return ""
    return (
        f"missing {counted(missing, 'verdict')} of {len(design.items)}, so the comparison leaves out "
        f"{left_out} of {counted(labels.drawn, 'drawn question')}"
    )


def read_sheet(path: Path, design: LabelDesign) -> Labels:
    """Return the verdicts in a sheet; raise InputError for an invalid verdict, an unknown item or a repeated item."""
    rows: dict[str, _Row] = {}
    unknown: list[_Row] = []
    for row in _rows(path):
        if row.item in rows:
            raise InputError(f"{row.where}: the item {row.item} appears twice; delete one of the two rows")
        rows[row.item] = row
        unknown += [row] if row.item not in design.items else []
    _check_design(path, rows, unknown, design)
    verdicts: dict[str, dict[str, float]] = {}
    complete = dict.fromkeys(design.questions, True)
    for item, labelled in design.items.items():
        verdict = rows[item].verdict if item in rows else None
        if verdict is None:
            complete[labelled.question] = False
        else:
            verdicts.setdefault(labelled.question, {})[labelled.output] = verdict
    return Labels(
        seed=design.seed,
        population=design.population,
        population_digest=design.population_digest,
        drawn=len(design.questions),
        questions=tuple(question for question in design.questions if complete[question]),
        verdicts=verdicts,
    )


def _check_design(path: Path, rows: Mapping[str, _Row], unknown: list[_Row], design: LabelDesign) -> None:
    """Raise InputError if the sheet contains an item that is not in the design, or no item at all."""
    if not rows:
        raise InputError(f"{path}: the sheet contains no items; write a sheet with `kib label`")
    drawn = f"{counted(len(design.questions), 'question')} drawn with seed {design.seed}"
    if len(unknown) == len(rows):
        raise InputError(
            f"{path}: the labels belong to another design: no item is in the stored sample ({drawn}); use the sheet "
            "that `kib label` wrote last"
        )
    for row in unknown:
        raise InputError(
            f"{row.where}: the item {shortened(row.item)} is not in the stored sample ({drawn}), for example because "
            "the output has changed; use the sheet that `kib label` wrote last"
        )


def _rows(path: Path) -> Iterator[_Row]:
    """Yield the rows of a sheet; a row without any text in the two columns is skipped."""
    columns = _SheetColumns({ITEM: ITEM, VERDICT: VERDICT})
    for located in _located_rows(path, columns):
        item, verdict = located.fields.get(ITEM), located.fields.get(VERDICT)
        if item is not None:
            yield _Row(located.where, item, None if verdict is None else _verdict(located.where, verdict))
        elif verdict is not None:
            raise InputError(f"{located.where}: the row has a verdict, but no item; restore the item of the row")


def _located_rows(path: Path, columns: ColumnMapping) -> Iterator[LocatedRow]:
    extension = path.suffix.lower()
    if extension not in SHEET_FORMATS:
        raise InputError(f"{path}: expected a {' or '.join(SHEET_FORMATS)} file")
    try:
        yield from csv_rows(path, columns) if extension == ".csv" else spreadsheet_rows(path, None, columns, SHEET_NAME)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error


def _verdict(where: str, text: str) -> float:
    """Return a verdict as a number from 0 (wrong) to 1 (right)."""
    if (word := text.lower()) in VERDICT_WORDS:
        return VERDICT_WORDS[word]
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        words = join(list(VERDICT_WORDS), "or")
        raise InputError(f"{where}: verdict: expected {words}, or a number from 0 to 1, got {shortened(repr(text))}")
    return number
