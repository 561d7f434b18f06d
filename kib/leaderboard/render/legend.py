"""The sentences below a table: missing results, the meaning of columns and warnings, and the environment."""

from collections import Counter
from collections.abc import Collection, Iterator

from kib.leaderboard.compute.row_warnings import WARNING_MEANINGS
from kib.leaderboard.table_records import ArmRow, Table
from kib.safe_text import one_line
from kib.statistics.confidence_intervals import FEWEST_SEEDS
from kib.statistics.paired_test import FLIPS, MOST_ENUMERATED
from kib.support.phrases import join
from kib.text_metrics.metrics import MEANINGS

__all__ = ["legend", "missing_results"]

NAMED_CELLS = 3
"""The maximum number of listed cells without a row (validation questions or a probe)."""

COVERED_SEEDS = (
    "Intervals and p values of arms with three or more seeds cover other questions and other seeds: their p is not "
    "smaller than the level at which the interval contains 0. Those of all other arms cover other questions alone."
)
"""The sentence about what intervals cover, if any arm has enough seeds."""

STATES = {"missing": "missing", "failed": "failed", "unavailable": "failed because a server did not answer,"}
"""The words for cells without a result, by state, as in `2 failed of 9 planned`."""

COLUMN_MEANINGS = {
    "share": (
        "gold %: the gain as % of the gain from the gold passage (the upper bound; not ranked), if the latter is "
        "significant."
    ),
    "known": (
        "known, unknown: gain in points on questions that base answered correctly (known) or incorrectly (unknown) in "
        "a second measurement; a score of at least 0.5 counts as correct."
    ),
    "recall": "recall: percentage of questions for which a gold passage was retrieved.",
    "perplexity": "held out: perplexity of text excluded from training, before and after training.",
    "dropped": "dropped: passages that did not fit the token budget.",
}
"""Sentences about columns, by column name."""


GRADED_TEST = (
    f", or {FLIPS:,} random sign flips if more than {MOST_ENUMERATED} questions or groups differ by uneven amounts "
    "(the standard error of an estimated p of .05 is .0015)"
)

UNPAIRED = (
    "published, unpaired: the paper does not publish answers per question. Intervals and p values are therefore "
    "computed from accuracies and numbers of questions alone (Wilson, Newcombe, score test); paired intervals "
    "would usually be narrower."
)


SYSTEMS = (
    "system: the answers come from a complete system, measured as it runs; its gain over base also contains the effect "
    "of its own model and prompts."
)

STATED_ERRORS = (
    "Intervals and p values of published graded scores are based on the standard errors that the paper states (normal "
    "distribution)."
)


def _has_stated_error(row: ArmRow) -> bool:
    return bool(row.origin == "published" and row.graded and row.accuracy and row.accuracy.interval)


def missing_results(table: Table) -> str:
    """Return a sentence about cells without a result, or "" if the table is complete."""
    if not table.missing:
        return ""
    counts = Counter[str](one.state for one in table.missing)
    parts = [f"{counts[state]} {word}" for state, word in STATES.items() if counts[state]]
    sentence = (
        f"Cells without a result: {join(parts)} of {table.cells} planned. A row has a result only if all of its seeds "
        "have been measured."
    )
    shown = {cell for row in table.rows for cell in row.cells}
    without_row = [f"{one.cell} ({one.reason})" for one in table.missing if one.cell not in shown]
    if not without_row:
        return sentence
    rest = f" and {len(without_row) - NAMED_CELLS} more" if len(without_row) > NAMED_CELLS else ""
    return one_line(f"{sentence} Without a row: {', '.join(without_row[:NAMED_CELLS])}{rest}.")


def legend(table: Table, columns: Collection[str]) -> list[str]:
    """Return sentences about the given columns, about the warnings in the table and about the environment."""
    texts = []
    if "points" in columns:
        over = "base" if table.against is None else table.against
        grouped = "; the questions of a group count as one unit" if "measured" in _origins(table) else ""
        texts.append(
            f"Accuracy in %; gain over {over} on the same questions, in points and as % of the accuracy of {over}. "
            f"Intervals are 95 % confidence intervals{grouped}."
        )
        texts += [COVERED_SEEDS] if any(map(_covers_seeds, table.rows)) else []
        texts += _metrics(table)
        texts += [UNPAIRED] if "published" in _origins(table) else []
        texts += [STATED_ERRORS] if any(map(_has_stated_error, table.rows)) else []
    if "p" in columns:
        texts.append(_p_values(table))
    if any(row.tied for row in table.rows):
        texts.append("#: rank; = marks arms that do not differ significantly from the first arm with the same rank.")
    texts += [SYSTEMS] if table.systems else []
    texts += [text for name, text in COLUMN_MEANINGS.items() if name in columns]
    warnings = {one.partition(" (")[0] for row in table.rows for one in row.warnings}
    texts += [f"{name}: {meaning}" for name, meaning in WARNING_MEANINGS.items() if name in warnings]
    return [one_line(text) for text in (*texts, *table.not_ranked_together, *_not_split(table), *_environment(table))]


def _metrics(table: Table) -> Iterator[str]:
    """Yield a sentence for each metric of generated answers, which takes the place of the accuracy."""
    measured = [row for row in table.rows if row.origin == "measured"]
    used = dict.fromkeys(name for row in measured for name in (row.metric or "", *row.other_metrics))
    for name in used:
        if name in MEANINGS:
            yield f"{name}: {MEANINGS[name]}; mean over the questions in %."


def _covers_seeds(row: ArmRow) -> bool:
    return row.status == "measured" and len(row.seeds) >= FEWEST_SEEDS


def _origins(table: Table) -> set[str]:
    return {one.origin for one in table.benchmarks}


def _p_values(table: Table) -> str:
    """Return a sentence about p values, which states the tests, the adjustment and the exceptions."""
    family = " + ".join(str(one.family) for one in table.benchmarks if one.family)
    adjusted = f", adjusted by Holm's method over {family} gain{'s' * (family != '1')}" if family else ""
    unadjusted = any(row.gain and row.gain.p is not None and row.p_adjusted is None for row in table.rows)
    aside = "; values in parentheses (controls and the gold passage) are not adjusted." if unadjusted else "."
    origins = _origins(table)
    estimated = any(row.graded and row.origin == "measured" for row in table.rows)
    paired = f"exact paired test{GRADED_TEST if estimated else ''}"
    tests = {"measured": paired, "published": "unpaired score test"}
    used = [text if len(origins) == 1 else f"{text} ({one})" for one, text in tests.items() if one in origins]
    return f"p: {' or '.join(used)}{adjusted}{aside}"


def _not_split(table: Table) -> Iterator[str]:
    """Yield the reasons why some tasks do not have separate gains for known and unknown questions."""
    for one in table.benchmarks:
        by_reason: dict[str, list[str]] = {}
        for task, reason in one.no_probe:
            by_reason.setdefault(reason, []).append(task)
        for reason, tasks in by_reason.items():
            names = f"task{'s' * (len(tasks) > 1)} {', '.join(f'`{task}`' for task in tasks)}"
            benchmark = f"{one.name}: " if len(table.benchmarks) > 1 else ""
            gains = f"{benchmark}Gains on the {names}"
            yield f"{gains} are not reported separately for known and unknown questions: {reason}."


def _environment(table: Table) -> Iterator[str]:
    """Yield a sentence about the environment of all rows, or about the number of environments if there are several."""
    if len(table.environments) == 1:
        one = table.environments[0]
        packages = [f"{name} {version}" for name, version in sorted(one.packages.items())]
        yield f"Measured on {', '.join([one.device_in_words, *packages])}."
    elif table.environments:
        yield f"Measured in {len(table.environments)} environments; the JSON format lists them."
