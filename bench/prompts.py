"""Time rendering, indexing, searching and prompt building for K = 0 to 5 passages, and print one table.

The questions and facts are from OpenBookQA. The table shows medians of interleaved rounds for a quarter, a half and all
of the 500 test questions, to show how the times grow.
Usage: python bench/prompts.py --data FOLDER [--rounds N] [--json FILE]
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import command
import material

from kib.harness.backends import quiet
from kib.harness.tasks import RenderedTask
from kib.prompts import build_prompt
from kib.records import Hit, Passage, Query, RenderedQuestion

K = range(6)
BUDGET = 2048
"""The token budget of a prompt with its longest answer, in the step that counts tokens."""


def steps(data: Path, tokens: Callable[[str], list[int]], count: int) -> dict[str, float]:
    """Return the seconds of each step for `count` questions."""
    from kib_bm25 import BM25, BM25Options

    found: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        given = call()
        found[name] = time.perf_counter() - start
        return given

    retriever = BM25(BM25Options())
    rendered_task = timed("read the questions", lambda: material.openbook(data, count))
    asked = timed("render, 0-shot", lambda: rendered_task.ask(0))
    passages = material.facts(data)
    with tempfile.TemporaryDirectory() as folder:
        timed("index, 1,326 facts", lambda: retriever.build(passages, Path(folder)))
        queries = [Query(one.question_id, one.query) for one in asked]
        hits = timed("search, 5 each", lambda: retriever.search(Path(folder), queries, max(K)))
    by_id = {passage.id: passage for passage in passages}
    timed("prompts, K = 0..5", lambda: prompts(rendered_task, asked, by_id, hits, None))
    timed(
        "the same prompts, with tokens counted",
        lambda: prompts(rendered_task, asked, by_id, hits, lambda text: len(tokens(text))),
    )
    return found


def prompts(
    rendered_task: RenderedTask,
    asked: list[RenderedQuestion],
    passages: dict[str, Passage],
    hits: list[list[Hit]],
    count: Callable[[str], int] | None,
) -> int:
    """Build prompts and requests for every K; return the number of requests."""
    made = 0
    for k in K:
        for number, (one, some) in enumerate(zip(asked, hits, strict=True)):
            chosen = [passages[hit.passage] for hit in some[:k]]
            prompt = build_prompt(one, chosen, count=count, budget=BUDGET if count else None)
            made += len(rendered_task.requests(number, prompt.text))
    return made


def main() -> None:
    """Run the measurement and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=command.folder, required=True, help="folder that contains openbookqa and wikipedia"
    )
    parser.add_argument("--rounds", type=command.count, default=3, help="number of rounds per size (default: 3)")
    parser.add_argument("--json", type=Path, help="JSON file to write the results to")
    arguments = parser.parse_args()
    quiet()
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = AutoTokenizer.from_pretrained(material.tokenizer(arguments.data, Path(folder)))
    sizes = (125, 250, 500)
    times: dict[str, dict[int, list[float]]] = {}
    for _ in range(arguments.rounds):
        for size in sizes:
            for name, seconds in steps(arguments.data, tokenizer.encode, size).items():
                times.setdefault(name, {}).setdefault(size, []).append(seconds)
    print(f"{'milliseconds for':<28}" + "".join(f"{size:>10}" for size in sizes) + "   questions")
    for name, some in times.items():
        print(f"{name:<28}" + "".join(f"{median(some[size]) * 1000:>10.1f}" for size in sizes))
    if arguments.json:
        figures = {"python": platform.python_version(), "rounds": arguments.rounds, "seconds": times}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
