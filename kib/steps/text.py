"""What a trainer reads: frozen to a file like hits, so that the same text is never written or paid for twice."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.identity import canonical, digest, digest_lines
from kib.lock import Lock
from kib.plan import TextStep
from kib.progress import Progress
from kib.records import Passage, Text
from kib.spec import Spec
from kib.steps.kept import Kept, memory_of
from kib.steps.passages import Passages
from kib.store import Work, read_lines, write_lines

__all__ = ["as_document", "make"]

FILE = "text.jsonl"
SEED = 0
"""Of writers: text is frozen once, training seeds differ over the same text."""

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
        texts, twice = _without_twins(_written(step, passages, spec, lock, work, progress))
        if not texts:
            raise InputError(f"trainers.{step.trainer}.text: there is nothing to train on")
        measure = _measure(step, lock) if replay or other is not None else None
        if replay and measure:
            texts += _replayed(texts, replay, spec.trainers[step.trainer].replay, measure)
        if other is not None and measure:
            texts = _up_to(texts, sum(map(measure, other)), measure)
        count = write_lines(folder / FILE, map(asdict, texts))
        whole = digest_lines(canonical(value) for value in read_lines(folder / FILE))
        return {"texts": count, "kinds": Counter(text.kind for text in texts), "duplicates": twice, "digest": whole}

    folder = work.make("text", step.identity, build)
    return [Text(**value) for value in read_lines(folder / FILE)]


def _written(
    step: TextStep, passages: Passages, spec: Spec, lock: Lock, work: Work, progress: Progress
) -> Iterator[Text]:
    """Originals, where wanted, then a writer's texts of the wanted kinds, each held to its promise."""
    key = spec.trainers[step.trainer].text
    if key is None or key.originals:
        yield from map(as_document, passages)
    if key is None:
        return
    locked = lock.get("writers", key.writer)
    every = list(passages)
    memory = memory_of(work.folder, locked.plugin_name)
    title, came = f"writing text with {key.writer}", Counter[str]()
    with Kept.open(memory) as kept, progress.step(title, len(every) * step.count) as advance:
        for text in locked.plugin.write(every, step.count, SEED, kept):
            advance(1)
            _check(key.writer, text, passages)
            came[text.kind] += 1
            if any(text.kind in kinds for kinds in KINDS[key.kind].values()):
                yield text
    lacking = [name for name, kinds in KINDS[key.kind].items() if not kinds & came.keys()]
    if lacking:
        raise InputError(
            f'trainers.{step.trainer}.text: kind = "{key.kind}", but the writer {key.writer} wrote no '
            f"{' and no '.join(lacking)}; change its options, or ask for another kind"
        )


def _check(writer: str, text: Text, passages: Passages) -> None:
    if text.passage not in passages.offsets:
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


def _replayed(texts: Sequence[Text], replay: Passages, key: Any, measure: Callable[[Text], int]) -> list[Text]:
    """Passages of another corpus, as many tokens of them as make `share` of all, repeated where they are too few."""
    wanted = sum(map(measure, texts)) * key.share / (1 - key.share)
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
