"""The writer `openai`: a chat model behind an OpenAI-compatible endpoint writes text to train on and questions."""

from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from functools import cached_property
from math import ceil
from typing import Any, ClassVar, Literal

from kib.commands.questions import normalised
from kib.errors import InputError
from kib.identity import digest, digest_file
from kib.interfaces import DraftQuestion, Forecast, Options, Spending
from kib.records import Passage, Text
from kib_openai import jobs
from kib_openai.answers import Reply
from kib_openai.desk import Ask, Desk, Failed, Job, remember
from kib_openai.endpoint import Endpoint, key_in
from kib_openai.options import WriterOptions
from kib_openai.prompts import render

__all__ = ["OpenAIWriter"]

BYTES = 4
"""UTF-8 bytes a token, for forecasts: about right for English and for Chinese alike."""

PAIR, QUESTION, PLAIN, PLACE = 60, 160, 25, 4
"""Tokens of a pair, a question with options and quote, a question alone, and a number in an order, for forecasts."""

KINDS = {"paraphrases": ("paraphrase",), "pairs": ("pair",), "both": ("paraphrase", "pair")}
"""Kinds of text by the option `kind`."""

Cost = tuple[int, int]
"""Tokens of a request and of its answer."""


class OpenAIWriter:
    """Writes paraphrases, pairs and questions; each answer is in the memory before it is used."""

    Options: ClassVar[type[Options]] = WriterOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: WriterOptions) -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Digest of the questions that are held out; "" where there are none."""
        paths = self.options.held_out
        for path in paths:
            if not path.is_file():
                raise InputError(f"{path}: no such file; expected questions, as `kib questions` writes them")
        return digest(sorted(map(digest_file, paths))) if paths else ""

    def online(self) -> list[str]:
        """The model behind the endpoint, and what is missing to ask it."""
        model = f"model {self.options.model} at {self.options.base_url}"
        try:
            self.ready()
        except InputError as error:
            return [f"{model}; {error}"]
        return [model]

    def ready(self) -> None:
        """InputError where the key is not in the environment; the server is not asked."""
        key_in(self.options.api_key_env)

    def write(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[Text]:
        """`count` paraphrases a passage, or pairs, or first one then the other, in the order of the passages.

        InputError where the server refuses, does not answer, or answers what is broken in every attempt.
        """
        desk: Desk[list[Text]] = Desk(Endpoint(self.options), kept)
        for texts in desk.run(self._texts(passage, count, seed) for passage in passages):
            yield from texts

    def questions(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[DraftQuestion]:
        """`count` questions with four options a passage, its most specific ones first; errors as `write`."""
        desk: Desk[list[DraftQuestion]] = Desk(Endpoint(self.options), kept)
        for drafts in desk.run(self._drafts(passage, count, seed) for passage in passages):
            yield from drafts

    def kinds(self) -> list[str]:
        """The kinds of text that the option `kind` asks for."""
        return list(KINDS[self.options.kind])

    def only(self, kinds: Collection[str]) -> "OpenAIWriter":
        """The same writer with the `kind` that brings these alone; a request for one does not depend on the other."""
        (kind,) = (name for name, some in KINDS.items() if set(some) == set(kinds) & set(self.kinds()))
        return OpenAIWriter(self.options.model_copy(update={"kind": kind}))

    def forecast(
        self,
        passages: Sequence[Passage],
        count: int,
        seed: int = 0,
        kept: Mapping[str, str] | None = None,
        what: Literal["text", "questions"] = "text",
    ) -> Forecast:
        """Requests that are not answered in `kept` yet, if each answer comes and is whole; a token is 4 bytes."""
        ahead: dict[str, list[Cost]] = {}
        for passage in passages:
            for job, costs in self._planned(passage, count, seed, what):
                _, ask = self._answered(job, kept or {})
                if ask:  # equal passages ask once
                    ahead[ask.key(self.options)] = costs[ask.step :]
        every = [call for calls in ahead.values() for call in calls]
        return Forecast(len(every), sum(call[0] for call in every), sum(call[1] for call in every))

    def spent(self, passages: Sequence[Passage], count: int, seed: int, kept: Mapping[str, str]) -> Spending:
        """The answers in `kept` that the texts were made of, broken ones included, by the server's own counts."""
        found: dict[str, Reply] = {}  # equal passages ask once
        for passage in passages:
            found |= self._answered(self._texts(passage, count, seed), kept)[0]
        read = [reply.prompt_tokens for reply in found.values()]
        made = [reply.completion_tokens for reply in found.values()]
        return Spending(len(found), _sum(read), _sum(made))

    def _texts(self, passage: Passage, count: int, seed: int) -> Job[list[Text]]:
        """The paraphrases with the title above, as the passage itself is trained on; then the pairs."""
        texts: list[Text] = []
        if self.options.kind != "pairs":
            head = f"{passage.title}\n" if passage.title else ""
            written = yield from jobs.paraphrases(self.options, passage, count, seed)
            texts += [Text(passage.id, "paraphrase", head + text) for text in written]
        if self.options.kind != "paraphrases":
            pairs = yield from jobs.pairs(self.options, self._held_out, passage, count, seed)
            texts += [Text(passage.id, "pair", question, answer) for question, answer in pairs]
        return texts

    def _drafts(self, passage: Passage, count: int, seed: int) -> Job[list[DraftQuestion]]:
        drafts = yield from jobs.questions(self.options, passage, count, seed)
        return [DraftQuestion(passage.id, one.question, one.right, one.wrong, one.quote) for one in drafts]

    @cached_property
    def _held_out(self) -> frozenset[str]:
        """The held-out questions without case, space and punctuation."""
        from kib.plugins.builtin.questions_file_task import FileTask

        files = [
            FileTask(FileTask.Options(path=path, examples=None, validation=None, reworded=None))
            for path in self.options.held_out
        ]
        return frozenset(normalised(question.text) for file in files for question in file.questions("test"))

    def _planned(self, passage: Passage, count: int, seed: int, what: str) -> Iterator[tuple[Job[Any], list[Cost]]]:
        """The jobs of a passage, each with what its requests would cost one after the other."""
        o = self.options
        if what == "questions":
            written = self._prompt("questions", passage, count), count * QUESTION
            ordered = self._prompt("specific", passage, count, ["?"] * count) + count * PLAIN, count * PLACE
            yield jobs.questions(o, passage, count, seed), [written, ordered][: 1 if count == 1 else 2]
            return
        parts = [min(o.per_call, count - done) for done in range(0, count, o.per_call)]
        if o.kind != "pairs":
            size = _tokens(passage.text) + PLACE
            costs = [(self._prompt("paraphrases", passage, part), part * size) for part in parts]
            yield jobs.paraphrases(o, passage, count, seed), costs
        if o.kind != "paraphrases":
            costs = [(self._prompt("pairs", passage, part), part * PAIR) for part in parts]
            yield jobs.pairs(o, self._held_out, passage, count, seed), costs

    def _prompt(self, kind: str, passage: Passage, count: int, given: Sequence[str] = ()) -> int:
        return _tokens(render(kind, getattr(self.options.prompts, kind), passage, count, given))

    def _answered(self, job: Job[Any], kept: Mapping[str, str]) -> tuple[dict[str, Reply], Ask | None]:
        """A job's answers in the memory, and its first request that has none there; None where it ends or fails."""
        found: dict[str, Reply] = {}
        try:
            ask = next(job)
            while (reply := remember(kept, key := ask.key(self.options))) is not None:
                found[key] = reply
                ask = job.send(reply)
        except (StopIteration, Failed):
            return found, None
        return found, ask


def _tokens(text: str) -> int:
    return ceil(len(text.encode()) / BYTES)


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
