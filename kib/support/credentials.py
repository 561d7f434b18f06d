"""Credentials for servers, which come only from environment variables."""

import os
import re
from typing import Annotated

from pydantic import AfterValidator

from kib.errors import InputError

__all__ = ["CredentialVariable", "looks_like_credential", "read_credential"]

SECRET_NAME = re.compile(r"auth|cookie|secret|password|(^|[-_])(api[-_]?)?(key|token)$", re.IGNORECASE)
"""The names of headers and request fields that usually contain a credential."""

SECRET_VALUE = re.compile(r"^(bearer|basic)\s|^(sk|hf|gsk|xai)[-_]\w{4}", re.IGNORECASE)
"""The beginnings of texts that are usually a credential."""


def _check_name(name: str) -> str:
    if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
        raise ValueError("expected the name of an environment variable, got an invalid name; never put a key here")
    return name


CredentialVariable = Annotated[str, AfterValidator(_check_name)]
"""An option with the name of the environment variable that contains a credential, or "" for no credential."""


def looks_like_credential(name: str, value: object = "") -> bool:
    """Return whether the name of a field or its value suggests that the field contains a credential."""
    return bool(SECRET_NAME.search(name) or (isinstance(value, str) and SECRET_VALUE.search(value)))


def read_credential(variable: str, what: str) -> str:
    """Return the credential in an environment variable, or "" for no variable; `what` names the credential in errors.

    Raises InputError if the variable is not set, or if its value cannot be part of an HTTP header.
    """
    if not variable:
        return ""
    value = os.environ.get(variable, "")
    if not value:
        raise InputError(
            f"the environment variable {variable} is not set; set this variable to {what}, or set "
            '`api_key_env = ""` if the server requires none'
        )
    if not value.isascii() or not value.isprintable() or " " in value:
        raise InputError(
            f"the environment variable {variable} contains a space, a line break or a different character that "
            f"{what} cannot contain"
        )
    return value
