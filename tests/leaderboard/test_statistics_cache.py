"""The statistics cache stored next to the results."""

import io
import json
import re
import subprocess
import sys

import pytest
from leaderboard_lab import Lab, row

from kib.errors import InputError
from kib.leaderboard import make_table, render
from kib.leaderboard.compute import table
from kib.progress import LineProgress
from kib.statistics.gains import REVISION


def test_stored_statistics_need_no_questions(full_copy):
    """Printing a table again reads no question files, does not load numpy and produces identical bytes."""
    first = render(make_table([full_copy]), "json")
    for path in full_copy.folder.rglob("questions.jsonl"):
        path.unlink()
    code = (
        "import sys; from pathlib import Path; from kib.store.results import Results\n"
        "from kib.leaderboard import make_table, render\n"
        "sys.stdout.reconfigure(encoding='utf-8')\n"
        "print(render(make_table([Results(Path(sys.argv[1]))]), 'json'), end='')\n"
        "assert not {'numpy', 'scipy', 'statsmodels', 'rich'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, full_copy.folder], capture_output=True, check=True)
    assert run.stdout.decode() == first


@pytest.mark.parametrize(
    ("view", "user"),
    [
        ({"against": "rag"}, "a gain over rag needs the questions in this file"),
        ({"retrieval": True}, "the quality of retrieval needs the questions in this file"),
    ],
)
def test_views_that_need_question_files_name_them(full_copy, view, user):
    """If a view needs missing question files, the error names the missing files and the available views."""
    make_table([full_copy])
    for path in full_copy.folder.rglob("questions.jsonl"):
        path.unlink()
    with pytest.raises(InputError) as caught:
        make_table([full_copy], **view)
    assert user in str(caught.value)
    assert "the stored statistics are sufficient to show gains over base." in str(caught.value)
    assert make_table([full_copy]).rows


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(json.dumps({"revision": REVISION, "arms": 3, "views": {"": [1]}})),
        lambda path: path.write_text(re.sub(r"\[[^\[\]]*\]", '["x"]', path.read_text())),
        lambda path: path.write_text(path.read_text().replace("]", ",0]")),
        lambda path: path.write_text(re.sub(r'"revision":\d+', '"revision":0', path.read_text())),
    ],
)
def test_damaged_statistics_are_recomputed(lab, damage):
    """Missing, damaged or outdated statistics are recomputed with byte-identical results."""
    lab.add(4, "base")
    lab.add(2, "base", split="probe")
    lab.add(12, "rag", k=1)
    path = lab.results.folder / "statistics.json"
    first, stored = render(lab.table(), "json"), path.read_bytes()
    damage(path)
    assert render(lab.table(), "json") == first
    assert path.read_bytes() == stored


def test_statistics_of_an_earlier_version_are_shown_only_without_questions(lab):
    """Statistics of an earlier revision are computed again or, if questions are missing, shown with a remark."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    path = lab.results.folder / "statistics.json"
    first = lab.table()
    value = json.loads(path.read_text())
    value = {**value, "revision": REVISION - 1}
    value.pop("digest")
    lab.results.save_statistics(value)
    outdated = path.read_bytes()
    assert lab.table() == first
    assert path.read_bytes() != outdated
    path.write_bytes(outdated)
    for questions in lab.results.folder.rglob("questions.jsonl"):
        questions.unlink()
    table = lab.table()
    assert table.rows == first.rows
    assert any("an earlier version of kib" in one for one in table.remarks)
    assert path.read_bytes() == outdated


def test_statistics_are_recomputed_after_a_new_measurement(lab):
    """Statistics are recomputed if a cell has been measured again."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    before = row(lab.table(), "rag,k=1").gain
    lab.cells.pop()
    lab.add(13, "rag", k=1)
    after = row(lab.table(), "rag,k=1").gain
    assert (before.absolute, after.absolute) == pytest.approx((0.4, 0.45))


def test_cache_discards_statistics_of_removed_cells(lab):
    """The cache discards statistics of removed cells and keeps statistics of other views."""
    lab.add(4, "base")
    lab.add(12, "rag", k=1)
    lab.add(13, "rag", k=2)
    lab.table()
    lab.table(against="rag,k=1")
    stored = lab.results.statistics()
    assert sorted(stored["views"]) == ["", "rag,k=1"]
    lab.cells.pop()
    lab.table()
    pruned = lab.results.statistics()
    assert (len(stored["arms"]), len(pruned["arms"])) == (3, 2)
    assert len(pruned["views"][""]) < len(stored["views"][""])
    assert pruned["views"]["rag,k=1"] == stored["views"]["rag,k=1"]


def test_a_second_table_writes_nothing(lab):
    """Unchanged statistics are not rewritten."""
    lab.add(4, "base")
    lab.table()
    path = lab.results.folder / "statistics.json"
    before = path.stat().st_ino
    lab.table()
    assert path.stat().st_ino == before


def test_many_statistics_show_progress(tmp_path, monkeypatch):
    """Progress counts each arm without cached statistics once and skips cached arms."""
    monkeypatch.setattr(table, "PROGRESS_FROM", 4)
    lab = Lab(tmp_path, n=3)
    for model in range(2):
        lab.add(1, "base", model=f"m{model}")
        lab.add(2, "rag", k=1, model=f"m{model}")
    stream = io.StringIO()
    ticks = iter(range(0, 10_000, 10))
    lab.table(progress=LineProgress(stream, clock=lambda: next(ticks), interval=None))
    lines = stream.getvalue().splitlines()
    assert (lines[0], lines[-1]) == ("statistics: 4", "statistics: 4 of 4")
    stream.truncate(0)
    lab.table(progress=LineProgress(stream))
    assert not stream.getvalue().strip("\0")
