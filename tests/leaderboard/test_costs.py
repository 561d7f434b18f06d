"""Costs per question, one-time costs, prices, and the break-even point of training."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from leaderboard_lab import METHODS, OLD, costly, row

from kib.leaderboard import make_table, render
from kib.leaderboard.render.machine_values import COST, ROW, TIMES
from kib.plan.planner import make_plan
from kib.plugins.resolve import open_spec
from kib.store.result_records import MethodEntry, Times

DOCS = Path(__file__).parent.parent.parent / "docs" / "leaderboard.md"


def test_costs_are_counted(lab):
    """Tokens and operations are counted as one-time costs or per question, and averaged over seeds."""
    table = costly(lab).table(cost=True)
    base, rag, ft = (row(table, arm).cost for arm in ("base", "rag,k=1", "ft"))
    assert (base.prompt_tokens, base.operations, base.operations_once, base.trained_tokens) == (100, 1e6, 0, None)
    assert (rag.prompt_tokens, rag.operations, rag.index_bytes) == (400, 4e6, 12_345)
    assert (ft.operations, ft.operations_once, ft.trained_tokens) == (1e6, 3e9, 1000)
    assert (ft.asking, ft.training, ft.peak_bytes) == (None, None, None)


def test_times_are_shown_on_request(lab):
    """Measured times and memory are shown only on request."""
    table = costly(lab).table(times=True)
    rag, ft, gold = (row(table, arm).cost for arm in ("rag,k=1", "ft", "gold,k=1"))
    assert (rag.asking, rag.searching, rag.indexing, rag.training) == (0.4, 0.1, 5.0, 0.0)
    assert (ft.asking, ft.training, ft.peak_bytes) == (0.1, 100.0, 9_000_000)
    assert (gold.asking, gold.index_bytes) == (None, None)
    text = render(table, "terminal", width=200)
    assert "12.3 kB" in text
    assert "9.0 MB" in text


def test_break_even(lab):
    """The break-even point is the smallest number of questions for which training costs less than longer prompts."""
    table = costly(lab).table(cost=True)
    cost = row(table, "ft").cost
    assert cost.fewer_operations_from == {"rag,k=1": 1001}
    assert 3e9 + 1000 * 1e6 == 1000 * 4e6
    assert cost.less_money_from == {"rag,k=1": 238}
    assert 100 + 237 * 0.1 > 5 + 237 * 0.5
    assert 100 + 238 * 0.1 < 5 + 238 * 0.5
    assert row(table, "rag,k=1").cost.fewer_operations_from == {}
    assert "ft: fewer operations than rag,k=1 from 1,001 questions upwards" in render(table, "terminal", width=120)


def test_longer_prompts_have_no_break_even(lab):
    """A trained arm whose prompts are not shorter has no break-even point, regardless of its measured times."""
    lab.prices = {"device_hour": 3.6}
    lab.add(4, "base", tokens=2000, flops=2e7)
    lab.add(14, "rag", k=1, tokens=8000, flops=8e7, times=Times(asking=2.0))
    training, spent = {"trained_tokens": 9, "flops": 1.0}, Times(asking=1.9, training=1.0)
    lab.add(16, "ft+rag", k=1, tokens=8000, flops=8e7, training=training, times=spent)
    cost = row(lab.table(cost=True), "ft+rag,k=1").cost
    assert (cost.fewer_operations_from, cost.less_money_from) == ({}, {})


@pytest.mark.parametrize(("ft", "rag"), [(4, 14), (5, 14), (14, 4), (2, 14)])
def test_break_even_needs_gains(lab, ft, rag):
    """A break-even point is stated only between arms whose gains over base are positive and significant."""
    lab.prices = {"device_hour": 3.6}
    lab.add(4, "base", tokens=2000, flops=2e7, times=Times(asking=1.0))
    lab.add(rag, "rag", k=1, tokens=8000, flops=8e7, times=Times(asking=4.0))
    training = {"trained_tokens": 9, "flops": 1.0}
    lab.add(ft, "ft", tokens=2000, flops=2e7, training=training, times=Times(asking=1.0, training=1.0))
    for view in (None, "rag"):
        table = lab.table(cost=True, against=view)
        assert row(table, "ft").cost.money < row(table, "rag,k=1").cost.money
        assert (row(table, "ft").cost.fewer_operations_from, row(table, "ft").cost.less_money_from) == ({}, {})


def test_break_even_does_not_depend_on_the_view(lab):
    """A table of gains over a different arm states the same break-even points as the table of gains over base."""
    costly(lab)
    expected = row(lab.table(cost=True), "ft").cost
    assert expected.less_money_from
    assert row(lab.table(cost=True, against="rag,k=1"), "ft").cost == expected


@pytest.mark.parametrize("seconds", [(1.0, 9.0), (9.0, 1.0), (0.2, 0.1)])
def test_money_follows_counted_tokens(lab, seconds):
    """Arms with equally long prompts cost the same money per question, even if a busy machine answered one slowly."""
    lab.prices = {"device_hour": 3.6}
    for k, asking in zip((1, 2), seconds, strict=True):
        lab.add(14, "rag", k=k, tokens=8000, times=Times(asking=asking, searching=2.0))
    money = [row(lab.table(cost=True), f"rag,k={k}").cost.money for k in (1, 2)]
    assert money == [pytest.approx((sum(seconds) / 2 + 2.0) / 20 / 1000)] * 2


def test_money_for_training_follows_counted_operations(lab):
    """Training runs with equally many operations cost the same money, whatever time each run took."""
    lab.prices = {"device_hour": 3.6}
    for rank, spent in ((4, 10.0), (8, 30.0)):
        training, times = {"trained_tokens": 9, "flops": 1e9}, Times(asking=1.0, training=spent)
        lab.add(14, "ft", settings=(("rank", rank),), tokens=2000, training=training, times=times)
    once = [row(lab.table(cost=True), f"ft,rank={rank}").cost.money_once for rank in (4, 8)]
    assert once == [pytest.approx(0.02)] * 2


def test_the_gold_passage_has_no_break_even(lab):
    """A trained arm with the gold passage has no break-even point, because the gold passage is unknown in practice."""
    lab.methods = {**METHODS, "ft+gold": MethodEntry("lora", "gold", "ceiling")}
    lab.add(4, "base", tokens=2000, flops=2e7)
    lab.add(14, "rag", k=1, tokens=8000, flops=8e7)
    lab.add(16, "ft+gold", k=1, tokens=4000, flops=4e7, training={"trained_tokens": 9, "flops": 1.0})
    cost = row(lab.table(cost=True), "ft+gold,k=1").cost
    assert (cost.operations_once, cost.fewer_operations_from) == (1.0, {})


@pytest.mark.parametrize(
    ("prices", "device", "expected"),
    [
        ({}, "cpu", (None, None)),
        ({"device_hour": 3.6}, "cpu", (0.0005, 0.005)),
        ({"device_hour": 3.6, "input_tokens_million": 5.0}, "cpu", (0.0005, 0.005)),
        ({"input_tokens_million": 5.0}, "cpu", (0.002, 0.0)),
        ({"device_hour": 3.6, "input_tokens_million": 5.0}, "unknown", (0.002, 0.005)),
        ({"device_hour": 3.6}, "unknown", (None, 0.005)),
    ],
)
def test_monetary_costs_use_hours_or_tokens(lab, prices, device, expected):
    """Monetary costs are based on device hours if an hourly price is set, or on tokens for remote models."""
    lab.prices = prices
    spent = Times(asking=8.0, searching=2.0, indexing=5.0)
    lab.add(14, "rag", k=1, tokens=8000, where=replace(OLD, device=device), times=spent)
    cost = row(lab.table(cost=True), "rag,k=1").cost
    assert (cost.money, cost.money_once) == tuple(pytest.approx(one) if one else one for one in expected)


WRITTEN = {"written_requests": 12, "written_input_tokens": 3_000_000, "written_output_tokens": 500_000}
TOKENS = {"input_tokens_million": 2.0, "output_tokens_million": 8.0}


@pytest.mark.parametrize(
    ("prices", "paid", "expected"),
    [
        ({"device_hour": 3.6} | TOKENS, WRITTEN, (10.0, 10.1)),
        ({"device_hour": 3.6} | TOKENS, {}, (0.0, 0.1)),
        ({"device_hour": 3.6}, {}, (0.0, 0.1)),
        ({"device_hour": 3.6}, WRITTEN, (None, None)),
        ({"device_hour": 3.6, "input_tokens_million": 2.0}, WRITTEN, (None, None)),
        ({"device_hour": 3.6} | TOKENS, WRITTEN | {"written_input_tokens": None}, (None, None)),
        (TOKENS, WRITTEN, (10.0, None)),
    ],
)
def test_cost_of_generated_text_is_a_one_time_cost(lab, prices, paid, expected):
    """The cost of generating training text is a one-time cost, unknown if a token price or token count is unknown."""
    lab.prices = prices
    training = {"trained_tokens": 9, "flops": 1.0, **paid}
    lab.add(14, "ft", tokens=2000, training=training, times=Times(asking=2.0, training=100.0))
    cost = row(lab.table(cost=True), "ft").cost
    assert (cost.money_writing, cost.money_once) == tuple(pytest.approx(one) if one else one for one in expected)


def test_cost_of_generated_text_raises_the_monetary_break_even(lab):
    """Paying for training text raises the monetary break-even point, but not the break-even point in operations."""
    costly(lab).prices |= TOKENS
    lab.methods = {**METHODS, "ft-par": MethodEntry("lora", None)}
    spent = Times(asking=2.0, training=100.0)
    training = {"trained_tokens": 1000, "flops": 3e9, **WRITTEN}
    lab.add(14, "ft-par", tokens=20 * 100, flops=20 * 1e6, training=training, times=spent)
    table = lab.table(cost=True)
    ft, par = row(table, "ft").cost, row(table, "ft-par").cost
    assert (par.fewer_operations_from, par.less_money_from) == (ft.fewer_operations_from, {"rag,k=1": 25238})
    assert 10.1 + 25_237 * 0.0001 > 0.005 + 25_237 * 0.0005
    assert 10.1 + 25_238 * 0.0001 < 0.005 + 25_238 * 0.0005
    assert (ft.written_requests, par.written_requests) == (0, 12)
    text = render(table, "terminal", width=200)
    assert "3,000,000 + 500,000" in text
    assert "Writing: tokens read and generated by the writers of the training text" in text
    row_of_json = next(one for one in json.loads(render(table, "json"))["rows"] if one["arm"] == "ft-par")
    assert {**row_of_json, **WRITTEN, "money_writing": 10.0} == row_of_json


def test_prices_come_from_the_spec(tmp_path):
    """The stored plan contains the prices from the spec."""
    spec = tmp_path / "lab.toml"
    text = (DOCS.parent.parent / "benchmarks" / "lab.toml").read_text(encoding="utf-8")
    for more, expected in (("", {}), ("\n[prices]\ndevice_hour = 2.5\n", {"device_hour": 2.5})):
        spec.write_text(text + more, encoding="utf-8")
        assert make_plan(*open_spec(spec)).entry().prices == expected


def test_cells_without_records_have_no_costs(lab):
    """Cells without recorded tokens, operations and times have neither costs nor a break-even point."""
    lab.add(4, "base")
    lab.add(14, "ft", training={"trained_tokens": 9})
    lab.add(14, "rag", k=1)
    table = lab.table(cost=True)
    assert (row(table, "ft").cost.operations_once, row(table, "ft").cost.fewer_operations_from) == (None, {})
    assert render(table, "terminal").count("cost · tiny") == 1


def test_costs_do_not_change_the_table_of_gains(full_results, full_table, lab):
    """Showing costs does not change the table of gains in any format and only adds keys to rows."""
    table = make_table([full_results], cost=True, times=True)
    blocks = render(full_table, "terminal", width=120).split("\n\n")
    with_costs = render(table, "terminal", width=120).split("\n\n")
    assert with_costs[: len(blocks) - 1] == blocks[:-1]
    plain, more = (json.loads(render(one, "json"))["rows"] for one in (full_table, table))
    assert [{key: one[key] for key in ROW} for one in more] == plain
    assert set(more[0]) == {*ROW, *COST, *TIMES}
    lines = list(csv.DictReader(io.StringIO(render(costly(lab).table(cost=True), "csv"))))
    assert {line["fewer_operations_from"] for line in lines if line["arm"] == "ft"} == {"rag,k=1=1001"}


@pytest.mark.parametrize("width", [64, 100])
def test_cost_table_fits_the_terminal(lab, width):
    """The cost table omits columns that do not fit into a narrow terminal."""
    text = render(costly(lab).table(times=True), "terminal", width=width)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(("written", "price", "money"), [(40, 10.0, 0.0009), (40, None, None), (None, 10.0, 0.0005)])
def test_generated_tokens_of_a_server_cost_money(lab, written, price, money):
    """The output tokens that a server counted are part of the cost per question, and need a price of their own."""
    lab.prices = {"input_tokens_million": 5.0} | ({} if price is None else {"output_tokens_million": price})
    total = None if written is None else written * 20
    lab.add(4, "base", tokens=2000, written=total, where=replace(OLD, device="unknown"))
    assert row(lab.table(cost=True), "base").cost.money == (None if money is None else pytest.approx(money))


ENTERED_COST = {"money": 12.5, "hours": 0.5, "tokens": 100_000, "input_tokens_million": 10.0}


def elsewhere(lab, cost, prices=None):
    """Return the table of a lab with base, retrieval and a model trained elsewhere with and without retrieval."""
    tuned = MethodEntry(None, None, trained_as="m-ft", cost=cost)
    lab.methods = {**METHODS, "tuned": tuned, "tuned+rag": replace(tuned, retrieve="bm25")}
    lab.prices = {"input_tokens_million": 5.0} if prices is None else prices
    where = replace(OLD, device="unknown")
    for right, method, more in ((4, "base", {}), (14, "rag", {"k": 1}), (15, "tuned", {}), (16, "tuned+rag", {"k": 1})):
        lab.add(right, method, tokens=8000 if more else 2000, where=where, times=Times(asking=1.0), **more)
    return lab.table(times=True)


def test_the_cost_of_training_elsewhere_is_entered_by_hand(lab):
    """The entered tokens, hours and money are costs before the first question, and entered prices replace [prices]."""
    table = elsewhere(lab, ENTERED_COST)
    tuned, both = row(table, "tuned").cost, row(table, "tuned+rag,k=1").cost
    assert (tuned.trained_tokens, tuned.training, tuned.money_once) == (100_000, 1800.0, 12.5)
    assert (tuned.operations_once, tuned.written_requests, tuned.money_writing) == (None, None, None)
    assert (tuned.money, both.money) == (pytest.approx(0.001), pytest.approx(0.004))
    assert row(table, "rag,k=1").cost.money == pytest.approx(0.002)
    assert both.money_once == 12.5
    assert tuned.less_money_from == {"rag,k=1": 12_501}
    assert 12.5 + 12_500 * 0.001 == 12_500 * 0.002
    text = " ".join(render(table, "terminal", width=200).split())
    words = "money 12.5, 0.5 h of training, 100,000 trained tokens and money 10 per million input tokens"
    assert f"tuned: entered by hand: {words}" in text
    assert "Entered by hand: the cost of training elsewhere as stated in the spec" in text
    rows = {one["arm"]: one for one in json.loads(render(table, "json"))["rows"]}
    assert (rows["tuned"]["entered_by_hand"], rows["base"]["entered_by_hand"]) == (ENTERED_COST, {})
    assert "entered_by_hand" in render(table, "csv").splitlines()[0].split(",")


def test_a_cost_that_is_not_entered_is_unknown(lab):
    """Without entered costs, the cost of training elsewhere is unknown instead of 0, and a note asks for it."""
    table = elsewhere(lab, {})
    cost = row(table, "tuned").cost
    assert (cost.money_once, cost.trained_tokens, cost.training, cost.less_money_from) == (None, None, None, {})
    note = "tuned: the cost of training is unknown; enter it in [methods.tuned.cost]"
    assert note in " ".join(render(table, "terminal", width=200).split())


def test_entered_money_needs_no_prices(lab):
    """The entered money is known without [prices]; with retrieval, the cost of the index is then unknown."""
    table = elsewhere(lab, {"money": 3.0}, prices={})
    assert (row(table, "tuned").cost.money_once, row(table, "tuned+rag,k=1").cost.money_once) == (3.0, None)
