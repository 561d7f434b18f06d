import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import kib_bm25
from kib.errors import DamagedError
from kib.records import Hit, Passage, Query
from kib.testing import PASSAGES, make_plugin
from kib_bm25 import BM25

Search = Callable[..., list[Hit]]


def passages(*texts: str, title: str = "") -> list[Passage]:
    return [Passage(f"p{number}", f"d{number}", title, text, 0, len(text)) for number, text in enumerate(texts)]


@pytest.fixture
def find(tmp_path: Path) -> Search:
    def search(query: str, given: Sequence[Passage], k: int = 10, **options: Any) -> list[Hit]:
        retriever = make_plugin(BM25, options)
        retriever.build(given, tmp_path)
        hits: list[Hit] = retriever.search(tmp_path, [Query("q", query)], k)[0]
        return hits

    return search


def test_bm25s_logs_nothing(find: Search, caplog: pytest.LogCaptureFixture) -> None:
    """Building an index and searching print no messages of bm25s, even if another library has set up logging."""
    caplog.set_level(logging.DEBUG)
    assert find("pump", passages("a pump", "a valve"))
    assert not caplog.records


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage for hit in hits]


def test_formula(find: Search) -> None:
    """Scores follow Lucene's BM25 formula, with passage lengths relative to the mean passage length."""
    given = passages("red lever", "red red door of the boiler room", "green", title="")
    hits = find("red", given, stop_words="none", stemmer="none", k1=0.9, b=0.4)
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean = (2 + 7 + 1) / 3

    def score(frequency: int, length: int) -> float:
        return idf * frequency / (frequency + 0.9 * (1 - 0.4 + 0.4 * length / mean))

    expected = sorted([(score(1, 2), "p0"), (score(2, 7), "p1")], reverse=True)
    assert [(pytest.approx(hit.score, rel=1e-5), hit.passage) for hit in hits] == expected


def test_many_ties(find: Search) -> None:
    """Among many passages with the same text, the hits are the first passages by id, regardless of corpus order."""
    same = [Passage(f"p{number * 37 % 100:02}", "d", "", "a red lever", 0, 11) for number in range(100)]
    assert ids(find("red lever", same, k=3)) == ["p00", "p01", "p02"]


def test_tie_for_the_last_hit(find: Search) -> None:
    """If passages tie for the last hit, better passages remain first and the lowest id among the tied passages wins."""
    given = [*passages("lever", "lever", "lever"), Passage("z", "z", "", "lever pump", 0, 10)]
    assert ids(find("lever pump", given, k=2)) == ["z", "p0"]


def test_title(find: Search) -> None:
    """A word in a passage's title has the same effect on the score as a word in the passage's text."""
    given = [Passage("p0", "d0", "Relief valve", "Opens at eleven bar.", 0, 20), *passages("pump")[1:]]
    assert ids(find("valve", given)) == ["p0"]


@pytest.mark.parametrize("method", ["lucene", "atire", "bm25l", "bm25+"])
def test_no_shared_word(find: Search, method: str) -> None:
    """A passage without a word in common with the query is not a hit, even if its score would be positive."""
    given = passages("red lever", "green door", "blue pump")
    assert ids(find("red", given, method=method)) == ["p0"]
    assert find("unheard", given, method=method) == []


def test_a_word_in_all_passages(find: Search) -> None:
    """A passage with only a zero-weight word in common with the query is still a hit, with score 0."""
    hits = find("red", passages("red lever", "red door", "red pump"), method="robertson")
    assert hits == [Hit("p0", 0.0), Hit("p1", 0.0), Hit("p2", 0.0)]


def test_stop_words(find: Search) -> None:
    """Stop words are ignored, whether they are from a list in bm25s or from the user's own list."""
    given = passages("the lever of the pump", "a door")
    assert find("the", given) == []
    assert ids(find("the", given, stop_words="none")) == ["p0"]
    assert find("Lever", given, stop_words=["LEVER"]) == []
    assert ids(find("the", given, stop_words=["lever"])) == ["p0"]


def test_stemmer(find: Search) -> None:
    """Inflected forms of a word match each other in the stemmer's language."""
    assert ids(find("levers", passages("lever", "door"))) == ["p0"]
    assert find("levers", passages("lever", "door"), stemmer="none") == []
    assert ids(find("Häusern", passages("Haus", "Tür"), stemmer="german", stop_words="de")) == ["p0"]


@pytest.mark.parametrize(
    ("query", "text"),
    [("cafe\u0301", "CAF\u00c9"), ("\ufb01lter", "filter"), ("\uff30\uff35\uff2d\uff30", "pump"), ("H\u2082O", "h2o")],
)
def test_unicode_forms(find: Search, query: str, text: str) -> None:
    """Decomposed letters, ligatures, full-width letters and uppercase letters match their normalized forms."""
    assert ids(find(query, passages(text, "door"), stemmer="none")) == ["p0"]


@pytest.mark.parametrize(
    ("query", "text", "part"),
    [
        ("istanbul", "İSTANBUL", "stanbul"),
        ("İzmir", "i\u0307zmir", "zmir"),
        ("हिन्दी", "हिन्दी भाषा", "ह"),
        ("שָׁלוֹם", "שָׁלוֹם עולם", "לו"),
        ("தமிழ்", "தமிழ் மொழி", "ழ"),
    ],
)
def test_marks_do_not_split_words(find: Search, query: str, text: str, part: str) -> None:
    """A combining mark is part of its word, so a part of the word does not match."""
    plain = {"stemmer": "none", "stop_words": "none"}
    assert ids(find(query, passages(text, "door"), **plain)) == ["p0"]
    assert find(part, passages(text, "door"), **plain) == []


def test_token_pattern(find: Search) -> None:
    """A token pattern may match single characters in text without spaces, and may contain a capturing group."""
    given, character, machine = passages("这座桥建于一九七零年", "红色的门"), r"\w", r"(\w+-\d)\b"
    plain = {"stop_words": "none", "stemmer": "none"}
    assert find("桥", given, **plain) == []
    assert ids(find("桥", given, **plain, token_pattern=character)) == ["p0"]
    assert ids(find("pump-7", passages("pump-7", "pump"), token_pattern=machine)) == ["p0"]


def test_lists_exist() -> None:
    """Every stemmer and every stop word list in the options exists in the libraries."""
    import Stemmer

    assert set(get_args(kib_bm25.Stemmer)) - {"none"} <= set(Stemmer.algorithms())
    assert set(kib_bm25.STOP_WORD_LISTS) == set(get_args(kib_bm25.StopWords)) - {"none"}
    assert all(kib_bm25._stop_words(name) for name in kib_bm25.STOP_WORD_LISTS)


def test_plain_files(tmp_path: Path) -> None:
    """The index consists of JSON and of NumPy arrays without pickled objects."""
    make_plugin(BM25, {"method": "bm25+"}).build(passages("red lever", "door"), tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".json"}
    for path in tmp_path.glob("*.npy"):
        assert np.load(path, allow_pickle=False).dtype.kind in "fi"


def test_same_bytes(tmp_path: Path) -> None:
    """The bytes of an index do not depend on Python's hash seed."""
    code = (
        "import sys, pathlib; from kib.testing import *; from kib_bm25 import BM25; "
        "make_plugin(BM25).build(PASSAGES, pathlib.Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other")], check=True, env=environment)
    make_plugin(BM25).build(PASSAGES, tmp_path / "this")
    this, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("this", "other"))
    assert this == other


def test_corpus_without_words(find: Search) -> None:
    """A search in a corpus that contains no words returns no hits."""
    assert find("red", passages("—", "!?")) == []


def test_search_with_k_0(find: Search) -> None:
    """A search with `k = 0` returns no hits."""
    assert find("red", passages("red", "door"), k=0) == []


def test_no_output(capfd: pytest.CaptureFixture[str], find: Search) -> None:
    """Building an index and searching it print nothing, not even a progress bar."""
    find("red", passages("red", "door"))
    assert capfd.readouterr() == ("", "")


def test_no_fingerprint() -> None:
    """The fingerprint of the retriever is empty, because none of its options refers to a file."""
    assert make_plugin(BM25).fingerprint() == ""


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("passages.json", None, "passages.json: damaged or missing"),
        ("passages.json", b"[]", "passages.json: damaged or missing"),
        ("passages.json", b'{"passages": ["one"], "words": 3}', "damaged .the arrays describe 14 passages"),
        ("vocab.index.json", b"\xff\xfe", "damaged or missing .UnicodeDecodeError"),
        ("params.index.json", b"{", "damaged or missing .JSONDecodeError"),
        ("indptr.csc.index.npy", b"", "damaged or missing"),
        ("data.csc.index.npy", None, "damaged or missing .FileNotFoundError"),
    ],
)
def test_a_damaged_index(tmp_path: Path, name: str, content: bytes | None, named: str) -> None:
    """A damaged or missing index file raises an error that names the index and the remedy."""
    make_plugin(BM25).build(PASSAGES, tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedError, match=f"{re.escape(str(tmp_path))}.*{named}.*; delete the folder of the index"):
        make_plugin(BM25).search(tmp_path, [Query("q", "pump")], 3)
