"""Search hits are stored, shared between cells and validated."""

import io
import json
import re
from itertools import count

import pytest

from kib.progress import LineProgress, SilentProgress

REMEMBERING = """
from kib.interfaces import Options
from kib.records import Hit
from pydantic import Field


class Remembering:
    # Finds every passage; writes one empty file per passage, and only if the file is missing.

    class Options(Options):
        name: str = Field("numbers-1", description="of its memory")
        breaks_at: int = Field(-1, description="the passage at which a build breaks down")

    revision = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        return ""

    def memory(self):
        return self.options.name

    def build(self, passages, folder, memory=None):
        memory.mkdir(parents=True, exist_ok=True)
        computed, ids = [], []
        for number, passage in enumerate(passages):
            if number == self.options.breaks_at:
                raise OSError("broke down")
            kept = memory / f"{passage.id}-{len(passage.text)}"
            if not kept.exists():
                computed.append(passage.id)
                kept.touch()
            ids.append(passage.id)
        (folder / "ids").write_text(" ".join(ids))
        (folder / "computed").write_text(" ".join(computed))

    def remarks(self, folder):
        return [f"computed {(folder / 'computed').read_text() or 'nothing'}"]

    def search(self, folder, queries, k):
        ids = sorted((folder / "ids").read_text().split())
        return [[Hit(passage, 1.0) for passage in ids[:k]] for _ in queries]
"""


def hits_files(bench):
    return sorted((bench.folder / "work" / "hits").glob("*/hits.jsonl"))


def found(bench, retriever):
    """Return the stored hits of a retriever as {question: [passage, …]}."""
    for path in hits_files(bench):
        if json.loads((path.parent / "done.json").read_text())["note"]["retriever"] == retriever:
            lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            return {line["question"]: [passage for passage, _ in line["hits"]] for line in lines}
    raise AssertionError(f"no hits of {retriever}")


def reasons(bench):
    return {failure.error for failure in bench.run().values()}


def test_hits_are_stored_once_for_all_cells(bench):
    """A retriever's hits are stored in one file for all values of top_k and all numbers of shots."""
    bench.write_toy(more='\n[methods.again]\nretrieve = "words"\ntop_k = [2]\n')
    assert bench.run() == {}
    notes = [json.loads((path.parent / "done.json").read_text())["note"] for path in hits_files(bench)]
    assert sorted(note["retriever"] for note in notes) == [
        "any",
        "gold",
        "words",
    ]
    words = found(bench, "words")
    for place, k in (("rag,k=1", 1), ("rag,k=3", 3), ("again,k=2", 2)):
        for score in bench.scores(f"m/{place}/people,0-shot"):
            assert list(score.passages) == words[score.question_id][:k]


def test_queries_exclude_the_options(bench):
    """The query excludes the question's options, so that no answer leaks into the search."""
    bench.write_toy()
    bench.run()
    asked = (bench.folder / "work" / "asked").glob("*/asked.jsonl")
    queries = {json.loads(line)["query"] for path in asked for line in path.read_text(encoding="utf-8").splitlines()}
    assert "Where does Ada Quill live?" in queries
    assert not any("Norwick" in query for query in queries)


def test_oracle_returns_the_gold_passage_and_another(bench):
    """The oracle returns the gold passage and one other passage."""
    bench.write_toy()
    bench.run()
    for question, passages in found(bench, "gold").items():
        assert len(passages) == 2
        assert f"{question.partition('-')[0]}#0" in passages


def test_random_retriever_never_returns_gold_passages(bench):
    """The random retriever never returns a gold passage."""
    bench.write_toy()
    bench.run()
    for question, passages in found(bench, "any").items():
        assert len(passages) == 2
        assert f"{question.partition('-')[0]}#0" not in passages


def test_top_k_above_the_number_of_passages(bench):
    """If `top_k` exceeds the number of passages, all passages are retrieved, and no passage counts as dropped."""
    text = bench.write_toy().spec.read_text(encoding="utf-8").replace("top_k = [1, 3]", "top_k = [1, 50]")
    bench.write(text.replace("top_k = [2]", "top_k = [50]"))
    assert bench.run() == {}
    assert {len(score.passages) for score in bench.scores("m/random,k=50/people,0-shot")} == {len(bench.people) - 1}
    assert all(len(score.passages) <= len(bench.people) for score in bench.scores("m/rag,k=50/people,0-shot"))
    assert {score.dropped for score in bench.scores("m/rag,k=50/people,0-shot")} == {0}


def test_a_question_without_hits_has_the_base_prompt(bench):
    """A question without hits has the same prompt as in the base cell."""
    row = {"id": "q", "question": "xyzzy?", "options": ["a", "b"], "answer": "A", "document": "ada"}
    bench.write_toy(questions=json.dumps(row) + "\n")
    assert bench.run() == {}
    [base], [rag] = bench.scores("m/base/people,0-shot"), bench.scores("m/rag,k=3/people,0-shot")
    assert rag.passages == ()
    assert (rag.prompt, rag.logprobs) == (base.prompt, base.logprobs)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("unknown", "retrievers.words: question ada-0: the hit 'nowhere#0' is not a passage of the corpus"),
        ("twice", "retrievers.words: question ada-0: the hits contain the same passage twice"),
        ("short", "retrievers.words: returned 17 lists of hits for 18 queries"),
        ("long", "retrievers.words: question ada-6: got 4 hits; expected at most 3"),
        (
            "crash",
            "retrievers.words (toy, kib-toys 1.0), search: IndexError: the toy retriever broke down (the traceback",
        ),
    ],
)
def test_invalid_hits_fail_only_the_affected_cells(bench, fault, words):
    """If hits are invalid, only the cells that need the hits fail, and all other cells are measured."""
    text = bench.write_toy().spec.read_text(encoding="utf-8")
    bench.write(
        text.replace('[retrievers.words]\nplugin = "toy"', f'[retrievers.words]\nplugin = "toy"\nfault = "{fault}"')
    )
    failures = bench.run()
    assert {failure.error[: len(words)] for failure in failures.values()} == {words}
    assert sorted(cell.partition("/people")[0] for cell in failures) == ["m/rag,k=1", "m/rag,k=3"]
    assert {place for place, cell in bench.cells().items() if bench.results.has(cell)} == {
        "m/base/people,0-shot",
        "m/oracle/people,0-shot",
        "m/random,k=2/people,0-shot",
    }


def test_options_outside_the_identity_trigger_no_search(bench):
    """A changed retriever option triggers a new search only if the option is part of the retriever's identity."""
    bench.write_toy()
    bench.run()
    before = hits_files(bench)
    text = bench.spec.read_text(encoding="utf-8")
    words = '[retrievers.words]\nplugin = "toy"'
    bench.write(text.replace(words, words + "\nspeed = 9"))
    bench.run()
    assert hits_files(bench) == before
    bench.write(text.replace('plugin = "random"', 'plugin = "random"\nseed = 1'))
    bench.run()
    assert len(hits_files(bench)) == len(before) + 1


def test_an_index_is_shared_by_tasks(bench):
    """Two tasks on the same corpus share one index."""
    bench.write_toy(more='\n[tasks.again]\nplugin = "file"\npath = "people.jsonl"\ncorpus = "people"\nlimit = 3\n')
    bench.run()
    assert len(list((bench.folder / "work" / "index").glob("*/done.json"))) == 1
    assert len(list((bench.folder / "work" / "passages").glob("*/done.json"))) == 1


def test_missing_gold_documents_fail_retrieval(bench):
    """If gold documents are missing from the corpus, retrieval fails with their ids, but the base is measured."""
    bench.write_toy(documents=[person for person in bench.people if person[0] not in ("ada", "fay")])
    failures = bench.run()
    words = "2 gold documents of the questions are not in the corpus: 'ada', 'fay'"
    assert {failure.error for failure in failures.values()} == {words}
    assert len(failures) == 4
    assert bench.results.has(bench.cells()["m/base/people,0-shot"])


def test_a_question_without_gold_fails_only_the_oracle(bench):
    """If a question has no gold passage, only the oracle's cells fail, and all other methods are measured."""
    rows = [
        {"id": "q1", "question": "Where does Ada live?", "options": ["a", "b"], "answer": "A", "document": "ada"},
        {"id": "q2", "question": "Where does Ben live?", "options": ["a", "b"], "answer": "A"},
    ]
    bench.write_toy(questions="".join(json.dumps(row) + "\n" for row in rows))
    failures = bench.run()
    assert [cell.partition("/people")[0] for cell in failures] == ["m/oracle"]
    assert "question q2: the corpus contains no gold passage" in next(iter(failures.values())).error
    assert [score.gold for score in bench.scores("m/rag,k=1/people,0-shot")] == [(True,), (False,)]


def test_a_task_without_any_gold_has_no_recall(bench):
    """If a task names no gold documents, passages are marked neither as gold nor as not gold."""
    row = {"id": "q1", "question": "Where does Ada live?", "options": ["a", "b"], "answer": "A"}
    bench.write_toy(questions=json.dumps(row) + "\n")
    assert len(bench.run()) == 1
    assert {score.gold for score in bench.scores("m/rag,k=1/people,0-shot")} == {None}
    assert {score.gold for score in bench.scores("m/random,k=2/people,0-shot")} == {None}


def test_gold_of_a_control_task_may_be_missing(bench):
    """The gold documents of a control task may be missing from the corpus."""
    row = {"id": "q1", "question": "Where does Zoe live?", "options": ["a", "b"], "answer": "A", "document": "zoe"}
    control = '\n[tasks.other]\nplugin = "file"\npath = "other.jsonl"\ncorpus = "people"\nrole = "control"\n'
    bench.write_toy(more=control)
    (bench.folder / "other.jsonl").write_text(json.dumps(row) + "\n")
    assert bench.run() == {}
    assert "m/oracle/other,0-shot" not in bench.cells()
    assert {score.gold for score in bench.scores("m/rag,k=1/other,0-shot")} == {None}
    assert len(bench.scores("m/random,k=2/other,0-shot")[0].passages) == 2


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([], "corpora.people: the corpus has no documents"),
        ([["a", "", "x"], ["a", "", "y"]], "document id 'a' appears twice in the corpus; ids must be unique"),
        ([["a", "", "  "]], "document 'a' has no text"),
    ],
)
def test_an_unusable_corpus_fails_all_dependent_cells(bench, documents, words):
    """If a corpus is unusable, every cell that needs the corpus fails with the same message."""
    bench.write_toy(documents=documents)
    assert reasons(bench) == {words}


def test_a_failing_corpus_fails_all_dependent_cells(bench):
    """If a corpus raises an error, no passages are stored, but the base is measured."""
    text = bench.write_toy().spec.read_text(encoding="utf-8")
    bench.write(text.replace('[corpora.people]\nplugin = "toy"', '[corpora.people]\nplugin = "toy"\ncrashes = true'))
    failures = bench.run()
    assert len(failures) == 4
    assert all(
        failure.error.startswith(
            "corpora.people (toy, kib-toys 1.0), documents: ZeroDivisionError: the toy corpus broke"
        )
        for failure in failures.values()
    )
    assert not list((bench.folder / "work" / "passages").glob("*/done.json"))
    assert bench.results.has(bench.cells()["m/base/people,0-shot"])


SERVED = """
import json
import shutil
from pathlib import Path

from kib_toys import ToyRetriever
from pydantic import Field


class Served(ToyRetriever):
    # Keeps its index in a folder that simulates a server.

    class Options(ToyRetriever.Options):
        server: str = Field(description="the folder")

    def build(self, passages, folder):
        place = Path(self.options.server) / "index"
        place.mkdir(parents=True, exist_ok=True)
        super().build(passages, place)
        (folder / "note").write_text(str(place))

    def holds(self, folder):
        return (Path((folder / "note").read_text()) / "words.json").is_file()

    def index_bytes(self, folder):
        return (Path((folder / "note").read_text()) / "words.json").stat().st_size

    def search(self, folder, queries, k):
        return super().search(Path((folder / "note").read_text()), queries, k)
"""


def test_an_index_lost_by_its_server_is_rebuilt(bench, tmp_path, monkeypatch):
    """For an index on a server, kib records the size reported by the server, and a lost index is rebuilt."""
    site, server = tmp_path / "served", tmp_path / "server"
    info = site / "kib_served-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kib-served\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kib.retrievers]\nserved = kib_served:Served\n")
    (site / "kib_served.py").write_text(SERVED)
    monkeypatch.syspath_prepend(site)
    text = bench.write_toy().spec.read_text(encoding="utf-8")
    toy, served = '[retrievers.words]\nplugin = "toy"', f'[retrievers.words]\nplugin = "served"\nserver = "{server}"'
    bench.write(text.replace(toy, served))
    assert bench.run() == {}
    size = (server / "index" / "words.json").stat().st_size
    [done] = bench.folder.glob("work/index/*/done.json")
    assert json.loads(done.read_text())["note"]["bytes"] == size
    (server / "index" / "words.json").unlink()
    bench.write(bench.spec.read_text(encoding="utf-8").replace("top_k = [1, 3]", "top_k = [1, 3, 5]"))
    assert bench.run() == {}
    assert bench.scores("m/rag,k=5/people,0-shot")


REPORTING = """
from kib_toys import ToyRetriever


class Reporting(ToyRetriever):
    # Reports its own progress after all passages have been read.

    reports_progress = True

    def build(self, passages, folder, advance=None):
        every = list(passages)
        super().build(every, folder)
        for _ in every:
            advance(1)
"""


def test_a_retriever_may_report_its_own_progress(bench, tmp_path, monkeypatch):
    """The bar of an index shows the passages that the retriever reports as indexed, not the passages it has read."""
    site, clock = tmp_path / "reporting", count(0, 3)
    info = site / "kib_reporting-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kib-reporting\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kib.retrievers]\nreporting = kib_reporting:Reporting\n")
    (site / "kib_reporting.py").write_text(REPORTING)
    monkeypatch.syspath_prepend(site)
    text = bench.write_toy().spec.read_text(encoding="utf-8")
    bench.write(text.replace('[retrievers.words]\nplugin = "toy"', '[retrievers.words]\nplugin = "reporting"'))
    stream = io.StringIO()
    assert bench.run(LineProgress(stream, lambda: next(clock), interval=None)) == {}
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("indexing corpus people")]
    assert lines[0] == "indexing corpus people with words: 6"
    assert re.fullmatch(r"indexing corpus people with words: [1-5] of 6, about \d+ s left", lines[1])
    assert lines[-1] == "indexing corpus people with words: 6 of 6"


class Told(SilentProgress):
    """A progress display that records its lines."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def remembering(tmp_path, monkeypatch, bench):
    """Return a function that runs the toy benchmark with a retriever that has a cache."""
    site = tmp_path / "remembering"
    info = site / "kib_remembering-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kib-remembering\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kib.retrievers]\nremembering = kib_remembering:Remembering\n")
    (site / "kib_remembering.py").write_text(REMEMBERING)
    monkeypatch.syspath_prepend(site)

    def run(options="", documents=bench.people):
        text = bench.write_toy(documents=documents).spec.read_text(encoding="utf-8")
        table = '[retrievers.words]\nplugin = "'
        bench.write(text.replace(f'{table}toy"', f'{table}remembering"\n{options}'))
        told = Told()
        failures = {failure.error for failure in bench.run(told).values()}
        done = bench.folder.glob("work/index/*/done.json")
        return failures, told.said, {json.loads(path.read_text())["note"]["remarks"][0] for path in done}

    return run


def test_a_changed_corpus_recomputes_only_changed_entries(bench, remembering):
    """All indexes of a retriever share its cache, and remarks from the retriever are shown and stored."""
    everybody = " ".join(f"{person[0]}#0" for person in bench.people)
    assert remembering() == (set(), [f"retrievers.words: computed {everybody}"], {f"computed {everybody}"})
    changed = [*bench.people[:-1], (*bench.people[-1][:2], bench.people[-1][2] + " She sings.")]
    failures, said, notes = remembering(documents=changed)
    assert (failures, said) == (set(), ["retrievers.words: computed fay#0"])
    assert notes == {f"computed {everybody}", "computed fay#0"}


def test_a_failed_build_leaves_its_cached_entries(remembering):
    """After a failed build, the next build computes only the entries that are missing from the cache."""
    failures, _, _ = remembering("breaks_at = 4")
    assert {failure.partition(" (the traceback")[0] for failure in failures} == {
        "retrievers.words (remembering, kib-remembering 1), build: OSError: broke down"
    }
    failures, said, _ = remembering()
    assert (failures, said) == (set(), ["retrievers.words: computed eva#0 fay#0"])


def test_retrievers_share_a_cache_only_by_name(remembering):
    """Retrievers share a cache only if they use the same cache name."""
    _, first, _ = remembering()
    _, other, _ = remembering('name = "numbers-2"')
    assert first == other
    assert remembering("breaks_at = 99")[1] == ["retrievers.words: computed nothing"]


def test_a_cache_name_must_be_a_folder_name(remembering):
    """A cache name that is not a simple folder name raises an error."""
    failures, _, _ = remembering('name = "../elsewhere"')
    assert failures == {
        "memory() returned the name '../elsewhere'; expected a name of lowercase letters, digits and hyphens"
    }
