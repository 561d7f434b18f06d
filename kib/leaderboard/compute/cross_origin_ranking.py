"""Published beside measured rows: which ask the same questions in the same way, and why all others stand apart."""

from collections.abc import Iterator, Mapping, Sequence

from kib.leaderboard.compute.measurement_conditions import Statement
from kib.leaderboard.compute.ranks import rank
from kib.leaderboard.table_records import Across, Place, Row
from kib.statistics.unpaired_gains import unpaired_gain

__all__ = ["compare_origins"]

Statements = Mapping[tuple[str, str, str], Statement]
"""By benchmark, model and task."""

Spot = tuple[str, int]
"""A task and a number of shots."""

Said = tuple[Row, Statement]


def compare_origins(rows: Sequence[Row], statements: Statements) -> tuple[tuple[Across, ...], tuple[str, ...]]:
    """Rankings of rows of both origins with the same questions, shots, metric and n, and sentences on all others."""
    published = list(dict.fromkeys(row.benchmark for row in rows if row.origin == "published"))
    measured = list(dict.fromkeys(row.benchmark for row in rows if row.origin == "measured"))
    apart = [sentence for one in published for other in measured if (sentence := _apart(one, other, rows, statements))]
    return tuple(_rankings(rows, statements)), tuple(apart)


def _statement(row: Row, statements: Statements) -> Statement:
    return statements[row.benchmark, row.model, row.task]


def _is_whole(said: Statement) -> bool:
    """Whether everything is stated that must be equal, and nothing is known to differ."""
    return bool(said.questions and said.metric and said.n and not said.unlike)


def _rankings(rows: Sequence[Row], statements: Statements) -> Iterator[Across]:
    """Rows by what is asked and how, where it is stated and both origins have some."""
    blocks: dict[tuple[str, int, Statement], list[Row]] = {}
    for row in rows:
        said = _statement(row, statements)
        if said.questions and _is_whole(said) and row.rank is not None:
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
    """Why rows of a published benchmark are not ranked with those of a measured one; "" where all are."""
    theirs = [(row, _statement(row, statements)) for row in rows if row.benchmark == other]
    ours = {(row.task, row.shots): _statement(row, statements) for row in rows if row.benchmark == one}
    by_reason: dict[str, list[Spot]] = {}
    for (task, shots), said in ours.items():
        for reason in dict.fromkeys(_reasons((one, other), said, shots, theirs)):
            by_reason.setdefault(reason, []).append((task, shots))
    if not by_reason:
        return ""
    ranked = any(_meets(said, shots, theirs) for (_, shots), said in ours.items())
    how = "are ranked against each other only in part" if ranked else "are not ranked against each other"
    reasons = "; ".join(f"{_where(spots, list(ours))}{reason}" for reason, spots in by_reason.items())
    return f"{one} (published) and {other} (measured) {how}: {reasons}."


def _meets(said: Statement, shots: int, theirs: Sequence[Said]) -> bool:
    """Whether some measured row is ranked with the published ones."""
    return _is_whole(said) and any(
        statement == said and row.shots == shots and row.rank is not None for row, statement in theirs
    )


def _reasons(names: tuple[str, str], said: Statement, shots: int, theirs: Sequence[Said]) -> Iterator[str]:
    """What keeps measured rows apart from published ones; `names` are those of both benchmarks, the published first."""
    one, other = names
    same = [(row, statement) for row, statement in theirs if said.questions and statement.questions == said.questions]
    here = [(row, statement) for row, statement in same if row.shots == shots]
    if said.questions is None:
        yield f"{one} does not say which questions it asked"
    elif not same:
        yield f"{other} asks other questions"
    elif said.metric is None:
        yield f"{one} does not say how answers were scored"
    elif not here:
        counts = sorted({row.shots for row, _ in same})
        yield f"{other} asked with {' or '.join(map(str, counts))} examples"
    elif all(row.rank is None for row, _ in here):
        yield f"{other} has no number to rank"
    else:
        for _, statement in here:
            yield from _differences(other, said, statement)


def _differences(other: str, said: Statement, statement: Statement) -> Iterator[str]:
    """In what a measured statement on the same questions differs, or may differ, from a published one."""
    if statement.unlike:
        yield from (f"{other} {what}" for what in statement.unlike)
    elif statement.metric is None:
        yield f"{other} has no numbers that are scored in one way"
    elif said.metric != statement.metric:
        yield f"scored by {said.metric} against {statement.metric}"
    elif said.n != statement.n:
        yield f"{said.n} questions against {statement.n}"


def _where(spots: Sequence[Spot], every: Sequence[Spot]) -> str:
    """The tasks that a reason holds for, with numbers of shots where it does not hold for all; "" for everything."""
    from kib.support.phrases import join

    if len(spots) == len(every):
        return ""
    tasks: dict[str, list[int]] = {}
    for task, shots in spots:
        tasks.setdefault(task, []).append(shots)
    whole = {task: sum(other == task for other, _ in every) == len(counts) for task, counts in tasks.items()}
    names = [
        task if whole[task] else f"{task} ({' and '.join(f'{count}-shot' for count in sorted(counts))})"
        for task, counts in tasks.items()
    ]
    return f"{join(names)}: "
