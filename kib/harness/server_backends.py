"""lm-eval's backends that send requests to a server: small batches, chats, clear errors and test requests."""

import json
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from http import HTTPStatus
from itertools import groupby
from typing import TYPE_CHECKING, Any

import requests

from kib.errors import InputError, KibError, ServerUnavailableError
from kib.harness.requests import answer
from kib.records import Request
from kib.support.chat_messages import messages_of
from kib.support.phrases import shortened
from kib.support.recipients import parse_address
from kib.support.retries import may_succeed_later

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM

__all__ = ["CAPABILITIES", "Server", "prepare_server_backend", "send_test_requests", "why_unreachable"]

CAPABILITIES = {
    "loglikelihood": "log-probabilities of the prompt",
    "loglikelihood_rolling": "log-probabilities of whole texts",
    "generate_until": "generated text",
}
"""The kinds of requests, each with the answer that a server must be able to give."""

TEST_REQUESTS = (
    Request("loglikelihood", ("The capital of France is", " Paris")),
    Request("loglikelihood_rolling", ("The capital of France is Paris.",)),
    Request("generate_until", ("The capital of France is", {"until": ["\n", ".", ","], "max_gen_toks": 8})),
)
"""One test request of each kind; the requests contain no text of the user."""

NO_LOG_PROBABILITIES = (
    "the server returned no log-probabilities of the prompt; use a server that returns these log-probabilities, such "
    "as vLLM, or use tasks that generate text"
)

NO_TOKENIZER = (
    "lm-eval needs the model's tokenizer for log-probabilities; set `tokenizer_backend` and `tokenizer` in `args`, or "
    "use tasks that generate text"
)

CONNECTION_SECONDS = 10.0
"""The number of seconds after which a server without a connection counts as unreachable."""

SHOWN_CHARACTERS = 300
"""The number of characters of a server's message that an error message quotes."""


class ServerFailedError(ServerUnavailableError):
    """A server did not answer a request; `problem` is the message without the advice for a run."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(
            f"{problem}; all complete batches are stored; run the same command again to resume, or raise the backend's "
            "argument `max_retries` to wait longer for the server"
        )


@dataclass(frozen=True, slots=True)
class Server:
    """The server of a backend, with the credential that error messages must not contain ("" if there is none)."""

    address: str
    credential: str = ""

    def refuses(self, reason: str) -> InputError:
        """Return an error after which sending the request again cannot help."""
        return InputError(f"{self.address}: {self._shown(reason)}")

    def fails(self, reason: str) -> "ServerFailedError":
        """Return an error after which sending the request again may help."""
        return ServerFailedError(f"{self.address}: {self._shown(reason)}")

    def _shown(self, reason: str) -> str:
        line = " ".join((reason.replace(self.credential, "…") if self.credential else reason).split())
        return shortened(line, SHOWN_CHARACTERS)


def prepare_server_backend(lm: "LM", server: Server, size: int, *, chat: bool) -> None:
    """Change a backend so that each batch has at most `size` requests and every failure raises a KibError.

    The answers of a batch are stored before the next batch is sent, so `size` should be the number of requests that the
    backend sends at the same time. If `chat` is true, the backend sends each prompt as the messages of a chat.
    """
    if chat:
        _prepare_chats(lm)
    lm.plan = partial(_small_batches, size)
    for kind in CAPABILITIES:
        setattr(lm, kind, _explained(lm, kind, server, chat=chat))


def _prepare_chats(lm: "LM") -> None:
    """Make a backend send chats as text instead of tokens, and omit an empty list of stop texts, which servers reject.

    lm-eval 0.4.13 cannot send messages if the argument `tokenized_requests` is true.
    """
    if hasattr(lm, "tokenized_requests"):
        lm.tokenized_requests = False
    payload = getattr(lm, "_create_payload", None)
    if payload is None:
        return

    @wraps(payload)
    def without_empty_stop(*arguments: Any, **settings: Any) -> dict[str, Any]:
        fields = payload(*arguments, **settings)
        return {key: value for key, value in fields.items() if key != "stop" or value}

    setattr(lm, "_create_payload", without_empty_stop)  # noqa: B010 - lm-eval declares the method, not an attribute


def send_test_requests(lm: "LM", kinds: Collection[str]) -> dict[str, str]:
    """Send one test request of each kind, without retries; return the reason for each kind without a valid answer."""
    lm.max_retries = 1
    reasons: dict[str, str] = {}
    for request in TEST_REQUESTS:
        try:
            if request.kind in kinds:
                answer(lm, [request])
        except ServerFailedError as error:
            reasons[request.kind] = error.problem
        except KibError as error:
            reasons[request.kind] = str(error)
    return reasons


def why_unreachable(address: str) -> str:
    """Return a sentence if kib cannot connect to a server, or "" if it can, or if a proxy connects to the server."""
    if requests.utils.get_environ_proxies(address):
        return ""
    server = parse_address(address)
    try:
        with socket.create_connection((server.host, server.port), CONNECTION_SECONDS):
            return ""
    except OSError as error:
        return f"{address}: cannot connect to the server ({type(error).__name__})"


def _small_batches(size: int, instances: "Sequence[Instance]") -> list[list[int]]:
    """Return the indices of the requests in batches of one kind, in the given order."""
    kinds = [instance.request_type for instance in instances]
    runs = [list(numbers) for _, numbers in groupby(range(len(kinds)), key=kinds.__getitem__)]
    return [run[start : start + size] for run in runs for start in range(0, len(run), size)]


def _explained(lm: "LM", kind: str, server: Server, *, chat: bool) -> Callable[..., Any]:
    """Return a backend's method for one kind of requests, with errors that name the server and the reason."""
    ask: Callable[..., Any] = getattr(lm, kind)
    client_error = getattr(sys.modules.get("aiohttp"), "ClientError", requests.RequestException)

    @wraps(ask)
    def explained(instances: "Sequence[Instance]", **settings: Any) -> Any:
        try:
            values = ask(list(map(_as_chat, instances)) if chat else instances, **settings)
        except (KibError, NotImplementedError):
            raise
        except (requests.Timeout, TimeoutError) as error:
            limit = f"within {lm.timeout:g} seconds (argument `timeout`)" if hasattr(lm, "timeout") else "in time"
            raise server.fails(f"the server did not finish its answer {limit}") from error
        except (requests.RequestException, client_error, OSError, RuntimeError) as error:
            raise _failure(error, server) from error
        except (LookupError, TypeError, AttributeError, ValueError, AssertionError) as error:
            raise _unreadable(error, kind, server) from error
        if kind == "loglikelihood" and len(values) < len(instances):  # the backend gguf omits such answers
            raise server.refuses(NO_LOG_PROBABILITIES)
        return values

    return explained


def _as_chat(instance: "Instance") -> "Instance":
    """Return a request whose prompt is the messages of a chat, in the form that lm-eval's chat backends expect."""
    from lm_eval.models.api_models import JsonChatStr

    prompt, *others = instance.arguments
    if not isinstance(prompt, str):
        return instance
    return replace(instance, arguments=(JsonChatStr(json.dumps(messages_of(prompt), ensure_ascii=False)), *others))


def _failure(error: Exception, server: Server) -> KibError:
    """Return the error for a server that rejected a request or did not answer."""
    response = getattr(error, "response", None)
    status = getattr(error, "status", None) if response is None else response.status_code
    said = (getattr(error, "message", "") or str(error)) if response is None else response.text
    if isinstance(error, json.JSONDecodeError):
        said, status = error.doc, HTTPStatus.OK
    if status is not None and status < HTTPStatus.BAD_REQUEST:  # aiohttp also refuses answers of other media types
        return server.fails(f"the server's answer is not JSON: {said}")
    if status is None:
        is_answer = isinstance(error, ValueError | RuntimeError)
        return server.fails(said if is_answer else f"the connection failed ({type(error).__name__})")
    if not may_succeed_later(status):
        return server.refuses(f"the server rejected the request ({status}): {said}")
    return server.fails(f"the server returned status {status}: {said}")


def _unreadable(error: Exception, kind: str, server: Server) -> InputError:
    """Return the error for an answer that the backend cannot read."""
    if "Tokenizer is required" in str(error):
        return server.refuses(NO_TOKENIZER)
    if isinstance(error, AssertionError | ValueError) and str(error):  # a message of lm-eval, such as a missing key
        return server.refuses(f"the backend cannot send the request or read the answer: {error}")
    if kind != "generate_until" and error.args != ("choices",):
        return server.refuses(NO_LOG_PROBABILITIES)
    return server.refuses(f"the backend cannot read the server's answer ({type(error).__name__}: {error})")
