"""A damaged file in the work folder is reported, and the next run computes the same results as without the damage."""

import io
import json
import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from kib.progress import LineProgress

TRAINED = """
[writers.reword]
plugin = "toy"

[trainers.by-heart]
plugin = "toy"
text = { writer = "reword", count = 2 }

[methods.ft]
train = "by-heart"

[methods."ft+rag"]
train = "by-heart"
retrieve = "words"
top_k = [1]
"""

MODEL = 'trainable = true\nsays = "sliding window"\n'


@pytest.fixture(scope="module")
def finished(new_bench, tmp_path_factory, toys):
    """Return a finished benchmark with retrieval, training and a writer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(toys)
        bench = new_bench(tmp_path_factory.mktemp("finished")).write_toy(model=MODEL, more=TRAINED)
        assert bench.run() == {}
    return bench


@pytest.fixture
def copied(finished, new_bench, tmp_path, toybox):
    """Return a copy of the finished benchmark."""
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder)
    return new_bench(folder)


def outcome(bench):
    return bench.files("times.json", "statistics.json")


def run_again(bench, *removed):
    """Delete the results and all steps of the given kinds, run the benchmark again, and return the printed lines."""
    said = io.StringIO()
    for folder in (bench.results.folder, *(bench.folder / "work" / kind for kind in removed)):
        shutil.rmtree(folder)
    assert bench.run(LineProgress(said)) == {}
    return said.getvalue().splitlines()


def rotate(path, key=None):
    """Rotate the lines of a file, or only the values of one key in the lines, without changing the size of the file."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    values = [line[key] for line in lines] if key else lines
    values = values[1:] + values[:1]
    lines = [{**line, key: value} for line, value in zip(lines, values, strict=True)] if key else values
    size = path.stat().st_size
    text = "".join(json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8", newline="\n")
    assert path.stat().st_size == size


def swap_letters(path):
    """Swap the first two letters of a common word."""
    data = path.read_bytes()
    assert b"lives" in data
    path.write_bytes(data.replace(b"lives", b"ilves", 1))


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def zero_the_end(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


DAMAGES = {
    "rotated hits": ("hits/*/hits.jsonl", lambda path: rotate(path, "hits"), ()),
    "rotated lines of hits": ("hits/*/hits.jsonl", rotate, ()),
    "rotated questions": ("asked/*/asked.jsonl", rotate, ()),
    "rotated texts of questions": ("asked/*/asked.jsonl", lambda path: rotate(path, "ask"), ()),
    "a letter in a passage": ("passages/*/passages.jsonl", swap_letters, ()),
    "a bit in a passage's offset": ("passages/*/offsets.bin", flip_a_bit, ()),
    "a lost list of ids": ("passages/*/ids.json", lambda path: path.unlink(), ()),
    "a bit in an index": ("index/*/index/words.json", flip_a_bit, ("hits",)),
    "a bit in a training text": ("text/*/text.jsonl", flip_a_bit, ("weights", "answers")),
    "a record of a training text": ("text/*/done.json", lambda path: rotate_digits(path, "texts"), ()),
    "zeroed weights": ("weights/*/adapter/learned.json", zero_the_end, ("answers",)),
    "truncated weights": ("weights/*/adapter/learned.json", lambda path: os.truncate(path, 40), ("answers",)),
    "lost weights": ("weights/*/adapter/learned.json", lambda path: path.unlink(), ("answers",)),
    "a record of a training run": ("weights/*/done.json", lambda path: rotate_digits(path, "trained_tokens"), ()),
    "a truncated marker": ("asked/*/done.json", lambda path: os.truncate(path, 30), ()),
    "a record of a corpus": ("passages/*/done.json", lambda path: rotate_digits(path, "characters"), ()),
}


def rotate_digits(path, key):
    """Increase a number in the marker of a step without changing the size of the file."""
    marker = json.loads(path.read_text(encoding="utf-8"))
    marker["note"][key] += 1 if marker["note"][key] % 10 < 9 else -1
    path.write_text(json.dumps(marker, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("pattern", "damage", "removed"), DAMAGES.values(), ids=DAMAGES)
def test_damage_changes_no_result(finished, copied, pattern, damage, removed):
    """If all files of one kind are damaged, a run reports every damaged step and computes the same results."""
    paths = sorted((copied.folder / "work").glob(pattern))
    assert paths
    for path in paths:
        damage(path)
    said = run_again(copied, *removed)
    assert outcome(copied) == outcome(finished)
    for path in paths:
        step = (copied.folder / "work").joinpath(*path.relative_to(copied.folder / "work").parts[:2])
        assert [line for line in said if line.startswith(f"{step}") and line.endswith("kib recomputes this step")]


def test_permuted_answers_change_no_result(finished, copied):
    """If the stored model answers are permuted, a run reports the affected files and computes the same results."""
    paths = sorted((copied.folder / "work").glob("answers/*/answers.sqlite"))
    assert len(paths) == 2
    for path in paths:
        with closing(sqlite3.connect(path)) as connection, connection:
            keys, values = zip(*connection.execute("SELECT key, value FROM answers ORDER BY key"), strict=True)
            rows = zip(values[1:] + values[:1], keys, strict=True)
            connection.executemany("UPDATE answers SET value = ? WHERE key = ?", rows)
    said = run_again(copied)
    assert outcome(copied) == outcome(finished)
    for path in paths:
        assert [line for line in said if line.startswith(f"{path}: ") and "answers are damaged" in line]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("put", ["mkdir", "mkfifo"])
def test_a_pipe_or_a_folder_in_place_of_answers_changes_no_result(finished, copied, put):
    """If a pipe or a folder has the name of a file of answers, a run renames it and requests the answers again."""
    paths = sorted((copied.folder / "work").glob("answers/*/answers.sqlite"))
    assert len(paths) == 2
    for _ in range(2):  # the second time, an earlier pipe or folder already has the new name
        for path in paths:
            path.unlink()
            getattr(os, put)(path)
        said = run_again(copied)
        assert outcome(copied) == outcome(finished)
        for path in paths:
            aside = path.with_name("answers.sqlite.damaged")
            assert aside.exists()
            assert not aside.is_file()
            assert path.is_file()
            assert [line for line in said if line.startswith(f"{path}: ") and line.endswith("the answers again")]


def test_an_undamaged_run_reports_no_damage(finished, copied):
    """If no file is damaged, a repeated run computes the same results and reports no damage."""
    said = run_again(copied)
    assert outcome(copied) == outcome(finished)
    assert not [line for line in said if "again" in line or "damaged" in line]


STORED = ("asked", "passages", "index", "hits", "text", "weights")


def test_all_steps_can_be_verified(finished, copied):
    """`kib run --verify` reports and restores every damaged step of a finished benchmark, even if no cell needs it."""
    work = copied.folder / "work"
    damaged = {kind: max(work.glob(f"{kind}/*/**/*.jsonl"), default=None) for kind in STORED}
    damaged["index"] = next(work.glob("index/*/index/words.json"))
    damaged["weights"] = next(work.glob("weights/*/adapter/learned.json"))
    whole = {path: path.read_bytes() for path in damaged.values()}
    before = copied.files("statistics.json")
    for path in whole:
        flip_a_bit(path)
    assert copied.call("run", copied.spec, "-q").exit_code == 0
    assert all(path.read_bytes() != data for path, data in whole.items())  # a finished benchmark reads no stored step
    result = copied.call("run", copied.spec, "--verify")
    assert result.exit_code == 0
    assert result.stderr.count("kib recomputes this step") == len(whole) == len(STORED)
    assert {path: path.read_bytes() for path in whole} == whole
    assert copied.files("statistics.json") == before


def forget_digests(folder):
    """Rewrite the marker of a step in the format of an earlier version, which recorded only file sizes."""
    marker = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    sizes = {name: (folder / name).stat().st_size for name in marker["files"]}
    earlier = {"note": marker["note"], "seconds": 1.0, "files": sizes}
    (folder / "done.json").write_text(json.dumps(earlier), encoding="utf-8")


UNREADABLE = {
    "hits/*/hits.jsonl": (),
    "asked/*/asked.jsonl": (),
    "passages/*/passages.jsonl": (),
    "passages/*/ids.json": (),
    "passages/*/offsets.bin": (),
    "text/*/text.jsonl": ("weights",),
}


@pytest.mark.parametrize(("pattern", "removed"), UNREADABLE.items(), ids=UNREADABLE)
def test_unreadable_files_are_named(copied, pattern, removed):
    """A file with invalid content and without a digest raises an error that names the file."""
    paths = sorted((copied.folder / "work").glob(pattern))
    assert paths
    for path in paths:
        size = path.stat().st_size - (path.suffix == ".bin")
        path.write_bytes(b"\xff" * size)
        forget_digests(path.parent)
    for folder in (copied.results.folder, *(copied.folder / "work" / kind for kind in removed)):
        shutil.rmtree(folder)
    failures = copied.run()
    assert failures
    assert all(str(paths[0].parent.parent) in failure.error for failure in failures.values())
    assert not [failure for failure in failures.values() if "traceback" in failure.error]


def test_questions_of_a_different_task_are_rejected(copied):
    """Stored hits or questions without digests raise an error if their ids differ from the task's question ids."""
    for pattern, words in (("hits/*/hits.jsonl", "the stored hits do not belong"), ("asked/*/asked.jsonl", "not the")):
        for path in (copied.folder / "work").glob(pattern):
            rotate(path)
            forget_digests(path.parent)
        shutil.rmtree(copied.results.folder)
        failures = copied.run()
        assert failures
        assert all(words in failure.error and "delete" in failure.error for failure in failures.values())
