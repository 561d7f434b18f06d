"""HTML pages are converted to the text that a browser shows."""

from pathlib import Path

import pytest

from kib_files.converters import convert_file
from kib_files.file_records import BrokenFileError, ConvertedFile


def convert(folder: Path, content: str | bytes, encoding: str = "utf-8") -> ConvertedFile:
    """Write an HTML file, convert the file, and return the result."""
    path = folder / "a.html"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return convert_file(path, encoding)


def test_page(tmp_path: Path) -> None:
    """Blocks, table rows and list items are separate lines, and scripts, styles and comments are left out."""
    converted = convert(
        tmp_path,
        "<!doctype html><html><head><title> Pump \n 7 </title><style>p {color: red}</style></head><body>"
        "<script>var x = '<p>no</p>';</script><!-- no --><h1>The pump</h1><p>A &amp; B &lt; C <b>bold</b></p>"
        "<table><caption>Sizes<tr><td>one</td><td>two</td></tr></table><ul><li>first<li>second</ul></body></html>",
    )
    assert converted.title == "Pump 7"
    assert converted.text == "The pump\n\nA & B < C bold\n\nSizes\none  two\n\n* first\n* second"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'\xef\xbb\xbf<meta charset="iso-8859-1"><p>gr\xc3\xb6\xc3\x9fe', "größe"),
        ('\ufeff<meta charset="utf-8"><p>größe'.encode("utf-16-le"), "größe"),
        (b'<meta charset="iso-8859-1"><p>\x93quotes\x94 it\x92s', "“quotes” it’s"),
        (b'<?xml version="1.0" encoding="iso-8859-1"?><html><body><p>gr\xf6\xdfe</p></body></html>', "größe"),
        (b'<?xml version="1.0" encoding="koi8-r"?><p>\xcf\xf0', "оП"),
        ('<?xml version="1.0"?><meta charset="cp1252"><p>größe'.encode("cp1252"), "größe"),
        (b'<meta charset="gb2312"><p>\xd6\xec\xe9F\xbb\xf9', "朱镕基"),
        (b'<meta charset="Shift_JIS"><p>\x87@5000\x89~ \xfb\xfc\x8b\xb4', "①5000円 髙橋"),
        (b'<meta charset="euc-kr"><p>\x8cc\xb9\xe6\xb0\xa2\xc7\xcf', "똠방각하"),
        ("<meta charset=big5><p>香港嘅".encode("big5hkscs"), "香港嘅"),
        (b"<meta charset=windows-1252><p>\x81", "\x81"),
        (b"<meta http-equiv=Content-Type content='text/html; charset=windows-1251'><p>\xcf\xf0", "Пр"),
        (b'<!-- <meta charset="koi8-r"> --><p>gr\xc3\xb6\xc3\x9fe', "größe"),
        (b"<script>'<meta charset=koi8-r>'</script><meta charset=utf-8><p>gr\xc3\xb6\xc3\x9fe", "größe"),
        (b'<p title="charset=koi8-r">gr\xc3\xb6\xc3\x9fe', "größe"),
        (b'<meta charset="utf-16"><p>gr\xc3\xb6\xc3\x9fe', "größe"),
        (b'<meta charset="klingon"><p>gr\xc3\xb6\xc3\x9fe', "größe"),
        (b"<meta charset=utf-8><p>&#xfffd; \xef\xbf\xbd", "\ufffd \ufffd"),
    ],
)
def test_encoding(tmp_path: Path, content: bytes, text: str) -> None:
    """The encoding of a page is determined as in the WHATWG standard, and labels mean the encodings of browsers."""
    assert convert(tmp_path, content).text == text


def test_invalid_bytes(tmp_path: Path) -> None:
    """Bytes that are not valid in the declared encoding raise an error that names the encoding."""
    with pytest.raises(BrokenFileError, match=r"^the file is not valid UTF-8, the encoding that the file declares; "):
        convert(tmp_path, b"<meta charset=utf-8><p>na\xefve")


@pytest.mark.parametrize("content", ["", "<!-- nothing -->", "<html><head><title>T</title></head><body></body></html>"])
def test_empty_page(tmp_path: Path, content: str) -> None:
    """A page without visible content is converted to empty text."""
    assert convert(tmp_path, content).text == ""


@pytest.mark.parametrize(
    "hidden",
    [
        "<template><p>no</p></template>",
        "<p hidden>no",
        "<p hidden=until-found>no",
        "<noscript><p>no</p></noscript>",
        "<p style='visibility: hidden'>no",
        "<div style='visibility:hidden'><p>no</p></div>",
        "<p style='Display : NONE !important'>no",
        "<style>.menu li {display: none}</style><ul class=menu><li>no</ul>",
        "<style>.tab {display: block} #one.tab {display: none}</style><p class=tab id=one>no",
        "<style>.quiet {visibility: collapse}</style><p class=quiet>no",
        "<i class=material-icons aria-hidden=true>menu</i>",
        "<button><span aria-hidden=TRUE>no</span></button>",
        "<svg><title>no</title><desc>no</desc></svg>",
        "<dialog>no</dialog>",
        "<datalist><option>no</datalist>",
        "<iframe>no</iframe><video>no</video><canvas>no</canvas>",
        "<select><option>one<option selected>shown<option>three</select>",
        "<style>@media screen {p ~ p {display: none}}</style><p>no",
        "<style>@media print {p {top: 0}} @media print, (min-width: 60em) {b {display: none}}</style><b>no</b>",
        "<style>/* { */ @MEDIA all{i::before{content:'}'} .m{DISPLAY: none}} @media print{}</style><p class=m>no",
        "<style>@supports (display: grid) {@layer base {.m {display: none}}}</style><p class=m>no",
        "<style media='only screen and (max-width: 120rem)'>.m {display: none}</style><p class=m>no",
        "<div style='content-visibility: hidden'><p>no</div>",
        "<style>.c {content-visibility: hidden}</style><div class=c>no</div>",
        "<p style='visibility: hidden'><input value=no>",
        "<p style='opacity: 0.0'>no <b style='opacity: 1'>no</b>",
        "<style>.o {color: red; OPACITY:0 !important}</style><p class=o>no",
        "<p style='font-size: 0'>no <b>no</b>",
        "<style>.f {font-size: 0px}</style><p class=f>no",
        "<title>no</title>",
        "<input type=hidden value=no><input type=password value=no><input type=CHECKBOX value=no>",
    ],
)
def test_hidden(tmp_path: Path, hidden: str) -> None:
    """Text that a browser hides is left out, whether a tag, an attribute or a style sheet hides the text."""
    text = convert(tmp_path, f"<body><p>shown</p>{hidden}").text
    assert set(text.split()) - {"*"} == {"shown"}


@pytest.mark.parametrize(
    "shown",
    [
        "<p style='visibility: hidden'>no <b style='visibility: visible'>shown</b>",
        "<style>.tab {display: none} .tab.active {display: block}</style><p class='tab active'>shown",
        "<style>@media print {p {display: none}}</style><p>shown",
        "<style>@media print {@media screen {p {display: none}}} b {color: red}</style><p>shown",
        "<style>@media not screen {p {display: none}} @media (max-width: 600px) {p {display: none}}</style><p>shown",
        "<style>@supports not (display: grid) {p {display: none}}</style><p>shown",
        "<style media=print>p {display: none}</style><p>shown",
        "<style>p {content-visibility: hidden} p.on {content-visibility: visible}</style><p class=on>shown",
        "<p style='content-visibility: auto; clear: both'>shown",
        "<p style='font-size:0'><b style='font-size: 12px; opacity: 0.5'>shown</b>",
        "<style>p {font-size: 0.9rem; opacity: .05}</style><p>shown",
        "<style>.in {opacity: 0; transition: opacity 1s} b {color: red}</style><p class=in>shown",
        "<p style='animation: fade 1s forwards; opacity: 0'>shown",
        "<input value=shown> <input type=submit value=shown> <INPUT TYPE=SEARCH VALUE=shown>",
        "<main aria-hidden=true><p>shown</main>",
        "<details><summary>shown</summary>shown</details>",
        "<dialog open>shown</dialog>",
        "<template shadowrootmode=no>no</template><textarea>shown</textarea>",
    ],
)
def test_shown(tmp_path: Path, shown: str) -> None:
    """Text that a browser shows is not left out because of a rule that does not apply to the text."""
    assert set(convert(tmp_path, shown).text.split()) == {"shown"}


def test_hidden_text_is_counted(tmp_path: Path) -> None:
    """A remark counts the outermost hidden elements with text."""
    page = "<p>shown</p><div hidden>a <p style='display:none'>b</div><p style='visibility:hidden'>c<b hidden></b>"
    assert convert(tmp_path, page) == ConvertedFile("shown", remarks={"hidden text, which the text leaves out": "2"})


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Name:<input value='Ada  Quill'><input type=submit value=Send>now", "Name: Ada Quill Send now"),
        ("<button>Save</button><button>Cancel</button>", "Save Cancel"),
        ("a<select><option>one</select>b<textarea>two</textarea>", "a\none\nb two"),
    ],
)
def test_form_fields(tmp_path: Path, content: str, text: str) -> None:
    """The values of form fields and buttons are separate words."""
    assert convert(tmp_path, content).text == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<ol start=5><li>a<li>b</ol>", "5. a\n6. b"),
        ("<ol reversed><li>a<li>b</ol>", "2. a\n1. b"),
        ("<ol reversed start=9><li>a<li value=4>b<li>c</ol>", "9. a\n4. b\n3. c"),
        ("<ol><li value=7>a<li>b</ol>", "7. a\n8. b"),
        ("<ol start=-1><li>a<li>b</ol>", "-1. a\n0. b"),
        ("<ol type=a start=26><li>a<li>b</ol>", "z. a\naa. b"),
        ("<ol type=I start=4><li>a<li>b</ol>", "IV. a\nV. b"),
        ("<style>.r {list-style-type: lower-roman}</style><ol class=r start=9><li>a</ol>", "ix. a"),
        ("<ol style='list-style: none'><li>1.1 a</ol>", "1.1 a"),
        ("<ol><li>a<ol start=3><li>b</ol><li>c</ol>", "1. a\n  3. b\n2. c"),
        ("<ol><li><p>a</p><p>b</p></ol>", "1. a\n  b"),
    ],
)
def test_list_numbers(tmp_path: Path, content: str, text: str) -> None:
    """The items of a list have the numbers that a browser shows."""
    assert convert(tmp_path, content).text == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("10<sup>6</sup> Pa", "10⁶ Pa"),
        ("10<sup>-6</sup> m<sup>2</sup>", "10⁻⁶ m²"),
        ("2<sup>x</sup> e<sup>x+1</sup>", "2^x e^(x+1)"),
        ("H<sub>2</sub>O, log<sub>2</sub>8, V<sub>max</sub>", "H₂O, log₂8, V_max"),
        ("4<sup>th</sup> pump<sup>[1]</sup>, pump<sup>*</sup>", "4th pump[1], pump*"),
        ("x<sup>y<sup>2</sup></sup>", "x^y²"),
        ("10<sup>6 </sup>Pa, CO<sub>2\n</sub>is", "10⁶ Pa, CO₂ is"),
        ("10<span style='vertical-align: super'>6</span> H<b style='VERTICAL-ALIGN:SUB'>2</b>O", "10⁶ H₂O"),
        ("<style>.e {vertical-align: super} td {vertical-align: sub}</style><td>10<i class=e>-6</i> Pa", "10⁻⁶ Pa"),
        ("10<span style='font-variant-position: super'>6</span> x<i style='font-variant: sub'>2</i>", "10⁶ x₂"),
        ("10<span style='vertical-align: .4em'>6</span> x<i style='vertical-align:-30%'>2</i>", "10⁶ x₂"),
        ("10<sup><b style='vertical-align: super'>6</b></sup> <i style='vertical-align: 1px'>Pa</i>", "10⁶ Pa"),
        ("10<span style='vertical-align: super'><b style='vertical-align: super'>6</b></span>", "10⁶"),
        ("<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>", "漢(kan)"),
        ("<math><mfrac><mn>1</mn><mrow><mi>x</mi><mo>+</mo><mn>2</mn></mrow></mfrac></math>", "1/(x+2)"),
        (
            "<math><semantics><msup><mi>x</mi><mn>2</mn></msup><annotation>x^2</annotation></semantics></math>",
            "x²",
        ),
        (
            "<math><munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover></math>",
            "∑_(i=1)ⁿ",
        ),
        ("<math><msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt></math>", "√(a+b)"),
        ("<p>he said <q>hi <b>there</b></q>", 'he said "hi there"'),
    ],
)
def test_raised_text(tmp_path: Path, content: str, text: str) -> None:
    """Superscripts, subscripts, fractions and readings remain distinct from the text next to them."""
    assert convert(tmp_path, content).text == text


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("<svg><title>icon menu</title></svg><h1>Ferry timetable</h1>", "Ferry timetable"),
        ("<body><svg><title>icon</title></svg><title>Ferries</title><h1>Ferry timetable</h1>", "Ferries"),
        ("<title> </title><h1 hidden>no</h1><h1>The <b>ferry</b><br>leaves</h1>", "The ferry leaves"),
        ("<p>no title", ""),
        ("<h1></h1><h1><img src=logo.png></h1><h1>Ferry timetable</h1>", "Ferry timetable"),
        ("<title></title><p>text<title>Ferries</title>", "Ferries"),
    ],
)
def test_title(tmp_path: Path, content: str, title: str) -> None:
    """The title is the page's own `<title>` or, if missing, the first visible `<h1>`."""
    assert convert(tmp_path, content).title == title


def test_table_cells(tmp_path: Path) -> None:
    """The lines of one table cell stay together, and a row of short cells is one line."""
    page = "<table><tr><td><p>The red lever</p><p>is left.</p><td>A note.</table><table><tr><td>a<td><td>b</table>"
    assert convert(tmp_path, page).text == "The red lever\n\nis left.\nA note.\n\na    b"


@pytest.mark.slow
def test_large_page(tmp_path: Path) -> None:
    """A page of more than 10 million characters is converted completely."""
    page = "<html><body>" + "<p>The lever of the pump is red.</p>" * 300_000 + "<p>The end."
    assert convert(tmp_path, page).text.endswith("The end.")


@pytest.mark.parametrize("style", ["<style>p { display: none }</style>", ""])
@pytest.mark.parametrize(
    ("listing", "text"),
    [
        ('<ol start="5"><li>five<li>six</ol>', "5. five\n6. six"),
        ('<ol style="color: red"><li>one</ol>', "1. one"),
        ('<ul style="list-style: none"><li>a<ol><li>one</ol></ul>', "a\n  1. one"),
        ("<ul><li>a</ul>", "* a"),
    ],
)
def test_style_sheets_keep_the_marks_of_lists(tmp_path: Path, style: str, listing: str, text: str) -> None:
    """List items keep their numbers and bullets if the page has a style sheet or a style that does not change them."""
    assert convert(tmp_path, f"<meta charset=utf-8>{style}{listing}").text == text


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("<mfrac><mn>1</mn><mn>2</mn></mfrac><msup><mn>10</mn><mn>7</mn></msup>", "1/2 10⁷"),
        ("<mn>3</mn><msqrt><mn>7</mn></msqrt><mn>2</mn>", "3√7 2"),
        ("<mn>3</mn><mn>4</mn>", "3 4"),
        ("<mfrac><mn>1</mn><mn>2</mn></mfrac><mo>+</mo><mi>x</mi>", "1/2+x"),
        ("<mn>2</mn><mfrac><mn>1</mn><mn>3</mn></mfrac>", "2 1/3"),
        ("<mn>2</mn> <mrow> <mstyle><mfrac><mn>1</mn><mn>3</mn></mfrac></mstyle> </mrow><mn>5</mn>", "2 1/3 5"),
        ("<msup><mi>x</mi><mn>10</mn></msup><mroot><mi>y</mi><mn>3</mn></mroot>", "x¹⁰ ³√y"),
        ("<msup><mn>10</mn><mn>6</mn></msup><mn>5</mn>", "10⁶ 5"),
        ("<semantics><mn>7</mn><annotation>7</annotation></semantics><mfrac><mn>1</mn><mn>2</mn></mfrac>", "7 1/2"),
        ("<mn>2</mn><msup><mn>10</mn><mn>6</mn></msup>", "2 10⁶"),
        ("<msub><mi>v</mi><mi>max</mi></msub><mi>t</mi>", "v_max t"),
    ],
)
def test_neighbours_in_a_formula_stay_apart(tmp_path: Path, formula: str, text: str) -> None:
    """A number, letter or root is separated from a fraction, a root, an exponent or another number by a space."""
    assert convert(tmp_path, f"<meta charset=utf-8><p><math>{formula}</math></p>").text == text
