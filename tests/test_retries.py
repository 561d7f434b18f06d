"""Retry delays that servers request with a Retry-After header."""

import time
from email.utils import formatdate

import pytest

from kib.support.retries import asked_wait, wait_before_retry


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", None), ("soon", None)])
def test_seconds(header, seconds):
    """A nonnegative number is read as a retry delay in seconds, and an unreadable header requests no delay."""
    assert asked_wait(header) == seconds


def test_date():
    """A future date requests a delay until that date, and a past date requests no delay."""
    now = time.time()
    assert 3500 < asked_wait(formatdate(now + 3600, usegmt=True)) <= 3600
    assert asked_wait(formatdate(now - 3600, usegmt=True)) == 0.0


@pytest.mark.parametrize(
    ("retry", "asked", "seconds"),
    [(0, None, 0.5), (3, None, 4.0), (99, None, 30.0), (2, 0.0, 2.0), (2, 1.5, 2.0), (2, 7.0, 7.0), (9, 100.0, 100.0)],
)
def test_back_off(retry, asked, seconds):
    """The wait before a retry doubles up to a limit, and a server can only make the wait longer."""
    assert wait_before_retry(retry, asked, first=0.5, longest=30.0) == seconds
