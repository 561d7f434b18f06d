"""The keys of tables with an OpenAI-compatible endpoint: `[writers.NAME]`, `[models.NAME]` and `[judges.NAME]`."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from kib.interfaces import InputPath, NotInIdentity, Options
from kib.prompts import LETTERS
from kib.records import Recipient
from kib.support.credentials import CredentialVariable, looks_like_credential
from kib.support.recipients import check_request_url
from kib_openai.prompts import GRADES, PAIRS, PARAPHRASES, QUESTIONS, RUBRIC, SPECIFIC, check_template

__all__ = ["EndpointOptions", "JudgeOptions", "ModelOptions", "Prompts", "WriterOptions"]

RESERVED_FIELDS = ("max_tokens", "max_completion_tokens", "messages", "model", "n", "seed", "stream", "temperature")
"""Request fields that kib sets itself, and request fields that would change the form of the response."""


GradeName = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^\S(.*\S)?$")]
Grade = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _fields_in(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the names and values of all fields at any depth; items of a list have the name of the list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields_in(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _fields_in(inner, name)
    yield name, value


class Prompts(Options):
    """The prompts, which are jinja templates with the variables `passage` (title, text, document, id) and `count`."""

    paraphrases: str = Field(PARAPHRASES, description="prompt that requests `count` paraphrases of `passage`")
    pairs: str = Field(
        PAIRS, description="prompt that requests `count` training questions with answers about `passage`"
    )
    questions: str = Field(
        QUESTIONS, description="prompt that requests `count` test questions with four options about `passage`"
    )
    specific: str = Field(
        SPECIFIC,
        description=(
            "prompt that asks the model to rank `questions` (a list of texts) about `passage`, most specific first"
        ),
    )

    @field_validator("paraphrases", "pairs", "questions", "specific")
    @classmethod
    def _is_renderable(cls, template: str) -> str:
        check_template(template)
        return template


class EndpointOptions(Options):
    """The keys of every table with an endpoint."""

    model: str = Field(min_length=1, description="name of the model, as known to the endpoint")
    base_url: Annotated[str, NotInIdentity] = Field(
        "https://api.openai.com/v1", description="URL of the endpoint; requests go to `<base_url>/chat/completions`"
    )
    api_key_env: Annotated[CredentialVariable, NotInIdentity] = Field(
        "OPENAI_API_KEY",
        description='name of the environment variable that contains the API key; "" if the server requires no key',
    )
    extra: dict[str, Any] = Field(
        {}, description="additional fields of each request, such as `top_p` or a custom `response_format`"
    )
    retries: Annotated[int, NotInIdentity] = Field(
        6,
        ge=0,
        le=100,
        description="maximum number of retries of a request that gets no answer (status 429 or 5xx, lost connection)",
    )
    timeout: Annotated[float, NotInIdentity] = Field(
        120.0, gt=0, allow_inf_nan=False, description="seconds to wait for the answer to one request"
    )
    concurrency: Annotated[int, NotInIdentity] = Field(4, ge=1, le=256, description="number of concurrent requests")
    max_tokens_field: Annotated[Literal["max_tokens", "max_completion_tokens"], NotInIdentity] = Field(
        "max_tokens", description="name of the request field that limits the length of an answer"
    )

    @property
    def chat_url(self) -> str:
        """The URL that receives every request."""
        return f"{self.base_url}/chat/completions"

    def recipients(self) -> list[Recipient]:
        """Return the endpoint, which receives the passages or prompts, and the API key."""
        key = ("base_url",) if "base_url" in self.model_fields_set else ()
        return [Recipient(key, self.base_url, self.api_key_env)]

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        check_request_url(url, "store the API key in the environment variable that `api_key_env` names")
        return url.rstrip("/").removesuffix("/chat/completions")

    @field_validator("extra")
    @classmethod
    def _has_no_credential(cls, extra: dict[str, Any]) -> dict[str, Any]:
        """Refuse credentials, which would be written into the results."""
        for name, value in _fields_in(extra):
            if looks_like_credential(name, value):
                raise ValueError(
                    f"{name} looks like a credential; store the API key in an environment variable, and name the "
                    "variable in `api_key_env`"
                )
        return extra

    @model_validator(mode="after")
    def _extra_is_not_reserved(self) -> Self:
        reserved = sorted(set(self.extra) & set(RESERVED_FIELDS))
        if reserved:
            raise ValueError(
                f"extra: kib sets the fields {', '.join(reserved)} itself; remove these fields or use the options "
                "instead"
            )
        return self


class ObjectRequestOptions(EndpointOptions):
    """The keys of every table whose requests ask for a JSON object, which is requested again if it is invalid."""

    temperature: float = Field(1.0, ge=0, le=2, description="sampling temperature")
    max_tokens: int = Field(
        4096,
        ge=1,
        description="maximum number of tokens per answer; a longer answer is truncated and therefore invalid",
    )
    send_seed: bool = Field(
        True, description="send a seed with each request; set `send_seed = false` if the server rejects seeds"
    )
    answer_format: Literal["json_object", "text"] = Field(
        "json_object",
        description="value of `response_format` in a request; `text` omits the field, for servers without a JSON mode",
    )
    attempts: Annotated[int, NotInIdentity] = Field(
        3, ge=1, le=100, description="maximum number of times that a request is sent if its answers are invalid"
    )
    token_budget: Annotated[int | None, NotInIdentity] = Field(
        None,
        ge=1,
        description="number of tokens in prompts and answers, as counted by the server, after which the run stops",
    )


class WriterOptions(ObjectRequestOptions):
    """The keys in a `[writers.NAME]` table with `plugin = "openai"`."""

    kind: Literal["paraphrases", "pairs", "both"] = Field(
        "paraphrases",
        description="kind of training text; `both` writes as many pairs as paraphrases, paraphrases first",
    )
    pair_options: Annotated[int, Field(ge=2, le=len(LETTERS))] | Annotated[None, NotInIdentity] = Field(
        None,
        description=(
            "number of options of each pair, including the right answer, for tasks that list options; by default, "
            "pairs have no options"
        ),
    )
    prompts: Prompts = Field(Prompts.model_validate({}), description="custom prompts that replace the default prompts")
    per_call: int = Field(5, ge=1, le=100, description="maximum number of texts to request at once")
    held_out: tuple[InputPath, ...] = Field(
        (),
        description=(
            "question files written by `kib questions`; training pairs must not repeat a question from these files"
        ),
    )
    may_miss: int = Field(
        0, ge=0, description="number of passages that may remain without text or questions after all attempts"
    )

    @property
    def wrong_per_pair(self) -> int:
        """The number of wrong options to request for each pair, or 0 if pairs have no options."""
        return self.pair_options - 1 if self.pair_options else 0

    @model_validator(mode="after")
    def _options_need_pairs(self) -> "WriterOptions":
        if self.pair_options and self.kind == "paraphrases":
            raise ValueError('pair_options: needs `kind = "pairs"` or `kind = "both"`, because paraphrases have none')
        return self


class JudgeOptions(ObjectRequestOptions):
    """The keys in a `[judges.NAME]` table with `plugin = "openai"`."""

    rubric: str = Field(
        RUBRIC, min_length=1, description="the rules by which the judge grades an answer, which name every grade"
    )
    grades: dict[GradeName, Grade] = Field(GRADES, description="the score of each grade, from 0 (wrong) to 1 (right)")
    temperature: float = Field(0.0, ge=0, le=2, description="sampling temperature")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the first request for a verdict")
    max_tokens: int = Field(
        512,
        ge=1,
        description=(
            "maximum number of tokens per reply, including any reasoning; a longer reply is truncated and therefore "
            "invalid"
        ),
    )

    @model_validator(mode="after")
    def _rubric_explains_grades(self) -> Self:
        if len({name.strip().casefold() for name in self.grades}) < len(self.grades):
            raise ValueError("grades: two grades have the same name, except for case and spaces")
        rubric = self.rubric.casefold()
        if len(set(self.grades.values())) < 2:
            raise ValueError("grades: expected at least two grades with different scores")
        words = {name: rf"(?<!\w){re.escape(name.casefold())}(?!\w)" for name in self.grades}
        unexplained = [name for name, word in words.items() if not re.search(word, rubric)]
        if unexplained:
            raise ValueError(
                f"rubric: does not explain the grade {unexplained[0]!r}; a rubric names each grade in `grades`"
            )
        return self


class ModelOptions(EndpointOptions):
    """The keys in a `[models.NAME]` table with `plugin = "openai-chat"`."""

    temperature: float = Field(0.0, ge=0, le=2, description="sampling temperature")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of each request")
    send_seed: bool = Field(
        True, description="send the seed with each request; set `send_seed = false` if the server rejects seeds"
    )
    send_stop: bool = Field(
        True,
        description=(
            "send at most four stop texts with each request; set `send_stop = false` if the server rejects stop texts, "
            "which kib applies in any case"
        ),
    )
    reasoning_tokens: int = Field(
        0, ge=0, description="number of tokens for the model's reasoning, in addition to the tokens of an answer"
    )
    version: str | Annotated[None, NotInIdentity] = Field(
        None,
        description="any text that names the version of the model; if it changes, all questions are asked again",
    )

    @model_validator(mode="after")
    def _stop_is_not_extra(self) -> Self:
        if "stop" in self.extra:
            raise ValueError("extra: the task determines the stop texts; set `stop` in the table of the task")
        return self
