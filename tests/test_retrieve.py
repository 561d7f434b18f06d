"""`kib retrieve`: query selection, retrieval measures, files shared with a run, TREC output and errors."""

import csv
import io
import json
import sys

import pytest

from kib import cli
from kib.commands.retrieve import FORMATS
from kib.commands.retrieve.queries import of_file
from kib.errors import InputError
from kib.records import Passage
from kib.run.steps.passages import Passages, write_passages

RETRIEVERS = """schema = 1
name = "search"

[corpora.people]
plugin = "toy"
documents = {documents}

[retrievers.words]
plugin = "toy"

[retrievers.again]
plugin = "toy"
speed = 2
"""


@pytest.fixture
def toy(bench):
    """Write the toy benchmark."""
    return bench.write_toy()


@pytest.fixture
def bare(bench):
    """Write a benchmark file with one corpus and two retrievers, but without a model."""
    return bench.write_toy(spec=RETRIEVERS)


def found(bench, *arguments):
    """Return the JSON report of a successful `kib retrieve` call."""
    result = bench.call("retrieve", bench.spec, "--format", "json", "-q", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(bench, *arguments):
    """Return the error output of `kib retrieve`, which must exit with code 2."""
    result = bench.call("retrieve", bench.spec, "-q", *arguments)
    assert result.exit_code == 2
    return result.output


def test_judgments_may_use_aliases(tmp_path):
    """A judgment may use a document's alias, but different grades for two names of one document raise an error."""
    write_passages(
        [Passage("Analysis of variance#0", "Analysis of variance", "", "It compares means.", 0, 18)], tmp_path
    )
    (tmp_path / "aliases.json").write_text('{"ANOVA": "Analysis of variance"}', encoding="utf-8")
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": "q", "text": "What compares means?", "gold": ["ANOVA"]}\n', encoding="utf-8")
    assert of_file(path, Passages(tmp_path)).relevance == {"q": {"Analysis of variance": 1}}
    grades = '{"ANOVA": 1, "Analysis of variance": 2}'
    path.write_text(f'{{"id": "q", "text": "?", "relevance": {grades}}}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"q\.jsonl:1: relevance: .* which also has a different grade"):
        of_file(path, Passages(tmp_path))


def queries(bench, name, *rows):
    """Write a queries file with one JSON object per line and return its name."""
    (bench.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def means(report, retriever="words", block=0):
    """Return the mean of each measure for a retriever."""
    [line] = [one for one in report["blocks"][block]["retrievers"] if one["retriever"] == retriever]
    return {name: one["mean"] for name, one in line["measures"].items()}


def folders(bench, kind):
    """Return the folders of finished steps of the given kind in the work folder."""
    return sorted(path.parent.name for path in (bench.folder / "work" / kind).glob("*/done.json"))


# Queries


def test_questions_of_tasks(toy):
    """By default, a task's questions with gold passages are the queries, and relevance is judged by passage."""
    report = found(toy)
    [block] = report["blocks"]
    assert (block["queries"], block["n"], block["judged"], block["by"]) == ("task people", 18, 18, "passages")
    assert [line["retriever"] for line in block["retrievers"]] == ["words"]
    assert means(report)["recall@100"] == 1


def test_recall_is_that_of_the_leaderboard(toy):
    """Recall at K in `kib retrieve` equals recall in the leaderboard."""
    toy.run()
    table = toy.call("leaderboard", "--format", "csv")
    rows = {row["arm"]: row for row in csv.DictReader(io.StringIO(table.stdout))}
    values = means(found(toy))
    for k in (1, 3):
        assert float(rows[f"rag,k={k}"]["recall"]) == values[f"recall@{k}"]


def test_a_limited_task_with_a_template(toy):
    """`kib retrieve` applies a task's question limit and query template, like a run."""
    text = toy.spec.read_text(encoding="utf-8")
    keys = 'corpus = "people"\nlimit = 6\nquery = "{{ options | join(\' \') }}"\n'
    toy.write(text.replace('corpus = "people"\n', keys))
    toy.run()
    hits = folders(toy, "hits")
    assert found(toy, "--k", "3")["blocks"][0]["n"] == 6
    assert folders(toy, "hits") == hits


def test_queries_of_a_file(bare):
    """With graded document judgments, measures are computed on documents, and unjudged queries are only counted."""
    name = queries(
        bare,
        "q.jsonl",
        {"id": "q1", "text": "Ada Quill", "relevance": {"ada": 2, "ben": 0}},
        {"_id": "q2", "text": "bell founding", "gold": "cho", "metadata": {}},
        {"id": 3, "text": "thatching in Tarn", "gold": ["ben", "cho"]},
        {"id": "q4", "text": "nobody", "relevance": {"ada": 0}},
        {"id": "q5", "text": "nothing"},
    )
    report = found(bare, "--queries", name)
    [block] = report["blocks"]
    assert (block["queries"], block["n"], block["judged"], block["by"]) == ("queries of q.jsonl", 5, 3, "documents")
    values = means(report)
    assert values["recall@1"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert values["recall@3"] == values["MRR@10"] == 1
    assert means(report, "again") == values


def test_ids_in_queries_files(bench):
    """In a queries file, document ids may be whole numbers, and accented letters may be decomposed."""
    bench.write_toy(spec=RETRIEVERS, documents=[["7", "", "Red lever"], ["Pr\u00fcfung", "", "Green door"]])
    rows = (
        {"id": 1, "text": "red lever", "gold": 7},
        {"id": 2, "text": "red lever", "gold": [7]},
        {"id": 3, "text": "green door", "gold": "Pru\u0308fung"},
        {"id": 4, "text": "green door", "relevance": {"Pru\u0308fung": 2, "7": 0}},
    )
    values = means(found(bench, "--queries", queries(bench, "q.jsonl", *rows)))
    assert values["recall@1"] == 1


def test_questions_of_a_file(toy):
    """A questions file in the format of the `file` task yields the same measures as the task itself."""
    report = found(toy, "--queries", "people.jsonl")
    assert report["blocks"][0]["by"] == "passages"
    assert means(report) == means(found(toy))


def test_white_space_around_queries_is_removed_and_counted(bare):
    """White space around queries of every format is removed, and the title states the number of affected queries."""
    (bare.folder / "q.tsv").write_text("a\t Ada Quill\nb\tropes\n", encoding="utf-8")
    name = queries(
        bare, "q.jsonl", {"id": "a", "text": "Ada Quill\n", "gold": "ada"}, {"id": "b", "text": "ropes", "gold": "dov"}
    )
    for path in ("q.tsv", name):
        title = found(bare, "--queries", path)["blocks"][0]["queries"]
        assert title == f"queries of {path} (removed white space around 1 of them)"
    spaced = bare.folder / "spaced.csv"
    spaced.write_text("question,A,B,answer,document\nWhere does Ada live?, x,y,A,ada\n", encoding="utf-8")
    title = found(bare, "--queries", "spaced.csv")["blocks"][0]["queries"]
    assert title == "queries of spaced.csv (removed white space around texts of 1 question of the split test)"


def test_queries_without_judgments(bare):
    """A TSV file of ids and texts contains queries without judgments, so that only the search time is measured."""
    (bare.folder / "q.tsv").write_text("a\tAda Quill\nb\tropes\n", encoding="utf-8")
    result = bare.call("retrieve", bare.spec, "-q", "--queries", "q.tsv")
    assert "queries of q.tsv · 2 queries, 0 of them judged" in result.stdout
    assert "only times are measured" in result.stdout
    assert "recall" not in result.stdout


def test_tasks_without_gold_come_last(toy):
    """Questions of tasks without gold passages are used as queries only if no task on the corpus has gold passages."""
    row = {"id": "x", "question": "Where does Ada live?", "options": ["a", "b"], "answer": "A"}
    queries(toy, "plain.jsonl", row)
    more = '\n[tasks.plain]\nplugin = "file"\npath = "plain.jsonl"\ncorpus = "people"\n'
    text = toy.spec.read_text(encoding="utf-8")
    toy.write(text + more)
    assert [block["queries"] for block in found(toy)["blocks"]] == ["task people"]
    toy.write(text.replace("people.jsonl", "plain.jsonl"))
    assert found(toy)["blocks"][0]["judged"] == 0


def test_one_task_of_several(toy):
    """The option `--task` limits the queries to the questions of one task."""
    more = '\n[tasks.few]\nplugin = "file"\npath = "people.jsonl"\ncorpus = "people"\nlimit = 4\n'
    toy.write(toy.spec.read_text(encoding="utf-8") + more)
    assert [block["n"] for block in found(toy)["blocks"]] == [18, 4]
    assert [block["n"] for block in found(toy, "--task", "few")["blocks"]] == [4]


# Measures


def test_measures_stop_at_the_depth(toy):
    """The cutoff of a measure never exceeds the search depth."""
    assert set(means(found(toy, "--depth", "4"))) == {"recall@1", "recall@3", "MAP@4"}
    wanted = {*(f"recall@{k}" for k in (1, 3, 5, 10, 100)), "MRR@10", "nDCG@10", "MAP@100"}
    assert set(means(found(toy))) == wanted


def test_a_document_is_ranked_by_its_best_passage(bench):
    """With document judgments, each document is counted once, at the rank of its best passage."""
    text = RETRIEVERS.replace("documents = {documents}", "documents = {documents}\nchunk = {{ sentences = 1 }}")
    long = ["long", "", "Red lever. Red lever again. Red lever. Red."]
    bench.write_toy(spec=text.replace("{{", "{").replace("}}", "}"), documents=[long, ["short", "", "A red door."]])
    name = queries(bench, "q.jsonl", {"id": "q", "text": "red lever", "gold": "short"})
    values = means(found(bench, "--queries", name))
    assert (values["recall@1"], values["recall@3"], values["MRR@10"]) == (0, 1, 1 / 2)


def test_all_formats_have_the_same_numbers(toy):
    """All output formats contain the same values."""
    values = means(found(toy))
    table = toy.call("retrieve", toy.spec, "-q", "--format", "csv").stdout
    [row] = csv.DictReader(io.StringIO(table))
    assert {name: float(row[name]) for name in values} == values
    assert float(row["nDCG@10 low"]) <= values["nDCG@10"] <= float(row["nDCG@10 high"])
    for form in ("terminal", "markdown"):
        text = toy.call("retrieve", toy.spec, "-q", "--format", form).stdout
        assert all(f"{value:.4f}" in text for value in values.values())
        assert "task people · 18 queries · the first 6 of 6 passages of corpus people" in text


def test_offered_formats():
    """The option `--format` of `kib retrieve` accepts exactly the formats in which a report can be printed."""
    assert cli.TABLES == FORMATS


def test_a_repeated_call_prints_identical_bytes(toy):
    """Repeating a `kib retrieve` call prints identical bytes, including the stored times."""
    first, second = (toy.call("retrieve", toy.spec, "-q", "--format", form).stdout for form in ("json", "json"))
    assert first == second


@pytest.mark.slow
def test_quality_on_real_collections(bench, data):
    """BM25 with default options matches published scores on SciFact and Vaswani."""
    for name in ("scifact", "vaswani"):
        if not (data / name).is_dir():
            pytest.skip(f"no {name} in {data}")
    tables = "".join(
        f'[corpora.{name}]\nplugin = "beir"\npath = "{data / name}"\n\n' for name in ("scifact", "vaswani")
    )
    bench.write(f'schema = 1\nname = "real"\n\n{tables}[retrievers.bm25]\nplugin = "bm25"\n')
    scifact = found(bench, "--corpus", "scifact")
    assert (scifact["blocks"][0]["n"], scifact["blocks"][0]["judged"], scifact["blocks"][0]["passages"]) == (
        300,
        300,
        5183,
    )
    assert means(scifact, "bm25")["nDCG@10"] >= 0.678
    assert means(scifact, "bm25")["recall@100"] >= 0.920
    vaswani = found(bench, "--corpus", "vaswani", "--depth", "1000")
    assert vaswani["blocks"][0]["n"] == 93
    assert means(vaswani, "bm25")["MAP@1000"] >= 0.290


# Files shared with a run


def test_a_run_reuses_the_hits_of_a_search(toy):
    """A run reuses the index and hits of an earlier search with a larger depth."""
    found(toy)
    steps = {kind: folders(toy, kind) for kind in ("passages", "index", "hits")}
    assert toy.run() == {}
    assert folders(toy, "index") == steps["index"]
    assert folders(toy, "passages") == steps["passages"]
    notes = [
        json.loads((toy.folder / "work" / "hits" / name / "done.json").read_text()) for name in folders(toy, "hits")
    ]
    assert sorted(one["note"]["retriever"] for one in notes) == ["any", "gold", "words"]
    fresh = type(toy)(toy.folder / "fresh", toy.environment)
    fresh.folder.mkdir()
    fresh.write_toy().run()
    for place in ("m/rag,k=1/people,0-shot", "m/rag,k=3/people,0-shot"):
        assert toy.scores(place) == fresh.scores(place)


def test_a_search_reuses_the_hits_of_a_run(toy):
    """`kib retrieve` reuses the hits from a run if their depth is sufficient."""
    toy.run()
    hits = folders(toy, "hits")
    found(toy, "--depth", "3")
    assert folders(toy, "hits") == hits


def test_no_model_is_loaded(bare):
    """`kib retrieve` works without models and imports neither torch nor lm-eval."""
    name = queries(bare, "q.jsonl", {"id": "q", "text": "Ada", "gold": "ada"})
    code = (
        "import sys\nfrom kib.cli import main\n"
        f"try: main(['retrieve', 'bench.toml', '--queries', '{name}', '-q'])\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        "print(*sorted({'torch', 'lm_eval', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    import subprocess

    run = subprocess.run(
        [sys.executable, "-c", code], cwd=bare.folder, env=bare.environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == ""


# TREC run files


def test_a_trec_run(bare):
    """A TREC run file has one line per hit, best first: query, Q0, document, rank, score and retriever."""
    name = queries(bare, "q.jsonl", {"id": "q1", "text": "Ada Quill glass", "gold": "ada"})
    found(bare, "--queries", name, "--retriever", "words", "--run", "words.trec")
    lines = [line.split() for line in (bare.folder / "words.trec").read_text(encoding="utf-8").splitlines()]
    assert lines[0][:4] == ["q1", "Q0", "ada", "1"]
    assert {(line[1], line[5]) for line in lines} == {("Q0", "words")}
    assert [int(line[3]) for line in lines] == list(range(1, len(lines) + 1))
    assert [float(line[4]) for line in lines] == sorted((float(line[4]) for line in lines), reverse=True)


LEVERS = ["long", "", "Red lever. Red lever again. Blue door."], ["short", "", "A red door."]


@pytest.mark.parametrize(
    ("unit", "names"),
    [
        ([], ["long", "short"]),
        (["documents"], ["long", "short"]),
        (["passages"], ["long#0", "long#1", "long#2", "short#0"]),
        (["ranges"], ["long:0-10", "long:11-27", "long:28-38", "short:0-11"]),
    ],
)
def test_a_trec_run_names_documents_or_passages(bench, unit, names):
    """A TREC run names documents, passages or documents with character ranges, as `--run-names` demands."""
    text = RETRIEVERS.replace("documents = {documents}", "documents = {documents}\nchunk = { sentences = 1 }")
    bench.write_toy(spec=text, documents=LEVERS)
    name = queries(bench, "q.jsonl", {"id": "q", "text": "red lever door", "gold": "short"})
    run = ["--queries", name, "--retriever", "words", "--run", "x.trec"]
    found(bench, *run, *(["--run-names", *unit] if unit else []))
    lines = [line.split() for line in (bench.folder / "x.trec").read_text(encoding="utf-8").splitlines()]
    assert sorted(line[2] for line in lines) == names
    assert [int(line[3]) for line in lines] == list(range(1, len(lines) + 1))


def test_found_passages_are_shown(toy):
    """With `--show N`, the first N passages of each query are printed with their texts, and gold is marked."""
    report = found(toy, "--show", "2")
    plain, markdown = (
        toy.call("retrieve", toy.spec, "-q", "--show", "2", "--format", form).stdout
        for form in ("terminal", "markdown")
    )
    assert plain.partition("ada-0: ")[2].strip() in markdown.partition("```text\n")[2]
    one = report["blocks"][0]["retrievers"][0]["found"][0]
    assert (one["query"], one["text"]) == ("ada-0", "Where does Ada Quill live?")
    assert max(len(one["passages"]) for one in report["blocks"][0]["retrievers"][0]["found"]) == 2
    best = one["passages"][0]
    assert (best["passage"], best["document"], best["grade"]) == ("ada#0", "ada", 1)
    assert best["text"] == toy.people[0][2][best["start"] : best["end"]]
    assert plain.count("  (gold)") == 18
    assert "\nada-0: Where does Ada Quill live?\n  words 1. ada#0  " in plain
    assert f"  (gold)  Ada Quill\n      {toy.people[0][2]}\n" in plain
    assert "found" not in found(toy)["blocks"][0]["retrievers"][0]


@pytest.mark.parametrize("form", ["terminal", "markdown"])
def test_queries_without_hits_are_shown(bench, form):
    """For each retriever without a hit for a query, `--show` states that no passage was found."""
    bench.write_toy(spec=RETRIEVERS)
    words = bench.people[0][2].split()[0]
    name = queries(bench, "q.jsonl", {"id": "q1", "text": "xyzzy"}, {"id": "q2", "text": words})
    text = bench.call("retrieve", bench.spec, "-q", "--queries", name, "--show", "1", "--format", form).stdout
    assert "q1: xyzzy\n  words: no passage found\n  again: no passage found\n" in text
    assert text.count("no passage found") == 2
    assert f"q2: {words}\n  words 1. " in text


def test_options_that_need_another_option(toy):
    """Passages cannot be shown as CSV, and the names of hits in a run need the name of a run."""
    assert "--show: CSV has no place for passages; use --format json" in refused(toy, "--show", "1", "--format", "csv")
    assert "--run-names: names the hits in a TREC run; add --run FILE" in refused(toy, "--run-names", "ranges")


def test_trec_runs_of_several_retrievers(bare):
    """With several retrievers, each retriever needs its own run file."""
    name = queries(bare, "q.jsonl", {"id": "q1", "text": "Ada", "gold": "ada"})
    assert "--run: one file cannot hold the runs of 2 retrievers; put {retriever}" in refused(
        bare, "--queries", name, "--run", "x.trec"
    )
    found(bare, "--queries", name, "--run", "{retriever}.trec")
    assert (bare.folder / "words.trec").read_text().replace("words", "again") == (
        bare.folder / "again.trec"
    ).read_text()


def test_a_trec_run_is_a_file(bare):
    """A folder is rejected as the output path of a TREC run file."""
    name = queries(bare, "q.jsonl", {"id": "q1", "text": "Ada"})
    assert "--run: .: expected a file, got a folder" in refused(
        bare, "--queries", name, "--retriever", "words", "--run", "."
    )


def test_a_trec_run_rejects_ids_with_spaces(bench):
    """When a TREC run file is written, a document id that contains a space is rejected."""
    bench.write_toy(spec=RETRIEVERS, documents=[["a b", "", "Ada"]])
    name = queries(bench, "q.jsonl", {"id": "q1", "text": "Ada"})
    assert "the id 'a b' contains white space" in refused(bench, "--queries", name, "--run", "{retriever}.trec")


# Errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--corpus", "peple"], "no table [corpora.peple]; did you mean"),
        (["--retriever", "wrds"], "no table [retrievers.wrds]; did you mean"),
        (
            ["--retriever", "gold"],
            "retrievers.gold: this retriever returns the gold passages directly and does not search",
        ),
        (["--task", "pple"], "no table [tasks.pple]; did you mean"),
        (["--queries", "none.jsonl"], "none.jsonl: no such file"),
        (["--queries", "bench.toml"], "expected a .jsonl, .csv, .xlsx or .tsv file, got .toml"),
        (["--depth", "0"], "0 is not in the range"),
    ],
)
def test_a_wrong_argument_is_an_error(toy, arguments, words):
    """An invalid name, file or number raises an error that states a valid value or the nearest name."""
    assert words in refused(toy, *arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "queries of q.jsonl: no queries found"),
        ("[1]\n", "q.jsonl:1: expected an object with the keys id and text"),
        ("{\n", "q.jsonl:1: invalid JSON"),
        ('{"id": "q", "text": "ferret", "text": "heron"}\n', 'q.jsonl:1: the key "text" appears twice'),
        ('{"id": "a"}\n', "q.jsonl:1: text: expected text, got None"),
        ('\n{"text": "a"}\n', "q.jsonl:2: id: expected text, got None"),
        ('{"id": "a", "text": "b", "golden": "c"}\n', "q.jsonl:1: golden: unknown field"),
        (
            '{"id": "a", "text": "b", "gold": 1.0}\n',
            "q.jsonl:1: gold: expected a document id or a list of document ids, got 1.0",
        ),
        (
            '{"id": "a", "text": "b", "relevance": ["ada"]}\n',
            "q.jsonl:1: relevance: expected an object that maps document ids to grades",
        ),
        (
            '{"id": "a", "text": "b", "relevance": {"ada": "1"}}\n',
            "expected a whole number as the grade of 'ada', got '1'",
        ),
        ('{"id": "a", "text": "b", "gold": "x", "relevance": {}}\n', "expected either `relevance` or `gold`, got both"),
        ('{"id": "a", "text": "b", "gold": "zoe"}\n', "1 judged document is not in the corpus: 'zoe'"),
        ('{"id": "a", "text": "b"}\n{"id": "a", "text": "c"}\n', "the id 'a' appears twice"),
        ('{"id": "a", "text": "\\ud800"}\n', "q.jsonl:1: text: contains an unpaired surrogate"),
    ],
)
def test_a_faulty_queries_file_is_an_error(bare, text, words):
    """An invalid queries file raises an error with the line number."""
    (bare.folder / "q.jsonl").write_text(text, encoding="utf-8")
    assert words in refused(bare, "--queries", "q.jsonl")


def test_a_faulty_tsv_file_is_an_error(bare):
    """A TSV line without a tab raises an error with its line number."""
    (bare.folder / "q.tsv").write_text("a\tAda\nb Ben\n", encoding="utf-8")
    assert "q.tsv:2: expected an id, a tab and the text of a query" in refused(bare, "--queries", "q.tsv")


def test_a_corpus_without_queries(bare):
    """If a corpus has no queries and no task uses it, the error explains how to add queries."""
    assert (
        "no task uses corpus people, and the corpus contains no queries; name a file of queries with --queries"
        in refused(bare)
    )


def test_several_corpora(bare):
    """If a benchmark file has several corpora, one corpus must be selected."""
    more = '\n[corpora.others]\nplugin = "toy"\ndocuments = [["a", "", "b"]]\n'
    bare.write(bare.spec.read_text(encoding="utf-8") + more)
    assert "2 corpora; choose one with --corpus: people or others" in refused(bare)


def test_other_mistakes_in_the_file_are_reported(bare):
    """`kib retrieve` accepts a file without models and tasks, but reports other mistakes with line numbers."""
    bare.write(bare.spec.read_text(encoding="utf-8").replace('plugin = "toy"\nspeed', 'plugin = "toy"\nsped'))
    assert "retrievers.again.sped: unknown key" in refused(bare)
    bare.write(bare.spec.read_text(encoding="utf-8").replace('name = "search"', "name = 3"))
    assert "bench.toml:2: name: expected" in refused(bare)


def test_a_failing_retriever_is_named_and_the_others_measured(bare):
    """If a retriever fails, the error names it, all other retrievers are measured, and the exit code is nonzero."""
    bare.write(bare.spec.read_text(encoding="utf-8").replace("speed = 2", 'fault = "crash"'))
    name = queries(bare, "q.jsonl", {"id": "q1", "text": "Ada", "gold": "ada"})
    result = bare.call("retrieve", bare.spec, "-q", "--queries", name)
    assert result.exit_code == 3
    assert "words" in result.stdout
    words = "retrievers.again (toy, kib-toys 1.0), search: IndexError: the toy retriever broke down"
    assert words in result.stderr
    result = bare.call("retrieve", bare.spec, "-q", "--queries", name, "--retriever", "again")
    assert (result.exit_code, result.stdout) == (3, "")
