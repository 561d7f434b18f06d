"""The command line and the printed tables that the simulations of confidence intervals have in common."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import command

__all__ = ["print_simulation"]

Simulate = Callable[[Any, int, int], Any]
"""Returns the result for a setting, a number of groups or labels, and a number of simulated tables."""


def print_simulation(
    usage: str, unit: str, counts: Sequence[int], settings: Sequence[Any], simulate: Simulate, values: Sequence[str]
) -> None:
    """Simulate the settings that the user selects, print a table of each value, and write JSON if `--json` is given.

    `unit` says what `counts`, the default of the positional arguments, count.
    """
    parser = argparse.ArgumentParser(description=usage)
    parser.add_argument("counts", metavar=unit, nargs="*", type=command.count, default=counts)
    parser.add_argument("--tables", type=command.count, default=2_000)
    parser.add_argument("--only", default="", help="simulate only settings whose name contains this text")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    selected = [setting for setting in settings if options.only in setting.name]
    lines = [simulate(setting, count, options.tables) for setting in selected for count in options.counts]
    for value in values:
        _print_table(lines, [f"{count} {unit}" for count in options.counts], value)
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n", encoding="utf-8")


def _print_table(lines: Sequence[Any], columns: Sequence[str], value: str) -> None:
    """Print a Markdown table of one value, with one line per setting; settings without the value are left out."""
    print(f"\n| {value.replace('_', ' ')} | {' | '.join(columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for name in dict.fromkeys(line.setting for line in lines):
        row = [getattr(line, value) for line in lines if line.setting == name]
        if None not in row:
            print(f"| {name} | {' | '.join('–' if one != one else f'{one:.1f}' for one in row)} |")  # noqa: PLR0124
