"""Renders the table of right answers, wrong answers and abstentions, as blocks of printable text."""

from collections.abc import Iterator

from kib.leaderboard.number_format import percent
from kib.leaderboard.render.blocks import Block, Column, Line
from kib.leaderboard.render.row_groups import row_groups
from kib.leaderboard.table_records import AnswerShares, ArmRow, Table
from kib.safe_text import one_line
from kib.support.phrases import counted

__all__ = ["ANSWER_COLUMNS", "answer_blocks", "answer_legend"]

ANSWER_COLUMNS = (
    Column("method", "method", "method", left=True),
    Column("right", "right %", "share of right answers"),
    Column("wrong", "wrong %", "share of wrong answers"),
    Column("abstained", "abstained %", "share of abstentions"),
    Column("declined", "no answer: abstained %", "share of abstentions on unanswerable questions"),
    Column("invented", "no answer: answered %", "share of answers to unanswerable questions"),
)

LEGEND = (
    "right, wrong, abstained: the answers to questions that the documents answer, in %; a score of at least 0.5 counts "
    "as right, and an abstention is an output such as `I do not know`."
)
UNANSWERABLE = (
    "no answer: the outputs for questions that the documents do not answer; an abstention is right, and any other "
    "output is wrong."
)


def answer_blocks(table: Table, limit: int | None = None) -> Iterator[Block]:
    """Yield the answers of the first `limit` rows, for each block in which an arm abstained or could have done so."""
    for name, rows in row_groups(table, limit, lambda row: row.answers):
        some = [(row, row.answers) for row in rows if row.answers]
        if any(map(_tells_more, some)):
            count = max(answers.unanswerable for _, answers in some)
            title = ["answers", name]
            title += [f"{counted(count, 'question')} without an answer in the documents"] if count else []
            lines = (
                Line(_texts(row, answers), "ceiling" if row.kind == "ceiling" else "same") for row, answers in some
            )
            yield Block(one_line(" · ".join(title)), tuple(lines))


def _tells_more(answered: tuple[ArmRow, AnswerShares]) -> bool:
    """Return whether a row shows more than its accuracy."""
    return bool(answered[1].unanswerable or answered[1].abstained)


def _texts(row: ArmRow, answers: AnswerShares) -> dict[str, str]:
    declined = answers.declined
    unanswerable = {
        "declined": percent(declined),
        "invented": percent(None if declined is None else 1 - declined),
    }
    return {
        "method": one_line(row.arm),
        "right": percent(answers.right),
        "wrong": percent(answers.wrong),
        "abstained": percent(answers.abstained),
        **(unanswerable if answers.unanswerable else {}),
    }


def answer_legend(table: Table) -> list[str]:
    """Return sentences that explain the columns of the table of answers, if the table is shown."""
    shares = [(row, row.answers) for row in table.rows if row.answers]
    if not any(map(_tells_more, shares)):
        return []
    return [LEGEND, *([UNANSWERABLE] if any(answers.unanswerable for _, answers in shares) else [])]
