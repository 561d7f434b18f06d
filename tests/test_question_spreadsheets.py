"""The `file` task reads questions from a sheet of an .xlsx file, as a person sees the sheet."""

import json
import re
from datetime import date, datetime, time, timedelta
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from conftest import toy_questions
from openpyxl import Workbook, load_workbook
from openpyxl.worksheet.datavalidation import DataValidation

from kib.errors import InputError
from kib.plugins.builtin.question_files import spreadsheet
from kib.plugins.builtin.questions_file_task import FileTask
from kib.records import Gold, Question
from kib.testing import check_task, make_plugin

HEADER = ("question", "answer")


def write(tmp_path, *rows, more=None, change=None):
    """Write a workbook with a sheet `Exam` and the given rows, and return its path."""
    book = Workbook()
    sheet = book.active
    sheet.title = "Exam"
    for row in rows:
        sheet.append(row)
    for title, others in (more or {}).items():
        added = book.create_sheet(title)
        for row in others:
            added.append(row)
    if change:
        change(sheet)
    book.save(tmp_path / "q.xlsx")
    return tmp_path / "q.xlsx"


def task(path, **options):
    return make_plugin(FileTask, {"path": str(path), **options})


def read(path, **options):
    return list(task(path, **options).questions("test"))


def failure(path, **options):
    """Return the error that reading a file raises, without the path."""
    with pytest.raises(InputError) as caught:
        read(path, **options)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_sheet_has_the_fields_of_csv(tmp_path):
    """A sheet has the same columns as a CSV file: options by letter or as a JSON list, accepted answers and gold."""
    header = ("id", "question", "A", "B", "C", "options", "answer", "answers", "document", "start", "end", "group")
    path = write(
        tmp_path,
        header,
        (7, " Who? ", "x", "y", None, None, "B", None, "d", 0, 4, "g"),
        ("b", "Who?", None, None, None, '["x", "y"]', 0, None, None, None, None, None),
    )
    made = task(path)
    assert list(made.questions("test")) == [
        Question("7", "Who?", ("x", "y"), 1, (Gold("d", 0, 4),), "g"),
        Question("b", "Who?", ("x", "y"), 0),
    ]
    assert made.remarks("test") == ["removed white space around texts of 1 question of the split test"]
    path = write(tmp_path, ("question", "A", "B", "answer", "unanswerable"), ("Why?", None, None, None, True))
    assert read(path) == [Question("1", "Why?", unanswerable=True)]
    path = write(tmp_path, ("question", "answers"), ("Who?", '["Ada", "Ada L."]'))
    assert read(path) == [Question("1", "Who?", accepted=("Ada", "Ada L."))]
    check_task(lambda: task(path))


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (7, "General", "7"),
        (7.0, "General", "7"),
        (0.1 + 0.2, "General", "0.3"),
        (-2.5, "General", "-2.5"),
        (1e21, "General", "1e+21"),
        (1234567, "#,##0", "1234567"),
        (7, "0000", "0007"),
        (2.5, "0.00", "2.50"),
        (-2.5, "0.00", "-2.50"),
        (0.07, "0%", "7%"),
        (0.125, "0.0%", "12.5%"),
        (0.07, "#,##0%", "7%"),
        (True, "General", "TRUE"),
        (date(1969, 7, 20), "dd/mm/yyyy", "1969-07-20"),
        (datetime.fromisoformat("1969-07-20T20:17"), "yyyy-mm-dd h:mm", "1969-07-20T20:17:00"),
        (time(20, 17), "h:mm", "20:17:00"),
        (timedelta(hours=26, minutes=5), "[h]:mm:ss", "26:05:00"),
        ("007", "General", "007"),
        ("=1", "@", "=1"),
    ],
)
def test_a_value_is_read_as_a_person_sees_it(tmp_path, value, number_format, text):
    """Whole numbers have no decimals, dates have the ISO format, and numbers have the digits that the sheet shows."""

    def change(sheet):
        sheet["B2"] = value
        sheet["B2"].number_format = number_format
        if number_format == "@":
            sheet["B2"].data_type = "s"

    assert read(write(tmp_path, HEADER, ("How many?", "x"), change=change))[0].accepted == (text,)


def test_the_only_visible_sheet_is_read(tmp_path):
    """Without `sheet`, the only visible sheet is read; hidden sheets can be named."""

    def change(sheet):
        sheet.parent["Lists"].sheet_state = "hidden"

    path = write(tmp_path, HEADER, ("Who?", "Ada"), more={"Lists": [HEADER, ("Where?", "Ulm")]}, change=change)
    assert [read(path)[0].text, read(path, sheet="Lists")[0].text] == ["Who?", "Where?"]
    assert task(path).fingerprint() != task(path, sheet="Lists").fingerprint()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, 'the file has several sheets: "Exam", "Notes" and "Old"; set `sheet` to one of them'),
        ({"sheet": "exam"}, 'no sheet "exam"; did you mean "Exam"? Known: Exam, Notes, Old'),
        ({"sheet": "Notes"}, "sheet 'Notes', row 1: unknown column 'text'"),
        ({"sheet": "Old"}, "sheet 'Old': no questions found"),
    ],
)
def test_a_sheet_must_be_named_if_there_are_several(tmp_path, options, words):
    """A file with several visible sheets needs the name of a sheet, and an error lists the names."""
    path = write(tmp_path, HEADER, ("Who?", "Ada"), more={"Notes": [("text",), ("x",)], "Old": []})
    assert failure(path, **options).startswith(words)


def test_rows_without_text_are_skipped(tmp_path):
    """Rows without text before the header, between questions and at the end are skipped, and keep their numbers."""
    rows = [(), HEADER, ("Who?", "Ada"), (" ", None), ("Where?", "Ulm"), (None, None), ()]

    def change(sheet):
        sheet.merge_cells("A6:B9")
        sheet["D40"].number_format = "0.00"

    assert [one.text for one in read(write(tmp_path, *rows, change=change))] == ["Who?", "Where?"]
    assert failure(write(tmp_path, *rows, ("Why?", None))) == "sheet 'Exam', row 8: answer: missing"


def test_a_merged_cell_belongs_to_each_of_its_rows(tmp_path):
    """A cell that is merged over several rows of one column is read in each of these rows that has other text."""
    rows = [(*HEADER, "document"), ("Who?", "Ada", "d"), ("Where?", "Ulm"), ("Why?", "Fun", "e")]

    def change(sheet):
        sheet.merge_cells("C2:C3")
        sheet.merge_cells("C4:C9")

    path = write(tmp_path, *rows, change=change)
    assert [one.gold[0].document for one in read(path)] == ["d", "d", "e"]


def merge(sheet):
    sheet.merge_cells("A3:B3")


def error_value(sheet):
    sheet["B2"] = "#N/A"


@pytest.mark.parametrize(
    ("rows", "change", "words"),
    [
        ([("Question", "answer")], None, "row 1: unknown column 'Question'; did you mean question?"),
        ([("question", "answer", "answer")], None, "row 1: the column 'answer' appears twice in the header"),
        ([HEADER], None, "no questions found"),
        ([HEADER, ("Who?", "x", "y")], None, "row 2: column C contains text but has no name in the header"),
        ([HEADER, ("Who?", "x"), ("Section 2", None)], merge, "row 3: merged cells span several columns; split"),
        ([HEADER, ("Who?", "x")], error_value, "row 2: B2: the cell shows the error #N/A"),
        ([HEADER, ("Who?", "=1+1")], None, "row 2: B2: the formula has no stored value; open the file"),
        ([HEADER, ("=A1", "=1+1")], None, "row 2: A2: the formula has no stored value; open the file"),
        ([("question", "options", "answer"), ("Who?", "x|y", "A")], None, "row 2: options: expected a JSON list"),
        ([("question", "A", "B", "answer"), ("Who?", "x", "y", "C")], None, "row 2: answer: expected a letter"),
    ],
)
def test_an_invalid_cell_is_an_error(tmp_path, rows, change, words):
    """An invalid cell raises an error with the sheet and the row."""
    found = failure(write(tmp_path, *rows, change=change))
    assert found.removeprefix("sheet 'Exam'").lstrip(":, ").startswith(words)


def test_an_id_that_appears_twice_is_an_error(tmp_path):
    """A repeated id raises an error with the sheet and the row of the second question."""
    path = write(tmp_path, ("id", *HEADER), (1, "Who?", "x"), ("1", "Where?", "y"))
    assert failure(path) == "sheet 'Exam', row 3: id '1' appears twice; ids must be unique"


def test_stored_values_of_formulas_are_read(tmp_path):
    """The value that a spreadsheet program stored for a formula is read instead of the formula."""
    path = write(tmp_path, HEADER, ("How many?", "=1+1"))
    rewrite(
        path,
        "xl/worksheets/sheet1.xml",
        lambda text: text.replace(b"<v></v>", b"<v>2</v>").replace(b"<v/>", b"<v>2</v>"),
    )
    assert read(path)[0].accepted == ("2",)


def test_parts_without_text_give_no_warning(tmp_path):
    """Drop-down lists and other parts that contain no questions are ignored without a warning."""
    path = write(
        tmp_path,
        HEADER,
        ("Who?", "x"),
        change=lambda sheet: sheet.add_data_validation(DataValidation("list", formula1='"x,y"', sqref="B2:B9")),
    )
    extension = b'<extLst><ext uri="{CCE6A557-97BC-4b89-ADB6-D9C93CAAB3DF}"/></extLst></worksheet>'
    rewrite(path, "xl/worksheets/sheet1.xml", lambda text: text.replace(b"</worksheet>", extension))
    with pytest.warns(UserWarning, match="not supported"):
        load_workbook(path)
    assert len(read(path)) == 1


def rewrite(path, part, change, name="q.xlsx"):
    """Change one part of a file, and return the path."""
    with ZipFile(path) as archive:
        parts = {one: archive.read(one) for one in archive.namelist()}
    parts[part] = change(parts[part])
    with ZipFile(path.with_name(name), "w", ZIP_DEFLATED) as archive:
        for one, data in parts.items():
            archive.writestr(one, data)
    return path.with_name(name)


def test_positions_of_cells_may_be_missing(tmp_path):
    """Cells without a stated position follow the previous cell, as some programs write them."""
    path = write(tmp_path, HEADER, ("Who?", "x"), ("How many?", "=1+1"))
    rewrite(path, "xl/worksheets/sheet1.xml", lambda text: re.sub(rb'<(c|row) r="\w+"', rb"<\1", text))
    assert failure(path).startswith("sheet 'Exam', row 3: B3: the formula has no stored value")


# Files that are not usual


def test_the_strict_format_is_an_error(tmp_path):
    """A file in the format "Strict Open XML" raises an error that names the usual format."""
    path = write(tmp_path, HEADER, ("Who?", "x"))
    usual, strict = (
        b"http://schemas.openxmlformats.org/officeDocument/2006",
        b"http://purl.oclc.org/ooxml/officeDocument",
    )
    for part in ("xl/workbook.xml", "xl/_rels/workbook.xml.rels"):
        rewrite(path, part, lambda text: text.replace(usual, strict))
    assert failure(path) == spreadsheet.NO_SHEET


def test_a_zip_bomb_is_refused(tmp_path, monkeypatch):
    """A small file that unpacks to more than the limit is refused before any part is unpacked."""
    path = write(tmp_path, HEADER, ("Who?", "x"))
    rewrite(path, "docProps/app.xml", lambda _: bytes(3 << 20))
    monkeypatch.setattr(spreadsheet, "MOST_UNPACKED_MB", 2)
    assert failure(path) == "the file unpacks to 3 MB, more than 2 MB; save the questions as .csv or .jsonl"


@pytest.mark.parametrize("place", [b"XFD2", b"B900000000000"])
def test_a_cell_far_away_does_not_exhaust_memory(tmp_path, monkeypatch, place):
    """Empty cells before a cell far away count towards a limit, and the stated size of a sheet does not."""
    path = write(tmp_path, HEADER, ("Who?", "x"))
    sheet = "xl/worksheets/sheet1.xml"
    rewrite(path, sheet, lambda text: text.replace(b'ref="A1:B2"', b'ref="A1:XFD1048576"'))
    assert len(read(path)) == 1
    row = place.removeprefix(b"XFD").removeprefix(b"B")
    rewrite(
        path, sheet, lambda text: text.replace(b'"B2"', b'"%b"' % place).replace(b'<row r="2"', b'<row r="%b"' % row)
    )
    monkeypatch.setattr(spreadsheet, "MOST_CELLS", 10_000)
    assert failure(path) == "sheet 'Exam' has more than 10,000 cells; save the questions as .csv"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"question,answer\n", "the file is damaged or is not a spreadsheet in the format .xlsx"),
        (spreadsheet.OLE_SIGNATURE + bytes(99), "the file has a password or was saved by an old version"),
    ],
)
def test_a_file_that_is_not_a_spreadsheet_is_an_error(tmp_path, content, words):
    """A file of a different type, or with a password, raises an error that states the reason."""
    (tmp_path / "q.xlsx").write_bytes(content)
    assert failure(tmp_path / "q.xlsx").startswith(words)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("xl/worksheets/sheet1.xml", b"<worksheet><sheetData><row>"),
        ("xl/workbook.xml", b""),
        ("[Content_Types].xml", b"<Types/>"),
        ("xl/worksheets/sheet1.xml", b'<!DOCTYPE d [<!ENTITY a "x">]><worksheet>&a;</worksheet>'),
    ],
)
def test_a_damaged_file_is_an_error(tmp_path, part, content):
    """A file with a damaged part, or with XML entities, raises an error instead of a traceback."""
    path = rewrite(write(tmp_path, HEADER, ("Who?", "x")), part, lambda _: content)
    assert failure(path).startswith(("the file is damaged or is not a spreadsheet", "sheet 'Exam': no questions"))


def test_sheet_needs_a_spreadsheet(tmp_path):
    """The option `sheet` is rejected if no file is a spreadsheet."""
    with pytest.raises(ValueError, match=r"`sheet` applies only to \.xlsx files"):
        task("q.csv", sheet="Exam")
    assert task("q.csv", examples=str(tmp_path / "e.XLSX"), sheet="Exam")


def test_retrieve_reads_spreadsheets(bench):
    """`kib retrieve` reads the questions and the gold documents of a spreadsheet as queries."""
    rows = [json.loads(line) for line in toy_questions(3).splitlines()]
    columns = ("id", "question", "document", "answer")
    path = write(bench.folder, columns, *([row[name] for name in columns] for row in rows))
    bench.write_toy()
    result = bench.call("retrieve", bench.spec, "--queries", path)
    assert (result.exit_code, "queries of q.xlsx" in result.output) == (0, True), result.output
