"""The forecast of a run: the requests, texts and training runs that are missing, with their time and peak memory.

Measured cells, stored answers, paid answers and finished steps are left out. `kib check` forecasts all missing cells;
`kib plan` forecasts only the cells whose prompts are determined by stored steps, and computes no step.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kib.commands.writer_costs import describe_cost, stored_answers, writing_seconds
from kib.errors import InputError
from kib.interfaces import (
    DescribedModel,
    ForecastingModel,
    ForecastingTrainer,
    PaidJudge,
    PaidWriter,
    TrainingForecast,
    Workload,
)
from kib.leaderboard.number_format import byte_size
from kib.plan.steps import HeldBackStep, PlannedCell, TextStep, WeightsStep
from kib.plugins.resolve import Locked
from kib.progress import duration
from kib.records import Answer, AnswerToJudge, Request, Text, Weights
from kib.run.plugin_calls import call_plugin
from kib.run.shared_steps import SharedSteps
from kib.run.speeds import asking_speed, read_speed, training_key
from kib.run.steps.cells import PreparedCell, answers_to_judge
from kib.run.steps.system_reports import read_answers
from kib.run.steps.train_weights import TrainerTexts
from kib.run.steps.training_text import selected_writer, writing_order
from kib.run.workload import workloads
from kib.store.model_answers import ModelAnswers, request_key
from kib.store.paid_answers import paid_answers_path, verdicts_path
from kib.support.phrases import counted, join, pairs_that_repeat

__all__ = ["Forecaster", "Item", "texts_of", "total"]

EARLIER, TESTED = "at the speed of an earlier run", "at the speed of a short test on this machine"
"""The sources of a forecast time."""

BYTES_PER_TOKEN = 4
"""The assumed number of bytes per token of an answer that is not known yet."""

COUNTED = 1000
"""The maximum number of texts per training run whose tokens are counted; the sample is spread evenly over all texts."""


@dataclass(frozen=True, slots=True)
class Item:
    """A part of a run in words, with its time in seconds and its peak memory in bytes, each None if unknown."""

    words: str
    seconds: float | None = 0.0
    peak_bytes: int | None = 0


@dataclass(frozen=True, slots=True)
class Load:
    """The time in seconds and the peak memory in bytes of a computation, and the source of the time in words."""

    seconds: float | None = None
    peak_bytes: int | None = None
    source: str = ""

    def words(self) -> str:
        """Return the time and the memory in words."""
        time = "time unknown" if self.seconds is None else f"about {duration(self.seconds)} {self.source}"
        return f"{time}, about {byte_size(self.peak_bytes)} of memory" if self.peak_bytes else time


def total(items: Sequence[Item]) -> str:
    """Return the time and the peak memory of all parts of a run in one sentence."""
    known = [item.seconds for item in items if item.seconds is not None]
    least = "at least " if len(known) < len(items) else ""
    peaks = [item.peak_bytes for item in items if item.peak_bytes]
    memory = f"; peak memory: about {byte_size(max(peaks))}" if peaks else ""
    if not any(known) and not least:
        return "forecast for the whole run: nothing is missing"
    time = f"{least}about {duration(sum(known))}" if any(known) else "time unknown before a first run"
    return f"forecast for the whole run: {time}{memory}"


class Forecaster:
    """Forecasts the parts of a plan that a run still has to compute; `missing` contains the cells without a result."""

    def __init__(self, steps: SharedSteps, missing: Iterable[PlannedCell]) -> None:
        self.steps = steps
        self.plan = steps.plan
        self.work = steps.context.work
        self.missing = frozenset(missing)
        self.open_weights = tuple(dict.fromkeys(cell.weights for cell in self.plan.cells if cell in self.missing))

    # Requests

    def asking(self, ready: Sequence[PreparedCell]) -> Iterator[Item]:
        """Yield one part per set of weights: the requests that no stored answer covers, with their tokens."""
        for weights in dict.fromkeys(prepared.plan.weights for prepared in ready):
            cells = [prepared for prepared in ready if prepared.plan.weights == weights]
            missing = [prepared for prepared in cells if prepared.plan in self.missing]
            where = f"forecast for {weights.title}"
            if not missing:
                yield Item(f"{where}: {'the cell is' if len(cells) == 1 else f'all {len(cells)} cells are'} measured")
                continue
            yield self._asking(where, weights, missing)

    def _asking(self, where: str, weights: WeightsStep, missing: Sequence[PreparedCell]) -> Item:
        every = [request for prepared in missing for some in prepared.requests for request in some]
        distinct = len(set(map(request_key, every)))
        unanswered = self._unanswered(weights, every)
        if not unanswered:
            return Item(f"{where}: {'the answer is' if distinct == 1 else f'all {distinct:,} answers are'} stored")
        stored = f" ({distinct - len(unanswered):,} of {distinct:,} answers are stored)"
        loads = workloads(missing, unanswered, self.steps.answerer_budget(weights))
        load = self._load(self.plan.answerer(weights), loads)
        parts = [
            f"{counted(len(unanswered), 'request')}{stored if len(unanswered) < distinct else ''}",
            *_tokens(loads),
            load.words(),
        ]
        return Item(f"{where}: {', '.join(parts)}", load.seconds, load.peak_bytes)

    def _unanswered(self, weights: WeightsStep, requests: Sequence[Request]) -> set[str]:
        """Return the keys of the requests without a stored answer; no file is created."""
        if not self.work.step_folder("answers", weights.identity).is_dir():
            return set(map(request_key, requests))
        with ModelAnswers.open(self.work, weights.identity) as answers:
            return answers.missing_keys(requests)

    def _load(self, model: Locked, loads: Sequence[Workload]) -> Load:
        """Return the time and the memory of all workloads together."""
        each = [self._load_of_kind(model, load) for load in loads]
        seconds = [load.seconds for load in each]
        peaks = [load.peak_bytes for load in each if load.peak_bytes]
        known = None if None in seconds else sum(one for one in seconds if one is not None)
        return Load(known, max(peaks, default=None), join(list(dict.fromkeys(load.source for load in each))))

    def _load_of_kind(self, model: Locked, workload: Workload) -> Load:
        """Return the time and the memory of one workload; the speed of an earlier run is preferred to an estimate."""
        plugin, estimate = model.plugin, None
        if isinstance(plugin, ForecastingModel) and workload.read_tokens is not None:
            with call_plugin(model, "estimate"):
                estimate = plugin.estimate(workload)
        speed = asking_speed(self.work, model, workload)
        if speed is not None:
            return Load(speed.seconds, speed.peak_bytes or (estimate.peak_bytes if estimate else None), EARLIER)
        if estimate is None:
            return Load()
        return Load(estimate.operations / self._measured_speed(model), estimate.peak_bytes, TESTED)

    def _measured_speed(self, locked: Locked) -> float:
        """Return the operations per second that a plugin measures on this machine, once per plugin."""

        def measure() -> float:
            with call_plugin(locked, "operations_per_second"):
                return float(locked.plugin.operations_per_second())

        speed: float = self.steps.once(("operations per second", locked.kind, locked.name), measure)
        return speed

    # Judging

    def judging(self, ready: Sequence[PreparedCell]) -> Iterator[Item]:
        """Yield the cost of each paid judge, which is asked once about each different answer of the missing cells.

        Stored verdicts are left out. Answers that are not stored yet are assumed to be different and to have the
        maximum length.
        """
        missing = [prepared for prepared in ready if prepared.plan.judge and prepared.plan in self.missing]
        for name in dict.fromkeys(str(prepared.plan.judge) for prepared in missing):
            judge = self.plan.lock.get("judges", name)
            if not isinstance(judge.plugin, PaidJudge):
                continue
            cells = [prepared for prepared in missing if prepared.plan.judge == name]
            answers = dict.fromkeys(answer for prepared in cells for answer in self._answers_to_judge(prepared))
            path = verdicts_path(self.work.folder, judge.plugin_name)
            with stored_answers(path, self.work.say) as kept, call_plugin(judge, "forecast"):
                cost = judge.plugin.forecast(list(answers), kept)
            where = f"forecast for judge {name}"
            if cost.calls:
                yield Item(f"{where}: at most {describe_cost(cost, self.plan.spec.prices, None)}", None)
            else:
                yield Item(f"{where}: all verdicts are stored")

    def _answers_to_judge(self, prepared: PreparedCell) -> list[AnswerToJudge]:
        """Return the stored answers of a cell or, if any is missing, answers of the maximum length."""
        cell, weights = prepared.plan.cell, prepared.plan.weights
        task = self.steps.rendered_task(cell.task, prepared.plan.asked.split)
        requests = [request for some in prepared.requests for request in some]
        if not self._unanswered(weights, requests):
            with ModelAnswers.open(self.work, weights.identity) as stored:
                return answers_to_judge(prepared, task, read_answers(prepared, stored)[0])
        length = BYTES_PER_TOKEN * self.plan.spec.tasks[cell.task].max_tokens
        names = [f"{cell.id} {question.question_id} " for question in prepared.asked]
        outputs = [[Answer(name.ljust(length, "x")[-length:], "")] for name in names]
        return answers_to_judge(prepared, task, outputs)

    # Training

    def training(self, weights: WeightsStep) -> Item | None:
        """Return the size and the cost of a training run, or None if no missing cell needs the training run."""
        text, where = weights.text, f"forecast for training {weights.title}"
        if text is None or weights not in self.open_weights:
            return None
        if self.work.looks_finished("weights", weights.identity):
            return Item(f"{where}: already trained")
        if not all(map(self._is_free, texts_of(weights))):
            return Item(f"{where}: unknown before the training text has been written", None, None)
        trainer = self.plan.lock.get("trainers", str(weights.trainer), weights.settings)
        texts = self.steps.trainer_texts(weights, text)
        count = counted(len(texts.training), "text") + self._removed(text)
        count += f", {counted(texts.open_pairs, 'pair')} as open questions" if texts.open_pairs else ""
        size = self._training_size(weights, trainer, texts) if isinstance(trainer.plugin, ForecastingTrainer) else None
        if size is None:
            return Item(f"{where}: {count}, {self._pass(text, texts.training)}, time unknown", None, None)
        load = self._training_load(weights, trainer, size)
        tokens = f"{counted(size.tokens, 'token')} to train in {counted(size.steps, 'step')}"
        words = f"{where}: {count}, {tokens}, {load.words()}"
        return Item(words, load.seconds, load.peak_bytes)

    def _training_size(self, weights: WeightsStep, trainer: Locked, texts: TrainerTexts) -> TrainingForecast | None:
        """Return the trainer's forecast, which all seeds share."""

        def compute() -> TrainingForecast | None:
            start = self.starting_weights(weights.model)
            with call_plugin(trainer, "forecast"):
                size: TrainingForecast | None = trainer.plugin.forecast(
                    start, texts.training, texts.validation, texts.held_out
                )
            return size

        found: TrainingForecast | None = self.steps.once(("training", replace(weights, identity="", seed=0)), compute)
        return found

    def _training_load(self, weights: WeightsStep, trainer: Locked, size: TrainingForecast) -> Load:
        key = training_key(self.plan.lock.get("models", weights.model), trainer)
        if speed := read_speed(self.work, key):
            return Load(speed.time_for(size.operations), size.peak_bytes, EARLIER)
        return Load(size.operations / self._measured_speed(trainer), size.peak_bytes, TESTED)

    def starting_weights(self, model: str) -> Weights:
        """Return the folder from which training starts, without downloading weights if possible.

        Raises InputError if the model cannot be trained.
        """
        plugin = self.plan.lock.get("models", model).plugin
        start: Weights | None = plugin.described() if isinstance(plugin, DescribedModel) else plugin.weights()
        if start is None:
            raise InputError(f"models.{model}: this model cannot be trained")
        return start

    def _is_free(self, text: TextStep | HeldBackStep) -> bool:
        """Return whether a text is free of charge or already written."""
        order = writing_order(text, self.plan.spec)
        writer = self.plan.lock.get("writers", order.writer).plugin if order else None
        return not isinstance(writer, PaidWriter) or self.work.looks_finished("text", text.identity)

    def _removed(self, text: TextStep) -> str:
        """Return the number of pairs that were removed from a text in words, or "" if there are none."""
        removed = self.work.record("text", text.identity).get("repeated questions")
        return f" (removed {pairs_that_repeat(removed)})" if removed else ""

    def _pass(self, text: TextStep, texts: Sequence[Text]) -> str:
        """Return the number of tokens in one pass over the texts, which is an estimate if there are many texts."""
        tokens = self.plan.lock.get("models", text.tokenizer_of).plugin.tokens()
        if tokens is None:
            return "tokens not counted"
        some = texts[:: -(-len(texts) // COUNTED)]
        read = sum(len(tokens(one.text if one.answer is None else f"{one.text} {one.answer}")) for one in some)
        return f"about {counted(read * len(texts) // len(some), 'token')} per pass"

    # Writing

    def writing(self) -> list[TextStep | HeldBackStep]:
        """Return the texts that missing cells need for training or validation, without duplicates."""
        return list(dict.fromkeys(step for weights in self.open_weights for step in texts_of(weights)))

    def written(self, step: TextStep | HeldBackStep) -> Iterator[Item]:
        """Yield the cost of a paid text; raise InputError if the writer is not ready or cannot write the text."""
        order = writing_order(step, self.plan.spec)
        writer = selected_writer(order, self.steps.context) if order else None
        if order is None or not isinstance(writer, PaidWriter):
            return
        texts = counted(order.count, "validation text" if isinstance(step, HeldBackStep) else "text")
        where = f"forecast for writer {order.writer} on {step.passages.corpus}, {texts} per passage"
        if self.work.looks_finished("text", step.identity):
            yield Item(f"{where}: already written")
            return
        locked = self.plan.lock.get("writers", order.writer)
        path = paid_answers_path(self.work.folder, locked.plugin_name)
        with stored_answers(path, self.work.say) as answers, call_plugin(locked, "forecast"):
            passages = order.sampled(self.steps.passages(step.passages))
            cost = writer.forecast(passages, order.count, order.seed, answers)
        seconds = writing_seconds(self.work, locked, cost.calls)
        yield Item(f"{where}: {describe_cost(cost, self.plan.spec.prices, seconds)}", seconds)
        if cost.calls:
            writer.ready()


def texts_of(weights: WeightsStep) -> list[TextStep | HeldBackStep]:
    """Return the texts that are written for a training run."""
    text, validation = weights.text, weights.validation
    steps: list[TextStep | HeldBackStep | None] = [text, text.as_many_as if text else None]
    steps.append(validation if isinstance(validation, HeldBackStep) else None)
    return [step for step in steps if step]


def _tokens(loads: Sequence[Workload]) -> list[str]:
    """Return the numbers of tokens to read and to write in words."""
    read = [load.read_tokens for load in loads]
    written = sum(load.written_tokens for load in loads)
    words = "tokens not counted" if None in read else f"{counted(sum(one or 0 for one in read), 'token')} to read"
    return [words, *([f"at most {counted(written, 'token')} to write"] if written else [])]
