"""Retrieval quality in the leaderboard and in `kib show`."""

import csv
import io
import json
import re

import pytest

from kib.leaderboard import make_table
from kib.leaderboard.render.machine_values import RETRIEVAL, RETRIEVAL_TIMES, ROW

RAG = "m/rag,k=3/people,0-shot"


@pytest.fixture(scope="module")
def done(new_bench, toys, tmp_path_factory):
    """The measured toy benchmark."""
    bench = new_bench(tmp_path_factory.mktemp("done")).write_toy()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(toys)
        assert bench.run() == {}
    return bench


def row(bench, arm, **more):
    """Return the row of an arm from a table with retrieval quality."""
    table = make_table([bench.results], retrieval=True, **more)
    [found] = [one for one in table.rows if one.arm == arm]
    return found


def test_retrieval_values_are_computed_from_question_records(done):
    """Recall, MRR and accuracy with and without gold passages are computed from the cell's question records."""
    for arm in ("rag,k=1", "rag,k=3"):
        lines = done.scores(f"m/{arm}/people,0-shot")
        found = row(done, arm).retrieval
        ranks = [line.gold.index(True) + 1 if any(line.gold or ()) else None for line in lines]
        assert found.judged == len(lines) == 18
        assert found.recall.mean == pytest.approx(sum(rank is not None for rank in ranks) / 18)
        assert found.mrr.mean == pytest.approx(sum(1 / rank for rank in ranks if rank) / 18)
        for part, wanted in ((found.found, True), (found.missed, False)):
            scores = [line.score for line, rank in zip(lines, ranks, strict=True) if (rank is not None) == wanted]
            assert (part.n if part else 0) == len(scores)
            assert part is None or part.mean == pytest.approx(sum(scores) / len(scores))


def test_oracle_and_random_are_the_extremes_of_recall(done):
    """The oracle retrieves every gold passage, and random passages never include a gold passage."""
    gold, chance = row(done, "oracle").retrieval, row(done, "random,k=2").retrieval
    assert (gold.recall.mean, gold.missed) == (1, None)
    assert (chance.recall.mean, chance.mrr.mean, chance.ndcg.mean, chance.found) == (0, 0, 0, None)
    assert row(done, "base").retrieval is None


def test_recall_excludes_questions_without_gold(bench):
    """Recall excludes questions without a gold passage, but includes questions without results."""
    rows = [
        {"id": "q1", "question": "Where does Ada live?", "options": ["a", "b"], "answer": "A", "document": "ada"},
        {"id": "q2", "question": "Where does Ben live?", "options": ["a", "b"], "answer": "A"},
        {"id": "q3", "question": "xyzzy?", "options": ["a", "b"], "answer": "A", "document": "ben"},
    ]
    bench.write_toy(questions="".join(json.dumps(one) + "\n" for one in rows))
    bench.run()
    found = row(bench, "rag,k=1")
    lines = bench.scores("m/rag,k=1/people,0-shot")
    assert found.retrieval.accuracy == (lines[0].score + lines[2].score) / 2
    assert (found.retrieval.judged, found.retrieval.recall.mean, found.recall) == (2, 1 / 2, 1 / 2)
    assert [score.relevant for score in bench.scores("m/rag,k=1/people,0-shot")] == [1, 0, 1]


def test_cells_without_a_gold_count_have_only_recall(bench):
    """Cells without a recorded number of gold passages have recall, but neither MRR nor nDCG."""
    bench.write_toy()
    bench.run()
    cell = bench.cells()[RAG]
    result, lines = bench.results.cell(cell), bench.results.scores(cell)
    old = [type(line)(**{**{name: getattr(line, name) for name in line.__slots__}, "relevant": None}) for line in lines]
    bench.results.save_cell(result, old)
    found = row(bench, "rag,k=3").retrieval
    assert (found.mrr, found.ndcg) == (None, None)
    assert found.recall.mean == 1
    assert "a gold passage was retrieved for 18 of 18 questions\n" in bench.call("show", RAG).stdout


def test_all_formats_contain_the_retrieval_values(done):
    """CSV and JSON contain all retrieval values, and the terminal and Markdown tables print matching values."""
    given = json.loads(done.call("leaderboard", "--retrieval", "--format", "json").stdout)["rows"]
    listed = list(csv.DictReader(io.StringIO(done.call("leaderboard", "--retrieval", "--format", "csv").stdout)))
    for one, other in zip(given, listed, strict=False):
        assert set(one) == {*ROW, *RETRIEVAL}
        for name in RETRIEVAL:
            assert other[name] == ("" if one[name] is None else str(one[name]))
    [rag] = [one for one in given if one["arm"] == "rag,k=1"]
    shown = f"{100 * rag['retrieval_recall']:.1f}"
    for form in ("terminal", "markdown"):
        text = done.call("leaderboard", "--retrieval", "--format", form).stdout
        table = text.partition("retrieval · m · people · 0-shot · 18 questions with a gold passage")[2]
        [line] = [line for line in table.splitlines() if re.match(r"\W*rag,k=1\b", line)]
        assert shown in line


def test_search_times_are_shown_only_on_request(done):
    """Measured times appear only with `--times`, so that all other output is reproducible."""
    assert done.call("leaderboard", "--retrieval").stdout == done.call("leaderboard", "--retrieval").stdout
    given = json.loads(done.call("leaderboard", "--retrieval", "--times", "--format", "json").stdout)["rows"]
    assert set(given[0]) == {*ROW, *RETRIEVAL, *RETRIEVAL_TIMES}
    [rag] = [one for one in given if one["arm"] == "rag,k=3"]
    assert rag["seconds_indexing"] > 0
    assert rag["seconds_searching"] > 0
    assert rag["index_bytes"] > 0
    assert "ms/q" not in done.call("leaderboard", "--retrieval").stdout


def test_retrieval_option_does_not_change_the_gains(done):
    """The option `--retrieval` does not change the table of gains."""
    plain = done.call("leaderboard").stdout.split("\n\n")
    more = done.call("leaderboard", "--retrieval").stdout.split("\n\n")
    assert more[: len(plain) - 1] == plain[:-1]


def test_show_prints_retrieval_quality(done):
    """`kib show` prints recall, MRR, nDCG, accuracy with and without gold passages, and index costs."""
    text = done.call("show", RAG).stdout
    found = row(done, "rag,k=3").retrieval
    line = f"a gold passage was retrieved for 18 of 18 questions; MRR {found.mrr.mean:.3f}, nDCG {found.ndcg.mean:.3f}"
    assert line in text
    assert f"right {round(found.found.mean * 18)} of 18 with a gold passage" in text
    assert re.search(r"index of \d[\d,]* bytes, built in \S+ s; \S+ ms search time per question", text)
    chance = done.call("show", "m/random,k=2/people,0-shot").stdout
    assert "a gold passage was retrieved for 0 of 18 questions; MRR 0.000, nDCG 0.000" in chance
    assert "index of" not in chance
    assert "gold passage" not in done.call("show", "m/base/people,0-shot").stdout
