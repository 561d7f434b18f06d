"""The statistics of a large table, which several processes compute."""

import pytest
from leaderboard_lab import Lab

from kib.errors import InputError
from kib.leaderboard import make_table, render
from kib.leaderboard.compute import parallel_statistics
from kib.leaderboard.compute.question_scores import QuestionScoresReader
from kib.progress import SilentProgress

MODELS = ("a", "b", "c", "d", "e")


@pytest.fixture
def models(tmp_path):
    """Results of five models with trained arms, repeated settings and a probe, without stored statistics."""
    lab = Lab(tmp_path)
    for number, model in enumerate(MODELS):
        lab.add(4 + number, "base", model=model)
        lab.add(2, "base", model=model, split="probe")
        lab.add(12 - number, "rag", k=1, model=model)
        for seed in range(3):
            lab.add(9 + seed, "ft", seed=seed, model=model)
    return lab.save()


@pytest.fixture
def processes(monkeypatch):
    """Let every table use two processes; return the parallel computations that were started."""
    started = []

    class Recorded(parallel_statistics.ParallelStatistics):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr(parallel_statistics, "ParallelStatistics", Recorded)
    monkeypatch.setattr(parallel_statistics, "PARALLEL_FROM", 0)
    monkeypatch.setattr(parallel_statistics, "worker_count", lambda _: 2)
    return started


def table_and_statistics(results, **view):
    """Return the table and the stored statistics, which are then deleted."""
    text, path = render(make_table([results], **view), "json"), results.folder / "statistics.json"
    stored = path.read_bytes()
    path.unlink()
    return text, stored


@pytest.mark.parametrize("against", [None, "rag"])
def test_several_processes_compute_the_same_statistics(models, processes, monkeypatch, against):
    """Several processes give the same bytes as one process, which then reads the questions of its own models only."""
    with monkeypatch.context() as alone:
        alone.setattr(parallel_statistics, "worker_count", lambda _: 1)
        expected = table_and_statistics(models, against=against)
    read = set()
    whole = QuestionScoresReader.read
    monkeypatch.setattr(QuestionScoresReader, "read", lambda self, arm: (read.add(arm.cell.model), whole(self, arm))[1])
    assert table_and_statistics(models, against=against) == expected
    assert 0 < len(read) < len(MODELS)


def test_processes_are_started_only_for_large_tables_without_statistics(models, processes, monkeypatch):
    """A table with stored statistics, few cells, one processor or limited memory is computed by this process."""

    def started():
        make_table([models])
        return len(processes.pop()._processes)

    assert started() == 1
    assert started() == 0
    path = models.folder / "statistics.json"
    path.unlink()
    with monkeypatch.context() as small:
        small.setattr(parallel_statistics, "PARALLEL_FROM", 1000)
        assert started() == 0
    path.unlink()
    with monkeypatch.context() as limited:
        limited.setattr(parallel_statistics, "is_memory_limited", lambda: True)
        assert started() == 0
    path.unlink()
    monkeypatch.setattr(parallel_statistics, "worker_count", lambda _: 1)
    assert started() == 0


def test_a_process_that_fails_is_replaced(models, processes, monkeypatch):
    """If a child process cannot work, this process computes its statistics and gives the same bytes."""
    expected = table_and_statistics(models)
    monkeypatch.setattr(parallel_statistics, "MEMORY_MB", 1)
    assert table_and_statistics(models) == expected
    assert len(processes) == 2


def test_an_error_in_a_process_is_the_error_of_one_process(models, processes):
    """A missing file of questions is named, whichever process needs it, and all processes end."""
    last = next(cell for cell in models.plan().cells if cell.model == MODELS[-1])
    (models.cell_folder(last) / "questions.jsonl").unlink()
    with pytest.raises(InputError, match="no such file, but a gain over base needs the questions"):
        make_table([models])
    assert_ended(processes)


def test_an_interruption_ends_all_processes(models, processes, monkeypatch):
    """After Ctrl-C, no process goes on."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(SilentProgress, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_table([models])
    assert_ended(processes)


def assert_ended(processes):
    """Check that all threads that wait for a process end, because their processes have ended."""
    threads = [thread for one in processes for _, thread in one._waiting.values()]
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
