"""A stopped run can be resumed, and its results equal those of an uninterrupted run."""

import json
import random
import re
import shutil
import signal
import time
from collections import Counter
from itertools import pairwise

import pytest

FORMATS = ("terminal", "markdown", "csv", "json")
QUESTIONS = 60  # five cells make about 1,000 requests in 17 batches
SECONDS = 0.03  # per batch


def write(bench, seconds=SECONDS):
    """Write a benchmark whose model logs every batch to a file."""
    log = (bench.folder / "asked.log").as_posix()
    return bench.write_toy(questions=QUESTIONS, model=f'log = "{log}"\nseconds = {seconds}\n')


def batches(bench):
    """Return the logged batches in order as [(process, [request, …]), …], without an incomplete last line."""
    path = bench.folder / "asked.log"
    lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines() if path.exists() else []
    return [(line["process"], line["asked"]) for line in map(json.loads, lines)]


def outcome(bench):
    """Return the reproducible output: all result files except times, and the table in every format."""
    tables = {form: bench.call("leaderboard", "--format", form).output for form in FORMATS}
    return {**bench.files("times.json"), **tables}


@pytest.fixture(scope="module")
def whole(new_bench, tmp_path_factory, toys):
    """The output, batches and duration of an uninterrupted run in a separate process."""
    bench = write(new_bench(tmp_path_factory.mktemp("whole")))
    begun = time.monotonic()
    done = bench.kib("run", bench.spec)
    assert done.returncode == 0, done.stderr
    return outcome(bench), batches(bench), time.monotonic() - begun


def stop(bench, kind, moment, wait):
    """Start a run, send the signal `kind`, and return the exit code and standard error.

    The signal is sent after `moment` further batches, or after `moment` seconds if `moment` is not an integer. Signals
    other than SIGKILL are sent after the first line of output, because Python itself handles Ctrl-C until then.
    """
    before = len(batches(bench))
    with bench.start("run", bench.spec) as running:
        said = running.stderr.readline() if kind != signal.SIGKILL or isinstance(moment, int) else ""
        if isinstance(moment, int):
            while running.poll() is None and len(batches(bench)) - before < moment:
                time.sleep(0.002)
        time.sleep(wait if isinstance(moment, int) else moment)
        running.send_signal(kind)
        said += running.stderr.read()
        return running.wait(), said


def check_batches(found, expected):
    """Check that the batches equal those of the uninterrupted run, and that only a new process repeats a batch."""
    once = [tuple(asked) for _, asked in expected]
    assert len(set(once)) == len(once)
    assert [asked for asked in once if asked not in {tuple(asked) for _, asked in found}] == []
    assert {tuple(asked) for _, asked in found} <= set(once)
    for (process, asked), (next_process, next_asked) in pairwise(found):
        place, following = once.index(tuple(asked)), once.index(tuple(next_asked))
        assert following == place + 1 or (process != next_process and following == place)


def test_a_stopped_and_killed_run_resumes(bench, whole):
    """A run that is interrupted or killed repeats at most one batch per stop and produces identical output."""
    expected, all_batches, _ = whole
    write(bench)
    for kind, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        ended, said = stop(bench, kind, 2, 0)
        assert ended == code, said
        assert "Traceback" not in said
        assert ("Interrupted. Run the same command again to resume." in said) == (code == 130)
        assert bench.results.has_plan()
    assert bench.run() == {}
    assert outcome(bench) == expected
    check_batches(batches(bench), all_batches)


@pytest.mark.nightly
def test_a_run_stopped_twenty_times_has_identical_output(new_bench, tmp_path, whole):
    """A run stopped at random moments repeats at most one batch per stop and produces identical output."""
    expected, all_batches, seconds = whole
    chance, stops, epoch = random.Random(20), 0, 0  # noqa: S311 - no secret
    while stops < 20:
        epoch += 1
        folder = tmp_path / str(epoch)
        folder.mkdir()
        bench = write(new_bench(folder))
        while stops < 20:
            kind = chance.choice([signal.SIGINT, signal.SIGKILL])
            moment = chance.choice([chance.randint(1, 6), chance.random() * seconds])
            code, said = stop(bench, kind, moment, chance.random() * SECONDS)
            if code == 0:
                break
            assert code == (130 if kind == signal.SIGINT else -signal.SIGKILL), said
            assert "Traceback" not in said
            stops += 1
        done = bench.kib("run", bench.spec)
        assert done.returncode == 0, done.stderr
        assert outcome(bench) == expected
        check_batches(batches(bench), all_batches)


def test_an_uninterrupted_run_sends_each_request_once(whole):
    """An uninterrupted run sends every request once, in batches of at most 64 requests."""
    _, found, _ = whole
    counts = Counter(asked for _, batch in found for asked in batch)
    assert set(counts.values()) == {1}
    assert max(len(batch) for _, batch in found) <= 64
    assert len(found) > 12


def test_a_finished_benchmark_is_not_changed(bench):
    """Running a finished benchmark again sends no requests and changes no files, even without a work folder."""
    write(bench)
    assert bench.call("run", bench.spec, "-q").exit_code == 0
    before, asked = bench.files(), batches(bench)
    times = {path: path.stat().st_mtime_ns for path in bench.results.folder.rglob("*") if path.name in names(before)}
    for _ in range(2):
        again = bench.call("run", bench.spec, "-q")
        assert again.exit_code == 0
        assert again.stdout == bench.call("leaderboard").output
        assert bench.files() == before
        assert {path: path.stat().st_mtime_ns for path in times} == times
        assert batches(bench) == asked
        shutil.rmtree(bench.folder / "work", ignore_errors=True)


def names(files):
    return {path.rpartition("/")[2] for path in files}


def test_deleted_results_are_restored(bench):
    """Missing cells and files are restored with identical content, without any request to the model."""
    write(bench)
    assert bench.run() == {}
    bench.call("leaderboard")
    before, asked = bench.files("times.json"), batches(bench)
    for deleted in ("m/base", "m/rag,k=3", "plan.json", "statistics.json"):
        path = bench.results.folder / deleted
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        assert bench.run() == {}
        bench.call("leaderboard")
        assert bench.files("times.json") == before
        assert batches(bench) == asked


@pytest.mark.slow
def test_a_concurrent_run_is_rejected(bench):
    """A concurrent run is rejected with an error that names the first process, which exits with code 130 on SIGTERM."""
    write(bench, seconds=3)  # so that the first run takes a minute
    with bench.start("run", bench.spec) as first:
        while first.poll() is None and not batches(bench):
            time.sleep(0.002)
        second = bench.call("run", bench.spec)
        reading = bench.call("plan", bench.spec)
        first.send_signal(signal.SIGTERM)  # a scheduler sends it before SIGKILL
        said = first.stderr.read()
    assert first.returncode == 130
    assert "Interrupted." in said
    assert second.exit_code == 2
    words = rf"Error: .*toy: process {first.pid} on host \S+ \(since \S+\) is using this folder"
    assert re.search(words, second.output)
    assert reading.exit_code == 0


def test_a_failing_model_fails_only_its_cells(bench):
    """If a model raises an error, only its cells fail, and the cells of other models are measured."""
    write(bench)
    text = bench.spec.read_text(encoding="utf-8")
    other = '[models.weak]\nplugin = "toy"\nseed = 1\nfails_on = "Which animal does Ada Quill own?"\n\n'
    bench.write(text.replace("[corpora.people]", f"{other}[corpora.people]"))
    result = bench.call("run", bench.spec)
    assert result.exit_code == 3
    assert "5 cells failed, all other cells were measured:" in result.output
    words = "models.weak (toy, kib-toys 1.0), answering requests: RuntimeError: the toy broke down (the traceback is in"
    assert words in result.output
    assert "Traceback" not in result.output
    done = {place.partition("/")[0] for place, cell in bench.cells().items() if bench.results.has(cell)}
    assert done == {"m"}
    failures = bench.results.failures()
    assert {cell.partition("/")[0] for cell in failures} == {"weak"}
    [error] = (bench.folder / "work" / "errors").glob("*.txt")
    assert "in loglikelihood" in error.read_text(encoding="utf-8")
    assert bench.call("leaderboard").exit_code == 1


def test_a_repaired_model_resumes(bench):
    """After a failure, rerunning the command requests only the missing answers and removes the recorded failure."""
    write(bench)
    text = bench.spec.read_text(encoding="utf-8")
    bench.write(text.replace("seconds = ", 'fails_on = "Which animal does Ada Quill own?"\nseconds = '))
    assert len(bench.run()) == 5
    broken = batches(bench)
    bench.write(text)
    assert bench.run() == {}
    assert bench.results.failures() == {}
    assert not (bench.results.folder / "failures.json").exists()
    rest = [asked for _, asked in batches(bench)[len(broken) :]]
    assert [asked for _, asked in broken[:-1] if asked in rest] == []
    assert rest[0] == broken[-1][1]


def test_a_changed_option_adds_cells_and_keeps_existing_ones(bench):
    """Changing a model's seed causes new cells to be measured, and existing cells are kept."""
    write(bench)
    bench.run()
    before, asked = bench.files("times.json", "plan.json"), len(batches(bench))
    bench.write(bench.spec.read_text(encoding="utf-8").replace("seconds = ", "seed = 5\nseconds = "))
    bench.run()
    after = bench.files("times.json", "plan.json")
    assert before.items() <= after.items()
    assert len(after) == 2 * len(before)
    assert len(batches(bench)) == 2 * asked


def test_a_new_method_repeats_no_request(bench):
    """Measuring a newly added method does not repeat any earlier request."""
    write(bench)
    text = bench.spec.read_text(encoding="utf-8")
    bench.write(text.replace("top_k = [1, 3]", "top_k = [1]"))
    bench.run()
    known = {asked for _, batch in batches(bench) for asked in batch}
    first = len(batches(bench))
    bench.write(text)
    bench.run()
    again = [asked for _, batch in batches(bench)[first:] for asked in batch]
    assert again
    assert not known & set(again)


def test_a_new_method_without_stored_answers_sends_only_its_requests(bench):
    """If the stored answers are deleted, a new method sends its own requests but none for measured cells."""
    write(bench)
    text = bench.spec.read_text(encoding="utf-8")
    bench.write(text.replace("top_k = [1, 3]", "top_k = [1]"))
    bench.run()
    before, first = bench.files("times.json", "plan.json"), len(batches(bench))
    shutil.rmtree(bench.folder / "work")
    bench.write(text)
    bench.run()
    asked = [one for _, batch in batches(bench)[first:] for one in batch]
    wanted = 4 * QUESTIONS
    assert len(set(asked)) == len(asked) <= wanted
    assert before.items() <= bench.files("times.json", "plan.json").items()
