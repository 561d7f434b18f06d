"""Full, locked or damaged SQLite files are reported with their path and the reason."""

import os
import sqlite3
from contextlib import closing, contextmanager

import pytest

from kib.errors import InputError, StepError
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
        with pytest.raises(StepError) as caught:
            write()
        assert str(caught.value).startswith(f"{file.path}: no disk space left (database or disk is full); free")
        assert "delete" not in str(caught.value)
        file.connection.execute("PRAGMA max_page_count = 100000")
        write()


@STORES
def test_a_locked_file_is_reported_as_such(tmp_path, opened, monkeypatch):
    """If another process has locked a file, the error states this reason and does not suggest deleting the file."""
    with opened(tmp_path) as (file, _):
        path = file.path
    monkeypatch.setattr(sqlite_file, "LOCK_TIMEOUT", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError) as caught, opened(tmp_path):
            pytest.fail("opened a locked file")
        assert str(caught.value).startswith(f"{path}: the file is in use by a different process (database is locked)")
        assert "delete" not in str(caught.value)


@STORES
def test_a_file_locked_while_open_is_reported_as_such(tmp_path, opened, monkeypatch):
    """If another process locks an open file, writing to the file raises an error that states the reason."""
    monkeypatch.setattr(sqlite_file, "LOCK_TIMEOUT", 0.05)
    with opened(tmp_path) as (file, write), closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match=r"answers\.sqlite: the file is in use by a different process"):
            write()
        other.execute("ROLLBACK")
        write()


def test_a_damaged_file_of_paid_answers_must_not_be_deleted(tmp_path):
    """If paid answers are damaged, the error warns against deleting the file."""
    message = damaged(tmp_path / "answers.sqlite", lambda: open_paid_answers(tmp_path))
    assert "damaged (file is not a database); do not delete this file" in message


def test_damaged_paid_answers_are_moved(tmp_path):
    """If the row of a paid answer is modified, the answer counts as missing, and the row is kept as a damaged row."""
    path, said = tmp_path / "answers.sqlite", []
    with PaidAnswers.open(path) as answers:
        answers.update({f"question {number}": f"answer {number}" for number in range(5)})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE kept SET value = 'answer 9' WHERE key = 'question 2'")
        connection.execute("UPDATE kept SET value = CAST(x'61ff' AS TEXT) WHERE key = 'question 4'")
    with PaidAnswers.open(path, said.append) as answers:
        assert dict(answers) == {f"question {number}": f"answer {number}" for number in (0, 1, 3)}
        answers["question 2"] = "answer 2"
        kept = answers.file.rows("SELECT key, value FROM damaged")
        assert kept == [(b"question 2", b"answer 9"), (b"question 4", b"a\xff")]
    with PaidAnswers.open(path, said.append) as answers:
        assert len(answers) == 4
    [sentence] = said
    assert sentence.startswith(f"{path}: 2 paid answers are damaged; kib moves them to the table `damaged`")


def test_paid_answers_of_an_earlier_version_are_kept(tmp_path):
    """Paid answers that an earlier version stored without digests can still be read."""
    path, said = tmp_path / "answers.sqlite", []
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE kept (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        connection.executemany("INSERT INTO kept VALUES (?, ?)", [("a", "x"), ("b", "über 桥")])
    for _ in range(2):
        with PaidAnswers.open(path, said.append) as answers:
            assert dict(answers) == {"a": "x", "b": "über 桥"}
    assert said == []


def damaged(path, opened):
    """Return the error message for a file that is not a database."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a database, but long enough to be taken for the header of one" * 20)
    with pytest.raises(InputError) as caught, opened():
        pytest.fail("opened a damaged file")
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_a_path_that_cannot_be_opened_is_named(tmp_path):
    """If the path is a folder, the error names the path and does not suggest deleting the folder."""
    (tmp_path / "answers.sqlite").mkdir()
    words = r"answers\.sqlite: the file cannot be read or written"
    with pytest.raises(InputError, match=words) as caught, open_paid_answers(tmp_path):
        pytest.fail("opened a folder")
    assert "delete" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("put", ["mkdir", "mkfifo"])
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_pipe_or_a_folder_in_place_of_a_log_is_named(tmp_path, put, suffix):
    """If the log of a file is a pipe or a folder, the error names the log and suggests deleting the log."""
    with open_paid_answers(tmp_path) as (_, write):
        write()
    log = tmp_path / f"answers.sqlite{suffix}"
    getattr(os, put)(log)
    with pytest.raises(InputError, match="delete this path") as caught, open_paid_answers(tmp_path):
        pytest.fail("opened a file with an invalid log")
    assert str(caught.value).startswith(f"{log}: expected a file")


def test_a_closed_file_is_an_error_of_its_user(tmp_path):
    """Using paid answers after they are closed raises ProgrammingError without reporting a damaged file."""
    with PaidAnswers.open(tmp_path / "answers.sqlite") as answers:
        pass
    with pytest.raises(sqlite3.ProgrammingError):
        answers["key"] = "value"


PAGE = 4096
LEAF = 10  # the type of a leaf page of a table WITHOUT ROWID


def swap_pages(leaves):
    """Exchange two pages."""
    leaves[1][:], leaves[-1][:] = leaves[-1][:], leaves[1][:]


def reverse_rows(leaves):
    """Reverse the order of the rows in a page."""
    for page in leaves[::2]:
        end = 8 + 2 * int.from_bytes(page[3:5], "big")
        pairs = [page[at : at + 2] for at in range(8, end, 2)]
        page[8:end] = b"".join(reversed(pairs))


def repeat_page(leaves):
    """Replace a page with a copy of another page."""
    leaves[1][:] = leaves[-1]


@pytest.mark.parametrize("change", [swap_pages, reverse_rows, repeat_page])
def test_intact_rows_that_are_out_of_order_are_found_again(tmp_path, change):
    """Rows that a search by key would miss are put in order, with a sentence, and every remaining answer is intact."""
    values = {f"key {number:03}": f"{number} " * 40 for number in range(200)}
    path = tmp_path / "answers.sqlite"
    with PaidAnswers.open(path) as answers:
        answers.update(values)
    pages = [bytearray(path.read_bytes()[at : at + PAGE]) for at in range(0, path.stat().st_size, PAGE)]
    change([page for page in pages[1:] if page[0] == LEAF])
    path.write_bytes(b"".join(pages))
    said = []
    with PaidAnswers.open(path, said.append) as answers:
        kept = dict(answers)
        assert [answers[key] for key in answers] == list(kept.values())
    assert said == [
        f"{path}: the file is damaged (its rows are out of order); kib puts all paid answers in order again"
    ]
    assert kept.items() <= values.items()
    assert len(kept) == len(values) or (change is repeat_page and len(kept) > 100)
    with PaidAnswers.open(path, said.append) as answers:
        assert dict(answers) == kept
    assert len(said) == 1
