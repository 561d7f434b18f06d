"""Writes training text once and stores it, so that no text is paid for twice."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from kib.errors import InputError, PluginError
from kib.identity import canonical, digest, digest_lines
from kib.interfaces import PaidWriter, SelectiveWriter
from kib.plan.steps import HeldBackStep, TextStep
from kib.records import Passage, Text
from kib.run.context import RunContext
from kib.run.plugin_calls import call_plugin, iterate_plugin
from kib.run.speeds import Speed, store_speed, writing_key
from kib.run.steps.passages import Passages
from kib.spec.load import Spec
from kib.store.files import read_lines, write_lines
from kib.store.paid_answers import PaidAnswers, paid_answers_path
from kib.store.work import Work, reading_step
from kib.support.question_text import normalised

__all__ = [
    "WritingOrder",
    "as_document",
    "selected_writer",
    "write_held_back_text",
    "write_training_text",
    "writing_costs",
    "writing_order",
]

FILE = "text.jsonl"
SEED, HELD_BACK_SEED = 0, 1
"""The seeds of writers: all training seeds share one text, and held-back text must differ from this text."""

RUNNING, PAIRS = frozenset({"document", "paraphrase"}), frozenset({"pair"})

KINDS = {"documents": {"running text": RUNNING}, "pairs": {"pairs": PAIRS}}
KINDS["both"] = {**KINDS["documents"], **KINDS["pairs"]}
"""For each `kind` of a trainer's text: the required groups by name, each with the kinds of `Text` that satisfy it."""


def as_document(passage: Passage) -> Text:
    """Return a passage as training text: the title on a separate line, as in a prompt, followed by the text."""
    title = f"{passage.title}\n" if passage.title else ""
    return Text(passage.id, "document", f"{title}{passage.text}")


def write_training_text(
    step: TextStep,
    passages: Passages,
    replay: Passages | None,
    other: Sequence[Text] | None,
    read_questions: Callable[[], Collection[str]],
    context: RunContext,
) -> list[Text]:
    """Return the text for a training run; write the text only if it is not stored.

    `replay` contains passages from a different corpus that are mixed into the text. If `other` is given, the text is
    repeated to match the number of tokens in `other`. `read_questions` returns the texts of the questions that pairs
    must not repeat.
    """

    def build(folder: Path) -> dict[str, Any]:
        texts, duplicates = _without_duplicates(_originals_and_written(step, passages, context))
        texts, repeated = _without_questions(texts, read_questions)
        if not texts:
            raise InputError(f"trainers.{step.trainer}.text: there is no text to train on")
        count_tokens = _token_counter(step, context) if replay or other is not None else None
        share = _replayed_share(step, context.spec)
        if other is not None and count_tokens:
            texts = _repeated(step, texts, sum(map(count_tokens, other)) * (1 - share), count_tokens)
        if replay and count_tokens:
            texts += _replayed(texts, replay, share, count_tokens)
        count = write_lines(folder / FILE, map(_stored, texts))
        whole = digest_lines(canonical(value) for value in read_lines(folder / FILE))
        kinds = Counter(text.kind for text in texts)
        paid = _paid(writing_order(step, context.spec), passages, context)
        dropped = {"duplicates": duplicates, "repeated questions": repeated}
        return {"texts": count, "kinds": kinds, **dropped, "digest": whole, **paid}

    folder = context.work.compute("text", step.identity, build)
    return _read_texts(folder / FILE)


def write_held_back_text(
    step: HeldBackStep,
    passages: Passages,
    training: Sequence[Text],
    read_questions: Callable[[], Collection[str]],
    context: RunContext,
) -> list[Text]:
    """Return a writer's validation text; write the text only if it is not stored.

    `read_questions` returns the texts of the questions that pairs must not repeat. Raises InputError if every text that
    the writer returns is also used for training or repeats a question.
    """
    order = writing_order(step, context.spec)

    def build(folder: Path) -> dict[str, Any]:
        written, duplicates = _without_duplicates(_written(order, passages, context) if order else ())
        written, repeated = _without_questions(written, read_questions)
        known = set(training)
        texts = [text for text in written if text not in known]
        if not texts:
            raise InputError(
                f"{step.place}: every text returned by the writer {step.writer} is also used for training or repeats "
                "a question of a task"
            )
        count = write_lines(folder / FILE, map(_stored, texts))
        paid = _paid(order, passages, context)
        dropped = {"duplicates": duplicates, "repeated questions": repeated, "trained on": len(written) - count}
        return {"texts": count, **dropped, **paid}

    folder = context.work.compute("text", step.identity, build)
    return _read_texts(folder / FILE)


def _stored(text: Text) -> dict[str, Any]:
    """Return a text as a JSON object; a pair without options is stored as in versions of kib without options."""
    value = asdict(text)
    for key in ("prompt", "target", *(() if text.options else ("options",))):
        del value[key]
    return value


def _read_texts(path: Path) -> list[Text]:
    with reading_step(path):
        return [Text(**value) for value in read_lines(path)]


def writing_costs(steps: Iterable[TextStep | HeldBackStep], work: Work) -> dict[str, int | None]:
    """Return the amounts paid for the texts of `steps`, keyed by the names of the fields in a `TrainingRecord`.

    The result is empty if nothing was paid; an amount is None if a writer did not count the amount.
    """
    paid = [record["written"] for step in steps if "written" in (record := work.record("text", step.identity))]
    columns = {name: [one[name] for one in paid] for name in (paid[0] if paid else ())}
    return {f"written_{name}": None if None in column else sum(column) for name, column in columns.items()}


@dataclass(frozen=True, slots=True)
class WritingOrder:
    """An order placed with a writer: `count` texts per passage, about all passages or about `sample` passages.

    `place` is the key in the spec that requests the text. Texts of a kind that is not covered by `kind` are discarded.
    """

    place: str
    writer: str
    count: int
    sample: int | None
    kind: str
    seed: int

    def sampled(self, passages: Iterable[Passage]) -> list[Passage]:
        """Return the passages to write about: a reproducible random sample in corpus order."""
        every = list(passages)
        drawn = sorted(every, key=lambda passage: digest([passage.id, self.seed]))[: self.sample]
        kept = {passage.id for passage in drawn}
        return [passage for passage in every if passage.id in kept]

    def keeps(self, kind: str) -> bool:
        """Return whether the order accepts texts of a given kind."""
        return any(kind in kinds for kinds in KINDS[self.kind].values())


def writing_order(step: TextStep | HeldBackStep, spec: Spec) -> WritingOrder | None:
    """Return the order that a step places with a writer, or None if the step needs no writer."""
    key = spec.trainers[step.trainer].text
    if isinstance(step, HeldBackStep):
        kind = key.kind if key else "documents"
        return WritingOrder(step.place, step.writer, step.count, step.sample, kind, HELD_BACK_SEED)
    return WritingOrder(f"trainers.{step.trainer}.text", key.writer, step.count, None, key.kind, SEED) if key else None


def selected_writer(order: WritingOrder, context: RunContext) -> Any:
    """Return the writer, restricted to the kinds of text that the order accepts.

    Raises InputError if the writer declares that it does not write a required kind.
    """
    locked = context.lock.get("writers", order.writer)
    if not isinstance(locked.plugin, SelectiveWriter):
        return locked.plugin
    with call_plugin(locked, "kinds"):
        kinds = locked.plugin.kinds()
    _check_kinds(order, kinds)
    with call_plugin(locked, "only"):
        return locked.plugin.only([kind for kind in kinds if order.keeps(kind)])


def _originals_and_written(step: TextStep, passages: Passages, context: RunContext) -> Iterator[Text]:
    """Yield the passages themselves if they are requested, followed by the writer's texts."""
    key, order = context.spec.trainers[step.trainer].text, writing_order(step, context.spec)
    if key is None or key.originals:
        yield from map(as_document, passages)
    if order:
        yield from _written(order, passages, context)


def _written(order: WritingOrder, passages: Iterable[Passage], context: RunContext) -> Iterator[Text]:
    """Yield a writer's texts of the requested kinds. Raises InputError for an invalid text or a missing kind."""
    locked, writer = context.lock.get("writers", order.writer), selected_writer(order, context)
    some = order.sampled(passages)
    ids = {passage.id for passage in some}
    title, counts = f"writing text with {order.writer}", Counter[str]()
    path = paid_answers_path(context.work.folder, locked.plugin_name)
    with (
        PaidAnswers.open(path, context.work.say) as paid_answers,
        context.progress.step(title, len(some) * order.count) as advance,
    ):
        paid, begun = len(paid_answers), time.perf_counter()
        with call_plugin(locked, "write"):
            texts = writer.write(some, order.count, order.seed, paid_answers)
        for text in iterate_plugin(locked, "write", texts, Text):
            advance(1)
            _check_text(order.writer, text, ids)
            counts[text.kind] += 1
            if order.keeps(text.kind):
                yield text
        speed = Speed(len(paid_answers) - paid, time.perf_counter() - begun)
        store_speed(context.work, writing_key(locked), speed)
    _check_kinds(order, counts)


def _check_kinds(order: WritingOrder, written: Collection[str]) -> None:
    """Raise InputError if the written texts lack a required kind."""
    missing = [name for name, kinds in KINDS[order.kind].items() if kinds.isdisjoint(written)]
    if missing:
        raise InputError(
            f'{order.place}: kind = "{order.kind}", but the writer {order.writer} writes no '
            f"{' and no '.join(missing)}; change the options of the writer or request a different kind"
        )


def _paid(order: WritingOrder | None, passages: Iterable[Passage], context: RunContext) -> dict[str, Mapping[str, Any]]:
    """Return the cost entry of a text's record, computed from the paid answers, or {} if the writer is not paid."""
    writer = selected_writer(order, context) if order else None
    if order is None or not isinstance(writer, PaidWriter):
        return {}
    locked = context.lock.get("writers", order.writer)
    path = paid_answers_path(context.work.folder, locked.plugin_name)
    with PaidAnswers.open(path, context.work.say) as paid_answers, call_plugin(locked, "spent"):
        spent = writer.spent(order.sampled(passages), order.count, order.seed, paid_answers)
    return {"written": asdict(spent)}


def _check_text(writer: str, text: Text, passages: Collection[str]) -> None:
    """Raise PluginError for an empty text or a text about an unknown passage."""
    if text.passage not in passages:
        raise PluginError(f"writers.{writer}: returned a text for the unknown passage {text.passage!r}")
    if not text.text.strip() or (text.kind == "pair" and not (text.answer or "").strip()):
        raise PluginError(f"writers.{writer}: returned an empty text about passage {text.passage}")
    if text.options and text.options.count(text.answer or "") != 1:
        raise PluginError(
            f"writers.{writer}: returned a pair about passage {text.passage} with the options {list(text.options)}; "
            f"expected the answer {text.answer!r} exactly once among the options"
        )


def _without_duplicates(texts: Iterable[Text]) -> tuple[list[Text], int]:
    """Return the distinct texts and the number of removed duplicates."""
    every = list(texts)
    unique = list(dict.fromkeys(every))
    return unique, len(every) - len(unique)


def _without_questions(texts: Sequence[Text], read_questions: Callable[[], Collection[str]]) -> tuple[list[Text], int]:
    """Return the texts without the pairs that repeat a question in the same words, and the number of these pairs."""
    if not any(text.kind == "pair" for text in texts):
        return list(texts), 0
    asked = set(map(normalised, read_questions()))
    kept = [text for text in texts if text.kind != "pair" or normalised(text.text) not in asked]
    return kept, len(texts) - len(kept)


def _token_counter(step: TextStep, context: RunContext) -> Callable[[Text], int]:
    """Return a function that counts the tokens of a text."""
    locked = context.lock.get("models", step.tokenizer_of)
    with call_plugin(locked, "tokens"):
        tokens = locked.plugin.tokens()
    if tokens is None:
        raise InputError(
            f"models.{step.tokenizer_of}: comparing the sizes of training texts requires a tokenizer, but this "
            "model has none"
        )
    return lambda text: len(tokens(text.text if text.answer is None else f"{text.text} {text.answer}"))


def _replayed_share(step: TextStep, spec: Spec) -> float:
    """Return the share of replayed text in the entire training text."""
    key = spec.trainers[step.trainer].replay
    return key.share if key else 0.0


def _repeated(step: TextStep, texts: Sequence[Text], wanted: float, count_tokens: Callable[[Text], int]) -> list[Text]:
    """Repeat texts until the total is closest to `wanted` tokens.

    Raises InputError if a single pass over the texts exceeds this number.
    """
    sizes = [count_tokens(text) for text in texts]
    if wanted < sum(sizes) - sizes[-1] / 2:
        name = f"trainers.{step.trainer}.tokens"
        other = step.as_many_as.trainer if step.as_many_as else ""
        raise InputError(
            f"{name}: the limit set by the trainer {other} is {wanted:,.0f} tokens, but the training text has "
            f"{sum(sizes):,} tokens, so part of the text would not be used; name a trainer with more text, or "
            "request less text for this trainer"
        )
    return _up_to(texts, wanted, count_tokens)


def _replayed(texts: Sequence[Text], replay: Passages, share: float, count_tokens: Callable[[Text], int]) -> list[Text]:
    """Return passages of a different corpus that make up `share` of all tokens, repeating passages if necessary."""
    wanted = sum(map(count_tokens, texts)) * share / (1 - share)
    order = sorted(map(as_document, replay), key=lambda text: digest([text.passage, SEED]))
    return _up_to(order, wanted, count_tokens)


def _up_to(texts: Sequence[Text], wanted: float, count_tokens: Callable[[Text], int]) -> list[Text]:
    """Return texts in order, starting over after the last text, until the total is closest to `wanted` tokens."""
    taken: list[Text] = []
    total = 0
    for text in cycle(texts):
        size = count_tokens(text)
        if total + size / 2 > wanted:
            return taken
        taken.append(text)
        total += size
    return taken
