"""What retrievers find is frozen, shared, and held to its promise."""

import json

import pytest


def hits_files(bench):
    return sorted((bench.folder / "work" / "hits").glob("*/hits.jsonl"))


def found(bench, retriever):
    """The frozen hits of a retriever: {question: [passage, …]}."""
    for path in hits_files(bench):
        if json.loads((path.parent / "done.json").read_text())["note"]["retriever"] == retriever:
            lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            return {line["question"]: [passage for passage, _ in line["hits"]] for line in lines}
    raise AssertionError(f"no hits of {retriever}")


def reasons(bench):
    return {failure.error for failure in bench.run().values()}


def test_hits_are_frozen_once_for_all_that_use_them(bench):
    """All numbers of passages and all shots of a task share one file of a retriever's hits."""
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
            assert list(score.passages) == words[score.question][:k]


def test_a_retriever_is_asked_for_the_question_alone(bench):
    """What is searched for is the question, not its options, so that no answer leaks into the search."""
    bench.write_toy()
    bench.run()
    asked = (bench.folder / "work" / "asked").glob("*/asked.jsonl")
    queries = {json.loads(line)["query"] for path in asked for line in path.read_text(encoding="utf-8").splitlines()}
    assert "Where does Ada Quill live?" in queries
    assert not any("Norwick" in query for query in queries)


def test_the_oracle_gives_the_gold_among_others(bench):
    """Each question gets its own person's passage and one other."""
    bench.write_toy()
    bench.run()
    for question, passages in found(bench, "gold").items():
        assert len(passages) == 2
        assert f"{question.partition('-')[0]}#0" in passages


def test_random_never_gives_the_gold(bench):
    """No question gets its own person's passage by chance."""
    bench.write_toy()
    bench.run()
    for question, passages in found(bench, "any").items():
        assert len(passages) == 2
        assert f"{question.partition('-')[0]}#0" not in passages


def test_more_passages_than_the_corpus_has(bench):
    """A number beyond the corpus gives all there is, and the cell says how many each question had."""
    text = bench.write_toy().spec.read_text(encoding="utf-8").replace("top_k = [1, 3]", "top_k = [1, 50]")
    bench.write(text.replace("top_k = [2]", "top_k = [50]"))
    assert bench.run() == {}
    assert {len(score.passages) for score in bench.scores("m/random,k=50/people,0-shot")} == {len(bench.people) - 1}
    assert all(len(score.passages) <= len(bench.people) for score in bench.scores("m/rag,k=50/people,0-shot"))
    assert {score.dropped for score in bench.scores("m/rag,k=50/people,0-shot")} == {0}


def test_a_question_that_finds_nothing_is_asked_without_passages(bench):
    """Where a retriever has no hit the prompt is the base's."""
    row = {"id": "q", "question": "xyzzy?", "options": ["a", "b"], "answer": "A", "document": "ada"}
    bench.write_toy(questions=json.dumps(row) + "\n")
    assert bench.run() == {}
    [base], [rag] = bench.scores("m/base/people,0-shot"), bench.scores("m/rag,k=3/people,0-shot")
    assert rag.passages == ()
    assert (rag.prompt, rag.logprobs) == (base.prompt, base.logprobs)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("unknown", "retrievers.words: question ada-0: found 'nowhere#0', which is no passage"),
        ("twice", "retrievers.words: question ada-0: found a passage twice"),
        ("short", "retrievers.words: gave 17 lists of hits for 18 queries"),
        ("long", "retrievers.words: question ada-6: found 4 passages, asked for at most 3"),
        ("crash", "IndexError: the toy retriever broke down (traceback in errors/"),
    ],
)
def test_a_retriever_that_breaks_its_promise_fails_its_cells(bench, fault, words):
    """Hits that are no hits are an error at the cells that need them, and the others are measured."""
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


def test_what_changes_no_hit_searches_no_more(bench):
    """A local option of a retriever leaves hits and index where they are; one that counts makes new ones."""
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
    """Two tasks on one corpus search in one index."""
    bench.write_toy(more='\n[tasks.again]\nplugin = "file"\npath = "people.jsonl"\ncorpus = "people"\nlimit = 3\n')
    bench.run()
    assert len(list((bench.folder / "work" / "index").glob("*/done.json"))) == 1
    assert len(list((bench.folder / "work" / "passages").glob("*/done.json"))) == 1


def test_a_lost_gold_document_fails_what_needs_gold(bench):
    """A gold document that the corpus has not fails retrieval, with the number of lost ones; base is measured."""
    bench.write_toy(documents=[person for person in bench.people if person[0] not in ("ada", "fay")])
    failures = bench.run()
    words = "2 gold documents of the questions are not in the corpus: 'ada', 'fay'"
    assert {failure.error for failure in failures.values()} == {words}
    assert len(failures) == 4
    assert bench.results.has(bench.cells()["m/base/people,0-shot"])


def test_a_question_without_gold_fails_the_oracle_alone(bench):
    """Where one question names no gold the ceiling is unknown; all other methods are measured."""
    rows = [
        {"id": "q1", "question": "Where does Ada live?", "options": ["a", "b"], "answer": "A", "document": "ada"},
        {"id": "q2", "question": "Where does Ben live?", "options": ["a", "b"], "answer": "A"},
    ]
    bench.write_toy(questions="".join(json.dumps(row) + "\n" for row in rows))
    failures = bench.run()
    assert [cell.partition("/people")[0] for cell in failures] == ["m/oracle"]
    assert "question q2 has no gold passage in this corpus" in next(iter(failures.values())).error
    assert [score.gold for score in bench.scores("m/rag,k=1/people,0-shot")] == [(True,), (False,)]


def test_a_task_without_any_gold_has_no_recall(bench):
    """Where no question names gold nothing is called gold or not."""
    row = {"id": "q1", "question": "Where does Ada live?", "options": ["a", "b"], "answer": "A"}
    bench.write_toy(questions=json.dumps(row) + "\n")
    assert len(bench.run()) == 1
    assert {score.gold for score in bench.scores("m/rag,k=1/people,0-shot")} == {None}
    assert {score.gold for score in bench.scores("m/random,k=2/people,0-shot")} == {None}


def test_a_controls_gold_is_not_looked_for(bench):
    """A control asks for other knowledge: its gold need not be in the corpus it is shown passages from."""
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
        ([], "corpora.people: the corpus has no document"),
        ([["a", "", "x"], ["a", "", "y"]], "document id 'a' stands twice in the corpus; ids must be unique"),
        ([["a", "", "  "]], "document 'a' has no text"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_named(bench, documents, words):
    """What is wrong with a corpus is said once at every cell that needs it."""
    bench.write_toy(documents=documents)
    assert reasons(bench) == {words}


def test_a_corpus_that_breaks_down_fails_what_needs_it(bench):
    """A corpus that raises in the middle leaves no half of it behind, and base is measured."""
    text = bench.write_toy().spec.read_text(encoding="utf-8")
    bench.write(text.replace('[corpora.people]\nplugin = "toy"', '[corpora.people]\nplugin = "toy"\ncrashes = true'))
    failures = bench.run()
    assert len(failures) == 4
    assert all(
        failure.error.startswith("ZeroDivisionError: the toy corpus broke down") for failure in failures.values()
    )
    assert not list((bench.folder / "work" / "passages").glob("*/done.json"))
    assert bench.results.has(bench.cells()["m/base/people,0-shot"])
