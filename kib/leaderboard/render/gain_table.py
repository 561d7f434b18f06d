"""Renders the table of gains as blocks of printable text."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from kib.leaderboard.number_format import DASH, interval, p_value, percent, points, whole_percent
from kib.leaderboard.render.blocks import Block, Column, Line, Tone
from kib.leaderboard.render.few_groups import few_groups
from kib.leaderboard.render.row_groups import gain_tone, row_groups
from kib.leaderboard.table_records import ArmRow, AverageRow, Table
from kib.safe_text import one_line
from kib.support.phrases import counted

__all__ = ["GAIN_COLUMNS", "gain_blocks", "note_of"]

UNTESTED = (
    "the scores are graded and the paper states no standard errors, so no intervals, p values and ranks can be computed"
)

GAIN_COLUMNS = (
    Column("rank", "#", "rank"),
    Column("method", "method", "method", left=True),
    Column("origin", "origin", "origin", left=True),
    Column("corpus", "corpus", "corpus", left=True),
    Column("n", "n", "number of questions"),
    Column("accuracy", "acc. %", "accuracy"),
    Column("accuracy interval", "interval", "confidence interval for accuracy", left=True),
    Column("other metrics", "other metrics", "other metrics", left=True),
    Column("seeds", "seeds", "number of seeds and standard deviation", left=True),
    Column("against", "against", "reference arm for the gain", left=True),
    Column("points", "points", "gain in points"),
    Column("points interval", "interval", "confidence interval for the gain", left=True),
    Column("relative", "gain %", "relative gain"),
    Column("relative interval", "interval", "confidence interval for the relative gain", left=True),
    Column("share", "gold %", "gain as a share of the gain from the gold passage"),
    Column("p", "p", "p"),
    Column("questions", "won/tied/lost", "questions won, tied and lost"),
    Column("known", "known", "gain on known questions"),
    Column("unknown", "unknown", "gain on unknown questions"),
    Column("recall", "recall", "recall of the gold passage"),
    Column("dropped", "dropped", "dropped passages"),
    Column("tokens", "tokens", "tokens per prompt"),
    Column("perplexity", "held out", "perplexity of held-out text"),
    Column("note", "note", "note", left=True),
)


def gain_blocks(table: Table, limit: int | None = None) -> Iterator[Block]:
    """Yield the first `limit` rows block by block, followed by the averages."""
    several = len(table.benchmarks) > 1
    mixed = len({one.origin for one in table.benchmarks}) > 1
    for _, group in row_groups(table, limit):
        yield _task_block(group, several, mixed)
    averages = islice(table.averages, None if limit is None else max(0, limit - len(table.rows)))
    for _, group_of_averages in groupby(averages, key=lambda row: (row.benchmark, row.model, row.shots)):
        yield _average_block(list(group_of_averages), table.rows, several, mixed)


def _task_block(rows: Sequence[ArmRow], several: bool, mixed: bool) -> Block:
    first = rows[0]
    numbers = {row.n for row in rows if row.n is not None}
    corpora = {row.corpus for row in rows if row.corpus is not None}
    references = {row.reference for row in rows if row.gain}
    title = [f"{first.benchmark}: {first.model}" if several else first.model, first.task, f"{first.shots}-shot"]
    title += ["control"] if first.role == "control" else []
    title += ["published, unpaired"] if first.origin == "published" else []
    title += [counted(number, "question") for number in numbers] if len(numbers) == 1 else []
    title += [f"scored by {one_line(metric)}" for metric in _generated_metric(rows)]
    title += [f"corpus {name}" for name in corpora if name != first.task] if len(corpora) == 1 else []
    seeds = {row.seeds for row in rows}
    lines = []
    for row in rows:
        texts = {**_texts(row), **({"origin": row.origin} if mixed else {})}
        if len(numbers) > 1:
            texts["n"] = DASH if row.n is None else str(row.n)
        if len(corpora) > 1:
            texts["corpus"] = one_line(row.corpus or DASH)
        if len(references) > 1:
            texts["against"] = one_line(row.reference) if row.gain and row.reference else DASH
        if any(len(seed_list) > 1 for seed_list in seeds):
            texts["seeds"] = _seeds(row)
        lines.append(Line(texts, _tone(row)))
    few = few_groups(rows)
    notes = (
        *([few] if few else []),
        *([UNTESTED] if any(row.accuracy and not row.accuracy.interval for row in rows) else []),
        *_reason_notes([(row.arm, row.reason) for row in rows]),
        *_choice_reason_notes(rows),
    )
    return Block(one_line(" · ".join(title)), tuple(lines), notes)


def _generated_metric(rows: Sequence[ArmRow]) -> set[str]:
    """Return the metric of a block, unless the metric is the accuracy of choosing an option or differs between rows."""
    metrics = {row.metric for row in rows if row.metric is not None}
    known = {metric for metric in metrics if not metric.startswith("acc") and rows[0].origin == "measured"}
    return known if len(metrics) == 1 else set()


def _choice_reason_notes(rows: Sequence[ArmRow]) -> Iterator[str]:
    """Yield one sentence per chosen arm: its accuracy, and the accuracy of the best arm on the test questions."""
    for row in rows:
        if row.best_on_test and row.accuracy:
            best, mean = row.best_on_test
            on_test = "the same" if best == row.arm else f"{percent(mean)} % ({best})"
            chosen = f"{row.arm}, chosen on validation: {percent(row.accuracy.mean)} %"
            yield one_line(f"{chosen}; chosen on test: {on_test}")


def _texts(row: ArmRow) -> dict[str, str]:
    gain, accuracy = row.gain, row.accuracy
    p = p_value(row.p)
    return {
        "rank": DASH if row.rank is None else f"{row.rank}{'=' if row.tied else ' '}",
        "method": one_line(row.arm),
        "accuracy": percent(accuracy.mean if accuracy else None),
        "accuracy interval": interval(accuracy.interval) or DASH if accuracy else "",
        "other metrics": ", ".join(f"{one_line(name)} {percent(mean)}" for name, mean in row.other_metrics.items()),
        "points": points(gain.absolute if gain else None),
        "points interval": interval(gain.interval) or DASH if gain else _missing_gain(row),
        "relative": points(gain.relative if gain else None),
        "share": DASH if row.gold_share is None else whole_percent(row.gold_share),
        "p": f"({p})" if gain and row.p is not None and row.p_adjusted is None else p,
        "questions": f"{gain.wins}/{gain.ties}/{gain.losses}" if gain and gain.paired else DASH,
        "known": points(row.known.absolute if row.known else None),
        "unknown": points(row.unknown.absolute if row.unknown else None),
        "recall": percent(row.recall),
        "dropped": str(row.dropped_passages) if row.dropped_passages else "",
        "tokens": DASH if row.prompt_tokens is None else f"{row.prompt_tokens:.0f}",
        "perplexity": f"{row.perplexity[0]:.2f}>{row.perplexity[1]:.2f}" if row.perplexity else DASH,
        "note": note_of(row),
    }


def note_of(row: ArmRow) -> str:
    """Return the note of a row: whether the arm is the reference, was chosen or is a system, its mark and warnings."""
    reference = row.arm == row.reference and row.kind != "base"
    words = ["reference" if reference else "", "chosen" if row.chosen else "", "system" if row.system else ""]
    words += [row.mark, *row.warnings]
    return ", ".join(word for word in words if word)


def _missing_gain(row: ArmRow) -> str:
    """Return one word that explains a missing gain; the notes of the block contain the full reason."""
    if row.status != "measured":
        return row.status
    return "incomparable" if row.reason else ""


def _seeds(row: ArmRow) -> str:
    return DASH if row.spread is None else f"{len(row.seeds)} ±{percent(row.spread)}"


def _tone(row: ArmRow) -> Tone:
    absent = row.accuracy is None or row.reason
    return "absent" if absent else gain_tone(row, row.gain, row.p)


def _average_block(rows: Sequence[AverageRow], arms: Sequence[ArmRow], several: bool, mixed: bool) -> Block:
    first = rows[0]
    model = f"{first.benchmark}: {first.model}" if several else first.model
    shots = "all shots" if first.shots is None else f"{first.shots}-shot"
    unpaired = " · published, unpaired" if first.origin == "published" else ""
    title = f"{model} · average of {counted(len(first.tasks), 'task')} · {shots}{unpaired}"
    lines = []
    for row in rows:
        average = row.average
        texts = {
            "method": one_line(row.arm),
            "accuracy": percent(row.accuracy),
            "points": points(average.absolute if average else None),
            "points interval": interval(average.interval) if average else _why_no_average(row),
            "relative": points(average.relative if average else None),
            "relative interval": interval(average.relative_interval if average else None),
            **({"origin": row.origin} if mixed else {}),
        }
        tone: Tone = "absent" if row.reason else "ceiling" if row.kind == "ceiling" else "same" if average else "base"
        lines.append(Line(texts, tone))
    if first.mixed_metrics:
        return Block(one_line(title), tuple(lines), (first.reason,))
    notes = (*_few_groups_notes(first, arms), *_reason_notes([(row.arm, row.reason) for row in rows]))
    return Block(one_line(title), tuple(lines), notes)


def _why_no_average(row: AverageRow) -> str:
    return "incomplete" if row.reason and not row.mixed_metrics else ""


def _few_groups_notes(average: AverageRow, arms: Sequence[ArmRow]) -> Iterator[str]:
    """Yield a sentence for each task of an average that has few groups of questions."""
    own = [row for row in arms if (row.benchmark, row.model) == (average.benchmark, average.model)]
    for task in average.tasks:
        few = few_groups([row for row in own if row.task == task and average.shots in (None, row.shots)])
        if few:
            yield one_line(f"{task}: {few}")


def _reason_notes(reasons: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield one sentence per reason for a missing number, with the affected arms."""
    by_reason: dict[str, list[str]] = {}
    for arm, reason in reasons:
        if reason:
            by_reason.setdefault(reason, []).append(arm)
    for reason, arms in by_reason.items():
        yield one_line(f"{', '.join(arms)}: {reason}")
