"""What a run did and what a plan would do, as text: a question through all methods, cells and steps, plugins."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import fsum
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.plan.planner import Plan
from kib.prompts import LETTERS, render_passages
from kib.records import Cell, Score, Text, document_id
from kib.statistics.ranking_measures import is_judged, measures_by_question
from kib.store.files import read_lines
from kib.store.result_records import BenchmarkPlan, CellResult, Failure, Times
from kib.store.results import Results
from kib.store.work import Work

__all__ = ["find_cells", "show_cell", "show_plan", "show_plugins", "show_question"]

SHOWN = 40
"""Questions that `kib show CELL` lists."""

TEXTS = 3
"""Training texts that it shows of them all."""


def find_cells(results: Path, name: str) -> tuple[Results, list[Cell]]:
    """The cells that an id, or an id without its last part, names; InputError with the nearest ids where none does."""
    stores = [Results(path.parent) for path in sorted(results.glob("*/plan.json"))]
    if not stores:
        raise InputError(f"{results}: no results here; `kib run SPEC` makes them")
    found = [(store, cells) for store in stores if (cells := _matching(store.plan(), name.strip("/")))]
    if len(found) > 1:
        names = ", ".join(f"{store.folder.name}/{name}" for store, _ in found)
        raise InputError(f"{name} stands in several benchmarks; say which: {names}")
    if found:
        return found[0]
    from difflib import get_close_matches

    every = [cell.place for store in stores for cell in store.plan().cells]
    near = get_close_matches(name, every, 3, 0.3)
    raise InputError(f"no cell {name}; did you mean {' or '.join(near)}?" if near else f"no cell {name}")


def _matching(plan: BenchmarkPlan, name: str) -> list[Cell]:
    """Cells by id, by id without digest, by place or by its beginning, the benchmark's name before it or not.

    A benchmark may bear the name of one of its models: the name is read as a cell's first.
    """
    for short in dict.fromkeys((name, name.removeprefix(f"{plan.name}/"))):
        exact = [cell for cell in plan.cells if cell.id == short]
        whole = [cell for cell in plan.cells if short in (cell.place, cell.id.rpartition("-")[0])]
        part = [cell for cell in plan.cells if cell.id.startswith(f"{short}/")]
        if found := exact or whole or part:
            return found
    return []


def _one(cells: Sequence[Cell], name: str) -> Cell:
    if len(cells) > 1:
        raise InputError(f"{name} is not unique; say which: {', '.join(cell.id for cell in cells)}")
    return cells[0]


def show_cell(results: Path, work: Work, name: str) -> str:
    """A cell's number, what its weights were trained on, and its questions, the first ones of them."""
    store, cells = find_cells(results, name)
    cell = _one(cells, name)
    result = store.cell(cell)
    if result is None:
        raise InputError(_absent(cell, store.failures()))
    lines = store.scores(cell, "`kib show`")
    head = [
        f"{cell.id}",
        f"{result.correct} of {result.n} right ({result.metric})",
        *_dropped(result),
        *_corpus(result.corpus),
        *_retrieval(lines, store.times(cell)),
        *(f"computed on {env.device} with {_packages(env.packages)}" for env in result.environments),
        *result.notes,
        "",
        *_training(result, work),
        "   question  answer given -> right  log-probabilities",
    ]
    body = [f"{'+' if line.score else '-'}  {_said(line)}" for line in lines[:SHOWN]]
    more = (
        [f"… and {len(lines) - SHOWN} more in {store.cell_folder(cell) / 'questions.jsonl'}"] if lines[SHOWN:] else []
    )
    return "\n".join([*head, *body, *more, "", f"one of them whole: kib show {cell.place} {lines[0].question_id}"])


def _dropped(result: CellResult) -> Iterator[str]:
    """How many passages found no room, where any were retrieved."""
    if result.steps.get("hits"):
        yield f"passages dropped for want of room: {result.dropped_passages}, of {result.dropped_questions} questions"


def _training(result: CellResult, work: Work) -> Iterator[str]:
    """What was trained, with the first texts where the work folder still has them; nothing of a model as it is."""
    told = result.training
    if not told:
        return
    yield (
        f"trained on {told.trained_tokens:,} tokens in {told.steps:,} steps ({told.text_tokens:,} a pass); "
        f"loss {told.first_loss:.3f} -> {told.last_loss:.3f} nats a token, "
        f"weights changed by {told.change:.2%}"
    )
    if (loss := told.unrounded_loss) is not None:
        yield f"before the weights were rounded to the model's number format: loss {loss:.3f} nats a token"
    if (loss := told.validation_loss) is not None:
        yield f"validation text: loss {loss:.3f} nats a token after it"
    if (before := told.held_out_first_loss) is not None:
        yield f"held-out text: loss {before:.3f} -> {told.held_out_last_loss:.3f} nats a token"
    if requests := told.written_requests:
        read, made = told.written_input_tokens, told.written_output_tokens
        tokens = "tokens not counted" if read is None or made is None else f"{read:,} tokens read and {made:,} written"
        yield f"paid for its text: {requests:,} requests, {tokens}"
    texts = list(_texts(work, result))
    if result.text:
        kinds = ", ".join(f"{count:,} {kind}s" for kind, count in result.text["kinds"].items())
        end = ":" if texts else ", no longer in the work folder"
        yield f"{result.text['texts']:,} training texts ({kinds}), digest {result.text['digest'][:12]}{end}"
        yield from map(_quoted, texts[:TEXTS])
        if texts[TEXTS:]:
            path = work.step_folder("text", result.steps["text"]) / "text.jsonl"
            yield f"… and {len(texts) - TEXTS:,} more in {path}"
    yield ""


def _texts(work: Work, result: CellResult) -> Iterator[Text]:
    """The texts that a cell's weights were trained on, where the work folder still has them."""
    path = work.step_folder("text", result.steps.get("text", "")) / "text.jsonl"
    if result.steps.get("text") and path.is_file():
        yield from (Text(**value) for value in read_lines(path))


def _quoted(text: Text) -> str:
    """A training text with the passage that it comes from; of a pair the answer stands apart."""
    answer = "" if text.answer is None else f"\n    -> {text.answer}"
    return f"  [{text.kind} of {text.passage}]\n    " + text.text.replace("\n", "\n    ") + answer


def _corpus(record: Mapping[str, Any]) -> Iterator[str]:
    """The documents behind a cell: how many, where from, as of when, and what was left out of them."""
    if "documents" not in record:
        return
    notes = dict(record["notes"])
    tokens = (
        f", {record['tokens']:,} tokens" if record["tokens"] is not None else f", {record['characters']:,} characters"
    )
    counts = f"{record['documents']:,} documents, {record['passages']:,} passages{tokens}"
    source, date = notes.pop("source", ""), notes.pop("date", "")
    said = [("from", [source] if source else record["sources"]), ("licence", record["licences"]), ("as of", [date])]
    origin = "".join(f"; {what} {', '.join(values)}" for what, values in said if any(values))
    yield f"corpus {record['corpus']}: {counts}{origin}; digest {record['digest'][:12]}"
    if told := [f"{name.replace('_', ' ')} {value:,}" for name, value in notes.items() if value]:
        yield f"of its making: {', '.join(told)}"


def _retrieval(lines: Sequence[Score], times: Times | None) -> Iterator[str]:
    """How well passages were found, how often the answer was right where they were, and what the search took."""
    judged = [line for line in lines if is_judged(line)]
    if judged and any(line.passages for line in lines):
        means = {name: fsum(some) / len(some) for name, some in measures_by_question(judged).items()}
        ranks = f"; MRR {means['mrr']:.3f}, nDCG {means['ndcg']:.3f}" if "mrr" in means else ""
        found = [line.score for line in judged if any(line.gold or ())]
        missed = [line.score for line in judged if not any(line.gold or ())]
        yield f"gold passage retrieved for {len(found)} of {len(judged)} questions{ranks}"
        parts = [(found, "where it was"), (missed, "where it was not")]
        yield "right " + ", ".join(f"{sum(some)} of {len(some)} {where}" for some, where in parts if some)
    if times and times.index_bytes:
        search = f"{1000 * times.searching / len(lines):.3g} ms of searching a question"
        yield f"index of {times.index_bytes:,} bytes, made in {times.indexing:.3g} s; {search}"


def _absent(cell: Cell, failures: Mapping[str, Failure]) -> str:
    failure = failures.get(cell.id)
    why = f"failed at {failure.step}: {failure.error}" if failure else "was not measured yet; `kib run` goes on"
    return f"{cell.id} {why}"


def _packages(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def _letter(number: int | None) -> str:
    return "?" if number is None else LETTERS[number] if number < len(LETTERS) else str(number)


def _said(line: Score) -> str:
    if line.output is not None:
        return f"{line.question_id}  {line.output!r}"
    numbers = " ".join(f"{value:.3f}" for value in line.logprobs)
    return f"{line.question_id}  {_letter(line.prediction)} -> {_letter(line.answer)}  {numbers}"


def show_question(results: Path, work: Work, name: str, question: str) -> str:
    """One question in this cell, whole, and how every method of the same model, task and shots answered it."""
    store, cells = find_cells(results, name)
    cell = _one(cells, name)
    plan = store.plan()
    line = _line(store, cell, question)
    parts = [
        f"{cell.id}, question {question}",
        "",
        *_prompt(plan, store, work, cell, line),
        *_options(line, work, store, cell),
    ]
    beside = [
        other for other in plan.cells if (other.model, other.task, other.shots) == (cell.model, cell.task, cell.shots)
    ]
    parts += _read_before(store, work, cell, question)
    parts += ["", "all methods on this question:"]
    for other in beside:
        if store.has(other):
            given = _line(store, other, question)
            gold = "" if given.gold is None else f"  gold {'retrieved' if any(given.gold) else 'not retrieved'}"
            parts.append(f"{'+' if given.score else '-'}  {other.arm}  {_said(given)}{gold}")
        else:
            parts.append(f"!  {_absent(other, store.failures())}")
    return "\n".join(parts)


def _read_before(store: Results, work: Work, cell: Cell, question: str) -> list[str]:
    """Of trained weights, the training texts that were made of the question's gold documents."""
    result = store.cell(cell)
    if result is None or "text" not in result.steps:
        return []
    asked = _read(work, "asked", result.steps["asked"], "question", [question]).get(question, {})
    documents = {gold["document"] for gold in asked.get("gold") or ()}
    texts = [text for text in _texts(work, result) if document_id(text.passage) in documents]
    return ["", "trained on, of the gold documents:", *map(_quoted, texts)] if texts else []


def _line(store: Results, cell: Cell, question: str) -> Score:
    if not store.has(cell):
        raise InputError(_absent(cell, store.failures()))
    lines = store.scores(cell, "`kib show`")
    for line in lines:
        if line.question_id == question:
            return line
    from difflib import get_close_matches

    near = get_close_matches(question, [line.question_id for line in lines], 3, 0.3) or [lines[0].question_id]
    raise InputError(f"{cell.id} has no question {question}; it has {len(lines)}, for example {', '.join(near)}")


def _read(work: Work, kind: str, identity: str, key: str, wanted: Iterable[str]) -> dict[str, Any]:
    """Lines of a step's file by an id, those wanted; nothing where the work folder was deleted."""
    path = work.step_folder(kind, identity) / f"{kind}.jsonl"
    keep = set(wanted)
    return {value[key]: value for value in read_lines(path) if value[key] in keep} if path.is_file() else {}


def _prompt(plan: BenchmarkPlan, store: Results, work: Work, cell: Cell, line: Score) -> list[str]:
    """Passages and prompt, put together again from the work folder and held against the prompt's digest."""
    from hashlib import sha256

    from kib.records import Passage

    result = store.cell(cell)
    steps = result.steps if result else {}
    asked = _read(work, "asked", steps["asked"], "question", [line.question_id]).get(line.question_id)
    texts = _read(work, "passages", steps["passages"], "id", line.passages) if line.passages else {}
    if asked is None or (line.passages and not texts):
        lost = f"(the work folder {work.folder} does not hold the prompt; `kib check SPEC` makes it anew."
        return [f"{lost} Its digest is {line.prompt})"]
    kept = [Passage(**texts[passage]) for passage in line.passages[: len(line.passages) - line.dropped]]
    prompt = asked["head"] + render_passages(kept, plan.prompt["template"], plan.prompt["order"]) + asked["ask"]
    if sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest() != line.prompt:
        raise InputError(
            f"{work.folder}: the prompt put together again is not the one that was asked; kib run makes both anew"
        )
    flags = line.gold or (None,) * len(line.passages)
    listed = [
        f"  {rank}. {passage}{'  (gold)' if gold else ''}{'  (dropped: no room)' if rank > len(kept) else ''}"
        for rank, (passage, gold) in enumerate(zip(line.passages, flags, strict=True), 1)
    ]
    found = [f"searched for: {asked['query']}", "passages, best first:", *listed, ""] if line.passages else []
    tokens = f", {line.tokens} tokens with the longest answer" if line.tokens is not None else ""
    rule = "─" * 60
    return [*found, f"prompt{tokens}:", rule, prompt, rule]


def _options(line: Score, work: Work, store: Results, cell: Cell) -> list[str]:
    """Each option with its log-probability, the one chosen and the right one marked."""
    if line.output is not None:
        return [f"answer: {line.output!r} ({'right' if line.score else 'wrong'})"]
    result = store.cell(cell)
    asked = _read(work, "asked", result.steps["asked"], "question", [line.question_id]) if result else {}
    options = asked.get(line.question_id, {}).get("options") or [""] * len(line.logprobs)
    rows = []
    for number, (option, value) in enumerate(zip(options, line.logprobs, strict=False)):
        marks = [
            mark for mark, holds in (("chosen", number == line.prediction), ("right", number == line.answer)) if holds
        ]
        rows.append(f"  {_letter(number)}. {value:9.4f}  {option}{'  <- ' + ', '.join(marks) if marks else ''}")
    return ["options, summed log-probability in nats:", *rows]


def show_plan(plan: Plan, results: Results, work: Work) -> str:
    """Weights, steps and cells, each with whether it is done."""

    def mark(done: bool) -> str:
        return "done   " if done else "to do  "

    done = sum(results.has(cell.cell) for cell in plan.cells)
    lines = [f"{plan.spec.name}: {len(plan.cells)} cells, {done} done", "", "weights"]
    lines += [f"  {step.identity[:8]}  {step.title}" for step in plan.weights]
    lines += ["", "steps"]
    lines += [f"  {mark(work.has(kind, key))}{key[:8]}  {kind:<9}{title}" for kind, key, title in _steps(plan)]
    lines += ["", "cells"]
    lines += [f"  {mark(results.has(cell.cell))}{cell.cell.id}" for cell in plan.cells]
    return "\n".join(lines)


def _steps(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Kind, identity and title of each step once, in the order in which they depend on each other."""
    for asked in plan.asked:
        yield "asked", asked.identity, f"task {asked.task}, {asked.shots}-shot"
    texts = list(dict.fromkeys(step.text for step in plan.weights if step.text))
    for passages in dict.fromkeys([*(step.passages for step in plan.hits), *(step.passages for step in texts)]):
        yield "passages", passages.identity, f"corpus {passages.corpus}"
    for index in dict.fromkeys(step.index for step in plan.hits if step.index):
        yield "index", index.identity, f"{index.retriever} over {index.passages.corpus}"
    for hits in plan.hits:
        number = hits.depth or "its own number"
        yield "hits", hits.identity, f"{hits.retriever}, {number} a question of {hits.asked.task}"
    for text in texts:
        yield "text", text.identity, f"for {text.trainer}, {text.count} texts a passage beside it"
    for weights in plan.weights:
        if weights.trainer:
            yield "weights", weights.identity, weights.title


def show_plugins() -> str:
    """What is installed, by kind, with its distribution, and why one does not work."""
    from kib.plugins.registry import installed, problem

    lines = []
    for plugin in installed():
        wrong = problem(plugin)
        head = f"{plugin.kind:<11}{plugin.name:<16}{plugin.distribution} {plugin.version}"
        lines.append(head if wrong is None else f"{head}\n    does not work: {wrong}")
    return "\n".join(lines)
