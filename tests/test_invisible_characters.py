"""Invisible characters are removed from documents, questions and queries, and lowercase words stay whole."""

import json
from collections import Counter

import pytest

from kib.support.characters import describe_removed, lowercase, remove_invisible

SOFT = "\u00ad"


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("le\u00adver", "lever"),
        ("a\u200bb\u2060c\ufeffd", "abcd"),
        ("葛\U000e0100城 ❤\ufe0f", "葛城 ❤"),
        ("2\u2062x \u200eabc\u202c", "2x abc"),
        ("le\x00ver\x7f", "lever"),
        ("x\U000e0041\U000e0042", "x"),
        ("auf\u200clage Auf\u200dlage", "auflage Auflage"),
        ("hangul\u3164 braille\u2800, half\uffa0.", "hangul braille, half."),
        ("le\u180ever le\u180bver le\u180fver", "lever lever lever"),
        ("le\u115fver le\u1160ver le\u17b4ver", "lever lever lever"),
        ("le\u2065ver le\ufff0ver le\U000e0fffver", "lever lever lever"),
        ("le\U0001bca0ver le\U0001d173ver", "lever lever"),
    ],
)
def test_invisible_characters_are_removed(text, visible):
    """A character that a person cannot see is removed and counted."""
    removed = Counter()
    assert remove_invisible(text, removed) == visible
    assert removed.total() == len(text) - len(visible)


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cروم و PDF\u200cها",
        "क\u094d\u200dष",
        "👩\u200d🚀",
        "ไทย\u200bครับ",
        "ᠨᠢᠭᠡ\u180eᠨ\u180bᠨ",
        "\u115f\u1161 \u1112\u1160",
        "⠓⠊\u2800\u2800⠽",
        "\U0001d160\U0001d173",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "one\n\ttwo\r\n\x0cthree\u00a0four",
    ],
)
def test_meaningful_characters_remain(text):
    """Characters that a script or an emoji needs remain, and so do white space and marked word ends in Thai."""
    assert remove_invisible(text) == text


@pytest.mark.parametrize("blank", ["\u2800", "\u3164\u3164", "\uffa0"])
def test_a_blank_between_words_becomes_a_space(blank):
    """A character that is drawn as a blank is counted, and separates words like the space that it looks like."""
    removed = Counter()
    assert remove_invisible(f"red{blank}lever{blank}", removed) == "red lever"
    assert removed == {f"U+{ord(blank[0]):04X}": 2 * len(blank)}


def test_removed_characters_are_described_by_name():
    """Removed characters are listed by code and name, the most frequent first."""
    removed = Counter({"U+200B": 1, "U+00AD": 1200, "U+0000": 1})
    assert describe_removed(removed) == (
        "U+00AD soft hyphen (1,200), U+200B zero width space (1), U+0000 control character (1)"
    )


@pytest.mark.parametrize("word", ["İstanbul", "I\u0307stanbul", "i\u0307stanbul", "İSTANBUL"])
def test_lowercase_does_not_split_words(word):
    """The letter İ becomes an i without a combining dot, in every spelling of the letter."""
    assert lowercase(word) == "istanbul"


@pytest.fixture
def hyphenated(bench):
    """Write the toy benchmark with soft hyphens in a document, a question and an option, and return a writer."""

    def write(**tables):
        bench.write_toy()
        text = bench.spec.read_text(encoding="utf-8")
        text = text.replace("lives in Norwick", f"lives in Nor{SOFT}wick").replace('"Ada Quill"', f'"A{SOFT}da Quill"')
        for table, line in tables.items():
            text = text.replace(f"[{table}.people]\n", f"[{table}.people]\n{line}\n")
        rows = [json.loads(row) for row in (bench.folder / "people.jsonl").read_text(encoding="utf-8").splitlines()]
        rows[0]["question"] = f"Where does A{SOFT}da Quill live?"
        rows[0]["quote"] = f"lives in Norw{SOFT}ick"
        rows[0]["options"] = [f"{option[:2]}{SOFT}{option[2:]}" for option in rows[0]["options"]]
        bench.write(text, people_jsonl="".join(json.dumps(row) + "\n" for row in rows))
        return bench

    return write


def test_documents_and_questions_are_cleaned(hyphenated):
    """Invisible characters are removed from documents, questions and queries, and `kib check` counts them."""
    bench = hyphenated()
    said = bench.call("check", bench.spec, "-q").output
    assert "corpus people: removed invisible characters: U+00AD soft hyphen (2); gold ranges refer to" in said
    assert "task people: removed invisible characters: U+00AD soft hyphen (5)" in said
    assert SOFT not in said
    assert bench.run() == {}
    shown = bench.call("show", "m/rag,k=1/people,0-shot", "ada-0").output
    assert "Ada Quill lives in Norwick" in shown
    assert "searched for: Where does Ada Quill live?" in shown
    assert bench.results.cell(bench.cells()["m/rag,k=1/people,0-shot"]).corpus["removed"] == {"U+00AD": 2}


def test_text_can_be_kept(hyphenated):
    """With `invisible = "keep"`, the corpus and the questions about the corpus stay unchanged."""
    bench = hyphenated()
    cleaned = {planned.cell.identity for planned in bench.plan().cells}
    hyphenated(corpora='invisible = "keep"')
    assert cleaned.isdisjoint({planned.cell.identity for planned in bench.plan().cells})
    said = bench.call("check", bench.spec, "-q").output
    assert f"Where does A{SOFT}da Quill live?" in said
    assert "removed invisible" not in said


def test_a_document_without_visible_text_is_rejected(bench):
    """A document that consists of invisible characters has no text."""
    bench.write_toy(documents=[("ada", "Ada", "\u200b\ufeff")])
    assert "document 'ada' has no text" in bench.call("check", bench.spec, "-q").output
