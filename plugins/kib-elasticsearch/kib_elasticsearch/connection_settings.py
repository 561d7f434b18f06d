"""Server addresses and credentials from options or the environment; secrets are read only from the environment."""

import os
import re
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kib.errors import InputError
from kib.records import Recipient
from kib_elasticsearch.options import ElasticsearchOptions, check_url

__all__ = ["ConnectionSettings", "find_recipients", "read_connection_settings"]

URL, CA_CERTS, USER = "KIB_ELASTICSEARCH_URL", "KIB_ELASTICSEARCH_CA_CERTS", "KIB_ELASTICSEARCH_USER"
API_KEY = re.compile(r"[!-~]+")
DEFAULT_URL = "http://127.0.0.1:9200"


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Server addresses and credentials (user and password, API key, or none); the repr contains no secrets."""

    urls: tuple[str, ...]
    ca_certs: Path | None = None
    user: str | None = None
    secret: str | None = field(default=None, repr=False)
    secret_variable: str = ""
    """Name of the environment variable that holds the secret."""

    @property
    def basic_auth(self) -> str:
        """The user and password, encoded for HTTP basic authentication, or "" if there is no user."""
        return b64encode(f"{self.user}:{self.secret}".encode()).decode() if self.user else ""

    @property
    def login_description(self) -> str:
        """A description of the credentials for error messages, without the secret."""
        if self.user:
            return f"the password in {self.secret_variable} for the user {self.user!r}"
        return f"the API key in {self.secret_variable}" if self.secret else "a request without a user or API key"


def read_connection_settings(
    options: ElasticsearchOptions, environment: Mapping[str, str] = os.environ
) -> ConnectionSettings:
    """Read the server addresses and credentials; options take precedence over environment variables.

    Raise InputError if a required environment variable is missing or a value is invalid.
    """
    ca_certs = options.ca_certs or (Path(environment[CA_CERTS]).expanduser() if environment.get(CA_CERTS) else None)
    if ca_certs:
        _check_certificates(ca_certs)
    user, secret_variable = _find_login(options, environment)
    secret = environment.get(secret_variable) or None if secret_variable else None
    if secret_variable and not secret:
        raise InputError(
            f"environment variable {secret_variable} is not set; it must hold the {'password' if user else 'API key'}"
        )
    _check_utf8(USER, user or "")
    _check_utf8(secret_variable, secret or "")
    if secret and not user and not API_KEY.fullmatch(secret):
        raise InputError(
            f"environment variable {secret_variable} does not contain a valid API key; expected the key in its "
            "`encoded` form"
        )
    return ConnectionSettings(_read_urls(options, environment), ca_certs, user, secret, secret_variable)


def find_recipients(options: ElasticsearchOptions, environment: Mapping[str, str] = os.environ) -> list[Recipient]:
    """Return each server address with the environment variable that holds the password or API key for the server.

    Raise InputError if the credentials or an address in the environment are invalid.
    """
    _, credential = _find_login(options, environment)
    urls = _read_urls(options, environment)
    if options.url is None:
        return [Recipient((), url, credential, URL) for url in urls]
    keys: list[tuple[str | int, ...]] = [("url",)]
    if not isinstance(options.url, str):
        keys = [("url", number) for number in range(len(urls))]
    return [Recipient(key, url, credential) for key, url in zip(keys, urls, strict=True)]


def _check_utf8(variable: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        # The original error quotes the secret value, so the error must not be chained.
        raise InputError(f"environment variable {variable} does not contain valid UTF-8 text") from None


def _check_certificates(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such certificate file; correct `ca_certs` or the environment variable {CA_CERTS}")
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise InputError(f"{path}: cannot read CA certificates from this file ({error.strerror or error})") from None


def _read_urls(options: ElasticsearchOptions, environment: Mapping[str, str]) -> tuple[str, ...]:
    if options.url is not None:
        return (options.url,) if isinstance(options.url, str) else options.url
    try:
        return tuple(check_url(url.strip()) for url in (environment.get(URL) or DEFAULT_URL).split(","))
    except ValueError as error:
        raise InputError(f"environment variable {URL}: {error}") from None


def _find_login(options: ElasticsearchOptions, environment: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the user, if any, and the environment variable that holds the secret; options take precedence."""
    if options.user is not None:
        return options.user, options.password_env
    if options.api_key_env != type(options).model_fields["api_key_env"].default:
        return None, options.api_key_env
    key, user, password = (bool(environment.get(name)) for name in (options.api_key_env, USER, options.password_env))
    if key and (user or password):
        other = USER if user else options.password_env
        raise InputError(f"environment variables {options.api_key_env} and {other} are both set; set only one of them")
    if user:
        return environment[USER], options.password_env
    if password:
        raise InputError(
            f"environment variable {options.password_env} contains a password, but no user name is set; set `user` or "
            f"the environment variable {USER}"
        )
    return None, options.api_key_env if key else ""
