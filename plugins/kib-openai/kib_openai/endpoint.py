"""The way to a chat endpoint and back: one POST, repeated with patience, every failure one sentence, never the key."""

import json
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kib.errors import InputError
from kib.support.retries import asked_wait
from kib_openai.answers import Reply
from kib_openai.options import WriterOptions

if TYPE_CHECKING:
    import httpx2

__all__ = ["Endpoint", "key_in"]

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the first repetition, doubled each time up to the longest."""

MOST_PATIENCE = 600.0
"""Seconds that a server may ask to wait for."""

AGAIN = frozenset({408, 409, 425, 429})
"""Besides all from 500 on: what may be answered another time."""

SHOWN = 300
"""Characters of a server's own words in an error."""


class Endpoint:
    """Sends requests; safe for many threads. `stopped` set, nothing is repeated any more."""

    def __init__(self, options: WriterOptions) -> None:
        import httpx2

        self.options = options
        self.url = f"{options.base_url}/chat/completions"
        self.stopped = threading.Event()
        self._key = key_in(options.api_key_env)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx2.Limits(max_connections=options.concurrency, max_keepalive_connections=options.concurrency)
        self._client = httpx2.Client(headers=headers, timeout=options.timeout, limits=limits)

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def ask(self, body: Mapping[str, Any]) -> Reply:
        """The answer to a request. InputError at once where repeating cannot help, else after the last repetition."""
        import httpx2

        for turn in range(self.options.retries + 1):
            wait = None
            try:
                response = self._client.post(self.url, json=body)
            except httpx2.InvalidURL as error:
                raise InputError(f"{self.url}: this is no address: {error}") from error
            except httpx2.TimeoutException:
                reason = f"no answer within {self.options.timeout:g} seconds (`timeout`)"
            except httpx2.TransportError as error:
                reason = f"the connection failed ({type(error).__name__})"
            except httpx2.HTTPError as error:
                reason = f"the answer cannot be read ({type(error).__name__})"
            else:
                reply = _reply(response.text) if response.is_success else None
                if reply is not None:
                    return reply
                reason = self._refused(response)
                wait = asked_wait(response.headers.get("retry-after", ""))
            if turn == self.options.retries or self._wait(turn, wait):
                break
        tries = f" after {turn + 1} tries" if turn else ""
        raise InputError(f"{self.url}: {reason}{tries}; what was answered is kept, the same command goes on from there")

    def _wait(self, turn: int, asked: float | None) -> bool:
        """Wait before the next try, as long as the server asks for; true where there shall be none."""
        if asked is not None and asked > MOST_PATIENCE:
            return True
        return self.stopped.wait(min(FIRST_WAIT * 2**turn, LONGEST_WAIT) if asked is None else asked)

    def _refused(self, response: "httpx2.Response") -> str:
        """Why there is no answer; InputError where asking again cannot help."""
        status, said = response.status_code, self._said(response)
        env = self.options.api_key_env
        if status == 401:
            held = f"the key in {env}" if env else "a request without a key (`api_key_env` names the variable with one)"
            raise InputError(f"{self.url}: the server refuses {held} (401)")
        if status == 404:
            raise InputError(f"{self.url}: no such address, or no model {self.options.model!r} there (404){said}")
        if response.is_redirect:
            raise InputError(f"{self.url}: the server sends elsewhere ({status}); give `base_url` as it is")
        refuses = status < 500 and status not in AGAIN and not response.is_success
        if refuses or "insufficient_quota" in said:
            raise InputError(f"{self.url}: the server refuses the request ({status}){said}")
        return f"the server answers {status}{', but with no chat completion' if response.is_success else ''}{said}"

    def _said(self, response: "httpx2.Response") -> str:
        """What the server said about it, shortened and without the key."""
        text = response.text.strip()
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, dict):
            error = value.get("error", value)
            if isinstance(error, dict):
                text = " ".join(str(error[key]) for key in ("code", "message") if error.get(key)) or text
            else:
                text = str(error)
        if self._key:
            text = text.replace(self._key, "…")
        text = " ".join(text.split())
        return f": {text[:SHOWN]}{'…' if len(text) > SHOWN else ''}" if text else ""


def key_in(variable: str) -> str:
    """The key that an environment variable holds, "" where none is named; InputError where there is none in it."""
    if not variable:
        return ""
    key = os.environ.get(variable, "")
    if not key:
        raise InputError(
            f"the environment variable {variable} is not set; it holds the key to the endpoint "
            '(`api_key_env = ""` where none is needed)'
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"the environment variable {variable} holds a space, a line end or another sign no key has")
    return key


def _reply(text: str) -> Reply | None:
    """A chat completion's text and tokens; None where a body is none, such as a page of a proxy: nobody was paid."""
    try:
        value = json.loads(text)
        choice, usage = value["choices"][0], value.get("usage")
        message, finish = choice.get("message"), choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None
    content = message.get("content") if isinstance(message, dict) else None
    counts = [usage.get(key) if isinstance(usage, dict) else None for key in ("prompt_tokens", "completion_tokens")]
    known = [count if type(count) is int and count >= 0 else None for count in counts]
    return Reply(content if isinstance(content, str) else None, finish if isinstance(finish, str) else "", *known)
