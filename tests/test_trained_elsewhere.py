"""Methods whose answers come from a model that was trained elsewhere (`trained_as`)."""

import json

import pytest

from kib.errors import SpecError

TUNED = """
[models.m-ft]
plugin = "toy"
seed = 7

[methods.ft]
trained_as = "m-ft"

[methods."ft+rag"]
trained_as = "m-ft"
retrieve = "words"
top_k = [1]
"""


@pytest.fixture
def tuned(bench):
    """Return the toy benchmark with a model that was trained elsewhere."""
    return bench.write_toy(model="seed = 1\n", more=TUNED)


def plans(bench):
    """Return the planned cells by model and arm."""
    return {(cell.cell.model, cell.cell.arm): cell for cell in bench.plan().cells}


def test_the_cells_belong_to_the_base(tuned):
    """The model trained elsewhere gives the answers, the cells belong to its base, and no other method measures it."""
    found = plans(tuned)
    arms = ("base", "rag,k=1", "rag,k=3", "oracle", "random,k=2", "ft", "ft+rag,k=1")
    assert list(found) == [("m", arm) for arm in arms]
    assert {arm for (_, arm), cell in found.items() if cell.weights.model == "m-ft"} == {"ft", "ft+rag,k=1"}
    assert found["m", "ft"].hits is None
    assert found["m", "ft+rag,k=1"].hits == found["m", "rag,k=1"].hits


def test_other_methods_measure_the_model_only_if_they_list_it(tuned):
    """A method that lists the model trained elsewhere has cells of this model, which share the requests of `ft`."""
    tuned.write_toy(model="seed = 1\n", more=f'{TUNED}\n[methods.own]\nmodels = ["m-ft"]\n')
    found = plans(tuned)
    own, ours = found["m-ft", "own"], found["m", "ft"]
    assert own.weights == ours.weights
    assert own.cell.identity == ours.cell.identity
    assert ("m-ft", "base") not in found


def test_a_run_and_its_table(tuned):
    """The row is compared with base question by question, counts as trained, and names the model that answered."""
    assert tuned.run() == {}
    result = tuned.call("leaderboard", "--format", "json")
    rows = {row["arm"]: row for row in json.loads(result.stdout)["rows"]}
    assert all(row["gain"] is not None and row["reference"] == "base" for arm, row in rows.items() if arm != "base")
    assert {arm: row["trained_as"] for arm, row in rows.items() if row["trained_as"]} == {
        "ft": "m-ft",
        "ft+rag,k=1": "m-ft",
    }
    assert [rows[arm]["trained"] for arm in ("base", "rag,k=1", "ft", "ft+rag,k=1")] == [False, False, True, True]
    assert [rows[arm]["kind"] for arm in ("base", "ft")] == ["base", ""]
    text = tuned.call("leaderboard").stdout
    assert "ft and ft+rag: the model m-ft gave the answers; it was trained elsewhere from m" in text
    assert "m on people: fine-tuning (ft)" in text
    shown = tuned.call("show", "m/ft/people,0-shot").stdout
    assert "answered by the model m-ft, which was trained elsewhere from m" in shown
    csv = tuned.call("leaderboard", "--format", "csv").stdout.splitlines()
    assert "trained_as" in csv[0].split(",")


def test_the_scores_are_those_of_the_trained_model(tuned):
    """The scores of `ft` are exactly the scores of the model trained elsewhere, measured on its own."""
    tuned.run()
    ours = tuned.scores("m/ft/people,0-shot")
    tuned.write_toy(model="seed = 7\n").run()
    assert ours == tuned.scores("m/base/people,0-shot")


def test_check_names_the_model_that_answers(tuned):
    """`kib check` forecasts and checks the model that gives the answers."""
    text = tuned.call("check", "bench.toml").stdout
    assert "m/ft/people,0-shot: 18 questions" in text
    assert "forecast for m-ft: " in text


def test_check_names_methods_without_a_base(tuned):
    """`kib check` names each method that has no gain, because no base is measured with the same model."""
    assert "no gain over base" not in tuned.call("check", "bench.toml").stdout
    text = tuned.spec.read_text(encoding="utf-8").replace("[methods.base]\n", '[methods.base]\nmodels = ["m-ft"]\n', 1)
    tuned.spec.write_text(text, encoding="utf-8")
    checked = tuned.call("check", "bench.toml").stdout
    assert "methods.ft: no gain over base for m, because the plan has no base with the same model, task" in checked
    assert "methods.base: no gain" not in checked


def test_the_same_model_is_no_base(bench):
    """If the model in `trained_as` has the plugin and the options of its base, the file is refused."""
    bench.write_toy(model="seed = 7\n", more=TUNED)
    with pytest.raises(SpecError, match="m-ft and m have the same plugin and options, so kib cannot tell") as caught:
        bench.plan()
    assert caught.value.mistakes[0].key == "methods.ft.trained_as"


def test_an_unused_feature_changes_no_stored_file(tuned, bench):
    """Without `trained_as`, the stored plan and the JSON table contain no key of this feature."""
    bench.write_toy(model="seed = 1\n").run()
    assert '"trained_as"' not in (bench.results.folder / "plan.json").read_text(encoding="utf-8")
    assert "trained_as" not in bench.call("leaderboard", "--format", "json").stdout


def test_adding_the_method_measures_nothing_again(bench):
    """A finished benchmark keeps all cells if a method with `trained_as` is added."""
    bench.write_toy(model="seed = 1\n").run()
    before = bench.files("plan.json", "statistics.json")
    bench.write_toy(model="seed = 1\n", more=TUNED).run()
    after = bench.files("plan.json", "statistics.json")
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)


@pytest.mark.parametrize(
    ("base", "trained", "message"),
    [
        ("chat_template = true", "", r"its base m \(prompts are chats\), got m-ft \(prompts are texts\)"),
        ("", "chat_template = true", r"its base m \(prompts are texts\), got m-ft \(prompts are chats\)"),
    ],
)
def test_both_models_are_asked_in_the_same_form(bench, base, trained, message):
    """If only one of the two models is asked in chats, the file is refused."""
    bench.write_toy(model=f"{base}\n", more=TUNED.replace("seed = 7", trained))
    with pytest.raises(SpecError, match=message) as caught:
        bench.plan()
    assert caught.value.mistakes[0].key == "methods.ft.trained_as"


def test_both_models_have_the_same_backend(bench):
    """A model of lm-eval and its base need the same backend, because a chat backend sends a prompt as a message."""
    bench.write_toy(more=TUNED.replace('plugin = "toy"\nseed = 7', 'plugin = "lm-eval"\nbackend = "gguf"'))
    text = bench.spec.read_text().replace(
        '[models.m]\nplugin = "toy"', '[models.m]\nplugin = "lm-eval"\nbackend = "ggml"'
    )
    bench.spec.write_text(text)
    with pytest.raises(SpecError, match=r"backend ggml\), got m-ft \(prompts are texts, backend gguf\)"):
        bench.plan()


def test_a_changed_cost_measures_nothing_again(tuned):
    """The entered cost is stored with the plan and shown, and is not part of the identity of any cell."""
    tuned.run()
    before = tuned.files("plan.json", "statistics.json")
    tuned.write_toy(model="seed = 1\n", more=f"{TUNED}\n[methods.ft.cost]\nmoney = 12.5\nhours = 0.4\n").run()
    assert tuned.files("plan.json", "statistics.json") == before
    assert tuned.results.plan().methods["ft"].cost == {"money": 12.5, "hours": 0.4}
    shown = tuned.call("show", "m/ft/people,0-shot").stdout
    assert "cost of training, entered by hand: money 12.5 and 0.4 h of training" in shown
    text = " ".join(tuned.call("leaderboard", "--cost").stdout.split())
    assert "ft: entered by hand: money 12.5 and 0.4 h of training" in text
    assert "ft+rag,k=1: entered by hand: money 12.5 and 0.4 h of training" in text
    assert "m-ft, trained elsewhere from m" in tuned.call("plan", "bench.toml").stdout
