"""Fixes the date that chat templates print, so that a conversation is formatted in the same way every day."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, tzinfo
from typing import Any

__all__ = ["fixed_date"]


@contextmanager
def fixed_date(day: date) -> Iterator[None]:
    """Make the function `strftime_now` of chat templates return midnight of a day.

    transformers offers no argument for this purpose: it reads the clock in the module that renders templates.
    """
    from transformers.utils import chat_template_utils

    class FixedDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "FixedDatetime":
            return cls(day.year, day.month, day.day, tzinfo=tz)

    module: Any = chat_template_utils
    clock = module.datetime
    module.datetime = FixedDatetime
    try:
        yield
    finally:
        module.datetime = clock
