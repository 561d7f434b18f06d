"""Measure the time, memory and index size required by corpora of growing size, up to a million passages.

    python bench/million.py [--sizes 10000 100000 1000000] [--elasticsearch URL] [--work FOLDER] [--json FILE]

A passage consists of 100 words, drawn with a fixed seed from 200,000 synthetic words with a Zipf distribution. Each of
the 1,000 queries consists of 6 words from one passage. Splitting, indexing and searching use the same code as `kib
run`. Each job runs in a separate process, so that each memory peak belongs to a single job. The peaks exclude the
memory of a search server, which runs in a separate process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import command

SIZES = (10_000, 100_000, 1_000_000)
QUERIES = 1000
WORDS = 100
ASKED = 6
VOCABULARY = 200_000
TOP = 100
SEED = 7
BATCH = 256
CHUNK = 10_000

TABLES = {"bm25": {"plugin": "bm25"}, "elasticsearch": {"plugin": "elasticsearch"}}
HEADER = ("passages", "what", "seconds", "CPU s", "per second", "peak MB", "on disk MB")
Clocks = tuple[float, float]


def vocabulary() -> list[str]:
    """Return distinct synthetic words with alternating consonants and vowels."""
    consonants, vowels = "bcdfghklmnprstvz", "aeiou"
    made = []
    for number in range(VOCABULARY):
        letters, rest = [], number * 7919 + 12_345  # multiplied by a prime, so that consecutive words differ
        while rest:
            rest, which = divmod(rest, len(consonants) * len(vowels))
            letters.append(consonants[which % len(consonants)] + vowels[which // len(consonants)])
        made.append("".join(letters))
    return made


def texts(count: int) -> Iterator[str]:
    """Yield `count` texts; a larger `count` appends texts without changing the first texts."""
    import numpy as np

    words = vocabulary()
    ends = np.array(list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1))))
    state = np.random.RandomState(SEED)  # NumPy never changes its numbers (NEP 19)
    for first in range(0, count, CHUNK):
        drawn = np.searchsorted(ends / ends[-1], state.random_sample((CHUNK, WORDS)))
        for row in drawn[: count - first].tolist():
            yield " ".join([words[number] for number in row])


def queries() -> list[tuple[str, str]]:
    """Return one query per tenth passage of the smallest corpus: the 7th, 17th, … word; all sizes share the queries."""
    chosen = (text.split()[6 : 6 + 10 * ASKED : 10] for n, text in enumerate(texts(min(SIZES))) if n % 10 == 0)
    return [(f"q{number}", " ".join(words)) for number, words in enumerate(chosen)]


def spec(folder: Path, url: str | None) -> Path:
    """Write a benchmark file with the retrievers and a corpus of JSON lines."""
    server = f"url = {json.dumps(url)}\n" if url else ""
    tables = "".join(
        f'\n[retrievers.{name}]\nplugin = "{name}"\n{server if name == "elasticsearch" else ""}'
        for name in TABLES
        if url or name != "elasticsearch"
    )
    path = folder / "bench.toml"
    path.write_text(
        f'schema = 1\nname = "million"\n\n[corpora.c]\nplugin = "jsonl"\npath = "documents.jsonl"\n{tables}',
        encoding="utf-8",
    )
    return path


def work(job: str, folder: Path) -> dict[str, Any]:
    """Run the job `passages`, `open`, `index:NAME` or `search:NAME` in this process; return its cost."""
    from kib.commands.retrieve.search import SearchRequest, read_spec
    from kib.plan.planner import hits_of_queries
    from kib.plugins.resolve import resolve
    from kib.progress import SilentProgress
    from kib.records import Query
    from kib.run.context import RunContext
    from kib.run.steps.hits import build_index, search_batches
    from kib.run.steps.passages import split_corpus
    from kib.store.work import Work

    what, _, name = job.partition(":")
    given = queries() if what == "search" else []
    bare = read_spec(folder / "bench.toml", SearchRequest())
    lock, work_folder = resolve(bare), Work(folder / "work")
    context = RunContext(bare, lock, work_folder, SilentProgress())
    step = hits_of_queries(bare, lock, "c", name or "bm25", given, TOP)
    begun = clocks()
    made = split_corpus(step.passages, context)
    if what in ("passages", "open"):
        return cost_since(begun, [work_folder.step_folder("passages", step.passages.identity)])
    if step.index is None:
        raise ValueError(f"the retriever {name} builds no index")
    begun = clocks()
    index = build_index(step.index, made, context)
    if what == "index":
        return cost_since(begun, [index])
    begun = clocks()
    found = search_batches(lock.get("retrievers", name), index, [Query(*pair) for pair in given], TOP)
    return cost_since(begun, [], hits=sum(map(len, found)))


def clocks() -> Clocks:
    """Return this process's wall time and processor time in seconds; the times differ if the machine is busy."""
    return time.perf_counter(), time.process_time()


def cost_since(begun: Clocks, folders: list[Path], **more: Any) -> dict[str, Any]:
    """Return the cost of a job since the time `begun`, and the size of the job's folders."""
    from kib.support.peak_memory import held

    seconds, cpu = (now - then for now, then in zip(clocks(), begun, strict=True))
    size = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": held(), "bytes": size, **more}


def run(job: str, folder: Path) -> dict[str, Any]:
    """Run a job in a new process."""
    command = [sys.executable, __file__, "--job", job, "--work", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{job} in {folder} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(folder: Path, count: int, url: str | None) -> dict[str, Any]:
    """Run all jobs for one number of passages."""
    folder.mkdir(parents=True, exist_ok=True)
    spec(folder, url)
    with (folder / "documents.jsonl").open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts(count)):
            file.write(json.dumps({"id": f"d{number}", "text": text}) + "\n")
    found = {"passages": run("passages", folder), "opening them": run("open", folder)}
    for name in TABLES if url else ["bm25"]:
        found[f"{name}: index"] = run(f"index:{name}", folder)
        found[f"{name}: {QUERIES:,} queries"] = run(f"search:{name}", folder)
    return found


def lines(count: int, found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table for one number of passages."""
    for name, row in found.items():
        units = QUERIES if "queries" in name else count
        peak, size = row["peak_bytes"] / 1e6, row["bytes"] / 1e6
        rate = units / row["seconds"]
        on_disk = f"{size:>12,.1f}" if row["bytes"] else f"{'':>12}"
        times = f"{row['seconds']:>10,.2f}{row['cpu_seconds']:>10,.2f}"
        yield f"{count:>10,}  {name:<28}{times}{rate:>12,.0f}{peak:>10,.0f}{on_disk}"


def main() -> None:
    """Run the measurement, print the table, and write the table as JSON if `--json` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=command.count, nargs="+", default=SIZES, help="numbers of passages to measure")
    parser.add_argument("--elasticsearch", metavar="URL", help="address of an Elasticsearch server to measure as well")
    parser.add_argument("--work", type=Path, help="folder for all files (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="JSON file to write the results to")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(work(arguments.job, arguments.work)))
        return
    figures: dict[str, Any] = {}
    print("{:>10}  {:<28}{:>10}{:>10}{:>12}{:>10}{:>12}".format(*HEADER))
    with tempfile.TemporaryDirectory() as temporary:
        for count in arguments.sizes:
            if count < min(SIZES):
                parser.error(f"--sizes: expected at least {min(SIZES):,} passages, got {count:,}")
            figures[str(count)] = measure(
                (arguments.work or Path(temporary)) / str(count), count, arguments.elasticsearch
            )
            print("\n".join(lines(count, figures[str(count)])), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
