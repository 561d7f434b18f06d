"""The answers of a chat endpoint to the prompts of a benchmark: each answer is stored as soon as it arrives."""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from kib.errors import InputError, MissingAnswersError, ServerUnavailableError, UnansweredRequestsError
from kib.identity import canonical, digest
from kib.records import FINGERPRINT, SERVED_MODEL, ServedAnswer
from kib.run.token_budget import DEFAULT_ANSWER_TOKENS
from kib.support.chat_messages import messages_of
from kib.support.phrases import counted
from kib_openai.completion import Completion
from kib_openai.endpoint import RESUME, Endpoint, RequestFailedError, UnansweredRequestError
from kib_openai.options import ModelOptions
from kib_openai.request_pool import PooledJob, RequestPool

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["ChatBackend", "ModelRequest"]

MAX_STOP = 4
"""The number of stop texts that endpoints accept."""

FIRST_REQUESTS = 3
"""If none of this number of requests at the start has an answer, no further requests are sent."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A prompt, the texts that end its answer, and the maximum number of tokens of its answer."""

    prompt: str
    stop: tuple[str, ...] = ()
    max_tokens: int = DEFAULT_ANSWER_TOKENS

    @classmethod
    def of(cls, prompt: str, settings: dict[str, Any]) -> "ModelRequest":
        """Return the request for the arguments of lm-eval's `generate_until`."""
        stop = settings.get("until") or ()
        limit = settings.get("max_gen_toks") or DEFAULT_ANSWER_TOKENS
        return cls(prompt, (stop,) if isinstance(stop, str) else tuple(stop), int(limit))

    def body(self, options: ModelOptions) -> dict[str, Any]:
        """Return the JSON body of the request."""
        body: dict[str, Any] = {
            "model": options.model,
            "messages": messages_of(self.prompt),
            "temperature": options.temperature,
            options.max_tokens_field: self.max_tokens + options.reasoning_tokens,
            **options.extra,
        }
        if options.send_seed:
            body["seed"] = options.seed
        if options.send_stop and self.stop:
            body["stop"] = list(self.stop[:MAX_STOP])
        return body

    def key(self, options: ModelOptions) -> str:
        """Return a digest of the body and of all stop texts."""
        return digest([canonical(self.body(options)), self.stop])

    def answer(self, completion: Completion) -> str:
        """Return the text of a completion before the first stop text; servers may ignore some stop texts."""
        text = completion.content or ""
        return text[: min((at for stop in self.stop if (at := text.find(stop)) >= 0), default=None)]


class ChatBackend:
    """The model behind a chat endpoint, with the methods of lm-eval's models; it generates text only."""

    def __init__(self, options: ModelOptions) -> None:
        self.options = options
        self.notes: list[str] = []

    def loglikelihood(self, requests: "Sequence[Instance]") -> NoReturn:
        """Raise NotImplementedError, because chat endpoints return no log-probabilities of a prompt."""
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood

    def generate_until(self, requests: "Sequence[Instance]") -> list[str]:
        """Return the answers in the order of the requests, as `answer_each` does without storing them."""
        answers: dict[int, str] = {}
        self.answer_each(requests, lambda number, served: answers.update({number: served.value}))
        return [answers[number] for number in range(len(requests))]

    def answer_each(self, requests: "Sequence[Instance]", store: Callable[[int, ServedAnswer], None]) -> None:
        """Store the answer of each request as soon as the answer arrives.

        A request that the server rejects or never answers does not stop the others. Raises MissingAnswersError if such
        requests remain (UnansweredRequestsError if none of them was rejected), InputError if the server rejects the
        first requests, and ServerUnavailableError if the server is down.
        """
        asked = [ModelRequest.of(*instance.args) for instance in requests]
        endpoint = Endpoint(self.options)
        pool: RequestPool[RequestFailedError | None] = RequestPool(
            endpoint, _Received(asked, self.options, store, self._note)
        )
        pool.accepted_requests = 1  # rejected requests end no run before all others are asked
        failures: list[RequestFailedError] = []
        with closing(pool.run(map(_job, asked))) as outcomes:
            for number, failure in enumerate(outcomes, 1):
                failures += [failure] if failure else []
                if len(failures) == number == FIRST_REQUESTS:
                    kind = ServerUnavailableError if _all_unanswered(failures) else InputError
                    reason = endpoint.without_key(str(failures[0]))
                    outcomes.throw(kind(f"{reason}; the first {FIRST_REQUESTS} requests have no answer"))
        if failures:
            reason, count, total = endpoint.without_key(str(failures[0])), counted(len(failures), "request"), len(asked)
            raise (UnansweredRequestsError if _all_unanswered(failures) else MissingAnswersError)(
                f"{reason}; {count} of {total:,} {'has' if len(failures) == 1 else 'have'} no answer; {RESUME}"
            )

    def _note(self, completion: Completion) -> None:
        """Add a remark on answers without text, each kind once."""
        if completion.content is None and (remark := _remark(completion)) not in self.notes:
            self.notes.append(remark)


def _job(request: ModelRequest) -> PooledJob[RequestFailedError | None]:
    """Request an answer; return the error if there is no answer, or None."""
    try:
        yield request
    except RequestFailedError as error:
        return error
    return None


def _all_unanswered(failures: Sequence[RequestFailedError]) -> bool:
    """Return whether the server rejected none of the failed requests."""
    return all(isinstance(failure, UnansweredRequestError) for failure in failures)


def _remark(completion: Completion) -> str:
    if completion.refusal:
        return "some answers are empty, because the model refused to answer"
    if completion.finish == "content_filter":
        return "some answers are empty, because the endpoint filtered their content (finish_reason content_filter)"
    if completion.reasoning or completion.finish == "length":
        return (
            "some answers are empty, because the model used all their tokens for its reasoning; raise "
            "`reasoning_tokens` of the model, or `max_tokens` of the task"
        )
    return f"some answers are empty (finish_reason {completion.finish or 'not reported'})"


class _Received(MutableMapping[str, str]):
    """Passes each completion that a pool receives on to `store`, and keeps none."""

    def __init__(
        self,
        asked: Sequence[ModelRequest],
        options: ModelOptions,
        store: Callable[[int, ServedAnswer], None],
        note: Callable[[Completion], None],
    ) -> None:
        self._asked, self._store, self._note = asked, store, note
        self._numbers: dict[str, list[int]] = {}
        for number, request in enumerate(asked):
            self._numbers.setdefault(request.key(options), []).append(number)

    def __setitem__(self, key: str, stored: str) -> None:
        completion = Completion.from_json(stored)
        self._note(completion)
        reported = {SERVED_MODEL: completion.model, FINGERPRINT: completion.fingerprint}
        server = {name: value for name, value in reported.items() if value}
        for number in self._numbers[key]:
            text = self._asked[number].answer(completion)
            self._store(number, ServedAnswer(text, server, completion.prompt_tokens, completion.completion_tokens))

    def __getitem__(self, key: str) -> str:
        raise KeyError(key)

    def __delitem__(self, key: str) -> None:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
