"""Compare the startup time of `kib --help` with an empty Python process: medians of interleaved runs.

    python bench/startup.py [--json FILE]

The script prints a table. The exit code is 1 if `kib --help` takes 0.2 s or longer.
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

ROUNDS = 20
LIMIT = 0.2

KIB = str(Path(sys.executable).with_name("kib"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "kib --help": [KIB, "--help"],
    "kib run --help": [KIB, "run", "--help"],
}


def seconds(command: list[str]) -> float:
    """Return the wall time of one run in seconds."""
    start = perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - start


def measure() -> dict[str, dict[str, float]]:
    """Return each command's median and quartiles in seconds; commands take turns, so that load affects all commands."""
    for command in COMMANDS.values():
        seconds(command)  # the first run reads files from disk
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    found = {}
    for name, some in times.items():
        low, _, high = quantiles(some, n=4)
        found[name] = {"median": median(some), "low": low, "high": high}
    return found


def main() -> int:
    """Measure, print the table, and return 1 if `kib --help` is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="JSON file to write the results to")
    arguments = parser.parse_args()
    figures = measure()
    print(f"{'command':<28}{'median ms':>10}{'quartiles':>16}   ({ROUNDS} runs, Python {platform.python_version()})")
    for name, row in figures.items():
        spread = f"{row['low'] * 1000:.0f} to {row['high'] * 1000:.0f}"
        print(f"{name:<28}{row['median'] * 1000:>10.0f}{spread:>16}")
    if arguments.json:
        text = json.dumps({"rounds": ROUNDS, "python": platform.python_version(), "seconds": figures}, indent=2)
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    return int(figures["kib --help"]["median"] >= LIMIT)


if __name__ == "__main__":
    sys.exit(main())
