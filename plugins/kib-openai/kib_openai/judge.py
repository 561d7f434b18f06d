"""The judge `openai`, which grades generated answers with a chat model behind an endpoint."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing
from typing import ClassVar

from kib.errors import InputError
from kib.interfaces import Forecast, Options, Spending
from kib.records import AnswerToJudge, UnjudgedAnswer, Verdict
from kib_openai.completion import Completion
from kib_openai.endpoint import Endpoint
from kib_openai.options import JudgeOptions
from kib_openai.paid_plugin import PaidPlugin
from kib_openai.request_pool import RequestPool, estimated_tokens, replay, sum_counts
from kib_openai.verdicts import grade_answer, judge_prompt

__all__ = ["OpenAIJudge"]

FIRST_ANSWERS = 10
"""If the judge gives no verdict on this number of answers at the start, no further requests are sent."""

VERDICT_TOKENS = 40
"""The number of tokens in a verdict that forecasts assume."""


class OpenAIJudge(PaidPlugin[JudgeOptions]):
    """A judge whose replies are stored before they are used, by everything that decides them."""

    Options: ClassVar[type[Options]] = JudgeOptions
    revision: ClassVar[int] = 1

    def fingerprint(self) -> str:
        """Return "", because the rubric is an option and an endpoint has no digest."""
        return ""

    def language_model(self) -> str:
        """Return the name of the model, as known to the endpoint."""
        return self.options.model

    def prompt(self, answer: AnswerToJudge) -> str:
        """Return the message with which the model grades an answer."""
        return judge_prompt(self.options, answer)

    def probed_server(self) -> str:
        """Return the URL that receives the test request."""
        return self.options.chat_url

    def probe(self, answer: AnswerToJudge) -> Verdict | UnjudgedAnswer:
        """Request a verdict once, without retries.

        Raises ServerUnavailableError if the endpoint does not answer, and InputError if it cannot be used.
        """
        options = self.options.model_copy(update={"retries": 0, "attempts": 1})
        job = grade_answer(options, answer)
        with closing(Endpoint(options)) as endpoint:
            completion = endpoint.send_test(next(job).body(options))
        try:
            job.send(completion)
        except StopIteration as end:
            verdict: Verdict | UnjudgedAnswer = end.value
            return verdict
        raise AssertionError("a judge asks once for each attempt")

    def judge(
        self, answers: Sequence[AnswerToJudge], kept: MutableMapping[str, str]
    ) -> Iterator[Verdict | UnjudgedAnswer]:
        """Yield one verdict per answer, in the order of `answers`; stored replies need no request.

        An answer whose replies are all invalid, or whose request alone fails, is unjudged. Raise ServerUnavailableError
        if the server is down, and InputError if none of the first FIRST_ANSWERS answers has a verdict.
        """
        endpoint = Endpoint(self.options)
        pool: RequestPool[Verdict | UnjudgedAnswer] = RequestPool(endpoint, kept, self.options.token_budget)
        pool.accepted_requests = 1  # a rejected request does not end the judging before the first answers are asked
        unjudged = 0
        with closing(pool.run(grade_answer(self.options, answer) for answer in answers)) as verdicts:
            for number, verdict in enumerate(verdicts, 1):
                if isinstance(verdict, Verdict):
                    yield verdict
                    continue
                unjudged += 1
                reason = endpoint.without_key(verdict.reason)
                if unjudged == number == FIRST_ANSWERS:
                    verdicts.throw(_no_verdict(reason))  # the pool stores the replies in flight, then raises
                yield UnjudgedAnswer(reason)

    def forecast(self, answers: Sequence[AnswerToJudge], kept: Mapping[str, str]) -> Forecast:
        """Estimate the requests that have no reply in `kept`, assuming valid replies and one token per four bytes."""
        missing: dict[str, int] = {}
        for answer in answers:
            _, request = replay(grade_answer(self.options, answer), self.options, kept)
            if request:  # equal answers share their requests
                missing[request.key(self.options)] = estimated_tokens(judge_prompt(self.options, answer))
        return Forecast(len(missing), sum(missing.values()), VERDICT_TOKENS * len(missing))

    def spent(self, answers: Sequence[AnswerToJudge], kept: Mapping[str, str]) -> Spending:
        """Count the replies used for the verdicts, including invalid replies, and sum the server's token counts."""
        used: dict[str, Completion] = {}
        for answer in answers:
            used |= replay(grade_answer(self.options, answer), self.options, kept)[0]
        counts = [(reply.prompt_tokens, reply.completion_tokens) for reply in used.values()]
        return Spending(len(used), sum_counts(read for read, _ in counts), sum_counts(written for _, written in counts))


def _no_verdict(reason: str) -> InputError:
    return InputError(
        f"the judge gave no verdict on the first {FIRST_ANSWERS} answers, so kib sends no further requests; {reason}; "
        "all replies are stored; raise `attempts`, or use a different model or a different `rubric`"
    )
