"""If the disk is full, a run names the file and the remedy, keeps everything measured so far, and can be resumed."""

import re
import subprocess

import pytest

from kib.run.failures import explain_error
from kib.support.disk_errors import explain_os_error, is_disk_full

IN_A_SMALL_FOLDER = """
mount -t tmpfs -o size={size} none {folder} || exit 77
"$@"; first=$?
mount -o remount,size=64m {folder}
"$@" -q || exit 78
find results work -name '.*.????????' -printf 'left: %p\\n' 1>&2
exit $first
"""
"""Runs a command twice in a new file system of limited size, which the second run finds enlarged."""


@pytest.mark.parametrize("size", [pytest.param(100, marks=pytest.mark.slow), 20_000])
def test_a_run_on_a_full_disk_names_file_and_remedy(bench, size):
    """If a file cannot grow, a run exits with code 3 and names the file; the next run finishes without leftovers."""
    bench.write_toy()
    ran = bench.kib_on_a_full_disk(size, "run", bench.spec)
    assert ran.returncode == 3
    assert "Traceback" not in ran.stderr
    name = "answers.sqlite: the file cannot be read or written" if size == 20_000 else "plan.json: cannot be written"
    assert name in ran.stderr
    assert ("free space on the disk of" in ran.stderr) is (size != 20_000)
    assert bench.kib("run", bench.spec).returncode == 0
    left = [path for path in bench.folder.rglob(".*.????????") if path.suffix != ".lock"]
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "size", "words"),
    [
        ("results", "60k", r"cannot be written \(No space left on device\); free space on the disk of"),
        ("work", "140k", r"answers\.sqlite: .* space"),
    ],
)
def test_a_run_on_a_small_disk_shows_its_table(bench, folder, size, words):
    """A run that fills its disk exits with code 3 after printing the table; the same command resumes the run."""
    bench.write_toy()
    (bench.folder / folder).mkdir()
    script = IN_A_SMALL_FOLDER.format(size=size, folder=folder)
    ran = subprocess.run(
        ["/usr/bin/env", "unshare", "-rm", "sh", "-c", script, "sh", *bench.command("run", bench.spec)],
        cwd=bench.folder,
        env=bench.environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if ran.returncode in (1, 77, 127) and "unshare" in ran.stderr + "unshare" * (ran.returncode == 77):
        pytest.skip(f"this system does not let a user mount a file system: {ran.stderr}")
    assert ran.returncode == 3, ran.stderr
    assert re.search(words, ran.stderr)
    assert "Traceback" not in ran.stderr
    assert ran.stdout.startswith("toy · ")
    assert "missing" in ran.stdout or "failed" in ran.stdout
    assert "left: " not in ran.stderr


def test_an_error_is_explained_without_its_traceback_file(bench):
    """If a traceback cannot be stored, the error message is still returned and states why the traceback is missing."""
    bench.work.folder.mkdir()
    (bench.work.folder / "errors").write_text("in the way")
    said = explain_error(bench.work, "training", ZeroDivisionError("no data"))
    assert said.startswith("ZeroDivisionError: no data (the traceback could not be stored: ")
    assert "errors: File exists" in said


def test_the_errors_of_libraries_about_a_full_disk_are_recognized(bench):
    """A library's own disk-full error, and any other error caused by a full disk, is reported as a full disk."""
    error = RuntimeError("I/O error: No space left on device (os error 28)")
    assert "free space on the disk" in explain_error(bench.work, "training", error)
    assert not (bench.work.folder / "errors").exists()
    outer = RuntimeError("the file could not be saved")
    outer.__cause__ = OSError(28, "No space left on device", "weights.bin")
    assert explain_error(bench.work, "training", outer).startswith("weights.bin: cannot be written")
    assert is_disk_full(OSError("3171 requested and 2016 written"))  # NumPy
    assert not is_disk_full(FileNotFoundError(2, "No such file or directory"))
    assert explain_os_error(FileNotFoundError(2, "No such file", "a")) == "a: No such file"


def test_temporary_files_of_a_baseline_are_deleted(bench):
    """Storing a baseline deletes the temporary files of this baseline and leaves all other files in the folder."""
    bench.write_toy()
    assert bench.run() == {}
    names = [".base.json.0123abcd", ".other.json.0123abcd", ".base.json.backup", "base.json.0123abcd"]
    for name in names:
        (bench.folder / name).write_text("half")
    assert bench.call("leaderboard", "--update-baseline", "base.json").exit_code == 0
    assert [name for name in names if not (bench.folder / name).exists()] == names[:1]
