"""Published beside measured rows: which ask the same questions in the same way, and why all others stand apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kib.gains import unpaired_gain
from kib.leaderboard.rank import rank
from kib.leaderboard.row import Across, Place, Row

__all__ = ["Statement", "compare_origins"]


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said of a task: lm-eval's name of its questions, the metric that they are scored by, and their number."""

    questions: str | None
    metric: str | None
    n: int | None


Statements = Mapping[tuple[str, str], Statement]
"""By benchmark and task."""


def compare_origins(rows: Sequence[Row], statements: Statements) -> tuple[tuple[Across, ...], tuple[str, ...]]:
    """Rankings of rows of both origins with the same questions, shots, metric and n, and sentences on all others."""
    published = list(dict.fromkeys(row.benchmark for row in rows if row.origin == "published"))
    measured = list(dict.fromkeys(row.benchmark for row in rows if row.origin == "measured"))
    apart = [sentence for one in published for other in measured if (sentence := _apart(one, other, rows, statements))]
    return tuple(_rankings(rows, statements)), tuple(apart)


def _rankings(rows: Sequence[Row], statements: Statements) -> Iterator[Across]:
    """Rows by what is asked and how, where it is stated and both origins have some."""
    blocks: dict[tuple[str, int, Statement], list[Row]] = {}
    for row in rows:
        said = statements[row.benchmark, row.task]
        if said.questions and said.metric and said.n and row.rank is not None:
            blocks.setdefault((said.questions, row.shots, said), []).append(row)
    for (questions, shots, _), some in blocks.items():
        if len({row.origin for row in some}) == 2:
            means = [(row, row.accuracy.mean) for row in some if row.accuracy]
            places = tuple(Place(row, place, tied) for row, place, tied in rank(means, _p))
            yield Across(questions, shots, places)


def _p(worse: Row, better: Row) -> float:
    if worse.accuracy is None or better.accuracy is None:
        return 1.0
    sides = [(one.accuracy.mean, one.accuracy.n) for one in (worse, better) if one.accuracy]
    return unpaired_gain(*sides).p


def _apart(one: str, other: str, rows: Sequence[Row], statements: Statements) -> str:
    """Why the tasks of a published benchmark are not ranked with those of a measured one; "" where all are."""
    from kib.wording import join  # loads pydantic, which a table of results does without

    theirs = {(row.task, row.shots) for row in rows if row.benchmark == other}
    by_reason: dict[str, list[str]] = {}
    tasks = list(dict.fromkeys(row.task for row in rows if row.benchmark == one))
    for task in tasks:
        shots = {row.shots for row in rows if (row.benchmark, row.task) == (one, task)}
        asked = {(statements[other, name], count) for name, count in theirs}
        reason = _reason(one, other, statements[one, task], shots, asked)
        if reason:
            by_reason.setdefault(reason, []).append(task)
    said = [reason if len(some) == len(tasks) else f"{join(some)}: {reason}" for reason, some in by_reason.items()]
    if not said:
        return ""
    return f"{one} (published) and {other} (measured) are not ranked against each other: {'; '.join(said)}."


def _reason(one: str, other: str, said: Statement, shots: set[int], theirs: set[tuple[Statement, int]]) -> str:
    if said.questions is None:
        return f"{one} does not say which questions it asked"
    same = {(statement, count) for statement, count in theirs if statement.questions == said.questions}
    if not same:
        return f"{other} asks other questions"
    equal = {count for statement, count in same if said.metric and statement == said} & shots
    if equal == shots:
        return ""
    if equal or not shots & {count for _, count in same}:
        return f"with {_shots(shots - equal)} examples against {_shots(equal or {count for _, count in same})}"
    if said.metric is None:
        return f"{one} does not say how answers were scored"
    [statement, *_] = sorted((statement for statement, count in same if count in shots), key=repr)
    differs = said.metric != statement.metric
    return (
        f"scored by {said.metric} against {statement.metric}"
        if differs
        else f"{said.n} questions against {statement.n}"
    )


def _shots(counts: set[int]) -> str:
    return " or ".join(str(count) for count in sorted(counts))
