"""lm-eval's model backends: their log output, their environment, their memory and their HTTP requests."""

import gc
import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from kib.errors import InputError
from kib.records import Environment
from kib.support.recipients import parse_address

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["environment", "free", "notes", "quiet", "restrict_requests"]


def quiet() -> None:
    """Hide the progress bars and log messages of lm-eval and its libraries; errors are still shown."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("lm_eval", "datasets", "transformers", "evaluate"):
        logging.getLogger(name).setLevel(logging.ERROR)


def notes(lm: "LM") -> list[str]:
    """Return a backend's remarks on its own computation as sentences, for example that it ran out of memory."""
    return list(getattr(lm, "notes", ()))


def environment(lm: "LM", distribution: str) -> Environment:
    """Return the device and package versions that can affect a score; `distribution` is the model plugin's package."""
    names = sorted({"lm-eval", "torch", "transformers", distribution})
    return Environment(str(getattr(lm, "device", None) or "unknown"), {n: v for n in names if (v := _version(n))})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def free(lm: "LM") -> None:
    """Release a model's memory before the next model is loaded."""
    release = getattr(lm, "release", None)
    if release:
        release()
    for name in ("_model", "pretrained"):  # HFLM keeps a given model under both names and has no method to drop it
        if hasattr(getattr(lm, name, None), "to"):
            setattr(lm, name, None)
    gc.collect()


def restrict_requests() -> None:
    """Make lm-eval's HTTP backends raise InputError for a redirect, and bypass the proxy for requests to this machine.

    lm-eval has no settings for redirects or proxies. Without this patch, its HTTP clients would follow a redirect and
    send prompts and some credential headers to the new server, and would send plain-HTTP requests for this machine
    through the proxy set in the environment.
    """
    backends: list[Any] = [sys.modules.get(f"lm_eval.models.{name}") for name in ("api_models", "gguf")]
    for backend in backends:
        if hasattr(backend, "requests"):
            backend.requests = SimpleNamespace(post=_post)
        if hasattr(backend, "ClientSession"):
            backend.ClientSession = _new_session


def _post(url: str, **arguments: Any) -> Any:
    """Send a POST request that follows no redirect, and uses no proxy if the URL is on this machine."""
    import requests

    direct: Any = {"http": None, "https": None} if parse_address(url).is_loopback else None
    response = requests.post(url, **arguments, allow_redirects=False, proxies=direct)  # noqa: S113 - in `arguments`
    if response.is_redirect:
        _refuse_redirect(url, response.status_code)
    return response


def _new_session(**arguments: Any) -> Any:
    """Return an `aiohttp.ClientSession` that rejects redirects; such a session uses no proxy by default."""
    from aiohttp import ClientSession, TraceConfig

    async def redirected(_session: Any, _context: Any, request: Any) -> None:
        _refuse_redirect(str(request.url), request.response.status)

    trace = TraceConfig()
    trace.on_request_redirect.append(redirected)
    return ClientSession(**arguments, trace_configs=[trace])


def _refuse_redirect(url: str, status: int) -> NoReturn:
    raise InputError(f"{url}: the server redirects to a different URL ({status}); set `base_url` to the final URL")
