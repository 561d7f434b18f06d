"""Word documents are converted to the text that Word shows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest

from kib_files.converters import convert_file
from kib_files.file_records import BrokenFileError, ConvertedFile

HIDDEN = "hidden text, which the text leaves out"
NAMESPACES = " ".join(
    f'xmlns:{prefix}="{address}"'
    for prefix, address in {
        "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
        "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
        "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
        "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
        "v": "urn:schemas-microsoft-com:vml",
        "o": "urn:schemas-microsoft-com:office:office",
        "wp": "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing",
        "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
        "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
        "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
    }.items()
)
RELATIONS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'

Convert = Callable[..., ConvertedFile]


@pytest.fixture
def convert(tmp_path: Path, files: SimpleNamespace) -> Convert:
    """Return a function that converts a document with the given body and other parts."""

    def convert_body(body: str, parts: Mapping[str, str] | None = None) -> ConvertedFile:
        path = tmp_path / "a.docx"
        document = f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>"
        common = {"[Content_Types].xml": files.CONTENT_TYPES, "_rels/.rels": files.RELATIONSHIPS}
        with ZipFile(path, "w") as file:
            for name, content in {**common, "word/document.xml": document, **(parts or {})}.items():
                file.writestr(name, content)
        return convert_file(path, "utf-8")

    return convert_body


def run(text: str, properties: str = "") -> str:
    """Return a run of text."""
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*runs: str, style: str = "") -> str:
    """Return a paragraph of runs; a text without markup becomes a run."""
    inner = "".join(one if one.startswith("<") else run(one) for one in runs)
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}{inner}</w:p>"


def box(text: str, kind: str) -> str:
    """Return a text box in the new format (`wps`) or the old format (`v`)."""
    content = f"<w:txbxContent>{paragraph(text)}</w:txbxContent>"
    if kind == "v":
        return f"<w:pict><v:shape><v:textbox>{content}</v:textbox></v:shape></w:pict>"
    shape = f"<wps:wsp><wps:txbx>{content}</wps:txbx></wps:wsp>"
    return (
        f"<w:drawing><wp:inline><a:graphic><a:graphicData>{shape}</a:graphicData></a:graphic></wp:inline></w:drawing>"
    )


def alternatives(choice: str, fallback: str = "") -> str:
    """Return content for new versions of Word and, unless `fallback` is empty, content for old versions."""
    old = f"<mc:Fallback>{fallback}</mc:Fallback>" if fallback else ""
    return f'<mc:AlternateContent><mc:Choice Requires="wps">{choice}</mc:Choice>{old}</mc:AlternateContent>'


def test_paragraphs(tmp_path: Path, files: SimpleNamespace) -> None:
    """A Word document is converted to the text of its paragraphs and tables, with the title from its properties."""
    paragraphs = ["The relief valve", "opens &amp; closes."]
    path = files.write_docx(tmp_path / "a.docx", paragraphs, "Valves", [["bar", "11"]])
    assert convert_file(path, "utf-8") == ConvertedFile("The relief valve\n\nopens & closes.\n\nbar  11", "Valves")


@pytest.mark.parametrize(
    ("equation", "text"),
    [
        ("<m:r><m:t>x=42</m:t></m:r>", "x=42"),
        ("<m:f><m:num>{x+1}</m:num><m:den>{2}</m:den></m:f>", "(x+1)/2"),
        ("<m:f><m:fPr><m:type m:val='noBar'/></m:fPr><m:num>{n}</m:num><m:den>{k}</m:den></m:f>", "n over k"),
        ("<m:sSup><m:e>{10}</m:e><m:sup>{6}</m:sup></m:sSup>", "10⁶"),
        ("<m:sSub><m:e>{v}</m:e><m:sub>{max}</m:sub></m:sSub>", "v_max"),
        ("<m:sSubSup><m:e>{a+b}</m:e><m:sub>{1}</m:sub><m:sup>{k+1}</m:sup></m:sSubSup>", "(a+b)₁^(k+1)"),
        ("<m:sPre><m:sub>{6}</m:sub><m:sup>{14}</m:sup><m:e>{C}</m:e></m:sPre>", "¹⁴₆C"),
        ("<m:rad><m:radPr><m:degHide m:val='1'/></m:radPr><m:deg/><m:e>{x+1}</m:e></m:rad>", "√(x+1)"),
        ("<m:rad><m:deg>{3}</m:deg><m:e>{x}</m:e></m:rad>", "³√x"),
        ("<m:f><m:num>{1}</m:num><m:den>{2}</m:den></m:f>{10}", "1/2 10"),
        ("{2}<m:f><m:num>{1}</m:num><m:den>{3}</m:den></m:f>", "2 1/3"),
        ("{=}<m:box><m:e>{2}</m:e></m:box><m:f><m:num>{1}</m:num><m:den>{3}</m:den></m:f>{m}", "=2 1/3 m"),
        ("<m:box><m:e><m:f><m:num>{1}</m:num><m:den>{2}</m:den></m:f></m:e></m:box>{10}", "1/2 10"),
        ("<m:sSup><m:e>{10}</m:e><m:sup>{6}</m:sup></m:sSup>{5x}", "10⁶ 5x"),
        ("<m:sSup><m:e>{x}</m:e><m:sup>{2}</m:sup></m:sSup>{y}", "x²y"),
        ("<m:sSub><m:e>{v}</m:e><m:sub>{max}</m:sub></m:sSub>{t}", "v_max t"),
        (
            "<m:sSup><m:e>{x}</m:e><m:sup>{10}</m:sup></m:sSup><m:rad><m:deg>{3}</m:deg><m:e>{y}</m:e></m:rad>",
            "x¹⁰ ³√y",
        ),
        ("{2}<m:sPre><m:sub>{6}</m:sub><m:sup>{14}</m:sup><m:e>{C}</m:e></m:sPre>", "2 ¹⁴₆C"),
        ("{2}<m:rad><m:radPr><m:degHide/></m:radPr><m:deg/><m:e>{3}</m:e></m:rad>", "2√3"),
        ("{a}<m:func><m:fName>{sin}</m:fName><m:e>{x}</m:e></m:func>{y}", "a sin x y"),
        (
            "<m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub>{i=1}</m:sub><m:e>{k}</m:e></m:nary>",
            "∑_(i=1) k",
        ),
        ("<m:nary><m:sub>{0}</m:sub><m:sup>{1}</m:sup><m:e>{x}</m:e></m:nary>", "∫₀¹ x"),
        ("<m:d><m:dPr><m:begChr m:val='['/><m:endChr m:val=')'/></m:dPr><m:e>{0}</m:e><m:e>{1}</m:e></m:d>", "[0|1)"),
        ("<m:func><m:fName>{sin}</m:fName><m:e>{x}</m:e></m:func>", "sin x"),
        ("<m:limLow><m:e>{lim}</m:e><m:lim>{x→0}</m:lim></m:limLow>", "lim_(x→0)"),
        (
            "<m:m><m:mr><m:e>{a}</m:e><m:e>{b}</m:e></m:mr><m:mr><m:e>{c}</m:e><m:e>{d}</m:e></m:mr></m:m>",
            "[a, b; c, d]",
        ),
        ("<m:acc><m:e>{x}</m:e></m:acc>", "x\u0302"),
        ("<m:eqArr><m:e>{x=1}</m:e><m:e>{y=2}</m:e></m:eqArr>", "x=1; y=2"),
        ("<m:box><m:e>{x}</m:e></m:box>", "x"),
    ],
)
def test_equations(convert: Convert, equation: str, text: str) -> None:
    """An equation is written on one line, in its place in the sentence."""
    equation = equation.replace("{", "<m:r><m:t>").replace("}", "</m:t></m:r>")
    inline = paragraph("The limit is ", f"<m:oMath>{equation}</m:oMath>", " metres.")
    display = f"<w:p><m:oMathPara><m:oMath>{equation}</m:oMath></m:oMathPara></w:p>"
    assert convert(inline + display).text == f"The limit is {text} metres.\n\n{text}"


def test_equations_as_pictures(convert: Convert) -> None:
    """Equations that old versions of Word store as pictures, and charts, are counted in a remark."""
    ole = '<w:r><w:object><o:OLEObject ProgID="Equation.3"/></w:object></w:r>'
    chart = "<w:r><w:drawing><a:graphic><a:graphicData><c:chart/></a:graphicData></a:graphic></w:drawing></w:r>"
    assert convert(paragraph("Text", ole, ole, chart)).remarks == {
        "equations stored as pictures, which the text leaves out": "2",
        "charts or diagrams, which the text leaves out": "1",
    }


STYLES = f"""<w:styles {NAMESPACES}>
<w:style w:type="character" w:styleId="Secret"><w:rPr><w:vanish/></w:rPr></w:style>
<w:style w:type="paragraph" w:styleId="Answer"><w:rPr><w:vanish/></w:rPr></w:style>
<w:style w:type="paragraph" w:styleId="Answer2"><w:basedOn w:val="Answer"/></w:style>
<w:style w:type="paragraph" w:styleId="Plain"><w:basedOn w:val="Answer"/><w:rPr><w:vanish w:val="0"/></w:rPr></w:style>
</w:styles>"""


@pytest.mark.parametrize(
    ("hidden", "count"),
    [
        (paragraph(run("HIDDEN", "<w:vanish/>"), "Visible line."), "1"),
        (paragraph(run("HIDDEN", "<w:vanish w:val='true'/>"), run("Visible line.", "<w:vanish w:val='false'/>")), "1"),
        (paragraph(run("HIDDEN", '<w:rStyle w:val="Secret"/>'), "Visible line."), "1"),
        (paragraph("HIDDEN", style="Answer") + paragraph("HIDDEN", style="Answer2") + paragraph("Visible line."), "2"),
        (paragraph("HIDDEN", run("Visible line.", "<w:vanish w:val='0'/>"), style="Answer"), "1"),
        (paragraph("Visible line.", style="Plain"), ""),
        (f"<w:p><w:hyperlink>{run('HIDDEN', '<w:vanish/>')}</w:hyperlink>{run('Visible line.')}</w:p>", "1"),
    ],
)
def test_hidden_text(convert: Convert, hidden: str, count: str) -> None:
    """Text that is hidden by its own properties or by a style is left out and counted in a remark."""
    converted = convert(hidden, {"word/styles.xml": STYLES})
    assert (converted.text, converted.remarks) == ("Visible line.", {HIDDEN: count} if count else {})


def test_raised_text(convert: Convert) -> None:
    """Superscripts and subscripts remain distinct from the text next to them."""
    high, low = (f'<w:vertAlign w:val="{where}script"/>' for where in ("super", "sub"))
    body = paragraph("H", run("2", low), "O at 10", run("6", high), " Pa, e", run("x+1", high))
    assert convert(body).text == "H₂O at 10⁶ Pa, e^(x+1)"


SCRIPT_STYLES = f"""<w:styles {NAMESPACES}>
<w:style w:type="character" w:styleId="Up"><w:rPr><w:position w:val="8"/></w:rPr></w:style>
<w:style w:type="character" w:styleId="High"><w:rPr><w:vertAlign w:val="superscript"/></w:rPr></w:style>
<w:style w:type="character" w:styleId="Low"><w:rPr><w:vertAlign w:val="subscript"/></w:rPr></w:style>
<w:style w:type="character" w:styleId="Lower"><w:basedOn w:val="Low"/></w:style>
</w:styles>"""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (paragraph("10", run("6", "<w:position w:val='6'/>"), " Pa"), "10⁶ Pa"),
        (paragraph("H", run("2", "<w:position w:val='-6'/>"), "O"), "H₂O"),
        (paragraph("10", run("6", "<w:position w:val='3pt'/>"), " Pa"), "10⁶ Pa"),
        (paragraph("10", run("6", "<w:rStyle w:val='Up'/>"), " Pa"), "10⁶ Pa"),
        (paragraph("10", run("6", "<w:rStyle w:val='High'/>"), " Pa"), "10⁶ Pa"),
        (paragraph("H", run("2", "<w:rStyle w:val='Lower'/>"), "O"), "H₂O"),
        (paragraph("10", run("6", "<w:rStyle w:val='High'/><w:vertAlign w:val='baseline'/>")), "106"),
        (paragraph("10", run("6", "<w:rStyle w:val='Up'/><w:position w:val='0'/>")), "106"),
        (paragraph("10", run("6", "<w:position w:val='2'/>")), "106"),
        (paragraph(run("T", "<w:position w:val='-9'/>")) + paragraph("he valve"), "T\n\nhe valve"),
    ],
)
def test_raised_by_position_or_style(convert: Convert, body: str, text: str) -> None:
    """Text that a position or a style raises is a superscript, unless the whole paragraph is raised."""
    assert convert(body, {"word/styles.xml": SCRIPT_STYLES}).text == text


def item(text: str, number: int | None = 1, level: int | None = 0, style: str = "", mark: str = "") -> str:
    """Return a paragraph of a list or of a style; `mark` are the properties of the end of the paragraph."""
    listing = f'<w:numId w:val="{number}"/>' if number is not None else ""
    place = f'<w:ilvl w:val="{level}"/>' if level is not None else ""
    inner = f'<w:pStyle w:val="{style}"/><w:numPr>{place}{listing}</w:numPr><w:rPr>{mark}</w:rPr>'
    return f"<w:p><w:pPr>{inner}</w:pPr>{run(text)}</w:p>"


def level(index: int, text: str, kind: str = "decimal", start: str = "1", more: str = "") -> str:
    """Return the definition of a level of a list."""
    inner = f'<w:start w:val="{start}"/><w:numFmt w:val="{kind}"/><w:lvlText w:val="{text}"/>{more}'
    return f'<w:lvl w:ilvl="{index}">{inner}</w:lvl>'


OUTLINE = level(0, "%1.") + level(1, "%1.%2") + level(2, "%1.%2.%3")


def numbering(*lists: tuple[str, str]) -> dict[str, str]:
    """Return the part that defines lists 1, 2, …: each has levels, or continues list 1 with overrides."""
    abstract = "".join(
        f'<w:abstractNum w:abstractNumId="{number}">{levels}</w:abstractNum>'
        for number, (levels, _) in enumerate(lists, 1)
        if levels
    )
    numbers = "".join(
        f'<w:num w:numId="{number}"><w:abstractNumId w:val="{number if levels else 1}"/>{overrides}</w:num>'
        for number, (levels, overrides) in enumerate(lists, 1)
    )
    return {"word/numbering.xml": f"<w:numbering {NAMESPACES}>{abstract}{numbers}</w:numbering>"}


RESTART = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride>'


@pytest.mark.parametrize(
    ("lists", "body", "text"),
    [
        ([(OUTLINE, "")], item("a") + paragraph("between") + item("b"), "1. a\n\nbetween\n\n2. b"),
        ([(OUTLINE, ""), ("", RESTART)], item("a") + item("b", 2) + item("c", 2) + item("d"), "1. a|5. b|6. c|7. d"),
        ([(OUTLINE, ""), ("", "")], item("a") + item("b", 2), "1. a|2. b"),
        ([(OUTLINE, ""), (OUTLINE, "")], item("a") + item("b", 2) + item("c"), "1. a|1. b|2. c"),
        (
            [(level(0, "§%1.", start="3") + level(1, "%1%2)", "lowerLetter"), "")],
            item("a") + item("b", level=1) + item("c", level=1) + item("d") + item("e", level=1),
            "§3. a|  3a) b|  3b) c|§4. d|  4a) e",
        ),
        ([(level(0, "(%1)", "upperRoman", "4"), "")], item("a") + item("b"), "(IV) a|(V) b"),
        ([(level(0, "%1", "upperLetter", "26"), "")], item("a") + item("b") + item("c"), "Z a|AA b|BB c"),
        ([(level(0, "%1", "lowerRoman") + level(1, "%1.%2", more="<w:isLgl/>"), "")], item("a", level=1), "1.1 a"),
        ([(level(0, "\uf0b7", "bullet") + level(1, "", "none"), "")], item("a") + item("b", level=1), "* a|  b"),
        ([(level(0, "%1", "decimalZero", "9"), "")], item("a") + item("b"), "09 a|10 b"),
        (
            [(level(0, "%1") + level(1, "%1.%2", more='<w:lvlRestart w:val="0"/>'), "")],
            item("a") + item("b", level=1) + item("c") + item("d", level=1),
            "1 a|  1.1 b|2 c|  2.2 d",
        ),
        (
            [(OUTLINE, f'<w:lvlOverride w:ilvl="0">{level(0, "Step %1:")}</w:lvlOverride>')],
            item("a") + item("b"),
            "Step 1: a|Step 2: b",
        ),
        ([(OUTLINE, "")], item("a") + item("b", mark="<w:vanish/>") + item("c"), "1. a|b|2. c"),
        ([(OUTLINE, "")], item("a") + item("pump 1", mark="<w:del/>") + item("2 bar"), "1. a|2. pump 12 bar"),
        ([(OUTLINE, "")], item("a") + item("b", number=9) + item("c", level=None), "1. a\n\nb\n\n2. c"),
    ],
)
def test_list_numbers(convert: Convert, lists: list[tuple[str, str]], body: str, text: str) -> None:
    """The paragraphs of a list have the numbers that Word computes from the definition of the list."""
    assert convert(body, numbering(*lists)).text == text.replace("|", "\n")


def test_list_numbers_of_styles(convert: Convert) -> None:
    """A heading has the number that its style, or the style on which its style is based, defines."""
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{name}"><w:name w:val="{title}"/>{more}</w:style>'
        for name, title, more in (
            ("Heading1", "heading 1", '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr>'),
            ("Heading2", "heading 2", '<w:basedOn w:val="Heading1"/>'),
        )
    )
    levels = level(0, "%1", more='<w:pStyle w:val="Heading1"/>') + level(
        1, "%1.%2", more='<w:pStyle w:val="Heading2"/>'
    )
    body = paragraph("Pumps", style="Heading1") + paragraph("Levers", style="Heading2")
    body += item("Preface", 0, None, "Heading1") + paragraph("Valves", style="Heading1")
    converted = convert(
        body, {"word/styles.xml": f"<w:styles {NAMESPACES}>{styles}</w:styles>", **numbering((levels, ""))}
    )
    assert converted.text.split("\n\n") == ["1 Pumps", "1.1 Levers", "Preface", "2 Valves"]


def test_list_numbers_in_unsupported_formats(convert: Convert) -> None:
    """A number in a format that kib cannot write is a decimal number, and a remark counts such numbers."""
    converted = convert(item("a") + item("b"), numbering((level(0, "%1.", "cardinalText"), "")))
    assert converted.text == "1. a\n2. b"
    assert converted.remarks == {"list numbers in an unsupported format, written as decimal numbers": "2"}


@pytest.mark.parametrize(
    "drawing",
    [
        box("In the box.", "wps"),
        box("In the box.", "v"),
        alternatives(box("In the box.", "wps"), box("In the box.", "v")),
        alternatives(box("In the box.", "wps")),
    ],
)
def test_text_boxes(convert: Convert, drawing: str) -> None:
    """The text of a text box appears once, in whichever formats the document stores the box."""
    assert convert(paragraph("Before", f"<w:r>{drawing}</w:r>", " after.")).text == "Before after.\n\nIn the box."


def test_wrapped_text(convert: Convert) -> None:
    """Text inside fields, right-to-left wrappers and readings of characters is not lost."""
    field = f"<w:fldSimple w:instr=' SEQ Figure '>{run('7')}</w:fldSimple>"
    hebrew = f"<w:bdo w:val='rtl'>{run('שלום')}</w:bdo>"
    ruby = f"<w:r><w:ruby><w:rt>{run('kan')}</w:rt><w:rubyBase>{run('漢')}</w:rubyBase></w:ruby></w:r>"
    symbol = f"<w:r>{alternatives('<w:unknown/>', '<w:t>🚧</w:t>')}</w:r>"
    assert convert(paragraph("Figure ", field, hebrew, ruby, symbol)).text == "Figure 7שלום漢(kan)🚧"


def test_notes(convert: Convert) -> None:
    """Footnotes follow the body, with the numbers that mark them in the text."""
    note = paragraph("At 11 bar", "<m:oMath><m:r><m:t>±1</m:t></m:r></m:oMath>")
    notes = f'<w:footnotes {NAMESPACES}><w:footnote w:id="2">{note}</w:footnote></w:footnotes>'
    body = paragraph("The valve", '<w:r><w:footnoteReference w:id="2"/></w:r>', " opens.")
    assert convert(body, {"word/footnotes.xml": notes}).text == "The valve[1] opens.\n\n1. At 11 bar±1"


def headers(*texts: str, kind: str = "header") -> dict[str, str]:
    """Return the parts of headers or footers with the given texts, and their relations `header1`, `header2`, …"""
    tag = "hdr" if kind == "header" else "ftr"
    names = [f"{kind}{number}" for number in range(1, len(texts) + 1)]
    parts = {
        f"word/{name}.xml": f"<w:{tag} {NAMESPACES}>{paragraph(text)}</w:{tag}>"
        for name, text in zip(names, texts, strict=True)
    }
    links = "".join(f'<Relationship Id="{name}" Type="{kind}" Target="{name}.xml"/>' for name in names)
    return {**parts, "word/_rels/document.xml.rels": RELATIONS.format(links)}


@pytest.mark.parametrize(
    ("kinds", "settings", "expected"),
    [
        (["default"], "", ["Doc 7"]),
        (["default", "first", "even"], "", ["Doc 7"]),
        (["default", "first"], "<w:titlePg/>", ["Doc 7", "Draft"]),
        (["default", "default", "default"], "", ["Doc 7", "Draft"]),
    ],
)
def test_headers(convert: Convert, kinds: list[str], settings: str, expected: list[str]) -> None:
    """Each different header that Word shows appears once, before the body."""
    references = [f'<w:headerReference w:type="{kind}" r:id="header{n}"/>' for n, kind in enumerate(kinds, 1)]
    sections = "".join(f"<w:sectPr>{reference}{settings}</w:sectPr>" for reference in references)
    converted = convert(paragraph("The body.") + sections, headers("Doc 7", "Draft", "Doc 7"))
    assert converted.text.split("\n\n") == [*expected, "The body."]


def test_footers(convert: Convert) -> None:
    """A footer follows the body, and a link in the footer is read as its text."""
    parts = headers("Page 1", kind="footer")
    link = f'<w:hyperlink r:id="none">{run(" of the handbook")}</w:hyperlink></w:p>'
    parts["word/footer1.xml"] = parts["word/footer1.xml"].replace("</w:p>", link)
    section = '<w:sectPr><w:footerReference w:type="default" r:id="footer1"/></w:sectPr>'
    assert convert(paragraph("The body.") + section, parts).text == "The body.\n\nPage 1 of the handbook"


def test_strict_format(convert: Convert) -> None:
    """A document saved as "Strict Open XML" is converted like any other document."""
    body = paragraph(run("HIDDEN", "<w:vanish/>"), "<m:oMath><m:r><m:t>x=1</m:t></m:r></m:oMath>")
    strict = NAMESPACES.replace(
        "schemas.openxmlformats.org/wordprocessingml/2006", "purl.oclc.org/ooxml/wordprocessingml"
    )
    strict = strict.replace("schemas.openxmlformats.org/officeDocument/2006", "purl.oclc.org/ooxml/officeDocument")
    document = f"<w:document {strict}><w:body>{body}</w:body></w:document>"
    assert convert("", {"word/document.xml": document}).text == "x=1"


def test_zip_file(tmp_path: Path) -> None:
    """A zip file with the extension `.docx` raises an error if the zip file does not contain a Word document."""
    with ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("readme.txt", "no")
    with pytest.raises(BrokenFileError, match=r"^the file is damaged or is not a Word document"):
        convert_file(tmp_path / "a.docx", "utf-8")
