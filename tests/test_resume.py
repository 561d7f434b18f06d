"""A run that is stopped anywhere goes on where it stopped, and ends as if nothing had happened."""

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
QUESTIONS = 60  # five cells of them are about 1,000 requests: 17 batches
SECONDS = 0.03  # that a batch takes


def write(bench, seconds=SECONDS):
    """The benchmark that is interrupted, every batch noted in a file of its folder."""
    log = (bench.folder / "asked.log").as_posix()
    return bench.write_toy(questions=QUESTIONS, model=f'log = "{log}"\nseconds = {seconds}\n')


def batches(bench):
    """The batches that were asked, in order: [(process, [request, …]), …]; a line that is being written is none yet."""
    path = bench.folder / "asked.log"
    lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines() if path.exists() else []
    return [(line["process"], line["asked"]) for line in map(json.loads, lines)]


def outcome(bench):
    """All that people cite: the files of the results folder without times, and the table in every form."""
    tables = {form: bench.call("leaderboard", "--format", form).output for form in FORMATS}
    return {**bench.files("times.json"), **tables}


@pytest.fixture(scope="module")
def whole(new_bench, tmp_path_factory, toys):
    """What an uninterrupted run gives, and its batches."""
    bench = write(new_bench(tmp_path_factory.mktemp("whole")))
    begun = time.monotonic()
    done = bench.kib("run", bench.spec)
    assert done.returncode == 0, done.stderr
    return outcome(bench), batches(bench), time.monotonic() - begun


def stop(bench, kind, moment, wait):
    """Start a run and stop it: after `moment` more batches, or seconds where that is no whole number; gives its end.

    An interruption by Ctrl-C waits until kib says its first word: before that it is Python's to answer.
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


@pytest.mark.slow
def test_a_run_stopped_twenty_times_ends_as_one_that_was_not(new_bench, tmp_path, whole):
    """Interrupted and killed at random moments and called again, a run redoes one batch at most and changes no byte."""
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


def check_batches(found, expected):
    """Each batch is one of the uninterrupted run's; one is asked again only where a process ended with it."""
    once = [tuple(asked) for _, asked in expected]
    assert len(set(once)) == len(once)
    assert [asked for asked in once if asked not in {tuple(asked) for _, asked in found}] == []
    assert {tuple(asked) for _, asked in found} <= set(once)
    for (process, asked), (next_process, next_asked) in pairwise(found):
        place, following = once.index(tuple(asked)), once.index(tuple(next_asked))
        assert following == place + 1 or (process != next_process and following == place)


def test_the_uninterrupted_run_asks_each_request_once(whole):
    """Without an interruption every request is asked once, in batches of at most 64."""
    _, found, _ = whole
    counts = Counter(asked for _, batch in found for asked in batch)
    assert set(counts.values()) == {1}
    assert max(len(batch) for _, batch in found) <= 64
    assert len(found) > 12


def test_a_finished_benchmark_is_left_alone(new_bench, tmp_path):
    """A second run of a finished benchmark asks nothing, and changes no byte and no time of a file."""
    bench = write(new_bench(tmp_path))
    assert bench.kib("run", bench.spec).returncode == 0
    before, asked = bench.files(), batches(bench)
    times = {path: path.stat().st_mtime_ns for path in bench.results.folder.rglob("*") if path.name in names(before)}
    again = bench.kib("run", bench.spec)
    assert again.returncode == 0
    assert again.stdout == bench.call("leaderboard").output
    assert bench.files() == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert batches(bench) == asked


def names(files):
    return {path.rpartition("/")[2] for path in files}


def test_a_deleted_work_folder_costs_nothing_that_is_cited(new_bench, tmp_path):
    """A finished benchmark whose work folder was deleted is still finished."""
    bench = write(new_bench(tmp_path))
    assert bench.kib("run", bench.spec).returncode == 0
    before, asked = bench.files(), batches(bench)
    shutil.rmtree(bench.folder / "work")
    assert bench.kib("run", bench.spec).returncode == 0
    assert bench.files() == before
    assert batches(bench) == asked


@pytest.mark.parametrize("deleted", ["m/base", "m/rag,k=3", "plan.json", "statistics.json"])
def test_what_was_deleted_of_the_results_is_made_again(bench, deleted):
    """Cells and files that are missing come back as they were, without asking the model again."""
    write(bench)
    assert bench.run() == {}
    bench.call("leaderboard")
    before, asked = bench.files("times.json"), batches(bench)
    place = bench.results.folder / deleted
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    assert bench.run() == {}
    bench.call("leaderboard")
    assert bench.files("times.json") == before
    assert batches(bench) == asked


def test_ctrl_c_ends_with_130_and_a_sentence(new_bench, tmp_path):
    """Interrupted while it asks, a run says how to go on and ends with exit code 130, without a traceback."""
    bench = write(new_bench(tmp_path))
    code, said = stop(bench, signal.SIGINT, 2, 0)
    assert code == 130
    assert said.rstrip().endswith("Interrupted. Run the same command again to resume.")
    assert "Traceback" not in said
    assert bench.results.has_plan()


def test_a_polite_kill_ends_like_ctrl_c(new_bench, tmp_path):
    """What a scheduler sends before it kills is answered like Ctrl-C."""
    bench = write(new_bench(tmp_path))
    code, said = stop(bench, signal.SIGTERM, 2, 0)
    assert code == 130
    assert "Traceback" not in said


def test_a_second_run_at_once_is_refused(new_bench, tmp_path):
    """While one run works on a results folder another is refused with the first one's process and host, exit code 2."""
    bench = write(new_bench(tmp_path), seconds=3)  # so that it surely runs for a minute
    with bench.start("run", bench.spec) as first:
        while first.poll() is None and not batches(bench):
            time.sleep(0.002)
        second = bench.kib("run", bench.spec)
        reading = bench.kib("plan", bench.spec)
        first.kill()
    assert second.returncode == 2
    words = rf"Error: .*toy: process {first.pid} on host \S+ \(since \S+\) is running on this folder"
    assert re.search(words, second.stderr)
    assert "Traceback" not in second.stderr
    assert reading.returncode == 0
    assert write(bench).kib("run", bench.spec).returncode == 0


def test_a_model_that_breaks_down_fails_its_own_cells(bench):
    """A model that raises in the middle fails its cells with its error; another model's are measured and stored."""
    write(bench)
    text = bench.spec.read_text(encoding="utf-8")
    other = '[models.weak]\nplugin = "toy"\nseed = 1\nfails_on = "Which animal does Ada Quill own?"\n\n'
    bench.write(text.replace("[corpora.people]", f"{other}[corpora.people]"))
    result = bench.call("run", bench.spec)
    assert result.exit_code == 3
    assert "5 cells failed, all others were measured:" in result.output
    words = (
        "asking weak: models.weak (toy, kib-toys 1.0), answering requests: RuntimeError: the toy broke down (traceback"
    )
    assert words in result.output
    assert "Traceback" not in result.output
    done = {place.partition("/")[0] for place, cell in bench.cells().items() if bench.results.has(cell)}
    assert done == {"m"}
    failures = bench.results.failures()
    assert {cell.partition("/")[0] for cell in failures} == {"weak"}
    [error] = (bench.folder / "work" / "errors").glob("*.txt")
    assert "in loglikelihood" in error.read_text(encoding="utf-8")
    assert bench.call("leaderboard").exit_code == 1


def test_what_broke_down_goes_on_once_mended(bench):
    """After a breakdown the same command goes on with what is missing, and forgets the failure."""
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


def test_a_changed_option_measures_anew_and_keeps_the_old(bench):
    """Another seed of the model is another model: its cells are measured beside those that are there."""
    write(bench)
    bench.run()
    before, asked = bench.files("times.json", "plan.json"), len(batches(bench))
    bench.write(bench.spec.read_text(encoding="utf-8").replace("seconds = ", "seed = 5\nseconds = "))
    bench.run()
    after = bench.files("times.json", "plan.json")
    assert before.items() <= after.items()
    assert len(after) == 2 * len(before)
    assert len(batches(bench)) == 2 * asked


def test_a_growing_benchmark_asks_only_what_is_new(bench):
    """A method that is added later is measured without asking again what was answered."""
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


def test_a_growing_benchmark_without_its_work_asks_only_what_it_needs(bench):
    """Where the answers were deleted a new method's are asked, and those of measured cells are not missed."""
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
