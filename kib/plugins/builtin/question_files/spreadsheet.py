"""Reads questions from a sheet of an .xlsx file with openpyxl."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

from kib.errors import InputError
from kib.plugins.builtin.question_files.cell_text import cell_text
from kib.plugins.builtin.question_files.column_mapping import ColumnMapping
from kib.plugins.builtin.question_files.fields import LocatedRow
from kib.plugins.builtin.question_files.table_rows import table_row
from kib.support.phrases import join, offer

__all__ = ["spreadsheet_rows"]

MB = 1 << 20
MOST_UNPACKED_MB = 256
"""The largest size of an unpacked file; a small archive could unpack to a file that fills the memory."""

MOST_CELLS = 10_000_000
"""The largest number of cells, including the empty cells before the last cell of each row."""

OLE_SIGNATURE = bytes.fromhex("d0cf11e0a1b11ae1")
"""First bytes of files from old Office versions and of password-protected files from new Office versions."""

UNCOMPUTED = "the formula has no stored value; open the file in a spreadsheet program and save the file"

NO_SHEET = 'no sheet found; if the format of the file is "Strict Open XML", save the file as "Excel Workbook"'

Position = tuple[int, int]
"""A row and a column, starting from 1."""

Range = tuple[int, int, int, int]
"""The first column, first row, last column and last row of merged cells."""


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The texts of a sheet by row and column, its merged cells, and the reason why a cell cannot be read."""

    where: str
    rows: Mapping[int, dict[int, str]]
    merged: tuple[Range, ...]
    faults: Mapping[Position, str]

    def row(self, number: int) -> str:
        """Return the position of a row as error messages state it."""
        return f"{self.where}, row {number}"


def spreadsheet_rows(
    path: Path, sheet: str | None, mapping: ColumnMapping, usual: str | None = None
) -> Iterator[LocatedRow]:
    """Yield the fields of the question in each row below the header, which is the first row with text.

    Rows without text are skipped. A merged cell belongs to each of its rows. `sheet` is required if the file has
    several visible sheets, unless one has the name `usual`. Raises InputError with the sheet and the row of an invalid
    cell.
    """
    read = _read(path, sheet, usual)
    if not read.rows:
        _check_faults(read, read.faults)
        raise InputError(f"{read.where}: no questions found")
    first = min(read.rows)
    names = {column: text.strip() for column, text in read.rows[first].items()}
    mapping.check(read.row(first), list(names.values()))
    _check_unnamed(read, names, mapping)
    used = {column for column, name in names.items() if not mapping.columns or name in mapping.columns.values()}
    _check_faults(read, (position for position in read.faults if position[1] in used))
    _fill_merged(read, first, used)
    for number in sorted(read.rows.keys() - {first}):
        texts = read.rows[number]
        yield table_row(read.row(number), {name: texts.get(column, "") for column, name in names.items()}, mapping)


def _check_unnamed(sheet: _Sheet, names: Mapping[int, str], mapping: ColumnMapping) -> None:
    """Raise InputError for text in a column without a name; with a mapping, the column is ignored instead."""
    from openpyxl.utils import get_column_letter

    unnamed = {column: number for number in sorted(sheet.rows, reverse=True) for column in sheet.rows[number]}
    for column in sorted(unnamed.keys() - names.keys()):
        letter = get_column_letter(column)
        if not mapping.columns:
            raise InputError(
                f"{sheet.row(unnamed[column])}: column {letter} contains text but has no name in the header"
            )
        mapping.ignored.append(f"column {letter} (without a name)")


def _check_faults(sheet: _Sheet, positions: Iterable[Position]) -> None:
    """Raise InputError for the first of the cells that cannot be read."""
    from openpyxl.utils import get_column_letter

    for row, column in sorted(positions):
        raise InputError(f"{sheet.row(row)}: {get_column_letter(column)}{row}: {sheet.faults[row, column]}")


def _fill_merged(sheet: _Sheet, first: int, used: set[int]) -> None:
    """Repeat the text of a merged cell in each of its rows; raise InputError if the cell spans several columns."""
    for left, top, right, bottom in sheet.merged:
        text = sheet.rows.get(top, {}).get(left)
        if text is None or not used & set(range(left, right + 1)):
            continue
        if right > left:
            raise InputError(f"{sheet.row(top)}: merged cells span several columns; split these cells")
        for number in range(top + 1, bottom + 1) if top > first else ():
            if number in sheet.rows:
                sheet.rows[number].setdefault(left, text)


def _read(path: Path, sheet: str | None, usual: str | None) -> _Sheet:
    """Return a sheet; raise InputError if the file is damaged or too large, or if there is no such sheet."""
    from openpyxl import load_workbook

    _check_archive(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl warns about parts without text, such as drop-down lists
            workbook = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            return _content(path, _choose(path, workbook, sheet, usual))
    except InputError:
        raise
    except Exception as error:  # openpyxl does not wrap the errors of its parsers
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: the file is damaged or is not a spreadsheet: {reason}") from error


def _check_archive(path: Path) -> None:
    """Raise InputError for a file that is not an archive, has a password or is too large after unpacking."""
    with path.open("rb") as file:
        if file.read(len(OLE_SIGNATURE)) == OLE_SIGNATURE:
            problem = "the file has a password or was saved by an old version of a spreadsheet program"
            raise InputError(f"{path}: {problem}; save the file as .xlsx without a password")
    try:
        with ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except BadZipFile as error:
        raise InputError(f"{path}: the file is damaged or is not a spreadsheet in the format .xlsx") from error
    if size > MOST_UNPACKED_MB * MB:
        problem = f"the file unpacks to {size / MB:,.0f} MB, more than {MOST_UNPACKED_MB} MB"
        raise InputError(f"{path}: {problem}; save the questions as .csv or .jsonl")


def _choose(path: Path, workbook: Any, name: str | None, usual: str | None) -> Any:
    """Return the sheet with the given name or, without a name, with the usual name, or else the only visible one."""
    sheets = {sheet.title: sheet for sheet in workbook.worksheets}
    if name is not None:
        if name not in sheets:
            raise InputError(f'{path}: no sheet "{name}"; {offer(name, list(sheets))}')
        return sheets[name]
    if usual in sheets:
        return sheets[usual]
    visible = [title for title, sheet in sheets.items() if sheet.sheet_state == "visible"] or list(sheets)
    if len(visible) != 1:
        listed = join([f'"{title}"' for title in visible])
        hint = "set `sheet` to one of them" if usual is None else f'name one of them "{usual}"'
        several = f"the file has several sheets: {listed}; {hint}"
        raise InputError(f"{path}: {several if visible else NO_SHEET}")
    return sheets[visible[0]]


def _content(path: Path, sheet: Any) -> _Sheet:
    """Read all cells of a sheet; ignore the size that the file states, because the stated size may be wrong."""
    with sheet._get_source() as source:  # noqa: SLF001 - openpyxl shows merged cells only if it reads all files at once
        merged, uncomputed = _marks(source)
    rows: dict[int, dict[int, str]] = {}
    faults = dict.fromkeys(uncomputed, UNCOMPUTED)
    count = 0
    sheet.reset_dimensions()
    for number, cells in enumerate(sheet.iter_rows(), 1):
        count += len(cells) + 1
        if count > MOST_CELLS:
            raise InputError(
                f"{path}: sheet {sheet.title!r} has more than {MOST_CELLS:,} cells; save the questions as .csv"
            )
        for column, cell in enumerate(cells, 1):
            if cell.data_type == "e":
                faults[number, column] = f"the cell shows the error {cell.value}"
            elif cell.value is not None and (text := cell_text(cell.value, cell.number_format)).strip():
                rows.setdefault(number, {})[column] = text
    return _Sheet(f"{path}: sheet {sheet.title!r}", rows, merged, faults)


def _marks(source: IO[bytes]) -> tuple[tuple[Range, ...], list[Position]]:
    """Return the merged cells in the XML of a sheet, and the cells with a formula but without a value."""
    from openpyxl.utils.cell import coordinate_to_tuple, range_boundaries
    from openpyxl.xml.functions import iterparse

    merged: list[Range] = []
    uncomputed: list[Position] = []
    row = 0
    for _, element in iterparse(source):
        tag = element.tag.rpartition("}")[2]
        if tag == "mergeCell":
            merged.append(range_boundaries(element.get("ref")))
        elif tag == "row":
            row = int(element.get("r", row + 1))
            column = 0
            for cell in element:
                column = coordinate_to_tuple(cell.get("r"))[1] if cell.get("r") else column + 1
                if cell.find("{*}f") is not None and not _has_value(cell):
                    uncomputed.append((row, column))
            element.clear()
    return tuple(merged), uncomputed


def _has_value(cell: Any) -> bool:
    """Return whether a cell has a stored value; the type `str` marks the result of a formula, which may be empty."""
    return cell.get("t") == "str" or bool(cell.findtext("{*}v"))
