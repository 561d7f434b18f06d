"""The way to a server and back: every request is repeated with patience, every failure is one sentence, no secret."""

import logging
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from kib.errors import InputError
from kib_elasticsearch.access import Access, find_access
from kib_elasticsearch.options import ElasticsearchOptions

if TYPE_CHECKING:
    from elasticsearch import ApiError, Elasticsearch, TransportError

__all__ = ["AGAIN", "Patience", "Server", "answered", "says"]

LOGGER = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds before the first repetition, doubled each time up to the longest."""

AGAIN = frozenset({408, 429, 502, 503, 504})
"""What a server that is busy, starting or losing a node answers."""

SHOWN = 300
"""Characters of a server's own words in an error."""

MAJORS = (8, 9)

UPGRADE = "`pip install 'elasticsearch>=8.19,<9'` gives a client that talks to servers 8 and 9"

Given = TypeVar("Given")


def says(error: Mapping[str, Any] | str) -> str:
    """What an error of the server says, causes included, without its structure."""
    if isinstance(error, str):
        return error
    causes = [error, *(error.get("root_cause") or ()), error.get("caused_by") or {}]
    keys = ("reason", "additional_unsuccessful_credentials")
    # Some end as a list would go on.
    reasons = [str(cause[key]).rstrip("; ") for cause in causes for key in keys if cause.get(key)]
    return "; ".join(dict.fromkeys(reasons)) or str(error.get("type", error))


def answered(error: "ApiError") -> Mapping[str, Any] | str:
    """What a server answered instead of doing what it was asked for."""
    body: Any = error.body
    message = str(error.message or "nothing said")
    given: Mapping[str, Any] | str = body.get("error", message) if isinstance(body, dict) else message
    return given


class Patience:
    """How long something may fail: waits between repetitions, and tells when it is at its end."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.begun = time.monotonic()
        self.turn = 0

    def wait(self, reason: str) -> None:
        """Wait a little longer than the last time; InputError with `reason` where that would be too long."""
        seconds = min(FIRST_WAIT * 2**self.turn, LONGEST_WAIT)
        most = self.server.options.patience
        if self.server.stopped.is_set() or time.monotonic() + seconds > self.begun + most:
            kept = "; what was indexed is kept, the same command goes on from there" if self.server.heard else ""
            raise InputError(f"{self.server.place}: {reason}, for {most:g} seconds (`patience`){kept}")
        if self.turn == 0:
            LOGGER.warning("%s: %s; trying again for up to %g seconds", self.server.place, reason, most)
        self.turn += 1
        self.server.stopped.wait(seconds)


class Server:
    """One server or cluster; safe for many threads. `stopped` set, nothing is repeated any more.

    `heard` is whether it did once what it was asked for: then it speaks as its address says, and may hold an index.
    """

    def __init__(self, options: ElasticsearchOptions) -> None:
        self.options = options
        self.access: Access = find_access(options)
        self.place = ", ".join(self.access.urls)
        self.stopped = threading.Event()
        self.heard = False
        logging.getLogger("elastic_transport").setLevel(logging.ERROR)  # `Patience` says what it would warn of
        self.client = self._client()
        self.version = self._version()

    def call(self, ask: Callable[["Elasticsearch"], Given]) -> Given:
        """What `ask` gives, asked again while the server is away or busy; InputError where repeating cannot help."""
        from elasticsearch import ApiError, ElasticsearchWarning, TransportError

        patience = Patience(self)
        while True:
            # What a server recommends is no matter of a benchmark.
            warnings.filterwarnings("ignore", category=ElasticsearchWarning)
            try:
                given = ask(self.client)
            except ApiError as error:
                reason = self._answered(error)
            except TransportError as error:
                reason = self._cut(error)
            else:
                self.heard = True
                return given
            patience.wait(reason)

    def find(self, ask: Callable[["Elasticsearch"], Given]) -> Given | None:
        """The same, None where the server answers that there is no such thing."""
        from elasticsearch import NotFoundError

        def ask_once(client: "Elasticsearch") -> Given | None:
            try:
                return ask(client)
            except NotFoundError:
                return None

        return self.call(ask_once)

    def refuse(self, status: int, error: Mapping[str, Any] | str) -> InputError:
        """The sentence for an answer that repeating would not change."""
        said = self.clean(says(error))
        kind = "" if isinstance(error, str) else str(error.get("type", ""))
        if kind == "cluster_block_exception":
            return InputError(
                f"{self.place}: the index is blocked: {said}; where a disk is full, free some of it, then run the "
                "same command again: it goes on where it stopped"
            )
        if kind == "media_type_header_exception":
            return InputError(f"{self.place}: {self._client_name()} does not fit this server's major; {UPGRADE}")
        if status == 401:
            return InputError(f"{self.place}: the server refuses {self.access.who} (401): {said}")
        if status == 403:
            return InputError(f"{self.place}: {self.access.who} may not do this (403): {said}")
        return InputError(f"{self.place}: the server refuses the request ({status}): {said}")

    def clean(self, text: str) -> str:
        """What a server said, shortened and without the secret."""
        for secret in filter(None, (self.access.secret, self.access.basic)):
            text = text.replace(secret, "…")
        text = " ".join(text.split())
        return text[:SHOWN] + "…" * (len(text) > SHOWN)

    def _client(self) -> "Elasticsearch":
        from elasticsearch import Elasticsearch

        login: dict[str, Any] = {}
        if self.access.user:
            login["basic_auth"] = self.access.basic
        elif self.access.secret:
            login["api_key"] = self.access.secret
        if self.access.ca_certs and self.place.startswith("https"):
            login["ca_certs"] = str(self.access.ca_certs)
        try:
            return Elasticsearch(
                list(self.access.urls),
                request_timeout=self.options.timeout,
                connections_per_node=self.options.concurrency + 1,
                max_retries=0,  # repeating is the matter of `call`
                **login,
            )
        except ValueError as error:  # http beside https, say
            raise InputError(f"{self.place}: {self.clean(str(error))}") from None

    def _version(self) -> str:
        """The server's version; "" where the login may not ask for it."""
        from elasticsearch import AuthorizationException

        def ask(client: "Elasticsearch") -> str:
            try:
                return str(client.info()["version"]["number"])
            except AuthorizationException:
                return ""

        version = self.call(ask) or ""
        if version and int(version.partition(".")[0]) not in MAJORS:
            raise InputError(f"{self.place}: Elasticsearch {version}, expected 8 or 9")
        return version

    def _answered(self, error: "ApiError") -> str:
        """Why an answer may be another one next time; InputError where it may not."""
        from elasticsearch import UnsupportedProductError

        if isinstance(error, UnsupportedProductError):
            raise InputError(f"{self.place}: what answers here is no Elasticsearch") from None
        status, said = error.meta.status, answered(error)
        blocked = not isinstance(said, str) and said.get("type") == "cluster_block_exception"
        if status not in AGAIN or (blocked and status != 503):
            raise self.refuse(status, said) from None
        return f"the server answers {status} ({self.clean(says(said))})"

    def _cut(self, error: "TransportError") -> str:
        """Why no answer came; InputError where none will."""
        from elasticsearch import ConnectionTimeout, SSLError

        said = self.clean(str(error.message))
        if isinstance(error, ConnectionTimeout):
            return f"no answer within {self.options.timeout:g} seconds (`timeout`)"
        if isinstance(error, SSLError):
            for sign, sentence in TRUST.items():
                if sign in said:
                    raise InputError(f"{self.place}: {sentence}") from None
        why = next((sentence for sign, sentence in CUT.items() if sign in said), said)
        # A server that answered before was killed, say; one that wants https has never answered.
        asked = "http://" in self.place and not self.heard and "Connection aborted" in said
        return f"no connection: {why}{' (does the server expect https?)' if asked else ''}"

    def _client_name(self) -> str:
        from importlib.metadata import version

        return f"the Python client elasticsearch {version('elasticsearch')}"


TRUST = {
    "ertificate is not valid for": "the server's certificate is for another host; use the name that it was made for",
    "mismatch": "the server's certificate is for another host; use the name that it was made for",
    "expired": "the server's certificate has expired",
    "CERTIFICATE_VERIFY_FAILED": "the server's certificate is signed by a CA that is not trusted here; `ca_certs` (or "
    "KIB_ELASTICSEARCH_CA_CERTS) names the file with that CA's certificate",
    "WRONG_VERSION_NUMBER": "the server does not speak TLS there; use an address that begins with http://",
    "RECORD_LAYER_FAILURE": "the server does not speak TLS there; use an address that begins with http://",
}
"""What OpenSSL says, in the order of asking, and what a user reads."""

CUT = {
    "refused": "nothing listens there",
    "Failed to resolve": "there is no host of this name",
    "unreachable": "there is no way to the host",
    "No route to host": "there is no way to the host",
    "BadStatusLine": "what answers there does not speak HTTP",
    "Connection aborted": "the connection was closed before an answer came",
    "Connection broken": "the connection was closed in the middle of an answer",
    "EOF occurred": "the connection was closed before an answer came",
}
"""What the ways to a server say of one that cannot be reached, in the order of asking, and what a user reads."""
