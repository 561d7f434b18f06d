"""Time `kib plan` on benchmarks with about 10,000 cells; `sweep` is timed again after all its cells have been measured.

Each time is the median of three runs: the processor time (user and system), and the wall time.
Usage: python bench/plan.py [--json FILE] [--folder FOLDER]
With --folder, the benchmark files and the results stay in this folder; otherwise, they are deleted.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from kib.plan.planner import make_plan
from kib.plugins.resolve import open_spec
from kib.records import Cell, Environment, Score
from kib.store.result_records import CellResult
from kib.store.results import Results

KIB = str(Path(sys.executable).with_name("kib"))
ROUNDS = 3


@dataclass(frozen=True)
class Shape:
    """The numbers that determine the cells of a benchmark."""

    models: int
    tasks: int
    seeds: int
    ranks: int
    rates: int
    passages: int  # the numbers of passages, from 1 to this number; 0: no retrieval
    trained_passages: int  # the numbers of passages for trained models


SHAPES = {
    "sweep": Shape(models=4, tasks=5, seeds=5, ranks=4, rates=4, passages=20, trained_passages=5),
    "trainings": Shape(models=1, tasks=1, seeds=10, ranks=40, rates=25, passages=0, trained_passages=0),
    "models": Shape(models=100, tasks=5, seeds=1, ranks=2, rates=2, passages=10, trained_passages=1),
}


def benchmark(name: str, shape: Shape) -> str:
    """Return the text of a benchmark file."""
    ranks = list(range(1, shape.ranks + 1))
    rates = [number / 10_000 for number in range(1, shape.rates + 1)]
    lines = ["schema = 1", f'name = "{name}"', 'title = "Synthetic"', f"seeds = {list(range(shape.seeds))}"]
    lines += [f'[models.m{number}]\nplugin = "lab"' for number in range(shape.models)]
    lines += ['[corpora.new]\nplugin = "lab"\npeople = "new"\nchunk = { tokens = 128, tokenizer = "m0" }']
    lines += ['[retrievers.bm25]\nplugin = "bm25"']
    lines += [
        f'[tasks.t{number}]\nplugin = "lab"\npeople = "new"\ncount = {40 + number}\ncorpus = "new"'
        for number in range(shape.tasks)
    ]
    lines += [f'[trainers.lora]\nplugin = "lora"\nvary = {{ rank = {ranks}, learning_rate = {rates} }}']
    lines += ['[methods.base]\n[methods.ft]\ntrain = "lora"']
    if shape.passages:
        lines += [f'[methods.rag]\nretrieve = "bm25"\ntop_k = {list(range(1, shape.passages + 1))}']
    if shape.trained_passages:
        top_k = list(range(1, shape.trained_passages + 1))
        lines += [f'[methods."ft+rag"]\ntrain = "lora"\nretrieve = "bm25"\ntop_k = {top_k}']
    return "\n".join(lines) + "\n"


def fill(results: Results, cells: list[Cell]) -> None:
    """Store a result with one question for every cell."""
    environment = Environment("cpu", {"kib": "0.1.0"})
    for cell in cells:
        result = CellResult(cell=cell, n=1, correct=1, metric="acc", environments=(environment,))
        results.save_cell(result, [Score("q", None, 1, 1, 1)])


def times(spec: Path, results: Path, work: Path) -> dict[str, float]:
    """Return the median processor time and wall time of `kib plan`, and the largest peak memory of all runs so far."""
    cpu, wall = [], []
    for _ in range(ROUNDS):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [KIB, "plan", str(spec), "--results", str(results), "--work", str(work)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"cpu": median(cpu), "wall": median(wall), "peak MiB": peak}


def measure(folder: Path, name: str, shape: Shape) -> Iterator[dict[str, Any]]:
    """Yield the times for one benchmark and, for `sweep`, the times after all cells have been measured."""
    spec = folder / f"{name}.toml"
    spec.write_text(benchmark(name, shape), encoding="utf-8")
    cells = [one.cell for one in make_plan(*open_spec(spec)).cells]
    yield {"benchmark": name, "cells": len(cells), **times(spec, folder / "results", folder / "work")}
    if name == "sweep":
        fill(Results(folder / "measured" / name), cells)
        yield {
            "benchmark": "sweep, measured",
            "cells": len(cells),
            **times(spec, folder / "measured", folder / "work"),
        }


def main() -> None:
    """Run the measurement, print the table, and write the table as JSON if `--json` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file to write the figures to, as JSON")
    parser.add_argument("--folder", type=Path, help="a new folder for the benchmark files and results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [row for name, shape in SHAPES.items() for row in measure(folder, name, shape)]
    print(f"Python {platform.python_version()}, {platform.machine()}; seconds")
    print(f"{'benchmark':<16} {'cells':>6} {'cpu':>6} {'wall':>6} {'peak MiB':>9}")
    for row in rows:
        print(
            f"{row['benchmark']:<16} {row['cells']:>6} {row['cpu']:>6.2f} {row['wall']:>6.2f} {row['peak MiB']:>9.0f}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
