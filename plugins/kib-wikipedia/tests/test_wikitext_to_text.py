import subprocess
import sys

import pytest

from kib_wikipedia.expressions import expression_value
from kib_wikipedia.template_text import NOTHING_SHOWN, TEXT_FUNCTIONS
from kib_wikipedia.wikitext_to_text import convert_page, wikitext_to_text

GUARD = 120
"""The timeout of a test in seconds; the tested code takes at most a few seconds."""


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''' and ''it''alic.", "Bold and italic."),
        ("A [[lever]], a [[lever|red lever]] and [[lever]]s.", "A lever, a red lever and levers."),
        ("[[:Category:Pumps]] and [[:File:A.jpg|a picture]].", "Category:Pumps and a picture."),
        ("[[File:A.jpg|thumb|left|A [[pump]] in ''use'']]Text.[[Category:Pumps|*]]", "Text."),
        ("[[Image:A.jpg]] [[Media:B.ogg|sound]]Text.", "Text."),
        ("Text.\n[[de:Pumpe]]\n[[zh-min-nan:Pump]]", "Text."),
        ("See [https://example.org the page] or [https://example.org].", "See the page or."),
        ("See https://example.org/a for more.", "See https://example.org/a for more."),
        (
            "One<ref>A note.</ref>, two<ref name=a /> and three.<ref name=b>{{cite web|url=x}}</ref>",
            "One, two and three.",
        ),
        ("Before<!-- no -->after", "Beforeafter"),
        ("A &amp; B &lt; C&nbsp;&ndash; D", "A & B < C – D"),
        (
            "H<sub>2</sub>O, x<sub>max</sub>, 10<sup>3</sup>, 10<sup>−7</sup>, e<sup>ix</sup>, the 4<sup>th</sup>",
            "H₂O, x_max, 10³, 10⁻⁷, e^ix, the 4th",
        ),
        ("One<br/>two<br>three", "One\ntwo\nthree"),
        ("A <small>small</small> <span style='x'>span</span> <code>code</code>.", "A small span code."),
        ("Where <math>\\frac{a}\n{b}</math> is <math/>.", r"Where $\frac{a} {b}$ is."),
        ("C has <nowiki>{ a[i] = '[[b]]'; }</nowiki> here.", "C has { a[i] = '[[b]]'; } here."),
        ("__NOTOC__Text.__NOEDITSECTION__", "Text."),
        ("Text {{citation needed|date=May 2016}}, more{{efn|no}}.", "Text, more."),
        ("A {{unknown|x={{nested|y}}|z}} B", "A B"),
        ("Anatomy (from {{lang|grc|ἀνατέμνω}}) is", "Anatomy (from ἀνατέμνω) is"),
        (
            "It is {{convert|5|km|mi|abbr=on}} long and {{convert|3|to|4|ft|m}} high.",
            "It is 5 km long and 3 to 4 ft high.",
        ),
        ("{{As of|2016|4}}, {{circa|1900}}, {{frac|1|2}}, {{US$|5}}", "As of April 2016, c. 1900, 1/2, US$5"),
        ("Ada ({{IPAc-en|a}}; {{lang-de|Ada}}; born {{circa|1815}}) was", "Ada (Ada; born c. 1815) was"),
        ("Ada ({{IPAc-en|a}}; {{respell|A}}) was, {{clarify}}, here ( ; {{dead}}).", "Ada was, here."),
        (
            "The vowel {{IPA|/a/}} costs {{formatnum:3003}}, 5.98{{e|24}} kg",
            "The vowel /a/ costs 3003, 5.98 × 10^24 kg",
        ),
        ("Ada ({{IPAc-en|a}}, born 1815) was", "Ada (born 1815) was"),
        (
            "A list:\n* one\n** two\n# three\n; term : meaning\n:: said",
            "A list:\n- one\n- two\n- three\nterm : meaning\nsaid",
        ),
        ("Before.\n{| class=x\n! head\n|-\n| [[cell]] || {{x}}\n|}\nAfter.", "Before.\n\nAfter."),
        ("Before.\n{|\n| a\n{|\n| nested\n|}\n|}\nAfter.", "Before.\n\nAfter."),
        ("Before.\n{{table start}}\n|-\n| a || b\n! c\n|}\nAfter.", "Before.\n\nAfter."),
        ("Text <div class=x>in a <b>box</div>", "Text\nin a box"),
        ("{{Infobox\n| name = Pump\n| text = {{plainlist|\n* a\n}}\n}}\nText.", "Text."),
        ("<gallery>\nFile:A.jpg|caption\n</gallery>Text.", "Text."),
        ("A  lot   of\n\n\n\nspace .", "A lot of\n\nspace."),
        ("It costs .5 and a .22 rifle, e.g. {{x}}", "It costs .5 and a .22 rifle, e.g."),
        ("", ""),
        ("{{disambiguation}}", ""),
    ],
)
def test_wikitext(wikitext: str, text: str) -> None:
    """The converted text contains exactly the sentences that a reader of the page sees."""
    assert wikitext_to_text(wikitext) == text


def test_headings() -> None:
    """A heading becomes a line above the section's text, and a heading without text is removed."""
    wikitext = "Intro.\n\n== One ==\nText.\n=== Under ===\n{{box}}\n== Two ==\n=== Deep ===\nMore.\n== Three ==\n"
    assert wikitext_to_text(wikitext) == "Intro.\n\nOne\nText.\n\nTwo\n\nDeep\nMore."


def test_dropped_sections() -> None:
    """Sections with references or links are removed together with their subsections."""
    wikitext = "Intro.\n== Life ==\nText.\n== See also ==\n* [[A]]\n=== More ===\n* [[B]]\n== Works ==\nText."
    assert wikitext_to_text(wikitext) == "Intro.\n\nLife\nText.\n\nWorks\nText."
    assert "- A" in wikitext_to_text(wikitext, dropped_sections=())


def test_hidden_namespaces() -> None:
    """Links to files and categories are removed, even if the wiki has its own names for the two namespaces."""
    wikitext = "[[Datei:A.jpg|mini|no]]Text.[[Kategorie:Pumpen]]"
    assert wikitext_to_text(wikitext, {"datei", "kategorie"}) == "Text."


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("{{lang|fr}} {{nowrap|1=a b}} {{lang||2=deux}}", "fr a b deux"),
        ("{{circa}} {{as of|2016|lc=y}} {{as of|alt=In 2016}} {{as of}}", "c. as of 2016 In 2016"),
        ("{{frac|2}} {{frac|1|1|2}} {{chem|H|2|O}}", "1/2 1 1/2 H₂O"),
        (
            "{{val|6.02|0.01|e=23|u=mol}} {{val}} {{hms|Beagle}} {{reign|1837|1901}}",
            "6.02 ± 0.01 × 10^23 mol HMS Beagle r. 1837–1901",
        ),
        ("{{music|flat}} {{nihongo|Japan|日本|Nihon}} {{nihongo|Japan}}", "♭ Japan (日本, Nihon) Japan"),
        ("{{birth date|1815|12|10}} {{bibleverse|Mark|1}} 5{{snd}}7", "December 10, 1815 Mark 1 5 – 7"),
        ("{{convert|3|x|4|m}} {{formatnum:x}}", "3 × 4 m x"),
        ("One.{{quote|Two.}}{{quote}}", "One.\nTwo."),
    ],
)
def test_templates(wikitext: str, text: str) -> None:
    """A template that produces text is replaced with the text."""
    assert wikitext_to_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("{{convert|6|ft|2|in|m}} {{convert|14|st|7|lb|kg|0}}", "6 ft 2 in 14 st 7 lb"),
        ("{{convert|60|and(-)|80|kg|lb}} {{convert|60|to(-)|80|kg}}", "60 and 80 kg 60 to 80 kg"),
        ("{{convert|3|,|4|, and|5|m}} {{convert|3|+|4|m}}", "3, 4, and 5 m 3 + 4 m"),
        ("{{convert|3|/|4|m}} {{convert|3|by|4|m}} {{convert|2|x|3|x|4|m}}", "3 / 4 m 3 by 4 m 2 × 3 × 4 m"),
        ("{{convert|20|-|25|cm|in}} {{convert|5|±|0.5|kg}}", "20–25 cm 5 ± 0.5 kg"),
        ("{{convert|1+1/2|in}} {{convert|1//2|to|3+1/4|in|mm}}", "1 1/2 in 1/2 to 3 1/4 in"),
        ("{{convert|{{frac|1|2}}|in}} {{convert|½|in}} {{convert|−5|C|F}}", "1/2 in ½ in −5 °C"),
        ("{{convert|10|ft|6|in|by|8|ft|2|in|m}}", "10 ft 6 in by 8 ft 2 in"),
        ("{{convert|5|km|mi|0}} {{convert|5|km|0}} {{convert|5|to|6|km|1}}", "5 km 5 km 5 to 6 km"),
        ("{{convert|22|e6acre}} {{convert|3|km2|adj=pre|million}} {{convert|7}}", "22 million acre 3 million km² 7"),
        ("{{height|m=1.83}} {{height|ft=6|in=2+1/2}} {{hands|15.2}}", "1.83 m 6 ft 2 1/2 in 15.2 hands"),
        ("{{val|1.2|+0.3|-0.2|u=m|up=s}} {{val|1|to|3|u=s}}", "1.2 +0.3 −0.2 m/s 1 to 3 s"),
        ("{{val|1.007|(7)}} {{val|e=6|u=K}} {{val|p=~|5|s=%}}", "1.007(7) 10^6 K ~5%"),
        ("5{{frac|1|2}} {{1/2}} {{nts|12,345}} {{gaps|1|234|567}}", "5 1/2 1/2 12,345 1234567"),
        ("10{{sup|6}} x{{su|p=+1|b=-2}} {{10^|9}} {{sqrt|2}} {{sqrt|2|3}}", "10⁶ x +1 -2 10^9 √2 ³√2"),
        ("{{birth date|1809|2|12}} {{birth date|df=y|1885|4|3}} {{dts|2010}}", "February 12, 1809 3 April 1885 2010"),
        ("{{birth date and age|1990|7}} {{birth-date|3 May 1901}}", "July 1990 3 May 1901"),
        ("{{death date and age|1865|4|15|1809|2|12}}", "April 15, 1865 (aged 56)"),
        ("{{death year and age|1990|1920}} {{death date|1865|4|15}}", "1990 (aged 69–70) April 15, 1865"),
        ("{{age|1950|6|1|2000|5|31}} {{age|1950|6|1|2000|6|1}} {{age|1950|6|1}}", "49 50"),
        (
            "{{OldStyleDate|3 May|1616|23 April}} {{as of|2016|4|27|df=US}}",
            "3 May [O.S. 23 April] 1616 As of April 27, 2016",
        ),
        ("{{coord|51|30|N|0|7|W|type:city}} {{coord|12.5|-69.9}}", "51°30′N 0°7′W 12.5, -69.9"),
        ("{{coord|51|N|0|W|display=title}} {{deg|5}} {{mya|66}}", "5° 66 million years ago"),
        ("{{duration|m=3|s=5}} {{duration|1|2|3}} {{rating|3|5}}", "3:05 1:02:03 3/5"),
        ("{{pop density|3645257|640081.87|km2|prec=1}} {{pop density|x}}", "5.7/km²"),
        ("{{ISBN|0-19}} {{USS|Enterprise|CVN-65}} {{ship|SS|Ada}}", "ISBN 0-19 USS Enterprise (CVN-65) SS Ada"),
        ("{{harvtxt|Boolos|Jeffrey|1974}} {{vol.|3}} {{sic|1o}}", "Boolos & Jeffrey (1974) vol. 3 1o [sic]"),
        ("{{hlist|1|2}} {{nuclide|Uranium|235}} {{DentalFormula|upper=0.2|lower=0.3}}", "1, 2 Uranium-235 0.2 / 0.3"),
        ("{{ordered list|a 1|b 2}}{{plainlist|\n* c\n}}", "- a 1\n- b 2- c"),
        ("{{AD|45}} {{AD}} {{BC|44}} {{BCE|43}} {{CE|46}}", "AD 45 AD 44 BC 43 BCE 46 CE"),
        ("{{circa|1=1450|2=1460}} {{fl.|1=1452}} {{convert|1=5|2=km}}", "c. 1450 – c. 1460 fl. 1452 5 km"),
        (
            "{{ordinal|21}} {{ordinal|112}} {{ordinal|3rd}} {{percentage|1|3|1}} {{ratio|1|2}}",
            "21st 112th 3rd 33.3% 1:2",
        ),
        ("{{convinfobox|5|km|mi}} {{convert|9|km|mi|disp=number}} {{convert|9|km|mi|disp=unit2}}", "5 km 9 km mi"),
        ("{{exp|5}} {{exp|3|2}} 5{{x10^|7}} {{frac|2/3}}", "e⁵ 2³ 5 × 10^7 2/3"),
        ("x{{sub|3}} v{{sub|max}} {{carbon|6}}{{hydrogen|12}}{{oxygen}} y{{sup|n−1}}", "x₃ v_max C₆H₁₂O yⁿ⁻¹"),
        ("{{chem|S|O|4|2-}} {{chem|2|H|2|O}} {{chem|Na|+}}", "SO₄²⁻ 2H₂O Na⁺"),
        ("{{chem2|2CO2}} {{chem2|SO4(2-)}} {{chem2|Na+}} {{chem2|[Fe(CN)6](4-)}}", "2CO₂ SO₄²⁻ Na⁺ [Fe(CN)₆]⁴⁻"),
        (
            "{{HK$|5}} {{INRConvert|5|c}} {{currency|7|USD}} {{currency|8|XTS}} {{CHF|9}}",
            "HK$5 ₹5 crore US$7 XTS 8 CHF 9",
        ),
        ("{{marriage|Ada|1980|1990}} {{birth based on age as of date|50|2020|1|1}}", "Ada (m. 1980–1990) 1969 or 1970"),
        ("{{age in days|2000|1|1|2000|2|1}} {{RA|12|34|56}} {{DEC|+1|2|3}}", "31 12h 34m 56s +1° 2′ 3″"),
        ("{{numero|9}} {{overline|71}} {{color|red|67}} {{font color|red|blue|68}}", "No. 9 71 67 68"),
        ("a {{0}}5 b{{ntsh|7}} {{number table sorting|42}} {{sort|007|James 7}}", "a 5 b 42 James 7"),
        ("{{Höhe|120|DE-NHN}} {{Bruch|1|2}} {{§|5|bgb}} {{unidad|5|km}}", "120 m 1/2 § 5 5 km"),
        ("{{fecha|1|mayo|1990}} {{siglo|XIX||s}} {{fecha|3|2|1815}}", "1 mayo 1990 siglo XIX 3 February 1815"),
        ("{{cfrac|1|2}} {{cfrac|1|2+{{cfrac|1|3}}}} {{sfrac|a + b|2}} {{dfrac|3|4}}", "1/2 1/(2+1/3) (a + b)/2 3/4"),
        ("{{pct|1|3}} {{rnd|3.14159|2}} {{rnd|−1,250|-2}} {{rnd|2.5}} {{round|x|2}}", "33% 3.14 −1,300 3 x"),
        ("{{convert|30|to-|40|m}} {{convert|3|by(x)|4|m}} {{convert|2|and-|3|m}}", "30 to 40 m 3 by 4 m 2 and 3 m"),
        ("{{convert|2|ft|adj=mid|-high}} {{convert|2|ft|adj=mid|wide}}", "2 ft-high 2 ft wide"),
        (
            "{{val|-5|u=degC}} {{val|3|u=C}} {{val|5|ul=deg}} {{val|9.8|u=m/s2}} {{val|5|u=m|up=s2}}",
            "-5 °C 3 C 5° 9.8 m/s² 5 m/s²",
        ),
        ("{{harvnb|Linden|Ray|1996|pp=6–36}} {{harv|Ada|1840}}", "Linden & Ray 1996, pp. 6–36 (Ada 1840)"),
    ],
)
def test_numbers_in_templates(wikitext: str, text: str) -> None:
    """No number that a template displays is missing from the text."""
    assert wikitext_to_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("the dogs''''bone'''", "the dogs'bone"),
        ("''L''''Aurore''' and x''''''''y", "L'Aurore and x'''y"),
        ("L'''Osservatore Romano'' is", "L'Osservatore Romano is"),
        ("a plain '''x''' of l'''Aurore'' and '''y'''", "a plain x of l'Aurore and y"),
        ("'''open, it's [[a|''b'']] e<sup>''x''</sup> {{lang|fr|''c'''d'''}}", "open, it's b e^x cd"),
        ("'''''both''''' ''a '''b'' c'''", "both a b c"),
    ],
)
def test_apostrophes(wikitext: str, text: str) -> None:
    """Quotes of bold and italic text are removed, except the quotes that MediaWiki displays as apostrophes."""
    assert wikitext_to_text(wikitext) == text


def test_templates_left_out() -> None:
    """Templates without text are counted by name, and separately if they are inside a sentence and mark no note."""
    wikitext = (
        "{{Infobox|a={{convert|1|m}}{{inner}}}}\nIt weighs {{Mass_of|x}}, or so{{sfn|Ada}}.{{cn}} "
        "{{nowrap|at {{mass of|y}}}}<ref>{{cite web}}</ref>\n{{Navbox}}"
    )
    page = convert_page(wikitext)
    assert page.text == "It weighs, or so. at"
    assert page.left_out == {"infobox": 1, "mass of": 2, "sfn": 1, "cn": 1, "navbox": 1}
    assert page.inside_sentences == {"mass of": 2}


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("It was {{#if: x|yes 11|no}} or {{#if:|yes|no}}{{#if: x}}.", "It was yes 11 or no."),
        ("{{#ifeq: 01|1|12|13}} {{#ifeq: a|b|12|13}} {{#iferror: 5|6}}", "12 13 5"),
        ("{{#switch: b|a=1|b|c=2|3}} {{#switch: x|a=1|#default=4}} {{#switch: x|a=1|5}}", "2 4 5"),
        ("{{#expr: 2*3}} {{#expr: 7/3 round 2}} {{#expr: 007 + (1 − 2^3)}} {{#expr: 9 mod 4}}", "6 2.33 0 1"),
        ("{{formatnum:{{convert|5|km}}}} {{formatnum:{{formatnum:1234|R}}}} {{nts|{{formatnum: 7}}}}", "5 km 1234 7"),
        ("{{convert|{{#expr: 1 + 2}}|m}} {{lc:ABC}} {{ucfirst:ada}} {{padleft:7|3|0}}", "3 m abc Ada 007"),
    ],
)
def test_parser_functions(wikitext: str, text: str) -> None:
    """A parser function is replaced with its value."""
    assert wikitext_to_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text", "left_out"),
    [
        ("a {{#ifexpr: 3>2|big 8|small}} b", "a big 8 b", {}),
        ("a {{#if:<b>x</b>|y}} {{#if:[[x]]|y}} {{#if:\nx\n|y}} {{lc:[[B 7]]}}", "a y y y b 7", {}),
        ("a {{#switch:{{#expr:3<2}}|0=zero|1=one}} [[{{#if:x|Ada_1|Ben}}]]", "a zero Ada 1", {}),
        ("a {{#foo: x<y|b}} {{#if:x|{{#invoke: 1<2|b}} 5}}", "a 5", {"#foo": 1, "#invoke": 1}),
        ("a {{#foo: x<y | b\nc {{plural:<i>5</i>|c}}", "a\nc", {"#foo": 1, "plural": 1}),
        ("<nowiki>{{#if:x|y}}</nowiki> <math>{{lc:x}}</math>", "{{#if:x|y}} ${{lc:x}}$", {}),
    ],
)
def test_source_of_parser_functions(wikitext: str, text: str, left_out: dict[str, int]) -> None:
    """The source of a parser function is never a part of the text, whatever its arguments contain."""
    page = convert_page(wikitext)
    assert (page.text, page.left_out) == (text, left_out)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("3 > 2 and not 0", 1),
        ("1 = 2 or 3 <> 3", 0),
        ("2 <= 2 and 3 != 4", 1),
        ("1e3 + -2^2", 1004),
        ("17 mod 5 + 7 fmod 2.5", 4),
        ("-7.5 round 0", -8),
        ("1250 round -2", 1300),
        ("ceil 2.1 * floor 2.9 - trunc(1.5)", 5),
        ("(1 + 2", None),
        ("1 2", None),
        (f"{'1' * 99}!", None),
        (f"{'(' * 5000}", None),
        ("1e999999", None),
    ],
)
def test_expressions(expression: str, value: float | None) -> None:
    """An expression has the value that MediaWiki computes, and a faulty expression has no value."""
    assert expression_value(expression) == value


def test_parser_functions_left_out() -> None:
    """A parser function without a known value is counted by its name, without its arguments."""
    unknown = "{{#expr: 1/0}} {{#expr: 9^9^999}} {{#expr: (}} {{#expr: 1j}} {{#ifexpr: x|5}} {{#invoke: Math|max|5}}"
    page = convert_page(
        f"x {unknown} {{{{PLURAL:5|a|b}}}} {{{{#time: Y}}}}<ref>{{{{#if:|a}}}}</ref> {{{{#tag:ref|5}}}}"
    )
    assert page.text == "x"
    assert page.left_out == {"#expr": 4, "#ifexpr": 1, "#invoke": 1, "plural": 1, "#time": 1, "#tag:ref": 1}


@pytest.mark.parametrize(
    ("wikitext", "text", "name"),
    [
        ("In the {{MLB year|1990}} season", "In the 1990 season", "mlb year"),
        ("Rule ({{EPC Rule|47|a}}) applies", "Rule (47 a) applies", "epc rule"),
        ("{{MLB year|1990}} was good", "1990 was good", "mlb year"),
        ("the [[1990|{{MLB year|1990}}]] <small>of {{x y|2=7}}</small>", "the 1990 of 7", "x y"),
        ("{{nowrap|{{Bundesstraße|7}} nach}} X", "7 nach X", "bundesstraße"),
        ("costs {{unknown|{{frac|1|2}}|{{color|red|5}}}} m", "costs 1/2 5 m", "unknown"),
    ],
)
def test_unknown_templates_in_sentences(wikitext: str, text: str, name: str) -> None:
    """An unknown template in a sentence is replaced with its short parameters if they contain a number."""
    page = convert_page(wikitext)
    assert page.text == text
    assert page.shown_by_parameters[name] == 1
    assert not page.left_out


@pytest.mark.parametrize(
    "wikitext",
    [
        ".\n{{Season box|1990}}\n",
        ".\n{{Years|1990}}\n",
        ".\n* {{IMDb|0123}}\n",
        " {{cite quran|29|46}}.",
        " {{update after|2016}}.",
        " {{inflation|US|5|1929}}.",
        " {{Swiss populations|6}}.",
        " {{age|1969|7|20}}.",
        " {{time ago|2000-01-01}}.",
        " {{wikidata|P1082|Q90}}.",
        " {{mark|https://example.org/5}}.",
        " {{long|" + "5" * 50 + "}}.",
        " {{many|1|2|3|4|5}}.",
        " {{named|year=5}}.",
        "{{mark|5}}.",
        "{{fn|5}}.",
        " {{clade|1 a|2 b}}.",
    ],
)
def test_unknown_templates_outside_sentences(wikitext: str) -> None:
    """Marks of notes, boxes and templates that compute their text are left out and counted."""
    page = convert_page(f"It is so{wikitext}")
    assert page.text == "It is so."
    assert page.left_out.total() == 1
    assert not page.shown_by_parameters


def test_no_known_template_hides_its_number() -> None:
    """A template that displays its parameters displays a number, or is counted as left out."""
    pages = {
        name: convert_page(f"x {{{{{name}|1997|12|5|2001|3|4}}}}") for name in TEXT_FUNCTIONS.keys() - NOTHING_SHOWN
    }
    silent = {name for name, page in pages.items() if not page.left_out and not any(map(str.isnumeric, page.text))}
    assert not silent


@pytest.mark.parametrize(
    "text",
    [
        "x" + ", " * 40_000 + "y",
        "x" + " ;" * 40_000 + "y",
        "x" + " " * 80_000 + "y",
        "x" + "\u200b" * 80_000 + "y",
        "(" * 40_000 + ")" * 40_000,
        "( , " * 20_000,
        "[[" * 20_000,
        "x''''y''" * 20_000,
        "{{" * 20_000,
        "\n, " * 40_000 + "x",
        "{{val|1|e=" * 36 + "}}" * 36,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_linear_time(text: str) -> None:
    """The conversion time for repeated separators, brackets and templates is proportional to their number."""
    script = (
        "import sys; from kib_wikipedia.wikitext_to_text import wikitext_to_text; wikitext_to_text(sys.stdin.read())"
    )
    subprocess.run([sys.executable, "-c", script], input=text.encode(), check=True, timeout=GUARD)


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("Calls main() and a [] ( ) of f.", "Calls main() and a of f."),
        ("A <code>f()</code> b.", "A f() b."),
        (
            "A:<syntaxhighlight lang=c>\n  if (  ) {\n\n\n    f( )  ;&amp;\n| a\n</syntaxhighlight>",
            "A:\n  if (  ) {\n\n\n    f( )  ;&amp;\n| a",
        ),
        ("A <nowiki>&lt;b&gt; [[c]] ( )</nowiki> d<nowiki/>e <nowiki> </nowiki>f.", "A <b> [[c]] ( ) de f."),
        ("A\n<pre>\n  1 &lt;  2\n</pre>\nB\n<source>x\x021\x02</source>", "A\n\n  1 <  2\n\nB\n\nx1"),
    ],
)
def test_code(wikitext: str, text: str) -> None:
    """Code keeps its brackets, spaces and indentation."""
    assert wikitext_to_text(wikitext) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a ( ; [, ]() ) b", "a b"),
        ("a (]) b", "a) b"),
        ("a (b ( )) c", "a (b) c"),
        ("a , ; . b", "a. b"),
        ("one \u200b\n \t two", "one\ntwo"),
    ],
)
def test_remnants(text: str, expected: str) -> None:
    """Empty brackets, separators and white space left over from removed markup are removed."""
    assert wikitext_to_text(text) == expected
