"""The methods that the writer and the judge have in common, both of which pay for answers of an endpoint."""

from typing import Generic, TypeVar

from kib.errors import InputError
from kib.records import Recipient
from kib_openai.endpoint import api_key
from kib_openai.options import EndpointOptions

__all__ = ["PaidPlugin"]

AnyOptions = TypeVar("AnyOptions", bound=EndpointOptions)


class PaidPlugin(Generic[AnyOptions]):
    """A plugin that pays for the answers of a chat endpoint."""

    def __init__(self, options: AnyOptions) -> None:
        self.options = options

    def online(self) -> list[str]:
        """Return the model and the endpoint's URL, with an error message if the API key is missing or invalid."""
        model = f"model {self.options.model} at {self.options.base_url}"
        try:
            self.ready()
        except InputError as error:
            return [f"{model}; {error}"]
        return [model]

    def recipients(self) -> list[Recipient]:
        """Return the endpoint, which receives the text of the requests and the API key."""
        return self.options.recipients()

    def ready(self) -> None:
        """Raise InputError unless the environment contains a valid API key; no request is sent to the server."""
        api_key(self.options.api_key_env)
