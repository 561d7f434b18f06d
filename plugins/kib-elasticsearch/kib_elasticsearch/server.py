"""Requests to a server, with retries; permanent failures raise one-sentence errors without secrets."""

import logging
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from kib.errors import InputError, ServerUnavailableError
from kib.support.recipients import require_allowed
from kib_elasticsearch.connection_settings import find_recipients, read_connection_settings
from kib_elasticsearch.error_messages import (
    CONNECTION_ERRORS,
    TLS_ERRORS,
    describe_rejection,
    error_body,
    error_text,
    find_explanation,
    is_retryable,
)
from kib_elasticsearch.options import ElasticsearchOptions

if TYPE_CHECKING:
    from elasticsearch import ApiError, Elasticsearch, TransportError

__all__ = ["RetryTimer", "Server"]

LOGGER = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Number of seconds before the first retry; the wait doubles with each retry, up to the longest wait."""

LONGEST_TEXT = 300
"""Maximum number of characters quoted from a server's message."""

MAJORS = (8, 9)

Answer = TypeVar("Answer")


class RetryTimer:
    """Waits between the retries of one request until `patience` seconds have passed."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.started = time.monotonic()
        self.retries = 0

    def wait(self, reason: str) -> None:
        """Wait before the next retry; raise ServerUnavailableError if the total wait would exceed `patience`."""
        seconds = min(FIRST_WAIT * 2**self.retries, LONGEST_WAIT)
        patience = self.server.options.patience
        if self.server.stop_retrying.is_set() or time.monotonic() + seconds > self.started + patience:
            resume = "; the server keeps the documents that were already sent; run the same command again to resume"
            raise ServerUnavailableError(
                f"{self.server.addresses}: {reason}; kib gave up after {patience:g} seconds (`patience`)"
                f"{resume if self.server.has_answered else ''}"
            )
        if self.retries == 0:
            LOGGER.warning(
                "%s: %s; kib retries the request for up to %g seconds", self.server.addresses, reason, patience
            )
        self.retries += 1
        self.server.stop_retrying.wait(seconds)


class Server:
    """A thread-safe client for one server or cluster.

    `has_answered` becomes true after the first successful request. Set `stop_retrying` to end all retries.
    """

    def __init__(self, options: ElasticsearchOptions) -> None:
        self.options = options
        require_allowed(find_recipients(options))
        self.settings = read_connection_settings(options)
        self.addresses = ", ".join(self.settings.urls)
        self.stop_retrying = threading.Event()
        self.has_answered = False
        logging.getLogger("elastic_transport").setLevel(logging.ERROR)  # `RetryTimer` logs a single warning instead
        self.client = self._create_client()
        self.version = self._read_version()

    def call(self, request: Callable[["Elasticsearch"], Answer]) -> Answer:
        """Send a request and return the response; retry while the server is unavailable or busy.

        Raise InputError if a retry cannot help, and ServerUnavailableError if the request still fails after `patience`
        seconds.
        """
        from elasticsearch import ApiError, ElasticsearchWarning, TransportError

        timer = RetryTimer(self)
        while True:
            # Warnings about deprecated settings are not relevant to kib's users.
            warnings.filterwarnings("ignore", category=ElasticsearchWarning)
            try:
                answer = request(self.client)
            except ApiError as error:
                reason = self._explain_answer(error)
            except TransportError as error:
                reason = self._explain_missing_answer(error)
            else:
                self.has_answered = True
                return answer
            timer.wait(reason)

    def call_or_none(self, request: Callable[["Elasticsearch"], Answer]) -> Answer | None:
        """Send a request as `call` does, but return None if the server responds with status 404."""
        from elasticsearch import NotFoundError

        def request_or_none(client: "Elasticsearch") -> Answer | None:
            try:
                return request(client)
            except NotFoundError:
                return None

        return self.call(request_or_none)

    def rejection(self, status: int, error: Mapping[str, Any] | str) -> InputError:
        """Return the InputError that describes a permanent server error."""
        text, login = self.redact(error_text(error)), self.settings.login_description
        return InputError(f"{self.addresses}: {describe_rejection(status, error, text, login)}")

    def redact(self, text: str) -> str:
        """Shorten a server's message and mask any secrets."""
        for secret in filter(None, (self.settings.secret, self.settings.basic_auth)):
            text = text.replace(secret, "…")
        text = " ".join(text.split())
        return text[:LONGEST_TEXT] + "…" * (len(text) > LONGEST_TEXT)

    def _create_client(self) -> "Elasticsearch":
        from elasticsearch import Elasticsearch

        login: dict[str, Any] = {}
        if self.settings.user:
            login["basic_auth"] = self.settings.basic_auth
        elif self.settings.secret:
            login["api_key"] = self.settings.secret
        if self.settings.ca_certs and self.addresses.startswith("https"):
            login["ca_certs"] = str(self.settings.ca_certs)
        try:
            return Elasticsearch(
                list(self.settings.urls),
                request_timeout=self.options.timeout,
                connections_per_node=self.options.concurrency + 1,
                max_retries=0,  # `call` retries
                **login,
            )
        except ValueError as error:  # for example a mix of http and https addresses with `ca_certs`
            raise InputError(f"{self.addresses}: {self.redact(str(error))}") from None

    def _read_version(self) -> str:
        """Return the server's version, or "" if the credentials lack permission to read the version."""
        from elasticsearch import AuthorizationException

        def read(client: "Elasticsearch") -> str:
            try:
                return str(client.info()["version"]["number"])
            except AuthorizationException:
                return ""

        version = self.call(read)
        if version and int(version.partition(".")[0]) not in MAJORS:
            raise InputError(
                f"{self.addresses}: Elasticsearch version {version} is not supported; expected version 8 or 9"
            )
        return version

    def _explain_answer(self, error: "ApiError") -> str:
        """Return the reason for retrying after an error response; raise InputError if retrying cannot help."""
        from elasticsearch import UnsupportedProductError

        if isinstance(error, UnsupportedProductError):
            raise InputError(f"{self.addresses}: the server at this address is not Elasticsearch") from None
        status, body = error.meta.status, error_body(error)
        if not is_retryable(status, body):
            raise self.rejection(status, body) from None
        return f"the server answered with status {status} ({self.redact(error_text(body))})"

    def _explain_missing_answer(self, error: "TransportError") -> str:
        """Return the reason for retrying after a connection failure; raise InputError if retrying cannot help."""
        from elasticsearch import ConnectionTimeout, SSLError

        message = self.redact(str(error.message))
        if isinstance(error, ConnectionTimeout):
            return f"the server sent no answer within {self.options.timeout:g} seconds (`timeout`)"
        tls_explanation = find_explanation(message, TLS_ERRORS) if isinstance(error, SSLError) else None
        if tls_explanation:
            raise InputError(f"{self.addresses}: {tls_explanation}") from None
        reason = find_explanation(message, CONNECTION_ERRORS) or message
        # A server that responded earlier has probably been killed; a server that requires https never responds to http.
        maybe_https = "http://" in self.addresses and not self.has_answered and "Connection aborted" in message
        return f"no connection: {reason}{' (the server may require https)' if maybe_https else ''}"
