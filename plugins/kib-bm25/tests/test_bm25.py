import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import kib_bm25
from kib.records import Hit, Passage, Query
from kib.testing import make_plugin
from kib_bm25 import BM25

Found = Callable[..., list[Hit]]


def passages(*texts: str, title: str = "") -> list[Passage]:
    return [Passage(f"p{number}", f"d{number}", title, text, 0, len(text)) for number, text in enumerate(texts)]


@pytest.fixture
def find(tmp_path: Path) -> Found:
    def search(query: str, given: Sequence[Passage], k: int = 10, **options: Any) -> list[Hit]:
        retriever = make_plugin(BM25, options)
        retriever.build(given, tmp_path)
        hits: list[Hit] = retriever.search(tmp_path, [Query("q", query)], k)[0]
        return hits

    return search


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage for hit in hits]


def test_formula(find: Found) -> None:
    """The score is Lucene's BM25: idf times saturated frequency, with the length measured against the mean."""
    given = passages("red lever", "red red door of the boiler room", "green", title="")
    hits = find("red", given, stop_words="none", stemmer="none", k1=0.9, b=0.4)
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean = (2 + 7 + 1) / 3

    def score(frequency: int, length: int) -> float:
        return idf * frequency / (frequency + 0.9 * (1 - 0.4 + 0.4 * length / mean))

    expected = sorted([(score(1, 2), "p0"), (score(2, 7), "p1")], reverse=True)
    assert [(pytest.approx(hit.score, rel=1e-6), hit.passage) for hit in hits] == expected


def test_many_ties(find: Found) -> None:
    """Of many equal passages the first by id are taken, wherever they stand in the corpus."""
    same = [Passage(f"p{number * 37 % 100:02}", "d", "", "a red lever", 0, 11) for number in range(100)]
    assert ids(find("red lever", same, k=3)) == ["p00", "p01", "p02"]


def test_ties_at_the_edge(find: Found) -> None:
    """Where the last place is tied, the better passage stays first and the lowest id gets the place."""
    given = [*passages("lever", "lever", "lever"), Passage("z", "z", "", "lever pump", 0, 10)]
    assert ids(find("lever pump", given, k=2)) == ["z", "p0"]


def test_title_counts(find: Found) -> None:
    """A word of the title is found like a word of the text."""
    given = [Passage("p0", "d0", "Relief valve", "Opens at eleven bar.", 0, 20), *passages("pump")[1:]]
    assert ids(find("valve", given)) == ["p0"]


@pytest.mark.parametrize("method", ["lucene", "bm25l", "bm25+"])
def test_no_shared_word_no_hit(find: Found, method: str) -> None:
    """A passage that shares no word with the question is no hit, though some formulas give it points."""
    given = passages("red lever", "green door", "blue pump")
    assert ids(find("red", given, method=method)) == ["p0"]
    assert find("unheard", given, method=method) == []


def test_a_word_in_all_passages_is_a_hit(find: Found) -> None:
    """A passage that shares only a word without weight is still a hit, with score 0."""
    hits = find("red", passages("red lever", "red door", "red pump"), method="robertson")
    assert hits == [Hit("p0", 0.0), Hit("p1", 0.0), Hit("p2", 0.0)]


def test_stop_words(find: Found) -> None:
    """Stop words do not count: those of a list of bm25s, one's own, or none."""
    given = passages("the lever of the pump", "a door")
    assert find("the", given) == []
    assert ids(find("the", given, stop_words="none")) == ["p0"]
    assert find("Lever", given, stop_words=["LEVER"]) == []
    assert ids(find("the", given, stop_words=["lever"])) == ["p0"]


def test_stemmer(find: Found) -> None:
    """Inflected forms meet in their stem, in the language that was asked for."""
    assert ids(find("levers", passages("lever", "door"))) == ["p0"]
    assert find("levers", passages("lever", "door"), stemmer="none") == []
    assert ids(find("Häusern", passages("Haus", "Tür"), stemmer="german", stop_words="de")) == ["p0"]


@pytest.mark.parametrize(
    ("query", "text"),
    [("cafe\u0301", "CAF\u00c9"), ("\ufb01lter", "filter"), ("\uff30\uff35\uff2d\uff30", "pump"), ("H\u2082O", "h2o")],
)
def test_unicode_forms(find: Found, query: str, text: str) -> None:
    """Composed and decomposed letters, ligatures, full-width letters and case make no difference."""
    assert ids(find(query, passages(text, "door"), stemmer="none")) == ["p0"]


def test_token_pattern(find: Found) -> None:
    """A pattern of one character finds words in text that is written without spaces."""
    given, signs, machines = passages("这座桥建于一九七零年", "红色的门"), r"\w", r"(\w+-\d)\b"
    plain = {"stop_words": "none", "stemmer": "none"}
    assert find("桥", given, **plain) == []
    assert ids(find("桥", given, **plain, token_pattern=signs)) == ["p0"]
    assert ids(find("pump-7", passages("pump-7", "pump"), token_pattern=machines)) == ["p0"]


def test_lists_exist() -> None:
    """Every stemmer and every list of stop words that the options name is there."""
    import Stemmer

    assert set(get_args(kib_bm25.Stemmer)) - {"none"} <= set(Stemmer.algorithms())
    assert set(kib_bm25.STOP_WORDS) == set(get_args(kib_bm25.StopWords)) - {"none"}
    assert all(kib_bm25._stop_words(name) for name in kib_bm25.STOP_WORDS)


def test_plain_files(tmp_path: Path) -> None:
    """The index is NumPy arrays without pickled objects, and JSON."""
    make_plugin(BM25, {"method": "bm25+"}).build(passages("red lever", "door"), tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".json"}
    for path in tmp_path.glob("*.npy"):
        assert np.load(path, allow_pickle=False).dtype.kind in "fi"


def test_same_bytes(tmp_path: Path) -> None:
    """An index has the same bytes whatever order Python's hashing gives to words."""
    code = (
        "import sys, pathlib; from kib.testing import *; from kib_bm25 import BM25; "
        "make_plugin(BM25).build(PASSAGES, pathlib.Path(sys.argv[1]))"
    )
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], check=True, env=environment)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()} for seed in ("1", "2"))
    assert one == two


def test_no_words_at_all(find: Found) -> None:
    """A corpus without a single word gives no hits and no error."""
    assert find("red", passages("—", "!?")) == []


def test_no_k(find: Found) -> None:
    """Asked for no passage, it gives none."""
    assert find("red", passages("red", "door"), k=0) == []


def test_nothing_on_the_screen(capfd: pytest.CaptureFixture[str], find: Found) -> None:
    """Building and searching print nothing, not even a progress bar."""
    find("red", passages("red", "door"))
    assert capfd.readouterr() == ("", "")


def test_no_fingerprint() -> None:
    """The options point at nothing, so there is nothing to fingerprint."""
    assert make_plugin(BM25).fingerprint() == ""
