"""Documents are split into passages, and gold ranges are matched to passages."""

from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kib.errors import InputError
from kib.identity import canonical, digest_lines
from kib.records import Document, Passage
from kib.run.chunking import split_documents
from kib.run.steps.passages import IDS, OFFSETS, Passages, write_passages
from kib.spec.load import Chunk

SIGNS = "ab Z.!?,;:()\n\t\r\u2028\u2029\x85\u200b\xa0üß桥🚧e\u0301\u0300'\"-—0"
TEXT = st.text(st.sampled_from(SIGNS) | st.characters(codec="utf-8"), max_size=300)
WORDS = st.lists(
    st.sampled_from(
        [
            "Ada",
            "lives",
            "in",
            "Norwick.",
            "Dr.",
            "Über",
            "桥。",
            "3.5",
            "Who?",
            "\n\n",
            "🚧",
            "\n\n# Pump\n\n",
            "Valves",
            "1.",
            "\n2.",
            "IV.",
            "\n    -",
        ]
    )
)
PROSE = TEXT | WORDS.map(" ".join)


def tokens_of_bytes(text):
    """Return one token per byte after a start token."""
    return [256, *text.encode()]


def tokens_of_words(text):
    """Return one token per word."""
    return [len(word) for word in text.split()]


def cut(text, chunk, tokens=tokens_of_bytes):
    document = Document("d", "Title", text)
    return list(split_documents([document], chunk, tokens))


CHUNKS = st.one_of(
    st.none(),
    st.builds(lambda size, overlap: Chunk(tokens=size, overlap=overlap % size), st.integers(4, 80), st.integers(0, 79)),
    st.builds(
        lambda size, overlap: Chunk(sentences=size, overlap=overlap % size), st.integers(1, 5), st.integers(0, 4)
    ),
)


@given(PROSE, CHUNKS)
@example("x\u2028y. z", Chunk(sentences=1))
@example("\u200b", Chunk(sentences=2))
@example("a" * 50, Chunk(tokens=4))
def test_a_passage_is_a_range_of_its_document(text, chunk):
    """A passage's text equals the document's text in the passage's character range."""
    assume(text.strip())
    passages = cut(text, chunk)
    assert passages
    for number, passage in enumerate(passages):
        assert passage.text == text[passage.start : passage.end]
        assert passage.text.strip()
        assert (passage.id, passage.document, passage.title) == (f"d#{number}", "d", "Title")


@given(PROSE, CHUNKS)
def test_every_character_is_in_some_passage(text, chunk):
    """Every character of a document except white space belongs to a passage."""
    assume(text.strip())
    covered = {at for passage in cut(text, chunk) for at in range(passage.start, passage.end)}
    assert not [at for at, sign in enumerate(text) if at not in covered and not sign.isspace()]


@given(PROSE, CHUNKS)
@example("A\n\n00000", Chunk(tokens=4, overlap=3))  # the rest below the heading starts where the next chunk starts
def test_passages_are_in_document_order(text, chunk):
    """Each passage starts after the start and ends after the end of the previous passage."""
    assume(text.strip())
    ranges = [(passage.start, passage.end) for passage in cut(text, chunk)]
    for (start, end), (later, further) in pairwise(ranges):
        assert start < later
        assert end < further


@given(PROSE, st.integers(4, 60), st.integers(0, 30), st.sampled_from([tokens_of_bytes, tokens_of_words]))
def test_a_passage_does_not_exceed_its_token_limit(text, size, overlap, tokens):
    """No passage exceeds the chunk size in tokens, excluding special tokens."""
    assume(text.strip())
    for passage in cut(text, Chunk(tokens=size, overlap=min(overlap, size - 1)), tokens):
        assert len(tokens(passage.text)) - len(tokens("")) <= size


@given(PROSE, st.integers(4, 60), st.integers(1, 30))
def test_passages_share_at_most_the_overlap(text, size, overlap):
    """Neighbouring passages share at most `overlap` tokens."""
    assume(text.strip())
    overlap = min(overlap, size - 1)
    for share, passages in (
        (overlap, cut(text, Chunk(tokens=size, overlap=overlap))),
        (0, cut(text, Chunk(tokens=size))),
    ):
        for one, other in pairwise(passages):
            assert len(text[other.start : max(one.end, other.start)].encode()) <= share


def test_neighbouring_passages_overlap():
    """If an overlap is set, neighbouring passages share text."""
    text = "One two. Three four. Five six. Seven eight."
    passages = cut(text, Chunk(tokens=22, overlap=12))
    assert any(other.start < one.end for one, other in pairwise(passages))


def test_chunks_end_at_sentences_if_possible():
    """Chunks measured in tokens end at sentence boundaries if possible."""
    text = "Ada lives in Norwick. Ben lives in Tarn. Cho lives in Ostend."
    assert [passage.text for passage in cut(text, Chunk(tokens=24))] == [
        "Ada lives in Norwick.",
        "Ben lives in Tarn.",
        "Cho lives in Ostend.",
    ]


@pytest.mark.parametrize(
    ("size", "overlap", "expected"),
    [
        (1, 0, ["Ann ate.", "Bob ran!", "Who?", "Eve."]),
        (2, 0, ["Ann ate. Bob ran!", "Who? Eve."]),
        (2, 1, ["Ann ate. Bob ran!", "Bob ran! Who?", "Who? Eve."]),
        (3, 0, ["Ann ate. Bob ran! Who?", "Eve."]),
        (3, 2, ["Ann ate. Bob ran! Who?", "Bob ran! Who? Eve."]),
        (4, 3, ["Ann ate. Bob ran! Who? Eve."]),
        (9, 0, ["Ann ate. Bob ran! Who? Eve."]),
    ],
)
def test_sentence_passages_have_the_requested_size(size, overlap, expected):
    """A passage has `size` sentences and starts with the last `overlap` sentences of the previous passage."""
    text = " Ann ate. Bob ran! Who? Eve. \n"
    assert [passage.text for passage in cut(text, Chunk(sentences=size, overlap=overlap))] == expected


@given(WORDS.map(" ".join), st.integers(1, 5), st.integers(0, 4))
def test_no_sentence_passage_contains_another(text, size, overlap):
    """No passage made of sentences is contained in a neighbouring passage."""
    assume(text.strip())
    passages = cut(text, Chunk(sentences=size, overlap=overlap % size))
    for one, other in pairwise(passages):
        assert not (one.start <= other.start and other.end <= one.end)


def test_abbreviations_do_not_end_a_sentence():
    """An abbreviation does not end a sentence."""
    assert [p.text for p in cut("Dr. Quill left. She ran.", Chunk(sentences=1))] == ["Dr. Quill left.", "She ran."]


def test_without_a_chunk_a_document_is_a_passage():
    """Without a chunk size, each document is one passage, with leading and trailing white space removed."""
    assert cut("\n A. \n\nB.\n", None) == [Passage("d#0", "d", "Title", "A. \n\nB.", 2, 9)]


def test_each_passage_keeps_the_title():
    """Every passage has the title of its document."""
    assert {p.title for p in cut("A b. C d. E f.", Chunk(sentences=1))} == {"Title"}


MANUAL = """# Pump manual

## Safety

Wear gloves. Close the valve.

Maintenance

The oil is changed weekly. Ask the porter.

## Appendix
"""


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (
            Chunk(sentences=1),
            [
                "# Pump manual\n\n## Safety\n\nWear gloves.",
                "Close the valve.",
                "Maintenance\n\nThe oil is changed weekly.",
                "Ask the porter.\n\n## Appendix",
            ],
        ),
        (
            Chunk(sentences=3, overlap=1),
            [
                MANUAL.partition(" Ask")[0],
                "Maintenance\n\nThe oil is changed weekly. Ask the porter.\n\n## Appendix",
            ],
        ),
        (
            Chunk(tokens=7),
            [
                "# Pump manual\n\n## Safety\n\nWear gloves.",
                "Close the valve.\n\nMaintenance",
                "The oil is changed weekly.",
                "Ask the porter.\n\n## Appendix",
            ],
        ),
    ],
)
def test_a_heading_is_joined_with_the_text_below(chunk, expected):
    """No passage consists of headings: headings are joined with the text below, or else with the text above."""
    assert [passage.text for passage in cut(MANUAL, chunk, tokens_of_words)] == expected


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("1. Open it.\n2. Wait.\n3. Close it.", "en", ["1. Open it.", "2. Wait.", "3. Close it."]),
        ("3.1. Scope. It is wide. IV. Next.", "en", ["3.1. Scope.", "It is wide.", "IV. Next."]),
        ("A. Press it. (ii) Hold it. b. Leave.", "en", ["A. Press it.", "(ii) Hold it.", "b. Leave."]),
        ("3.\n\nOpen it.\n\n•\n\nClose it.", "en", ["3.\n\nOpen it.", "•\n\nClose it."]),
        (
            "Step 1. Open it. § 5. It rains. Section IV. End.",
            "en",
            ["Step 1. Open it.", "§ 5. It rains.", "Section IV. End."],
        ),
        ("1. Deckel öffnen. 2. Kurz warten. 3. Ende.", "de", ["1. Deckel öffnen.", "2. Kurz warten.", "3. Ende."]),
        ("Es folgt aus Art. 3. Danach kam er.", "de", ["Es folgt aus Art. 3.", "Danach kam er."]),
        ("It was in 1990. He left. The end. 5.", "en", ["It was in 1990.", "He left.", "The end. 5."]),
    ],
)
def test_a_number_is_joined_with_the_text_that_follows(text, language, expected):
    """The number of a list item or section belongs to the sentence that follows, or else to the sentence before."""
    chunk = Chunk(sentences=1, language=language)
    assert [passage.text for passage in cut(text, chunk)] == expected


def test_a_chunk_of_tokens_does_not_end_with_a_number():
    """The number of a list item moves to the next chunk if the chunk does not become too long."""
    text = "1. Open the small valve. 2. Wait until it rains. 3. Close."
    assert [passage.text for passage in cut(text, Chunk(tokens=6), tokens_of_words)] == [
        "1. Open the small valve.",
        "2. Wait until it rains.",
        "3. Close.",
    ]


CODE = "Example.\n\n    def f():\n        return 1\n\n\tIt rains.\n Then it ends."


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (Chunk(sentences=1), ["Example.", "    def f():\n        return 1", "\tIt rains.", "Then it ends."]),
        (
            Chunk(sentences=2, overlap=1),
            [
                "Example.\n\n    def f():\n        return 1",
                "    def f():\n        return 1\n\n\tIt rains.",
                "\tIt rains.\n Then it ends.",
            ],
        ),
        (Chunk(tokens=4), ["Example.", "    def f():\n        return 1", "\tIt rains.", "Then it ends."]),
    ],
)
def test_a_passage_keeps_its_indentation(chunk, expected):
    """A passage that starts with the first word of an indented line starts with the indentation."""
    assert [passage.text for passage in cut(CODE, chunk, tokens_of_words)] == expected
    assert [passage.text for passage in cut("\n" + CODE[10:], None)] == [CODE[10:]]


def test_a_heading_above_a_full_passage_is_joined_with_a_part():
    """If a heading and the passage below exceed the size together, the passage below is split into two."""
    body = "One two three four five six. Seven eight nine ten eleven twelve."
    texts = [passage.text for passage in cut(f"# On numbers\n\n{body}", Chunk(tokens=12), tokens_of_words)]
    assert texts == ["# On numbers\n\nOne two three four five six.", "Seven eight nine ten eleven twelve."]


@pytest.mark.parametrize("chunk", [Chunk(sentences=1), Chunk(tokens=3)])
def test_a_document_of_headings_keeps_them(chunk):
    """A document that consists of headings is split like any other document."""
    assert [passage.text for passage in cut("# One\n\n# Two", chunk, tokens_of_words)] == ["# One", "# Two"]


def test_a_series_of_headings_is_a_list():
    """Only the last six of a long series of headings are joined with the text below."""
    lines = [f"## Part {number}" for number in range(20)]
    first, *_, last = cut("\n\n".join([*lines, "It rains."]), Chunk(sentences=1))
    assert first.text == "## Part 0"
    assert last.text == "\n\n".join([*lines[-6:], "It rains."])


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("\n".join(f"run --step {number} --of the whole machine" for number in range(100)), "machine"),
        (" ".join(f"word{number}" for number in range(500)), ""),
        ("桥" * 2000, "桥"),
    ],
    ids=["lines", "words", "characters"],
)
def test_a_long_sentence_is_split(text, ends):
    """A sentence of more than 600 characters is split between lines, else between words, else anywhere."""
    passages = cut(text, Chunk(sentences=1))
    assert max(len(passage.text) for passage in passages) <= 600
    assert min(len(passage.text) for passage in passages[:-1]) > 500
    assert "".join("".join(passage.text.split()) for passage in passages) == "".join(text.split())
    assert all(passage.text.endswith(ends) for passage in passages)
    assert set(" ".join(passage.text for passage in passages).split()) == set(text.split()) or ends == "桥"


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([Document("d", "", "a"), Document("d", "", "b")], "document id 'd' appears twice in the corpus"),
        ([Document("", "t", "a")], "a document has an empty id"),
        ([Document("d", "t", "")], "document 'd' has no text"),
        ([Document("d", "t", " \n\u2028")], "document 'd' has no text"),
    ],
)
def test_invalid_documents_are_rejected(documents, words):
    """A repeated id, an empty id or a document without text raises an error."""
    with pytest.raises(InputError) as caught:
        list(split_documents(documents, None))
    assert words in str(caught.value)


def test_chunks_of_tokens_need_a_tokenizer():
    """Splitting into chunks of tokens requires a tokenizer."""
    with pytest.raises(InputError, match="requires a tokenizer"):
        list(split_documents([Document("d", "", "a")], Chunk(tokens=3)))


def test_a_document_without_boundaries_is_not_split_by_tokens():
    """A very long text without a sentence end raises an error that names the document instead of taking hours."""
    text = "A sentence. " + "x" * 1_000_001
    with pytest.raises(InputError, match="document 'd' contains 1,000,002 characters without a sentence end"):
        next(split_documents([Document("d", "", text)], Chunk(tokens=3), tokens_of_bytes))
    assert len(list(split_documents([Document("d", "", text)], Chunk(sentences=1)))) == 1668
    assert next(split_documents([Document("d", "", "One word. " * 100_001)], Chunk(tokens=1000), tokens_of_bytes))


def stored(folder, *documents, chunk=None):
    """Return passages after storing and reading them in the same way as a run."""
    made = split_documents([Document(name, name.title(), text) for name, text in documents], chunk, tokens_of_bytes)
    write_passages(made, folder)
    return Passages(folder)


AWKWARD = 'a\u2028b\x85c\u2029d\x0be\x0c f\r\ng\\n"\x00\x1f桥🚧 '


def test_stored_passages_are_unchanged(tmp_path):
    """Line breaks, quotes and characters of all scripts are preserved in stored passages."""
    passages = stored(tmp_path, ("x", AWKWARD), ("y\u2028", "other"))
    assert [p.text for p in passages] == [AWKWARD.strip(), "other"]
    assert passages.ids == ["x#0", "y\u2028#0"]
    assert passages.get(["y\u2028#0", "x#0", "x#0"])[1].text == AWKWARD.strip()


@given(st.lists(PROSE.filter(str.strip), min_size=1, max_size=5), CHUNKS)
def test_passages_are_read_by_id(tmp_path, texts, chunk):
    """Passages are read by id and returned in the requested order."""
    passages = stored(tmp_path, *((f"d{number}", text) for number, text in enumerate(texts)), chunk=chunk)
    whole = list(passages)
    assert passages.get(passages.ids[::-1]) == whole[::-1]
    assert [p.id for p in whole] == passages.ids


def test_stored_offsets_match_the_passages(tmp_path):
    """The stored ids, offsets and digest match the values computed from the passages."""
    made = list(split_documents([Document(f"d{n}\u2028", "T", AWKWARD * n) for n in range(1, 9)], None))
    count, digest = write_passages(made, tmp_path)
    quick = Passages(tmp_path)
    for name in (IDS, OFFSETS):
        (tmp_path / name).unlink()
    slow = Passages(tmp_path)
    assert (quick.ids, quick.offsets) == (slow.ids, slow.offsets)
    assert count == len(quick.ids) == 8
    assert list(quick) == list(slow) == slow.get(slow.ids) == made
    assert digest == digest_lines(canonical(asdict(passage)) for passage in made)
