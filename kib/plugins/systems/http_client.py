"""Sends a question in an HTTP request and reads the fields of the answer; errors never contain the credential.

Connections are kept open and shared by all threads. The client follows no redirect, reads no `.netrc` and keeps no
cookies, so that no answer depends on earlier questions.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode
from urllib.request import getproxies, proxy_bypass

from kib.errors import InputError, NoAnswerError
from kib.plugins.systems.http_options import PATHS, HttpOptions
from kib.plugins.systems.reported_fields import answer_of_fields, describe_value
from kib.records import ServedAnswer
from kib.support.phrases import join, shortened
from kib.support.recipients import parse_address, require_allowed
from kib.support.retries import (
    LONGEST_REQUESTED_WAIT,
    UNFIT_STATUSES,
    asked_wait,
    may_succeed_later,
    wait_before_retry,
)
from kib.support.templates import TemplateFailedError, render_template

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = ["LoadedHttpSystem"]

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""The first and the longest wait before a retry, in seconds; the wait doubles with each retry."""

MAX_ANSWER_MB = 32
"""The maximum size of a response after decompression, in megabytes (2**20 bytes)."""

SHOWN_CHARACTERS = 200
"""The number of characters of a response that an error message quotes."""


class _RetryableError(Exception):
    """An attempt that failed for a reason that may pass, with the wait in seconds that the server requests."""

    def __init__(self, reason: str, *, wait: float | None = None, unavailable: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.unavailable = unavailable


class LoadedHttpSystem:
    """A system that is ready to answer, with its open connections."""

    def __init__(self, options: HttpOptions, key: str) -> None:
        from jmespath import compile as compile_path

        require_allowed(options.recipients())
        self.options = options
        self._key = key
        self._pool = _pool(options)
        self._paths = {name: compile_path(path) for name in PATHS if (path := getattr(options, name)) is not None}
        self._headers = {"Accept": "application/json", **options.headers}
        if key:
            self._headers[options.api_key_header] = f"{options.api_key_scheme} {key}".strip()

    @property
    def concurrency(self) -> int:
        """The number of concurrent requests."""
        return self.options.concurrency

    def release(self) -> None:
        """Close all open connections."""
        self._pool.clear()

    def answer(self, question: str, question_id: str) -> ServedAnswer:
        """Send a question, with retries, and return the answer.

        Raises NoAnswerError if this question has no valid answer, and InputError if retrying cannot help any question.
        """
        body = self._body(question, question_id)
        retry = 0
        while True:
            try:
                return self._attempt(body)
            except _RetryableError as error:
                patient = error.wait is None or error.wait <= LONGEST_REQUESTED_WAIT
                if retry == self.options.retries or not patient:
                    tries = f" after {retry + 1} attempts" if retry else ""
                    raise NoAnswerError(f"{self.options.url}: {error}{tries}", unavailable=error.unavailable) from error
                time.sleep(wait_before_retry(retry, error.wait, FIRST_WAIT, LONGEST_WAIT))
                retry += 1

    def _body(self, question: str, question_id: str) -> Any:
        """Return the value of `request` with every template rendered; the question is only ever a part of a text."""
        values = {"question": question, "id": question_id}

        def filled(value: Any) -> Any:
            if isinstance(value, str):
                return render_template(value, values, keep_trailing_newline=True)
            if isinstance(value, Mapping):
                return {name: filled(one) for name, one in value.items()}
            return [filled(one) for one in value] if isinstance(value, list) else value

        try:
            return filled(self.options.request)
        except TemplateFailedError as error:
            raise InputError(f"`request`: {error.described()}") from error

    def _attempt(self, body: Any) -> ServedAnswer:
        """Send one request and return the answer. Raises _RetryableError if the attempt failed."""
        import urllib3

        begun = time.perf_counter()
        try:
            response, content = self._send(body)
        except urllib3.exceptions.NewConnectionError as error:  # urllib3 derives this error from its TimeoutError
            raise _RetryableError(f"the connection failed ({type(error).__name__})", unavailable=True) from error
        except (TimeoutError, urllib3.exceptions.TimeoutError):
            limit = f"{self.options.timeout:g} seconds (`timeout`)"
            raise _RetryableError(f"the system did not finish its answer within {limit}", unavailable=True) from None
        except urllib3.exceptions.HTTPError as error:
            reason = f"the connection failed ({type(error).__name__})"
            raise _RetryableError(reason, unavailable=True) from error
        seconds = time.perf_counter() - begun
        if response.status != 200:
            self._refuse(response, content)
        served = answer_of_fields(self._fields(response, content), self._where)
        return served if served.seconds is not None else replace(served, seconds=seconds)

    def _send(self, body: Any) -> "tuple[BaseHTTPResponse, bytes]":
        """Send one request, and return the response with its complete content."""
        from urllib3 import Timeout

        url, data, headers = self.options.url, None, dict(self._headers)
        if self.options.method == "GET":
            url = f"{url}?{urlencode(body)}"
        else:
            data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
            headers["Content-Type"] = "application/json"
        end = time.monotonic() + self.options.timeout
        response = self._pool.request(
            self.options.method,
            url,
            body=data,
            headers=headers,
            redirect=False,
            retries=False,
            timeout=Timeout(connect=self.options.timeout, read=self.options.timeout),
            preload_content=False,
        )
        try:
            return response, self._read(response, end)
        except BaseException:
            response.close()
            raise
        finally:
            response.release_conn()

    def _read(self, response: "BaseHTTPResponse", end: float) -> bytes:
        """Return the decompressed content, read piece by piece within the limits on time and size."""
        from urllib3.exceptions import IncompleteRead

        content = bytearray()
        while piece := response.read1(decode_content=True):
            content += piece
            if len(content) > MAX_ANSWER_MB * 2**20:
                raise InputError(
                    f"{self.options.url}: the system sent a response larger than {MAX_ANSWER_MB} MB, which is the "
                    "maximum size"
                )
            if time.monotonic() > end:
                raise TimeoutError
        if response.length_remaining:
            raise IncompleteRead(len(content), response.length_remaining)
        return bytes(content)

    def _refuse(self, response: "BaseHTTPResponse", content: bytes) -> NoReturn:
        """Raise the error for a response with a status other than 200."""
        status, url, variable = response.status, self.options.url, self.options.api_key_env
        if 300 <= status < 400:
            raise InputError(f"{url}: the system redirects to a different URL ({status}); set `url` to the final URL")
        if status in (401, 403):
            remedy = f"the credential in {variable} was rejected" if variable else "set `api_key_env` to its variable"
            raise InputError(f"{url}: the system requires a valid credential ({status}); {remedy}")
        reason = f"the system returned status {status}{self._quoted(content)}"
        if may_succeed_later(status):
            wait = asked_wait(response.headers.get("retry-after", ""))
            raise _RetryableError(reason, wait=wait, unavailable=status == 429 or status >= 500)
        if status in UNFIT_STATUSES or status < 300:
            raise NoAnswerError(f"{url}: {reason}")
        raise InputError(f"{url}: {reason}")

    def _fields(self, response: "BaseHTTPResponse", content: bytes) -> dict[str, Any]:
        """Return the value of each path in a response. Raises NoAnswerError if the response is not JSON."""
        from jmespath.exceptions import JMESPathError

        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            kind = response.headers.get("content-type", "").partition(";")[0].strip()
            got = f"{kind or 'a different format'}{self._quoted(content)}" if content.strip() else "an empty response"
            raise NoAnswerError(f"{self.options.url}: expected JSON, got {got}") from None
        fields = {}
        for name, path in self._paths.items():
            try:
                fields[name] = path.search(value)
            except (JMESPathError, RecursionError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise NoAnswerError(f"{self._where(name)}: {shortened(reason, SHOWN_CHARACTERS)}") from error
        if fields["answer"] is None:
            raise NoAnswerError(f"{self._where('answer')}: {_why_absent(value, self.options.answer)}")
        return fields

    def _where(self, name: str) -> str:
        """Return the place of a field in words."""
        return f"{self.options.url}: `{name}` ({getattr(self.options, name)})"

    def _quoted(self, content: bytes) -> str:
        """Return a colon and the start of a response without the credential, or "" for an empty response."""
        text = content[: 4 * SHOWN_CHARACTERS + len(self._key)].decode("utf-8", "replace")
        text = " ".join((text.replace(self._key, "…") if self._key else text).split())
        return f": {shortened(text, SHOWN_CHARACTERS)}" if text else ""


def _why_absent(value: Any, path: str) -> str:
    """Return the reason why the value of a response has nothing at a path."""
    if not isinstance(value, dict):
        return f"the response is {'null' if value is None else describe_value(value)}, not an object with such a value"
    if path in value:
        return "expected text, but the value is null"
    keys = join([repr(shortened(key)) for key in list(value)[:10]]) or "none"
    return f"the response contains no such value; its keys: {keys}"


def _pool(options: HttpOptions) -> "PoolManager":
    """Return a pool of connections, which uses the proxy in the environment except for this machine."""
    from urllib3 import PoolManager, ProxyManager

    address = parse_address(options.url)
    proxy = getproxies().get(address.scheme)
    if proxy and not address.is_loopback and not proxy_bypass(address.host):
        return ProxyManager(proxy, maxsize=options.concurrency)
    return PoolManager(maxsize=options.concurrency)
