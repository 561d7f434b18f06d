"""The speeds of earlier runs, from which times are forecast."""

import pytest

from kib.commands.writer_costs import describe_cost
from kib.interfaces import Forecast, Workload
from kib.run import speeds
from kib.run.speeds import Speed, asking_speed, read_speed, store_asking_speed, store_speed
from kib.store.work import Work

KEY = {"work": "training", "model": "m"}


@pytest.fixture
def work(tmp_path):
    return Work(tmp_path / "work")


def model(bench):
    return bench.write_toy().plan().lock.get("models", "m")


def test_a_speed_predicts_the_time_of_more_work(work):
    """A stored speed predicts a time in proportion to the amount of work, and the last measurement counts."""
    store_speed(work, KEY, Speed(10, 100.0))
    store_speed(work, KEY, Speed(10, 5.0))
    assert read_speed(work, KEY).time_for(40) == 20.0
    assert read_speed(work, {**KEY, "model": "other"}) is None


def test_a_speed_of_a_different_machine_is_not_used(work, monkeypatch):
    """A speed is stored for one machine, because work folders are copied between machines."""
    store_speed(work, KEY, Speed(10, 5.0))
    monkeypatch.setattr(speeds, "machine", lambda: {"processor": "another"})
    assert read_speed(work, KEY) is None


def test_a_short_measurement_is_not_stored(work):
    """A measurement of less than a second says nothing about longer work."""
    store_speed(work, KEY, Speed(10, 0.5))
    store_speed(work, KEY, Speed(0, 50.0))
    assert read_speed(work, KEY) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"units": 0, "seconds": 1, "peak_bytes": 0}', "\x00"])
def test_a_damaged_speed_is_ignored(work, content):
    """A damaged file of a speed counts as missing, because a forecast is not worth an error."""
    store_speed(work, KEY, Speed(10, 5.0))
    [path] = (work.folder / "speeds").iterdir()
    path.write_text(content)
    assert read_speed(work, KEY) is None


def test_scored_requests_are_measured_in_tokens_and_generated_text_in_requests(work, bench):
    """The time of scored requests follows their tokens; the length of generated text is unknown before the run."""
    locked = model(bench)
    scored = Workload("loglikelihood", 8, 100, 20, 0, 50)
    store_asking_speed(work, locked, scored, 10.0, 123)
    longer = asking_speed(work, locked, Workload("loglikelihood", 8, 400, 20, 0, 50))
    assert (longer.seconds, longer.peak_bytes) == (40.0, 123)
    assert asking_speed(work, locked, Workload("generate_until", 8, 400, 0, 20, 50)) is None
    store_asking_speed(work, locked, Workload("generate_until", 8, 400, 0, 20, 50), 16.0, 0)
    assert asking_speed(work, locked, Workload("generate_until", 2, 999, 0, 99, 50)).seconds == 4.0
    assert asking_speed(work, locked, Workload("loglikelihood", 8, None, None, 0, None)) is None


def test_the_cost_of_a_writer_states_a_known_time():
    """The forecast for a writer contains the time only if an earlier run has measured the writer's speed."""
    cost = Forecast(10, 200, 300)
    unknown = "10 requests, about 200 input tokens and 300 output tokens, time unknown before the first answers"
    assert describe_cost(cost, None, None) == unknown
    assert describe_cost(cost, None, 600.0).endswith("output tokens, about 10 min at the speed of an earlier run")
