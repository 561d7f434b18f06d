import re
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kib.errors import InputError
from kib_wikipedia.mediawiki_api import MediaWikiApi

BUSY = {"error": {"code": "maxlag", "info": "Waiting for a database server: 7 seconds lagged"}}
QUERY = {"prop": "revisions", "titles": "Bone"}

Connect = Callable[..., MediaWikiApi]


@pytest.fixture
def waits() -> list[float]:
    """Return a list that collects the clients' waiting times in seconds."""
    return []


@pytest.fixture
def connect(anatomy: Any, waits: list[float]) -> Iterator[Connect]:
    """Return a function that creates a client; the client records its waiting times instead of sleeping."""
    clients = []

    def create(url: str = "", **options: Any) -> MediaWikiApi:
        clients.append(
            MediaWikiApi(url or anatomy.address, "me@example.org", sleep=waits.append, **{"pause": 0, **options})
        )
        return clients[-1]

    yield create
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([(429, "7")], [7.0]),
        ([(503, ""), (500, ""), (502, "")], [1.0, 2.0, 4.0]),
        ([BUSY, "truncated", (429, "9")], [5.0, 2.0, 9.0]),
        ([(429, "0"), (503, "0"), (429, "Thu, 01 Jan 1970 00:00:00 GMT")], [1.0, 2.0, 4.0]),
    ],
)
def test_retries(
    anatomy: Any, connect: Connect, waits: list[float], failures: list[Any], expected: list[float]
) -> None:
    """After a busy or truncated response, the client waits for the longer of the requested delay and the backoff."""
    anatomy.failures[:] = failures
    [answer] = connect().query(QUERY)
    assert answer["pages"][0]["title"] == "Bone"
    assert waits == expected


@pytest.mark.parametrize(
    ("failure", "message", "attempts"),
    [
        ((503, ""), "the wiki answered with status 503 (7 attempts); the pages fetched so far are kept; ", 7),
        ((429, "86400"), "the wiki answered with status 429 (1 attempt); ", 1),
        ("truncated", "the connection failed: RemoteProtocolError (7 attempts); ", 7),
        (BUSY, "the wiki is busy (maxlag: Waiting for a database server: 7 seconds lagged) (7 attempts); ", 7),
        ((403, ""), "the wiki rejected the request with status 403; expected the address of a MediaWiki's api.php", 1),
        ({"error": {"code": "badvalue", "info": "No."}}, "the wiki rejected the request (badvalue: No.)", 1),
        ("<html>", "the wiki's answer is not valid JSON; expected the address of a MediaWiki's api.php", 1),
        ("[]", "the wiki's answer is not a JSON object; expected the address", 1),
    ],
)
def test_errors(anatomy: Any, connect: Connect, failure: Any, message: str, attempts: int) -> None:
    """If a request fails permanently or after all retries, the error states the address and the reason."""
    anatomy.failures[:] = [failure] * 20
    with pytest.raises(InputError, match=f"^{re.escape(f'{anatomy.address}: {message}')}"):
        list(connect().query(QUERY))
    assert len(anatomy.requests) == attempts


@pytest.mark.parametrize("listens", [True, False])
def test_silent_server(connect: Connect, listens: bool) -> None:
    """A server that refuses connections or does not respond before the timeout raises an error."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        api = connect(f"http://127.0.0.1:{silent.getsockname()[1]}/w/api.php", timeout=0.01)
        reason = r"the wiki sent no answer within 0\.01 seconds" if listens else "the connection failed: ConnectError"
        with pytest.raises(InputError, match=rf"api\.php: {reason} \(7 attempts\)"):
            list(api.query(QUERY))


def test_invalid_address(connect: Connect) -> None:
    """An invalid API URL raises an error."""
    with pytest.raises(InputError, match=r"^http://: invalid address: "):
        list(connect("http://").query(QUERY))


def test_repeated_continuation(anatomy: Any, connect: Connect) -> None:
    """An error is raised if the wiki sends the same continuation value twice."""
    anatomy.failures[:] = [{"continue": {"plcontinue": "1"}}] * 2
    with pytest.raises(InputError, match="the wiki sent the same continuation value twice"):
        list(connect().query(QUERY))


def test_politeness(anatomy: Any, connect: Connect) -> None:
    """Each request identifies the program and the contact, and sets `maxlag` so that a lagging wiki rejects it."""
    list(connect().query(QUERY))
    assert re.match(r"kib-wikipedia/\S+ \(me@example\.org\) httpx2/", anatomy.agents[0])
    assert anatomy.requests[0]["maxlag"] == "5"


def test_pause(connect: Connect, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """If less time than the pause has passed since the last request, the client waits for the remaining time."""
    times = iter([100.0, 112.0, 130.0, 190.0, 190.0])
    monkeypatch.setattr("kib_wikipedia.mediawiki_api.time", SimpleNamespace(monotonic=lambda: next(times)))
    api = connect(pause=30)
    for _ in range(3):
        list(api.query(QUERY))
    assert waits == [18.0]
