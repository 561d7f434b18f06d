"""The check for continuous integration: compares a table with a stored baseline."""

import json
from dataclasses import dataclass, replace
from typing import Annotated, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from kib.errors import InputError
from kib.identity import digest
from kib.leaderboard.compute.server_changes import Block, ServerEntry, block_of, server_changes, server_entry
from kib.leaderboard.number_format import interval, points
from kib.leaderboard.table_records import ArmRow, Table
from kib.statistics.gains import Interval, bounds
from kib.store.sealed_json import DIGEST, parse_json, remove_digest
from kib.support.phrases import shortened

__all__ = ["Changes", "baseline", "check"]

Fraction = Annotated[float, Field(strict=True, ge=-1, le=1, allow_inf_nan=False)]


class _Entry(TypedDict):
    """The seeds of an arm, and its gain with the bounds of the confidence interval, as fractions."""

    seeds: list[Annotated[int, Field(strict=True, ge=0, lt=2**32)]]
    gain: tuple[Fraction, Fraction, Fraction] | None
    server: NotRequired[ServerEntry]


ROWS = TypeAdapter(dict[str, _Entry])
KIND = "kib leaderboard baseline"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Changes:
    """Sentences about changes since the baseline; the sentences in `noted` do not make the check fail.

    `unavailable` describes what cannot be compared because a server did not answer, and `drifted` what is worse or
    cannot be compared although the server itself has changed.
    """

    failed: tuple[str, ...]
    noted: tuple[str, ...]
    unavailable: tuple[str, ...] = ()
    drifted: tuple[str, ...] = ()


def baseline(table: Table) -> str:
    """Return a table as baseline JSON: the seeds, the gain and the interval of each arm, and a digest of the content.

    For base on a server that reports its model, the accuracy and the report are added, so that a later check can tell
    a change of the server from a worse method.

    The id of an arm is `<benchmark>/<place>`. Cells are matched by this id and their seeds, so that arms can still be
    matched when data or plugin versions change.
    """
    entries = {}
    for row in table.rows:
        gain = row.gain
        entries[f"{row.benchmark}/{row.place}"] = {
            "seeds": row.seeds,
            "gain": None if gain is None or gain.interval is None else [gain.absolute, *bounds(gain.interval)],
            **({"server": server} if (server := server_entry(row, table)) else {}),
        }
    head = {"kind": KIND, "schema": SCHEMA, "against": table.against}
    head[DIGEST] = digest({**head, "rows": entries})
    lines = ",\n".join(
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(entry)}" for name, entry in sorted(entries.items())
    )
    return f'{{{json.dumps(head, ensure_ascii=False)[1:-1]},\n"rows": {{\n{lines}\n}}}}\n'


def check(table: Table, text: str) -> Changes:
    """Compare a table with the text of a baseline.

    The check fails if a gain is below the baseline's interval, if an arm, a seed or a gain is missing, or if any cell
    is missing or failed. New arms, new seeds and gains above the interval are only reported. Arms without a gain
    because a server did not answer are listed separately, and so are arms whose server has changed since the baseline
    or during the run. Raises InputError for an invalid baseline.
    """
    entries = _read(table, text)
    rows = {f"{row.benchmark}/{row.place}": row for row in table.rows}
    failed = [f"{one.benchmark}/{one.cell}: {one.reason}" for one in table.missing if one.state != "unavailable"]
    unavailable = [f"{one.benchmark}/{one.cell}: {one.reason}" for one in table.missing if one.state == "unavailable"]
    waiting = _references_that_await_a_server(table)
    noted: list[str] = []
    drifted: list[str] = []
    changes_of_servers = server_changes(table, {name: entry.get("server") for name, entry in entries.items()})
    for name, entry in entries.items():
        if name not in rows:
            failed.append(f"{name}: removed: the plan no longer contains this arm")
            continue
        row = rows[name]
        if entry["gain"] is not None and row.status == "measured" and _reference(row) in waiting:
            unavailable.append(f"{name}: this arm has no gain at the moment: {row.reason}")
            row = replace(row, status="incomplete")
        if worse := _compare(name, row, entry, failed, noted):
            change = changes_of_servers.get(name)
            (drifted if change else failed).append(f"{worse}; {change}" if change else worse)
    noted += [f"{name}: new" for name in rows if name not in entries]
    return Changes(tuple(failed), tuple(noted), tuple(unavailable), tuple(drifted))


def _reference(row: ArmRow) -> tuple[Block, str | None]:
    """Return the block of a row and the name of the arm that its gain is measured against."""
    return block_of(row), row.reference


def _references_that_await_a_server(table: Table) -> set[tuple[Block, str | None]]:
    """Return the arms without a result for which a server that did not answer is the only reason."""
    down = {(one.benchmark, one.cell) for one in table.missing if one.state == "unavailable"}
    other = {(one.benchmark, one.cell) for one in table.missing} - down
    return {
        (block_of(row), row.arm)
        for row in table.rows
        if any((row.benchmark, cell) in down for cell in row.cells)
        and not any((row.benchmark, cell) in other for cell in row.cells)
    }


def _compare(name: str, row: ArmRow, entry: _Entry, failed: list[str], noted: list[str]) -> str:
    """Return a sentence if the gain of an arm is worse or missing, or ""; add other changes to `failed` and `noted`."""
    removed = [seed for seed in entry["seeds"] if seed not in row.seeds]
    new = [seed for seed in row.seeds if seed not in entry["seeds"]]
    failed += [f"{name}/s{seed}: removed: the plan no longer contains this seed" for seed in removed]
    noted += [f"{name}/s{seed}: new" for seed in new]
    if entry["gain"] is None or row.status != "measured":
        return ""
    absolute, low, high = entry["gain"]
    if row.gain is None:
        return f"{name}: this arm no longer has a gain: {row.reason or 'gains are now measured against this arm'}"
    change = f"{points(absolute)} {interval(Interval(low, high))} -> {points(row.gain.absolute)} points"
    if row.gain.absolute < low:
        return f"{name}: the gain fell below the baseline's confidence interval: {change}"
    if row.gain.absolute > high:
        noted.append(f"{name}: the gain rose above the baseline's confidence interval: {change}")
    return ""


def _read(table: Table, text: str) -> dict[str, _Entry]:
    """Return the entries of a baseline; raises InputError if the baseline is invalid."""
    hint = "; write a new baseline with `kib leaderboard --update-baseline`"
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InputError(f"the baseline is not valid JSON ({error}){hint}") from error
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise InputError(f'the file is not a leaderboard baseline (expected "kind": "{KIND}"){hint}')
    if value.get("schema") != SCHEMA:
        schema = shortened(repr(value.get("schema")))
        raise InputError(f"the baseline has schema {schema}, but this version of kib reads schema {SCHEMA}{hint}")
    try:
        remove_digest(value)  # baselines of earlier versions have no digest
        intact = not value.keys() - {"kind", "schema", "against", "rows"}
    except ValueError:
        intact = False
    if not intact:
        raise InputError(f"the baseline is damaged or was edited (its content differs from its digest){hint}")
    if value.get("against") != table.against:
        names = [f"against {shortened(one)}" if one else "over base" for one in (value.get("against"), table.against)]
        raise InputError(
            f"the baseline contains gains {names[0]}, but the table contains gains {names[1]}; use the same "
            f"--against for both{hint}"
        )
    try:
        return ROWS.validate_python(value.get("rows"))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ": ".join(map(shortened, ("rows", *fault["loc"])))
        raise InputError(f"the baseline is damaged ({place}: {fault['msg']}){hint}") from error
