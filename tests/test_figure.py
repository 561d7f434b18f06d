"""Figures are reproducible, readable for colour-blind people, and consistent with the table."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from leaderboard_lab import Lab

from kib.cli import main
from kib.errors import InputError
from kib.leaderboard import FIGURES, PublishedResults, make_table, save_figure
from kib.leaderboard.render.figure import COLOURS, _gains, _lines, _panels, _sweeps
from kib.published.load import load_published

ROOT = Path(__file__).parent.parent
FILES = ROOT / "benchmarks" / "published"


WRITE = os.environ.get("KIB_WRITE_DOCS")


@cache
def table_of(*names, **more):
    """Return the leaderboard of published files."""
    return make_table([PublishedResults(load_published(FILES / f"{name}.toml")) for name in names], **more)


def footnote(figure):
    """Return the footnote of a figure as one line of text."""
    return " ".join(figure.get_supxlabel().split())


def draw(*arguments):
    """Run `kib figure` with the given arguments."""
    return CliRunner().invoke(main, ["figure", *map(str, arguments)])


@pytest.fixture(autouse=True)
def matplotlib():
    """Skip the test if matplotlib is not installed."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'kib-bench[figures]'")


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_the_same_table_gives_the_same_bytes(tmp_path, suffix):
    """Drawing a figure twice produces identical files without a date or random ids."""
    paths = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for path in paths:
        save_figure(table_of("ovadia2024-current-events"), "gains", path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.slow
def test_svg_ids_do_not_depend_on_the_process(tmp_path):
    """The element ids in an SVG figure do not depend on the process."""
    call = [str(Path(sys.executable).with_name("kib")), "figure", str(FILES / "ovadia2024-current-events.toml")]
    subprocess.run([*call, "--out", str(tmp_path / "there.svg")], check=True, capture_output=True)
    save_figure(table_of("ovadia2024-current-events"), "gains", tmp_path / "here.svg")
    assert (tmp_path / "here.svg").read_bytes() == (tmp_path / "there.svg").read_bytes()


def test_figure_command_writes_valid_svg_and_png(tmp_path):
    """`kib figure` writes valid SVG and PNG files."""
    for name in ("a.svg", "a.png"):
        result = draw(FILES / "ovadia2024-mmlu.toml", "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_gains_are_the_averages_over_all_shots():
    """The bars show relative gains averaged over all shots, each with its interval, in table order."""
    table = table_of("ovadia2024-mmlu")
    [panel] = _panels(table, "ovadia2024-mmlu")
    wanted = [
        (row.model, row.arm, row.average.relative, row.average.relative_interval)
        for row in table.averages
        if row.shots is None and row.average
    ]
    assert [(bar.group, bar.name, bar.value, bar.ends) for bar in panel.bars] == wanted
    assert len(wanted) == 9
    assert all(ends.low < value < ends.high for _, _, value, ends in wanted)
    assert panel.unit == "relative gain over base, %"


def test_figure_without_averages_shows_percentage_points():
    """Without averages, the figure shows the gain of each row in percentage points."""
    [panel] = _panels(table_of("ovadia2024-current-events"), "ovadia2024-current-events")
    assert panel.unit == "gain over base, points"
    assert len(panel.bars) == 15


@pytest.mark.parametrize("draw_figure", [_gains, _sweeps])
def test_footnote_states_few_groups(tmp_path, draw_figure):
    """The footnote of every figure states that a task has few groups of questions."""
    lab = Lab(tmp_path)
    names = [f"g{number % 3}" for number in range(20)]
    lab.add(8, "base", groups=names)
    for k in (1, 2):
        lab.add(12, "rag", k=k, groups=names)
    expected = "new: only 3 groups of questions: intervals are rough, and p cannot be smaller than .250"
    assert expected in footnote(draw_figure(lab.table()))
    assert "only" not in footnote(draw_figure(table_of("ovadia2024-topk")))


def test_sweeps_begin_at_base():
    """A line over K starts with the base at K = 0, for each task, model and number of shots."""
    lines = _lines(table_of("ovadia2024-topk"))
    assert len(lines) == 30
    for (_, model, task, method, shots), points in lines.items():
        assert method == "rag"
        assert [k for k, _ in points] == [0, 1, 2, 3, 4, 5]
        assert {(row.model, row.task, row.shots) for _, row in points} == {(model, task, shots)}
        assert points[0][1].kind == "base"


def test_panel_titles_state_the_origin(tmp_path):
    """Panels of one benchmark are adjacent below its name and origin, and no panel is empty."""
    first = _sweeps(table_of("ovadia2024-topk")).axes[0]
    assert first.get_title(loc="left") == "ovadia2024-topk (published)\n"
    assert first.get_ylabel() == "mistral-7b\naccuracy, %"
    text = (FILES / "ovadia2024-topk.toml").read_text(encoding="utf-8").replace('-topk"', '-again"')
    (tmp_path / "again.toml").write_text(text.replace("anatomy", "deeds"), encoding="utf-8")
    both = [
        PublishedResults(load_published(path)) for path in (FILES / "ovadia2024-topk.toml", tmp_path / "again.toml")
    ]
    axes = _sweeps(make_table(both)).axes
    assert len(axes) == 3 * (5 + 5)
    assert all(one.get_visible() and one.lines for one in axes)
    starts = [place for place, one in enumerate(axes) if one.get_title(loc="left")]
    assert starts == [0, 5]


def test_negative_gains_are_labelled_below_the_whisker():
    """A negative gain is labelled below its whisker, and a positive gain above its whisker."""
    table = table_of("ovadia2024-mmlu", against="rag")
    [axes] = _gains(table).axes
    bars = {bar.value: bar for bar in _panels(table, "ovadia2024-mmlu")[0].bars}
    labels = {text.get_text(): text for text in axes.texts}
    assert len(labels) == len(bars)
    assert any(value < 0 for value in bars)
    low, high = axes.get_ylim()
    for value, bar in bars.items():
        text = labels[f"{100 * value:+.1f}"]
        end = bar.ends.low if value < 0 else bar.ends.high
        assert (text.xy[1], text.get_va()) == (pytest.approx(100 * end), "top" if value < 0 else "bottom")
        assert low < text.xy[1] < high


def test_axis_label_names_the_reference_arm():
    """The axis label names the arm to which the gains are relative."""
    [panel] = _panels(table_of("ovadia2024-mmlu", against="rag"), "ovadia2024-mmlu")
    assert panel.unit == "relative gain over rag, %"


def test_footnote_explains_whiskers_and_a_k_chosen_on_test():
    """The footnote explains the whiskers and states how many rows have a K chosen on the test questions."""
    figure = _gains(table_of("ovadia2024-mmlu"))
    assert footnote(figure).startswith(
        "Whiskers: 95 % confidence intervals for the gain, unpaired. * best K on test: in 30 of 30 rows, the published "
    )
    marked = [text.get_text() for text in figure.axes[0].texts if text.get_text().endswith("*")]
    assert marked == ["+10.5*", "+14.3*", "+11.0*"]
    over = footnote(_gains(table_of("ovadia2024-mmlu", against="rag")))
    assert "rag, the reference arm for the gains: best K on test: in 30 of 30 rows" in over
    assert "best K" not in footnote(_gains(table_of("ovadia2024-current-events")))
    assert (
        footnote(_sweeps(table_of("ovadia2024-topk")))
        == "Whiskers: 95 % confidence intervals for the individual accuracies."
    )


NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
PATH_ID = re.compile(r"\b[mhpC]+[0-9a-f_]{10,}\b")
"""An id that matplotlib derives from coordinates, whose last digits may depend on the processor."""


def is_same_drawing(made, kept):
    """Return whether two figures are equal except for rounding differences between processors."""
    if made.suffix == ".png":
        from matplotlib.image import imread

        one, other = imread(made), imread(kept)
        return one.shape == other.shape and abs(one - other).mean() < 0.01
    texts = [PATH_ID.sub("id", path.read_text(encoding="utf-8")) for path in (made, kept)]
    one, other = ([float(number) for number in NUMBER.findall(text)] for text in texts)
    words, other_words = (NUMBER.sub("#", text) for text in texts)
    return words == other_words and one == pytest.approx(other, rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
@pytest.mark.parametrize(("name", "file", "kind"), [("mmlu", "figure2", "gains"), ("topk", "top-k", "top-k")])
def test_documented_figures_are_current(tmp_path, name, file, kind, suffix):
    """The figures in the documentation match the shipped tables, if the pinned matplotlib is installed."""
    from matplotlib import __version__

    if f"\nmatplotlib=={__version__}\n" not in (ROOT / "constraints.txt").read_text(encoding="utf-8"):
        pytest.skip(f"matplotlib {__version__} is not the pinned version")
    made, kept = tmp_path / f"{file}{suffix}", ROOT / "docs" / f"{file}{suffix}"
    save_figure(table_of(f"ovadia2024-{name}"), kind, made)
    if WRITE:
        kept.write_bytes(made.read_bytes())
    assert is_same_drawing(made, kept), "run: KIB_WRITE_DOCS=1 pytest tests/test_figure.py"


@pytest.mark.parametrize("kind", FIGURES)
def test_a_table_without_gains_has_no_figure(tmp_path, kind):
    """A table without gains, or without several values of K, raises an error."""
    text = (FILES / "ovadia2024-current-events.toml").read_text(encoding="utf-8")
    methods = ("rag", "ft-reg", "ft-par", "ft-reg+rag", "ft-par+rag")
    head, _, rows = text.partition("[methods.base]")
    rows = re.sub(r"base = ([\d.]+),[^}]*}", r"base = \1 }", rows.partition("[table]")[2])
    assert all(f'"{name}"' not in rows for name in methods)
    (tmp_path / "only-base.toml").write_text(f"{head}[methods.base]\n\n[table]{rows}", encoding="utf-8")
    table = make_table([PublishedResults(load_published(tmp_path / "only-base.toml"))])
    with pytest.raises(InputError, match=r"no (gain|sweep) to plot"):
        save_figure(table, kind, tmp_path / "a.svg")


def test_invalid_figure_paths_are_rejected(tmp_path):
    """An unknown file extension or a missing folder raises an error."""
    result = draw(FILES / "ovadia2024-mmlu.toml", "--out", tmp_path / "a.gif")
    assert result.exit_code == 2
    assert "unknown figure format; expected .png, .svg, .pdf" in result.output
    assert "no such folder" in draw(FILES / "ovadia2024-mmlu.toml", "--out", tmp_path / "b" / "a.svg").output


def test_missing_matplotlib_is_reported(tmp_path, monkeypatch):
    """If matplotlib is missing, the error names the package to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'kib-bench\[figures\]'"):
        save_figure(table_of("ovadia2024-current-events"), "gains", tmp_path / "a.svg")


def simulated(colour, matrix):
    """Return a colour as perceived by colour-blind readers (Machado et al. 2009), in linear light."""
    parts = [(int(colour[start : start + 2], 16) / 255) ** 2.2 for start in (1, 3, 5)]
    return [sum(weight * part for weight, part in zip(row, parts, strict=True)) for row in matrix]


BLIND = {
    "protan": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deutan": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritan": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}


@pytest.mark.parametrize("kind", BLIND)
def test_first_colours_are_distinct_for_colour_blind_readers(kind):
    """Colour-blind readers can distinguish the first five colours."""
    seen = [simulated(colour, BLIND[kind]) for colour in COLOURS[:5]]
    for number, one in enumerate(seen):
        for other in seen[:number]:
            assert sum((ours - theirs) ** 2 for ours, theirs in zip(one, other, strict=True)) ** 0.5 > 0.08
