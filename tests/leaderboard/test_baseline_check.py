"""Comparison of a leaderboard table with a stored baseline."""

import json

import pytest
from leaderboard_lab import METHODS, NEW, Lab

from kib.errors import InputError
from kib.leaderboard import Changes, baseline, check
from kib.records import Environment
from kib.store.result_records import MethodEntry


def test_a_table_passes_its_own_baseline(tmp_path):
    """A complete table shows no changes when compared with its own baseline."""
    lab = Lab(tmp_path)
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    table = lab.table()
    assert check(table, baseline(table)) == Changes((), ())


def changed(lab, change, **more):
    """Return the output of `leaderboard --check` after the results have changed."""
    stored = baseline(lab.table(**more))
    change(lab)
    return check(lab.table(**more), stored)


def measured(lab):
    """A lab with measured results for a base and two arms."""
    lab.add(4, "base")
    lab.add(14, "rag", k=1)
    for seed in (0, 1):
        lab.add(12, "ft", seed=seed)
    return lab


def again(lab, number, right, method, **more):
    """Measure a cell of the lab again under a different identity."""
    lab.cells.pop(number)
    lab.add(right, method, salt="new", **more)
    lab.cells.insert(number, lab.cells.pop())


def test_a_drop_below_the_interval_fails(lab):
    """The baseline check fails if a gain falls below its interval in the baseline, but tolerates a smaller drop."""
    failed = changed(measured(lab), lambda lab: again(lab, 1, 7, "rag", k=1)).failed
    assert len(failed) == 1
    assert failed[0].startswith(
        "lab/tiny/rag,k=1/new,0-shot: the gain fell below the baseline's confidence interval: +50.0 ["
    )
    assert failed[0].endswith("] -> +15.0 points")
    assert changed(lab, lambda lab: again(lab, 1, 6, "rag", k=1)).failed == ()


def test_a_gain_above_the_interval_is_only_reported(lab):
    """The baseline check reports a gain above its interval in the baseline without failing."""
    found = changed(measured(lab), lambda lab: again(lab, 1, 20, "rag", k=1))
    assert (found.failed, len(found.noted)) == ((), 1)
    assert "rose above the baseline's confidence interval" in found.noted[0]


def test_failed_and_removed_cells_fail(lab):
    """The baseline check fails if a cell failed or was removed from the plan."""

    def change(lab):
        lab.cells.pop(1)
        lab.fail("rag", k=1, salt="new", error="boom")
        lab.cells.pop(2)

    found = changed(measured(lab), change)
    assert [text.split(": ", 1)[1] for text in found.failed] == [
        "failed at answers: boom",
        "removed: the plan no longer contains this seed",
    ]
    assert found.failed[1].startswith("lab/tiny/ft/new,0-shot/s1")
    everything = changed(lab, lambda lab: lab.cells.pop(1))
    assert "lab/tiny/ft/new,0-shot: removed: the plan no longer contains this arm" in everything.failed


def test_a_server_that_did_not_answer_is_not_worse(lab):
    """Cells that failed because a server did not answer, and gains over such cells, are listed apart from failures."""

    def change(lab):
        lab.cells.pop(0)
        lab.fail("base", salt="new", error="no answer", unavailable=True)

    found = changed(measured(lab), change)
    assert found.failed == ()
    waiting = "this arm has no gain at the moment: base has no result: failed at answers: no answer"
    assert list(found.unavailable) == [
        f"lab/{lab.cells[-1].id}: failed at answers: no answer",
        f"lab/tiny/ft/new,0-shot: {waiting}",
        f"lab/tiny/rag,k=1/new,0-shot: {waiting}",
    ]
    lab.fail("ft", seed=2, error="boom")
    assert not lab.table().awaits_server
    assert changed(lab, lambda lab: lab.cells.pop(0)).failed


def test_an_endpoint_with_several_models_is_not_worse(lab):
    """If a gain is missing because the endpoint served a different model during the run, the endpoint has drifted."""
    server = Environment("unknown", {"served model": "m-1", "system_fingerprint": "a"})
    lab.add(4, "base", where=server)
    lab.add(14, "rag", k=1, where=server)
    other = Environment("unknown", {"served model": "m-2"})
    found = changed(lab, lambda lab: again(lab, 1, 4, "rag", k=1, where=other))
    assert found.failed == ()
    assert len(found.drifted) == 1
    assert "no longer has a gain: served model m-2 against m-1" in found.drifted[0]
    assert found.drifted[0].endswith("; the endpoint served several models while kib measured: m-1, m-2")


def served(model):
    """Return the environment of answers of a server that reports a model."""
    return Environment("unknown", {"served model": model})


def tuned(tmp_path):
    """A lab with a base, retrieval, and a model trained elsewhere that the same server reports under its own name."""
    lab = Lab(tmp_path, methods=METHODS | {"tuned": MethodEntry(None, None, trained_as="tiny-ft")})
    lab.add(4, "base", where=served("m"))
    lab.add(14, "rag", k=1, where=served("m"))
    lab.add(14, "tuned", where=served("m:ft"))
    return lab


@pytest.mark.parametrize(("number", "method", "model"), [(1, "rag", "m"), (2, "tuned", "m:ft")])
def test_a_worse_arm_beside_a_model_trained_elsewhere_is_worse(tmp_path, number, method, model):
    """The name of a model trained elsewhere, which differs from the name of its base, is no change of the endpoint."""
    more = {"k": 1} if method == "rag" else {}
    found = changed(tuned(tmp_path), lambda lab: again(lab, number, 5, method, where=served(model), **more))
    assert (len(found.failed), found.drifted) == (1, ())


@pytest.mark.parametrize("against", [None, "tuned"])
def test_a_model_trained_elsewhere_that_changed_explains_only_gains_that_depend_on_it(tmp_path, against):
    """If a server served a trained model under several names, this explains the gains of and over this model only."""

    def change(lab):
        mixed = (served("m:ft"), served("m:ft-2"))
        again(lab, 2, 4 if against is None else 19, "tuned", where=mixed)
        again(lab, 1, 4, "rag", k=1, where=served("m"))

    found = changed(tuned(tmp_path), change, against=against)
    clause = "; the endpoint served several models while kib measured: m:ft, m:ft-2"
    assert all(one.endswith(clause) for one in found.drifted)
    assert sorted(one.split("/")[2] for one in found.drifted) == (["base", "rag,k=1"] if against else ["tuned"])
    assert [one.split("/")[2] for one in found.failed] == ([] if against else ["rag,k=1"])


def test_a_changed_base_explains_the_gain_of_a_model_trained_elsewhere(tmp_path):
    """The gain of a model trained elsewhere depends on the server of its base as well."""

    def change(lab):
        again(lab, 0, 14, "base", where=served("m-2"))
        again(lab, 1, 14, "rag", k=1, where=served("m-2"))

    found = changed(tuned(tmp_path), change)
    assert found.failed == ()
    assert [one.split("/")[2] for one in found.drifted] == ["rag,k=1", "tuned"]
    assert all("the endpoint has changed since the baseline" in one for one in found.drifted)


def test_a_drop_with_another_configuration_is_worse_if_base_is_unchanged(lab):
    """If base has about the same accuracy as in the baseline, a different configuration does not explain a drop."""
    server = Environment("unknown", {"served model": "m", "system_fingerprint": "a"})
    lab.add(4, "base", where=server)
    lab.add(14, "rag", k=1, where=server)

    def change(lab):
        other = Environment("unknown", {"served model": "m", "system_fingerprint": "b"})
        again(lab, 0, 5, "base", where=other)
        again(lab, 1, 5, "rag", k=1, where=other)

    found = changed(lab, change)
    assert (len(found.failed), found.drifted) == (1, ())


def test_gains_that_can_no_longer_be_computed_fail(lab):
    """If a gain can no longer be computed, the baseline check fails and states the reason."""
    found = changed(measured(lab), lambda lab: again(lab, 1, 14, "rag", k=1, where=NEW))
    assert found.failed == ("lab/tiny/rag,k=1/new,0-shot: this arm no longer has a gain: torch 2.14.1 against 2.13.0",)


def test_new_cells_are_only_reported(lab):
    """The baseline check reports new arms and seeds without failing."""

    def change(lab):
        lab.add(14, "rag", k=2)
        lab.add(12, "ft", seed=2)

    found = changed(measured(lab), change)
    assert found.failed == ()
    assert sorted(found.noted) == ["lab/tiny/ft/new,0-shot/s2: new", "lab/tiny/rag,k=2/new,0-shot: new"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "not a leaderboard baseline"),
        ({"kind": "table"}, "not a leaderboard baseline"),
        ({"schema": 2}, "schema 2, but this version of kib reads schema 1"),
        ({"against": "rag"}, "against rag"),
        ({"rows": None}, "damaged"),
        ({"rows": {"a": {"seeds": 1, "gain": None}}}, "damaged"),
        ({"rows": {"a": {"seeds": [0]}}}, "damaged"),
        ({"rows": {"a": {"seeds": [0], "gain": [1, "x", 1]}}}, "rows: a: gain: 1"),
        ({"rows": {"a": {"seeds": [0], "gain": [1, 10**400, 1]}}}, "a number with 401 digits is too large"),
        ({"rows": {"a": {"seeds": [0], "gain": [1, 10**200, 1]}}}, "rows: a: gain: 1"),
        ({"rows": {"a": {"seeds": [0], "gain": [1, 1, 2]}}}, "rows: a: gain: 2"),
        ({"rows": {"a": {"seeds": [0], "gain": [True, 0, 1]}}}, "rows: a: gain: 0"),
        ({"rows": {"a": {"seeds": [True], "gain": None}}}, "rows: a: seeds: 0"),
        ({"rows": {"a": {"seeds": [-1], "gain": None}}}, "rows: a: seeds: 0"),
        ({"rows": {"a": {"seeds": [float("nan")], "gain": None}}}, "NaN is not a JSON value"),
        (f'{{"rows": {"9" * 5000}}}', "not valid JSON"),
        ('{"rows": 1e999}', "the number 1e999 is too large"),
        ("[" * 100_000, "nested too deeply"),
        ('{"rows": {}, "rows": {}}', 'the key "rows" appears twice'),
    ],
)
def test_an_invalid_baseline_is_rejected(lab, text, said):
    """A baseline that is damaged or has a different kind, schema or view raises an error that suggests a remedy."""
    lab.add(4, "base")
    if isinstance(text, dict):
        text = json.dumps({"kind": "kib leaderboard baseline", "schema": 1, "against": None, "rows": {}, **text})
    with pytest.raises(InputError, match=said) as caught:
        check(lab.table(), text)
    assert "--update-baseline" in str(caught.value)


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 400, "9" * 200])
@pytest.mark.parametrize("key", ['"schema": 1', '"seeds": [0', '"seeds": [0, 1'])
def test_a_huge_number_in_a_baseline_gives_a_short_error(lab, key, digits):
    """A baseline with a huge number raises a short error without these digits and without advice about Python."""
    text = baseline(measured(lab).table())
    assert key in text
    with pytest.raises(InputError) as caught:
        check(lab.table(), text.replace('"digest"', '"former"').replace(key, f"{key}{digits}"))
    said = str(caught.value)
    assert len(said) < 250
    assert "--update-baseline" in said
    assert "set_int_max_str_digits" not in said
    assert "9" * 70 not in said


@pytest.mark.parametrize(
    ("before", "after"), [("+rag", "+rug"), ('"seeds": [0', '"seeds": [1'), ("0.", "0.1"), ('"digest', '"digexst')]
)
def test_a_changed_baseline_is_refused(lab, before, after):
    """A baseline with a changed letter or digit raises an error that suggests a remedy."""
    measured(lab).add(13, "ft+rag", k=1)
    table = lab.table()
    assert before in baseline(table)
    with pytest.raises(InputError, match="its content differs from its digest"):
        check(table, baseline(table).replace(before, after, 1))


def test_a_baseline_of_an_earlier_version_is_read(lab):
    """A baseline without a digest is read, because earlier versions wrote no digest."""
    table = measured(lab).table()
    old = json.loads(baseline(table))
    del old["digest"]
    assert check(table, json.dumps(old)) == Changes((), ())


def test_a_baseline_holds_no_identities(full_table):
    """The arm names in a baseline contain no identities, so changes to the data do not rename the arms."""
    assert not [one for found in full_table.rows for one in found.cells if one[-8:] in baseline(full_table)]
