"""Figures of a table: gains by model and method (Figure 2 of the study), and accuracy over the number of passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from kib.errors import InputError
from kib.gains import Interval
from kib.leaderboard.number import points
from kib.leaderboard.row import AverageRow, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "SUFFIXES", "Kind", "save_figure"]

Kind = Literal["gains", "top-k"]

FIGURES: tuple[str, ...] = get_args(Kind)
SUFFIXES = (".png", ".svg", ".pdf")

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Okabe and Ito's, which people with any kind of colour vision tell apart; grey for their black."""
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++", "oo")
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
DATELESS: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": "kib"},
    ".pdf": {"CreationDate": None, "Creator": "kib", "Producer": None},
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A gain with its interval, in the unit of its panel; a bar that has none is a gap."""

    group: str
    name: str
    value: float
    ends: Interval | None


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars that share an axis."""

    title: str
    unit: str
    bars: tuple[Bar, ...]


def save_figure(table: Table, kind: str, path: Path) -> None:
    """Draw a figure into a PNG, SVG or PDF; the same table and matplotlib give the same bytes.

    InputError for another suffix, for a table that holds nothing to draw, or without matplotlib.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: figures are written as {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder")
    try:
        from matplotlib import rc_context
    except ModuleNotFoundError as error:
        raise InputError(f"figures need matplotlib ({error}); pip install 'kib[figures]' brings it") from error
    with rc_context(STYLE):
        drawn = _gains(table) if kind == "gains" else _sweeps(table)
        drawn.savefig(path, metadata=DATELESS[path.suffix.lower()], bbox_inches="tight")


def _gains(table: Table) -> "Figure":
    """A panel a benchmark, a group a model, a bar an arm."""
    from matplotlib.figure import Figure

    panels = [panel for one in table.benchmarks for panel in _panels(table, one.name) if panel.bars]
    if not panels:
        raise InputError("there is no gain to draw: the table has only base, or numbers that cannot be compared")
    names = list(dict.fromkeys(bar.name for panel in panels for bar in panel.bars))
    width = max(len(panel.bars) + len({bar.group for bar in panel.bars}) for panel in panels)
    figure = Figure(figsize=(max(5.0, 0.42 * width + 1.2), 3.1 * len(panels) + 0.4), layout="constrained")
    rows = figure.subplots(len(panels), 1, squeeze=False)
    for panel, (axes,) in zip(panels, rows, strict=True):
        _draw_bars(axes, panel, names)
    handles = [_patch(number, name) for number, name in enumerate(names)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(6, len(names)), frameon=False)
    return figure


def _panels(table: Table, benchmark: str) -> list[Panel]:
    """Averages over tasks, at all shots where there are such; else each target task by itself, in points."""
    averages = [row for row in table.averages if row.benchmark == benchmark and row.average]
    averages = [row for row in averages if row.shots is None] or averages
    if averages:
        return [
            _average_panel([row for row in averages if row.shots == shots])
            for shots in dict.fromkeys(row.shots for row in averages)
        ]
    rows = [row for row in table.rows if row.benchmark == benchmark and row.role == "target" and row.gain]
    places = dict.fromkeys((row.task, row.shots) for row in rows)
    return [_row_panel([row for row in rows if (row.task, row.shots) == place]) for place in places]


def _average_panel(rows: Sequence[AverageRow]) -> Panel:
    first = rows[0]
    shots = "all shots" if first.shots is None else f"{first.shots}-shot"
    relative = all(row.average and row.average.relative_interval for row in rows)
    bars = [
        Bar(row.model, row.arm, row.average.relative, row.average.relative_interval)
        if relative and row.average.relative is not None
        else Bar(row.model, row.arm, row.average.absolute, row.average.interval)
        for row in rows
        if row.average
    ]
    title = f"{first.benchmark} ({first.origin}): average of {len(first.tasks)} tasks, {shots}"
    return Panel(title, "relative gain, %" if relative else "gain, points", tuple(bars))


def _row_panel(rows: Sequence[Row]) -> Panel:
    first = rows[0]
    bars = [Bar(row.model, row.arm, row.gain.absolute, row.gain.interval) for row in rows if row.gain]
    return Panel(f"{first.benchmark} ({first.origin}): {first.task}, {first.shots}-shot", "gain, points", tuple(bars))


def _draw_bars(axes: "Axes", panel: Panel, names: Sequence[str]) -> None:
    groups = list(dict.fromkeys(bar.group for bar in panel.bars))
    used = [name for name in names if any(bar.name == name for bar in panel.bars)]
    step = len(used) + 1
    for bar in panel.bars:
        number = names.index(bar.name)
        place = groups.index(bar.group) * step + used.index(bar.name)
        axes.bar(place, 100 * bar.value, 0.86, color=_colour(number), hatch=_hatch(number), edgecolor="white")
        top = max(bar.value, bar.ends.high if bar.ends else 0.0, 0.0)
        axes.annotate(
            points(bar.value), (place, 100 * top), (0, 2), textcoords="offset points", ha="center", fontsize=7
        )
        if bar.ends:
            reach = [[100 * (bar.value - bar.ends.low)], [100 * (bar.ends.high - bar.value)]]
            axes.errorbar(place, 100 * bar.value, yerr=reach, color="black", capsize=2.5, linewidth=1)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks([number * step + (len(used) - 1) / 2 for number in range(len(groups))], groups)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(panel.unit)
    axes.set_title(panel.title, loc="left")
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def _sweeps(table: Table) -> "Figure":
    """A row a model, a column a task; a line a method and number of shots, from base (K = 0) on."""
    from matplotlib.figure import Figure

    lines = _lines(table)
    if not lines:
        raise InputError("there is no method with several numbers of passages to draw")
    several = len({key[0] for key in lines}) > 1
    origins = {row.benchmark: row.origin for row in table.rows}
    models = list(dict.fromkeys((key[0], key[1]) for key in lines))
    tasks = list(dict.fromkeys(key[2] for key in lines))
    names = list(dict.fromkeys(f"{key[3]}, {key[4]}-shot" for key in lines))
    size = (max(4.5, 2.1 * len(tasks) + 0.6), max(3.0, 1.75 * len(models) + 0.7))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(models), len(tasks), squeeze=False, sharex=True, sharey="col")
    for (benchmark, model, task, method, shots), rows in lines.items():
        axes = grid[models.index((benchmark, model))][tasks.index(task)]
        _draw_line(axes, rows, names.index(f"{method}, {shots}-shot"), len(names))
    for across, (benchmark, model) in enumerate(models):
        first = next(axes for axes in grid[across] if axes.lines)
        origin = f"({origins[benchmark]})"
        first.set_ylabel(f"{benchmark}\n{origin}\n{model}, %" if several else f"{model} {origin}\naccuracy, %")
    for down, task in enumerate(tasks):
        used = [axes for axes in grid[:, down] if axes.lines]
        used[0].set_title(task)
        used[-1].set_xlabel("passages")
        used[-1].tick_params(labelbottom=True)
    ticks = sorted({k for rows in lines.values() for k, _ in rows})
    for axes in grid.flat:
        axes.grid(linewidth=0.4, alpha=0.5)
        axes.set_xticks(ticks)
        axes.set_visible(bool(axes.lines))
    handles = [_stroke(number, name) for number, name in enumerate(names)]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(names)), frameon=False)
    return figure


def _lines(table: Table) -> dict[tuple[str, str, str, str, int], list[tuple[int, Row]]]:
    """Rows by K for each benchmark, model, task, method and number of shots; base stands at 0."""
    found: dict[tuple[str, str, str, str, int], list[tuple[int, Row]]] = {}
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


def _draw_line(axes: "Axes", rows: Sequence[tuple[int, Row]], number: int, count: int) -> None:
    aside = 0.12 * (number - (count - 1) / 2)  # intervals beside each other, not over each other
    known = [(k + aside, row.accuracy) for k, row in rows if row.accuracy]
    means = [100 * one.mean for _, one in known]
    lows = [100 * (one.mean - one.interval.low) for _, one in known]
    highs = [100 * (one.interval.high - one.mean) for _, one in known]
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
