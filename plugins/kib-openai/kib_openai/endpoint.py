"""Requests to a chat endpoint, with retries; failures raise a one-sentence KibError without the API key."""

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kib.errors import InputError, KibError, ServerUnavailableError
from kib.support.credentials import read_credential
from kib.support.recipients import require_allowed
from kib.support.retries import (
    LONGEST_REQUESTED_WAIT,
    UNFIT_STATUSES,
    asked_wait,
    may_succeed_later,
    wait_before_retry,
)
from kib_openai.completion import Completion, parse_completion
from kib_openai.http_client import HttpClient
from kib_openai.options import EndpointOptions

if TYPE_CHECKING:
    import httpx2

__all__ = ["RESUME", "Endpoint", "RejectedRequestError", "RequestFailedError", "UnansweredRequestError", "api_key"]

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""The first and the longest wait before a retry, in seconds; the wait doubles with each retry."""

SHOWN_CHARACTERS = 300
"""The number of characters of a server's message that an error message quotes."""

RESUME = "all answers received so far are stored; run the same command again to resume"
"""The advice in the error message for a server that does not answer."""


class RequestFailedError(InputError):
    """One request failed for a reason that may concern only its passage."""


class RejectedRequestError(RequestFailedError):
    """The server rejected one request."""


class UnansweredRequestError(RequestFailedError):
    """The server accepted the connection for one request, but every attempt ended without an answer.

    The caller raises ServerUnavailableError if the run cannot continue without the answer.
    """


class Endpoint:
    """A thread-safe HTTP client for a chat endpoint. Once `stopped` is set, failed requests are no longer retried."""

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options
        self.url = options.chat_url
        self.stopped = threading.Event()
        require_allowed(options.recipients())
        self._key = api_key(options.api_key_env)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = HttpClient(self.url, headers, options.timeout, options.concurrency)

    def cancel(self) -> None:
        """Cancel all requests in flight; the threads that wait for an answer receive a CancelledError."""
        self._client.cancel()

    def close(self) -> None:
        """Close all HTTP connections to the endpoint."""
        self._client.close()

    def without_key(self, text: str) -> str:
        """Return a text that a server may have sent, with the API key replaced by an ellipsis."""
        return text.replace(self._key, "…") if self._key else text

    def send(self, body: Mapping[str, Any]) -> Completion:
        """Send a request and return the completion.

        Raise InputError immediately if retrying cannot help. After the last retry, raise UnansweredRequestError, or
        ServerUnavailableError if the server cannot be reached or limits the rate of requests (429).
        """
        import httpx2

        for retry in range(self.options.retries + 1):
            requested_wait, unavailable = None, False
            try:
                response = self._client.post(body)
            except httpx2.InvalidURL as error:
                raise InputError(f"{self.url}: invalid URL: {error}") from error
            except (TimeoutError, httpx2.TimeoutException):
                reason = f"the server did not finish its answer within {self.options.timeout:g} seconds (`timeout`)"
            except httpx2.TransportError as error:
                reason = f"the connection failed ({type(error).__name__})"
                unavailable = not isinstance(error, httpx2.ReadError | httpx2.WriteError | httpx2.RemoteProtocolError)
            except httpx2.HTTPError as error:
                reason = f"the response cannot be read ({type(error).__name__})"
            else:
                completion = parse_completion(response.text) if response.is_success else None
                if completion is not None:
                    return completion
                reason = self._retryable_failure(response)
                requested_wait = asked_wait(response.headers.get("retry-after", ""))
                unavailable = response.status_code == 429
            if retry == self.options.retries or not self._wait(retry, requested_wait):
                break
        tries = f" after {retry + 1} attempts" if retry else ""
        if unavailable:
            raise ServerUnavailableError(f"{self.url}: {reason}{tries}; {RESUME}")
        raise UnansweredRequestError(f"{self.url}: {reason}{tries}")

    def send_test(self, body: Mapping[str, Any]) -> Completion:
        """Send a request of `kib check` and return the completion.

        Raises ServerUnavailableError if the endpoint does not answer, and InputError if it cannot be used.
        """
        try:
            return self.send(body)
        except KibError as error:
            said = self.without_key(str(error)).removesuffix(f"; {RESUME}")
            down = isinstance(error, ServerUnavailableError | UnansweredRequestError)
            raise (ServerUnavailableError if down else InputError)(said) from error

    def _wait(self, retry: int, requested: float | None) -> bool:
        """Wait before the next attempt, as long as the server requests; return False if no attempt should follow."""
        if requested is not None and requested > LONGEST_REQUESTED_WAIT:
            return False
        return not self.stopped.wait(wait_before_retry(retry, requested, FIRST_WAIT, LONGEST_WAIT))

    def _retryable_failure(self, response: "httpx2.Response") -> str:
        """Return the reason why a response has no completion; raise InputError if retrying cannot help."""
        status, message = response.status_code, self._message(response)
        variable = self.options.api_key_env
        if status == 401 and variable:
            raise InputError(f"{self.url}: the server rejected the API key in {variable} (401)")
        if status == 401:
            raise InputError(
                f"{self.url}: the server requires an API key (401); set `api_key_env` to the environment variable that "
                "contains the key"
            )
        if status == 404:
            raise InputError(f"{self.url}: this URL or the model {self.options.model!r} does not exist (404){message}")
        if response.is_redirect:
            raise InputError(
                f"{self.url}: the server redirects to a different URL ({status}); set `base_url` to the final URL"
            )
        rejected = not may_succeed_later(status) and not response.is_success
        if rejected or "insufficient_quota" in message:
            kind = RejectedRequestError if status in UNFIT_STATUSES else InputError
            raise kind(f"{self.url}: the server rejected the request ({status}){message}")
        flaw = " without a chat completion" if response.is_success else ""
        return f"the server returned status {status}{flaw}{message}"

    def _message(self, response: "httpx2.Response") -> str:
        """Return a colon and the server's message, shortened and without the API key, or "" for an empty response."""
        text = response.text.strip()
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, dict):
            error = value.get("error", value)
            if isinstance(error, dict):
                parts = [error[key] for key in ("code", "message") if error.get(key)]
                text = " ".join(str(part) for part in parts if part != response.status_code) or text
            else:
                text = str(error)
        text = " ".join(self.without_key(text).split())
        return f": {text[:SHOWN_CHARACTERS]}{'…' if len(text) > SHOWN_CHARACTERS else ''}" if text else ""


def api_key(variable: str) -> str:
    """Return the API key in an environment variable, or "" for no variable; raise InputError if the key is invalid."""
    return read_credential(variable, "the endpoint's API key")
