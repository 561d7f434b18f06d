from array import array
from collections import Counter

import pytest

from kib_hf.training.examples import IGNORED, Example
from kib_hf.training.learning_rate import Schedule, rate_factor
from kib_hf.training.micro_batches import MicroBatches, best_count, plan_micro_batches, single_rows, split_sorted
from kib_hf.training.packing import pack, plan_steps


def lengths_of(count: int) -> list[int]:
    return [2 + (number * number * 7 + 3 * number) % 61 for number in range(count)]


def test_pack() -> None:
    """Packing puts every example into exactly one row no longer than a block, and wastes less than 2% of the space."""
    lengths = lengths_of(500)
    rows = pack(lengths, 256, range(500))
    assert sorted(number for row in rows for number in row) == list(range(500))
    filled = [sum(lengths[number] for number in row) for row in rows]
    assert max(filled) <= 256
    assert sum(filled) / (256 * len(rows)) > 0.98


@pytest.mark.parametrize("block", [64, None])
def test_plan(block: int | None) -> None:
    """Each epoch uses every example once, in a new order, in steps no larger than the batch size."""
    lengths = lengths_of(100)
    plan = plan_steps(lengths, epochs=3, batch_size=8, block=block, seed=5)
    assert max(map(len, plan.steps)) == 8
    epochs = []
    for start, end in zip((0, *plan.epoch_ends), plan.epoch_ends, strict=False):
        epochs.append([number for step in plan.steps[start:end] for row in step for number in row])
    assert [Counter(epoch) for epoch in epochs] == [Counter(range(100))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_plan_of_a_seed() -> None:
    """A seed produces the same order of examples on every machine and in all future versions."""
    first = plan_steps([1] * 6, epochs=1, batch_size=6, block=None, seed=0).steps[0]
    other = plan_steps([1] * 6, epochs=1, batch_size=6, block=None, seed=1).steps[0]
    assert [number for (number,) in first] == [0, 1, 4, 5, 3, 2]
    assert other != first


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_micro_batches(packed: bool, processes: int, rows: int) -> None:
    """Every step is divided into the same number of micro-batches per process, none of which exceeds the limit."""
    lengths = lengths_of(100)
    steps = plan_steps(lengths, epochs=2, batch_size=7, block=64, seed=0).steps
    planned, per_process = plan_micro_batches(steps, lengths, packed=packed, rows=rows, block=64, processes=processes)
    per_step = per_process * processes
    assert len(planned) == len(steps) * per_step
    for number, step in enumerate(steps):
        parts = planned[number * per_step : (number + 1) * per_step]
        assert Counter(index for part in parts for row in part for index in row) == Counter(
            index for row in step for index in row
        )
        if packed:
            assert Counter(row for part in parts for row in part) == Counter(step)
    sizes = [len(part) * max(sum(lengths[number] for number in row) for row in part) for part in planned if part]
    assert max(sizes) <= rows * 64 * (1 if packed else 1.5)


def test_sorted_rows() -> None:
    """Rows of similar length are put into the same micro-batch, which reduces padding."""
    lengths = lengths_of(100)
    rows = single_rows([tuple(range(100))], lengths)
    count = best_count([rows], lengths, 4096)
    parts = list(split_sorted(rows, lengths, count))
    assert [row for part in parts for row in part] == rows
    assert count > 2
    padded = sum(len(part) * lengths[part[0][0]] for part in parts)
    assert sum(lengths) / padded > 0.8
    assert sum(lengths) / (100 * max(lengths)) < 0.6
    assert best_count([[(0,), (1,)]], [50, 50], 4096) == 1


def test_tensors() -> None:
    """Packed rows are padded on the right, positions restart at every example, and an empty micro-batch has no loss."""
    examples = [Example(array("i", tokens), array("i", [IGNORED, *tokens[1:]])) for tokens in ([5, 6], [7, 8], [9, 3])]
    batches = MicroBatches([[(0, 1), (2,)], []], examples, 0)
    first, empty = batches[0], batches[1]
    assert first["input_ids"].tolist() == [[5, 6, 7, 8], [9, 3, 0, 0]]
    assert first["labels"].tolist() == [[IGNORED, 6, IGNORED, 8], [IGNORED, 3, IGNORED, IGNORED]]
    assert first["position_ids"].tolist() == [[0, 1, 0, 1], [0, 1, 2, 3]]
    assert empty["labels"].tolist() == [[IGNORED, IGNORED]]
    assert "position_ids" not in empty
    assert first["targets"] is first["labels"]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule(schedule: Schedule) -> None:
    """The learning rate increases to its peak during the warm-up, never increases afterwards and never reaches 0."""
    rates = [rate_factor(step, 10, 3, schedule) for step in range(10)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert min(rates) > 0
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert (rates[-1] == 1.0) == (schedule == "constant")


def test_schedule_of_one_step() -> None:
    """In a training run with a single step, the learning rate is above 0."""
    assert rate_factor(0, 1, 1, "cosine") == 0.5
    assert rate_factor(0, 1, 0, "linear") == 1.0
