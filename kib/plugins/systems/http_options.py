"""The keys of `[systems.NAME]` with `plugin = "http"`."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from kib.interfaces import NotInIdentity, Options
from kib.records import Recipient
from kib.support.credentials import CredentialVariable, looks_like_credential
from kib.support.phrases import join, offer
from kib.support.recipients import check_request_url
from kib.support.templates import TemplateFailedError, template_variables

__all__ = ["PATHS", "HttpOptions", "templates_in"]

VARIABLES = {"question", "id"}
"""The variables of the templates in `request`."""

PATHS = ("answer", "passages", "cost", "seconds", "input_tokens", "output_tokens")
"""The options that contain the JMESPath expression of a field of an answer."""

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OWN_HEADERS = ("content-length", "content-type", "host", "transfer-encoding")
"""The headers that kib sets itself."""

REFUSED = "looks like a credential; store it in an environment variable, and name the variable in `api_key_env`"

Path = Annotated[str, Field(min_length=1)]


class HttpOptions(Options):
    """The keys of `[systems.NAME]` with `plugin = "http"`."""

    url: str = Field(description="address to which questions are sent")
    method: Literal["POST", "GET"] = Field(
        "POST", description="HTTP method; `POST` sends `request` as JSON, `GET` as parameters of the address"
    )
    request: dict[str, Any] = Field(
        {"question": "{{ question }}"},
        description=(
            "what is sent for a question; each text is a Jinja template with the variables `question` and `id` (the id "
            "of the question)"
        ),
    )
    headers: dict[str, str] = Field({}, description="additional headers of each request, without credentials")
    answer: Path = Field("answer", description="JMESPath of the answer in the response")
    passages: Path | None = Field(
        None, description="JMESPath of the list of passages, as texts or ids, such as `sources[*].text`"
    )
    cost: Path | None = Field(None, description="JMESPath of the cost of the answer, a number")
    seconds: Path | None = Field(
        None, description="JMESPath of the latency in seconds; default: kib measures the time of the request"
    )
    input_tokens: Path | None = Field(None, description="JMESPath of the number of tokens that the system read")
    output_tokens: Path | None = Field(None, description="JMESPath of the number of tokens that the system wrote")
    version: str = Field(
        "", description="any text that names the version of the system; if it changes, all questions are asked again"
    )
    api_key_env: Annotated[CredentialVariable, NotInIdentity] = Field(
        "", description="name of the environment variable that contains the credential; default: no credential"
    )
    api_key_header: Annotated[str, NotInIdentity] = Field(
        "Authorization", description="header that contains the credential"
    )
    api_key_scheme: Annotated[str, NotInIdentity] = Field(
        "Bearer", description='word before the credential in the header; "" for the credential alone'
    )
    timeout: Annotated[float, NotInIdentity] = Field(
        120.0, gt=0, allow_inf_nan=False, description="seconds to wait for a complete answer"
    )
    retries: Annotated[int, NotInIdentity] = Field(
        3,
        ge=0,
        le=100,
        description="maximum number of retries of a request that gets no answer (status 429 or 5xx, lost connection)",
    )
    concurrency: Annotated[int, NotInIdentity] = Field(1, ge=1, le=256, description="number of concurrent requests")

    def recipients(self) -> list[Recipient]:
        """Return the server, which receives the questions and the credential."""
        return [Recipient(("url",), self.url, self.api_key_env)]

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        check_request_url(
            url,
            'with `method = "GET"`, the keys of `request` are the parameters; store a credential in the environment '
            "variable that `api_key_env` names",
        )
        return url

    @field_validator("api_key_header")
    @classmethod
    def _is_header(cls, name: str) -> str:
        if not HEADER.fullmatch(name) or name.lower() in OWN_HEADERS:
            raise ValueError("expected the name of a header, such as `X-Api-Key`, got a text that is none")
        return name

    @field_validator("api_key_scheme")
    @classmethod
    def _is_scheme(cls, scheme: str) -> str:
        if scheme and not HEADER.fullmatch(scheme):
            raise ValueError("expected one word, such as `Bearer`, got a text with other characters")
        return scheme

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if looks_like_credential(name, value):
                raise ValueError(f"{name} {REFUSED} and the header in `api_key_header`")
            if not HEADER.fullmatch(name) or name.lower() in OWN_HEADERS:
                raise ValueError(f"expected headers that kib does not set itself, got the header {name!r}")
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"{name}: expected a value of printable ASCII characters")
        return headers

    @field_validator(*PATHS)
    @classmethod
    def _is_path(cls, path: str | None) -> str | None:
        if path is not None:
            from jmespath import compile as compile_path
            from jmespath.exceptions import JMESPathError
            from jmespath.functions import Functions

            try:
                called = set(_functions_in(compile_path(path).parsed))
            except (JMESPathError, RecursionError) as error:
                reason = (str(error).splitlines() or [""])[0]
                raise ValueError(f"expected a JMESPath such as `sources[*].text`: {reason}") from error
            if unknown := sorted(called - Functions.FUNCTION_TABLE.keys()):
                raise ValueError(f"unknown function {unknown[0]}(); {offer(unknown[0], Functions.FUNCTION_TABLE)}")
        return path

    @field_validator("request")
    @classmethod
    def _is_request(cls, request: dict[str, Any]) -> dict[str, Any]:
        for name in _keys_in(request):
            if looks_like_credential(name):
                raise ValueError(f"{name} {REFUSED}")
        used: set[str] = set()
        for template in templates_in(request):
            if looks_like_credential("", template):
                raise ValueError(f"a text {REFUSED}")
            try:
                used |= template_variables(template)
            except TemplateFailedError as error:
                raise ValueError(f"invalid Jinja template: {error}") from error
        if used - VARIABLES:
            raise ValueError(f"expected templates with the variables `question` and `id`, got {join(sorted(used))}")
        if "question" not in used:
            raise ValueError("expected a text with `{{ question }}`, because the question would not be sent otherwise")
        return request

    @model_validator(mode="after")
    def _parameters_are_flat(self) -> Self:
        if self.method == "GET":
            other = [name for name, one in self.request.items() if type(one) not in (str, int, float)]
            if other:
                raise ValueError(f'request: {other[0]}: with `method = "GET"`, expected a text or a number')
        return self


def templates_in(value: Any) -> Iterator[str]:
    """Yield every text of a JSON value that may be a template."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from templates_in(one)


def _functions_in(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the name of each function that a parsed JMESPath calls."""
    if node["type"] == "function_expression":
        yield node["value"]
    for child in node["children"]:
        yield from _functions_in(child)


def _keys_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _keys_in(one)
