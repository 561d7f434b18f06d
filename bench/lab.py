"""Time a whole benchmark: a run from an empty folder, a second run with nothing left to do, and the leaderboard.

Each line of the table measures one command in a new process. The lines below the table add up the seconds stored in the
results, such as the seconds spent on answering. An answer that several cells share is counted once per cell.
Usage: python bench/lab.py [SPEC] [--json FILE]; the default spec is benchmarks/lab.toml.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

LAB = Path(__file__).parent.parent / "benchmarks" / "lab.toml"
KIB = str(Path(sys.executable).with_name("kib"))


@dataclass(frozen=True)
class Taken:
    """The cost of a process: wall time and total processor time in seconds, and peak memory in bytes."""

    wall: float
    processors: float
    memory: int


def taken(command: list[str]) -> Taken:
    """Run a command and measure its cost. If the command fails, show its output and exit."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in {0, 1}:  # 1: a cell is missing or failed; the table names it
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(time.perf_counter() - start, busy, after.ru_maxrss * 1024)


def noted(results: Path) -> dict[str, float]:
    """Add up the seconds stored in the cells, separately for each step."""
    found: dict[str, float] = {}
    for path in sorted(results.rglob("times.json")):
        for name, seconds in json.loads(path.read_text(encoding="utf-8")).items():
            if not name.endswith("_bytes"):
                found[name] = found.get(name, 0.0) + float(seconds)
    return found


def main() -> None:
    """Run the measurement and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path, nargs="?", default=LAB, help="benchmark file (default: benchmarks/lab.toml)")
    parser.add_argument("--json", type=Path, help="JSON file to write the results to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results, work = Path(folder) / "results", Path(folder) / "work"
        run = [KIB, "run", str(arguments.spec), "--results", str(results), "--work", str(work), "--quiet"]
        lines = {"first run": taken(run), "second run, nothing to do": taken(run)}
        lines["leaderboard"] = taken([KIB, "leaderboard", "--results", str(results)])
        cells = len(list(results.rglob("cell.json")))
        seconds = noted(results)
    print(f"{arguments.spec.name}: {cells} cells, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'':<28}{'wall s':>10}{'cores s':>10}{'GB':>8}")
    for name, line in lines.items():
        print(f"{name:<28}{line.wall:>10.1f}{line.processors:>10.1f}{line.memory / 2**30:>8.2f}")
    for name, value in seconds.items():
        print(f"{'  recorded by cells: ' + name:<28}{value:>10.1f}")
    if arguments.json:
        figures = {"cells": cells, "processes": {name: asdict(line) for name, line in lines.items()}, "noted": seconds}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
