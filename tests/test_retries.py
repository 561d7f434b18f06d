"""Waiting times that servers request with a Retry-After header."""

import time
from email.utils import formatdate

import pytest

from kib.support.retries import asked_wait


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", None), ("soon", None)])
def test_seconds(header, seconds):
    """Seconds are read as a number of at least 0, and an unreadable header requests no wait."""
    assert asked_wait(header) == seconds


def test_date():
    """A date requests a wait until that date, and a past date requests no wait."""
    now = time.time()
    assert 3500 < asked_wait(formatdate(now + 3600, usegmt=True)) <= 3600
    assert asked_wait(formatdate(now - 3600, usegmt=True)) == 0.0
