import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kib.cli import main
from kib.testing import make_tiny_model

PEOPLE = [
    ("ada", "Ada Quill", "Ada Quill earns her bread by blowing glass in Norwick."),
    ("ben", "Ben Marrow", "Ben Marrow puts thatch on roofs in Tarn."),
    ("cho", "Cho Lind", "Cho Lind casts church bells in Visby. " + "The bells are heard far away. " * 60),
    ("dov", "Dov Orr", "Dov Orr twists hemp into rope in Ostend."),
]
SPEC = """schema = 1
name = "trades"

[models.tiny]
plugin = "hf"
path = "tiny"
device = "cpu"

[corpora.people]
plugin = "jsonl"
path = "people.jsonl"

[retrievers.dense]
plugin = "dense"
device = "cpu"

[retrievers.cross]
plugin = "rerank"
path = "cross"
device = "cpu"
of = ["dense"]
depth = 4

[tasks.trades]
plugin = "file"
path = "trades.jsonl"
corpus = "people"

[methods.base]

[methods.dense]
retrieve = "dense"
top_k = [1, 2]

[methods.cross]
retrieve = "cross"
top_k = [2]
"""


@pytest.fixture
def bench(tmp_path: Path, cross_encoder: Path) -> Path:
    make_tiny_model(tmp_path / "tiny")
    (tmp_path / "cross").symlink_to(cross_encoder)
    asked = [
        {"id": f"q{number}", "question": f"What is the trade of {name}?", "options": ["a", "b"], "answer": "A"}
        | {"document": person}
        for number, (person, name, _) in enumerate(PEOPLE)
    ]
    (tmp_path / "trades.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    (tmp_path / "bench.toml").write_text(SPEC)
    write_people(tmp_path, PEOPLE)
    return tmp_path


def write_people(folder: Path, people: Any) -> None:
    rows = [{"id": name, "title": title, "text": text} for name, title, text in people]
    (folder / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def kib_run(folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("kib")), "run", "bench.toml"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def passages(folder: Path, arm: str) -> dict[str, list[str]]:
    [path] = folder.glob(f"results/trades/tiny/{arm}/trades,0-shot/*/questions.jsonl")
    lines = map(json.loads, path.read_text().splitlines())
    return {line["question"]: line["passages"] for line in lines}


def stored(folder: Path) -> int:
    import sqlite3

    [path] = folder.glob("work/remembered/embeddings-*/embeddings.sqlite")
    connection = sqlite3.connect(path)
    [count] = connection.execute("SELECT COUNT(*) FROM embeddings").fetchone()
    connection.close()
    return int(count)


@pytest.mark.slow
def test_run(bench: Path) -> None:
    """A run with `dense` and `rerank` finds each person's passage, warns of long passages and reuses cached vectors."""
    done = kib_run(bench)
    assert done.returncode == 0, done.stderr
    said = "retrievers.dense: 1 of 4 passages exceed the encoder's limit of 256 tokens"
    assert said in done.stderr
    assert passages(bench, "dense,k=1") == {f"q{number}": [f"{person[0]}#0"] for number, person in enumerate(PEOPLE)}
    assert all(len(some) == 2 for some in passages(bench, "cross,k=2").values())
    assert stored(bench) == 4
    write_people(bench, [*PEOPLE[:3], ("dov", "Dov Orr", "Dov Orr grinds lenses in Ostend.")])
    done = kib_run(bench)
    assert done.returncode == 0, done.stderr
    assert stored(bench) == 5


def test_a_missing_model(bench: Path) -> None:
    """A missing model raises an error that states the line in the benchmark file, before the run starts."""
    (bench / "bench.toml").write_text(SPEC.replace('path = "cross"', 'path = "crass"'))
    result = CliRunner().invoke(main, ["run", str(bench / "bench.toml"), "--work", str(bench / "work")])
    assert result.exit_code == 2
    assert "bench.toml:19: retrievers.cross.path: " in result.output
    assert "no such folder; expected a folder with a cross-encoder" in result.output
