"""Announces, before a command contacts a server, the text and the credential that the server may receive."""

import os
from collections.abc import Iterator

from kib.interfaces import SendingPlugin
from kib.plugins.resolve import Lock
from kib.progress import Progress

__all__ = ["announce"]


def announce(lock: Lock, progress: Progress) -> None:
    """Report the addresses to which each table may send text, and the credentials that the table may send with it."""
    for line in dict.fromkeys(_lines(lock)):
        progress.say(line)


def _lines(lock: Lock) -> Iterator[str]:
    for (kind, name, _), locked in lock.tables.items():
        if isinstance(locked.plugin, SendingPlugin):
            for one in locked.plugin.recipients():
                sent = f"the credential in {one.credential}" if os.environ.get(one.credential) else "text"
                yield f"{kind}.{name} may send {sent} to {one.address}"
