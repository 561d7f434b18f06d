"""How long a server asks its callers to wait; for plugins that ask one."""

import time
from email.utils import parsedate_to_datetime

__all__ = ["asked_wait"]


def asked_wait(header: str) -> float | None:
    """Seconds that the value of a header Retry-After asks for: a number or a date (RFC 9110); None if neither."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
