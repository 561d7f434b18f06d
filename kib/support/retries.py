"""Delays before retries, and the meaning of HTTP statuses, for plugins that call a server."""

import time
from email.utils import parsedate_to_datetime

__all__ = ["LONGEST_REQUESTED_WAIT", "UNFIT_STATUSES", "asked_wait", "may_succeed_later", "wait_before_retry"]

LONGEST_REQUESTED_WAIT = 600.0
"""The longest wait that a server may request, in seconds; if a server requests a longer wait, kib does not retry."""

RETRIED_STATUSES = frozenset({408, 409, 425, 429})
"""The HTTP statuses below 500 after which a retry may succeed."""

UNFIT_STATUSES = frozenset({400, 413, 422})
"""The HTTP statuses that may concern only one request, for example because its text is too long."""


def may_succeed_later(status: int) -> bool:
    """Return whether a request that a server answered with this HTTP status may succeed if it is sent again."""
    return status >= 500 or status in RETRIED_STATUSES


def asked_wait(header: str) -> float | None:
    """Return the delay in seconds from a Retry-After header (a number or a date, RFC 9110); None if it is invalid."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def wait_before_retry(retry: int, asked: float | None, first: float, longest: float) -> float:
    """Return the seconds to wait before a retry (0 for the first retry): the longer of the server's delay and kib's.

    kib's delay is `first`, doubles with each retry and is at most `longest`. A server that asks for no delay, or for a
    delay until a past date, would otherwise receive all retries at once.
    """
    return max(min(first * 2.0**retry, longest), asked or 0.0)
