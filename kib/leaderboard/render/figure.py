"""Draws gains by model and method, as in Figure 2 of arXiv 2312.05934, and accuracy by number of passages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal, get_args

from kib.errors import InputError
from kib.leaderboard.compute.row_warnings import BEST_K, WARNING_MEANINGS
from kib.leaderboard.number_format import points
from kib.leaderboard.render.few_groups import few_groups
from kib.leaderboard.table_records import ArmRow, AverageRow, Table
from kib.statistics.gains import Interval
from kib.support.phrases import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "SUFFIXES", "Kind", "save_figure"]

Kind = Literal["gains", "top-k"]

FIGURES: tuple[str, ...] = get_args(Kind)
SUFFIXES = (".png", ".svg", ".pdf")

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""The palette of Okabe and Ito, which is suitable for colour-blind readers, with grey instead of black."""
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++", "oo")
FOOTNOTE_LETTERS_PER_INCH = 18
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: Any = {
    "svg.hashsalt": "kib",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "hatch.linewidth": 0.5,
    "savefig.dpi": 160,
}
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": "kib"},
    ".pdf": {"CreationDate": None, "Creator": "kib", "Producer": None},
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A gain with its confidence interval, in the unit of its panel.

    `flagged` is the number of rows that contribute to the bar and carry the warning that K was chosen on the test
    questions.
    """

    group: str
    name: str
    value: float
    ends: Interval | None
    flagged: int = 0
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of a figure: bars on a common axis."""

    title: str
    unit: str
    bars: tuple[Bar, ...]


def save_figure(table: Table, kind: str, path: Path) -> None:
    """Draw a figure into a PNG, SVG or PDF file; equal tables and matplotlib versions yield identical bytes.

    Raises InputError for an unknown suffix, for a table without data to draw, or if matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: unknown figure format; expected {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder")
    try:
        from matplotlib import rc_context
    except ModuleNotFoundError as error:
        raise InputError(f"figures require matplotlib ({error}); run `pip install 'kib-bench[figures]'`") from error
    with rc_context(STYLE):
        drawn = _gains(table) if kind == "gains" else _sweeps(table)
        drawn.savefig(path, metadata=METADATA[path.suffix.lower()], bbox_inches="tight")


def _gains(table: Table) -> "Figure":
    """Draw one panel per benchmark, one group of bars per model, and one bar per arm."""
    from matplotlib.figure import Figure

    panels = [panel for one in table.benchmarks for panel in _panels(table, one.name) if panel.bars]
    if not panels:
        raise InputError("no gain to plot: the table contains only base arms or arms that are not comparable")
    names = list(dict.fromkeys(bar.name for panel in panels for bar in panel.bars))
    width = max(len(panel.bars) + len({bar.group for bar in panel.bars}) for panel in panels)
    figure = Figure(figsize=(max(5.0, 0.42 * width + 1.2), 3.1 * len(panels) + 0.4), layout="constrained")
    rows = figure.subplots(len(panels), 1, squeeze=False)
    for panel, (axes,) in zip(panels, rows, strict=True):
        _draw_bars(axes, panel, names)
    handles = [_patch(number, name) for number, name in enumerate(names)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(6, len(names)), frameon=False)
    _add_footnote(figure, _footnote(table, panels))
    return figure


def _footnote(table: Table, panels: Sequence[Panel]) -> list[str]:
    """Return a sentence that explains the whiskers, and the number of rows with a K chosen on the test questions."""
    origins = {one.origin for one in table.benchmarks}
    how = {"measured": "paired", "published": "unpaired"}
    kinds = [text if len(origins) == 1 else f"{text} ({origin})" for origin, text in how.items() if origin in origins]
    sentences = [f"Whiskers: 95 % confidence intervals for the gain, {' or '.join(kinds)}."]
    bars = [(bar.flagged, bar.rows) for panel in panels for bar in panel.bars if bar.flagged]
    over = [(int(_is_flagged(row)), 1) for row in table.rows if row.reference == row.arm and row.kind != "base"]
    for start, some in (("*", bars), (f"{table.against}, the reference arm for the gains:", over)):
        count, rows = sum(flagged for flagged, _ in some), sum(number for _, number in some)
        if count:
            sentences.append(f"{start} {BEST_K}: in {count} of {counted(rows, 'row')}, {WARNING_MEANINGS[BEST_K]}")
    return [*sentences, *_few_groups_notes(table)]


def _few_groups_notes(table: Table) -> list[str]:
    """Return one sentence per target task that has few groups of questions."""
    blocks: dict[tuple[str, str], list[ArmRow]] = {}
    for row in table.rows:
        if row.role == "target":
            blocks.setdefault((row.benchmark, row.task), []).append(row)
    found = [(task, few_groups(rows)) for (_, task), rows in blocks.items()]
    return [f"{task}: {few}." for task, few in found if few]


def _panels(table: Table, benchmark: str) -> list[Panel]:
    """Return panels of averages over all numbers of shots if these averages exist.

    Otherwise, return one panel per target task, with gains in percentage points.
    """
    averages = [row for row in table.averages if row.benchmark == benchmark and row.average]
    averages = [row for row in averages if row.shots is None] or averages
    if averages:
        return [
            _average_panel(table, [row for row in averages if row.shots == shots])
            for shots in dict.fromkeys(row.shots for row in averages)
        ]
    rows = [row for row in table.rows if row.benchmark == benchmark and row.role == "target" and row.gain]
    places = dict.fromkeys((row.task, row.shots) for row in rows)
    return [_row_panel(table, [row for row in rows if (row.task, row.shots) == place]) for place in places]


def _average_panel(table: Table, rows: Sequence[AverageRow]) -> Panel:
    first = rows[0]
    shots = "all shots" if first.shots is None else f"{first.shots}-shot"
    relative = all(row.average and row.average.relative_interval for row in rows)
    bars = [
        Bar(row.model, row.arm, row.average.relative, row.average.relative_interval, *_flags(table, row))
        if relative and row.average.relative is not None
        else Bar(row.model, row.arm, row.average.absolute, row.average.interval, *_flags(table, row))
        for row in rows
        if row.average
    ]
    title = f"{first.benchmark} ({first.origin}): average of {counted(len(first.tasks), 'task')}, {shots}"
    return Panel(title, _unit(table, relative), tuple(bars))


def _flags(table: Table, average: AverageRow) -> tuple[int, int]:
    """Return the number of flagged rows that contribute to an average, and the total number of contributing rows."""
    arm = (average.benchmark, average.model, average.arm)
    rows = [row for row in table.rows if (row.benchmark, row.model, row.arm) == arm and row.task in average.tasks]
    rows = [row for row in rows if average.shots in (None, row.shots)]
    return sum(map(_is_flagged, rows)), len(rows)


def _is_flagged(row: ArmRow) -> bool:
    return any(warning.startswith(BEST_K) for warning in row.warnings)


def _unit(table: Table, relative: bool) -> str:
    """Return the axis label of a panel: the kind of gain, its reference and its unit."""
    over = table.against or "base"
    return f"relative gain over {over}, %" if relative else f"gain over {over}, points"


def _row_panel(table: Table, rows: Sequence[ArmRow]) -> Panel:
    first = rows[0]
    bars = [
        Bar(row.model, row.arm, row.gain.absolute, row.gain.interval, int(_is_flagged(row))) for row in rows if row.gain
    ]
    title = f"{first.benchmark} ({first.origin}): {first.task}, {first.shots}-shot"
    return Panel(title, _unit(table, relative=False), tuple(bars))


def _draw_bars(axes: "Axes", panel: Panel, names: Sequence[str]) -> None:
    groups = list(dict.fromkeys(bar.group for bar in panel.bars))
    used = [name for name in names if any(bar.name == name for bar in panel.bars)]
    step = len(used) + 1
    for bar in panel.bars:
        number = names.index(bar.name)
        place = groups.index(bar.group) * step + used.index(bar.name)
        axes.bar(place, 100 * bar.value, 0.86, color=_colour(number), hatch=_hatch(number), edgecolor="white")
        _label_bar(axes, bar, place)
        if bar.ends:
            reach = [[100 * (bar.value - bar.ends.low)], [100 * (bar.ends.high - bar.value)]]
            axes.errorbar(place, 100 * bar.value, yerr=reach, color="black", capsize=2.5, linewidth=1)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.margins(y=0.1)  # leaves room for the numbers beyond the whiskers
    axes.set_xticks([number * step + (len(used) - 1) / 2 for number in range(len(groups))], groups)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(panel.unit)
    axes.set_title(panel.title, loc="left")
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def _label_bar(axes: "Axes", bar: Bar, place: float) -> None:
    """Print the value of a bar beyond its whisker: above the bar for a gain, below the bar for a loss."""
    reach = [bar.value, *([bar.ends.low, bar.ends.high] if bar.ends else [])]
    end, aside = (min(reach), -2) if bar.value < 0 else (max(reach), 2)
    text = f"{points(bar.value)}{'*' * bool(bar.flagged)}"
    axes.annotate(
        text,
        (place, 100 * end),
        (0, aside),
        textcoords="offset points",
        ha="center",
        va="top" if bar.value < 0 else "bottom",
        fontsize=7,
    )


def _sweeps(table: Table) -> "Figure":
    """Draw one column per task, one row per model, and one line per method and number of shots."""
    from matplotlib.figure import Figure

    lines = _lines(table)
    if not lines:
        raise InputError("no sweep to plot: no method was measured with several numbers of passages")
    columns = list(dict.fromkeys((benchmark, task) for benchmark, _, task, _, _ in lines))
    models: dict[str, list[str]] = {}
    for benchmark, model, *_ in lines:
        models.setdefault(benchmark, [])
        models[benchmark] += [model] if model not in models[benchmark] else []
    names = list(dict.fromkeys(f"{key[3]}, {key[4]}-shot" for key in lines))
    rows = max(map(len, models.values()))
    figure = Figure(figsize=(max(4.5, 2.1 * len(columns) + 0.6), max(3.0, 1.75 * rows + 0.9)), layout="constrained")
    grid = figure.subplots(rows, len(columns), squeeze=False, sharex=True, sharey="col")
    for (benchmark, model, task, method, shots), some in lines.items():
        axes = grid[models[benchmark].index(model)][columns.index((benchmark, task))]
        _draw_line(axes, some, names.index(f"{method}, {shots}-shot"), len(names))
    origins = {row.benchmark: row.origin for row in table.rows}
    for benchmark, own in models.items():
        first = [name for name, _ in columns].index(benchmark)
        grid[0][first].set_title(f"{benchmark} ({origins[benchmark]})\n", loc="left")
        for down, model in enumerate(own):
            grid[down][first].set_ylabel(f"{model}\naccuracy, %")
    ticks = sorted({k for some in lines.values() for k, _ in some})
    for position, (_, task) in enumerate(columns):
        _finish_column(grid[:, position], task, ticks)
    handles = [_stroke(number, name) for number, name in enumerate(names)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(names)), frameon=False)
    whiskers = "Whiskers: 95 % confidence intervals for the individual accuracies."
    _add_footnote(figure, [whiskers, *_few_groups_notes(table)])
    return figure


def _finish_column(column: "Iterable[Axes]", task: str, ticks: Sequence[int]) -> None:
    """Label the task and the axis of a column, and hide panels without data."""
    used = [axes for axes in column if axes.lines]
    used[0].set_title(task)
    used[-1].set_xlabel("passages")
    used[-1].tick_params(labelbottom=True)
    for axes in column:
        axes.grid(linewidth=0.4, alpha=0.5)
        axes.set_xticks(ticks)
        axes.set_visible(bool(axes.lines))


def _add_footnote(figure: "Figure", sentences: Sequence[str]) -> None:
    """Print explanatory sentences below all panels."""
    lines = [line for text in sentences for line in wrap(text, int(FOOTNOTE_LETTERS_PER_INCH * figure.get_figwidth()))]
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7)


def _lines(table: Table) -> dict[tuple[str, str, str, str, int], list[tuple[int, ArmRow]]]:
    """Return rows by K for each benchmark, model, task, method and number of shots; for base, K is 0."""
    found: dict[tuple[str, str, str, str, int], list[tuple[int, ArmRow]]] = {}
    for row in table.rows:
        settings = dict(row.settings)
        if row.accuracy and set(settings) == {"k"} and row.kind != "ceiling" and row.role == "target":
            key = (row.benchmark, row.model, row.task, row.method, row.shots)
            found.setdefault(key, []).append((int(settings["k"]), row))
    swept = {key: sorted(some, key=lambda one: one[0]) for key, some in found.items() if len(some) > 1}
    for (benchmark, model, task, _, shots), some in swept.items():
        if some[0][1].trained:
            continue
        place = (benchmark, model, task, shots, "base")
        bases = [row for row in table.rows if (row.benchmark, row.model, row.task, row.shots, row.kind) == place]
        some[:0] = [(0, row) for row in bases if row.accuracy]
    return swept


def _draw_line(axes: "Axes", rows: Sequence[tuple[int, ArmRow]], number: int, count: int) -> None:
    aside = 0.12 * (number - (count - 1) / 2)  # moves the intervals apart
    known = [(k + aside, row.accuracy) for k, row in rows if row.accuracy]
    means = [100 * one.mean for _, one in known]
    ends = [one.interval or Interval(one.mean, one.mean) for _, one in known]
    lows = [100 * (one.mean - end.low) for (_, one), end in zip(known, ends, strict=True)]
    highs = [100 * (end.high - one.mean) for (_, one), end in zip(known, ends, strict=True)]
    axes.errorbar(
        [k for k, _ in known],
        means,
        yerr=[lows, highs],
        color=_colour(number),
        marker=MARKERS[number % len(MARKERS)],
        markersize=3.5,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=1.5,
    )


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _hatch(number: int) -> str:
    return HATCHES[(number + number // len(COLOURS)) % len(HATCHES)]


def _patch(number: int, name: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=_colour(number), hatch=_hatch(number), edgecolor="white", label=name)


def _stroke(number: int, name: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=_colour(number), marker=MARKERS[number % len(MARKERS)], markersize=3.5, label=name)
