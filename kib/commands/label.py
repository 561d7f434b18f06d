"""The command `kib label`: draws questions at random, and writes a blind sheet in which people judge their outputs.

The sheet shows neither methods, models nor scores. Equal outputs to a question appear once.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from kib.errors import InputError
from kib.plugins.builtin.random_draws import draw
from kib.records import Score
from kib.run.labels import ITEM, SHEET_FORMATS, SHEET_NAME, VERDICT, VERDICT_WORDS
from kib.safe_text import visible
from kib.store.files import read_lines, write_output
from kib.store.label_records import LabelDesign, LabelledOutput, item_id, output_digest, population_digest
from kib.store.result_records import BenchmarkPlan, CellResult
from kib.store.results import Results
from kib.store.work import Work
from kib.support.phrases import counted, join, offer

__all__ = ["LabelRequest", "write_sheet"]

COLUMNS = (ITEM, "question", "accepted answers", "output", VERDICT, "comment")
WIDTHS = (16, 50, 30, 50, 10, 30)
"""The widths of the columns in a spreadsheet, in characters."""

RISKY = ("=", "+", "-", "@", "\t", "\r")
"""The first characters of a text that a spreadsheet program could read as a formula."""

MOST_CHARACTERS = 32_767
"""The largest length of a text in a spreadsheet cell."""

OWN_QUESTION = re.compile(r"Question: (.*)\nAnswer:", re.DOTALL)
"""The form in which kib asks the user's own questions."""

UNANSWERABLE = "(the documents hold no answer: an output that declines to answer is right)"


@dataclass(frozen=True, slots=True)
class LabelRequest:
    """The options of `kib label`; `task` is None if the results contain only one task with generated answers."""

    task: str | None
    questions: int
    seed: int
    output: Path
    force: bool


@dataclass(frozen=True, slots=True)
class _Item:
    """A line of the sheet: an output to a question."""

    id: str
    question: str
    accepted: str
    output: str
    verdict: float | None


def write_sheet(results: Results, work: Work, request: LabelRequest) -> str:
    """Write a sheet and store its design; return a report. Verdicts that are already stored are filled in.

    Raises InputError if the sheet exists or the stored design has other questions, unless `force` is set.
    """
    _check_output(request)
    plan = results.plan()
    with results.lock():
        task, cells, missing = _answered_cells(results, plan, request.task)
        design, outputs = _design(task, cells, request)
        if (former := results.label_designs().get(task)) and not (request.force or design.extends(former)):
            raise InputError(
                f"{results.folder}: a sample of {counted(len(former.questions), 'question')} for the task {task} was "
                f"drawn with seed {former.seed}, and the labels of its sheet would no longer be accepted; draw at "
                "least as many questions with the same seed, or add --force"
            )
        items = list(_items(design, outputs, results, task, _questions(work, cells[0][0], design.questions)))
        sheet = _spreadsheet(items) if _is_spreadsheet(request.output) else _csv(items)
        results.save_label_design(task, design)  # before the sheet, so that no sheet exists without its design
        write_output(request.output, sheet)
    return "\n".join(_report(request.output, task, design, items, missing))


def _check_output(request: LabelRequest) -> None:
    """Raise InputError if the sheet has another format or exists, or its folder does not exist."""
    path = request.output
    if path.suffix.lower() not in SHEET_FORMATS:
        raise InputError(f"{path}: expected a file name that ends in {' or '.join(SHEET_FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder")
    if path.exists() and not request.force:
        raise InputError(
            f"{path}: the file already exists and may contain verdicts; choose a different file or add --force"
        )


def _is_spreadsheet(path: Path) -> bool:
    return path.suffix.lower() != ".csv"


Cells = list[tuple[CellResult, list[Score]]]
"""The measured cells of a task on its test questions, each with its scores."""


def _answered_cells(results: Results, plan: BenchmarkPlan, task: str | None) -> tuple[str, Cells, int]:
    """Return the task whose outputs are judged, its measured cells, and the number of cells without a result."""
    if task is not None and task not in plan.tasks:
        raise InputError(f"{results.folder}: no task {task}; {offer(task, plan.tasks)}")
    found: dict[str, Cells] = {}
    missing = dict.fromkeys(plan.tasks, 0)
    for cell in plan.cells:
        if cell.split != "test" or task not in (None, cell.task):
            continue
        result = results.cell(cell)
        if result is None or result.cell.identity != cell.identity:
            missing[cell.task] += 1
            continue
        scores = results.scores(cell, "`kib label`")
        if all(score.output is not None for score in scores):
            found.setdefault(cell.task, []).append((result, scores))
    if not found:
        of = f"the task {task} contains" if task else "the results contain"
        absent = sum(missing.values())
        hint = f"; {counted(absent, 'cell')} of the plan {'has' if absent == 1 else 'have'} no result" if absent else ""
        raise InputError(f"{results.folder}: {of} no generated answers, so there is nothing to judge{hint}")
    if len(found) > 1:
        raise InputError(f"{results.folder}: several tasks have generated answers: {join(sorted(found))}; add --task")
    name, cells = next(iter(found.items()))
    return name, cells, missing[name]


def _design(task: str, cells: Cells, request: LabelRequest) -> tuple[LabelDesign, dict[str, str]]:
    """Return the sample of questions, and the text of each output by item id."""
    ids = [score.question_id for score in cells[0][1]]
    for result, scores in cells:
        if {score.question_id for score in scores} != set(ids):
            raise InputError(
                f"the cells {cells[0][0].cell.id} and {result.cell.id} have different questions; run `kib run SPEC` "
                "to measure the cells again"
            )
    drawn = draw(sorted(ids), request.questions, (), "labels", task, request.seed)
    outputs: dict[str, str] = {}
    items: dict[str, LabelledOutput] = {}
    wanted = set(drawn)
    for _, scores in cells:
        for score in scores:
            if score.question_id in wanted and score.output is not None:
                item = item_id(task, request.seed, score.question_id, score.output)
                items[item] = LabelledOutput(score.question_id, output_digest(score.output))
                outputs[item] = score.output.strip()
    return LabelDesign(request.seed, len(ids), population_digest(ids), tuple(drawn), items), outputs


def _questions(work: Work, result: CellResult, wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the rendered questions with these ids from the work folder."""
    identity = result.steps.get("asked", "")
    keep, found = set(wanted), {}
    if work.has("asked", identity):
        lines = read_lines(work.step_folder("asked", identity) / "asked.jsonl")
        found = {line["question"]: line for line in lines if line["question"] in keep}
    if len(found) < len(keep):
        raise InputError(
            f"{work.folder}: the texts of the questions are missing or damaged; choose the work folder of the run "
            "with --work, or restore the texts with `kib check SPEC`"
        )
    return found


def _items(
    design: LabelDesign,
    outputs: Mapping[str, str],
    results: Results,
    task: str,
    questions: Mapping[str, Mapping[str, Any]],
) -> Iterator[_Item]:
    """Yield the lines of the sheet: question by question, with the outputs in the order of their ids.

    An id is a digest, so the order does not depend on the arms.
    """
    labels = results.labels().get(task)
    by_question: dict[str, list[str]] = {}
    for item, output in sorted(design.items.items()):
        by_question.setdefault(output.question, []).append(item)
    for name in design.questions:
        asked = questions[name]
        accepted = [UNANSWERABLE] if asked.get("unanswerable") else asked.get("accepted") or ()
        for item in by_question[name]:
            verdict = labels.verdict(name, outputs[item]) if labels else None
            yield _Item(item, _question_text(asked["ask"]), "\n".join(accepted), outputs[item], verdict)


def _question_text(ask: str) -> str:
    """Return the text of a question without the words that kib adds to ask the question."""
    found = OWN_QUESTION.search(ask)
    return found[1] if found else ask.strip()


def _texts(item: _Item) -> list[str]:
    """Return the cells of a line; control characters could not be stored in a spreadsheet."""
    verdict = "" if item.verdict is None else f"{item.verdict:.15g}"
    return [item.id, *map(visible, (item.question, item.accepted, item.output)), verdict, ""]


def _csv(items: Sequence[_Item]) -> str:
    """Return the sheet as CSV, with a byte order mark, without which Excel misreads letters outside ASCII.

    A leading apostrophe prevents spreadsheet programs from evaluating a text as a formula.
    """
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([f"'{text}" if text.startswith(RISKY) else text for text in _texts(item)] for item in items)
    return f"\ufeff{file.getvalue()}"


def _spreadsheet(items: Sequence[_Item]) -> bytes:
    """Return the sheet as a spreadsheet whose cells contain text, which is never evaluated as a formula."""
    from openpyxl import Workbook
    from openpyxl.styles import Alignment
    from openpyxl.utils import get_column_letter

    workbook = Workbook()
    sheet = workbook.active
    sheet.title = SHEET_NAME
    sheet.freeze_panes = "A2"
    for number, width in enumerate(WIDTHS, 1):
        sheet.column_dimensions[get_column_letter(number)].width = width
    for row, texts in enumerate([list(COLUMNS), *map(_texts, items)], 1):
        for column, text in enumerate(texts, 1):
            if len(text) > MOST_CHARACTERS:
                raise InputError(
                    f"{texts[0]}: a text of this item has {len(text):,} characters, but a spreadsheet cell can contain "
                    f"at most {MOST_CHARACTERS:,}; write a .csv file"
                )
            if text:
                cell = sheet.cell(row, column, text)
                cell.data_type = "s"
                cell.quotePrefix = text.startswith(RISKY)
                cell.alignment = Alignment(wrap_text=True, vertical="top")
    file = BytesIO()
    workbook.save(file)
    return file.getvalue()


def _report(path: Path, task: str, design: LabelDesign, items: Sequence[_Item], missing: int) -> Iterator[str]:
    """Yield sentences about the sheet, the cells that it lacks, and the next step."""
    drawn = f"{counted(len(design.questions), 'question')} drawn from {design.population:,}"
    yield f"{path}: {counted(len(items), 'output')} of {drawn} (task {task}, seed {design.seed})"
    if known := sum(item.verdict is not None for item in items):
        yield f"{counted(known, 'verdict')} from the last run {'is' if known == 1 else 'are'} filled in"
    if missing:
        yield (
            f"The sheet contains no outputs of {counted(missing, 'cell')} without a result; measure them with "
            "`kib run`, then run `kib label` again"
        )
    yield (
        f"Fill in the column {VERDICT} with {join(list(VERDICT_WORDS), 'or')}, or with a number from 0 to 1. Then add "
        f'`labels = "{path.as_posix()}"`, relative to the benchmark file, to [tasks.{task}], and use `kib run`.'
    )
