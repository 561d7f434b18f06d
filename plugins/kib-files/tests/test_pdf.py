"""PDF files are converted to the text of their pages in reading order."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from kib_files.converters import convert_file
from kib_files.file_records import BLANK_PAGES, BrokenFileError, ConvertedFile
from kib_files.pdf_to_text import _join_words

LEFT = (
    "The relief valve of the pump opens at eleven",
    "bar and closes again as soon as the pres-",
    "sure has fallen below nine bar. The valve is",
    "tested every spring by the head of the sta-",
    "tion, who writes the result into the log and",
    "reports every failure to the harbour office.",
)
RIGHT = (
    "Visitors return their badges to the porter",
    "before six in the evening. A visitor who has",
    "lost a badge pays a fee of twelve euro. The",
    "porter keeps a list of all lost badges in the",
    "drawer of the front desk, and hands the list",
    "to the manager at the end of each month.",
)

Convert = Callable[..., ConvertedFile]


@pytest.fixture
def convert(tmp_path: Path, files: SimpleNamespace) -> Convert:
    """Return a function that converts a PDF with the given page contents."""

    def convert_pages(
        *contents: str, entries: str = "", objects: Sequence[str] = (), catalog: str = ""
    ) -> ConvertedFile:
        path = tmp_path / "a.pdf"
        files.write_pdf_contents(path, contents, entries=entries, objects=objects, catalog=catalog)
        return convert_file(path, "utf-8")

    return convert_pages


def at(x: float, y: float, text: str, size: int = 10) -> str:
    """Return the operators that draw a text at a position."""
    return f"BT /F1 {size} Tf {x} {y} Td ({text}) Tj ET\n"


def turned(cosine: int, sine: int, x: float, y: float, text: str) -> str:
    """Return the operators that draw a text in one of the four directions."""
    return f"BT /F1 10 Tf {cosine} {sine} {-sine} {cosine} {x} {y} Tm ({text}) Tj ET\n"


def words(*columns: Sequence[str]) -> list[str]:
    """Return the words of columns; words that are split between lines are joined."""
    return " ".join(" ".join(column) for column in columns).replace("- ", "").split()


def test_pages(tmp_path: Path, files: SimpleNamespace) -> None:
    """A PDF is converted to the text of its pages, with its title and a remark about pages without text."""
    files.write_pdf(tmp_path / "a.pdf", ["The relief valve", "", "opens at eleven bar."], "Valves")
    expected = ConvertedFile("The relief valve\n\nopens at eleven bar.", "Valves", 3, {BLANK_PAGES: "page 2 of 3"})
    assert convert_file(tmp_path / "a.pdf", "utf-8") == expected


def test_password() -> None:
    """A PDF with only an owner password is read, and a PDF with a user password raises an error."""
    folder = Path(__file__).parent
    assert convert_file(folder / "owner-password.pdf", "utf-8").text == "The relief valve"
    with pytest.raises(BrokenFileError, match=r"^the file has a password; save the file without a password$"):
        convert_file(folder / "user-password.pdf", "utf-8")


def test_columns(convert: Convert) -> None:
    """Columns are read one after the other, even if the page draws the rows of both columns from top to bottom."""
    left = [at(72, 700 - 12 * number, line) for number, line in enumerate(LEFT)]
    right = [at(320, 700 - 12 * number, line) for number, line in enumerate(RIGHT)]
    heading, end = at(72, 730, "A heading above both columns of this page"), at(72, 600, "The end")
    by_row = convert("Text", heading + "".join(a + b for a, b in zip(left, right, strict=True)) + end)
    by_column = convert(heading + "".join(left + right) + end)
    expected = words(["A heading above both columns of this page"], LEFT, RIGHT, ["The end"])
    assert by_row.text.split() == by_column.text.split() == expected
    what = "columns drawn row by row, whose order may be wrong"
    assert (by_row.remarks, by_column.remarks) == ({BLANK_PAGES: "page 1 of 2", what: "page 2"}, {})


def test_table(convert: Convert) -> None:
    """The rows of a table are read from left to right."""
    rows = [("Pump 1 of the northern boiler room", "(opens at 11 bar in winter)")] * 6
    page = "".join(at(72, 700 - 12 * n, one) + at(320, 700 - 12 * n, other) for n, (one, other) in enumerate(rows))
    converted = convert(page)
    assert converted.text.splitlines() == ["  ".join(row) for row in rows]
    assert not converted.remarks


MIDDLE = (
    "The lamp of the northern pier is lit at",
    "dusk by the keeper, who also winds the",
    "clock of the tower and notes the height",
    "of the tide. On foggy nights he sounds",
    "a horn every two minutes until the fog",
    "has lifted and the boats have returned.",
)


def test_three_columns(convert: Convert) -> None:
    """Three columns that a page draws row by row are read one after the other, and a remark names the page."""
    lines = enumerate(zip(LEFT, MIDDLE, RIGHT, strict=True))
    page = "".join(at(40 + 180 * n, 700 - 12 * y, text, 8) for y, row in lines for n, text in enumerate(row))
    converted = convert(page)
    assert converted.text.split() == words(LEFT, MIDDLE, RIGHT)
    assert converted.remarks == {"columns drawn row by row, whose order may be wrong": "page 1"}


@pytest.mark.parametrize(("left", "right"), [(LEFT * 2, RIGHT), (LEFT, RIGHT * 2), (LEFT + LEFT[:1], RIGHT)])
def test_unequal_columns(convert: Convert, left: Sequence[str], right: Sequence[str]) -> None:
    """The end of the longer column belongs to the column, but a line after a wide gap does not."""
    page = ""
    for number in range(max(len(left), len(right))):
        page += "".join(at(72, 700 - 12 * number, text) for text in left[number : number + 1])
        page += "".join(at(320, 700 - 12 * number, text) for text in right[number : number + 1])
    converted = convert(page + at(72, 500, "Heading"))
    assert converted.text.split() == words(left, right, ["Heading"])
    assert converted.remarks == {"columns drawn row by row, whose order may be wrong": "page 1"}


def test_cells_with_one_character(convert: Convert) -> None:
    """Table cells with one character are in the line of their row."""
    rows = [("Valve", "12", "3"), ("Pump", "7", "8"), ("Hose", "75", "x")]
    places = (72, 300, 420)
    page = "".join(at(x, 700 - 16 * n, cell) for n, row in enumerate(rows) for x, cell in zip(places, row, strict=True))
    assert convert(page).text == "Valve  12  3\nPump  7  8\nHose  75  x"


@pytest.mark.parametrize(("box", "shown"), [("", "Inside"), ("/CropBox [60 60 500 720]", "Inside")])
@pytest.mark.parametrize("rotation", [0, 90])
def test_text_outside_the_page(convert: Convert, box: str, shown: str, rotation: int) -> None:
    """Text outside the visible part of a page is left out, and a remark names the page."""
    outside = [at(72, -300, "below"), at(72, 900, "above"), at(700, 700, "right"), at(-90, 700, "left")]
    outside += [at(72, 750, "cropped"), at(72, 40, "cropped")] if box else []
    converted = convert(at(72, 700, shown) + "".join(outside), entries=f"{box} /Rotate {rotation}")
    assert converted.text == shown
    assert converted.remarks == {"text outside the page, which the text leaves out": "page 1"}


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize(("cosine", "sine"), [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_rotation(convert: Convert, rotation: int, cosine: int, sine: int) -> None:
    """Text is read in order in every direction and on pages with any rotation."""
    lines = [
        turned(cosine, sine, 300 + 12 * number * sine, 400 - 12 * number * cosine, line)
        for number, line in enumerate(LEFT)
    ]
    assert convert("".join(lines), entries=f"/Rotate {rotation}").text.split() == words(LEFT)


def test_scripts(convert: Convert) -> None:
    """Small raised and lowered characters are superscripts and subscripts."""
    page = at(72, 700, "It is 10") + at(101.5, 704, "6", 6) + at(107, 700, "Pa of H") + at(141.5, 698, "2", 6)
    page += at(145, 700, "O.") + at(72, 680, "The 4") + at(98.6, 684, "th", 6) + at(110, 680, "pump, x")
    page += at(143.3, 684, "k+1", 6) + at(72, 660, "A") + at(84, 660, "note in small type", 6)
    assert " ".join(convert(page).text.split()) == "It is 10⁶ Pa of H₂O. The 4th pump, x^(k+1) A note in small type"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([(72, 0, "10", 10), (83.1, 5, "6", 10), (91.5, 0, "Pa", 10)], "10⁶ Pa"),
        ([(72, 0, "H", 10), (79.2, -3, "2", 10), (84.8, 0, "O", 10)], "H₂O"),
        ([(72, 0, "It is 10", 10), (101.5, 4, "6", 6), (107, 0, "kg", 10)], "It is 10⁶ kg"),
        ([(72, 4, "1", 6), (76, 0, "Note of the master", 10)], "¹Note of the master"),
        ([(72, 0, "10", 10), (83.1, 1, "6", 10)], "106"),
        ([(72, 0, "In 1987", 10), (109, 4, "12", 6)], "In 1987 ¹²"),
        ([(72, 0, "of 10", 10), (100, 4, "6", 6), (107, 0, "Pa", 10)], "of 10 ⁶ Pa"),
        ([(72, 0, "10", 10), (90, 5, "6", 10)], "10 6"),
        ([(72, 0, "10", 10), (83.1, 5, "pumps", 10)], "10pumps"),
        ([(72, -20, "T", 40), (97, 0, "he valve", 10)], "The valve"),
    ],
)
def test_scripts_of_any_size(convert: Convert, parts: Sequence[tuple[float, float, str, int]], text: str) -> None:
    """A digit as large as its base is a script if it touches the base, and no script ends its line."""
    assert convert("".join(at(x, 700 + y, part, size) for x, y, part, size in parts)).text == text


def test_form_fields(convert: Convert) -> None:
    """The values of form fields and typed notes follow the text of their page, unless they are hidden or empty."""
    widget = "<< /Type /Annot /Subtype /Widget /Rect [120 695 300 710] {} >>"
    fields = [
        "/FT /Tx /T (name) /TU (Full name) /V (Jane Doe)",
        "/FT /Tx /T (empty)",
        "/FT /Ch /T (colour) /Opt [(red) (green)] /V (green)",
        "/FT /Btn /T (agree) /V /Yes /AS /Yes",
        "/FT /Btn /T (refuse) /V /Off /AS /Off",
        "/FT /Tx /T (secret) /V (no) /F 2",
        "/FT /Tx /T (password) /V (no) /Ff 8192",
    ]
    objects = [
        widget.format(field).replace("/F 4", "") if "/F 2" in field else widget.format(field) for field in fields
    ]
    objects.append("<< /Type /Annot /Subtype /FreeText /Contents (Approved by the master) /Rect [9 9 99 99] /F 4 >>")
    numbers = " ".join(f"{6 + number} 0 R" for number in range(len(objects)))
    catalog = f"/AcroForm << /Fields [{numbers}] >>"
    converted = convert(at(72, 700, "Name:"), entries=f"/Annots [{numbers}]", objects=objects, catalog=catalog)
    expected = "Name:\n\nFull name: Jane Doe\ncolour: green\nagree: Yes\nApproved by the master"
    assert converted.text == expected


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("the pres-\nsure falls", "the pressure falls"),
        ("a well-known pump, a well-\nknown valve", "a well-known pump, a well-known valve"),
        ("in 2015-\n2016", "in 2015-2016"),
        ("non-\nUS", "non-US"),
        ("an e-\nmail", "an e-mail"),
        ("first -\nsecond", "first -\nsecond"),
        ("the state-of-the-\nart methods", "the state-of-the-art methods"),
        (
            "a state-of-the-art pump, the state-\nof-the-art valve",
            "a state-of-the-art pump, the state-of-the-art valve",
        ),
        (
            "the most-recently-used key, the most-\nrecently-seen key",
            "the most-recently-used key, the most-recently-seen key",
        ),
        ("inter-\nna-\ntional", "international"),
        ("well-informa-\ntion, information", "well-information, information"),
        ("the pres\u2010\nsure of an X\u2010\nray", "the pressure of an X\u2010ray"),
    ],
)
def test_hyphens(text: str, joined: str) -> None:
    """A word that is split at the end of a line is joined, and the hyphen of a compound word remains."""
    assert _join_words(text) == joined


UNICODE_MAP = """/CIDInit /ProcSet findresource begin begincmap
1 begincodespacerange <00> <FF> endcodespacerange
3 beginbfchar <41> <FB03> <42> <F0B7> <43> <E001> endbfchar
endcmap"""
"""The map of a font in which A, B and C are a ligature, a bullet of a symbol font and a character without meaning."""


def test_ligatures_and_bullets(convert: Convert) -> None:
    """Ligatures become letters, and a remark names pages with characters whose meaning is not known."""
    font = "/Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding /ToUnicode 6 0 R"
    converted = convert(
        at(72, 700, "B eAcient CCCC"),
        entries=f"/Resources << /Font << /F1 << {font} >> >> >>",
        objects=[f"<< /Length {len(UNICODE_MAP)} >>\nstream\n{UNICODE_MAP}\nendstream"],
    )
    assert converted.text == "• efficient \ue001\ue001\ue001\ue001"
    assert converted.remarks == {"characters without a known meaning": "page 1"}
