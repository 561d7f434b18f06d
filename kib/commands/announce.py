"""Announces, before a command contacts a server, the credential that the server may receive."""

import os
from collections.abc import Iterator

from kib.interfaces import SendingPlugin
from kib.plugins.resolve import Lock
from kib.progress import Progress

__all__ = ["announce"]


def announce(lock: Lock, progress: Progress) -> None:
    """Report the credentials from the environment that each table may send, with the recipients' addresses."""
    for line in dict.fromkeys(_lines(lock)):
        progress.say(line)


def _lines(lock: Lock) -> Iterator[str]:
    for (kind, name, _), locked in lock.tables.items():
        if isinstance(locked.plugin, SendingPlugin):
            for one in locked.plugin.recipients():
                if os.environ.get(one.credential):
                    yield f"{kind}.{name} may send the credential in {one.credential} to {one.address}"
