"""What a trainer reads: frozen to a file like hits, so that the same text is never written or paid for twice."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.identity import canonical, digest, digest_lines
from kib.interfaces import PaidWriter, SelectiveWriter
from kib.plan.planner import HeldBackStep, TextStep
from kib.plugins.resolve import Lock
from kib.progress import Progress
from kib.records import Passage, Text
from kib.run.steps.passages import Passages
from kib.spec.load import Spec
from kib.store.folders import Work, read_lines, write_lines
from kib.store.paid_answers import PaidAnswers, memory_of

__all__ = ["Order", "as_document", "hold_back", "make", "ordered", "writer_of", "written"]

FILE = "text.jsonl"
SEED, OTHER_SEED = 0, 1
"""Of writers: text is frozen once, training seeds differ over the same text; what is held back is other text."""

RUNNING, PAIRS = frozenset({"document", "paraphrase"}), frozenset({"pair"})

KINDS = {"documents": {"running text": RUNNING}, "pairs": {"pairs": PAIRS}}
KINDS["both"] = {**KINDS["documents"], **KINDS["pairs"]}
"""What a trainer asks a writer for: names of kinds that must be there, each with the kinds of text that are one."""


def as_document(passage: Passage) -> Text:
    """A passage as training text: its title line, as in a prompt, then its text."""
    title = f"{passage.title}\n" if passage.title else ""
    return Text(passage.id, "document", f"{title}{passage.text}")


def make(
    step: TextStep,
    passages: Passages,
    replay: Passages | None,
    other: Sequence[Text] | None,
    spec: Spec,
    lock: Lock,
    work: Work,
    progress: Progress,
) -> list[Text]:
    """The texts of a training, made once; `other` is the text whose number of tokens is to be matched."""

    def build(folder: Path) -> dict[str, Any]:
        texts, twice = _without_twins(_given(step, passages, spec, lock, work, progress))
        if not texts:
            raise InputError(f"trainers.{step.trainer}.text: there is nothing to train on")
        measure, share = _measure(step, lock) if replay or other is not None else None, _share(step, spec)
        if other is not None and measure:
            texts = _repeated(step, texts, sum(map(measure, other)) * (1 - share), measure)
        if replay and measure:
            texts += _replayed(texts, replay, share, measure)
        count = write_lines(folder / FILE, map(asdict, texts))
        whole = digest_lines(canonical(value) for value in read_lines(folder / FILE))
        kinds = Counter(text.kind for text in texts)
        paid = _paid(ordered(step, spec), passages, lock, work)
        return {"texts": count, "kinds": kinds, "duplicates": twice, "digest": whole, **paid}

    folder = work.make("text", step.identity, build)
    return [Text(**value) for value in read_lines(folder / FILE)]


def hold_back(
    step: HeldBackStep, passages: Passages, training: Sequence[Text], spec: Spec, lock: Lock, work: Work, bar: Progress
) -> list[Text]:
    """A writer's texts that are not trained on, made once; InputError where all that it writes is trained on."""
    order = ordered(step, spec)

    def build(folder: Path) -> dict[str, Any]:
        written, twice = _without_twins(_delivered(order, passages, lock, work, bar) if order else ())
        known = set(training)
        texts = [text for text in written if text not in known]
        if not texts:
            raise InputError(f"{step.place}: every text that the writer {step.writer} gave is trained on as well")
        count = write_lines(folder / FILE, map(asdict, texts))
        paid = _paid(order, passages, lock, work)
        return {"texts": count, "duplicates": twice, "trained on": len(written) - count, **paid}

    folder = work.make("text", step.identity, build)
    return [Text(**value) for value in read_lines(folder / FILE)]


def written(steps: Iterable[TextStep | HeldBackStep], work: Work) -> dict[str, int | None]:
    """What was paid to write the texts of some steps, all in all; empty where nothing was, None where not counted."""
    paid = [note["written"] for step in steps if "written" in (note := work.note("text", step.identity))]
    columns = {name: [one[name] for one in paid] for name in (paid[0] if paid else ())}
    return {f"written_{name}": None if None in column else sum(column) for name, column in columns.items()}


@dataclass(frozen=True, slots=True)
class Order:
    """What a step asks of a writer: `count` texts of each passage, or of `sample` passages, those of a `kind` kept."""

    place: str
    writer: str
    count: int
    sample: int | None
    kind: str
    seed: int

    def sampled(self, passages: Iterable[Passage]) -> list[Passage]:
        """The passages to write of, drawn by chance and the same ones every time, in the order of the corpus."""
        every = list(passages)
        drawn = sorted(every, key=lambda passage: digest([passage.id, self.seed]))[: self.sample]
        kept = {passage.id for passage in drawn}
        return [passage for passage in every if passage.id in kept]

    def keeps(self, kind: str) -> bool:
        """Whether texts of a kind are wanted."""
        return any(kind in kinds for kinds in KINDS[self.kind].values())


def ordered(step: TextStep | HeldBackStep, spec: Spec) -> Order | None:
    """What a step asks of a writer; None where it needs none."""
    key = spec.trainers[step.trainer].text
    if isinstance(step, HeldBackStep):
        return Order(step.place, step.writer, step.count, step.sample, key.kind if key else "documents", OTHER_SEED)
    return Order(f"trainers.{step.trainer}.text", key.writer, step.count, None, key.kind, SEED) if key else None


def writer_of(order: Order, lock: Lock) -> Any:
    """The writer, of the kinds of text that the step keeps alone; InputError where it says that it writes none."""
    plugin = lock.get("writers", order.writer).plugin
    if not isinstance(plugin, SelectiveWriter):
        return plugin
    kinds = plugin.kinds()
    _check_kinds(order, kinds)
    return plugin.only([kind for kind in kinds if order.keeps(kind)])


def _given(
    step: TextStep, passages: Passages, spec: Spec, lock: Lock, work: Work, progress: Progress
) -> Iterator[Text]:
    """Originals, where wanted, then a writer's texts of the wanted kinds, each held to its promise."""
    key, order = spec.trainers[step.trainer].text, ordered(step, spec)
    if key is None or key.originals:
        yield from map(as_document, passages)
    if order:
        yield from _delivered(order, passages, lock, work, progress)


def _delivered(order: Order, passages: Iterable[Passage], lock: Lock, work: Work, progress: Progress) -> Iterator[Text]:
    """A writer's texts of the wanted kind; InputError where it breaks its promise or gives none of them."""
    writer, some = writer_of(order, lock), order.sampled(passages)
    memory = memory_of(work.folder, lock.get("writers", order.writer).plugin_name)
    ids = {passage.id for passage in some}
    title, came = f"writing text with {order.writer}", Counter[str]()
    with PaidAnswers.open(memory) as kept, progress.step(title, len(some) * order.count) as advance:
        for text in writer.write(some, order.count, order.seed, kept):
            advance(1)
            _check(order.writer, text, ids)
            came[text.kind] += 1
            if order.keeps(text.kind):
                yield text
    _check_kinds(order, came)


def _check_kinds(order: Order, written: Collection[str]) -> None:
    """InputError where a kind of text that must be there is not among those written."""
    lacking = [name for name, kinds in KINDS[order.kind].items() if kinds.isdisjoint(written)]
    if lacking:
        raise InputError(
            f'{order.place}: kind = "{order.kind}", but the writer {order.writer} writes no '
            f"{' and no '.join(lacking)}; change its options, or ask for another kind"
        )


def _paid(order: Order | None, passages: Iterable[Passage], lock: Lock, work: Work) -> dict[str, Mapping[str, Any]]:
    """What a text's record says of its price, from the answers that are kept; nothing where a writer pays nothing."""
    writer = writer_of(order, lock) if order else None
    if order is None or not isinstance(writer, PaidWriter):
        return {}
    with PaidAnswers.open(memory_of(work.folder, lock.get("writers", order.writer).plugin_name)) as kept:
        return {"written": asdict(writer.spent(order.sampled(passages), order.count, order.seed, kept))}


def _check(writer: str, text: Text, passages: Collection[str]) -> None:
    if text.passage not in passages:
        raise InputError(f"writers.{writer}: gave a text of {text.passage!r}, which is no passage")
    if not text.text.strip() or (text.kind == "pair" and not (text.answer or "").strip()):
        raise InputError(f"writers.{writer}: gave an empty text of passage {text.passage}")


def _without_twins(texts: Iterable[Text]) -> tuple[list[Text], int]:
    """Each text once, and how many stood there again: a repeated paraphrase is no second phrasing."""
    every = list(texts)
    unique = list(dict.fromkeys(every))
    return unique, len(every) - len(unique)


def _measure(step: TextStep, lock: Lock) -> Callable[[Text], int]:
    tokens = lock.get("models", step.tokenizer_of).plugin.tokens()
    if tokens is None:
        raise InputError(f"models.{step.tokenizer_of}: amounts of text are compared in tokens; it has no tokenizer")
    return lambda text: len(tokens(text.text if text.answer is None else f"{text.text} {text.answer}"))


def _share(step: TextStep, spec: Spec) -> float:
    """The part of all that is trained on which is replayed."""
    key = spec.trainers[step.trainer].replay
    return key.share if key else 0.0


def _repeated(step: TextStep, texts: Sequence[Text], wanted: float, measure: Callable[[Text], int]) -> list[Text]:
    """Texts again and again, up to `wanted` tokens; InputError where that is less than all of them once."""
    sizes = [measure(text) for text in texts]
    if wanted < sum(sizes) - sizes[-1] / 2:
        name = f"trainers.{step.trainer}.tokens"
        other = step.as_many_as.trainer if step.as_many_as else ""
        raise InputError(
            f"{name}: {other} leaves room for {wanted:,.0f} tokens of this text, which has {sum(sizes):,}: some of it "
            "would not be trained on; name a trainer with more text, or ask for less here"
        )
    return _up_to(texts, wanted, measure)


def _replayed(texts: Sequence[Text], replay: Passages, share: float, measure: Callable[[Text], int]) -> list[Text]:
    """Passages of another corpus, as many tokens of them as make `share` of all, repeated where they are too few."""
    wanted = sum(map(measure, texts)) * share / (1 - share)
    order = sorted(map(as_document, replay), key=lambda text: digest([text.passage, SEED]))
    return _up_to(order, wanted, measure)


def _up_to(texts: Sequence[Text], wanted: float, measure: Callable[[Text], int]) -> list[Text]:
    """Texts in turn, again from the first where they run out, until `wanted` tokens are nearest."""
    taken: list[Text] = []
    total = 0
    for text in cycle(texts):
        size = measure(text)
        if total + size / 2 > wanted:
            return taken
        taken.append(text)
        total += size
    return taken
