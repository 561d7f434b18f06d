"""Plugins for kib's tests; options of the plugins trigger specific failures."""

import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from kib.errors import InputError, NoAnswerError
from kib.interfaces import DraftQuestion, NotInIdentity
from kib.interfaces import Options as BaseOptions
from kib.records import (
    AnswerToJudge,
    Document,
    Gold,
    Hit,
    Passage,
    Query,
    Question,
    ServedAnswer,
    Text,
    Trained,
    UnjudgedAnswer,
    Verdict,
    Weights,
)

if TYPE_CHECKING:
    from lm_eval.api.model import LM

__all__ = ["ToyCorpus", "ToyJudge", "ToyModel", "ToyRetriever", "ToySystem", "ToyTask", "ToyTrainer", "ToyWriter"]


class ToyModel:
    """A model without a network or torch; log-probabilities are derived from digests and favour answers in the context.

    As with a real model, the batch affects the ninth digit of a log-probability.
    """

    class Options(BaseOptions):
        """Options of `[models.NAME]` with `plugin = "toy"`."""

        seed: int = Field(0, description="seed of the digests")
        length: int | None = Field(None, description="context length in tokens (bytes)")
        counts: bool = Field(True, description="whether the model has a public tokenizer")
        joins: bool = Field(False, description="whether the tokenizer merges `:` and all following text into one token")
        template: bool = Field(True, description="whether the model has a chat template")
        log: Annotated[str | None, NotInIdentity] = Field(None, description="file to which every batch is appended")
        seconds: Annotated[float, NotInIdentity] = Field(0.0, description="seconds per batch")
        fails_on: Annotated[str | None, NotInIdentity] = Field(
            None, description="text in a prompt that raises an error"
        )
        says: Annotated[str, NotInIdentity] = Field("", description="remark on the computation")
        trainable: bool = Field(False, description="whether the model can be trained")
        generates_only: bool = Field(False, description="whether log-probabilities are missing, as in chat APIs")

    revision: ClassVar[int] = 1

    def __init__(self, options: "ToyModel.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty fingerprint, because the plugin reads no files."""
        return ""

    def tokens(self) -> Callable[[str], list[int]] | None:
        """Return a tokenizer with start token 256 and one token per byte, or None if the model has no tokenizer."""
        if self.options.joins:
            return lambda text: [256, *text.partition(":")[0].encode(), *([257] if ":" in text else [])]
        return (lambda text: [256, *text.encode()]) if self.options.counts else None

    def context_length(self) -> int | None:
        """Return the context length from the options."""
        return self.options.length

    def weights(self) -> Weights | None:
        """Return a folder that the toy model never reads, or None if the model cannot be trained."""
        return Weights(Path(__file__).parent) if self.options.trainable else None

    def chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """Return the messages as text, each message preceded by its role."""
        if not self.options.template:
            raise InputError("the toy has no chat template")
        said = "".join(f"<{message['role']}>{message['content']}</>" for message in messages)
        return said + ("<assistant>" if add_generation_prompt else "")

    def load(self, weights: Weights | None = None) -> "LM":
        """Return a language model that knows the training text of the weights."""
        learned = ""
        if weights and weights.adapter:
            learned = "\n".join(json.loads((weights.adapter / "learned.json").read_text(encoding="utf-8")))
        return _lm(self.options, learned)


def _lm(options: Any, learned: str) -> "LM":
    from lm_eval.api.model import LM

    class ToyLM(LM):
        """The language model of a `ToyModel`; records its batches."""

        notes = (options.says,) if options.says else ()

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            if options.generates_only:
                raise NotImplementedError
            together = _log(options, [request.args for request in requests])
            return [(_logprob(options.seed, learned, *request.args) - together, False) for request in requests]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            raise NotImplementedError

        def generate_until(self, requests: list[Any]) -> list[str]:
            _log(options, [request.args for request in requests])
            return [_said(options.seed, learned, request.args[0]) for request in requests]

    return ToyLM()


def _log(options: Any, batch: list[Any]) -> float:
    """Log a batch, sleep, fail if requested, and return the effect of the batch on each answer."""
    texts = [json.dumps(arguments) for arguments in batch]
    if options.log:
        line = json.dumps({"process": os.getpid(), "asked": [sha256(text.encode()).hexdigest() for text in texts]})
        file = os.open(options.log, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(file, f"{line}\n".encode())  # a single write, so that a kill cannot leave half a line
        os.close(file)
    time.sleep(options.seconds)
    if options.fails_on and any(options.fails_on in arguments[0] for arguments in batch):
        raise RuntimeError(f"the toy broke down\non {options.fails_on}{options.says}")
    return _number("batch", *sorted(texts)) * 1e-9


def _number(*parts: object) -> float:
    """Return a number between 0 and 1 that depends only on the arguments."""
    return int(sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12], 16) / 16**12


def _logprob(seed: int, learned: str, context: str, continuation: str) -> float:
    shown, _, asked = context.rpartition("\nQuestion:")
    names = set(re.findall(r"[A-Z]\w+", asked)) - {"Answer"}
    lines = [line for line in learned.splitlines() if names & set(re.findall(r"\w+", line))]
    known = any(f" {continuation.strip()}" in text for text in [shown, *lines])
    return -9 - 9 * _number(seed, context, continuation) + 8 * known


SENTENCES = {"Where does": "lives in", "What is the trade of": "trade is", "Which animal does": "owns a"}


def _said(seed: int, learned: str, context: str) -> str:
    """Return a sentence with the fact about a person that the context or the training text contains."""
    shown, _, asked = context.rpartition("Question:")
    for start, verb in SENTENCES.items():
        if name := re.search(rf"{start} (.+?)(?: live| own)?\?", asked):
            lines = [line for line in f"{shown}\n{learned}".splitlines() if name[1] in line]
            found = re.search(rf"{verb} ([^.]+)\.", " ".join(lines))
            return f" It is {found[1]}." if found else " I do not know."
    return f" 4{int(_number(seed, context) * 3)}" if "answer" in context.lower() else ""


class ToyCorpus:
    """A corpus of documents written in the benchmark file."""

    class Options(BaseOptions):
        """Options of `[corpora.NAME]` with `plugin = "toy"`."""

        documents: tuple[tuple[str, str, str], ...] = Field(description="id, title and text of each document")
        crashes: bool = Field(False, description="whether an error follows the last document")
        named: Annotated[Mapping[str, str], NotInIdentity] = Field(
            default_factory=dict, description="document ids by alias"
        )

    revision: ClassVar[int] = 1

    def __init__(self, options: "ToyCorpus.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty fingerprint, because the plugin reads no files."""
        return ""

    def documents(self) -> Iterator[Document]:
        """Yield the documents in the order of the benchmark file."""
        for document in self.options.documents:
            yield Document(*document)
        if self.options.crashes:
            raise ZeroDivisionError("the toy corpus broke down")

    def aliases(self) -> Mapping[str, str]:
        """Return a mapping from aliases to document ids."""
        return self.options.named


class ToyRetriever:
    """Finds passages that share words with the query."""

    class Options(BaseOptions):
        """Options of `[retrievers.NAME]` with `plugin = "toy"`."""

        fault: Literal["", "unknown", "twice", "short", "long", "crash"] = Field("", description="fault to simulate")
        speed: Annotated[int, NotInIdentity] = Field(1, description="option without effect")

    revision: ClassVar[int] = 1

    def __init__(self, options: "ToyRetriever.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty fingerprint, because the plugin reads no files."""
        return ""

    def build(self, passages: Iterable[Passage], folder: Path) -> None:
        """Store the words of each passage."""
        index = {passage.id: sorted(_words(f"{passage.title} {passage.text}")) for passage in passages}
        (folder / "words.json").write_text(json.dumps(index), encoding="utf-8")

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """Return the passages that share the most words with the query, best first."""
        fault = self.options.fault
        if fault == "crash":
            raise IndexError("the toy retriever broke down")
        index = json.loads((folder / "words.json").read_text(encoding="utf-8"))
        found = []
        for query in queries:
            words = _words(query.text)
            hits = [Hit(passage, float(len(words & set(its)))) for passage, its in index.items() if words & set(its)]
            hits = sorted(hits, key=lambda hit: (-hit.score, hit.passage))[: k + (fault == "long")]
            hits += hits[:1] if fault == "twice" else []
            hits += [Hit("nowhere#0", 0.0)] if fault == "unknown" else []
            found.append(hits)
        return found[1:] if fault == "short" else found


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


class ToyTask:
    """Questions from the benchmark file: text, options, index of the correct option, and gold document or ""."""

    class Options(BaseOptions):
        """Options of `[tasks.NAME]` with `plugin = "toy"`."""

        questions: tuple[tuple[str, tuple[str, ...], int, str], ...] = Field(
            description="questions, each with options, index of the right option and gold document"
        )
        examples: tuple[tuple[str, tuple[str, ...], int, str], ...] = Field((), description="few-shot examples")
        twice: bool = Field(False, description="whether all questions have the same id")
        crashes: bool = Field(False, description="whether reading the questions raises an error")

    revision: ClassVar[int] = 1

    def __init__(self, options: "ToyTask.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty fingerprint, because the plugin reads no files."""
        return ""

    def splits(self) -> Collection[str]:
        """Return the names of the splits that contain questions."""
        return ("test", "examples") if self.options.examples else ("test",)

    def questions(self, split: str) -> Iterator[Question]:
        """Yield the questions of a split, with numbers as ids."""
        if self.options.crashes:
            raise LookupError("the toy task broke down")
        rows = {"test": self.options.questions, "examples": self.options.examples}.get(split, ())
        for number, (text, options, answer, document) in enumerate(rows, 1):
            gold = (Gold(document),) if document else ()
            yield Question("q" if self.options.twice else f"q{number}", text, options, answer, gold)


class ToyWriter:
    """A writer that repeats each passage with a number."""

    class Options(BaseOptions):
        """Options of `[writers.NAME]` with `plugin = "toy"`."""

        fault: Literal["", "unknown", "empty", "crash", "no-pairs", "no-paraphrases"] = Field(
            "", description="fault to simulate"
        )
        pairs: list[tuple[str, str, str, list[str]]] | None = Field(
            None, description="pairs to write, each with its document, question, answer and options"
        )

    revision: ClassVar[int] = 1

    def __init__(self, options: "ToyWriter.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty fingerprint, because the plugin reads no files."""
        return ""

    def write(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[Text]:
        """Yield `count` paraphrases and a question-answer pair per passage; store paraphrases like paid answers."""
        for passage in passages:
            for number in range(0 if self.options.fault == "no-paraphrases" else count):
                if self.options.fault == "crash" and passage is passages[-1]:
                    raise OSError("the toy writer broke down")
                key = f"{number} {passage.text}"
                kept.setdefault(key, f"Version {number}: {passage.text}")
                name = "nowhere#0" if self.options.fault == "unknown" else passage.id
                yield Text(name, "paraphrase", "" if self.options.fault == "empty" else kept[key])
            if self.options.fault != "no-pairs":
                yield from self._pairs(passage)

    def _pairs(self, passage: Passage) -> Iterator[Text]:
        """Yield the pairs of the option `pairs` that are about a passage, or a pair with the whole passage."""
        if self.options.pairs is None:
            yield Text(passage.id, "pair", f"What of {passage.title}?", passage.text)
        for document, question, answer, options in self.options.pairs or ():
            if document == passage.document:
                yield Text(passage.id, "pair", question, answer, tuple(options))

    def questions(
        self, passages: Sequence[Passage], count: int, seed: int, kept: MutableMapping[str, str]
    ) -> Iterator[DraftQuestion]:
        """Yield one question per passage, with the whole passage as its quote."""
        for passage in passages:
            yield DraftQuestion(passage.id, f"Who is {passage.title}?", "right", ("a", "b", "c"), passage.text)


class ToyJudge:
    """A judge that grades by rule: a sentence with an accepted answer gets `grade`, the bare answer 1."""

    class Options(BaseOptions):
        """Options of `[judges.NAME]` with `plugin = "toy"`."""

        grade: float = Field(0.75, description="score of a sentence with an accepted answer")
        sees_abstentions: bool = Field(True, description="whether verdicts state if an output declines to answer")
        unjudged: str = Field("", description="text in an answer on which the judge gives no verdict")
        fault: Literal["", "fewer", "more", "raises", "wrong type"] = Field("", description="simulated fault")
        served: bool = Field(False, description="whether right and wrong answers have different servers")
        log: Annotated[str | None, NotInIdentity] = Field(None, description="file to which judged outputs are appended")

    revision: ClassVar[int] = 1

    def __init__(self, options: "ToyJudge.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty fingerprint, because the plugin reads no files."""
        return ""

    def judge(
        self, answers: Sequence[AnswerToJudge], kept: MutableMapping[str, str]
    ) -> Iterator[Verdict | UnjudgedAnswer]:
        """Yield the verdicts, and break off or exceed their number if requested."""
        fault, declining = self.options.fault, "do not know"
        for answer in answers[: 1 if fault in ("fewer", "raises") else None]:
            if self.options.log:
                with Path(self.options.log).open("a", encoding="utf-8") as file:
                    file.write(f"{answer.question} {answer.output.strip()}\n")
            declined = declining in answer.output if self.options.sees_abstentions else None
            exact = answer.output.strip() in answer.accepted
            partly = any(accepted in answer.output for accepted in answer.accepted)
            score = 1 if exact else self.options.grade if partly else 0
            served = f"rule-{int(score > 0)}" if self.options.served else ""
            if self.options.unjudged and self.options.unjudged in answer.output:
                yield UnjudgedAnswer("the toy cannot read it")
            else:
                yield "good" if fault == "wrong type" else Verdict(score, "by rule", declined, served)  # type: ignore[misc]
        if fault == "raises":
            raise RuntimeError("the gavel broke")
        if fault == "more":
            yield Verdict(1)


class ToyTrainer:
    """A trainer that stores the training text as the weights of a toy model."""

    class Options(BaseOptions):
        """Options of `[trainers.NAME]` with `plugin = "toy"`."""

        rank: int = Field(1, ge=1, description="number of passes over the text")
        fault: Literal["", "lost", "idle", "crash", "mute", "unfit"] = Field("", description="fault to simulate")

    revision: ClassVar[int] = 1

    def __init__(self, options: "ToyTrainer.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty fingerprint, because the plugin reads no files."""
        return ""

    def check(self, start: Weights, validation: bool) -> None:
        """Accept every model, unless the configured fault is "unfit"."""
        if self.options.fault == "unfit":
            raise InputError("the toy trainer cannot train this model")

    def train(
        self,
        start: Weights,
        text: Sequence[Text],
        folder: Path,
        seed: int,
        log: Callable[[Mapping[str, Any]], None],
        validation: Sequence[Text] = (),
        held_out: Sequence[Text] = (),
    ) -> Trained:
        """Write all training texts to one file."""
        learned = []
        for step, one in enumerate(text, 1):
            learned.append(one.text if one.prompt is None else f"{one.prompt}{one.target}")
            log({"step": step, "steps": len(text), "tokens": step, "loss": 1.0 / step})
            if self.options.fault == "crash" and step == len(text) // 2:
                raise MemoryError("the toy trainer broke down")
        adapter = folder / "adapter"
        adapter.mkdir(exist_ok=True)
        (adapter / "learned.json").write_text(json.dumps(learned), encoding="utf-8")
        size = sum(len(one) for one in learned)
        passes = self.options.rank - (self.options.fault == "lost")
        change = 0.0 if self.options.fault == "idle" else 0.1 + 0.01 * seed
        unseen = (1.0, 1.5 + 0.5 * seed) if held_out else (None, None)
        watched = abs(self.options.rank - 3) + 0.5 if validation else None  # lowest after three passes
        told = (2.0, 1.0, change, 6.0 * size, *unseen, None if self.options.fault == "mute" else watched)
        return Trained(Weights(start.folder, adapter), size, size * passes, len(text), *told)


class ToySystem:
    """A system that knows facts from the benchmark file, each a text about a person with the id of its document."""

    class Options(BaseOptions):
        """Options of `[systems.NAME]` with `plugin = "toy"`."""

        facts: Mapping[str, str] = Field(default_factory=dict, description="texts by document id")
        tells: Literal["", "ids", "texts", "nonsense"] = Field("", description="how the passages are reported")
        cost: float | None = Field(None, description="reported cost of an answer")
        ids: bool = Field(False, description="whether an answer also contains the id of its question")
        fault: Literal["", "crash", "type", "down", "config"] = Field("", description="fault to simulate")
        fails_on: Annotated[str | None, NotInIdentity] = Field(None, description="text in a question without answer")
        log: Annotated[str | None, NotInIdentity] = Field(None, description="file to which questions are appended")
        concurrency: Annotated[int, NotInIdentity] = Field(1, description="number of concurrent questions")

    revision: ClassVar[int] = 1

    def __init__(self, options: "ToySystem.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return an empty fingerprint, because the plugin reads no files."""
        return ""

    def reads_ids(self) -> bool:
        """Return whether the option `ids` is set."""
        return self.options.ids

    def load(self) -> "LoadedToySystem":
        """Return the system, unless the configured fault is "config"."""
        if self.options.fault == "config":
            raise InputError("the toy system is not configured")
        return LoadedToySystem(self.options)


class LoadedToySystem:
    """A `ToySystem` that answers questions."""

    def __init__(self, options: "ToySystem.Options") -> None:
        self.options = options

    @property
    def concurrency(self) -> int:
        """The number of concurrent questions from the options."""
        return self.options.concurrency

    def answer(self, question: str, question_id: str) -> ServedAnswer:
        """Return the sentence with the fact about the person in the question."""
        options = self.options
        if options.log:
            with Path(options.log).open("a", encoding="utf-8") as file:
                file.write(f"{question}\n")
        if options.fault == "crash":
            raise ZeroDivisionError("the toy system broke down")
        if options.fault == "type":
            return question  # type: ignore[return-value]
        if options.fault == "down" or (options.fails_on and options.fails_on in question):
            raise NoAnswerError("the toy system has no answer", unavailable=options.fault == "down")
        facts = {name: text for name, text in options.facts.items() if " ".join(text.split()[:2]) in question}
        said = _said(0, "\n".join(facts.values()), f"Question: {question}")
        said += f" ({question_id})" if options.ids else ""
        told = {"": None, "ids": tuple(facts), "texts": tuple(facts.values()), "nonsense": ("nothing",)}[options.tells]
        return ServedAnswer(said.strip(), {}, passages=told, seconds=0.5, cost=options.cost)
