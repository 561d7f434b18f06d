"""The command `kib show`: prints a measured cell with its questions, or how all methods answered one question."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import fsum
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.leaderboard.number_format import percent, three_digits
from kib.leaderboard.render.cost_table import describe_entered
from kib.prompts import LETTERS, render_passages
from kib.records import Cell, Score, Text, document_id
from kib.run.steps.passages import read_aliases
from kib.safe_text import one_line
from kib.statistics.ranking_measures import is_judged, measures_by_question
from kib.store.files import read_lines
from kib.store.result_records import BenchmarkPlan, CellResult, Failure, Times
from kib.store.results import Results
from kib.store.work import Work
from kib.support.characters import describe_removed
from kib.support.ids import normal_id
from kib.support.phrases import counted, first_names, pairs_that_repeat, quoted, shortened

__all__ = ["corpus_remarks", "show_cell", "show_question"]

MOST_NAMED = 20
"""The maximum number of cells or questions that the error for an ambiguous or unknown name lists."""

MOST_CHARACTERS = 200
"""The number of characters of an output in a list of questions."""

SHOWN = 40
"""The maximum number of questions listed per cell."""

TEXT = 100
"""The maximum number of characters of a question's text in the list of questions."""

TEXTS = 3
"""The number of training texts quoted per cell."""


@dataclass(frozen=True, slots=True)
class _Benchmarks:
    """The results folders below a folder, each with its plan."""

    plans: Sequence[tuple[Results, BenchmarkPlan]]

    @classmethod
    def read(cls, results: Path) -> "_Benchmarks":
        """Read all plans; raise InputError if there are none."""
        stores = [Results(path.parent) for path in sorted(results.glob("*/plan.json"))]
        if not stores:
            raise InputError(f"{results}: no results found; create results with `kib run SPEC`")
        return cls([(store, store.plan()) for store in stores])

    def find(self, name: str) -> list[tuple[Results, list[Cell]]]:
        """Return the results folders with cells that match a name."""
        found = [(store, _matching(plan, store.folder.name, name.strip("/"))) for store, plan in self.plans]
        return [(store, cells) for store, cells in found if cells]

    def cell(self, name: str) -> tuple[Results, Cell]:
        """Return the only cell with this id, id prefix, arm or digest, with its results folder.

        Raises InputError that lists names which `kib show` accepts if there is no such cell, or more than one.
        """
        found = self.find(name)
        if not found:
            raise InputError(f"no cell {name}; {self._offer(name)}")
        if len(found) > 1:
            names = ", ".join(f"{store.folder.name}/{name}" for store, _ in found)
            raise InputError(f"several benchmarks contain {name}; choose one of: {names}")
        [(store, cells)] = found
        if len(cells) > 1:
            raise InputError(f"{name} matches several cells; {self._choice([(store, cell) for cell in cells])}")
        return store, cells[0]

    def _offer(self, name: str) -> str:
        """Return the names of cells that resemble a name, or of the first cells of a benchmark or of all results."""
        cells = [(store, cell) for store, plan in self.plans for cell in plan.cells]
        if own := [(store, cell) for store, cell in cells if store.folder.name == name.strip("/")]:
            return self._choice(own)
        places: dict[str, list[tuple[Results, Cell]]] = {}
        for store, cell in cells:
            for place in (cell.place, f"{store.folder.name}/{cell.place}"):
                places.setdefault(place, []).append((store, cell))
        near = get_close_matches(name, places, 6, 0.3)
        names = list(dict.fromkeys(self.unique_name(*one) for place in near for one in places[place]))
        return f"did you mean {' or '.join(names[:3])}?" if names else self._choice(cells)

    def _choice(self, cells: Sequence[tuple[Results, Cell]]) -> str:
        """Return the names of the first cells, for a user who has to choose one."""
        names = ", ".join(self.unique_name(store, cell) for store, cell in cells[:MOST_NAMED])
        more = f" and {len(cells) - MOST_NAMED:,} more" if cells[MOST_NAMED:] else ""
        return f"choose one of: {names}{more}"

    def unique_name(self, store: Results, cell: Cell) -> str:
        """Return the shortest name by which `kib show` finds a cell."""
        names = [name for short in (cell.place, cell.id) for name in (short, f"{store.folder.name}/{short}")]
        return next((name for name in names if self.find(name) == [(store, [cell])]), names[-1])


def _matching(plan: BenchmarkPlan, folder: str, name: str) -> list[Cell]:
    """Return the cells with this id, with or without its digest, or else with this id prefix, arm or digest.

    The name may start with the name of the benchmark or of its folder. If the benchmark and a model have the same name,
    a cell of this model takes precedence.
    """
    for short in dict.fromkeys((name, name.removeprefix(f"{plan.name}/"), name.removeprefix(f"{folder}/"))):
        exact = [cell for cell in plan.cells if cell.id == short]
        whole = [cell for cell in plan.cells if short in (cell.place, cell.id.rpartition("-")[0])]
        part = [cell for cell in plan.cells if cell.id.startswith(f"{short}/")]
        other = [cell for cell in plan.cells if short in (cell.identity[:8], cell.id.rpartition("/")[2])]
        other += [cell for cell in plan.cells if cell.arm == short and cell.split != "repeat"]
        if found := exact or whole or part or other:
            return found
    return []


def _command(results: Path, work: Work, *arguments: str) -> str:
    """Return a `kib show` command for a shell, with the folders unless they are the defaults."""
    folders = [("--results", results, "results"), ("--work", work.folder, "work")]
    options = [part for option, path, usual in folders if path != Path(usual) for part in (option, str(path))]
    dashes = ["--"] if any(one.startswith("-") for one in arguments) else []
    return shlex.join(["kib", "show", *options, *dashes, *arguments])


def show_cell(results: Path, work: Work, name: str) -> str:
    """Return a description of a cell: its result, its training text and its first questions."""
    benchmarks = _Benchmarks.read(results)
    store, cell = benchmarks.cell(name)
    result = store.cell(cell)
    if result is None:
        raise InputError(_absent(cell, store.failures()))
    lines = store.scores(cell, "`kib show`")
    generated = lines[0].output is not None
    head = [
        f"{cell.id}",
        _total(result),
        *_elsewhere(store.plan(), cell),
        *_dropped(result),
        *_judging(result),
        *_corpus(result.corpus),
        *_retrieval(lines, store.times(cell)),
        *_system_report(result),
        *(f"computed on {env.device_in_words}, with {_packages(env.packages)}" for env in result.environments),
        *result.task_notes,
        *result.notes,
        "",
        *_training(result, work),
        f"   question  given answer -> correct answer  {'' if generated else 'log-probabilities  '}text",
    ]
    asked = _asked(work, result, [line.question_id for line in lines[:SHOWN]])
    texts, accepted = _first_lines(asked), _accepted_answers(asked)
    answers = [_answer(line, accepted.get(line.question_id, ())) for line in lines[:SHOWN]]
    body = [
        f"{_mark(line)}  {answer}  {texts.get(line.question_id, '')}".rstrip()
        for line, answer in zip(lines, answers, strict=False)
    ]
    more = (
        [f"… and {len(lines) - SHOWN} more in {store.cell_folder(cell) / 'questions.jsonl'}"] if lines[SHOWN:] else []
    )
    command = _command(results, work, benchmarks.unique_name(store, cell), lines[0].question_id)
    return "\n".join([*head, *body, *more, "", f"to show one question in full: {command}"])


def _asked(work: Work, result: CellResult, questions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the rendered questions with these ids; empty if the work folder was deleted."""
    return _read(work, "asked", result.steps.get("asked", ""), "question", questions)


def _first_lines(asked: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the first line of each question as the model reads it."""
    lines = {name: next(iter(value["ask"].strip().splitlines()), "") for name, value in asked.items()}
    return {name: one_line(shortened(line.removeprefix("Question: "), TEXT)) for name, line in lines.items()}


def _accepted_answers(asked: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the accepted answers of open questions."""
    return {name: value["accepted"] for name, value in asked.items() if value.get("accepted")}


def _total(result: CellResult) -> str:
    """Return the number of right answers, or the means of metrics with scores between 0 and 1."""
    if not isinstance(result.correct, float):
        total = f"{result.correct} of {result.n} right ({result.metric})"
    else:
        total = f"{result.metric} {percent(result.correct / result.n)} % on {counted(result.n, 'question')}"
    return "; ".join([total, *(f"{name} {percent(mean)} %" for name, mean in result.other_metrics.items())])


def _elsewhere(plan: BenchmarkPlan, cell: Cell) -> Iterator[str]:
    """Yield the model that gave the answers and its cost, if it was trained elsewhere."""
    method = plan.methods[cell.method]
    if method.trained_as:
        yield f"answered by the model {method.trained_as}, which was trained elsewhere from {cell.model}"
    if method.cost:
        yield f"cost of training, entered by hand: {describe_entered(method.cost)}"


def _mark(line: Score) -> str:
    """Return the mark of a question: right, wrong, or a score between 0 and 1."""
    return "+" if line.score == 1 else "-" if line.score == 0 else "~"


def _dropped(result: CellResult) -> Iterator[str]:
    """Yield the number of passages dropped from prompts, if the cell uses retrieval."""
    if result.steps.get("hits"):
        yield (
            f"passages dropped because prompts were too long: {result.dropped_passages} (in "
            f"{counted(result.dropped_questions, 'question')})"
        )


def _training(result: CellResult, work: Work) -> Iterator[str]:
    """Yield the training statistics and the first training texts, if the work folder still contains the texts."""
    training = result.training
    if not training:
        return
    change = None if training.change is None else 100 * training.change
    yield (
        f"trained on {training.trained_tokens:,} tokens ({training.text_tokens:,} per pass) "
        f"in {counted(training.steps or 0, 'step')}; "
        f"loss {training.first_loss:.3f} -> {training.last_loss:.3f} nats per token, "
        f"weights changed by {three_digits(change)} %"
    )
    if (loss := training.unrounded_loss) is not None:
        yield f"loss before the weights were rounded to the model's number format: {loss:.3f} nats per token"
    if (loss := training.validation_loss) is not None:
        yield f"loss on the validation text after training: {loss:.3f} nats per token"
    if (before := training.held_out_first_loss) is not None:
        yield f"loss on the held-out text: {before:.3f} -> {training.held_out_last_loss:.3f} nats per token"
    if requests := training.written_requests:
        read, made = training.written_input_tokens, training.written_output_tokens
        tokens = (
            "tokens not counted"
            if read is None or made is None
            else f"{read:,} input tokens and {made:,} output tokens"
        )
        yield f"paid writing: {counted(requests, 'request')}, {tokens}"
    texts = list(_texts(work, result))
    if result.text:
        kinds = ", ".join(counted(count, kind) for kind, count in result.text["kinds"].items())
        end = ":" if texts else "; the work folder no longer contains these texts"
        yield f"{result.text['texts']:,} training texts ({kinds}), digest {result.text['digest'][:12]}{end}"
        if repeated := result.text.get("repeated questions"):
            yield f"removed {pairs_that_repeat(repeated)}"
        yield from map(_quoted, texts[:TEXTS])
        if texts[TEXTS:]:
            path = work.step_folder("text", result.steps["text"]) / "text.jsonl"
            yield f"… and {len(texts) - TEXTS:,} more in {path}"
    yield ""


def _judging(result: CellResult) -> Iterator[str]:
    """Yield the cost of the verdicts of a cell's judge, if the judge costs money."""
    judging = result.judging
    if judging and judging.requests is not None:
        read, written = judging.input_tokens, judging.output_tokens
        known = None not in (read, written)
        tokens = f"{read:,} tokens read, {written:,} written" if known else "tokens not counted by the server"
        yield f"verdicts of judge {judging.judge}: {counted(judging.requests, 'request')}, {tokens}"


def _texts(work: Work, result: CellResult) -> Iterator[Text]:
    """Yield the training texts of a cell's weights, if the work folder still contains an undamaged copy."""
    identity = result.steps.get("text")
    if identity and work.has("text", identity):
        path = work.step_folder("text", identity) / "text.jsonl"
        yield from (Text(**value) for value in read_lines(path))


def _quoted(text: Text) -> str:
    """Return a training text with its passage; the answer of a question-answer pair follows on a separate line."""
    answer = "" if text.answer is None else f"\n    -> {text.answer}"
    return f"  [{text.kind} of {text.passage}]\n    " + text.text.replace("\n", "\n    ") + answer


def _corpus(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the size, the source, the licence and the date of the corpus that a cell uses."""
    if "documents" not in record:
        return
    notes = dict(record["notes"])
    unit = "characters" if record["tokens"] is None else "tokens"
    size = ", ".join(counted(record[f"{noun}s"], noun) for noun in ("document", "passage", unit.removesuffix("s")))
    source, date = notes.pop("source", ""), notes.pop("date", "")
    facts = [("from", [source] if source else record["sources"]), ("licence", record["licences"]), ("as of", [date])]
    origin = "".join(f"; {what} {', '.join(values)}" for what, values in facts if any(values))
    yield f"corpus {record['corpus']}: {size}{origin}; digest {record['digest'][:12]}"
    counts = {name: value for name, value in notes.items() if value and not isinstance(value, list | dict)}
    if details := [f"{name.replace('_', ' ')} {value:,}" for name, value in counts.items()]:
        yield f"corpus details: {', '.join(details)}"
    yield from corpus_remarks(record)


def corpus_remarks(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader of a corpus record should know: documents beyond a limit, and the corpus plugin's remarks."""
    notes = record.get("notes", {})
    if skipped := notes.get("skipped"):
        yield f"corpus {record['corpus']}: left out {counted(len(skipped), 'document')}: {'; '.join(skipped)}"
    for remark in notes.get("remarks", ()):
        yield f"corpus {record['corpus']}: {remark}"
    if removed := record.get("removed"):
        rest = 'gold ranges refer to the text without these characters, and `invisible = "keep"` keeps them'
        yield f"corpus {record['corpus']}: removed invisible characters: {describe_removed(removed)}; {rest}"


def _retrieval(lines: Sequence[Score], times: Times | None) -> Iterator[str]:
    """Yield the retrieval quality, the accuracy with and without a gold passage, and the search time."""
    judged = [line for line in lines if is_judged(line)]
    if judged and any(line.passages for line in lines):
        means = {name: fsum(some) / len(some) for name, some in measures_by_question(judged).items()}
        ranks = f"; MRR {means['mrr']:.3f}, nDCG {means['ndcg']:.3f}" if "mrr" in means else ""
        found = [line.score for line in judged if any(line.gold or ())]
        missed = [line.score for line in judged if not any(line.gold or ())]
        yield f"a gold passage was retrieved for {len(found)} of {counted(len(judged), 'question')}{ranks}"
        parts = [(found, "with a gold passage"), (missed, "without one")]
        totals = [f"{fsum(some):.4g} of {len(some)} {where}" for some, where in parts if some]
        yield f"{'total score' if any(0 < one < 1 for one in found + missed) else 'right'} {', '.join(totals)}"
    if times and times.index_bytes:
        search = f"{1000 * times.searching / len(lines):.3g} ms search time per question"
        yield f"index of {times.index_bytes:,} bytes, built in {times.indexing:.3g} s; {search}"


def _system_report(result: CellResult) -> Iterator[str]:
    """Yield what a system reports about its answers."""
    if report := result.system:
        cost = "" if report.cost is None else f", cost {three_digits(report.cost / result.n)} per question"
        told = f"passages reported for {report.passages:,} of {counted(result.n, 'answer')}"
        yield f"answers of a system: latency {three_digits(report.seconds / result.n)} s per question{cost}; {told}"


def _absent(cell: Cell, failures: Mapping[str, Failure]) -> str:
    """Return the reason why a cell has no result."""
    failure = failures.get(cell.id)
    why = (
        f"failed at {failure.step}: {failure.error}"
        if failure
        else "has not been measured yet; run `kib run` to measure this cell"
    )
    return f"{cell.id} {why}"


def _packages(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _letter(number: int | None) -> str:
    return "?" if number is None else LETTERS[number] if number < len(LETTERS) else str(number)


def _answer(line: Score, accepted: Sequence[str] = ()) -> str:
    if line.output is not None:
        score = f"  ({line.score:.2f})" if 0 < line.score < 1 else ""
        output = shortened(repr(line.output), MOST_CHARACTERS)
        return f"{line.question_id}  {output}{f' -> {quoted(accepted)}' if accepted else ''}{score}"
    numbers = " ".join(f"{value:.3f}" for value in line.logprobs)
    return f"{line.question_id}  {_letter(line.prediction)} -> {_letter(line.answer)}  {numbers}"


def show_question(results: Path, work: Work, name: str, question: str) -> str:
    """Return one question of a cell in full, and the answers of all methods with the cell's model, task and shots."""
    store, cell = _Benchmarks.read(results).cell(name)
    plan = store.plan()
    line = _line(store, cell, question)
    question = line.question_id
    parts = [
        f"{cell.id}, question {question}",
        "",
        *_prompt(plan, store, work, cell, line),
        *_options(line, work, store, cell),
    ]
    beside = [
        other
        for other in plan.cells
        if (other.model, other.task, other.shots) == (cell.model, cell.task, cell.shots)
        and (other.split == cell.split or _contains(store, other, question))
    ]
    parts += _gold_texts(store, work, cell, question)
    parts += ["", "answers of all methods to this question:"]
    for other in beside:
        if store.has(other):
            given = _line(store, other, question)
            found = "retrieved" if any(given.gold or ()) else "not retrieved"
            gold = f"  gold {found}" if given.gold is not None and given.relevant else ""
            arm = f"{other.arm} (asked again)" if other.split == "repeat" else other.arm
            parts.append(f"{_mark(given)}  {arm}  {_answer(given)}{gold}")
        else:
            parts.append(f"!  {_absent(other, store.failures())}")
    return "\n".join(parts)


def _gold_texts(store: Results, work: Work, cell: Cell, question: str) -> list[str]:
    """Return the training texts derived from the question's gold documents, if the weights were trained."""
    result = store.cell(cell)
    if result is None or "text" not in result.steps:
        return []
    asked = _read(work, "asked", result.steps["asked"], "question", [question]).get(question, {})
    aliases = _aliases(work, result.corpus)
    named = {gold["document"] for gold in asked.get("gold") or ()}
    documents = {aliases.get(name, name) for name in named}
    texts = [text for text in _texts(work, result) if document_id(text.passage) in documents]
    return ["", "training text from the gold documents:", *map(_quoted, texts)] if texts else []


def _aliases(work: Work, corpus: Mapping[str, Any]) -> dict[str, str]:
    """Return the document id for each alias in a corpus; the mapping is empty if the work folder was deleted.

    The passages are found by their digest, because the step that wrote the passages is not recorded for a cell without
    retrieval.
    """
    for identity, record in work.records("passages"):
        if record.get("digest") == corpus.get("digest") and work.has("passages", identity):
            return read_aliases(work.step_folder("passages", identity))
    return {}


def _contains(store: Results, cell: Cell, question: str) -> bool:
    """Return whether a measured cell contains the question with this id; other splits have other questions."""
    return store.has(cell) and any(line.question_id == question for line in store.scores(cell, "`kib show`"))


def _line(store: Results, cell: Cell, question: str) -> Score:
    """Return the line of the question with this id, or else of the only question whose id starts with this text."""
    if not store.has(cell):
        raise InputError(_absent(cell, store.failures()))
    lines = store.scores(cell, "`kib show`")
    ids = {str(normal_id(line.question_id)): line for line in lines}
    wanted = str(normal_id(question))
    starts = [line for name, line in ids.items() if name.startswith(wanted)] if wanted else []
    if wanted in ids or len(starts) == 1:
        return ids.get(wanted) or starts[0]

    if starts:
        names = first_names([line.question_id for line in starts], MOST_NAMED)
        raise InputError(f"{question} matches several questions of cell {cell.id}; choose one of: {names}")
    near = get_close_matches(question, [line.question_id for line in lines], 3, 0.3) or [lines[0].question_id]
    some = "question is" if len(lines) == 1 else f"{len(lines):,} questions include"
    raise InputError(f"cell {cell.id} contains no question {question}; its {some} {', '.join(near)}")


def _read(work: Work, kind: str, identity: str, key: str, wanted: Iterable[str]) -> dict[str, Any]:
    """Return the requested lines of a step's file by id; the mapping is empty if the step was deleted or is damaged."""
    if not work.has(kind, identity):
        return {}
    keep = set(wanted)
    lines = read_lines(work.step_folder(kind, identity) / f"{kind}.jsonl")
    return {value[key]: value for value in lines if value[key] in keep}


def _prompt(plan: BenchmarkPlan, store: Results, work: Work, cell: Cell, line: Score) -> list[str]:
    """Rebuild the passages and the prompt from the work folder, and compare the prompt with its stored digest."""
    from hashlib import sha256

    from kib.records import Passage

    result = store.cell(cell)
    steps = result.steps if result else {}
    asked = _read(work, "asked", steps["asked"], "question", [line.question_id]).get(line.question_id)
    system = plan.methods[cell.method].system
    inserted = line.passages if system is None else ()
    texts = _read(work, "passages", steps["passages"], "id", inserted) if inserted else {}
    if asked is None or (inserted and not texts):
        lost = f"The work folder {work.folder} contains no undamaged copy of the prompt"
        return [f"{lost}; `kib check SPEC` recreates the prompt. The digest of the prompt is {line.prompt}."]
    kept = [Passage(**texts[passage]) for passage in inserted[: len(inserted) - line.dropped]]
    prompt = asked["head"] + render_passages(kept, plan.prompt["template"], plan.prompt["order"]) + asked["ask"]
    if sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest() != line.prompt:
        raise InputError(
            f"{work.folder}: the rebuilt prompt differs from the prompt that was sent; run `kib run` to recreate "
            "the prompt"
        )
    flags, room = line.gold or (None,) * len(line.passages), len(line.passages) - line.dropped
    listed = [
        f"  {rank}. {one_line(passage)}{'  (gold)' if gold else ''}{'  (dropped: prompt full)' if rank > room else ''}"
        for rank, (passage, gold) in enumerate(zip(line.passages, flags, strict=True), 1)
    ]
    rule = "─" * 60
    if system is not None:
        told = ["passages, as the system reports them:", *listed, ""] if line.passages else []
        return [*told, f"question, as sent to the system {system}:", rule, prompt, rule]
    found = [f"searched for: {asked['query']}", "passages, best first:", *listed, ""] if line.passages else []
    tokens = f", {counted(line.tokens, 'token')} including the longest answer" if line.tokens is not None else ""
    return [*found, f"prompt{tokens}:", rule, prompt, rule]


def _generated_answer(line: Score, result: CellResult | None, work: Work) -> list[str]:
    """Return the output with its scores, and the accepted answers if they are stored."""
    word = {"+": "right", "-": "wrong"}.get(_mark(line), f"score {line.score:.2f}")
    scores = [word, *(f"{name} {value:.2f}" for name, value in (line.other_scores or {}).items())]
    accepted = _accepted_answers(_asked(work, result, [line.question_id])).get(line.question_id) if result else None
    listed = [f"accepted: {quoted(accepted)}"] if accepted else []
    verdict = [f"verdict: {line.verdict.score:.2f}, {line.verdict.reason}"] if line.verdict else []
    cost = "" if line.cost is None else f", cost {three_digits(line.cost)}"
    listed += [] if line.seconds is None else [f"latency {three_digits(line.seconds)} s{cost}"]
    return [f"answer: {line.output!r} ({', '.join(scores)})", *listed, *verdict]


def _options(line: Score, work: Work, store: Results, cell: Cell) -> list[str]:
    """Return each option with its log-probability, marking the chosen option and the correct option."""
    result = store.cell(cell)
    if line.output is not None:
        return _generated_answer(line, result, work)
    asked = _asked(work, result, [line.question_id]) if result else {}
    options = asked.get(line.question_id, {}).get("options") or [""] * len(line.logprobs)
    rows = []
    for number, (option, value) in enumerate(zip(options, line.logprobs, strict=False)):
        marks = [
            mark for mark, holds in (("chosen", number == line.prediction), ("right", number == line.answer)) if holds
        ]
        rows.append(f"  {_letter(number)}. {value:9.4f}  {option}{'  <- ' + ', '.join(marks) if marks else ''}")
    return ["options with their summed log-probabilities in nats:", *rows]
