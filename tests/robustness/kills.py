"""Stops commands at random moments and checks that the rerun commands produce the same files as uninterrupted ones."""

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fixture import TABLE, Bench
from forked import Ended, Runner, Stop

RUN = ("run", "people.toml", "--quiet")
RETRIEVE = ("retrieve", "people.toml", "--corpus", "people", "--depth", "5", "--run", "{retriever}.trec", "--quiet")
QUESTIONS = ("questions", "people.toml", "--corpus", "people", "--out", "asked.jsonl")
QUESTIONS += ("--validation", "held.jsonl", "--force", "--quiet")
BASELINE = ("leaderboard", "--update-baseline", "baseline.json", "--quiet")
MOST_STOPS = 12
"""The maximum number of times that a command is stopped in one folder before the command may finish."""

EXPECTED = {signal.SIGKILL: (-signal.SIGKILL,), signal.SIGINT: (130,), signal.SIGTERM: (130, -signal.SIGTERM)}
"""The exit codes of a stopped command; before kib handles SIGTERM, Python ends with the signal."""


@dataclass(frozen=True)
class Scenario:
    """A command, and the parts of a finished folder that are removed before it."""

    command: Sequence[str]
    removed: Sequence[str] = ()
    writes: Sequence[str] = ()
    table: bool = False


SCENARIOS = {
    "run": Scenario(RUN, ("results", "work"), table=True),
    "index": Scenario(RUN, ("results", "work/index", "work/hits", "work/remembered"), table=True),
    "train": Scenario(RUN, ("results", "work/text", "work/weights", "work/answers"), table=True),
    "questions": Scenario(QUESTIONS, ("work", "asked.jsonl", "held.jsonl"), ("asked.jsonl", "held.jsonl")),
    "retrieve": Scenario(RETRIEVE, ("work", "words.trec"), ("words.trec", "vectors.trec", "both.trec")),
    "leaderboard": Scenario(TABLE, ("results/people/statistics.json",), table=True),
    "baseline": Scenario(BASELINE, ("results/people/statistics.json",), ("baseline.json",), table=True),
}


@dataclass
class Tally:
    """The counts of an attack, and one sentence per finding."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count a stop or a damaged file, and show the progress of a long attack."""
        self.counts[name] += 1
        if self.counts[name] % 100 == 0:
            print(f"{name} {self.counts[name]}, findings {len(self.findings)}", flush=True)  # noqa: T201

    def find(self, sentence: str) -> None:
        self.findings.append(sentence)
        print(f"FOUND {sentence}", flush=True)  # noqa: T201 - a long attack shows its findings at once


@dataclass(frozen=True)
class _Whole:
    """The files and output of an uninterrupted command, and its duration."""

    stored: dict[str, bytes]
    paths: frozenset[str]
    stdout: str
    seconds: float
    seams: int


def prepare(scenario: Scenario, finished: Bench, folder: Path) -> Bench:
    """Return a copy of the finished folder without the parts that the scenario removes."""
    bench = finished.copy(folder)
    for name in scenario.removed:
        path = bench.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return bench


def _stored(scenario: Scenario, bench: Bench) -> dict[str, bytes]:
    files = {name: (bench.folder / name).read_bytes() for name in scenario.writes if (bench.folder / name).is_file()}
    return {**bench.outcome(), **files}


def _measure(scenario: Scenario, finished: Bench, folder: Path, runner: Runner) -> _Whole:
    bench = prepare(scenario, finished, folder)
    ended = runner(scenario.command, bench.folder)
    if ended.code:
        raise SystemExit(f"{' '.join(scenario.command)}: exit code {ended.code}\n{ended.stderr}")
    whole = _Whole(
        _stored(scenario, bench), frozenset(bench.paths()), ended.stdout if scenario.table else "",
        ended.seconds, ended.seams,
    )  # fmt: skip
    shutil.rmtree(folder)
    return whole


def kill(
    finished: Bench, folder: Path, runner: Runner, stops: int, chance: random.Random, names: Sequence[str] = ()
) -> Tally:
    """Stop commands `stops` times in total; without `names`, stop all kinds of commands."""
    tally, names = Tally(), names or list(SCENARIOS)
    wholes = {name: _measure(SCENARIOS[name], finished, folder / name, runner) for name in names}
    for name, whole in wholes.items():
        print(f"{name}: {whole.seconds:.2f} s, {whole.seams} seams", flush=True)  # noqa: T201
    while tally.counts["stops"] < stops:
        name = min(names, key=lambda one: (tally.counts[one] / _WEIGHTS.get(one, 1), chance.random()))
        bench = prepare(SCENARIOS[name], finished, folder / "stopped")
        said = []
        for _ in range(min(chance.randint(1, MOST_STOPS), stops - tally.counts["stops"])):
            stop = _draw(wholes[name], chance)
            ended = runner(SCENARIOS[name].command, bench.folder, stop)
            if ended.code == 0:
                break
            said.append(f"{stop.kind.name} at {stop.seam or round(stop.seconds or 0, 3)} ({ended.phase})")
            _count(tally, name, stop, ended, said)
            _compare_partly(tally, name, bench, wholes[name], said)
        _finish(tally, name, bench, wholes[name], runner, said)
        shutil.rmtree(bench.folder)
    return tally


_WEIGHTS = {"run": 6, "train": 4, "index": 4, "questions": 2, "retrieve": 2}
"""Commands with many steps are stopped more often; the weight of the other commands is 1."""


def _draw(whole: _Whole, chance: random.Random) -> Stop:
    kind = chance.choices([signal.SIGKILL, signal.SIGINT, signal.SIGTERM], [6, 1, 1])[0]
    if chance.random() < 0.5:
        return Stop(kind, seam=chance.randint(1, whole.seams))
    return Stop(kind, seconds=chance.random() * whole.seconds)


def _count(tally: Tally, name: str, stop: Stop, ended: Ended, said: Sequence[str]) -> None:
    tally.add("stops")
    tally.counts.update((name, stop.kind.name, f"phase {ended.phase}"))
    if ended.code not in EXPECTED[stop.kind] or ended.traceback:
        tally.counts["bad end"] += 1
        tally.find(f"{name}: {said[-1]}: exit code {ended.code}: {ended.stderr[-2000:]}")


def _compare_partly(tally: Tally, name: str, bench: Bench, whole: _Whole, said: Sequence[str]) -> None:
    """Check that every finished cell equals the same cell of the uninterrupted run."""
    for path, data in bench.outcome().items():
        hidden = any(part.startswith(".") for part in path.split("/"))
        if "/" in path and not hidden and whole.stored.get(path) != data:
            tally.counts["partial"] += 1
            tally.find(f"{name}: {', '.join(said)}: {path} differs")


def _finish(tally: Tally, name: str, bench: Bench, whole: _Whole, runner: Runner, said: Sequence[str]) -> None:
    """Run the command until it finishes, and compare all files that it leaves."""
    where = f"{name}: {', '.join(said) or 'not stopped'}"
    for path in bench.leftovers():  # kib deletes temporary files of user-chosen files only after a minute
        os.utime(path, (0, 0))
    ended = runner(SCENARIOS[name].command, bench.folder)
    tally.counts["ends"] += 1
    if ended.code or ended.traceback:
        tally.counts["failed"] += 1
        tally.find(f"{where}: the last command ended with {ended.code}: {ended.stderr[-2000:]}")
        return
    if bench.leftovers() and SCENARIOS[name].command in (TABLE, BASELINE):
        runner(RUN, bench.folder)  # the next run deletes the temporary files of commands that had nothing to store
    found = _stored(SCENARIOS[name], bench)
    wrong = sorted(key for key in found.keys() | whole.stored if found.get(key) != whole.stored.get(key))
    if wrong or (SCENARIOS[name].table and ended.stdout != whole.stdout):
        tally.counts["different"] += 1
        tally.find(f"{where}: not the undisturbed results: {', '.join(wrong) or 'the printed table'}")
    extra = sorted(
        set(bench.paths()) - whole.paths | {str(path.relative_to(bench.folder)) for path in bench.leftovers()}
    )
    if extra or whole.paths - set(bench.paths()):
        tally.counts["leftovers"] += 1
        tally.find(f"{where}: left {extra[:3]}, lacks {sorted(whole.paths - set(bench.paths()))[:3]}")
