"""How long a server asks its callers to wait."""

import time
from email.utils import formatdate

import pytest

from kib.support.retries import asked_wait


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("", None), ("soon", None)])
def test_seconds(header, seconds):
    """A number is taken as it is, at least 0, and what is neither number nor date asks for nothing."""
    assert asked_wait(header) == seconds


def test_date():
    """A date asks to wait until then, one that is past for no time."""
    now = time.time()
    assert 3500 < asked_wait(formatdate(now + 3600, usegmt=True)) <= 3600
    assert asked_wait(formatdate(now - 3600, usegmt=True)) == 0.0
