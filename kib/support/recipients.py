"""The rule for servers that may receive a benchmark's text and credentials; called by plugins before sending data.

A benchmark file may come from an untrusted source. An address in the file is therefore not sufficient: kib sends text
or a credential only to an address that is allowed. docs/security.md explains the rule to users.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from kib.errors import InputError
from kib.records import Recipient

__all__ = [
    "ALLOW_HOSTS",
    "Address",
    "allow_hosts",
    "check_request_url",
    "parse_address",
    "refusal",
    "require_allowed",
]

ALLOW_HOSTS = "KIB_ALLOW_HOSTS"
"""The environment variable that lists hosts that may receive text and credentials, even over plain HTTP."""

PROVIDERS = {
    "ANTHROPIC_API_KEY": "https://api.anthropic.com",
    "DEEPSEEK_API_KEY": "https://api.deepseek.com",
    "GEMINI_API_KEY": "https://generativelanguage.googleapis.com",
    "GROQ_API_KEY": "https://api.groq.com",
    "MISTRAL_API_KEY": "https://api.mistral.ai",
    "OPENAI_API_KEY": "https://api.openai.com",
    "OPENROUTER_API_KEY": "https://openrouter.ai",
    "TEXTSYNTH_API_SECRET_KEY": "https://api.textsynth.com",
    "TOGETHER_API_KEY": "https://api.together.xyz",
}
"""The address of the provider that issues the credential in each variable."""

CREDENTIAL_SUFFIX = re.compile(r"_(?:API_SECRET_KEY|API_KEY|KEY|TOKEN|PASSWORD|SECRET)$")
ADDRESS_SUFFIXES = ("BASE_URL", "URL", "API_BASE", "ENDPOINT")
"""Suffixes of variable names: the credential in NAME_API_KEY belongs to the address in NAME_BASE_URL, NAME_URL etc."""

DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?)"
PORT = r"(?::(?P<port>[0-9]{1,5}))?"
URL = re.compile(rf"(?P<scheme>https?)://{HOST}{PORT}(?:[/?#].*)?")
SERVER = re.compile(r"https?://(?P<server>[^/?#]*)", re.IGNORECASE)
ENTRY = re.compile(HOST + PORT)
AMBIGUOUS = re.compile(r"[^!-~]|\\")
"""Characters that programs read in different ways: spaces, control characters, non-ASCII letters and backslashes."""

LARGEST_PORT, LONGEST_HOST = 65535, 253

_flagged: tuple[str, ...] = ()
"""The hosts allowed by --allow-host in this process."""


@dataclass(frozen=True, slots=True)
class Address:
    """The part of a URL that identifies a server: the scheme, the lowercase host without brackets, and the port."""

    scheme: str
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether the address is `localhost`, in 127.0.0.0/8, or ::1."""
        ip = _ip(self.host)
        if isinstance(ip, IPv4Address):
            return ip.is_loopback
        return ip == IPv6Address(1) if ip else self.host == "localhost"

    def __str__(self) -> str:
        """Return the address as a URL without a path; the scheme's own port is omitted."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}")


def parse_address(url: str) -> Address:
    """Return the server of an http or https URL; raise ValueError for an invalid URL.

    A URL is invalid, because programs could interpret it differently, if it contains a user name, a backslash, a space
    or a non-ASCII character, or if its host ends in a dot. Write an international host name in its ASCII form
    (`xn--…`). The error message does not quote the URL, because a URL may contain a secret.
    """
    if AMBIGUOUS.search(url):
        raise ValueError(
            "expected a URL of ASCII characters without spaces or backslashes, got a URL with other characters"
        )
    if "@" in url:
        raise ValueError(
            "expected a URL without a user name, password or key, got a URL with `@`; store a credential in an "
            "environment variable"
        )
    match = URL.fullmatch(url.lower())
    found = _host_and_port(match) if match else None
    if match is None or found is None:
        raise ValueError(f"expected a URL such as https://host.example:8000/v1, got {_fault(url)}")
    host, port = found
    scheme = match["scheme"]
    return Address(scheme, host, DEFAULT_PORTS[scheme] if port is None else port)


def check_request_url(url: str, advice: str) -> None:
    """Raise ValueError for an invalid URL, or for one with a query or a fragment, in which people put credentials.

    `advice` ends the error message; it says where parameters and credentials belong.
    """
    parse_address(url)
    if "?" in url or "#" in url:
        raise ValueError(f"expected a URL without query and fragment, got one with either; {advice}")


def _fault(url: str) -> str:
    """Return what is wrong with an invalid URL, without quoting the URL."""
    server = SERVER.match(url)
    host, colon, port = server["server"].rpartition(":") if server else ("", "", "")
    if colon and not port:
        return "a URL with a colon but no port after the host"
    if (host if port.isdigit() else port).endswith("."):
        return "a URL whose host ends in a dot"
    return "an invalid URL"


def allow_hosts(hosts: Iterable[str]) -> None:
    """Allow these hosts (`HOST` or `HOST:PORT`) until the next call; the option `--allow-host` calls this function.

    Raises InputError if an entry is not a host.
    """
    global _flagged  # noqa: PLW0603 - the option of the command line applies to the process
    _flagged = tuple(hosts)
    list(_entries(_flagged, "--allow-host"))


def refusal(recipient: Recipient) -> str | None:
    """Return the reason why a server must not receive text or a credential, or None if the server is allowed.

    Raises InputError if the environment variable KIB_ALLOW_HOSTS is invalid.
    """
    try:
        address = parse_address(recipient.address)
    except ValueError as error:
        return str(error) if recipient.key else f"environment variable {recipient.address_variable}: {error}"
    if address.is_loopback or _lists(_listed(), address):
        return None
    host = address.host if address.port in DEFAULT_PORTS.values() else _with_port(address)
    sent = f"the credential in {recipient.credential}" if recipient.credential else "text"
    refused = f"kib does not send {sent} to {host}"
    if not (_lists(_entries(_flagged, "--allow-host"), address) or _belongs(recipient, address)):
        return (
            f"{refused} because {_reason(recipient)}; if you trust this server, pass `--allow-host {host}` or add the "
            f"host to the environment variable {ALLOW_HOSTS}"
        )
    if recipient.credential and address.scheme == "http":
        return f"{refused} over plain http; use https or, in a private network, add the host to {ALLOW_HOSTS}"
    if recipient.credential and not recipient.verified:
        return (
            f"{refused} without verifying the server's certificate; verify the certificate, or add the host to "
            f"{ALLOW_HOSTS}"
        )
    return None


def require_allowed(recipients: Iterable[Recipient]) -> None:
    """Raise InputError unless every recipient is allowed; call this function before opening a connection."""
    for recipient in recipients:
        if reason := refusal(recipient):
            key = ".".join(map(str, recipient.key))
            raise InputError(f"`{key}`: {reason}" if key else reason)


def _reason(recipient: Recipient) -> str:
    """Return a clause that states the reason why an address does not belong to a credential."""
    beside = _variables_beside(recipient.credential)
    if beside and recipient.credential:
        return f"{beside[0]} contains a different address for the credential"
    if recipient.credential:
        return "the environment does not assign the credential to this server"
    return "only the benchmark file names this server"


def _belongs(recipient: Recipient, address: Address) -> bool:
    """Return whether the environment assigns the address to the credential or, without a credential, to the plugin."""
    if not recipient.credential:
        return bool(recipient.address_variable)
    beside = _variables_beside(recipient.credential)
    urls = [url.strip() for name in beside for url in os.environ[name].split(",")]
    if not beside and recipient.credential in PROVIDERS:
        urls = [PROVIDERS[recipient.credential]]
    return address in _valid(urls)


def _variables_beside(credential: str) -> Sequence[str]:
    """Return the non-empty environment variables with the addresses that a credential belongs to."""
    stem = CREDENTIAL_SUFFIX.sub("", credential)
    names = (f"{stem}_{suffix}" for suffix in ADDRESS_SUFFIXES) if stem != credential else ()
    return [name for name in names if os.environ.get(name)]


def _valid(urls: Iterable[str]) -> Iterator[Address]:
    for url in urls:
        try:
            yield parse_address(url)
        except ValueError:
            continue  # an invalid address matches no server


def _listed() -> Iterator[tuple[str, int | None]]:
    named = (entry.strip() for entry in os.environ.get(ALLOW_HOSTS, "").split(","))
    return _entries([entry for entry in named if entry], f"environment variable {ALLOW_HOSTS}")


def _entries(entries: Iterable[str], origin: str) -> Iterator[tuple[str, int | None]]:
    """Yield the host and the port (None for every port) of each allowed host; raise InputError for an invalid entry."""
    for entry in entries:
        bracketed = f"[{entry}]" if isinstance(_ip(entry), IPv6Address) else entry
        match = ENTRY.fullmatch(bracketed.lower())
        found = _host_and_port(match) if match else None
        if found is None:
            raise InputError(f"{origin}: expected a host such as gpu.example or gpu.example:8000, got {entry!r}")
        yield found


def _lists(entries: Iterable[tuple[str, int | None]], address: Address) -> bool:
    return any(host == address.host and port in (None, address.port) for host, port in list(entries))


def _host_and_port(match: re.Match[str]) -> tuple[str, int | None] | None:
    """Return the host in its standard form and the port, or None if either is invalid."""
    host, port = match["host"], int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= LARGEST_PORT:
        return None
    if host.startswith("["):
        ip = _ip(host[1:-1])
        return (str(ip), port) if isinstance(ip, IPv6Address) else None
    return None if ".." in host or len(host) > LONGEST_HOST else (host, port)


def _with_port(address: Address) -> str:
    return str(address).partition("://")[2]


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
