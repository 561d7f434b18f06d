"""LaTeX output compiles, escapes all names, and prints significantly best numbers in bold."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kib.leaderboard import PublishedResults, averages_only, make_table, render
from kib.leaderboard.render.latex import _safe
from kib.published.load import load_published

FILES = Path(__file__).parent.parent / "benchmarks" / "published"
PAGE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[a4paper,margin=2cm]{geometry}
\usepackage{array,booktabs,longtable,textcomp}
\begin{document}
%s
\end{document}
"""
EVIL = r"""a_b & 50 % of $x$ #1 {y} ~z^2 \end{document} < > | "q" `r` 'it' -- ,, – · ± × … ü ß [x] \\ %"""


@cache
def table_of(*names):
    """Return the leaderboard of published files."""
    return make_table([PublishedResults(load_published(FILES / f"{name}.toml")) for name in names])


def compiled(text, folder):
    """Return the TeX log of a page with a table; skip the test if TeX is not installed."""
    command = [["tectonic", "--keep-logs"], ["pdflatex", "-interaction=nonstopmode", "-halt-on-error"]]
    found = next((call for call in command if shutil.which(call[0])), None)
    if found is None:
        pytest.skip("neither tectonic nor pdflatex is installed")
    (folder / "page.tex").write_text(PAGE % text, encoding="utf-8")
    run = subprocess.run([*found, "page.tex"], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    return (folder / "page.log").read_text(encoding="utf-8", errors="replace")


def evil(folder, name):
    """Return the table of a published file with every special LaTeX character in its title and source."""
    text = (FILES / f"{name}.toml").read_text(encoding="utf-8")
    text = re.sub(r'^title = ".*"$', lambda _: f"title = '''{EVIL}'''", text, count=1, flags=re.MULTILINE)
    text = text.replace('table = "Table 2"', f"table = '''{EVIL}'''")
    (folder / "evil.toml").write_text(text, encoding="utf-8")
    return make_table([PublishedResults(load_published(folder / "evil.toml"))])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ovadia2024-mmlu", "ovadia2024-current-events", "ovadia2024-topk"])
def test_it_compiles(tmp_path, name):
    """TeX compiles the study's tables without errors or overfull lines."""
    log = compiled(render(table_of(name), "latex"), tmp_path)
    assert "Overfull \\hbox" not in log
    assert (tmp_path / "page.pdf").is_file()


@pytest.mark.slow
def test_special_characters_are_printed_literally(tmp_path):
    """Special LaTeX characters in a title are printed literally."""
    text = render(evil(tmp_path, "ovadia2024-current-events"), "latex")
    compiled(text, tmp_path)
    assert r"\end{document}" not in text
    assert r"\textbackslash{}end\{document\}" in text


@given(st.text())
def test_escaped_text_contains_no_commands(text):
    """Escaped text contains no LaTeX character with a special meaning."""
    safe = _safe(text)
    left = re.sub(r"\\(text[a-z]+|dots)\{\}|\\[{}$&#_%]|\$\\(pm|times)\$|-\{\}|,\{\}", "", safe)
    assert not set(left) & set('\\{}$&#_%~^"`')


def test_only_a_sole_first_rank_is_bold():
    """The best accuracy in a block is bold only if no other arm shares the first rank."""
    table = table_of("ovadia2024-current-events")
    text = render(table, "latex")
    bold = re.findall(r"\\textbf\{([^}]*)\}", text)
    alone = [f"{100 * row.accuracy.mean:.1f}" for row in table.rows if row.rank == 1 and not row.tied]
    assert bold == alone
    shared = render(table_of("ovadia2024-mmlu"), "latex")
    blocks = table_of("ovadia2024-mmlu").rows
    assert shared.count(r"\textbf") == sum(row.rank == 1 and not row.tied for row in blocks)


def test_intervals_and_rules_are_there():
    """LaTeX rows contain intervals and typographic minus signs, and the rules come from booktabs."""
    text = render(table_of("ovadia2024-current-events"), "latex")
    assert text.startswith("% needs \\usepackage{array,booktabs,longtable,textcomp}")
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert "\\hline" not in text
    assert "35.3 & [32.3, 38.5]" in text
    assert "$-$13.4 & [$-$17." in text


def test_the_same_table_gives_the_same_bytes():
    """LaTeX output is reproducible, and output limited to averages is less than half as long as the full table."""
    assert render(table_of("ovadia2024-mmlu"), "latex") == render(table_of("ovadia2024-mmlu"), "latex")
    table = table_of("ovadia2024-mmlu")
    assert len(render(averages_only(table), "latex")) < len(render(table, "latex")) / 2
