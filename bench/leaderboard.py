"""Time `kib leaderboard` on 100, 1,000 and 10,000 synthetic cells: the first table, and tables from stored statistics.

The first table is computed alternately on all processors and on one, with the statistics deleted before each run. For
the other tables, the CPU time hardly depends on other programs that use the machine. The output goes to a file.
Usage: python bench/leaderboard.py [--json FILE] [--questions N] [CELLS …]
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import command

from kib.identity import digest
from kib.records import Cell, Environment, Score
from kib.store.result_records import BenchmarkPlan, CellResult, MethodEntry, TaskEntry
from kib.store.results import Results

METHODS = {
    "base": MethodEntry(None, None),
    "rag": MethodEntry(None, "bm25"),
    "random": MethodEntry(None, "random", "control"),
    "gold": MethodEntry(None, "gold", "ceiling"),
    "ft": MethodEntry("lora", None),
    "ft+rag": MethodEntry("lora", "bm25"),
}
ARMS = [("base", ()), ("random", (("k", 3),)), ("gold", (("k", 3),))]
ARMS += [("rag", (("k", k),)) for k in range(1, 6)]
SEEDED = [("ft", (("rank", rank),)) for rank in (4, 16)] + [("ft+rag", (("rank", rank), ("k", 3))) for rank in (4, 16)]
LEVELS = {"base": 0.3, "rag": 0.7, "gold": 0.9, "ft": 0.5, "ft+rag": 0.75, "random": 0.3}
ENVIRONMENT = Environment("cpu", {"kib": "0.1.0", "lm-eval": "0.4.13", "torch": "2.13.0"})
KIB = str(Path(sys.executable).with_name("kib"))


def cells(count: int) -> Iterator[Cell]:
    """Yield `count` cells, model by model. A model has eight arms with one seed and four arms with three seeds."""
    made = 0
    for model in range(count):
        for task in ("new", "worded", "known"):
            seeded_arms = [(arm, 0) for arm in ARMS] + [(arm, seed) for arm in SEEDED for seed in range(3)]
            for (method, settings), seed in seeded_arms:
                if made == count:
                    return
                identity = digest([model, method, settings, task, seed])
                yield Cell(f"model{model}", method, settings, task, None, 0, seed, identity)
                made += 1


def fill(folder: Path, count: int, questions: int) -> None:
    """Fill a results folder with `count` measured cells of `questions` questions each."""
    results = Results(folder)
    planned = tuple(cells(count))
    tasks = {
        name: TaskEntry("control" if name == "known" else "target", None, questions)
        for name in ("new", "worded", "known")
    }
    results.save_plan(BenchmarkPlan("bench", "Synthetic", tasks, METHODS, planned))
    rng = random.Random(7)  # noqa: S311 - not for secrets
    for cell in planned:
        scores = [_score(number, int(rng.random() < LEVELS[cell.method])) for number in range(questions)]
        result = CellResult(
            cell=cell,
            n=questions,
            correct=sum(score.score for score in scores),
            metric="acc",
            environments=(ENVIRONMENT,),
            prompt_tokens=100 * questions,
        )
        results.save_cell(result, scores)


def _score(number: int, score: int) -> Score:
    return Score(f"q{number}", None, score, score, 1, (-1.0, -2.0), passages=("d#0",), gold=(True,), prompt="0" * 64)


class Times(NamedTuple):
    """The elapsed time of a command and its CPU time with that of its child processes, in seconds."""

    elapsed: float
    cpu: float


def run(folder: Path, form: str, output: Path, *, processors: set[int] | None = None) -> Times:
    """Write the table to a file, and return the times of the command; `processors` are those that it may use."""
    allowed = os.sched_getaffinity(0)
    with output.open("wb") as file:
        os.sched_setaffinity(0, processors or allowed)
        start, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([KIB, "leaderboard", str(folder), "--format", form], check=True, stdout=file)
        end, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        os.sched_setaffinity(0, allowed)
    return Times(ended - begun, end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)


def measure(count: int, questions: int) -> dict[str, float]:
    """Return times in seconds for one number of cells, as the best of three runs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, output = Path(temporary) / "results", Path(temporary) / "table"
        fill(folder, count, questions)
        one = {min(os.sched_getaffinity(0))}
        firsts: dict[str, list[Times]] = {"all": [], "one": []}
        for _ in range(3):
            for name, processors in (("one", one), ("all", None)):
                (folder / "statistics.json").unlink(missing_ok=True)
                firsts[name].append(run(folder, "csv", output, processors=processors))
        row: dict[str, float] = {"cells": count}
        row["first"] = min(times.elapsed for times in firsts["all"])
        row["first CPU"] = min(times.cpu for times in firsts["all"])
        row["first on one"] = min(times.elapsed for times in firsts["one"])
        for form in ("csv", "json", "terminal"):
            row[f"{form} CPU"] = min(run(folder, form, output).cpu for _ in range(3))
            row[f"{form} bytes"] = output.stat().st_size
        row["peak MiB"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return row


def main() -> None:
    """Run the measurement, print the table, and write the table as JSON if `--json` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", nargs="*", type=command.count, default=[100, 1_000, 10_000])
    parser.add_argument("--questions", type=command.count, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measure(count, options.questions) for count in options.cells]
    print(
        f"{options.questions} questions per cell, Python {platform.python_version()}, {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} processors; seconds, best of three runs; peak memory of one process"
    )
    titles = ["cells", "first", "first CPU", "first on one", "csv CPU", "json CPU", "terminal CPU", "peak MiB"]
    print(" ".join(f"{title:>12}" for title in titles))
    for row in rows:
        print(" ".join(f"{row[title]:>12.{0 if title == 'cells' else 2}f}" for title in titles))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
