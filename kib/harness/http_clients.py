"""Restrictions of the HTTP clients in lm-eval's backends: no redirects, no `.netrc`, no proxy for this machine.

The time limit of a request covers the whole answer, because a limit per read cannot stop a server that sends one byte
at a time.

lm-eval has no settings for these restrictions. Without them, its HTTP clients would follow a redirect and send prompts
and some credential headers to the new server, would replace the API key with a login in `.netrc`, and would send
plain-HTTP requests for this machine through the proxy set in the environment.
"""

import sys
import time
from functools import cache, partial
from io import BytesIO
from types import ModuleType
from typing import Any, NoReturn

import requests
import urllib3

from kib.errors import InputError
from kib.support.recipients import parse_address

__all__ = ["restrict_requests"]

METHODS = ("delete", "get", "head", "options", "patch", "post", "put")
"""The functions of the package requests that send a request with the HTTP method of the same name."""


def restrict_requests() -> None:
    """Replace the HTTP clients in all loaded modules of lm-eval's backends with restricted clients.

    Call this function after a backend is imported and before the backend is created, because the creation already
    contacts the server. lm-eval loads its remote tokenizer from `lm_eval.utils`.
    """
    import lm_eval.utils  # noqa: F401 - loaded, so that the module is restricted

    session = getattr(sys.modules.get("aiohttp"), "ClientSession", None)
    for name, module in list(sys.modules.items()):
        if name == "lm_eval.utils" or name.startswith("lm_eval.models."):
            for variable, value in list(vars(module).items()):
                if value is requests:
                    setattr(module, variable, _restricted_package())
                elif session and value is session:
                    setattr(module, variable, _new_aiohttp_session)


class _Session(requests.Session):
    """A session that rejects redirects, reads no `.netrc`, and sends requests for this machine without a proxy.

    The argument `timeout`, if it is a number, limits the time until the answer is complete, in seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auth = _without_login  # any `auth` prevents the library from reading .netrc

    def send(self, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        """Send a request, without the proxies in the environment if the server is on this machine."""
        if parse_address(str(request.url)).is_loopback:
            settings["proxies"] = {}
        timeout = settings.get("timeout")
        if settings.get("stream") or not isinstance(timeout, int | float):
            return super().send(request, **settings)
        end = time.monotonic() + timeout
        response = super().send(request, **settings | {"stream": True})
        with response.raw as body:
            response.raw = BytesIO(_read_until(end, body))
        return response

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Raise InputError for a redirect; the library calls this method before it follows a redirect."""
        if resp.is_redirect:
            resp.close()
            _refuse_redirect(resp.url, resp.status_code)


def _read_until(end: float, body: urllib3.HTTPResponse) -> bytes:
    """Return the decompressed body of an answer; raise requests' Timeout if the body is not complete at the time `end`.

    Each read returns the bytes that have arrived, and waits only if there are none.
    """
    content = bytearray()
    try:
        while piece := body.read1(decode_content=True):
            content += piece
            if time.monotonic() > end:
                raise requests.Timeout
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.Timeout from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    if body.length_remaining:
        raise requests.ConnectionError("the connection was closed before the end of the answer")
    return bytes(content)


def _without_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _send(method: str, url: str, **settings: Any) -> requests.Response:
    with _Session() as session:
        return session.request(method, url, **settings)


@cache
def _restricted_package() -> ModuleType:
    """Return a copy of the package requests whose functions and sessions are restricted."""
    package = ModuleType(requests.__name__, requests.__doc__)
    vars(package).update(vars(requests))
    restricted = {"Session": _Session, "session": _Session, "request": _send}
    vars(package).update(restricted, **{method: partial(_send, method.upper()) for method in METHODS})
    return package


def _new_aiohttp_session(**settings: Any) -> Any:
    """Return an `aiohttp.ClientSession` that rejects redirects; such a session uses no proxy and no .netrc."""
    from aiohttp import ClientSession, TraceConfig

    async def redirected(_session: Any, _context: Any, request: Any) -> None:
        _refuse_redirect(str(request.url), request.response.status)

    trace = TraceConfig()
    trace.on_request_redirect.append(redirected)
    return ClientSession(**settings, trace_configs=[trace])


def _refuse_redirect(url: str, status: int) -> NoReturn:
    raise InputError(f"{url}: the server redirects to a different URL ({status}); set `base_url` to the final URL")
