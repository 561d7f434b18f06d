"""Full, locked or damaged SQLite files are reported with their path and the reason."""

import sqlite3
from contextlib import closing, contextmanager

import pytest

from kib.errors import InputError
from kib.records import Environment, Request
from kib.store import sqlite_file
from kib.store.model_answers import ModelAnswers
from kib.store.paid_answers import PaidAnswers
from kib.store.work import Work

REQUESTS = [Request("loglikelihood", (f"context {number}", " x" * 500)) for number in range(200)]


@contextmanager
def open_model_answers(folder):
    with ModelAnswers.open(Work(folder), "w") as answers:
        yield answers.file, lambda: answers.put(REQUESTS, [["x" * 100, True]] * len(REQUESTS), Environment("cpu"))


@contextmanager
def open_paid_answers(folder):
    with PaidAnswers.open(folder / "answers.sqlite") as answers:
        yield answers.file, lambda: answers.__setitem__("key", "x" * 100_000)


STORES = pytest.mark.parametrize("opened", [open_model_answers, open_paid_answers])


@STORES
def test_a_full_disk_is_reported_as_such(tmp_path, opened):
    """If the disk is full, the error names the file and the reason and does not suggest deleting the file."""
    with opened(tmp_path) as (file, write):
        file.connection.execute("PRAGMA max_page_count = 1")  # SQLite's own limit, as if the disk ended here
        with pytest.raises(InputError) as caught:
            write()
        assert str(caught.value).startswith(f"{file.path}: no space left to write (database or disk is full); free")
        assert "delete" not in str(caught.value)
        file.connection.execute("PRAGMA max_page_count = 100000")
        write()


@STORES
def test_a_locked_file_is_reported_as_such(tmp_path, opened, monkeypatch):
    """If a different process has locked a file, the error states this reason and does not suggest deleting it."""
    with opened(tmp_path) as (file, _):
        path = file.path
    monkeypatch.setattr(sqlite_file, "LOCK_TIMEOUT", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError) as caught, opened(tmp_path):
            pytest.fail("opened a locked file")
        assert str(caught.value).startswith(f"{path}: in use by a different process (database is locked)")
        assert "delete" not in str(caught.value)


@STORES
def test_a_file_locked_while_open_is_reported_as_such(tmp_path, opened, monkeypatch):
    """If a different process locks an open file, writing to the file raises an error that states the reason."""
    monkeypatch.setattr(sqlite_file, "LOCK_TIMEOUT", 0.05)
    with opened(tmp_path) as (file, write), closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match=r"answers\.sqlite: in use by a different process"):
            write()
        other.execute("ROLLBACK")
        write()


def test_a_damaged_file_of_model_answers_may_be_deleted(tmp_path):
    """If model answers are damaged, the error suggests deleting the file, because answers can be recomputed."""
    message = damaged(tmp_path / "answers" / "w" / "answers.sqlite", lambda: open_model_answers(tmp_path))
    assert "damaged (file is not a database); delete it" in message


def test_a_damaged_file_of_paid_answers_must_not_be_deleted(tmp_path):
    """If paid answers are damaged, the error warns against deleting the file."""
    message = damaged(tmp_path / "answers.sqlite", lambda: open_paid_answers(tmp_path))
    assert "damaged (file is not a database); do not delete it" in message


def damaged(path, opened):
    """Return the error message for a file that is not a database."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a database, but long enough to be taken for the header of one" * 20)
    with pytest.raises(InputError) as caught, opened():
        pytest.fail("opened a damaged file")
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_a_path_that_cannot_be_opened_is_named(tmp_path):
    """If the path is a folder, the error names the path and does not suggest deleting it."""
    (tmp_path / "answers.sqlite").mkdir()
    words = r"answers\.sqlite: cannot be read or written"
    with pytest.raises(InputError, match=words) as caught, open_paid_answers(tmp_path):
        pytest.fail("opened a folder")
    assert "delete" not in str(caught.value)


def test_a_closed_file_is_an_error_of_its_user(tmp_path):
    """Using paid answers after they are closed raises ProgrammingError without reporting a damaged file."""
    with PaidAnswers.open(tmp_path / "answers.sqlite") as answers:
        pass
    with pytest.raises(sqlite3.ProgrammingError):
        answers["key"] = "value"
