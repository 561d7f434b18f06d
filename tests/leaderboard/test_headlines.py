"""Headlines, and the selection of settings on validation questions."""

from leaderboard_lab import METHODS, NEW, Lab, row

from kib.leaderboard import render
from kib.store.result_records import MethodEntry


def test_headline_uses_the_largest_k(lab):
    """The headline uses the largest K, even if a smaller K is better on the test questions."""
    lab.add(4, "base")
    for k, right in ((1, 20), (5, 16), (3, 18)):
        lab.add(right, "rag", k=k)
    lab.add(20, "gold", k=1)
    (heading,) = lab.table().headlines
    assert heading.startswith("tiny on new: retrieval with 5 passages: 20 -> 80 %, +60 points [")
    assert heading.endswith("], 75 % of the gain from the gold passage")


def test_headline_uses_the_chosen_k(lab):
    """The headline uses the K chosen on validation questions, and a tie is resolved in favour of the first arm."""
    lab.methods = {**METHODS, "rag": MethodEntry(None, "bm25", chosen=("k",))}
    lab.add(4, "base")
    for k, test, validation in ((1, 12, 9), (3, 14, 12), (5, 16, 12)):
        lab.add(test, "rag", k=k)
        lab.add(validation, "rag", k=k, split="validation")
    table = lab.table()
    assert table.headlines[0].startswith("tiny on new: retrieval with 3 passages: 20 -> 70 %")
    assert [(one.arm, one.validation) for one in table.rows if one.chosen] == [("rag,k=3", 0.6)]
    assert len(table.rows) == 4
    assert row(table, "rag,k=3").best_on_test == ("rag,k=5", 0.8)
    said = "rag,k=3, chosen on validation: 70.0 %; chosen on test: 80.0 % (rag,k=5)"
    assert said in render(table, "terminal", width=120)


def test_note_on_a_choice_that_is_also_best_on_test(lab):
    """If the setting chosen on validation questions is also the best on the test questions, a note states this."""
    lab.methods = {**METHODS, "rag": MethodEntry(None, "bm25", chosen=("k",))}
    lab.task("new").task("known", "control")
    lab.add(4, "base")
    for k, test, validation in ((1, 12, 9), (3, 16, 12), (5, 16, 11)):
        lab.add(test, "rag", k=k)
        lab.add(test, "rag", "known", k=k)
        lab.add(validation, "rag", k=k, split="validation")
    table = lab.table()
    said = "rag,k=3, chosen on validation: 80.0 %; chosen on test: the same"
    assert [one.best_on_test for one in table.rows if one.best_on_test] == [("rag,k=3", 0.8)]
    assert said in render(table, "terminal", width=120)
    assert said in render(table, "markdown")


def test_learning_rates_are_chosen_by_loss_before_k(lab):
    """If the learning rate is chosen by loss, K is then chosen on validation questions with this learning rate."""
    by_loss = MethodEntry("adapter", "bm25", chosen=("rate", "k"), by_loss=("rate",))
    lab.methods = {**METHODS, "ft+rag": by_loss}
    lab.add(4, "base")
    for rate, losses in ((1e-5, (2.0, 2.2)), (5e-5, (1.9, 2.1))):
        for k, right in ((1, 9), (3, 11)):
            for seed, loss in enumerate(losses):
                arm = {"settings": (("rate", rate),), "k": k, "seed": seed, "training": {"validation_loss": loss}}
                lab.add(10, "ft+rag", **arm)
                lab.add(right + 5 * (rate == 1e-5), "ft+rag", split="validation", **arm)
    assert [one.arm for one in lab.table().rows if one.chosen] == ["ft+rag,rate=5e-05,k=3"]


def test_no_setting_is_chosen_while_cells_are_missing(lab):
    """While validation cells are missing, no setting is chosen, and the table lists the missing cells."""
    lab.methods = {**METHODS, "rag": MethodEntry(None, "bm25", chosen=("k",))}
    lab.add(4, "base")
    for k in (1, 2):
        lab.add(12, "rag", k=k)
    lab.add(12, "rag", k=1, split="validation")
    missing = lab.plan("rag", k=2, split="validation")
    table = lab.table()
    assert not any(one.chosen for one in table.rows)
    assert (table.complete, table.missing[0].cell) == (False, missing.id)
    assert f"Without a row: {missing.id} (not measured)." in render(table, "terminal", width=200)


def test_headline_names_insignificant_gains(lab):
    """The headline calls a gain "not significant" if it could be due to chance."""
    lab.add(4, "base")
    lab.add(5, "rag", k=1)
    (heading,) = lab.table().headlines
    assert heading.startswith("tiny on new: retrieval with 1 passage: 20 -> 25 %, +5 points [")
    assert "not significant (a gain of" in heading
    assert heading.endswith("points is found with a power of 80 %)")


def test_headlines_cover_each_way_of_injection(lab):
    """Each model has headlines for retrieval, fine-tuning and both on the first target task with the fewest shots."""
    lab.task("known", "control")
    for task, shots in (("known", 0), ("new", 5), ("new", 2), ("worded", 0)):
        for method, right, more in (("base", 4, {}), ("rag", 16, {"k": 2}), ("ft", 12, {}), ("ft+rag", 14, {"k": 2})):
            lab.add(right, method, task, shots=shots, **more)
    lab.cells.sort(key=lambda cell: ("known", "new", "worded").index(cell.task))
    starts = [heading.split(", +")[0] for heading in lab.table().headlines]
    assert starts == [
        "tiny on new, 2-shot: retrieval with 2 passages: 20 -> 80 %",
        "tiny on new, 2-shot: fine-tuning (ft): 20 -> 60 %",
        "tiny on new, 2-shot: fine-tuning and retrieval with 2 passages (ft+rag,k=2): 20 -> 70 %",
    ]


def test_headline_without_a_gain_to_report(lab):
    """The headline of a plan with only base and random passages states that there is no gain to report."""
    lab.add(4, "base")
    lab.add(5, "random", k=1)
    table = lab.table()
    assert table.headlines == ("tiny on new: no gain to report; for this task, the plan contains only base and random",)
    assert "p: exact paired test; values in parentheses" in render(table, "terminal")


def test_headline_without_a_target_task(lab):
    """The headline of a model without a target task states that there is no gain to report."""
    lab.task("known", "control")
    lab.add(4, "base", "known")
    assert lab.table().headlines == ("tiny: no gain to report; the plan has no target task for this model",)


def test_headline_omits_a_share_of_an_insignificant_gain(lab):
    """The headline omits the share of the gold passage's gain if the gold passage's gain is not significant."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    lab.add(6, "gold", k=1)
    assert "gold passage" not in lab.table().headlines[0]


def test_headline_states_the_reason_for_a_missing_gain(lab):
    """If the headline arm has no gain, the headline states the reason."""
    lab.add(4, "base")
    lab.add(5, "rag", k=1, where=NEW)
    assert lab.table().headlines == (
        "tiny on new: retrieval with 1 passage: not comparable with base, torch 2.14.1 against 2.13.0",
    )


def test_headline_uses_the_singular_for_one_point(tmp_path):
    """The headline uses the singular for a gain of one percentage point."""
    lab = Lab(tmp_path, n=100)
    lab.add(50, "base")
    lab.add(51, "rag", k=1)
    assert ", +1 point [" in lab.table().headlines[0]
