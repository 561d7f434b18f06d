"""Stored files are either complete or absent, and reading them returns the written values."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.errors import BusyError, InputError
from kib.identity import digest_file
from kib.records import Cell, Environment, Score
from kib.store.files import new_folder, read_lines, write_lines, write_output, write_text
from kib.store.result_records import BenchmarkPlan, CellResult, Failure, MethodEntry, TaskEntry, Times, TrainingRecord
from kib.store.results import Results
from kib.store.work import Work

TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from('\u2028\u2029\x85\x0b\x0c\x00\n\r"\\桥🚧'), max_size=20)
NAME = st.from_regex(r"[a-z0-9][a-z0-9._+-]{0,10}", fullmatch=True).filter(lambda name: ".." not in name)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 10**9)
AMOUNT = st.floats(0, 1e12)
SETTING = st.one_of(NAME, st.integers(0, 99), st.booleans(), st.sampled_from([0.5, 1e-05]))


def maybe(strategy):
    return st.none() | strategy


CELLS = st.builds(
    Cell,
    model=NAME,
    method=NAME,
    settings=st.lists(st.tuples(NAME, SETTING), max_size=3).map(tuple),
    task=NAME,
    corpus=maybe(NAME),
    shots=st.integers(0, 9),
    seed=st.integers(0, 9),
    identity=st.text("0123456789abcdef", min_size=64, max_size=64),
    names_corpus=st.booleans(),
    split=st.sampled_from(["test", "validation", "probe"]),
)

SCORES = st.builds(
    Score,
    question_id=TEXT,
    group=maybe(TEXT),
    score=st.integers(0, 1),
    prediction=maybe(COUNT),
    answer=maybe(COUNT),
    logprobs=st.lists(FLOAT, max_size=4).map(tuple),
    output=maybe(TEXT),
    passages=st.lists(TEXT, max_size=3).map(tuple),
    gold=maybe(st.lists(st.booleans(), max_size=3).map(tuple)),
    dropped=COUNT,
    tokens=maybe(COUNT),
    prompt=TEXT,
)

ENVIRONMENTS = st.builds(Environment, TEXT, st.dictionaries(TEXT, TEXT, max_size=3))

RESULTS = st.builds(
    CellResult,
    cell=CELLS,
    n=st.integers(5, 10**9),
    correct=st.integers(0, 5),
    metric=TEXT,
    environments=st.lists(ENVIRONMENTS, max_size=2).map(tuple),
    prompt_tokens=maybe(COUNT),
    flops=maybe(FLOAT),
    dropped_passages=COUNT,
    dropped_questions=COUNT,
    steps=st.dictionaries(TEXT, TEXT, max_size=3),
    training=maybe(st.builds(TrainingRecord, maybe(COUNT), first_loss=maybe(FLOAT), written_requests=maybe(COUNT))),
)


def _complete(plan):
    """Return the plan with entries added for all methods and tasks of its cells."""
    cells = tuple(cell for cell in plan.cells if type(dict(cell.settings).get("k", 0)) is int)
    methods = {cell.method: MethodEntry(None, None) for cell in cells} | plan.methods
    return replace(
        plan, cells=cells, methods=methods, tasks={cell.task: TaskEntry("", None) for cell in cells} | plan.tasks
    )


PLANS = st.builds(
    BenchmarkPlan,
    name=NAME,
    title=TEXT,
    tasks=st.dictionaries(NAME, st.builds(TaskEntry, TEXT, maybe(NAME), maybe(COUNT), TEXT), max_size=3),
    methods=st.dictionaries(
        NAME, st.builds(MethodEntry, maybe(NAME), maybe(NAME), TEXT, st.lists(TEXT, max_size=2).map(tuple)), max_size=3
    ),
    cells=st.lists(CELLS, max_size=3).map(tuple),
    sources=st.dictionaries(NAME, st.dictionaries(TEXT, TEXT, max_size=2), max_size=2),
    prompt=st.dictionaries(TEXT, maybe(TEXT), max_size=3),
).map(_complete)


def a_cell(identity="0" * 64, **changes):
    fields = {"model": "m", "method": "base", "settings": (), "task": "t", "corpus": None, "shots": 0, "seed": 0}
    return Cell(**{**fields, **changes}, identity=identity)


def a_result(cell=None, **changes):
    return CellResult(
        **{"cell": cell or a_cell(), "n": 2, "correct": 1, "metric": "acc", "environments": (), **changes}
    )


LINES = [Score("q1", None, 1, 0, 0), Score("q2", None, 0, 1, 0)]


def everything(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


# Reading what was written


@given(RESULTS, st.lists(SCORES, max_size=4), maybe(st.builds(Times, AMOUNT, AMOUNT, AMOUNT, AMOUNT, COUNT, COUNT)))
def test_a_stored_cell_is_read_back(tmp_path, result, scores, times):
    """A cell's result, scores and times can be read back unchanged, even if they contain unusual characters."""
    store = Results(tmp_path)
    store.save_cell(result, scores, times)
    read = store.cell(result.cell)
    questions = store.cell_folder(result.cell) / "questions.jsonl"
    assert read.questions == digest_file(questions)
    assert read == CellResult(**{**{f: getattr(result, f) for f in result.__slots__}, "questions": read.questions})
    assert store.scores(result.cell) == scores
    assert store.times(result.cell) == times


@given(PLANS)
def test_a_stored_plan_is_read_back(tmp_path, plan):
    """A stored plan can be read back unchanged."""
    store = Results(tmp_path)
    store.save_plan(plan)
    assert store.plan() == plan


@given(st.dictionaries(TEXT, st.builds(Failure, TEXT, TEXT), max_size=3))
def test_stored_failures_are_read_back(tmp_path, failures):
    """Failures can be read back unchanged, and no file is written if there are no failures."""
    Results(tmp_path).save_failures(failures)
    assert Results(tmp_path).failures() == failures
    assert (tmp_path / "failures.json").is_file() == bool(failures)


@given(st.lists(st.dictionaries(TEXT, TEXT | FLOAT, max_size=3), max_size=5))
def test_each_value_is_one_json_line(tmp_path, values):
    """Each value is stored on one JSON line, even if the value contains line breaks."""
    path = tmp_path / "lines.jsonl"
    assert write_lines(path, values) == len(values)
    assert list(read_lines(path)) == values
    assert path.read_bytes().count(b"\n") == len(values)


def test_a_cell_without_times_has_none(tmp_path):
    """A cell stored without times is read without times, and a missing cell has no result."""
    store = Results(tmp_path)
    assert (store.has(a_cell()), store.cell(a_cell())) == (False, None)
    store.save_cell(a_result(), LINES)
    assert store.has(a_cell())
    assert store.times(a_cell()) is None


def test_a_cells_folder_is_its_id(tmp_path):
    """A cell's folder is named after the cell's printed id, which users can type."""
    cell = a_cell("ab" * 32, method="rag", settings=(("rank", 4), ("k", 3)), shots=5, seed=2)
    Results(tmp_path).save_cell(a_result(cell), LINES)
    assert cell.id == "m/rag,rank=4,k=3/t,5-shot/s2-abababab"
    assert everything(tmp_path / cell.id) == {"cell.json", "questions.jsonl"}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, "m/base/t,0-shot"),
        ({"corpus": "docs"}, "m/base/t,0-shot"),
        ({"corpus": "docs", "names_corpus": True}, "m/base/t,0-shot,corpus=docs"),
        ({"split": "validation"}, "m/base/t,0-shot,validation"),
        ({"corpus": "docs", "names_corpus": True, "split": "probe"}, "m/base/t,0-shot,corpus=docs,probe"),
        ({"settings": (("text.count", 10), ("rate", 1e-05))}, "m/base,text.count=10,rate=1e-05/t,0-shot"),
    ],
)
def test_a_cell_path_contains_corpus_and_split(changes, place):
    """A cell's path contains the corpus of a trained control cell, and the split unless it is the test split."""
    assert a_cell(**changes).place == place


def test_results_are_read_without_kib(tmp_path):
    """A cell is stored as JSON and JSON lines with field names as keys, in unescaped UTF-8."""
    store = Results(tmp_path)
    store.save_cell(a_result(metric="Straße"), [Score("über", None, 1, 0, 0, (-1.5,))])
    text = (store.cell_folder(a_cell()) / "cell.json").read_text(encoding="utf-8")
    assert '"metric": "Straße"' in text
    assert list(json.loads(text)) == sorted(json.loads(text))
    line = (store.cell_folder(a_cell()) / "questions.jsonl").read_text(encoding="utf-8")
    assert '"question":"über"' in line
    assert json.loads(line)["logprobs"] == [-1.5]


# Atomic writes


class Stopped(Exception):  # noqa: N818 - what a test raises to stop a write
    pass


def test_a_folder_appears_at_once(tmp_path):
    """A new folder appears at its final path only after the `with` block ends, and no temporary folder remains."""
    with new_folder(tmp_path / "a" / "b") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "a" / "b").exists()
    assert everything(tmp_path) == {"a", "a/b", "a/b/file"}


def test_a_failed_folder_leaves_no_files(tmp_path):
    """If an error occurs while a folder is being written, no files or folders remain."""
    with pytest.raises(UnicodeEncodeError), new_folder(tmp_path / "a") as folder:
        write_lines(folder / "file", ["x", "\ud800"])
    assert everything(tmp_path) == set()


def test_a_folder_is_replaced_whole(tmp_path):
    """A new folder replaces an existing folder, including all of its files."""
    for name in ("old", "new"):
        with new_folder(tmp_path / "a") as folder:
            (folder / name).write_text("x")
    assert everything(tmp_path) == {"a", "a/new"}


def test_a_cell_with_failed_questions_is_not_stored(tmp_path):
    """If an error occurs while questions are being written, no cell is stored."""

    def broken():
        yield LINES[0]
        raise Stopped

    store = Results(tmp_path)
    with pytest.raises(Stopped):
        store.save_cell(a_result(), broken())
    assert not store.has(a_cell())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_abandoned_temporary_files_of_a_file_are_deleted(tmp_path):
    """Writing an output file deletes its temporary files that have not changed for a minute, and no others."""
    for name in (".file.0123abcd", ".file.89abcdef", ".other.0123abcd"):
        (tmp_path / name).touch()
    for name in (".file.0123abcd", ".other.0123abcd"):
        os.utime(tmp_path / name, (0, 0))
    write_output(tmp_path / "file", "new")
    assert everything(tmp_path) == {"file", ".file.89abcdef", ".other.0123abcd"}


def test_times_of_a_different_cell_are_damaged(tmp_path):
    """Swapped times raise an error, because they would show the cost of a different cell."""
    store, cells = Results(tmp_path), (a_cell(), a_cell(seed=7))
    for cell in cells:
        store.save_cell(a_result(cell), LINES, Times(1.0, 2.0, 3.0, 4.0, 5, 6))
    one, other = (store.cell_folder(cell) / "times.json" for cell in cells)
    shutil.copy(one, other)
    assert store.times(cells[0]) == Times(1.0, 2.0, 3.0, 4.0, 5, 6)
    with pytest.raises(InputError, match="these are the times of a different cell"):
        store.times(cells[1])


def test_only_regular_files_are_replaced(tmp_path):
    """A link is followed, and a folder or a named pipe at the path of a file raises an error."""
    (tmp_path / "real").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text(encoding="utf-8") == "new"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match=f"{name}: this is not a regular file, so kib does not replace it"):
            write_text(tmp_path / name, "new")


def test_a_file_is_replaced_whole(tmp_path):
    """A failed write leaves the original file unchanged and leaves no temporary file behind."""
    path = tmp_path / "a" / "file"
    write_text(path, "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_bytes() == b"old\n"
    assert everything(tmp_path) == {"a", "a/file"}


def test_an_unchanged_plan_is_not_written(tmp_path):
    """Saving an unchanged plan does not modify the file."""
    store, plan = Results(tmp_path), BenchmarkPlan("b", "", {}, {}, (a_cell(),))
    store.save_plan(plan)
    before = (tmp_path / "plan.json").stat()
    store.save_plan(plan)
    after = (tmp_path / "plan.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


KILLED = """
import os, sys
from pathlib import Path
from kib.records import Cell, Score
from kib.store.result_records import CellResult
from kib.store.results import Results

def lines():
    yield Score("q1", None, 1, 0, 0)
    os.kill(os.getpid(), 9)

cell = Cell("m", "base", (), "t", None, 0, 0, "0" * 64)
store = Results(Path(sys.argv[1]))
with store.lock():
    store.save_cell(CellResult(cell, 2, 1, "acc", ()), lines())
"""


def test_temporary_files_of_a_killed_run_are_deleted(tmp_path):
    """A run killed while writing stores no cell, and the next run deletes its temporary files."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert not Results(tmp_path).has(a_cell())
    assert list(tmp_path.rglob("questions.jsonl"))
    with Results(tmp_path).lock():
        assert not list(tmp_path.rglob("questions.jsonl"))


def test_cleanup_keeps_files_of_other_programs(tmp_path):
    """The cleanup of temporary files does not delete hidden files of other programs."""
    for name in (".gitignore", ".DS_Store", ".x.12345678.txt", "a/.keep"):
        write_text(tmp_path / name, "x")
    with Results(tmp_path).lock():
        pass
    assert everything(tmp_path) >= {".gitignore", ".DS_Store", ".x.12345678.txt", "a/.keep"}


# Damaged files


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b"null", b'{"schema": 1}', b'{"schema": 1, "name": "b", "title": "", "tasks": 3}'],
)
def test_a_damaged_plan_is_named(tmp_path, content):
    """An unreadable plan raises InputError with the name of the file."""
    (tmp_path / "plan.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        Results(tmp_path).plan()
    assert str(caught.value).startswith(f"{tmp_path / 'plan.json'}: ")


def test_a_plan_with_an_unknown_schema_is_named(tmp_path):
    """The error for an unknown plan schema names the schema supported by this version."""
    (tmp_path / "plan.json").write_text('{"schema": 7}')
    with pytest.raises(InputError, match=r"plan\.json: the file has schema 7, but this version of kib reads schema 1"):
        Results(tmp_path).plan()


def test_a_folder_without_a_plan_has_no_results(tmp_path):
    """For a folder without a plan, the error explains how to create results."""
    assert not Results(tmp_path).has_plan()
    with pytest.raises(InputError, match="contains no results"):
        Results(tmp_path).plan()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"n": 3}', b'{"cell": {}, "environments": []}'])
def test_a_damaged_cell_is_named(tmp_path, content):
    """An unreadable cell raises InputError with the name of the file."""
    store = Results(tmp_path)
    store.save_cell(a_result(), LINES)
    path = store.cell_folder(a_cell()) / "cell.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        store.cell(a_cell())
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"{\n", b"\xff\n", b"[]\n", b'{"question": "q"}\n'])
def test_damaged_questions_are_named(tmp_path, content):
    """Unreadable question records raise InputError with the name of the file."""
    store = Results(tmp_path)
    store.save_cell(a_result(), LINES)
    path = store.cell_folder(a_cell()) / "questions.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        store.scores(a_cell())
    assert str(caught.value).startswith(str(path))


def test_a_damaged_question_is_named_by_its_line(tmp_path):
    """Without a digest in cell.json, a line that is not JSON raises InputError with the line number."""
    store = Results(tmp_path)
    store.save_cell(a_result(), LINES)
    store.discard(a_cell())
    path = store.cell_folder(a_cell()) / "questions.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + "{\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"questions\.jsonl:{len(LINES) + 1}: "):
        store.scores(a_cell())


def test_lost_questions_are_named(tmp_path):
    """Missing question records raise InputError with the name of the file."""
    store = Results(tmp_path)
    store.save_cell(a_result(), LINES)
    path = store.cell_folder(a_cell()) / "questions.jsonl"
    path.unlink()
    with pytest.raises(InputError) as caught:
        store.scores(a_cell())
    assert str(caught.value).startswith(f"{path}: no such file")
    assert "omitted on purpose" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"7"])
def test_damaged_statistics_are_ignored(tmp_path, content):
    """A damaged statistics file is treated as empty, because statistics can be recomputed."""
    (tmp_path / "statistics.json").write_bytes(content)
    assert Results(tmp_path).statistics() == {}
    Results(tmp_path).save_statistics({"a": 1})
    assert Results(tmp_path).statistics() == {"a": 1}


# One run at a time


def test_a_second_run_names_the_lock_holder(tmp_path):
    """A second run reports the process and host that hold the lock, and can start once the lock is released."""
    with Results(tmp_path).lock():
        with pytest.raises(BusyError) as caught, Results(tmp_path).lock():
            pytest.fail("two runs at once")
        words = f"{tmp_path}: process {os.getpid()} on host {socket.gethostname()} (since "
        assert str(caught.value).startswith(words)
    with Results(tmp_path).lock():
        pass


def test_a_lock_ends_with_its_process(tmp_path):
    """The lock of a killed process is released."""
    code = (
        "import sys, time; from pathlib import Path; from kib.store.results import Results\n"
        "with Results(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match=f"process {other.pid} on host"), Results(tmp_path).lock():
            pytest.fail("two runs at once")
        other.kill()
        other.wait()
    with Results(tmp_path).lock():
        pass


def test_a_lock_is_freed_by_an_error(tmp_path):
    """A failed run releases its lock and deletes the owner file."""
    with pytest.raises(Stopped), Results(tmp_path).lock():
        raise Stopped
    assert not (tmp_path / ".owner.json").exists()
    with Results(tmp_path).lock():
        pass


# Work


def test_a_finished_step_is_not_rebuilt(tmp_path):
    """A finished step is not rebuilt, and its record and duration are stored."""
    built = []

    def build(folder):
        built.append(folder)
        (folder / "file").write_text("x")
        return {"n": 3}

    work = Work(tmp_path)
    assert not work.has("index", "a" * 64)
    places = {work.compute("index", "a" * 64, build) for _ in range(3)}
    assert built == [work.step_folder("index", "a" * 64)] == list(places)
    assert work.has("index", "a" * 64)
    assert work.record("index", "a" * 64) == {"n": 3}
    assert work.seconds("index", "a" * 64) >= 0


def test_a_step_with_a_missing_file_is_rebuilt(tmp_path):
    """A step with a missing or truncated file counts as unfinished and is rebuilt by the next call."""
    work = Work(tmp_path)

    def build(folder):
        (folder / "file").write_text("whole")
        return {}

    file = work.compute("passages", "a", build) / "file"
    for damage in (file.unlink, lambda: file.write_text("cut")):
        damage()
        assert not work.has("passages", "a")
        assert (work.compute("passages", "a", build) / "file").read_text() == "whole"


def write_step(folder):
    """Build a step with one file in the folder and one file in a subfolder."""
    (folder / "part").mkdir(exist_ok=True)
    for name in ("file", "part/other"):
        with (folder / name).open("a") as file:  # a build that finds its earlier files would change them
            file.write(f"content of {name}")
    return {"n": 3}


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = {
    "lost": (lambda folder: (folder / "part/other").unlink(), "the file is missing"),
    "truncated": (lambda folder: os.truncate(folder / "file", 3), "the file has 3 bytes instead of 15"),
    "zeroed": (lambda folder: (folder / "file").write_bytes(bytes(15)), "the content of the file has changed"),
    "flipped": (lambda folder: flip_a_bit(folder / "part/other"), "the content of the file has changed"),
    "marker": (lambda folder: flip_a_bit(folder / "done.json"), "done.json: damaged ("),
    "marker replaced": (lambda folder: replace_by_folder(folder / "done.json"), "done.json: damaged ("),
    "replaced": (lambda folder: replace_by_folder(folder / "file"), "the file is missing"),
    "marker truncated": (lambda folder: os.truncate(folder / "done.json", 40), "done.json: damaged ("),
    "record": (
        lambda folder: write_text(folder / "done.json", (folder / "done.json").read_text().replace(": 3", ": 4")),
        "done.json: damaged (the content does not match the recorded digest)",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_step_is_rebuilt_in_an_empty_folder(tmp_path, damage, words):
    """A step with a damaged file or marker is reported, deleted and rebuilt in an empty folder."""
    said = []
    folder = Work(tmp_path).compute("weights", "a", write_step)
    whole = {name: (folder / name).read_bytes() for name in ("file", "part/other")}
    damage(folder)
    work = Work(tmp_path, said.append)
    assert not work.has("weights", "a")
    assert work.compute("weights", "a", write_step) == folder
    assert {name: (folder / name).read_bytes() for name in whole} == whole
    assert work.record("weights", "a") == {"n": 3}
    [sentence] = said
    assert sentence.startswith(str(folder))
    assert words in sentence
    assert sentence.endswith("; kib recomputes this step")
    assert everything(tmp_path) == {
        "weights", "weights/.a.lock", "weights/a", "weights/a/done.json",
        "weights/a/file", "weights/a/part", "weights/a/part/other",
    }  # fmt: skip


def test_a_replaced_step_folder_is_rebuilt(tmp_path):
    """If the folder of a step is replaced with the folder of a different step, the step is rebuilt."""
    said, work = [], Work(tmp_path)
    for identity in ("a", "b"):
        work.compute("hits", identity, lambda folder, text=identity: write_text(folder / "file", text) or {})
    shutil.rmtree(tmp_path / "hits/a")
    (tmp_path / "hits/b").rename(tmp_path / "hits/a")
    work.reporting_to(said.append).compute("hits", "a", lambda folder: write_text(folder / "file", "a") or {})
    assert (tmp_path / "hits/a/file").read_text() == "a"
    assert "damaged (the marker belongs to the step hits/b)" in said[0]


def test_damage_during_a_run_is_detected(tmp_path):
    """If a file changes after its digest was verified, the change is detected from the size and timestamps."""
    work = Work(tmp_path)
    folder = work.compute("index", "a", write_step)
    assert work.has("index", "a")
    before = (folder / "file").stat().st_mtime_ns
    flip_a_bit(folder / "file")
    os.utime(folder / "file", ns=(0, before + 10**9))  # some file systems store times in seconds
    assert not work.reporting_to(print).has("index", "a")


def test_a_file_is_read_once_per_process(tmp_path, monkeypatch):
    """The digest of an unchanged file is computed once per process."""
    read = []
    Work(tmp_path).compute("index", "a", write_step)
    monkeypatch.setattr(
        "kib.store.verified_files.digest_file", lambda path: read.append(path.name) or digest_file(path)
    )
    work = Work(tmp_path)
    for _ in range(3):
        assert work.has("index", "a")
        assert work.reporting_to(print).has("index", "a")
    assert read == ["file", "other"]


def test_an_extra_file_is_deleted(tmp_path):
    """An extra file in the folder of a finished step is reported and deleted, and the step is retained."""
    said, built = [], []
    folder = Work(tmp_path).compute("passages", "a", write_step)
    (folder / "aliases.json").write_text("{}")
    (folder / ".DS_Store").write_text("")
    work = Work(tmp_path, said.append)
    assert not work.has("passages", "a")
    work.compute("passages", "a", built.append)
    assert work.has("passages", "a")
    assert built == []
    assert said == [f"{folder / 'aliases.json'}: this file does not belong to the finished step; kib deletes the file"]
    assert (folder / ".DS_Store").is_file()


def test_a_marker_without_digests_is_completed(tmp_path):
    """A marker from an earlier version is accepted if the file sizes match, and the files' digests are then added."""
    folder = Work(tmp_path).compute("index", "a", write_step)
    sizes = {"file": 15, "part/other": 21}
    write_text(folder / "done.json", json.dumps({"note": {"n": 3}, "seconds": 1.5, "peak_bytes": 7, "files": sizes}))
    said = []
    work = Work(tmp_path, said.append)
    assert work.has("index", "a")
    assert said == [f"{folder}: an earlier version of kib stored this step without digests; kib adds the digests"]
    assert (work.record("index", "a"), work.seconds("index", "a"), work.peak_bytes("index", "a")) == ({"n": 3}, 1.5, 7)
    flip_a_bit(folder / "file")
    assert not Work(tmp_path).has("index", "a")


def test_listing_steps_reads_no_file_content(tmp_path):
    """To list finished steps, kib compares only file sizes with the recorded sizes and reads no file content."""
    folder = Work(tmp_path).compute("index", "a", write_step)
    flip_a_bit(folder / "file")
    assert Work(tmp_path).looks_finished("index", "a")
    assert list(Work(tmp_path).records("index")) == [("a", {"n": 3})]
    os.truncate(folder / "file", 3)
    assert not Work(tmp_path).looks_finished("index", "a")
    assert list(Work(tmp_path).records("index")) == []


def test_an_interrupted_build_keeps_its_files(tmp_path):
    """An interrupted build keeps its files for the next attempt and does not count as finished."""
    work, seen = Work(tmp_path), []

    def build(folder):
        seen.append((folder / "half").exists())
        (folder / "half").write_text("x")
        if len(seen) < 2:
            raise Stopped
        return {}

    with pytest.raises(Stopped):
        work.compute("index", "a", build)
    assert not work.has("index", "a")
    assert work.record("index", "a") == {}
    work.compute("index", "a", build)
    assert seen == [False, True]


def test_two_processes_build_a_step_once(tmp_path):
    """While one process builds a step, other processes wait and then use the finished step."""
    code = """
import sys, time
from pathlib import Path
from kib.store.work import Work

def build(folder):
    time.sleep(0.5)
    with (folder / "built").open("a") as file:
        file.write("x")
    return {}

Work(Path(sys.argv[1])).compute("index", "a", build)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    begun = time.monotonic()
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert time.monotonic() - begun < 60
    assert (tmp_path / "index" / "a" / "built").read_text() == "x"
