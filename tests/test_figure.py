"""Figures of a table: deterministic, for all eyes, and of nothing that is not there."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.errors import InputError
from kib.leaderboard import FIGURES, PublishedResults, make_table, save_figure
from kib.leaderboard.render.figure import COLOURS, _gains, _lines, _panels, _sweeps
from kib.published.load import load_published

ROOT = Path(__file__).parent.parent
FILES = ROOT / "benchmarks" / "published"


WRITE = os.environ.get("KIB_WRITE_DOCS")


def table_of(*names, **more):
    """The leaderboard of published files."""
    return make_table([PublishedResults(load_published(FILES / f"{name}.toml")) for name in names], **more)


def small_print(figure):
    """The lines below all panels, as one."""
    return " ".join(figure.get_supxlabel().split())


def draw(*arguments):
    """Call `kib figure`."""
    return CliRunner().invoke(main, ["figure", *map(str, arguments)])


@pytest.fixture(autouse=True)
def matplotlib():
    """The tests draw."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'kib-bench[figures]'")


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
@pytest.mark.parametrize(("name", "kind"), [("ovadia2024-mmlu", "gains"), ("ovadia2024-topk", "top-k")])
def test_the_same_table_gives_the_same_bytes(tmp_path, name, kind, suffix):
    """A figure holds no date and no chance: drawn twice it is the same file."""
    digests = set()
    for number in range(2):
        path = tmp_path / f"{number}{suffix}"
        save_figure(table_of(name), kind, path)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_another_process_gives_the_same_bytes(tmp_path):
    """The ids in an SVG do not depend on the process that draws it."""
    call = [str(Path(sys.executable).with_name("kib")), "figure", str(FILES / "ovadia2024-current-events.toml")]
    for number in range(2):
        subprocess.run([*call, "--out", str(tmp_path / f"{number}.svg")], check=True, capture_output=True)
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()


def test_an_svg_is_xml_and_a_png_has_a_size(tmp_path):
    """The command writes files that other programs open."""
    for name in ("a.svg", "a.png"):
        result = draw(FILES / "ovadia2024-mmlu.toml", "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own file
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_gains_are_the_averages_over_all_shots():
    """The bars of Figure 2 are the relative gains over all experiments, each with its interval, in order."""
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


def test_one_task_is_drawn_in_points():
    """Without an average the rows themselves are drawn, in points, for which there is an interval."""
    [panel] = _panels(table_of("ovadia2024-current-events"), "ovadia2024-current-events")
    assert panel.unit == "gain over base, points"
    assert len(panel.bars) == 15


def test_sweeps_begin_at_base():
    """A line over K holds base at 0 and the five numbers of passages, for each task, model and number of shots."""
    lines = _lines(table_of("ovadia2024-topk"))
    assert len(lines) == 30
    for (_, model, task, method, shots), points in lines.items():
        assert method == "rag"
        assert [k for k, _ in points] == [0, 1, 2, 3, 4, 5]
        assert {(row.model, row.task, row.shots) for _, row in points} == {(model, task, shots)}
        assert points[0][1].kind == "base"


def test_sweeps_say_whether_they_were_measured(tmp_path):
    """The columns of each benchmark stand together under its name and origin, and none is blank for another's sake."""
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


def test_losses_are_labelled_below_their_bars():
    """The number of a loss stands below bar and whisker, that of a gain above, and neither at the axis."""
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


def test_the_axis_says_what_gains_are_over():
    """A figure of gains over another method than base names it."""
    [panel] = _panels(table_of("ovadia2024-mmlu", against="rag"), "ovadia2024-mmlu")
    assert panel.unit == "relative gain over rag, %"


def test_small_print_tells_whiskers_and_a_k_chosen_on_test():
    """Below the bars stands what whiskers are, and which bars rest on a K that was chosen on the test questions."""
    figure = _gains(table_of("ovadia2024-mmlu"))
    assert small_print(figure).startswith(
        "Whiskers: 95 % intervals of the gain, unpaired. * best K on test: in 30 of 30 rows, the published number is"
    )
    marked = [text.get_text() for text in figure.axes[0].texts if text.get_text().endswith("*")]
    assert marked == ["+10.5*", "+14.3*", "+11.0*"]
    over = small_print(_gains(table_of("ovadia2024-mmlu", against="rag")))
    assert "rag, the reference of the gains: best K on test: in 30 of 30 rows" in over
    assert "best K" not in small_print(_gains(table_of("ovadia2024-current-events")))
    assert small_print(_sweeps(table_of("ovadia2024-topk"))) == "Whiskers: 95 % intervals of the single accuracies."


@pytest.mark.parametrize("suffix", [".png", ".svg"])
@pytest.mark.parametrize(
    ("name", "file", "more"), [("ovadia2024-mmlu", "figure2", ()), ("ovadia2024-topk", "top-k", ("--show", "top-k"))]
)
def test_documented_figures_are_what_their_command_draws(tmp_path, name, file, more, suffix):
    """The figures in docs are those that the commands beneath them draw, to the byte, with the pinned matplotlib."""
    from matplotlib import __version__

    if f"\nmatplotlib=={__version__}\n" not in (ROOT / "constraints.txt").read_text(encoding="utf-8"):
        pytest.skip(f"matplotlib {__version__} is not the pinned one")
    made, kept = tmp_path / f"{file}{suffix}", ROOT / "docs" / f"{file}{suffix}"
    assert draw(FILES / f"{name}.toml", *more, "--out", made).exit_code == 0
    if WRITE:
        kept.write_bytes(made.read_bytes())
    assert kept.read_bytes() == made.read_bytes(), "run: KIB_WRITE_DOCS=1 pytest tests/test_figure.py"


@pytest.mark.parametrize("kind", FIGURES)
def test_nothing_to_draw_is_said(tmp_path, kind):
    """A table without gains or without several K is refused in a sentence."""
    text = (FILES / "ovadia2024-current-events.toml").read_text(encoding="utf-8")
    methods = ("rag", "ft-reg", "ft-par", "ft-reg+rag", "ft-par+rag")
    head, _, rows = text.partition("[methods.base]")
    rows = re.sub(r"base = ([\d.]+),[^}]*}", r"base = \1 }", rows.partition("[table]")[2])
    assert all(f'"{name}"' not in rows for name in methods)
    (tmp_path / "only-base.toml").write_text(f"{head}[methods.base]\n\n[table]{rows}", encoding="utf-8")
    table = make_table([PublishedResults(load_published(tmp_path / "only-base.toml"))])
    with pytest.raises(InputError, match=r"no (gain|sweep) to draw"):
        save_figure(table, kind, tmp_path / "a.svg")


def test_other_suffixes_and_folders_are_refused(tmp_path):
    """A figure of an unknown form, or into a folder that is not there, is an error that names what is right."""
    result = draw(FILES / "ovadia2024-mmlu.toml", "--out", tmp_path / "a.gif")
    assert result.exit_code == 2
    assert "unknown figure format; expected .png, .svg, .pdf" in result.output
    assert "no such folder" in draw(FILES / "ovadia2024-mmlu.toml", "--out", tmp_path / "b" / "a.svg").output


def test_without_matplotlib_it_says_what_to_install(tmp_path):
    """Where matplotlib is missing, a sentence says how to get it."""
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from kib.cli import main\n"
        f"main(['figure', {str(FILES / 'ovadia2024-mmlu.toml')!r}, '--out', {str(tmp_path / 'a.svg')!r}])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "pip install 'kib-bench[figures]'" in run.stderr
    assert "Traceback" not in run.stderr


def luminance(colour):
    """Relative luminance of a colour, as WCAG defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def simulated(colour, matrix):
    """A colour as an eye without one kind of cone sees it (Machado et al. 2009), in linear light."""
    parts = [(int(colour[start : start + 2], 16) / 255) ** 2.2 for start in (1, 3, 5)]
    return [sum(weight * part for weight, part in zip(row, parts, strict=True)) for row in matrix]


BLIND = {
    "protan": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deutan": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritan": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}


@pytest.mark.parametrize("kind", BLIND)
def test_the_first_colours_differ_for_all_eyes(kind):
    """The five colours used first are apart for people who lack one kind of cone."""
    seen = [simulated(colour, BLIND[kind]) for colour in COLOURS[:5]]
    for number, one in enumerate(seen):
        for other in seen[:number]:
            assert sum((ours - theirs) ** 2 for ours, theirs in zip(one, other, strict=True)) ** 0.5 > 0.08
