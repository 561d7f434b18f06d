"""Plans the weights with which questions are answered, and the texts on which weights are trained."""

from itertools import product
from typing import Any

from kib.identity import digest
from kib.interfaces import HarnessTask
from kib.plan.question_steps import LETTER_SCORINGS, asks_in_chats
from kib.plan.search_steps import SearchPlanner
from kib.plan.step_planner import StepPlanner, computed_once, identity_of
from kib.plan.steps import HeldBackStep, PairForm, PassagesStep, Settings, TextStep, WeightsStep
from kib.plugins.resolve import Lock
from kib.records import Setting
from kib.spec.load import Spec
from kib.support.phrases import join

__all__ = ["WeightsPlanner", "tasks_of_trainer"]

HARNESS_PAIRS = 2
"""Increase this number when kib renders question-answer pairs differently in the form of an lm-eval task."""


class WeightsPlanner(StepPlanner):
    """Creates the weights of models, trained and untrained; `search` plans the passages of corpora."""

    def __init__(self, spec: Spec, lock: Lock, search: SearchPlanner) -> None:
        super().__init__(spec, lock)
        self.search = search

    @computed_once
    def plain(self, model: str) -> WeightsStep:
        """Return the step with the untrained weights of a model."""
        return WeightsStep(identity_of("weights", self.lock.get("models", model).identity), model)

    @computed_once
    def system(self, model: str, system: str) -> WeightsStep:
        """Return the step with a system's answers, whose identity does not depend on the model."""
        return WeightsStep(identity_of("system", self.lock.get("systems", system).identity), model, system=system)

    def arms(self, trainer: str) -> list[Settings]:
        """Return every combination of the values in a trainer's `vary`."""
        vary = self.spec.trainers[trainer].vary
        return [tuple(zip(vary, values, strict=True)) for values in product(*vary.values())]

    @computed_once
    def trained(self, model: str, trainer: str, corpus: str) -> list[tuple[Settings, WeightsStep]]:
        """Return the settings and the weights of a trainer's arms, with one entry per arm and seed."""
        return [
            (settings, self._trained_with(model, trainer, settings, corpus, seed))
            for settings in self.arms(trainer)
            for seed in self.spec.seeds
        ]

    def _trained_with(self, model: str, trainer: str, settings: Settings, corpus: str, seed: int) -> WeightsStep:
        table, start = self.spec.trainers[trainer], self.plain(model)
        text = self._text(model, trainer, dict(settings).get("text.count"), corpus)
        validation = self._validation(model, trainer, corpus)
        held_out = self.search.passages(table.held_out.corpus) if table.held_out else None
        locked = self.lock.get("trainers", trainer, settings).identity
        self._check_sources(trainer, corpus)
        others = {"validation": validation, "held_out": held_out}
        unseen = {name: step.identity for name, step in others.items() if step}
        pairs = self._pair_form(model, trainer, corpus)
        form = [pairs.identity] if pairs and pairs.identity else []
        identity = identity_of("training", start.identity, locked, text.identity, unseen, seed, *form)
        return WeightsStep(identity, model, trainer, settings, text, validation, held_out, seed, pairs)

    @computed_once
    def _pair_form(self, model: str, trainer: str, corpus: str) -> PairForm | None:
        """Return the form of a trainer's question-answer pairs, or None if the trainer uses no pairs.

        Raises SpecError if the target tasks about the corpus ask in different forms and `as_task` is missing.
        """
        key = self.spec.trainers[trainer].text
        if key is None or key.kind == "documents":
            return None
        tasks = [key.as_task] if key.as_task else self._trained_for(trainer, corpus)
        forms = {task: self._form(task) for task in tasks}
        if len(set(map(digest, forms.values()))) > 1:
            names = join(sorted(forms), "or")
            message = (
                f"the tasks about the corpus {corpus} ask in different forms, so the form of the question-answer pairs "
                f"is not determined; set `as_task` to {names}"
            )
            raise self.wrong(message, "trainers", trainer, "text")
        task, form = next(iter(forms.items()))
        chat = model if asks_in_chats(self.spec, self.lock, model) else None
        parts = [form, self.lock.get("models", model).identity if chat else None]
        others = [one for one in self._trained_for(trainer, corpus) if digest(self._form(one)) != digest(form)]
        return PairForm(identity_of("pairs", parts) if any(parts) else None, task, chat, tuple(others))

    def _trained_for(self, trainer: str, corpus: str) -> list[str]:
        """Return the target tasks about a corpus that are measured with weights of a trainer."""
        tables = [self.spec.tasks[task] for task in tasks_of_trainer(self.spec, trainer)]
        return [table.name for table in tables if table.corpus == corpus and table.role == "target"]

    def _form(self, task: str) -> Any:
        """Return everything that determines how a task asks, without a chat template; None for plain questions."""
        table, locked = self.spec.tasks[task], self.lock.get("tasks", task)
        if isinstance(locked.plugin, HarnessTask):
            return [locked.identity, HARNESS_PAIRS]
        return table.scoring if table.scoring in LETTER_SCORINGS else "generated" if table.metrics else None

    @computed_once
    def _check_sources(self, trainer: str, corpus: str) -> None:
        """Raise SpecError if text is both replayed and trained on, or if text declared as unseen is used in either way.

        Documents are compared instead of passages, because passages of the same documents contain the same text even if
        the documents are split differently.
        """
        table = self.spec.trainers[trainer]
        originals = table.text is None or table.text.originals
        replayed = table.replay.corpus if table.replay else None
        if replayed and self._is_same(replayed, corpus):
            said = f"expected a corpus that differs from the training corpus, {corpus}"
            raise self.wrong(said, "trainers", table.name, "replay")
        for key, unseen in (("validation", table.validation), ("held_out", table.held_out)):
            name = unseen.corpus if unseen else None
            for other in (corpus if originals else None, replayed):
                if name and other and self._is_same(name, other):
                    said = f"expected a corpus that is not used for training, but {other} is part of the training text"
                    raise self.wrong(said, "trainers", table.name, key)

    def _is_same(self, corpus: str, other: str) -> bool:
        return self.lock.get("corpora", corpus).identity == self.lock.get("corpora", other).identity

    @computed_once
    def _validation(self, model: str, trainer: str, corpus: str) -> PassagesStep | HeldBackStep | None:
        """Return a trainer's validation text, which is identical for all arms so that their losses can be compared."""
        key = self.spec.trainers[trainer].validation
        if key is None or key.writer is None:
            return self.search.passages(key.corpus) if key and key.corpus else None
        text = self._text(model, trainer, self._most_texts(trainer), corpus)
        writer = self.lock.get("writers", key.writer).identity
        identity = identity_of("held back", text.identity, writer, key.count, key.passages)
        return HeldBackStep(identity, trainer, text, key.writer, key.count, key.passages)

    @computed_once
    def _text(self, model: str, trainer: str, varied: Setting | None, corpus: str) -> TextStep:
        """Return a trainer's text from a corpus; to compare lengths, the tokenizer of `model` counts the tokens."""
        table = self.spec.trainers[trainer]
        key = table.text
        count = int(varied if varied is not None else key.count if key else 0)
        passages = self.search.passages(corpus)
        replay = self.search.passages(table.replay.corpus) if table.replay else None
        other = None
        if table.tokens:
            name = table.tokens.removeprefix("as:")
            other = self._text(model, name, self._most_texts(name), corpus)
        counted = self.lock.get("models", model).tokenizer_identity if replay or other else None
        parts: dict[str, Any] = {
            "writer": self.lock.get("writers", key.writer).identity if key else None,
            "kind": key.kind if key else None,
            "originals": key.originals if key else True,
            "count": count,
            "replay": {"passages": replay.identity, "share": table.replay.share} if replay and table.replay else None,
            "as_many_as": other.identity if other else None,
            "tokenizer": counted,
        }
        tasks = self._tasks_not_to_repeat(corpus) if key and key.kind != "documents" else ()
        if tasks:
            parts["tasks"] = [self.lock.get("tasks", name).identity for name in tasks]
        identity = identity_of("text", passages.identity, parts)
        return TextStep(identity, trainer, passages, count, model, replay, other, tasks)

    def _tasks_not_to_repeat(self, corpus: str) -> tuple[str, ...]:
        """Return the tasks on which weights trained on a corpus are measured."""
        tables = self.spec.tasks.values()
        return tuple(table.name for table in tables if table.role == "control" or table.corpus == corpus)

    def _most_texts(self, trainer: str) -> Setting | None:
        """Return the largest number of texts in a trainer's `vary`, or None if the number of texts does not vary."""
        values = self.spec.trainers[trainer].vary.get("text.count")
        return max(values, key=int) if values else None


def tasks_of_trainer(spec: Spec, trainer: str) -> list[str]:
    """Return the tasks of all methods that train with a trainer, or all tasks if no method does."""
    methods = [method for method in spec.methods.values() if method.train == trainer]
    tasks = dict.fromkeys(task for method in methods for task in method.tasks or spec.tasks)
    return list(tasks if methods else spec.tasks)
