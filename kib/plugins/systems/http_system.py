"""The system `http`: any service that answers a question over HTTP with JSON."""

from typing import ClassVar

from kib.interfaces import Options
from kib.plugins.systems.http_client import LoadedHttpSystem
from kib.plugins.systems.http_options import HttpOptions, templates_in
from kib.records import Recipient, ServedAnswer
from kib.support.credentials import read_credential
from kib.support.templates import template_variables

__all__ = ["HttpSystem"]

TEST_QUESTION = "What is the capital of France? Answer with one word."
"""The test question of `kib check`, which contains no text of the user."""


CREDENTIAL = "the system's credential"


class HttpSystem:
    """A system behind an address, to which each question is sent in a request of its own."""

    Options: ClassVar[type[Options]] = HttpOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: HttpOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return "", because a service has no digest; the option `version` identifies what the service runs."""
        return ""

    def online(self) -> list[str]:
        """Return the address of the system."""
        return [f"answers of the system at {self.options.url}"]

    def recipients(self) -> list[Recipient]:
        """Return the server, which receives the questions and the credential."""
        return self.options.recipients()

    def reads_ids(self) -> bool:
        """Return whether a template of the request uses the id of the question."""
        return any("id" in template_variables(template) for template in templates_in(self.options.request))

    def check(self) -> None:
        """Raise InputError unless the environment contains a valid credential; no request is sent."""
        read_credential(self.options.api_key_env, CREDENTIAL)

    def load(self) -> LoadedHttpSystem:
        """Return the system; no request is sent. Raises InputError without a valid credential."""
        return LoadedHttpSystem(self.options, read_credential(self.options.api_key_env, CREDENTIAL))

    def probed_server(self) -> str:
        """Return the address that receives the test question."""
        return self.options.url

    def probe(self) -> ServedAnswer:
        """Send the test question once. Raises InputError if there is no valid answer."""
        options = self.options.model_copy(update={"retries": 0})
        loaded = LoadedHttpSystem(options, read_credential(options.api_key_env, CREDENTIAL))
        try:
            return loaded.answer(TEST_QUESTION, "test" if self.reads_ids() else "")
        finally:
            loaded.release()
