"""Parses the retry delay requested by a server, for plugins that call a server."""

import time
from email.utils import parsedate_to_datetime

__all__ = ["asked_wait"]


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
