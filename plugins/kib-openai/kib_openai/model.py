"""The model `openai-chat`, a chat model behind an OpenAI-compatible endpoint that returns text only."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, cast

from kib.errors import InputError, ServerUnavailableError
from kib.interfaces import Options
from kib.records import Recipient, Weights
from kib.support.chat_messages import chat_as_text
from kib_openai.chat_backend import ChatBackend, ModelRequest
from kib_openai.endpoint import Endpoint, api_key
from kib_openai.options import ModelOptions

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["OpenAIChatModel"]

TEST = ModelRequest("What is the capital of France? Answer with one word.", max_tokens=8)
"""The test request of `kib check`, which contains no text of the user."""

TEXT_ONLY = (
    'a chat endpoint returns no log-probabilities; set `scoring = "letter-text"` to ask for letters, or use a metric '
    'of generated answers, such as `scoring = "contains"`'
)


class OpenAIChatModel:
    """A chat model that returns text only; kib has no access to its tokenizer, so prompts are never shortened."""

    Options: ClassVar[type[Options]] = ModelOptions
    revision: ClassVar[int] = 1
    chat_only: ClassVar[bool] = True

    def __init__(self, options: ModelOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return "", because an endpoint has no digest; each answer records what the endpoint reports about itself."""
        return ""

    def language_model(self) -> str:
        """Return the name of the model, as known to the endpoint."""
        return self.options.model

    def online(self) -> list[str]:
        """Return the model and the endpoint's URL."""
        return [f"model {self.options.model} at {self.options.base_url}"]

    def recipients(self) -> list[Recipient]:
        """Return the endpoint, which receives the prompts and the API key."""
        return self.options.recipients()

    def check(self) -> None:
        """Raise InputError unless the environment contains a valid API key; no request is sent to the server."""
        api_key(self.options.api_key_env)

    def tokens(self) -> Callable[[str], list[int]] | None:
        """Return None, because an endpoint has no public tokenizer."""
        return None

    def context_length(self) -> int | None:
        """Return None, because an endpoint does not report its context length."""
        return None

    def weights(self) -> Weights | None:
        """Return None, because the model behind an endpoint cannot be trained."""
        return None

    def chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """Return the messages as one text, from which each request restores them."""
        return chat_as_text(messages, add_generation_prompt)

    def load(self, weights: Weights | None = None) -> "LM":
        """Return the model; no request is sent to the server. Raises InputError without a valid API key."""
        if weights is not None:
            raise InputError(f"the model {self.options.model} behind an endpoint cannot load trained weights")
        self.check()
        return cast("LM", ChatBackend(self.options))

    def probed_server(self) -> str:
        """Return the URL that receives the test request."""
        return self.options.chat_url

    def probe(self, kinds: Collection[str]) -> Mapping[str, str]:
        """Send one test request without retries if text is needed; log-probabilities are refused without a request.

        Raises ServerUnavailableError if the endpoint does not answer, and no log-probabilities are needed.
        """
        reasons = dict.fromkeys(set(kinds) - {"generate_until"}, TEXT_ONLY)
        if "generate_until" in kinds:
            with closing(Endpoint(self.options.model_copy(update={"retries": 0}))) as endpoint:
                try:
                    endpoint.send_test(TEST.body(self.options))
                except (InputError, ServerUnavailableError) as error:
                    if isinstance(error, ServerUnavailableError) and not reasons:
                        raise
                    reasons["generate_until"] = str(error)
        return reasons
