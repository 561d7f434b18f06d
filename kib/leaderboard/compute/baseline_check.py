"""The check that CI runs: a table against a stored baseline."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kib.errors import InputError
from kib.leaderboard.number_format import interval, points
from kib.leaderboard.table_records import Row, Table
from kib.statistics.gains import Interval

__all__ = ["Changes", "baseline", "check"]

KIND = "kib leaderboard baseline"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since the baseline: `failed` fails the check, `noted` does not. Sentences."""

    failed: tuple[str, ...]
    noted: tuple[str, ...]


def baseline(table: Table) -> str:
    """What a later `check` needs of a table, as JSON: each arm's seeds, its gain and interval.

    An arm's id is `<benchmark>/<place>`; its cells are matched by this and their seeds, so that new data or a new
    version of a plugin do not make it another arm.
    """
    entries = {}
    for row in table.rows:
        gain = row.gain
        entries[f"{row.benchmark}/{row.place}"] = {
            "seeds": row.seeds,
            "gain": None if gain is None else [gain.absolute, gain.interval.low, gain.interval.high],
        }
    head = json.dumps({"kind": KIND, "schema": SCHEMA, "against": table.against}, ensure_ascii=False)[1:-1]
    lines = ",\n".join(
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(entry)}" for name, entry in sorted(entries.items())
    )
    return f'{{{head},\n"rows": {{\n{lines}\n}}}}\n'


def check(table: Table, text: str) -> Changes:
    """Compare a table with the text of a baseline.

    Failed: a gain below the baseline's interval, an arm or seed that is gone, a gain that there is no more, every cell
    that is missing or failed. Noted: new arms and seeds, gains above the interval. InputError for another file.
    """
    entries = _read(table, text)
    rows = {f"{row.benchmark}/{row.place}": row for row in table.rows}
    failed = [f"{one.benchmark}/{one.cell}: {one.reason}" for one in table.missing]
    noted: list[str] = []
    for name, entry in entries.items():
        if name not in rows:
            failed.append(f"{name}: gone, the plan has it no more")
            continue
        _compare(name, rows[name], entry, failed, noted)
    noted += [f"{name}: new" for name in rows if name not in entries]
    return Changes(tuple(failed), tuple(noted))


def _compare(name: str, row: Row, entry: Mapping[str, Any], failed: list[str], noted: list[str]) -> None:
    gone = [seed for seed in entry["seeds"] if seed not in row.seeds]
    new = [seed for seed in row.seeds if seed not in entry["seeds"]]
    failed += [f"{name}/s{seed}: gone, the plan has it no more" for seed in gone]
    noted += [f"{name}/s{seed}: new" for seed in new]
    if entry["gain"] is None or row.status != "measured":
        return
    absolute, low, high = entry["gain"]
    if row.gain is None:
        failed.append(f"{name}: no gain any more: {row.reason or 'it is what gains are measured against'}")
        return
    change = f"{points(absolute)} {interval(Interval(low, high))} -> {points(row.gain.absolute)} points"
    if row.gain.absolute < low:
        failed.append(f"{name}: the gain fell by more than chance: {change}")
    elif row.gain.absolute > high:
        noted.append(f"{name}: the gain rose by more than chance: {change}")


def _read(table: Table, text: str) -> dict[str, Any]:
    """The entries of a baseline, checked; InputError says what is wrong with it."""
    hint = "; `kib leaderboard --update-baseline` writes a new one"
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"the baseline is not readable as JSON ({error}){hint}") from error
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise InputError(f'this is no baseline of a leaderboard (no "kind": "{KIND}"){hint}')
    if value.get("schema") != SCHEMA:
        raise InputError(f"the baseline has schema {value.get('schema')!r}, this kib reads {SCHEMA}{hint}")
    if value.get("against") != table.against:
        names = [f"against {one}" if one else "over base" for one in (value.get("against"), table.against)]
        raise InputError(f"the baseline holds gains {names[0]}, the table gains {names[1]}; give --against alike{hint}")
    entries = value.get("rows")
    if not isinstance(entries, dict) or not all(_is_entry(entry) for entry in entries.values()):
        raise InputError(f"the baseline is damaged: its rows are not what kib writes{hint}")
    return entries


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("seeds"), list) or "gain" not in entry:
        return False
    gain = entry["gain"]
    return gain is None or (
        isinstance(gain, list) and len(gain) == 3 and all(type(number) in (int, float) for number in gain)
    )
