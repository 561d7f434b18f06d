"""Damages one stored file at a time and checks that kib repairs or names the file and never uses it silently.

mended      the results and the printed table equal those of an undamaged benchmark
error       kib exits with code 2 or 3 and an error that names the file or its folder
harmless    nothing reads the damaged part: all numbers are correct, and the damaged file remains
unnoticed   the printed table is correct, but the results folder differs from the undamaged results folder
SILENT      kib exits with code 0 and wrong numbers, or uses damaged numbers in a comparison
TRACEBACK   kib exits with a traceback or an unexpected error
UNCLEAR     kib exits with an error that does not name the file
"""

import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from damages import DAMAGES, state
from fixture import Bench
from forked import Ended, Runner
from kills import RUN, Tally

VIEW = ("leaderboard", "--cost", "--times", "--retrieval", "--format", "json", "--quiet")
CHECK = ("leaderboard", "--check", "baseline.json", "--quiet")
BAD = ("SILENT", "TRACEBACK", "UNCLEAR", "unnoticed")

LATER = {
    "passages": ("index", "hits", "text", "weights", "remembered"),
    "index": ("hits",),
    "remembered": ("index", "hits"),
    "written": ("text", "weights", "answers"),
    "text": ("weights", "answers"),
    "weights": ("answers",),
}
"""For each kind of step, the kinds that are computed from it: only without these, kib reads the damaged step again."""

FAILURES = '{\n  "small/ft/s0": {\n    "error": "a reason",\n    "step": "training"\n  }\n}\n'


@dataclass(frozen=True)
class _Whole:
    bench: Bench
    table: str
    view: str

    @property
    def outcome(self) -> dict[str, bytes]:
        return self.bench.outcome()


def kind_of(path: str) -> str:
    """Return the kind of a stored file: its path without identities, cells and numbers."""
    if path.startswith("results/"):
        return f"results {Path(path).name}"
    return re.sub(r"-?[0-9a-f]{16,}", "", path).replace("//", "/")


def damage(finished: Bench, folder: Path, runner: Runner, count: int, chance: random.Random, only: str = "") -> Tally:
    """Damage `count` files whose paths start with `only`, drawing all kinds of files and damage about equally often."""
    (finished.results / "failures.json").unlink(missing_ok=True)
    ended, view = runner(RUN, finished.folder), runner(VIEW, finished.folder)
    whole, tally = _Whole(finished, ended.stdout, view.stdout), Tally()
    targets = _targets(finished, only, chance)
    while tally.counts["damaged"] < count:
        path, name = next(targets)
        result, detail = _attack(whole, folder, runner, path, name, chance)
        if result:
            tally.counts.update((result, f"{kind_of(path)}: {result}"))
            tally.add("damaged")
        if result in BAD:
            tally.find(f"{result}: {name} of {path}: {detail}")
    return tally


def _targets(finished: Bench, only: str, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Yield an endless sequence of files and kinds of damage, drawing every kind of file equally often."""
    kinds: dict[str, list[str]] = {}
    for path in [*finished.paths(), "results/people/failures.json", "baseline.json"]:
        if path.startswith(only):
            kinds.setdefault(kind_of(path), []).append(path)
    used: Counter[tuple[str, str]] = Counter()
    for kind in cycle(sorted(kinds)):
        name = min(DAMAGES, key=lambda one: (used[kind, one], chance.random()))
        used[kind, name] += 1
        yield chance.choice(kinds[kind]), name


def _attack(
    whole: _Whole, folder: Path, runner: Runner, path: str, name: str, chance: random.Random
) -> tuple[str, str]:
    """Damage one file in a copy of the folder, run kib, and return the outcome and its details."""
    shutil.rmtree(folder, ignore_errors=True)
    bench = whole.bench.copy(folder)
    if path.endswith("failures.json"):
        (bench.folder / path).write_text(FAILURES, encoding="utf-8")
    if path.startswith("work/"):
        shutil.rmtree(bench.folder / "results")
        kind = path.split("/")[1]
        if chance.random() < 0.8:
            for later in LATER.get(kind, ()):
                shutil.rmtree(bench.work / later, ignore_errors=True)
    siblings = [bench.folder / one for one in whole.bench.paths() if kind_of(one) == kind_of(path)]
    before = state(bench.folder / path)
    DAMAGES[name](bench.folder / path, siblings, chance)
    damaged = state(bench.folder / path)
    if damaged == before:
        return "", ""
    if path == "baseline.json":
        return _check_baseline(bench, runner, before, damaged)
    if path.startswith("results/"):
        return _check_results(whole, bench, runner, path, damaged)
    return _check_run(whole, bench, runner, path, damaged)


def _is_clear(ended: Ended, path: str) -> bool:
    """Return whether an error names the damaged file or the folder of its step or cell."""
    said = ended.stderr + ended.stdout
    if path.endswith("plan.json") and "no results found" in said:
        return True  # a folder without a plan contains no results
    parents = [parent.as_posix() for parent in Path(path).parents if len(parent.parts) > 2 or parent.name == "people"]
    return ended.code in (1, 2, 3) and any(one in said for one in (path, *parents))


def _bad_end(ended: Ended, path: str) -> tuple[str, str] | None:
    """Return the fault of a command that ended with neither exit code 0 nor a clear error."""
    said = f"exit code {ended.code}: {ended.stderr[-1500:]}"
    if ended.traceback or ended.code < 0:
        return "TRACEBACK", said
    return None if _is_clear(ended, path) else ("UNCLEAR", said)


def _check_run(whole: _Whole, bench: Bench, runner: Runner, path: str, damaged: object) -> tuple[str, str]:
    """Return the outcome of `kib run` after a file in the work folder was damaged."""
    ended = runner(RUN, bench.folder)
    if ended.code:
        fault = _bad_end(ended, path)
        if fault:
            return fault
        again = runner(RUN, bench.folder)
        return ("mended by the second run" if again.code == 0 and _same(whole, bench, again) else "error"), ""
    if not _same(whole, bench, ended):
        return "SILENT", _difference(whole, bench)
    return ("harmless" if state(bench.folder / path) == damaged else "mended"), ""


def _same(whole: _Whole, bench: Bench, ended: Ended) -> bool:
    return bench.outcome() == whole.outcome and ended.stdout == whole.table


def _difference(whole: _Whole, bench: Bench) -> str:
    found, expected = bench.outcome(), whole.outcome
    names = sorted(key for key in found.keys() | expected if found.get(key) != expected.get(key))
    return f"{len(names)} files differ: {', '.join(names[:2])}" if names else "the printed table differs"


def _check_results(whole: _Whole, bench: Bench, runner: Runner, path: str, damaged: object) -> tuple[str, str]:
    """Return the outcome of `kib leaderboard` and `kib run` after a file in the results folder was damaged."""
    shown = runner(VIEW, bench.folder)
    missing = path.endswith("cell.json") and not isinstance(damaged, bytes) and "incomplete" in shown.stderr
    if shown.code and not missing and (fault := _bad_end(shown, path)):
        return fault
    absent = path.endswith("times.json") and not isinstance(damaged, bytes)  # the table then shows no times
    if shown.code == 0 and shown.stdout != whole.view and not absent:
        return "SILENT", "the table shows other numbers"
    return _check_stored(whole, bench, runner, path, damaged)


def _check_stored(whole: _Whole, bench: Bench, runner: Runner, path: str, damaged: object) -> tuple[str, str]:
    """Return the outcome of `kib run`, and of `--check` if the run left the damaged file unchanged."""
    ended = runner(RUN, bench.folder)
    if ended.code:
        return _bad_end(ended, path) or ("error", "")
    if ended.stdout != whole.table:
        return "SILENT", "the table of `kib run` shows other numbers"
    cache = path.endswith("statistics.json") and not isinstance(state(bench.folder / path), bytes)
    if cache or bench.outcome() == whole.outcome:  # a folder in the place of the cache is never read
        return ("harmless" if state(bench.folder / path) == damaged else "mended"), ""
    checked = runner(CHECK, bench.folder)
    if checked.code == 0:
        return "SILENT", f"--check accepts it; {_difference(whole, bench)}"
    if state(bench.folder / path) == "missing" and path.endswith("questions.jsonl"):
        return _bad_end(checked, path) or ("harmless", "")  # results may be published without their questions
    return _bad_end(checked, path) or ("unnoticed", f"only --check notices it; {_difference(whole, bench)}")


def _check_baseline(bench: Bench, runner: Runner, before: object, damaged: object) -> tuple[str, str]:
    """Return the outcome of `kib leaderboard --check` after its baseline was damaged."""
    ended = runner(CHECK, bench.folder)
    if ended.code == 2:
        return _bad_end(ended, "baseline.json") or ("error", "")
    if ended.traceback:
        return "TRACEBACK", ended.stderr[-1500:]
    if ended.code:
        return "SILENT", f"the damage is reported as worse results: {ended.stderr[-300:]}"
    same = isinstance(damaged, bytes) and isinstance(before, bytes) and json.loads(damaged) == json.loads(before)
    return ("harmless", "") if same else ("SILENT", "compared with damaged numbers")
