import pytest

from kib_wikipedia.wikitext import Names, clean


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
            "H<sub>2</sub>O, 10<sup>3</sup>, 10<sup>−7</sup>, e<sup>ix</sup>, the 4<sup>th</sup>",
            "H2O, 10³, 10⁻⁷, eix, the 4th",
        ),
        ("One<br/>two<br>three", "One\ntwo\nthree"),
        ("A <small>small</small> <span style='x'>span</span> <code>code</code>.", "A small span code."),
        ("Where <math>\\frac{a}{b}</math> is.", "Where is."),
        ("C has <nowiki>{ a[i] = '[[b]]'; }</nowiki> here.", "C has { a[i] = '[[b]]'; } here."),
        ("__NOTOC__Text.__NOEDITSECTION__", "Text."),
        ("Text {{citation needed|date=May 2016}}, more{{efn|no}}.", "Text, more."),
        ("A {{unknown|x={{nested|y}}|z}} B", "A B"),
        ("Anatomy (from {{lang|grc|ἀνατέμνω}}) is", "Anatomy (from ἀνατέμνω) is"),
        (
            "It is {{convert|5|km|mi|abbr=on}} long and {{convert|3|to|4|ft|m}} high.",
            "It is 5 km long and 3 to 4 ft high.",
        ),
        ("{{As of|2016|4}}, {{circa|1900}}, {{frac|1|2}}, {{US$|5}}", "As of 2016, c. 1900, 1/2, US$5"),
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
def test_clean(wikitext: str, text: str) -> None:
    """What a reader sees of the sentences stays, and nothing else."""
    assert clean(wikitext) == text


def test_headings() -> None:
    """A heading stands on a line of its own over its text; one over nothing goes."""
    wikitext = "Intro.\n\n== One ==\nText.\n=== Under ===\n{{box}}\n== Two ==\n=== Deep ===\nMore.\n== Three ==\n"
    assert clean(wikitext) == "Intro.\n\nOne\nText.\n\nTwo\n\nDeep\nMore."


def test_dropped_sections() -> None:
    """Sections that only say where to read on go, with all below them."""
    wikitext = "Intro.\n== Life ==\nText.\n== See also ==\n* [[A]]\n=== More ===\n* [[B]]\n== Works ==\nText."
    assert clean(wikitext) == "Intro.\n\nLife\nText.\n\nWorks\nText."
    assert "- A" in clean(wikitext, dropped=())


def test_names() -> None:
    """A wiki may call its files and categories in its own words."""
    names = Names(frozenset({"datei", "kategorie"}))
    assert clean("[[Datei:A.jpg|mini|no]]Text.[[Kategorie:Pumpen]]", names) == "Text."
