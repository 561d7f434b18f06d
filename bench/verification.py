"""Measure the cost of verifying stored data: runs of a benchmark, and the first and second use of 1 GB of weights.

With `--before FOLDER`, kib and its plugins from a different checkout are measured as well, and the two versions take
turns. Each number is the median processor time (user and system) in seconds, because a busy machine affects processor
time less than wall time.
Usage: python bench/verification.py [SPEC] [--before FOLDER] [--rounds N] [--json FILE]
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import process_time

from command import count, folder

from kib.store.work import Work

ROOT = Path(__file__).parent.parent
LAB = ROOT / "benchmarks" / "lab.toml"
GIGABYTE = 10**9


def processor_seconds(checkout: Path, arguments: list[str]) -> float:
    """Run kib from a checkout and return its processor time in seconds. If kib fails, show its output and exit."""
    paths = [checkout, *sorted(path for path in (checkout / "plugins").iterdir() if path.is_dir())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-c", "from kib.cli import main; main()", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=checkout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in {0, 1}:  # 1: a cell is missing or failed; the table names it
        sys.exit(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def runs(checkout: Path, spec: Path, verify: bool) -> dict[str, float]:
    """Return the processor time of each run by description."""
    with tempfile.TemporaryDirectory() as name:
        results, work = Path(name) / "results", Path(name) / "work"
        run = ["run", str(spec), "--results", str(results), "--work", str(work), "--quiet"]
        found = {"from nothing": processor_seconds(checkout, run), "finished": processor_seconds(checkout, run)}
        if verify:
            found["finished, with --verify"] = processor_seconds(checkout, [*run, "--verify"])
        shutil.rmtree(results)
        found["results deleted, all steps and answers stored"] = processor_seconds(checkout, run)
    return found


def uses_of_large_weights() -> dict[str, float]:
    """Return the processor time of the first and the second use of a step with one file of 1 GB."""
    with tempfile.TemporaryDirectory() as name:

        def build(weights: Path) -> Mapping[str, object]:
            with (weights / "model.safetensors").open("wb") as file:
                for _ in range(1000):
                    file.write(os.urandom(GIGABYTE // 1000))
            return {}

        Work(Path(name)).compute("weights", "a", build)
        work = Work(Path(name))
        uses = {"first use of 1 GB of weights": work.has, "second use in the same process": work.has}
        return {title: _seconds(lambda use=use: use("weights", "a")) for title, use in uses.items()}


def _seconds(call: Callable[[], object]) -> float:
    begun = process_time()
    call()
    return process_time() - begun


def main() -> None:
    """Run the measurement and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path, nargs="?", default=LAB, help="benchmark file (default: benchmarks/lab.toml)")
    parser.add_argument("--before", type=folder, help="checkout of the version to compare with")
    parser.add_argument("--rounds", type=count, default=3, help="number of rounds (default: 3)")
    parser.add_argument("--json", type=Path, help="JSON file to write the results to")
    arguments = parser.parse_args()
    versions = {"before": arguments.before.resolve()} if arguments.before else {}
    versions["now"] = ROOT.resolve()
    times: dict[str, dict[str, list[float]]] = {}
    for _ in range(arguments.rounds):
        for version, checkout in versions.items():
            for title, seconds in runs(checkout, arguments.spec.resolve(), version == "now").items():
                times.setdefault(title, {}).setdefault(version, []).append(seconds)
        for title, seconds in uses_of_large_weights().items():
            times.setdefault(title, {}).setdefault("now", []).append(seconds)
    figures = {title: {version: median(some) for version, some in row.items()} for title, row in times.items()}
    print(
        f"{arguments.spec.name}: {arguments.rounds} rounds, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(f"{'processor time, s':<48}" + "".join(f"{version:>10}" for version in versions))
    for title, row in figures.items():
        cells = (f"{row[version]:>10.3f}" if version in row else f"{'':>10}" for version in versions)
        print(f"{title:<48}" + "".join(cells))
    if arguments.json:
        arguments.json.write_text(json.dumps({"all": times, "medians": figures}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
