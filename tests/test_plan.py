"""Planned cells and steps have identities that contain everything that affects a result, and nothing else."""

import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from kib.commands.plan import show_plan
from kib.errors import SpecError
from kib.identity import canonical, digest
from kib.plan.planner import make_plan
from kib.plan.steps import WeightsStep
from kib.progress import SilentProgress
from kib.store.results import Results

CONTROL = """
[tasks.other]
plugin = "file"
path = "people.jsonl"
role = "control"
"""

TRAINED = """
[writers.reword]
plugin = "toy"

[trainers.by-heart]
plugin = "toy"

[trainers.in-other-words]
plugin = "toy"
text = { writer = "reword", count = 2 }
vary = { rank = [1, 4], "text.count" = [1, 3] }

[methods.ft]
train = "by-heart"

[methods.ft-par]
train = "in-other-words"

[methods."ft+rag"]
train = "by-heart"
retrieve = "words"
top_k = [2]
"""


def cells(bench):
    """Return the plan's cells by path, or by path and seed if several cells share a path."""
    return {(cell.cell.place, cell.cell.seed): cell for cell in bench.plan().cells}


def places(bench):
    return [cell.cell.place for cell in bench.plan().cells]


def identities(bench):
    return {cell.cell.place: cell.cell.identity for cell in bench.plan().cells}


def changed(bench, before, after, count=1):
    """Return the paths of cells with a different identity after a change to the benchmark file."""
    old = identities(bench)
    text = bench.spec.read_text(encoding="utf-8")
    assert text.count(before) >= 1, before
    bench.write(text.replace(before, after, count))
    new = identities(bench)
    bench.write(text)
    assert new.keys() == old.keys()
    return {place.split("/")[1] for place in old if old[place] != new[place]}


ALL = {"base", "rag,k=1", "rag,k=3", "oracle", "random,k=2"}
RETRIEVED = ALL - {"base"}


def test_no_identity_is_computed_twice(bench, monkeypatch):
    """A plan computes the identity of each step once, even if many cells share the step."""
    from kib.plan import step_planner

    bench.write_toy(model="trainable = true\n", task="shots = [0, 2]\nexamples = 'people.jsonl'\n", more=TRAINED)
    bench.write(bench.spec.read_text(encoding="utf-8").replace('name = "toy"', 'name = "toy"\nseeds = [0, 7]', 1))
    computed = []
    monkeypatch.setattr(step_planner, "digest", lambda value: computed.append(canonical(value)) or digest(value))
    assert len(bench.plan().cells) > 30
    assert [value for value, times in Counter(computed).items() if times > 1] == []


def test_the_cells_of_all_weights_are_found_in_one_pass(bench, monkeypatch):
    """Finding the cells of all sets of weights does not compare every set of weights with every cell."""
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    plan = bench.plan()
    expected = {weights: tuple(cell for cell in plan.cells if cell.weights == weights) for weights in plan.weights}
    compared, equal = [], WeightsStep.__eq__
    monkeypatch.setattr(WeightsStep, "__eq__", lambda one, other: compared.append(1) or equal(one, other))
    found = [plan.on(weights) for weights in plan.weights]
    assert len(compared) <= len(plan.cells)
    monkeypatch.undo()
    assert found == list(expected.values())


# What the results folder keeps


def test_plan_records_limits_and_chat_templates(bench):
    """A plan records the question limit of each task and the models that use a chat template."""
    bench.write_toy()
    plan = bench.plan().entry()
    assert ({task.limit for task in plan.tasks.values()}, plan.chats) == ({0}, ())
    bench.write_toy(task="limit = 2\n", model="chat_template = true\n")
    plan = bench.plan().entry()
    assert ({task.limit for task in plan.tasks.values()}, plan.chats) == ({2}, ("m",))


# What makes a cell


def test_each_combination_of_method_and_task_is_a_cell(bench):
    """Each method is planned for every model, task, number of passages and number of shots."""
    bench.write_toy(task="shots = [0]\n")
    assert places(bench) == [f"m/{arm}/people,0-shot" for arm in ("base", "rag,k=1", "rag,k=3", "oracle", "random,k=2")]


def test_cells_are_ordered_by_model(bench):
    """Cells are ordered by model and then by method, as in the file, so that each model is loaded once."""
    bench.write_toy()
    text = bench.spec.read_text(encoding="utf-8")
    bench.write(text.replace("[models.m]", '[models.z]\nplugin = "toy"\nseed = 4\n\n[models.m]'))
    models = [place.partition("/")[0] for place in places(bench)]
    assert models == ["z"] * 5 + ["m"] * 5
    assert len(bench.plan().weights) == 2


def test_a_method_may_be_limited_to_tasks_or_models(bench):
    """A method that is limited to certain tasks or models has cells only for these tasks or models."""
    more = CONTROL + '\n[methods.some]\nretrieve = "words"\ntop_k = [1]\ntasks = ["people"]\nmodels = ["m"]\n'
    bench.write_toy(more=more)
    assert [place for place in places(bench) if "/some" in place] == ["m/some,k=1/people,0-shot"]


def test_a_control_without_a_corpus_has_no_retrieval(bench):
    """A control task without a corpus is measured without retrieval."""
    bench.write_toy(more=CONTROL)
    assert [place for place in places(bench) if "/other" in place] == ["m/base/other,0-shot"]
    assert cells(bench)["m/base/other,0-shot", 0].cell.corpus is None


def test_a_control_with_a_corpus_has_retrieval_but_no_oracle(bench):
    """A control task with a corpus is measured with retrieved passages, but not with the oracle."""
    bench.write_toy(more=CONTROL + 'corpus = "people"\n')
    assert [place for place in places(bench) if "/other" in place] == [
        "m/base/other,0-shot",
        "m/rag,k=1/other,0-shot",
        "m/rag,k=3/other,0-shot",
        "m/random,k=2/other,0-shot",
    ]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            'corpus = "people"\n',
            "",
            "methods.rag: the method yields no cells: none of the method's tasks names a corpus to retrieve from",
        ),
        ("top_k = [1, 3]\n", "", "methods.rag: top_k is missing; add a list such as `top_k = [1, 3, 5]`"),
        (
            'retrieve = "gold"\n',
            'retrieve = "gold"\ntop_k = [2]\n',
            "methods.oracle.top_k: the retriever gold always returns 2 passages; remove top_k",
        ),
    ],
)
def test_invalid_methods_are_reported_with_their_line(bench, before, after, words):
    """A missing or superfluous key of a method is reported with the file, line and key."""
    bench.write_toy()
    bench.write(bench.spec.read_text(encoding="utf-8").replace(before, after))
    with pytest.raises(SpecError) as caught:
        bench.plan()
    line = re.escape(str(bench.spec)) + r":(\d+): "
    assert re.match(line + re.escape(words), str(caught.value)), str(caught.value)


def test_planning_reads_no_data(bench):
    """Planning reads no data and creates no folder."""
    bench.write_toy()
    bench.plan()
    assert sorted(path.name for path in bench.folder.iterdir()) == ["bench.toml", "people.jsonl"]


def test_a_plan_is_the_same_every_time(bench):
    """Planning the same file yields identical identities in every process and folder."""
    bench.write_toy()
    first = json.loads(json.dumps(identities(bench)))
    code = (
        "import sys, json; from pathlib import Path\n"
        "from kib.plugins.resolve import open_spec; from kib.plan.planner import make_plan\n"
        "cells = make_plan(*open_spec(Path(sys.argv[1]))).cells\n"
        "print(json.dumps({cell.cell.place: cell.cell.identity for cell in cells}))"
    )
    other = bench.folder / "other"
    other.mkdir()
    for name in ("bench.toml", "people.jsonl"):
        (other / name).write_bytes((bench.folder / name).read_bytes())
    for seed in ("0", "1"):
        environment = {**bench.environment, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(other / "bench.toml")]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        assert json.loads(said) == first


# What an identity holds


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('title = "Six people that nobody knows"', 'title = "Other words"'),
        ('name = "toy"', 'name = "other"'),
        ('[models.m]\nplugin = "toy"', '[models.m]\nplugin = "toy"\nseconds = 0.5'),
        ('[models.m]\nplugin = "toy"', '[models.m]\nplugin = "toy"\nlog = "asked.log"'),
        ('[models.m]\nplugin = "toy"', '[models.m]\nplugin = "toy"\nseed = 0'),
        ('[retrievers.words]\nplugin = "toy"', '[retrievers.words]\nplugin = "toy"\nspeed = 3'),
        ("top_k = [1, 3]", "top_k = [3, 1]"),
        ('path = "people.jsonl"', 'path = "./people.jsonl"'),
        ('corpus = "people"', 'corpus = "people"\nshots = [0]'),
        ('corpus = "people"', 'corpus = "people"\nscoring = "text"'),
        ('[models.m]\nplugin = "toy"', '[models.m]\nplugin = "toy"\nchat_template = false'),
    ],
)
def test_irrelevant_changes_do_not_affect_identities(bench, before, after):
    """Titles, non-identity options, explicit defaults, table order and path spelling do not affect identities."""
    bench.write_toy()
    assert changed(bench, before, after) == set()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('[models.m]\nplugin = "toy"', '[models.m]\nplugin = "toy"\nseed = 1', ALL),
        ('[models.m]\nplugin = "toy"', '[models.m]\nplugin = "toy"\nchat_template = true', ALL),
        ('corpus = "people"', 'corpus = "people"\nlimit = 9', ALL),
        ('corpus = "people"', 'corpus = "people"\nscoring = "text-norm"', ALL),
        ('corpus = "people"', 'corpus = "people"\nquery = "{{ question }}!"', ALL),
        ("Norwick", "Norwich", RETRIEVED),
        ('[corpora.people]\nplugin = "toy"', '[corpora.people]\nplugin = "toy"\nchunk = { sentences = 2 }', RETRIEVED),
        ('[corpora.people]\nplugin = "toy"', '[corpora.people]\nplugin = "toy"\nchunk = { tokens = 40 }', RETRIEVED),
        ('name = "toy"', 'name = "toy"\n[prompt]\norder = "best-last"', RETRIEVED),
        ('name = "toy"', 'name = "toy"\n[prompt]\ntokens = 500', RETRIEVED),
        ('name = "toy"', 'name = "toy"\n[prompt]\ntemplate = "{{ passages }}"', RETRIEVED),
        ('plugin = "oracle"\nothers = 1', 'plugin = "oracle"\nothers = 2', {"oracle"}),
        ('plugin = "random"', 'plugin = "random"\nseed = 1', {"random,k=2"}),
        (
            '[retrievers.words]\nplugin = "toy"',
            '[retrievers.words]\nplugin = "toy"\nfault = "long"',
            {"rag,k=1", "rag,k=3"},
        ),
    ],
)
def test_relevant_options_change_only_the_affected_identities(bench, before, after, expected):
    """Changing an option changes the identities of the affected cells and of no other cells."""
    bench.write_toy()
    text = bench.spec.read_text(encoding="utf-8")
    if "[prompt]" in after:
        bench.write(text.replace("[models.m]", "[prompt]\n\n[models.m]"))
        before, after = "[prompt]\n", after.partition("\n")[2] + "\n"
    assert changed(bench, before, after) == expected


def test_passages_depend_on_the_tokenizer_and_not_on_the_model(bench):
    """Passages split by a model's tokens, and their index, stay valid if the model's dtype changes."""
    spec = """schema = 1
name = "split"
[models.m]
plugin = "lab"
dtype = "float32"
[corpora.c]
plugin = "lab"
people = "new"
count = 40
chunk = { tokens = 64 }
[retrievers.r]
plugin = "bm25"
[tasks.t]
plugin = "lab"
people = "new"
count = 40
corpus = "c"
[methods.rag]
retrieve = "r"
top_k = [1]
"""
    [first] = bench.write(spec).plan().cells
    [second] = bench.write(spec.replace("float32", "bfloat16")).plan().cells
    assert first.hits == second.hits
    assert first.cell.identity != second.cell.identity


def test_a_changed_question_changes_the_identities(bench):
    """Changing a question changes the identities of the task's cells, even if the file name stays the same."""
    bench.write_toy()
    before = identities(bench)
    path = bench.folder / "people.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("Where does Ada", "Where did Ada"), encoding="utf-8")
    after = identities(bench)
    assert all(before[place] != after[place] for place in before)


def test_a_larger_top_k_adds_only_one_search_and_cell(bench):
    """Adding a larger top_k adds one search and one cell, and leaves the other cells unchanged."""
    bench.write_toy()
    before, old = identities(bench), bench.plan()
    bench.write(bench.spec.read_text(encoding="utf-8").replace("top_k = [1, 3]", "top_k = [1, 3, 9]"))
    after, new = identities(bench), bench.plan()
    assert after.items() >= before.items()
    assert after.keys() - before.keys() == {"m/rag,k=9/people,0-shot"}
    assert {step.depth for step in old.hits if step.retriever == "words"} == {3}
    assert {step.depth for step in new.hits if step.retriever == "words"} == {9}


def test_shots_share_hits_but_not_prompts(bench):
    """Cells that differ only in the number of shots share one search but have separate prompts."""
    bench.write_toy(task='shots = [0, 2]\nexamples = "people.jsonl"\n')
    plan = bench.plan()
    assert len(plan.asked) == 2
    assert len({step.identity for step in plan.hits if step.retriever == "words"}) == 1
    assert len({cell.cell.identity for cell in plan.cells}) == len(plan.cells)


def test_equal_methods_share_their_identity(bench):
    """Two methods with equal options produce two cells with the same identity."""
    bench.write_toy(more='\n[methods.again]\nretrieve = "words"\ntop_k = [3]\n')
    found = identities(bench)
    assert found["m/again,k=3/people,0-shot"] == found["m/rag,k=3/people,0-shot"]
    assert len(bench.plan().hits) == 3


def test_equal_models_with_different_names_share_answers(bench):
    """Table names are not part of an identity, so two models with equal options share their answers."""
    bench.write_toy()
    bench.write(
        bench.spec.read_text(encoding="utf-8").replace("[models.m]", '[models.n]\nplugin = "toy"\n\n[models.m]')
    )
    found = identities(bench)
    assert found["n/base/people,0-shot"] == found["m/base/people,0-shot"]
    assert len({weights.identity for weights in bench.plan().weights}) == 1


def test_stored_plan_records_the_source_of_each_table(bench):
    """The plan stores the plugin, distribution, version, options and fingerprint of each table."""
    bench.write_toy(model="seconds = 0.5\n")
    entry = bench.plan().entry()
    model = entry.sources["models"]["m"]
    assert (model["plugin"], model["distribution"], model["version"]) == ("toy", "kib-toys", "1.0")
    assert "seconds" not in model["options"]
    assert entry.sources["retrievers"]["gold"]["options"] == {"others": 1, "most": 5, "seed": 0}
    assert re.fullmatch("[0-9a-f]{64}", entry.sources["tasks"]["people"]["fingerprint"])
    assert entry.methods["oracle"].retriever_role == "ceiling"
    assert entry.methods["random"].retriever_role == "control"
    assert entry.methods["rag"].retriever_role == ""
    assert [name for name, method in entry.methods.items() if method.is_base] == ["base"]
    assert entry.tasks["people"].n is None


# Validation and the second measurement of the base


def test_chosen_settings_are_measured_on_validation_questions(bench):
    """A method that chooses its top_k is also measured on validation questions."""
    bench.write_toy(task='validation = "people.jsonl"\n')
    bench.write(
        bench.spec.read_text(encoding="utf-8").replace("top_k = [1, 3]", 'top_k = [1, 3]\nchoose = "validation"')
    )
    assert [place for place in places(bench) if "rag" in place] == [
        "m/rag,k=1/people,0-shot",
        "m/rag,k=3/people,0-shot",
        "m/rag,k=1/people,0-shot,validation",
        "m/rag,k=3/people,0-shot,validation",
    ]
    assert bench.plan().entry().methods["rag"].chosen == ("k",)


def test_choosing_needs_validation_questions(bench):
    """Choosing a setting on validation questions raises an error if the task has no validation questions."""
    bench.write_toy()
    bench.write(
        bench.spec.read_text(encoding="utf-8").replace("top_k = [1, 3]", 'top_k = [1, 3]\nchoose = "validation"')
    )
    with pytest.raises(SpecError, match="the task people has no validation questions"):
        bench.plan()


@pytest.mark.parametrize(
    ("task", "probed"),
    [
        ("", False),
        ('scoring = "letter"\n', True),
        ('reworded = "people.jsonl"\n', True),
        ('scoring = "text-norm"\n', False),
    ],
)
def test_base_is_measured_twice_if_possible(bench, task, probed):
    """The base is measured a second time if the task has a second wording; otherwise, the plan states the reason."""
    bench.write_toy(task=task)
    assert ("m/base/people,0-shot,probe" in places(bench)) == probed
    assert (bench.plan().entry().tasks["people"].no_probe == "") == probed


# Training


def test_a_model_without_weights_cannot_be_trained(bench):
    """Training a model without local weights raises an error that states a remedy."""
    bench.write_toy(more=TRAINED)
    with pytest.raises(
        SpecError, match="the model m cannot be trained; list the other models in the method's `models`"
    ):
        bench.plan()


@pytest.mark.parametrize("key", ["validation", "held_out"])
def test_training_corpus_cannot_be_held_out_text(bench, key):
    """A trainer's training corpus cannot also serve as its validation or held-out text."""
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    wrong = f'[trainers.by-heart]\n{key} = {{ corpus = "people" }}'
    bench.write(bench.spec.read_text(encoding="utf-8").replace("[trainers.by-heart]", wrong))
    with pytest.raises(
        SpecError, match=rf"by-heart\.{key}: expected a corpus that is not used for training, but people"
    ):
        bench.plan()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            'held_out = { corpus = "copy" }',
            "held_out: expected a corpus that is not used for training, but people is part of the training text",
        ),
        (
            'validation = { corpus = "copy" }',
            "validation: expected a corpus that is not used for training, but people is part of the training text",
        ),
        (
            'replay = { corpus = "copy", share = 0.3 }',
            "replay: expected a corpus that differs from the training corpus, people",
        ),
        (
            'replay = { corpus = "people", share = 0.3 }',
            "replay: expected a corpus that differs from the training corpus, people",
        ),
    ],
)
def test_the_same_documents_are_the_same_text(bench, more, said):
    """Two corpora with the same documents count as the same text, even if they are split differently."""
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    text = bench.spec.read_text(encoding="utf-8").replace("[trainers.by-heart]", f"[trainers.by-heart]\n{more}")
    documents = re.search(r"\[corpora\.people\]\n.*?^(documents = .*?)$", text, re.DOTALL | re.MULTILINE)[1]
    bench.write(f'{text}\n[corpora.copy]\nplugin = "toy"\n{documents}\nchunk = {{ sentences = 1 }}\n')
    with pytest.raises(SpecError, match=rf"trainers\.by-heart\.{said}"):
        bench.plan()


def test_trained_arms_have_separate_cells(bench):
    """Each combination of varied options, seed and task is a separate cell with separate weights."""
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    bench.write(bench.spec.read_text(encoding="utf-8").replace('name = "toy"', 'name = "toy"\nseeds = [0, 7]', 1))
    arms = [(cell.cell.arm, cell.cell.seed) for cell in bench.plan().cells if cell.weights.trainer]
    values = [f"ft-par,rank={rank},text.count={count}" for rank in (1, 4) for count in (1, 3)]
    assert arms == [(arm, seed) for arm in ("ft", *values, "ft+rag,k=2") for seed in (0, 7)]
    weights = [step for step in bench.plan().weights if step.trainer]
    assert len(weights) == len({step.identity for step in weights}) == 10


def test_retrieval_on_trained_weights_shares_them(bench):
    """A method that trains and retrieves uses the same weights as the method that only trains."""
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    found = cells(bench)
    assert found["m/ft/people,0-shot", 0].weights == found["m/ft+rag,k=2/people,0-shot", 0].weights


def test_control_cells_name_the_training_corpus(bench):
    """On trained weights, the path of a control task's cell contains the training corpus."""
    bench.write_toy(model="trainable = true\n", more=CONTROL + TRAINED)
    assert "m/ft/other,0-shot,corpus=people" in places(bench)
    assert "m/base/other,0-shot" in places(bench)
    assert cells(bench)["m/ft/other,0-shot,corpus=people", 0].cell.corpus == "people"


def test_target_tasks_use_weights_of_their_corpus(bench):
    """With two corpora, a target task uses weights trained on its own corpus, and a control task uses both sets."""
    more = """
[corpora.more]
plugin = "toy"
documents = [["x", "", "Zed lives in Xanten."]]

[tasks.more]
plugin = "file"
path = "people.jsonl"
corpus = "more"
"""
    bench.write_toy(model="trainable = true\n", more=more + CONTROL + TRAINED)
    assert [place for place in places(bench) if "/ft/" in place] == [
        "m/ft/people,0-shot",
        "m/ft/other,0-shot,corpus=people",
        "m/ft/more,0-shot",
        "m/ft/other,0-shot,corpus=more",
    ]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("rank = [1, 4]", "rank = [1, 5]", {"ft-par,rank=4"}),
        ('[trainers.by-heart]\nplugin = "toy"', '[trainers.by-heart]\nplugin = "toy"\nrank = 2', {"ft", "ft+rag"}),
        ('writer = "reword", count', 'writer = "reword", originals = false, count', {"ft-par"}),
        ('writer = "reword", count', 'writer = "reword", kind = "both", count', {"ft-par"}),
        ("Norwick", "Norwich", {"ft", "ft-par", "ft+rag", "rag", "oracle", "random"}),
        ("[prompt]\n", '[prompt]\norder = "best-last"\n', {"ft+rag", "rag", "oracle", "random"}),
    ],
)
def test_training_inputs_are_part_of_the_identity(bench, before, after, expected):
    """The trainer, text and corpus affect all trained cells, but prompt settings affect only cells with retrieval."""
    bench.write_toy(model="trainable = true\n", more=TRAINED + "\n[prompt]\n")
    old = {cell.cell.arm: cell.cell.identity for cell in bench.plan().cells}
    bench.write(bench.spec.read_text(encoding="utf-8").replace(before, after, 1))
    new = {cell.cell.arm: cell.cell.identity for cell in bench.plan().cells}
    touched = {arm for arm in old if old[arm] != new.get(arm)}
    assert {arm.partition(",")[0] for arm in touched} == {arm.partition(",")[0] for arm in expected}
    for arm in expected:
        assert any(other.startswith(arm) for other in touched)


def test_plan_command_lists_the_status_of_each_step(bench):
    """`kib plan` lists the status of each set of weights, step and cell."""
    bench.write_toy(model="trainable = true\n", more=TRAINED)
    text = show_plan(bench.plan(), bench.results, bench.work, SilentProgress())
    assert text.startswith("toy: 11 cells, 0 done")
    for words in (
        "corpus people",
        "words over people",
        "words, 3 per question of people",
        "m+by-heart on people, seed 0",
    ):
        assert words in text
    listed = text.split("steps\n")[1].partition("\n\nforecast\n")[0]
    assert text.count("to do") == len(listed.splitlines()) - 2


def test_the_printed_plan_reads_each_result_once(bench, monkeypatch):
    """`kib plan` reads the result of each measured cell only once."""
    bench.write_toy()
    assert bench.run() == {}
    read = []
    monkeypatch.setattr(Results, "has", lambda results, cell: read.append(cell.id) or results.cell(cell) is not None)
    text = show_plan(bench.plan(), bench.results, bench.work, SilentProgress())
    assert sorted(read) == sorted(cell.cell.id for cell in bench.plan().cells)
    assert text.startswith("toy: 5 cells, 5 done")
    assert text.count("done   m/") == 5


def test_make_plan_equals_the_plan_of_a_run(bench):
    """Planning from Python with a spec and its lock yields the same plan as a run."""
    from kib.plugins.resolve import open_spec

    bench.write_toy()
    assert make_plan(*open_spec(bench.spec)).cells == bench.plan().cells
