"""The way to a MediaWiki's API and back: one request at a time, with pauses, as often as it takes."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib.support.retries import asked_wait

if TYPE_CHECKING:
    import httpx2

__all__ = ["Api"]

TRIES = 7
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the first repetition, doubled each time up to the longest."""

MOST_PATIENCE = 600.0
"""Seconds that a server may ask to wait for."""

MAXLAG = 5
"""Seconds that the wiki's databases may lag behind before a program has to stand back, as Wikimedia asks."""

BUSY = frozenset({"maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError"})
"""Errors in an answer that another time may not have."""

AGAIN = frozenset({408, 425, 429})
"""Besides all from 500 on: what may be answered another time."""


class Api:
    """Asks a MediaWiki; `contact` goes into the User-Agent, `pause` seconds lie between two requests."""

    def __init__(
        self, url: str, contact: str, pause: float, sleep: Callable[[float], None] = time.sleep, timeout: float = 60.0
    ) -> None:
        import httpx2

        self.url = url
        self.pause = pause
        self.sleep = sleep
        self.timeout = timeout
        self._last: float | None = None
        agent = f"kib-wikipedia/0.1 ({contact}) httpx2/{httpx2.__version__}"
        self._client = httpx2.Client(headers={"User-Agent": agent}, timeout=timeout)

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def query(self, parameters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The `query` part of each answer to a question, until the wiki says that there is no more."""
        further: Mapping[str, str] = {}
        while True:
            answer = self._ask({"action": "query", **parameters, **further})
            yield answer.get("query") or {}
            if not answer.get("continue"):
                return
            if answer["continue"] == further:
                raise InputError(f"{self.url}: the wiki repeats itself and never comes to an end")
            further = {key: str(value) for key, value in answer["continue"].items()}

    def _ask(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        """One answer; InputError at once where repeating cannot help, else after the last repetition."""
        sent = {**parameters, "format": "json", "formatversion": "2", "maxlag": str(MAXLAG)}
        for turn in range(TRIES):
            self._hold()
            answer, reason, wait = self._try(sent)
            if answer is not None:
                return answer
            if turn + 1 == TRIES or (wait is not None and wait > MOST_PATIENCE):
                break
            self.sleep(min(FIRST_WAIT * 2**turn, LONGEST_WAIT) if wait is None else wait)
        raise InputError(f"{self.url}: {reason} after {turn + 1} tries; what was fetched is kept, run again to go on")

    def _hold(self) -> None:
        if self._last is not None:
            rest = self._last + self.pause - time.monotonic()
            if rest > 0:
                self.sleep(rest)
        self._last = time.monotonic()

    def _try(self, sent: Mapping[str, str]) -> tuple[dict[str, Any] | None, str, float | None]:
        """An answer, or why there is none and how long the wiki asks to wait."""
        import httpx2

        try:
            response = self._client.post(self.url, data=dict(sent))
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise InputError(f"{self.url}: this is no address: {error}") from error
        except httpx2.TimeoutException:
            return None, f"no answer within {self.timeout:g} seconds", None
        except httpx2.HTTPError as error:
            return None, f"the connection failed ({type(error).__name__})", None
        status, wait = response.status_code, asked_wait(response.headers.get("retry-after", ""))
        if status in AGAIN or status >= 500:
            return None, f"the wiki answers {status}", wait
        if not response.is_success:
            where = f" to {response.headers.get('location')}" if response.is_redirect else ""
            raise InputError(f"{self.url}: the wiki refuses the request ({status}{where}); is this its api.php?")
        return self._read(response, wait)

    def _read(self, response: "httpx2.Response", wait: float | None) -> tuple[dict[str, Any] | None, str, float | None]:
        try:
            answer = response.json()
        except ValueError as error:
            raise InputError(f"{self.url}: answers no JSON; is this the api.php of a MediaWiki?") from error
        if not isinstance(answer, dict):
            raise InputError(f"{self.url}: answers no JSON object; is this the api.php of a MediaWiki?")
        trouble = answer.get("error")
        if not trouble:
            return answer, "", None
        code, info = trouble.get("code", "error"), trouble.get("info", "")
        if code in BUSY:
            return None, f"the wiki is busy ({code}: {info})", wait
        raise InputError(f"{self.url}: the wiki refuses the request ({code}: {info})")
