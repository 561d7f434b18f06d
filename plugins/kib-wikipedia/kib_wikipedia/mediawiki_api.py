"""A client for the MediaWiki API, which sends one request at a time, pauses between requests and retries failures."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from kib.errors import InputError
from kib.support.retries import asked_wait, wait_before_retry

if TYPE_CHECKING:
    import httpx2

__all__ = ["MediaWikiApi", "batches"]

Value = TypeVar("Value")

BATCH_SIZE = 50
"""Maximum number of titles or revisions in one request that is sent without special user rights."""

ATTEMPTS = 7
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""The first and the longest wait before a retry, in seconds; the wait doubles with each retry."""

LONGEST_RETRY_AFTER = 600.0
"""The longest wait in seconds that a server may request; the client gives up if the requested wait is longer."""

MAXLAG = 5
"""The replication lag in seconds above which the wiki rejects a request; Wikimedia recommends this value for bots."""

BUSY_ERRORS = frozenset({"maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError"})
"""Error codes in a response after which a retry may succeed."""

BUSY_STATUSES = frozenset({408, 425, 429})
"""HTTP statuses below 500 after which a retry may succeed; a retry may also succeed after any status from 500 on."""


class MediaWikiApi:
    """Sends queries to one wiki, with `contact` in the User-Agent header and `pause` seconds between requests."""

    def __init__(
        self, url: str, contact: str, pause: float, sleep: Callable[[float], None] = time.sleep, timeout: float = 60.0
    ) -> None:
        import httpx2

        self.url = url
        self.pause = pause
        self.sleep = sleep
        self.timeout = timeout
        self._last_request: float | None = None
        agent = f"kib-wikipedia/0.1 ({contact}) httpx2/{httpx2.__version__}"
        self._client = httpx2.Client(headers={"User-Agent": agent}, timeout=timeout)

    def close(self) -> None:
        """Close the HTTP connection to the wiki."""
        self._client.close()

    def query(self, parameters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the `query` part of each response until the wiki reports no further parts."""
        continuation: Mapping[str, str] = {}
        while True:
            answer = self._request({"action": "query", **parameters, **continuation})
            yield answer.get("query") or {}
            if not answer.get("continue"):
                return
            if answer["continue"] == continuation:
                raise InputError(
                    f"{self.url}: the wiki sent the same continuation value twice, so the query would never end"
                )
            continuation = {key: str(value) for key, value in answer["continue"].items()}

    def _request(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Return the response to one request; raise InputError after a permanent error or after the last attempt."""
        form = {**parameters, "format": "json", "formatversion": "2", "maxlag": str(MAXLAG)}
        for attempt in range(1, ATTEMPTS + 1):
            self._pause()
            answer, reason, wait = self._attempt(form)
            if answer is not None:
                return answer
            if attempt == ATTEMPTS or (wait is not None and wait > LONGEST_RETRY_AFTER):
                break
            self.sleep(wait_before_retry(attempt - 1, wait, FIRST_WAIT, LONGEST_WAIT))
        attempts = f"{attempt} attempt{'' if attempt == 1 else 's'}"
        raise InputError(
            f"{self.url}: {reason} ({attempts}); the pages fetched so far are kept; run the same command again to "
            "resume"
        )

    def _pause(self) -> None:
        if self._last_request is not None:
            rest = self._last_request + self.pause - time.monotonic()
            if rest > 0:
                self.sleep(rest)
        self._last_request = time.monotonic()

    def _attempt(self, form: Mapping[str, str]) -> tuple[dict[str, Any] | None, str, float | None]:
        """Send a request once; return the response or None, the reason for a retry, and the requested delay, if any."""
        import httpx2

        try:
            response = self._client.post(self.url, data=dict(form))
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise InputError(f"{self.url}: invalid address: {error}") from error
        except httpx2.TimeoutException:
            return None, f"the wiki sent no answer within {self.timeout:g} seconds", None
        except httpx2.HTTPError as error:
            return None, f"the connection failed: {type(error).__name__}", None
        status, wait = response.status_code, asked_wait(response.headers.get("retry-after", ""))
        if status in BUSY_STATUSES or status >= 500:
            return None, f"the wiki answered with status {status}", wait
        if not response.is_success:
            target = f", redirect to {response.headers.get('location')}" if response.is_redirect else ""
            raise self._wrong_address(f"the wiki rejected the request with status {status}{target}")
        return self._read_answer(response, wait)

    def _read_answer(
        self, response: "httpx2.Response", wait: float | None
    ) -> tuple[dict[str, Any] | None, str, float | None]:
        try:
            answer = response.json()
        except ValueError as error:
            raise self._wrong_address("the wiki's answer is not valid JSON") from error
        if not isinstance(answer, dict):
            raise self._wrong_address("the wiki's answer is not a JSON object")
        failure = answer.get("error")
        if not failure:
            return answer, "", None
        code, info = failure.get("code", "error"), failure.get("info", "")
        if code in BUSY_ERRORS:
            return None, f"the wiki is busy ({code}: {info})", wait
        raise InputError(f"{self.url}: the wiki rejected the request ({code}: {info})")

    def _wrong_address(self, problem: str) -> InputError:
        return InputError(f"{self.url}: {problem}; expected the address of a MediaWiki's api.php")


def batches(values: Sequence[Value]) -> Iterator[list[Value]]:
    """Split values into lists small enough for one request."""
    rest = iter(values)
    while batch := list(islice(rest, BATCH_SIZE)):
        yield batch
