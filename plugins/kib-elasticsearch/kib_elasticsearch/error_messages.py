"""One-sentence explanations of failed requests, for server errors and for errors in the Python client."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticsearch import ApiError

__all__ = [
    "CONNECTION_ERRORS",
    "TLS_ERRORS",
    "describe_rejection",
    "error_body",
    "error_text",
    "find_explanation",
    "is_blocked",
    "is_retryable",
]

RETRY_STATUSES = frozenset({408, 429, 502, 503, 504})
"""HTTP statuses of a server that is busy, is starting up or has lost a node."""

TLS_ERRORS = {
    "ertificate is not valid for": "the server's certificate was issued for a different host; use the host name in the "
    "certificate",
    "mismatch": "the server's certificate was issued for a different host; use the host name in the certificate",
    "expired": "the server's certificate has expired",
    "CERTIFICATE_VERIFY_FAILED": "the server's certificate is signed by an untrusted CA; set `ca_certs` (or "
    "KIB_ELASTICSEARCH_CA_CERTS) to a file with that CA's certificate",
    "WRONG_VERSION_NUMBER": "the server does not use TLS; use an address that begins with http://",
    "RECORD_LAYER_FAILURE": "the server does not use TLS; use an address that begins with http://",
}
"""Maps fragments of OpenSSL's messages to explanations of TLS errors; the first matching fragment is used."""

CONNECTION_ERRORS = {
    "refused": "no server is listening at this address",
    "Failed to resolve": "the host name cannot be resolved",
    "unreachable": "the host is unreachable",
    "No route to host": "the host is unreachable",
    "BadStatusLine": "the server does not speak HTTP",
    "Connection aborted": "the server closed the connection before it sent an answer",
    "Connection broken": "the server closed the connection while it was sending an answer",
    "EOF occurred": "the server closed the connection before it sent an answer",
}
"""Maps fragments of the client's messages to explanations of connection errors; the first match is used."""


def error_body(error: "ApiError") -> Mapping[str, Any] | str:
    """Return the error object in a server's response, or the response's message if it has no error object."""
    body: Any = error.body
    message = str(error.message or "no reason given")
    found: Mapping[str, Any] | str = body.get("error", message) if isinstance(body, dict) else message
    return found


def error_text(error: Mapping[str, Any] | str) -> str:
    """Return the reasons in a server's error object, including causes, as one line of text."""
    if isinstance(error, str):
        return error
    causes = [error, *(error.get("root_cause") or ()), error.get("caused_by") or {}]
    keys = ("reason", "additional_unsuccessful_credentials")
    # Some reasons already end with a semicolon.
    reasons = [str(cause[key]).rstrip("; ") for cause in causes for key in keys if cause.get(key)]
    return "; ".join(dict.fromkeys(reasons)) or str(error.get("type", error))


def is_retryable(status: int, error: Mapping[str, Any] | str) -> bool:
    """Return whether a retry may succeed.

    A blocked index remains blocked unless the server is starting up (status 503).
    """
    return status in RETRY_STATUSES and (not is_blocked(error) or status == 503)


def is_blocked(error: Mapping[str, Any] | str) -> bool:
    """Return whether a request was rejected because the index is blocked, for example due to a full disk."""
    return _error_type(error) == "cluster_block_exception"


def _error_type(error: Mapping[str, Any] | str) -> str:
    return "" if isinstance(error, str) else str(error.get("type", ""))


def describe_rejection(status: int, error: Mapping[str, Any] | str, text: str, login: str) -> str:
    """Explain a permanent error; `text` is the server's redacted message, and `login` describes the credentials."""
    if is_blocked(error):
        return (
            f"the index is blocked: {text}; if the disk is full, free some space, then run the same command again to "
            "resume"
        )
    if _error_type(error) == "media_type_header_exception":
        return (
            f"the Python client elasticsearch {version('elasticsearch')} does not support the server's major version; "
            "`pip install 'elasticsearch>=8.19,<9'` installs a client for servers of versions 8 and 9"
        )
    if status == 401:
        return f"the server rejected {login} (401): {text}"
    if status == 403:
        return f"{login} lacks a required permission (403): {text}"
    return f"the server rejected the request ({status}): {text}"


def find_explanation(message: str, explanations: Mapping[str, str]) -> str | None:
    """Return the first explanation whose key occurs in `message`, or None if no key occurs in `message`."""
    return next((explanation for fragment, explanation in explanations.items() if fragment in message), None)
