"""The writer `openai`, which generates training text and test questions with a chat model behind an endpoint."""

from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from kib.commands.questions import normalised
from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import DraftQuestion, Forecast, Options, SkippedPassage, Spending
from kib.records import Passage, Text
from kib_openai.completion import Completion
from kib_openai.endpoint import Endpoint
from kib_openai.options import WriterOptions
from kib_openai.paid_plugin import PaidPlugin
from kib_openai.passage_jobs import (
    FailedPassageError,
    Job,
    write_pairs,
    write_paraphrases,
    write_questions,
)
from kib_openai.prompts import render
from kib_openai.request_pool import RequestPool, estimated_tokens, replay, sum_counts

__all__ = ["OpenAIWriter"]

PAIR_TOKENS, OPTION_TOKENS, QUESTION_TOKENS, QUESTION_TEXT_TOKENS, NUMBER_TOKENS = 60, 20, 160, 25, 4
"""Numbers of tokens assumed in forecasts.

The numbers are per pair, wrong option of a pair, question with options and quote, question text, and number.
"""

KINDS = {"paraphrases": ("paraphrase",), "pairs": ("pair",), "both": ("paraphrase", "pair")}
"""The kinds of text for each value of the option `kind`."""

FIRST_PASSAGES = 20
"""If the model writes no question for this number of passages at the start, no further requests are sent."""

RequestTokens = tuple[int, int]
"""The estimated numbers of tokens in a request and in its answer."""


class OpenAIWriter(PaidPlugin[WriterOptions]):
    """A writer of paraphrases, pairs and questions; every answer is stored before it is used."""

    Options: ClassVar[type[Options]] = WriterOptions
    revision: ClassVar[int] = 2

    def fingerprint(self) -> str:
        """Return a digest of the held-out question files, or "" if the options list no such files."""
        paths = self.options.held_out
        for path in paths:
            if not path.is_file():
                raise InputError(f"{path}: no such file; expected a question file written by `kib questions`")
        return digest(sorted(map(digest_file, paths))) if paths else ""

    def write(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[Text]:
        """Yield, passage by passage, `count` paraphrases, `count` pairs, or `count` paraphrases and then `count` pairs.

        Raise InputError if the server rejects a request or does not answer, or if all attempts return invalid answers.
        """
        pool: RequestPool[list[Text]] = self._pool(Endpoint(self.options), kept)
        for texts in pool.run(self._text_job(passage, count, seed) for passage in passages):
            yield from texts

    def questions(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[DraftQuestion | SkippedPassage]:
        """Yield `count` four-option questions per passage, with the most specific question first.

        A passage whose answers are all invalid is skipped. Raise InputError if the server rejects the first request or
        does not answer, or if no question was written for the first FIRST_PASSAGES passages.
        """
        endpoint = Endpoint(self.options)
        pool: RequestPool[list[DraftQuestion | SkippedPassage]] = self._pool(endpoint, kept)
        skipped = 0
        with closing(pool.run(self._question_job(one, count, seed) for one in passages)) as written:
            for number, results in enumerate(written, 1):
                for result in results:
                    if not isinstance(result, SkippedPassage):
                        yield result
                        continue
                    skipped += 1
                    reason = endpoint.without_key(result.reason)
                    if skipped == number == FIRST_PASSAGES:
                        written.throw(_no_questions(reason))  # the pool stores the answers in flight, then raises
                    yield replace(result, reason=reason, allowed=skipped <= self.options.may_miss)

    def _pool(self, endpoint: Endpoint, kept: MutableMapping[str, str]) -> RequestPool[Any]:
        return RequestPool(endpoint, kept, self.options.token_budget, self.options.may_miss)

    def kinds(self) -> list[str]:
        """Return the kinds of text selected by the option `kind`."""
        return list(KINDS[self.options.kind])

    def only(self, kinds: Collection[str]) -> "OpenAIWriter":
        """Return a writer restricted to the given kinds; requests for one kind do not depend on other kinds."""
        wanted = set(kinds) & set(self.kinds())
        (kind,) = (name for name, written in KINDS.items() if set(written) == wanted)
        return OpenAIWriter(self.options.model_copy(update={"kind": kind}))

    def forecast(
        self,
        passages: Sequence[Passage],
        count: int,
        seed: int = 0,
        kept: Mapping[str, str] | None = None,
        what: Literal["text", "questions"] = "text",
    ) -> Forecast:
        """Estimate the requests that have no answer in `kept`, assuming valid answers and one token per four bytes."""
        missing: dict[str, list[RequestTokens]] = {}
        for passage in passages:
            for job, estimates in self._estimated_jobs(passage, count, seed, what):
                _, request = replay(job, self.options, kept or {})
                if request:  # identical passages share their requests
                    missing[request.key(self.options)] = estimates[request.step :]
        requests = [request for remaining in missing.values() for request in remaining]
        return Forecast(len(requests), sum(read for read, _ in requests), sum(written for _, written in requests))

    def spent(self, passages: Sequence[Passage], count: int, seed: int, kept: Mapping[str, str]) -> Spending:
        """Count the answers used for the texts, including invalid answers, and sum the server's token counts."""
        used: dict[str, Completion] = {}  # identical passages share their requests
        for passage in passages:
            used |= replay(self._text_job(passage, count, seed), self.options, kept)[0]
        prompts = [completion.prompt_tokens for completion in used.values()]
        completions = [completion.completion_tokens for completion in used.values()]
        return Spending(len(used), sum_counts(prompts), sum_counts(completions))

    def _text_job(self, passage: Passage, count: int, seed: int) -> Job[list[Text]]:
        """Return the paraphrases, each preceded by the passage's title, then the pairs."""
        texts: list[Text] = []
        if self.options.kind != "pairs":
            title = f"{passage.title}\n" if passage.title else ""
            paraphrases = yield from write_paraphrases(self.options, passage, count, seed)
            texts += [Text(passage.id, "paraphrase", title + text) for text in paraphrases]
        if self.options.kind != "paraphrases":
            pairs = yield from write_pairs(self.options, self._held_out, passage, count, seed)
            texts += [Text(passage.id, "pair", pair.question, pair.answer, pair.options) for pair in pairs]
        return texts

    def _question_job(self, passage: Passage, count: int, seed: int) -> Job[list[DraftQuestion | SkippedPassage]]:
        try:
            questions = yield from write_questions(self.options, passage, count, seed)
        except FailedPassageError as error:
            return [SkippedPassage(passage.id, str(error))]
        return [DraftQuestion(passage.id, one.question, one.right, one.wrong, one.quote) for one in questions]

    @cached_property
    def _held_out(self) -> frozenset[str]:
        """The normalised texts of the held-out questions, which training pairs must not repeat."""
        from kib.plugins.builtin.questions_file_task import FileTask

        files = [FileTask(FileTask.Options(path=path)) for path in self.options.held_out]
        return frozenset(normalised(question.text) for file in files for question in file.questions("test"))

    def _estimated_jobs(
        self, passage: Passage, count: int, seed: int, what: str
    ) -> Iterator[tuple[Job[Any], list[RequestTokens]]]:
        """Yield a passage's jobs, each with the estimated token counts of its requests in order."""
        o = self.options
        if what == "questions":
            writing = self._prompt_tokens("questions", passage, count), count * QUESTION_TOKENS
            order_prompt = self._prompt_tokens("specific", passage, count, ["?"] * count)
            ordering = order_prompt + count * QUESTION_TEXT_TOKENS, count * NUMBER_TOKENS
            yield write_questions(o, passage, count, seed), [writing, ordering][: 1 if count == 1 else 2]
            return
        sizes = [min(o.per_call, count - done) for done in range(0, count, o.per_call)]
        if o.kind != "pairs":
            tokens = estimated_tokens(passage.text) + NUMBER_TOKENS
            estimates = [(self._prompt_tokens("paraphrases", passage, size), size * tokens) for size in sizes]
            yield write_paraphrases(o, passage, count, seed), estimates
        if o.kind != "paraphrases":
            tokens = PAIR_TOKENS + o.wrong_per_pair * OPTION_TOKENS
            estimates = [(self._prompt_tokens("pairs", passage, size), size * tokens) for size in sizes]
            yield write_pairs(o, self._held_out, passage, count, seed), estimates

    def _prompt_tokens(self, kind: str, passage: Passage, count: int, texts: Sequence[str] = ()) -> int:
        wrong = self.options.wrong_per_pair if kind == "pairs" else 0
        return estimated_tokens(render(kind, getattr(self.options.prompts, kind), passage, count, texts, wrong))


def _no_questions(reason: str) -> InputError:
    return InputError(
        f"no question was written for the first {FIRST_PASSAGES} passages, so kib sends no further requests; {reason}; "
        "all answers are stored; use a different model or different `prompts`"
    )
