"""Damaged files in a results folder are never used for a table, and the next run replaces the damaged files."""

import json
import os
import shutil

import pytest

from kib.errors import InputError
from kib.progress import SilentProgress
from kib.store.result_records import Failure
from kib.store.sealed_json import read_sealed

VALIDATION = "m/rag,k=1/people,0-shot,validation"
TEST = "m/rag,k=1/people,0-shot"


@pytest.fixture(scope="module")
def done(new_bench, toys, tmp_path_factory):
    """A measured benchmark whose number of passages is chosen on validation questions, with stored statistics."""
    bench = new_bench(tmp_path_factory.mktemp("done")).write_toy(task='validation = "validation.jsonl"\n')
    asked = (bench.folder / "people.jsonl").read_text(encoding="utf-8")
    (bench.folder / "validation.jsonl").write_text(asked.replace('"question": "', '"question": "Tell me: '), "utf-8")
    text = bench.spec.read_text(encoding="utf-8")
    bench.write(text.replace("top_k = [1, 3]", 'top_k = [1, 3]\nchoose = "validation"'))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(toys)
        assert bench.run() == {}
        assert bench.call("leaderboard").exit_code == 0
    return bench


@pytest.fixture
def copy(done, new_bench, tmp_path, toybox):
    """A copy of the measured benchmark that a test may damage."""
    shutil.copytree(done.folder, tmp_path / "copy")
    return new_bench(tmp_path / "copy")


def swap(old, new):
    """Return a function that replaces the first occurrence of `old` in the bytes of a file."""

    def change(data):
        assert old in data
        return data.replace(old, new, 1)

    return change


DAMAGES = [
    ("questions.jsonl", swap(b'"score":1', b'"score":0')),
    ("questions.jsonl", lambda data: data[: len(data) // 2]),
    ("cell.json", swap(b'"n": 18', b'"n": 19')),
    ("cell.json", lambda data: b""),
    ("cell.json", lambda data: b"\xff" + data[1:]),
    ("cell.json", lambda data: b"[" * 100_000),
    ("times.json", swap(b'"training": 0.0', b'"training": 9.0')),
]


def test_statistics_without_a_digest_are_computed_again(copy):
    """Statistics without a digest are used only if questions are missing, so that nothing can be computed again."""
    table, path = copy.call("leaderboard").output, copy.results.folder / "statistics.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    del value["digest"]
    text = json.dumps(value).replace("0.", "0.9")
    path.write_text(text, encoding="utf-8")
    assert copy.results.statistics() == {}
    assert copy.call("leaderboard").output == table
    path.write_text(text, encoding="utf-8")
    (copy.results.cell_folder(copy.cells()[TEST]) / "questions.jsonl").unlink()
    assert copy.results.statistics()


@pytest.mark.parametrize("place", [TEST, VALIDATION])
@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_cell_is_rejected_and_measured_again(copy, place, name, damage):
    """`kib leaderboard` rejects a damaged cell even if its statistics are cached; a run measures the cell again."""
    before, table = copy.files("times.json"), copy.call("leaderboard").output
    path = copy.results.cell_folder(copy.cells()[place]) / name
    path.write_bytes(damage(path.read_bytes()))
    refused = copy.call("leaderboard", *(["--cost", "--times"] if name == "times.json" else []))
    if name != "times.json" or place == TEST:  # times of validation cells are not shown
        assert refused.exit_code == 2
        assert f"{path.relative_to(copy.folder)}: " in refused.stderr
        assert "`kib run` measures the cell again" in refused.stderr
    said = []
    assert copy.run(Recorder(said)) == {}
    assert [text for text in said if str(path) in text]
    assert copy.files("times.json") == before
    assert copy.call("leaderboard").output == table


class Recorder(SilentProgress):
    """A progress display that records messages instead of printing them."""

    def __init__(self, said):
        self.say = said.append


@pytest.mark.parametrize("name", ["plan.json", "statistics.json", "failures.json"])
@pytest.mark.parametrize("damage", [lambda data: data[:-9], swap(b"0", b"1")])
def test_damaged_plans_failures_and_statistics_are_repaired(copy, name, damage):
    """`kib leaderboard` rejects a damaged plan or failure list but not damaged statistics; a run repairs the file."""
    if name == "failures.json":
        copy.results.save_failures({"m/x": Failure("answers0", "none")})
    table, path = copy.call("leaderboard").output, copy.results.folder / name
    path.write_bytes(damage(path.read_bytes()))
    refused = copy.call("leaderboard")
    if name == "statistics.json":
        assert refused.output == table
    else:
        assert refused.exit_code == 2
        assert f"{name}: the file is damaged or missing" in refused.stderr
        assert "`kib run` writes the file again" in refused.stderr
    assert copy.run() == {}
    assert copy.call("leaderboard").output == table


@pytest.mark.parametrize("place", [TEST, VALIDATION])
@pytest.mark.parametrize("name", ["questions.jsonl", "times.json"])
def test_missing_files_of_a_cell_are_restored(copy, place, name):
    """`kib run` counts cells without questions, and `kib run --verify` measures cells with missing files again."""
    before, kept = copy.files("times.json", "statistics.json"), sorted(copy.files())
    path = copy.results.cell_folder(copy.cells()[place]) / name
    path.unlink()
    result = copy.call("run", copy.spec)
    assert result.exit_code == 0
    assert ("questions.jsonl is missing in 1 measured cell;" in result.stderr) == (name == "questions.jsonl")
    assert not path.exists()
    restored = copy.call("run", copy.spec, "--verify")
    assert restored.exit_code == 0
    assert f"{path.relative_to(copy.folder)}: the file is missing; `kib run` measures the cell again" in restored.stderr
    assert "is missing in" not in restored.stderr
    assert copy.files("times.json", "statistics.json") == before
    assert sorted(copy.files()) == kept


def put_a_pipe(path):
    """Replace a file with a named pipe; opening the pipe blocks."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def put_a_folder(path):
    """Replace a file with a folder that contains a file."""
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "inner.txt").write_text("inner", encoding="utf-8")


NOT_FILES = [
    pytest.param(put_a_pipe, marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")),
    put_a_folder,
]


@pytest.mark.parametrize("replace", NOT_FILES)
@pytest.mark.parametrize("name", ["questions.jsonl", "cell.json", "times.json"])
def test_a_pipe_or_a_folder_in_a_cell_counts_as_damage(copy, name, replace):
    """If a pipe or a folder has the name of a cell's file, `kib run` reports the damage and measures the cell again."""
    before, table = copy.files("times.json"), copy.call("leaderboard").output
    path = copy.results.cell_folder(copy.cells()[TEST]) / name
    replace(path)
    refused = copy.call("leaderboard", "--cost", "--times")
    assert refused.exit_code == 2
    assert "expected a file, got a " in refused.stderr
    said = []
    assert copy.run(Recorder(said)) == {}
    assert [text for text in said if str(path) in text and "expected a file" in text]
    assert copy.files("times.json") == before
    assert path.is_file()
    assert copy.call("leaderboard").output == table


@pytest.mark.parametrize("replace", NOT_FILES)
@pytest.mark.parametrize("name", ["plan.json", "statistics.json", "failures.json", ".owner.json"])
def test_a_pipe_or_a_folder_in_the_results_folder_is_replaced_or_named(copy, name, replace):
    """`kib run` replaces a pipe that has the name of a file of results, and names a folder that must be deleted."""
    table, path = copy.call("leaderboard").output, copy.results.folder / name
    replace(path)
    shown = copy.call("leaderboard")
    if name in ("plan.json", "failures.json"):
        assert shown.exit_code == 2
        assert f"{name}: the file is damaged or missing" in shown.stderr
    else:
        assert shown.output == table
    if path.is_dir():
        with pytest.raises(InputError, match="got a folder; delete this folder and run the command again"):
            copy.run()
        shutil.rmtree(path)
    assert copy.run() == {}
    assert copy.call("leaderboard").output == table
    assert path.is_file() == (name in ("plan.json", "statistics.json"))


def test_published_results_without_questions_remain_readable(copy):
    """Results from earlier versions, without question files and digests, produce the same table."""
    table = copy.call("leaderboard").output
    for path in copy.results.folder.rglob("*.json*"):
        if path.name == "questions.jsonl":
            path.unlink()
        else:
            path.write_text(json.dumps(read_sealed(path)), encoding="utf-8")
    assert copy.call("leaderboard").output == table


BAD = [10**400, -(10**400), -1, True, "x", [], 1e308, "\x1b[31m", b"NaN", b"1e999", b"9" * 5000, b'"\\ud800"']


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("plan.json", ["cells", 0, "method"]),
        ("plan.json", ["cells", 1, "settings", 0, 1]),
        ("plan.json", ["sources", "tasks", "people"]),
        ("plan.json", ["tasks", "people", "n"]),
        (f"{TEST}/*/cell.json", ["correct"]),
        (f"{TEST}/*/cell.json", ["flops"]),
        (f"{VALIDATION}/*/cell.json", ["n"]),
        (f"{VALIDATION}/*/cell.json", ["cell", "model"]),
        (f"{TEST}/*/times.json", ["asking"]),
        ("statistics.json", ["arms", "*", 0, 0]),
    ],
)
def test_invalid_values_in_results_cause_no_traceback(copy, name, keys):
    """Invalid values in results without digests are ignored or cause a clear error, but never a traceback."""
    (path,) = copy.results.folder.glob(name)
    value = read_sealed(path)
    for bad in BAD:
        changed = json.loads(json.dumps(value))
        inner = changed
        for key in keys[:-1]:
            inner = inner[next(iter(inner)) if key == "*" else key]
        inner[keys[-1]] = "@" if isinstance(bad, bytes) else bad
        text = json.dumps(changed).encode()
        path.write_bytes(text.replace(b'"@"', bad) if isinstance(bad, bytes) else text)
        assert copy.call("leaderboard", "--cost", "--times").exit_code in (0, 1, 2)
