"""The sentences below a table: what has no number, what the columns mean, what all rows have in common."""

from collections.abc import Collection, Iterator

from kib.leaderboard.compute.row_warnings import MEANINGS as ALARMS
from kib.leaderboard.safe_text import one_line
from kib.leaderboard.table_records import Table

__all__ = ["counts", "legend"]

UNSEEN = 3
"""So many cells are named that have no number and no row, being of validation questions or a probe."""

MEANINGS = {
    "share": "gold %: the gain as % of what the gold passage gives (the ceiling, not ranked).",
    "known": "known, unknown: points gained where a second measurement of base was right, and where it was wrong.",
    "recall": "recall: % of questions with a gold passage among those retrieved.",
    "perplexity": "held out: perplexity of text that was not trained on, before and after the training.",
    "dropped": "dropped: passages that did not fit the token budget.",
}
"""Sentences on columns that need no numbers of the table."""


UNPAIRED = (
    "published, unpaired: the paper gives no answers question by question; intervals and p come from the numbers of "
    "questions alone (Wilson, Newcombe, score test), and paired ones would as a rule be narrower."
)


def counts(table: Table) -> str:
    """How many cells have no number; "" where all have one."""
    if not table.missing:
        return ""
    failed = sum(1 for one in table.missing if one.state == "failed")
    kinds = ((len(table.missing) - failed, "missing"), (failed, "failed"))
    parts = [f"{count} {what}" for count, what in kinds if count]
    sentence = f"Of {table.cells} cells {' and '.join(parts)}: a row without all its seeds has no number."
    shown = {cell for row in table.rows for cell in row.cells}
    unseen = [f"{one.cell} ({one.reason})" for one in table.missing if one.cell not in shown]
    rest = f" and {len(unseen) - UNSEEN} more" if len(unseen) > UNSEEN else ""
    return one_line(f"{sentence} Without a row: {', '.join(unseen[:UNSEEN])}{rest}.") if unseen else sentence


def legend(table: Table, columns: Collection[str]) -> list[str]:
    """Sentences on the columns of these names and on what all rows have in common."""
    texts = []
    if "points" in columns:
        over = "base" if table.against is None else table.against
        how = ", resampled by group where questions share one" if "measured" in _origins(table) else ""
        texts.append(
            f"Accuracy in %; gain over {over} on the same questions, in points and in % of its accuracy. Intervals "
            f"hold 95 %{how}."
        )
        texts += [UNPAIRED] if "published" in _origins(table) else []
    if "p" in columns:
        texts.append(_on_p(table))
    if any(row.tied for row in table.rows):
        texts.append("#: rank; = is shared by arms that do not differ from its first by more than chance.")
    texts += [text for name, text in MEANINGS.items() if name in columns]
    raised = {one.partition(" (")[0] for row in table.rows for one in row.alarms}
    texts += [f"{name}: {meaning}" for name, meaning in ALARMS.items() if name in raised]
    return [one_line(text) for text in (*texts, *table.apart, *_not_split(table), *_surroundings(table))]


def _origins(table: Table) -> set[str]:
    return {one.origin for one in table.benchmarks}


def _on_p(table: Table) -> str:
    family = " + ".join(str(one.family) for one in table.benchmarks if one.family)
    adjusted = f", adjusted by Holm over {family} gain{'s' * (family != '1')}" if family else ""
    alone = any(row.gain and row.p_adjusted is None for row in table.rows)
    aside = "; in brackets: of a control or the ceiling, not adjusted." if alone else "."
    tests = {"measured": "exact paired test", "published": "unpaired score test"}
    test = " or ".join(text if len(_origins(table)) == 1 else f"{text} ({origin})" for origin, text in tests.items()
                       if origin in _origins(table))  # fmt: skip
    return f"p: {test}{adjusted}{aside}"


def _not_split(table: Table) -> Iterator[str]:
    """Why some tasks have no gains on what was known and unknown before."""
    for one in table.benchmarks:
        by_reason: dict[str, list[str]] = {}
        for task, reason in one.no_probe:
            by_reason.setdefault(reason, []).append(task)
        for reason, tasks in by_reason.items():
            names = f"task{'s' * (len(tasks) > 1)} {', '.join(f'`{task}`' for task in tasks)}"
            benchmark = f"{one.name}: " if len(table.benchmarks) > 1 else ""
            yield f"{benchmark}Gains are not split into known and unknown before on the {names}: {reason}."


def _surroundings(table: Table) -> Iterator[str]:
    """The environment, where all rows share one."""
    if len(table.environments) == 1:
        one = table.environments[0]
        packages = [f"{name} {version}" for name, version in sorted(one.packages.items())]
        yield f"Measured on {', '.join([one.device, *packages])}."
    elif table.environments:
        yield f"Measured in {len(table.environments)} environments; JSON lists them."
