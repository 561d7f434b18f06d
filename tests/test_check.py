"""`kib check`: problems, forecasts and prompts before a run."""

import json
import re
import shutil

import pytest

from kib.run import speeds
from kib.store.sealed_json import read_sealed, sealed


def checked(bench, code=0):
    """Return the output of `kib check`, which must exit with the given code."""
    result = bench.call("check", bench.spec, "-q")
    assert result.exit_code == code, result.output
    return result.output


def edit(bench, before, after):
    text = bench.spec.read_text(encoding="utf-8")
    assert before in text
    return bench.write(text.replace(before, after))


def test_a_check_loads_no_model_and_creates_no_results(bench, tmp_path):
    """`kib check` loads no model and does not create a results folder."""
    log = tmp_path / "asked.log"
    bench.write_toy(model=f'log = "{log.as_posix()}"\n')
    checked(bench)
    assert not log.exists()
    assert not (bench.folder / "results").exists()


def test_each_cell_has_a_line_with_its_lengths(bench):
    """`kib check` lists every cell with its number of questions and the token counts of its prompts."""
    bench.write_toy()
    text = checked(bench)
    bench.run()
    assert text.startswith("toy: 5 cells on 1 set of weights\n")
    for place in bench.cells():
        tokens = sorted(score.tokens for score in bench.scores(place))
        middle = (tokens[8] + tokens[9]) / 2
        line = f"{place}: 18 questions, tokens {tokens[0]} / {middle:.0f} / {tokens[-1]} (minimum / median / maximum)"
        assert line in text


def test_the_forecast_equals_the_requests_of_a_run(bench, tmp_path):
    """The forecast of `kib check` predicts the exact numbers of requests and tokens to read of a run."""
    log = tmp_path / "asked.log"
    bench.write_toy(model=f'log = "{log.as_posix()}"\n')
    words = r"forecast for m: ([\d,]+) requests, ([\d,]+) tokens to read, time unknown\n"
    requests, tokens = re.search(words, checked(bench)).groups()
    bench.run()
    asked = [one for line in log.read_text().splitlines() for one in json.loads(line)["asked"]]
    assert int(requests.replace(",", "")) == len(asked)
    prompts = {score.prompt: score.tokens for place in bench.cells() for score in bench.scores(place)}
    assert int(tokens.replace(",", "")) == sum(prompts.values())


def forecast(text):
    """Return the lines of the forecast in the output of `kib check` or `kib plan`."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("forecast for ")]


def test_measured_cells_and_stored_answers_are_not_forecast(bench, tmp_path):
    """After a run, an added cell is forecast with only the requests that the next run sends."""
    log = tmp_path / "asked.log"
    bench.write_toy(model=f'log = "{log.as_posix()}"\n')
    bench.run()
    assert forecast(checked(bench)) == [
        "forecast for m: all 5 cells are measured",
        "forecast for the whole run: nothing is missing",
    ]
    log.unlink()
    edit(bench, "top_k = [1, 3]", "top_k = [1, 2, 3]")
    [line] = [line for line in forecast(checked(bench)) if line.startswith("forecast for m: ")]
    bench.run()
    asked = [one for line in log.read_text().splitlines() for one in json.loads(line)["asked"]]
    assert line.startswith(f"forecast for m: {len(asked)} requests")


def test_an_interrupted_run_is_forecast_without_its_stored_answers(bench):
    """The forecast counts stored answers even if no cell has a result, as after an interrupted run."""
    bench.write_toy()
    bench.run()
    shutil.rmtree(bench.results.folder)
    assert forecast(checked(bench))[0] == "forecast for m: all 312 answers are stored"
    edit(bench, "top_k = [1, 3]", "top_k = [1, 2, 3]")
    text = checked(bench)
    found = re.search(r"forecast for m: (\d+) requests \((\d+) of (\d+) answers are stored\)", text)
    missing, stored, every = map(int, found.groups())
    assert stored > 0
    assert missing + stored == every


def test_the_plan_forecasts_cells_with_stored_prompts(bench):
    """`kib plan` forecasts nothing before a check, the same as `kib check` afterwards, and nothing after a run."""
    bench.write_toy(model="trainable = true\n", more=TRAINED.format(fault=""))
    text = bench.call("plan", bench.spec, "-q").output
    assert forecast(text) == []
    assert "not forecast: 8 cells without stored prompts" in text
    expected = forecast(checked(bench))
    assert len(expected) == 6
    text = bench.call("plan", bench.spec, "-q").output
    assert forecast(text) == expected
    assert "not forecast" not in text
    bench.run()
    assert "forecast" not in bench.call("plan", bench.spec, "-q").output


def test_the_plan_is_shown_if_a_cell_cannot_be_prepared(bench):
    """A problem that `kib check` reports does not hide the steps and cells in `kib plan`."""
    bench.write_toy()
    checked(bench)
    edit(bench, "[models.m]", '[prompt]\ntemplate = "{{ passages[99].text }}"\n\n[models.m]')
    text = bench.call("plan", bench.spec, "-q").output
    assert "to do  m/rag,k=1/people,0-shot" in text
    assert "not forecast: 4 cells" in text


def test_the_time_is_forecast_from_the_speed_of_an_earlier_run(bench, monkeypatch):
    """A forecast uses the speed at which an earlier run on this machine answered, trained and read, if it is known."""
    monkeypatch.setattr(speeds, "SHORTEST", 0.0)
    bench.write_toy(model="trainable = true\n", more=TRAINED.format(fault=""))
    bench.run()
    for path in (bench.folder / "work" / "speeds").glob("*.json"):
        slow = read_sealed(path) | {"seconds": 7200.0}
        path.write_text(json.dumps(sealed(slow)))
    edit(bench, "top_k = [1, 3]", "top_k = [1, 2, 3]")
    lines = forecast(checked(bench))
    assert re.search(r", about \d+ (h|min).* at the speed of an earlier run", lines[0]), lines
    assert re.match(r"forecast for the whole run: about \d+ (h|min)", lines[-1])


SUMS = """schema = 1
name = "sums"

[models.m]
plugin = "toy"

[tasks.sums]
plugin = "lm-eval"
task = "gsm8k"
data = { test = "sums.json", train = "sums.json" }

[methods.base]
"""


@pytest.mark.slow
def test_tokens_to_generate_are_not_read(bench):
    """Tokens reserved for a generated answer count as tokens to write, and a model's own limit replaces the default."""
    rows = [{"question": f"What is {n} plus {n}?", "answer": f"Twice {n}.\n#### {2 * n}"} for n in (2, 20)]
    bench.write(SUMS, sums_json=json.dumps(rows))
    prompts = [f"Question: {row['question']}\nAnswer:" for row in rows]
    read = sum(1 + len(prompt) for prompt in prompts)  # the toy has one token per byte and a start token
    words = rf"forecast for m: 2 requests, {read} tokens to read, at most 512 tokens to write, time unknown\n"
    assert re.search(words, checked(bench))
    bench.run()
    [cell] = bench.cells().values()
    assert sum(score.tokens for score in bench.scores(cell.place)) == read
    limited = 'plugin = "lm-eval"\nbackend = "dummy"\nargs = { max_gen_toks = 12 }'
    bench.write(SUMS.replace('plugin = "toy"', limited))
    assert "2 requests, tokens not counted, at most 24 tokens to write, " in checked(bench)
    assert bench.results.cell(cell).prompt_tokens == read


def test_training_forecasts_name_the_weights(bench):
    """The training forecast has one line per trained arm and seed, with the model, trainer, settings and seed."""
    more = '\n[trainers.by-heart]\nplugin = "toy"\nvary = { rank = [1, 2] }\n\n[methods.ft]\ntrain = "by-heart"\n'
    bench.write_toy(model="trainable = true\n", more=more)
    edit(bench, 'name = "toy"', 'name = "toy"\nseeds = [0, 1]')
    names = re.findall(r"^forecast for (?!training)(.*): [\d,]+ requests", checked(bench), re.MULTILINE)
    arms = [f"m+by-heart,rank={rank} on people, seed {seed}" for rank in (1, 2) for seed in (0, 1)]
    assert names == ["m", *arms]


def test_a_run_reuses_the_steps_of_a_check(bench):
    """`kib run` reuses the passages, index and hits computed by `kib check`."""
    bench.write_toy()
    checked(bench)
    plan = bench.call("plan", bench.spec).output
    assert re.findall(r"to do .*", plan.partition("cells\n")[0].partition("steps\n")[2]) == []
    before = {path: path.stat().st_mtime_ns for path in (bench.folder / "work").rglob("*.jsonl")}
    bench.run()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_real_prompt_of_each_method_is_shown(bench):
    """`kib check` shows each method's first prompt exactly as the model reads it, with the answers to be scored."""
    bench.write_toy()
    text = checked(bench)
    bench.run()
    for place in ("m/base", "m/rag,k=1", "m/oracle", "m/random,k=2"):
        example = text.partition(f"{place}/people,0-shot, question ada-0:\n")[2]
        _, prompt, rest = example.split("─" * 60, 2)
        shown = bench.call("show", f"{place}/people,0-shot", "ada-0").output.split("─" * 60)[1]
        assert prompt == shown
        assert rest.startswith("\nanswers scored: ' Norwick' ' Überlingen' ' Tarn' ' Ostend'")


def test_uncounted_tokens_are_reported(bench):
    """Without a tokenizer, prompt lengths and forecasts state that tokens are not counted."""
    bench.write_toy(model="counts = false\n")
    text = checked(bench)
    assert "18 questions, tokens not counted" in text
    assert re.search(r"forecast for m: \d+ requests, tokens not counted, time unknown", text)


@pytest.mark.parametrize(
    ("before", "after", "words", "cells"),
    [
        ('[models.m]\nplugin = "toy"', '[models.m]\nplugin = "toy"\nlength = 60', "of 18 questions are too long", 5),
        (
            'corpus = "people"',
            'corpus = "people"\nshots = [2]',
            "tasks.people.shots: expected at most 0, the number of few-shot examples of the task, got 2",
            5,
        ),
        ('corpus = "people"', 'corpus = "people"\nquery = "{{ x }}"', "tasks.people.query: 'x' is undefined", 5),
        ("[models.m]", '[prompt]\ntemplate = "{{ passages[99].text }}"\n\n[models.m]', "prompt.template: ", 4),
        (
            '[models.m]\nplugin = "toy"',
            '[models.m]\nplugin = "lm-eval"\nbackend = "dumy"',
            "models.m: lm-eval has no backend dumy; did you mean dummy?",
            5,
        ),
    ],
)
def test_problems_are_reported_with_their_cells(bench, before, after, words, cells):
    """`kib check` reports each problem once with the number of affected cells, and exits with code 2."""
    bench.write_toy()
    edit(bench, before, after)
    [problem] = [line for line in checked(bench, 2).splitlines() if line.startswith("Error: ")]
    assert words in problem
    assert problem.endswith(f"({cells} cells)")


def test_problems_do_not_hide_working_cells(bench):
    """If some cells would fail, `kib check` still lists and shows all other cells."""
    bench.write_toy()
    edit(bench, '[retrievers.words]\nplugin = "toy"', '[retrievers.words]\nplugin = "toy"\nfault = "crash"')
    text = checked(bench, 2)
    assert "m/oracle/people,0-shot: 18 questions" in text
    assert "m/rag,k=1/people,0-shot: 18 questions" not in text
    assert "IndexError: the toy retriever broke down (the traceback is in errors/" in text
    assert "Traceback" not in text


def test_a_failing_plugin_is_reported_as_in_a_run(bench):
    """A plugin's exception is reported on one line with the affected cells; the work folder stores the traceback."""
    bench.write_toy()
    edit(bench, '[corpora.people]\nplugin = "toy"', '[corpora.people]\nplugin = "toy"\ncrashes = true')
    text = checked(bench, 2)
    assert re.search(
        r"documents: ZeroDivisionError: the toy corpus broke down \(the traceback is in errors/\w+\.txt .*\(4 cells\)",
        text,
    )
    assert list((bench.folder / "work" / "errors").glob("*.txt"))


def test_prompt_answer_boundaries_are_checked(bench, toys):
    """A tokenizer that merges tokens across the prompt-answer boundary is detected before anything is scored."""
    bench.write_toy()
    edit(bench, '[models.m]\nplugin = "toy"', '[models.m]\nplugin = "toy"\njoins = true')
    text = checked(bench, 2)
    assert (
        "question ada-0: the tokenizer merges the answer ' Norwick' with the end of the prompt, 'll live?\\nAnswer:'"
        in text
    )


def test_a_trained_arm_is_checked_without_training(bench):
    """Prompts of trained arms are rendered without calling a trainer."""
    more = '\n[trainers.by-heart]\nplugin = "toy"\nfault = "crash"\n\n[methods.ft]\ntrain = "by-heart"\n'
    bench.write_toy(model="trainable = true\n", more=more)
    text = checked(bench)
    assert "toy: 6 cells on 2 sets of weights" in text
    assert "m/ft/people,0-shot: 18 questions" in text
    assert not (bench.folder / "work" / "weights").exists()


TRAINED = """
[trainers.by-heart]
plugin = "toy"
{fault}
[trainers.in-other-words]
plugin = "toy"
text = {{ writer = "again", count = 2 }}

[writers.again]
plugin = "toy"

[methods.ft]
train = "by-heart"

[methods."ft+rag"]
train = "by-heart"
retrieve = "words"
top_k = [1]

[methods.ft-par]
train = "in-other-words"
"""


def test_a_trainer_is_checked_before_anything_is_scored(bench):
    """If a trainer rejects a model, this is reported once for all seeds, and the other training runs are shown."""
    bench.write_toy(model="trainable = true\n", more=TRAINED.format(fault='fault = "unfit"\n'))
    edit(bench, 'name = "toy"', 'name = "toy"\nseeds = [0, 1]')
    text = checked(bench, 2)
    assert re.findall("^Error: .*", text, re.MULTILINE) == ["Error: the toy trainer cannot train this model (4 cells)"]
    assert "forecast for training m+in-other-words on people, seed 1: " in text


def test_training_text_is_forecast(bench):
    """The forecast shows the number of texts and the approximate tokens per epoch for each training text."""
    bench.write_toy(model="trainable = true\n", more=TRAINED.format(fault=""))
    words = r"forecast for training m\+(\S+) on people, seed 0: ([\d,]+) texts, about ([\d,]+) tokens per pass"
    found = re.findall(words, checked(bench))
    bench.run()
    for trainer, method in (("by-heart", "ft"), ("in-other-words", "ft-par")):
        read = bench.results.cell(bench.cells()[f"m/{method}/people,0-shot"]).training
        [(texts, tokens)] = [one[1:] for one in found if one[0] == trainer]
        assert int(texts) == read.steps
        assert int(tokens.replace(",", "")) == pytest.approx(read.text_tokens, rel=0.1)
    assert len(found) == 2


def test_a_text_without_tokenizer_is_not_counted(bench):
    """If the model has no public tokenizer, the forecast states that the training tokens are not counted."""
    bench.write_toy(model="trainable = true\ncounts = false\n", more=TRAINED.format(fault=""))
    words = r"forecast for training m\+by-heart on people, seed 0: \d+ texts, tokens not counted"
    assert re.search(words, checked(bench))


ONES = """schema = 1
name = "one"

[models.m]
plugin = "toy"
trainable = true

[corpora.people]
plugin = "toy"
documents = [["a", "", "I"]]

[retrievers.words]
plugin = "toy"

[tasks.people]
plugin = "file"
path = "people.jsonl"
corpus = "people"

[writers.again]
plugin = "toy"

[trainers.by-heart]
plugin = "toy"
text = { writer = "again", count = 1 }

[methods.base]

[methods.rag]
retrieve = "words"
top_k = [1]

[methods.ft]
train = "by-heart"
"""


def test_single_things_are_named_in_the_singular(bench):
    """No command names a single thing in the plural, if a benchmark has one document, one question and one hit."""
    row = {"id": "q1", "question": "I?", "options": ["a", "b"], "answer": "A", "document": "a"}
    bench.write(ONES, people_jsonl=json.dumps(row))
    output = checked(bench) + bench.call("plan", bench.spec, "-q").output
    assert bench.run() == {}
    calls = [("show", place) for place in bench.cells()] + [("leaderboard", "--retrieval"), ("leaderboard", "--cost")]
    output += "".join(bench.call(*call).output for call in (*calls, ("check", bench.spec), ("retrieve", bench.spec)))
    bench.write(ONES.partition("[tasks.")[0])
    output += checked(bench)
    assert "1 question" in output
    assert re.findall(r"(?<![/,.] )\b1 (?:[a-z]+ )?[a-z]+s\b", output) == []


CORPORA = """schema = 1
name = "books"

[corpora.manual]
plugin = "toy"
documents = {documents}
chunk = {{ sentences = 1 }}

[corpora.people]
plugin = "toy"
documents = [["ada", "Ada", "Ada lives in Norwick."]]
"""

DOCUMENTS = (
    ("a", "A", "It rains. The red lever\nstops the pump."),
    ("b", "B", "The  red lever stops the pump. " + "steam " * 100 + "water " * 100),
    ("c", "C", "# Contents"),
)


def test_corpora_are_checked_without_tasks(bench):
    """For a file with corpora only, `kib check` shows lengths, the longest passages, duplicates and headings."""
    bench.write(CORPORA.format(documents=json.dumps(DOCUMENTS)))
    text = checked(bench)
    assert text.startswith("books: the file declares no tasks and no methods, so only the corpora are checked\n\n")
    first, second = text.split("\n\n")[1:]
    assert first.splitlines() == [
        "corpus manual: 3 documents, 6 passages of 9 / 30 / 599 characters (minimum / median / maximum)",
        "       8–15 characters        2  " + "█" * 40,
        "      16–31 characters        2  " + "█" * 40,
        "      32–63 characters        0",
        "     64–127 characters        0",
        "    128–255 characters        0",
        "    256–511 characters        0",
        "  512–1,023 characters        2  " + "█" * 40,
        "  longest passages: b#1 (599), b#2 (599), b#0 (30)",
        "  1 passage with the same text as an earlier passage: a#1 = b#0",
        "  1 passage of headings only, because no text follows: c#0",
    ]
    assert second.startswith("corpus people: 1 document, 1 passage of 21 / 21 / 21 characters")
    assert not (bench.folder / "results").exists()


def test_tasks_are_checked_without_methods(bench):
    """For a file without methods, `kib check` reads the tasks, locates their gold, and reports unusable questions."""
    bench.write_toy()
    tables = bench.spec.read_text(encoding="utf-8").partition("[methods.")[0]
    bench.write(tables)
    text = checked(bench)
    assert text.startswith("toy: the file declares no methods, so only the corpora and the tasks are checked\n\n")
    assert "corpus people: 6 documents" in text
    assert "\ntask people: 18 questions, 6 groups, 18 with gold\n" in text
    rows = [json.loads(line) for line in (bench.folder / "people.jsonl").read_text(encoding="utf-8").splitlines()]
    copy = {**rows[0], "id": "copy", "start": 0, "end": 3}
    bench.write(tables, people_jsonl="".join(json.dumps(row) + "\n" for row in (*rows, copy)))
    text = checked(bench)
    assert "  1 question repeats an earlier question and its options (copy repeats ada-0)\n" in text
    assert "  1 gold range without `quote`: kib would not notice if an edit of a document moved the gold text\n" in text
    bench.write(tables, people_jsonl=json.dumps({**copy, "document": "zoe"}))
    assert "1 gold document of the questions is not in the corpus: 'zoe'" in checked(bench, 2)
    bench.write(tables.partition("[corpora.")[0] + '[tasks.t]\nplugin = "file"\npath = "people.jsonl"\n')
    assert "\ntask t: 1 question, 1 group, 1 with gold\n" in checked(bench)


@pytest.mark.parametrize(
    ("before", "after", "place", "k"),
    [
        ("top_k = [2]", "top_k = [9]", "m/random,k=9/people,0-shot", 9),
        ('plugin = "oracle"\nothers = 1', 'plugin = "oracle"\nothers = 7', "m/oracle/people,0-shot", 8),
    ],
)
def test_too_few_passages_are_reported(bench, before, after, place, k):
    """`kib check` counts the questions with fewer passages than requested, as the table of a run does."""
    bench.write_toy()
    [line] = [line for line in checked(bench).splitlines() if "few passages" in line]
    assert bench.run() == {}
    short = sum(len(score.passages) < 3 for score in bench.scores("m/rag,k=3/people,0-shot"))
    assert line.startswith("m/rag,k=3/people,0-shot: ")
    assert line.endswith(f"; few passages: {short} questions with fewer than 3")
    edit(bench, before, after)
    [line] = [line for line in checked(bench).splitlines() if line.startswith(f"{place}: ")]
    assert line.endswith(f"; few passages: 18 questions with fewer than {k}")


def test_corpora_need_a_tokenizer_for_tokens(bench):
    """If a file declares only corpora, splitting by tokens requires a model, and the other corpora are still shown."""
    bench.write(CORPORA.format(documents="[]").replace("sentences = 1", "tokens = 9"))
    text = checked(bench, 2)
    assert "corpora.manual.chunk: splitting by tokens requires a tokenizer; add a table [models.NAME]" in text
    assert "corpus people: 1 document" in text
    bench.write(
        CORPORA.format(documents=json.dumps(DOCUMENTS)).replace("sentences = 1", "tokens = 99")
        + '\n[models.m]\nplugin = "toy"\n'
    )
    assert re.search(r"corpus manual: .* / \d\d tokens \(minimum", checked(bench))


def test_a_check_describes_corpora(bench):
    """`kib check` of a benchmark shows the number of passages and the duplicates of each corpus."""
    bench.write_toy(documents=[*bench.people, ["copy", "Copy", bench.people[0][2]]])
    text = checked(bench)
    assert "corpus people: 7 documents, 7 passages of " in text
    assert "  1 passage with the same text as an earlier passage: ada#0 = copy#0\n" in text
    assert "█" not in text
