"""Changes of the server of a model, during a run or since a stored baseline."""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from kib.leaderboard.compute.repeated_base import reported
from kib.leaderboard.number_format import interval, percent, points
from kib.leaderboard.table_records import ArmRow, Table
from kib.records import SERVED_MODEL
from kib.statistics.confidence_intervals import difference_interval
from kib.statistics.gains import Interval

__all__ = ["Block", "ServerEntry", "block_of", "server_changes", "server_entry"]

Block = tuple[str, str, str, int]
"""Benchmark, model, task and number of shots."""

Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class ServerEntry(TypedDict):
    """What a server reported with the answers for base, and the accuracy of base with the bounds of its interval."""

    reported: list[str]
    accuracy: tuple[Share, Share, Share]


def block_of(row: ArmRow) -> Block:
    """Return the block of a row."""
    return (row.benchmark, row.model, row.task, row.shots)


def server_entry(row: ArmRow, table: Table) -> ServerEntry | None:
    """Return the entry of a baseline for base on a server that reports its model, or None for any other row."""
    facts = reported(table.environments[number] for number in row.environments)
    if row.kind != "base" or row.accuracy is None or row.accuracy.interval is None or not facts:
        return None
    ends = row.accuracy.interval
    return {"reported": list(facts), "accuracy": (row.accuracy.mean, ends.low, ends.high)}


def server_changes(table: Table, baseline: Mapping[str, ServerEntry | None]) -> dict[str, str]:
    """Return a clause about each arm whose gain a server may have changed, by the id of the arm.

    A gain depends on the server of the model that gave the answers of the arm, and on the server of the arm's
    reference. A server has changed during the run if it served several models or drifted. The server of base has
    changed since the baseline if base has a significantly different accuracy, and the server reports a different model
    or configuration. `baseline` contains the stored entries by the id of the arm.
    """
    clauses: dict[tuple[Block, str | None], str] = {
        **{(block, None): clause for block, clause in _changes_since(table, baseline)},
        **{
            answered: f"the endpoint served several models while kib measured: {', '.join(names)}"
            for answered, names in _served_models(table)
            if len(names) > 1
        },
        **{(block, None): clause for block, clause in _drifts(table)},
    }
    trained_as = {(block_of(row), row.arm): row.trained_as for row in table.rows}
    found: dict[str, str] = {}
    for row in table.rows:
        block = block_of(row)
        for model in (row.trained_as, trained_as.get((block, str(row.reference)))):
            if clause := clauses.get((block, model)):
                found[f"{row.benchmark}/{row.place}"] = clause
    return found


def _changes_since(table: Table, baseline: Mapping[str, ServerEntry | None]) -> Iterator[tuple[Block, str]]:
    for row in table.rows:
        now, before = server_entry(row, table), baseline.get(f"{row.benchmark}/{row.place}")
        if now is None or before is None or now["reported"] == before["reported"]:
            continue
        (mean, *ends), (other, *other_ends) = before["accuracy"], now["accuracy"]
        change = difference_interval((mean, Interval(*ends)), (other, Interval(*other_ends)))
        if not change.low <= 0 <= change.high:
            clause = (
                f"the endpoint has changed since the baseline: the accuracy of {row.arm} changed from {percent(mean)} "
                f"to {percent(other)} %, and the endpoint reports {', '.join(now['reported'])} instead of "
                f"{', '.join(before['reported'])}"
            )
            yield block_of(row), clause


def _served_models(table: Table) -> Iterator[tuple[tuple[Block, str | None], list[str]]]:
    """Yield the names under which a server reported a model; None means the model of the block itself.

    A model trained elsewhere has a name of its own, which is therefore never compared with the name of its base.
    """
    found: dict[tuple[Block, str | None], dict[str, None]] = {}
    for row in table.rows:
        for number in row.environments:
            if name := table.environments[number].packages.get(SERVED_MODEL):
                found.setdefault((block_of(row), row.trained_as), {})[name] = None
    yield from ((answered, sorted(names)) for answered, names in found.items())


def _drifts(table: Table) -> Iterator[tuple[Block, str]]:
    for one in table.repeats:
        if one.significant:
            clause = (
                f"the endpoint drifted while kib measured: the accuracy of {one.method} on repeated questions changed "
                f"by {points(one.change.absolute)} {interval(one.change.interval)} points"
            )
            yield (one.benchmark, one.model, one.task, one.shots), clause
