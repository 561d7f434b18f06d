"""An HTTP client whose requests have a limit on the total time and on the size of the answer, and can be cancelled.

A time limit per read cannot stop a server that sends one byte at a time, and a thread that waits for a socket cannot be
interrupted. Therefore, all requests run on an event loop in a thread of its own.
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from kib.errors import InputError
from kib.support.recipients import parse_address

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx2

__all__ = ["HttpClient"]

MAX_ANSWER_MB = 32
"""The maximum size of an answer after decompression, in megabytes (2**20 bytes)."""

BODY_HEADERS = ("content-encoding", "content-length", "transfer-encoding")
"""The headers that describe the transferred body, and not the decompressed body."""

Value = TypeVar("Value")


class HttpClient:
    """A thread-safe client that sends JSON to one URL, and follows no redirects.

    `timeout` limits the total time of a request in seconds, from the connection to the end of the answer.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float, connections: int) -> None:
        import httpx2

        self.url, self.timeout = url, timeout
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=None,  # `_post` limits the total time
            limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            verify=_certificates(),
            trust_env=not parse_address(url).is_loopback,  # a proxy could read requests to this machine
        )
        self._free = asyncio.Semaphore(connections)
        self._requests: set[asyncio.Task[Any]] = set()
        self._cancelled = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kib-openai-http", daemon=True)
        self._thread.start()

    def post(self, body: Mapping[str, Any]) -> "httpx2.Response":
        """Send a request and return the complete response.

        Raises TimeoutError after `timeout` seconds, InputError if the answer is too large, `concurrent.futures`'
        CancelledError after `cancel`, and the errors of httpx2.
        """
        return self._run(self._post(body))

    def cancel(self) -> None:
        """Cancel all requests, including future requests."""
        self._run(self._cancel())

    def close(self) -> None:
        """Cancel all requests and close all connections; a closed client cannot be used or closed again."""
        self.cancel()
        self._run(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, steps: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(steps, self._loop).result()

    async def _post(self, body: Mapping[str, Any]) -> "httpx2.Response":
        import httpx2

        if self._cancelled:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine on the loop is always part of a task
        self._requests.add(task)
        try:
            async with (
                self._free,  # the time limit does not include the wait for a free connection
                asyncio.timeout(self.timeout),
                self._client.stream("POST", self.url, json=body) as response,
            ):
                content = await self._read(response)
        finally:
            self._requests.discard(task)
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in BODY_HEADERS]
        return httpx2.Response(response.status_code, headers=headers, content=content)

    async def _read(self, response: "httpx2.Response") -> bytes:
        """Return the decompressed body, which is checked piece by piece so that it cannot exhaust the memory."""
        content = bytearray()
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > MAX_ANSWER_MB * 2**20:
                raise InputError(
                    f"{self.url}: the server sent an answer larger than {MAX_ANSWER_MB} MB, which is the maximum size; "
                    "check that `base_url` is the URL of a chat endpoint"
                )
        return bytes(content)

    async def _cancel(self) -> None:
        self._cancelled = True
        for task in self._requests:
            task.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)


@cache
def _certificates() -> "SSLContext":
    """Load the trusted certificates once for all clients, because loading certificates takes 50 ms."""
    import httpx2

    return httpx2.create_ssl_context()
