"""The keys of `[writers.NAME]` with `plugin = "openai"`."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from kib.interfaces import InputPath, Local, Options
from kib_openai.prompts import PAIRS, PARAPHRASES, QUESTIONS, SPECIFIC, check_template

__all__ = ["Prompts", "WriterOptions"]

OWN_FIELDS = ("max_tokens", "max_completion_tokens", "messages", "model", "n", "seed", "stream", "temperature")
"""What a request holds already, or what would change the form of the answer."""


class Prompts(Options):
    """What is asked, as jinja templates with `passage` (title, text, document, id) and `count`."""

    paraphrases: str = Field(PARAPHRASES, description="asks for `count` paraphrases of `passage`")
    pairs: str = Field(PAIRS, description="asks for `count` questions with answers on `passage`, to train on")
    questions: str = Field(QUESTIONS, description="asks for `count` questions with four options, to test with")
    specific: str = Field(
        SPECIFIC, description="asks for the order of `questions` (a list of texts) on `passage`, most specific first"
    )

    @field_validator("paraphrases", "pairs", "questions", "specific")
    @classmethod
    def _reads(cls, template: str) -> str:
        check_template(template)
        return template


class WriterOptions(Options):
    """Keys of `[writers.NAME]` with `plugin = "openai"`."""

    model: str = Field(min_length=1, description="the model's name at the endpoint")
    base_url: Annotated[str, Local] = Field(
        "https://api.openai.com/v1", description="the endpoint; requests go to `<base_url>/chat/completions`"
    )
    api_key_env: Annotated[str, Local] = Field(
        "OPENAI_API_KEY", description='the environment variable that holds the key; "" where the server needs none'
    )
    kind: Literal["paraphrases", "pairs", "both"] = Field(
        "paraphrases", description="what is written as training text; both: as many pairs after the paraphrases"
    )
    prompts: Prompts = Field(Prompts.model_validate({}), description="prompts of your own")
    per_call: int = Field(5, ge=1, le=100, description="texts that one request asks for at most")
    temperature: float = Field(1.0, ge=0, le=2, description="how freely the model draws its words")
    max_tokens: int = Field(4096, ge=1, description="tokens that an answer may have; a longer one is cut and broken")
    send_seed: bool = Field(True, description="whether requests name a seed; some servers refuse it")
    answer_format: Literal["json_object", "text"] = Field(
        "json_object", description="the `response_format` asked for; text: none, for servers that do not know it"
    )
    extra: dict[str, Any] = Field(
        {}, description="further fields of a request, such as top_p or a response_format of your own"
    )
    held_out: tuple[InputPath, ...] = Field(
        (), description="question files (as of `kib questions`) whose questions no pair may repeat"
    )
    may_miss: int = Field(0, ge=0, description="passages that may stay without text where every attempt fails")
    attempts: Annotated[int, Local] = Field(
        3, ge=1, le=100, description="times that a request is made whose answers are broken"
    )
    retries: Annotated[int, Local] = Field(
        6, ge=0, le=100, description="times that a request is repeated which the server did not answer (429, 5xx, cut)"
    )
    timeout: Annotated[float, Local] = Field(120.0, gt=0, allow_inf_nan=False, description="seconds to an answer")
    concurrency: Annotated[int, Local] = Field(4, ge=1, le=256, description="requests at the same time")
    token_budget: Annotated[int | None, Local] = Field(
        None, ge=1, description="tokens, prompts and answers together as the server counts them, to stop at"
    )
    max_tokens_field: Annotated[Literal["max_tokens", "max_completion_tokens"], Local] = Field(
        "max_tokens", description="what the server calls the limit of an answer"
    )

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address that begins with http:// or https://")
        if parts.port == 0:  # a port that is no port raises by itself
            raise ValueError("expected a port from 1 to 65535")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("expected an address without a name, password or key in it; keys come by `api_key_env`")
        return url.rstrip("/").removesuffix("/chat/completions")

    @field_validator("api_key_env")
    @classmethod
    def _is_variable(cls, name: str) -> str:
        if name and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
            raise ValueError("expected the name of an environment variable, not the key itself")
        return name

    @model_validator(mode="after")
    def _fields_are_free(self) -> "WriterOptions":
        taken = sorted(set(self.extra) & set(OWN_FIELDS))
        if taken:
            raise ValueError(f"extra: {', '.join(taken)}: kib fills this itself; use the option of that name")
        return self
