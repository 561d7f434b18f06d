"""After a power failure at any moment, no finished step is lost, and the next run computes the same results.

The tests simulate a disk that keeps only flushed data. Two kinds of disk represent the extremes of file system
behaviour: the first keeps all names but loses the content of files that were not flushed, and the second also loses
all names in folders that were not flushed. SQLite flushes its files itself, so both disks keep the content of these
files.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from kib.progress import SilentProgress
from kib.run.loop import run
from kib.store.model_answers import ModelAnswers
from kib.store.paid_answers import PaidAnswers
from kib.store.work import Work

TRAINED = """
[writers.reword]
plugin = "toy"

[trainers.by-heart]
plugin = "toy"
text = { writer = "reword", count = 2 }

[methods.ft]
train = "by-heart"
"""

NEVER = 10**9


class PowerFailureError(BaseException):
    """An exception that stops a run without being caught as a plugin error."""


class Disk:
    """A simulated disk that records the flushed contents and names in a folder, and loses power at a given flush.

    Contents and names are recorded by inode. The recorded files stay open, so that no inode is used twice.
    """

    def __init__(self, root, fails_at):
        self.root = root
        self.fails_at = fails_at
        self.flushes = 0
        self.contents = {}
        self.names = {}
        self._open = []
        for path in [root, *root.rglob("*")]:
            self._record(path.stat().st_ino, path)

    def fsync(self, descriptor):
        """Record a flush, or fail; replaces `os.fsync`."""
        if self.flushes == self.fails_at:
            raise PowerFailureError
        self.flushes += 1
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._open.append(os.dup(descriptor))
        self._record(os.fstat(descriptor).st_ino, path)

    def _record(self, inode, path):
        if path.is_dir():
            self.names[inode] = {child.name: (child.stat().st_ino, child.is_dir()) for child in path.iterdir()}
        else:
            self.contents[inode] = path.read_bytes()

    def surviving(self, *, keeps_names):
        """Return the content of each file after the power failure, keyed by path; None denotes a folder."""
        found = {}
        if keeps_names:
            for path in self.root.rglob("*"):
                zeros = None if path.is_dir() else bytes(path.stat().st_size)
                found[path.relative_to(self.root)] = self.contents.get(path.stat().st_ino, zeros)
        else:
            self._follow(self.root.stat().st_ino, Path(), found)
        for path in found:
            if ".sqlite" in path.name and (self.root / path).is_file():
                found[path] = (self.root / path).read_bytes()
        return found

    def _follow(self, folder, path, found):
        for name, (inode, is_folder) in self.names.get(folder, {}).items():
            found[path / name] = None if is_folder else self.contents.get(inode, b"")
            if is_folder:
                self._follow(inode, path / name, found)

    def close(self):
        for descriptor in self._open:
            os.close(descriptor)


def fail(bench, fails_at, monkeypatch, *, keeps_names):
    """Run a benchmark until the power fails, and return the number of flushes and the surviving files."""
    disk = Disk(bench.folder, fails_at)
    plan = bench.plan()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", disk.fsync)
        with suppress(PowerFailureError):
            run(plan, bench.results, bench.work, SilentProgress())
        survivors = disk.surviving(keeps_names=keeps_names)
    disk.close()
    return disk.flushes, survivors


def restore(folder, survivors):
    """Replace the content of a folder with the files that survived a power failure."""
    shutil.rmtree(folder)
    folder.mkdir()
    for path, content in survivors.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            (folder / path).mkdir(exist_ok=True)
        else:
            (folder / path).write_bytes(content)


def write(bench):
    return bench.write_toy(model='trainable = true\nsays = "sliding window"\n', more=TRAINED)


def outcome(bench):
    return bench.files("times.json", "statistics.json")


@pytest.fixture(scope="module")
def whole(new_bench, tmp_path_factory, toys):
    """Return the output of an uninterrupted run and its number of flushes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(toys)
        bench = write(new_bench(tmp_path_factory.mktemp("whole")))
        flushes, _ = fail(bench, NEVER, patch, keeps_names=True)
    return outcome(bench), flushes


pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs the paths of open files (Linux)")

DISKS = pytest.mark.parametrize("keeps_names", [True, False], ids=["loses contents", "loses names and contents"])


@DISKS
def test_a_power_failure_after_a_run_loses_nothing(bench, whole, monkeypatch, keeps_names):
    """A power failure directly after a run loses no result, no stored step and no answer."""
    expected, _ = whole
    _, survivors = fail(write(bench), NEVER, monkeypatch, keeps_names=keeps_names)
    finished = list((bench.folder / "work").rglob("done.json"))
    restore(bench.folder, survivors)
    assert outcome(bench) == expected
    work = Work(bench.folder / "work")
    assert len(finished) == 8
    assert all(work.has(path.parent.parent.name, path.parent.name) for path in finished)
    shutil.rmtree(bench.results.folder)
    with monkeypatch.context() as patch:
        patch.setattr(ModelAnswers, "put", None)  # every answer is stored
        assert bench.run() == {}
    assert outcome(bench) == expected


def resume_after_failure(bench, fails_at, monkeypatch, keeps_names):
    _, survivors = fail(write(bench), fails_at, monkeypatch, keeps_names=keeps_names)
    restore(bench.folder, survivors)
    assert bench.run() == {}
    return outcome(bench)


@DISKS
@pytest.mark.parametrize("part", [0.2, 0.55, 0.9])
def test_a_run_resumes_after_a_power_failure(bench, whole, monkeypatch, part, keeps_names):
    """A run that was stopped by a power failure and resumed computes the same results as an uninterrupted run."""
    expected, flushes = whole
    assert resume_after_failure(bench, int(part * flushes), monkeypatch, keeps_names) == expected


@pytest.mark.nightly
@DISKS
def test_a_run_resumes_after_a_power_failure_at_any_moment(
    new_bench, toybox, tmp_path, whole, monkeypatch, keeps_names
):
    """A run that was stopped by a power failure before any flush computes the same results after resuming."""
    expected, flushes = whole
    for moment in range(flushes):
        folder = tmp_path / str(moment)
        folder.mkdir()
        assert resume_after_failure(new_bench(folder), moment, monkeypatch, keeps_names) == expected, moment
        shutil.rmtree(folder)


def test_answers_are_flushed_with_each_transaction(tmp_path):
    """SQLite flushes each transaction of model answers and paid answers, because `synchronous` has the value 2."""
    with ModelAnswers.open(Work(tmp_path), "w") as answers, PaidAnswers.open(tmp_path / "paid.sqlite") as paid:
        for file in (answers.file, paid.file):
            assert file.rows("PRAGMA synchronous") == [(2,)]
            assert file.rows("PRAGMA journal_mode") == [("wal",)]
