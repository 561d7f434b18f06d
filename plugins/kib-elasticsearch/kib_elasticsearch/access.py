"""Where the server is and how to log in: from the options, else from the environment; secrets from there alone."""

import os
import re
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kib.errors import InputError
from kib_elasticsearch.options import ElasticsearchOptions, check_url

__all__ = ["Access", "find_access"]

URL, CA_CERTS, USER = "KIB_ELASTICSEARCH_URL", "KIB_ELASTICSEARCH_CA_CERTS", "KIB_ELASTICSEARCH_USER"
KEY = re.compile(r"[!-~]+")
LOCAL = "http://127.0.0.1:9200"


@dataclass(frozen=True, slots=True)
class Access:
    """Addresses, and who asks: a user with a password, an API key, or nobody. Printing it shows no secret."""

    urls: tuple[str, ...]
    ca_certs: Path | None = None
    user: str | None = None
    secret: str | None = field(default=None, repr=False)
    variable: str = ""
    """The environment variable that the secret stands in."""

    @property
    def basic(self) -> str:
        """User and password as a request's header holds them; "" where there is no user."""
        return b64encode(f"{self.user}:{self.secret}".encode()).decode() if self.user else ""

    @property
    def who(self) -> str:
        """Who asks, as messages say it."""
        if self.user:
            return f"the password in {self.variable} for the user {self.user!r}"
        return f"the API key in {self.variable}" if self.secret else "a request without a user or API key"


def find_access(options: ElasticsearchOptions, environment: Mapping[str, str] = os.environ) -> Access:
    """What the options name, else the environment; InputError where a variable is needed and not set."""
    path = options.ca_certs or (Path(environment[CA_CERTS]).expanduser() if environment.get(CA_CERTS) else None)
    if path:
        _check_certificates(path)
    user, variable = _who(options, environment)
    secret = environment.get(variable) or None if variable else None
    if variable and not secret:
        raise InputError(
            f"the environment variable {variable} is not set; it holds the {'password' if user else 'API key'}"
        )
    for name, value in ((USER, user), (variable, secret)):
        _check_text(name, value or "")
    if secret and not user and not KEY.fullmatch(secret):
        raise InputError(f"the environment variable {variable} holds no API key; expected the text called `encoded`")
    return Access(_urls(options, environment), path, user, secret, variable)


def _check_text(variable: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:  # its words would show what it holds
        raise InputError(f"the environment variable {variable} holds bytes that are no text in UTF-8") from None


def _check_certificates(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file of certificates (`ca_certs`, or {CA_CERTS} in the environment)")
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise InputError(f"{path}: holds no certificates that can be read ({error.strerror or error})") from None


def _urls(options: ElasticsearchOptions, environment: Mapping[str, str]) -> tuple[str, ...]:
    if options.url is not None:
        return (options.url,) if isinstance(options.url, str) else options.url
    try:
        return tuple(check_url(url.strip()) for url in (environment.get(URL) or LOCAL).split(","))
    except ValueError as error:
        raise InputError(f"the environment variable {URL}: {error}") from None


def _who(options: ElasticsearchOptions, environment: Mapping[str, str]) -> tuple[str | None, str]:
    """User and variable of the secret; what the options name goes before what the environment happens to hold."""
    if options.user is not None:
        return options.user, options.password_env
    if options.api_key_env != type(options).model_fields["api_key_env"].default:
        return None, options.api_key_env
    key, user, password = (bool(environment.get(name)) for name in (options.api_key_env, USER, options.password_env))
    if key and (user or password):
        named = USER if user else options.password_env
        raise InputError(f"the environment variables {options.api_key_env} and {named} are both set; give one")
    if user:
        return environment[USER], options.password_env
    if password:
        raise InputError(f"{options.password_env} holds a password, but no user is named (`user`, or {USER})")
    return None, options.api_key_env if key else ""
