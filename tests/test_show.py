"""The commands `kib show`, `kib plan` and `kib plugins`."""

import json
import re
import shlex
import shutil

import pytest

BASE = "m/base/people,0-shot"
RAG = "m/rag,k=3/people,0-shot"
FT = "m/ft-par/people,0-shot"

TRAINED = """
[writers.reword]
plugin = "toy"

[trainers.in-other-words]
plugin = "toy"
text = { writer = "reword", count = 2 }

[methods.ft-par]
train = "in-other-words"
"""


@pytest.fixture(scope="module")
def done(new_bench, toys, tmp_path_factory):
    """Write the toy benchmark, run it and return its folder."""
    bench = new_bench(tmp_path_factory.mktemp("done")).write_toy()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(toys)
        assert bench.run() == {}
    return bench


def shown(bench, *arguments):
    """Return the output of a successful `kib show` call."""
    result = bench.call("show", *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(bench, *arguments):
    """Return the error output of `kib show`, which must exit with code 2."""
    result = bench.call("show", *arguments)
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    return result.output


# Names


FORMS = ["{id}", "{place}", "{place}/s0", "toy/{id}", "toy/{place}", "{id}/", "m/base", "base", "{digest}", "toy/base"]


@pytest.mark.parametrize("form", FORMS)
def test_a_cell_is_named_as_it_is_printed(done, form):
    """A cell is identified by its id, with or without digest and seed, or by a unique prefix, arm or digest."""
    cell = done.cells()[BASE]
    name = form.format(id=cell.id, place=cell.place, digest=cell.identity[:8])
    assert shown(done, name).startswith(f"{cell.id}\n")


def followed(bench, text):
    """Run the command that a text recommends, in the way a shell would, and return its output."""
    command = text.rpartition("to show one question in full: ")[2].strip()
    return bench.call(*shlex.split(command)[1:])


def test_the_recommended_command_works(bench):
    """The command that `kib show` recommends works for ids with spaces, dashes, several seeds and other folders."""
    rows = [
        {"id": name, "question": "Where does Ada live?", "options": ["a", "b"], "answer": "A", "document": "ada"}
        for name in ("--odd q#1; 'x'", "b")
    ]
    bench.write_toy(questions="".join(json.dumps(row) + "\n" for row in rows))
    bench.run()
    (bench.folder / "other").mkdir()
    shutil.copytree(bench.folder / "results" / "toy", bench.folder / "other" / "first")
    shutil.copytree(bench.folder / "results" / "toy", bench.folder / "other" / "second")
    for arguments in ([BASE], ["first/" + BASE, "--results", "other"]):
        done = followed(bench, shown(bench, *arguments))
        assert done.exit_code == 0, done.output
        assert ", question --odd q#1; 'x'\n" in done.output
    said = refused(bench, "m", "--results", "other")
    assert "several benchmarks contain m; choose one of: first/m, second/m" in said
    names = refused(bench, "first/m", "--results", "other").rpartition("choose one of: ")[2].strip().split(", ")
    assert len(names) == 5
    for wrong, start in (("first/m/rag", "did you mean first/m/rag,k="), ("second", "choose one of: second/m/")):
        said = refused(bench, wrong, "--results", "other")
        name = said.strip().rpartition("mean " if "mean" in said else ": ")[2].split(" or ")[0].split(", ")[0]
        assert start in said
        assert shown(bench, name.rstrip("?"), "--results", "other").startswith("m/")
    assert shown(bench, names[0], "--results", "other").startswith(BASE)


def test_a_question_is_named_by_its_beginning(done):
    """A question is identified by its id, or by the beginning of its id if only one id begins so."""
    assert ", question ada-12\n" in shown(done, RAG, "ada-1")
    assert re.search(r"ada matches several questions of cell .*; choose one of: ada-\d+, ", refused(done, RAG, "ada"))
    assert "contains no question eda; its 18 questions include " in refused(done, RAG, "eda")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m/bse/people,0-shot", "no cell m/bse/people,0-shot; did you mean m/base/people,0-shot"),
        ("m/rag,k=2/people,0-shot", "did you mean m/rag,k=3/people,0-shot or m/rag,k=1/people,0-shot"),
        ("m/base/peop", "no cell m/base/peop; did you mean m/base/people,0-shot"),
        ("m/base/people,0", "no cell m/base/people,0; did you mean m/base/people,0-shot"),
        ("zzz", "no cell zzz; choose one of: m/base/people,0-shot"),
    ],
)
def test_a_wrong_name_suggests_the_nearest(done, name, words):
    """The error for an unknown cell name suggests similar names, and substrings do not match."""
    assert words in refused(done, name)


def test_an_ambiguous_cell_name_lists_the_matches(done):
    """The error for an ambiguous cell name lists the matching ids."""
    said = refused(done, "m")
    assert "m matches several cells; choose one of: " in said
    assert all(cell.place in said for cell in done.cells().values())


def test_a_cell_of_two_benchmarks_needs_a_prefix(bench):
    """If two benchmarks contain the same cell, prefixing the benchmark's name identifies the cell."""
    bench.write_toy()
    bench.run()
    bench.write(bench.spec.read_text(encoding="utf-8").replace('name = "toy"', 'name = "m"'))
    bench.run()
    assert f"several benchmarks contain {BASE}; choose one of: m/{BASE}, toy/{BASE}" in refused(bench, BASE)
    assert shown(bench, f"toy/{BASE}").startswith(BASE)
    assert shown(bench, f"m/{BASE}").startswith(BASE)


def test_a_benchmark_may_share_its_models_name(bench):
    """All cells remain accessible if a benchmark has the same name as a model."""
    bench.write_toy()
    bench.write(bench.spec.read_text(encoding="utf-8").replace('name = "toy"', 'name = "m"'))
    bench.run()
    assert shown(bench, BASE).startswith(BASE)
    assert shown(bench, f"m/{BASE}").startswith(BASE)


def test_an_empty_folder_suggests_kib_run(bench):
    """The error for an empty results folder names the command that creates results."""
    bench.write_toy()
    assert "results: no results found; create results with `kib run SPEC`" in refused(bench, BASE)


# A cell


def test_a_cell_shows_the_remarks_of_its_scorer(bench):
    """A scorer's remark is stored with the cell and shown by `kib show`."""
    bench.write_toy(model='says = "memory ran out; 512 tokens at a time from here on"\n')
    bench.run()
    assert bench.results.cell(bench.cells()[BASE]).notes == ("memory ran out; 512 tokens at a time from here on",)
    assert "\nmemory ran out; 512 tokens at a time from here on\n" in shown(bench, BASE)


def test_a_trained_cell_shows_its_text(bench):
    """`kib show` prints a trained cell's training run, and the training texts from a question's gold document."""
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    assert bench.run() == {}
    result = bench.results.cell(bench.cells()[FT])
    text, digest = shown(bench, FT), result.text["digest"][:12]
    assert f"trained on {result.training.trained_tokens:,} tokens" in text
    assert "loss 2.000 -> 1.000 nats per token" in text
    assert f"18 training texts (6 documents, 12 paraphrases), digest {digest}:\n  [document of " in text
    assert "… and 15 more in " in text
    one = shown(bench, FT, "ada-0")
    told = one.partition("training text from the gold documents:\n")[2].partition("\n\n")[0]
    assert told.count("[document of ") == 1
    assert told.count("[paraphrase of ") == 2
    assert told.count("Ada") >= 3
    assert "trained on" not in shown(bench, BASE)
    assert "passages dropped" not in shown(bench, BASE)
    shutil.rmtree(bench.folder / "work")
    assert f"12 paraphrases), digest {digest}; the work folder no longer contains these texts" in shown(bench, FT)


def test_gold_named_by_an_alias_finds_its_training_texts(bench):
    """If a question refers to its gold document by an alias, the document's training texts are shown."""
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    text = bench.spec.read_text(encoding="utf-8").replace(
        "[retrievers.words]", 'named = { Quill = "ada" }\n\n[retrievers.words]'
    )
    questions = (
        (bench.folder / "people.jsonl").read_text(encoding="utf-8").replace('"document": "ada"', '"document": "Quill"')
    )
    bench.write(text, people_jsonl=questions)
    assert bench.run() == {}
    part = shown(bench, FT, "ada-0").partition("training text from the gold documents:\n")[2]
    assert part.count("[paraphrase of ada#0]") == 2


def test_a_cell_lists_its_questions(done):
    """`kib show` prints a cell's score and environment, and the answer and gold of each question."""
    text = shown(done, RAG)
    result = done.results.cell(done.cells()[RAG])
    assert f"{result.correct} of 18 right (acc)" in text
    assert "computed on an unknown device, such as a server, with kib-toys 1.0, lm-eval 0.4.13" in text
    for score in done.scores(RAG):
        letters = f"{'ABCD'[score.prediction]} -> {'ABCD'[score.answer]}"
        numbers = " ".join(f"{value:.3f}" for value in score.logprobs)
        assert f"{'+' if score.score else '-'}  {score.question_id}  {letters}  {numbers}  " in text
    assert re.search(r"^[+-]  ada-0  .*\d  Where does Ada Quill live\?$", text, re.MULTILINE)
    assert f"to show one question in full: kib show {RAG} ada-0" in text


def test_a_long_cell_shows_its_first_questions(bench):
    """If a cell has many questions, `kib show` lists only the first questions and names the file with all questions."""
    bench.write_toy(questions=50)
    bench.run()
    text = shown(bench, BASE)
    assert len(re.findall(r"^[+-]  ", text, re.MULTILINE)) == 40
    assert re.search(r"… and 10 more in .*questions\.jsonl", text)


def test_a_failed_cell_states_the_reason(bench):
    """The message for a failed cell states the failed step and the reason."""
    bench.write_toy()
    words = '[retrievers.words]\nplugin = "toy"'
    bench.write(bench.spec.read_text(encoding="utf-8").replace(words, f'{words}\nfault = "twice"'))
    bench.run()
    said = refused(bench, RAG)
    assert (
        "failed at preparing prompts: retrievers.words: question ada-0: the hits contain the same passage twice" in said
    )
    assert "!  m/rag,k=3/people,0-shot/s0-" in shown(bench, BASE, "ada-0")


def test_an_unmeasured_cell_names_the_command(bench):
    """The message for an unmeasured cell names the command that measures the cell."""
    bench.write_toy()
    bench.run()
    shutil.rmtree(bench.results.cell_folder(bench.cells()[BASE]))
    assert "has not been measured yet; run `kib run` to measure this cell" in refused(bench, BASE)


# A question


def test_a_question_is_shown_with_all_details(done):
    """`kib show` prints a question with its query, passages, marked gold passages, prompt, options and answer."""
    text = shown(done, RAG, "eva-10")
    score = next(score for score in done.scores(RAG) if score.question_id == "eva-10")
    assert "searched for: What is the trade of Eva Lind?" in text
    listed = re.findall(r"^  (\d)\. (\S+)( +\(gold\))?$", text, re.MULTILINE)
    assert [passage for _, passage, _ in listed] == list(score.passages)
    assert [passage for _, passage, gold in listed if gold] == ["eva#0"]
    prompt = text.split("─" * 60)[1]
    assert prompt.endswith("Question: What is the trade of Eva Lind?\nAnswer:\n")
    assert f"prompt, {score.tokens} tokens including the longest answer:" in text
    options = re.findall(r"^  ([A-D])\. +(-\d+\.\d{4})  ([\w ]+?)(?:  <- (.*))?$", text, re.MULTILINE)
    assert [float(value) for _, value, _, _ in options] == pytest.approx(score.logprobs, abs=1e-4)
    assert "right" in options[score.answer][3]
    assert "chosen" in options[score.prediction][3]


def test_a_question_is_shown_for_all_methods(done):
    """`kib show` shows how each method answered a question."""
    text = shown(done, RAG, "eva-10")
    beside = text.partition("answers of all methods to this question:\n")[2].splitlines()
    assert [line.split("  ")[1] for line in beside] == ["base", "rag,k=1", "rag,k=3", "oracle", "random,k=2"]
    assert "gold retrieved" in beside[2]
    assert "gold not retrieved" in beside[4]
    assert "gold" not in beside[0]


def test_dropped_passages_are_marked(bench):
    """`kib show` lists a passage that did not fit into the prompt and marks the passage as dropped."""
    bench.write_toy(more="\n[prompt]\ntokens = 220\n")
    bench.run()
    score = next(score for score in bench.scores(RAG) if score.dropped)
    text = shown(bench, RAG, score.question_id)
    assert text.count("(dropped: prompt full)") == score.dropped
    assert "tokens including the longest answer" in text


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("eva-99", "contains no question eva-99; its 18 questions include eva-"),
        ("???", "its 18 questions include ada-0"),
    ],
)
def test_a_wrong_question_suggests_the_nearest(done, question, words):
    """The error for an unknown question id suggests the nearest ids."""
    assert words in refused(done, BASE, question)


def test_without_the_work_folder_the_scores_are_shown(bench):
    """Without the work folder, `kib show` prints the scores and the command that recreates the prompt."""
    bench.write_toy()
    bench.run()
    shutil.rmtree(bench.folder / "work")
    text = shown(bench, RAG, "eva-10")
    score = next(score for score in bench.scores(RAG) if score.question_id == "eva-10")
    assert (
        "contains no undamaged copy of the prompt; `kib check SPEC` recreates the prompt. The digest of the prompt is "
        + score.prompt
        in text
    )
    assert "answers of all methods to this question:" in text
    bench.call("check", bench.spec, "-q")
    assert "searched for:" in shown(bench, RAG, "eva-10")


def test_a_changed_prompt_is_an_error(bench):
    """A modified passage is never shown as part of the prompt, even if no digests of the prompt's files exist."""
    bench.write_toy()
    bench.run()
    [path] = (bench.folder / "work" / "passages").glob("*/passages.jsonl")
    path.write_text(path.read_text(encoding="utf-8").replace("Visby", "Wisby"), encoding="utf-8")
    assert "contains no undamaged copy of the prompt" in shown(bench, RAG, "eva-10")
    marker = path.with_name("done.json")
    sizes = {file.name: file.stat().st_size for file in path.parent.iterdir() if file != marker}
    marker.write_text(json.dumps({"note": {}, "files": sizes}), encoding="utf-8")  # as written by an earlier version
    assert "the rebuilt prompt differs from the prompt that was sent" in refused(bench, RAG, "eva-10")


def test_question_ids_may_contain_any_characters(bench):
    """Question ids with spaces, slashes and characters of any script are found."""
    ids = ["a b", "x/y", "桥 1", "--odd"]
    rows = [
        {"id": name, "question": "Where does Ada live?", "options": ["a", "b"], "answer": "A", "document": "ada"}
        for name in ids
    ]
    bench.write_toy(questions="".join(json.dumps(row) + "\n" for row in rows))
    bench.run()
    for name in ids:
        assert f", question {name}\n" in shown(bench, "--", BASE, name)


# Plugins


def test_plugins_are_listed_with_their_distributions(bench):
    """`kib plugins` lists each installed plugin with its kind, name, distribution and version."""
    text = bench.call("plugins").output
    assert re.search(r"^retrievers +oracle +kib-bench \d", text, re.MULTILINE)
    assert re.search(r"^models +toy +kib-toys 1\.0$", text, re.MULTILINE)
    kinds = [line.split()[0] for line in text.splitlines() if not line.startswith(" ")]
    order = ["models", "corpora", "retrievers", "tasks", "writers", "trainers", "judges", "systems"]
    assert kinds == sorted(kinds, key=order.index)


def test_a_broken_plugin_is_listed_with_its_error(bench, toys, tmp_path):
    """`kib plugins` lists a plugin that cannot be loaded together with the reason."""
    info = tmp_path / "broken-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[kib.corpora]\nshards = no_such_module:Shards\n")
    bench.environment["PYTHONPATH"] = f"{toys}:{tmp_path}"
    done = bench.kib("plugins")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if "shards" in line)
    assert "broken 0.1" in lines[at]
    assert "does not work: " in lines[at + 1]
    assert "No module named 'no_such_module'" in lines[at + 1]
    assert sum("does not work" in line for line in lines) == 1


# Plans


def test_a_plan_shows_what_is_done(bench):
    """`kib plan` marks each step and cell as done or pending."""
    bench.write_toy()
    before = bench.call("plan", bench.spec).output
    assert before.startswith("toy: 5 cells, 0 done")
    assert "done   " not in before
    bench.run()
    after = bench.call("plan", bench.spec).output
    assert after.startswith("toy: 5 cells, 5 done")
    assert "to do" not in after
    bench.write(bench.spec.read_text(encoding="utf-8").replace("top_k = [1, 3]", "top_k = [1, 3, 6]"))
    grown = bench.call("plan", bench.spec).output
    assert grown.startswith("toy: 6 cells, 5 done")
    assert re.search(r"to do  m/rag,k=6/people,0-shot/s0-[0-9a-f]{8}", grown)
    assert re.search(r"to do  [0-9a-f]{8}  hits     words, 6 per question of people", grown)


def test_validation_questions_are_not_expected_in_test_cells(bench):
    """A question of one split is shown with the answers of all methods in this split, whatever the other splits ask."""
    bench.write_toy(task='validation = "validation.jsonl"\n')
    bench.spec.write_text(
        bench.spec.read_text("utf-8").replace("top_k = [1, 3]", 'top_k = [1, 3]\nchoose = "validation"'), "utf-8"
    )
    tested = [json.loads(line) for line in (bench.folder / "people.jsonl").read_text("utf-8").splitlines()]
    asked = [{**row, "id": f"v{row['id']}", "question": f"Say: {row['question']}"} for row in tested]
    (bench.folder / "validation.jsonl").write_text("\n".join(map(json.dumps, asked)), "utf-8")
    assert not bench.run()
    for cell, question in ((RAG, tested[0]), (f"{RAG},validation", asked[0])):
        output = shown(bench, cell, question["id"])
        assert question["question"] in output
        answers = output.partition("answers of all methods to this question:\n")[2].splitlines()
        assert [line.split()[1] for line in answers][:2] == (
            ["base", "rag,k=1"] if cell == RAG else ["rag,k=1", "rag,k=3"]
        )
