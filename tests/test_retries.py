"""Retry delays that servers request with a Retry-After header."""

import time
from email.utils import formatdate

import pytest

from kib.support.retries import asked_wait


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", None), ("soon", None)])
def test_seconds(header, seconds):
    """A nonnegative number is read as a retry delay in seconds, and an unreadable header requests no delay."""
    assert asked_wait(header) == seconds


def test_date():
    """A future date requests a delay until that date, and a past date requests no delay."""
    now = time.time()
    assert 3500 < asked_wait(formatdate(now + 3600, usegmt=True)) <= 3600
    assert asked_wait(formatdate(now - 3600, usegmt=True)) == 0.0
