"""What the lab's study says, as Markdown, from its results folder: every number and verdict is computed.

    kib run benchmarks/lab-study.toml
    python benchmarks/findings.py results/lab-study docs/findings.md

What stands in the file below the marker is kept: it is written by hand.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from kib.leaderboard import make_table
from kib.leaderboard.number_format import interval, p_value, percent, points
from kib.leaderboard.table_records import Row, Table
from kib.store.results import Results

MARKER = "<!-- below this line: written by hand -->"
MODEL, MAIN, CONTROL = "tiny", "new-people", "known-people"
ONE, RAG, GOLD = "rag,k=1", "rag,k=3", "gold"
MOST = "ft-par,text.count=10"
GROWTH = ("ft-reg", "ft-par,text.count=1", "ft-par,text.count=5", MOST)
COUNTS = (0, 1, 5, 10)
TRAINED = (*GROWTH, "ft-reg-long", "lora", "sft", "mix", "replay")
OTHER_TASKS = ("reworded", "reverse", "two-hop")
LEVEL = 0.05


class Study:
    """The leaderboard of the study's results, over base and over any arm."""

    def __init__(self, folder: Path) -> None:
        self.results = Results(folder)
        self.table = cache(self._table)
        missing = self.table(None).missing
        if missing:
            raise SystemExit(f"{len(missing)} cells have no number, {missing[0].cell} first; kib run goes on")

    def _table(self, against: str | None) -> Table:
        return make_table([self.results], against=against)

    def row(self, arm: str, task: str = MAIN, against: str | None = None) -> Row:
        """An arm on a task, measured against another."""
        for row in self.table(against).rows:
            if (row.arm, row.task, row.model) == (arm, task, MODEL):
                return row
        raise SystemExit(f"{self.results.folder}: no arm {arm} on {task}")


def with_rag(arm: str) -> str:
    """The arm that retrieves as well: `ft-par+rag,text.count=5,k=3`."""
    method, comma, settings = arm.partition(",")
    return f"{method}+rag{comma}{settings},k=3"


def with_gold(arm: str) -> str:
    """The arm that is shown the gold passage as well."""
    method, comma, settings = arm.partition(",")
    return f"{method}+gold{comma}{settings}"


def is_more(row: Row) -> int:
    """1 where the difference is more than chance and positive, -1 where negative, 0 where it is no more than chance."""
    if row.gain is None or row.p is None or row.p >= LEVEL:
        return 0
    return 1 if row.gain.absolute > 0 else -1


def difference(row: Row) -> str:
    """`+12.0 points [9.0, 15.0], p <.001`."""
    if row.gain is None:
        return "no difference can be told"
    return f"{points(row.gain.absolute)} points {interval(row.gain.interval)}, p {p_value(row.p)}"


def accuracy(row: Row) -> str:
    """`95.0 [93.0, 96.5]`."""
    return f"{percent(row.accuracy.mean)} {interval(row.accuracy.interval)}" if row.accuracy else "–"


def grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---'] * len(head))}|"
    yield from (f"| {' | '.join(line)} |" for line in lines)
    yield ""


def sort_out(rows: Sequence[Row]) -> str:
    """`better: a, b; no different by more than chance: c; worse: d`."""
    words = {1: "better", 0: "no different by more than chance", -1: "worse"}
    groups = {how: [f"`{row.arm}`" for row in rows if is_more(row) == how] for how in words}
    return "; ".join(f"{words[how]}: {', '.join(names)}" for how, names in groups.items() if names)


def lower(rows: Sequence[Row]) -> int:
    """How many are below what they are measured against, by chance or not."""
    return sum(row.gain is not None and row.gain.absolute < 0 for row in rows)


def gains_most(study: Study) -> Iterator[str]:
    """Retrieval against every kind of training."""
    rows = [study.row(arm, against=RAG) for arm in TRAINED]
    ones = [study.row(arm, against=ONE) for arm in TRAINED]
    rag, one = study.row(RAG), study.row(ONE)
    chosen = "chosen on validation questions" if one.chosen else "not the number that validation questions choose"
    yield f"Retrieval with one passage, {chosen}: {accuracy(one)} %, {difference(one)} over base; what is trained"
    yield f"alone, against it: {sort_out(ones)}."
    yield ""
    yield f"With three passages, as beside training: {accuracy(rag)} %, {difference(rag)} over base; what is trained"
    yield f"alone, against it: {sort_out(rows)}."
    yield ""
    shown = [study.row(arm) for arm in ("base", ONE, RAG, GOLD, *TRAINED)]
    cells = [
        (f"`{row.arm}`", accuracy(row), points(row.gain.absolute) if row.gain else "–", seeds(row)) for row in shown
    ]
    yield from grid(("arm", "accuracy, %", "points over base", "seeds"), cells)


def seeds(row: Row) -> str:
    """The accuracies of the single seeds, where there are several."""
    return ", ".join(map(percent, row.seed_accuracies)) if len(row.seed_accuracies) > 1 else "–"


def copies(study: Study) -> Iterator[str]:
    """Ten paraphrases against as many tokens of the documents themselves."""
    tasks = (MAIN, *OTHER_TASKS)
    rows = [study.row(MOST, task, "ft-reg-long") for task in tasks]
    verdict = {1: "Yes", 0: "Not by more than chance", -1: "No, copies do better"}[is_more(rows[0])]
    yield f"{verdict}: ten paraphrases against the documents repeated to as many tokens, {difference(rows[0])}."
    yield ""
    cells = [
        (task, accuracy(study.row("ft-reg-long", task)), accuracy(row), difference(row))
        for task, row in zip(tasks, rows, strict=True)
    ]
    yield from grid(("task", "copies, %", "paraphrases, %", "difference"), cells)


def growth(study: Study) -> Iterator[str]:
    """Accuracy over the number of paraphrases."""
    rows = [study.row(arm) for arm in GROWTH]
    words = {1: "more", 0: "no more than chance", -1: "less"}
    yield "Each number of paraphrases against the one before:"
    yield ""
    for (low, high), (one, other) in zip(pairwise(COUNTS), pairwise(GROWTH), strict=True):
        step = study.row(other, against=one)
        yield f"- from {low} to {high}: {difference(step)}: {words[is_more(step)]}."
    yield ""
    cells = [
        (str(count), accuracy(row), difference(row), accuracy(study.row(with_rag(row.arm))))
        for count, row in zip(COUNTS, rows, strict=True)
    ]
    yield from grid(("paraphrases a passage", "accuracy, %", "over base", "with retrieval, %"), cells)


def on_top(study: Study) -> Iterator[str]:
    """Training and retrieval against retrieval alone, and the same with the gold passage."""
    rows = [study.row(with_rag(arm), against=RAG) for arm in TRAINED]
    gold = [study.row(with_gold(arm), against=GOLD) for arm in TRAINED]
    count = f"Of these {len(rows)}, {lower(rows)} are lower, by chance or not"
    yield f"Training and retrieval against retrieval alone: {sort_out(rows)}. {count}."
    yield ""
    yield f"The same with the gold passage among three: {sort_out(gold)}. {lower(gold)} are lower."
    yield ""
    cells = [
        (f"`{arm}`", accuracy(row), difference(row), accuracy(one), difference(one))
        for arm, row, one in zip(TRAINED, rows, gold, strict=True)
    ]
    head = ("trained", "with retrieval, %", "over retrieval alone", "with gold, %", "over gold alone")
    yield from grid(head, cells)


def forgotten(study: Study) -> Iterator[str]:
    """The control and held-out text after each training, and what replay does about it."""
    rows = [study.row(arm, CONTROL) for arm in TRAINED]
    replay = study.row("replay", CONTROL, MOST)
    target = study.row("replay", MAIN, MOST)
    marked = [f"`{row.arm}`" for row in rows if row.mark]
    yield f"Known people are forgotten, by more than chance, after {', '.join(marked) or 'no training'}."
    yield "Replay, three tokens of ten from documents on known people, against the same training without:"
    yield f"{difference(replay)} on the control, {difference(target)} on the new people."
    yield ""
    cells = [
        (
            f"`{row.arm}`",
            accuracy(row),
            "–" if row.kind == "base" else difference(row),
            perplexity(row),
            row.mark or "–",
        )
        for row in (study.row("base", CONTROL), *rows)
    ]
    head = ("arm", "known people, %", "over base", "perplexity of documents on known people", "mark")
    yield from grid(head, cells)


def perplexity(row: Row) -> str:
    """Before and after."""
    return "–" if row.perplexity is None else f"{row.perplexity[0]:.2f} → {row.perplexity[1]:.2f}"


def kinds(study: Study) -> Iterator[str]:
    """Pairs, pairs with documents, and LoRA against full training on paraphrases, and pairs against the documents."""
    for arm, other in (("sft", GROWTH[0]), ("sft", MOST), ("mix", MOST), ("lora", MOST)):
        row = study.row(arm, against=other)
        yield f"- `{arm}`: {accuracy(row)} %, against `{other}` {difference(row)}."
    yield ""
    tasks = (MAIN, *OTHER_TASKS, CONTROL)
    cells = [
        (f"`{arm}`", *(difference(study.row(arm, task, MOST)) for task in tasks)) for arm in ("sft", "mix", "lora")
    ]
    yield from grid((f"against `{MOST}`", *tasks), cells)


def come_along(study: Study) -> Iterator[str]:
    """Questions in other words, backwards and over two documents."""
    for task in OTHER_TASKS:
        rows = [study.row(arm, task) for arm in (RAG, *TRAINED)]
        yield f"- {task}, against base: {sort_out(rows)}."
    yield ""
    cells = [
        (f"`{arm}`", *(percent(row.accuracy.mean) if (row := study.row(arm, task)).accuracy else "–" for task in tasks))
        for tasks in [(MAIN, *OTHER_TASKS)]
        for arm in ("base", RAG, GOLD, *TRAINED)
    ]
    yield from grid(("arm", MAIN, *OTHER_TASKS), cells)


FINDINGS: Sequence[tuple[str, Callable[[Study], Iterator[str]]]] = (
    ("Does retrieval gain most?", gains_most),
    ("Do paraphrases beat copies at equal tokens?", copies),
    ("How does the gain grow with the number of paraphrases?", growth),
    ("Does training on top of retrieval help or hurt?", on_top),
    ("What is forgotten, and does replay prevent it?", forgotten),
    ("How do questions with answers, the mix, and LoRA compare?", kinds),
    ("Do questions in other words, backwards and over two documents come along?", come_along),
)


def findings(study: Study) -> str:
    """The whole text."""
    table = study.table(None)
    row = study.row("base")
    lines = [
        "# What the lab's study says",
        "",
        f"Made by `python benchmarks/findings.py` from `kib run benchmarks/lab-study.toml`: {table.cells} cells,",
        f"{row.n} questions on new people, {len(study.row(MOST).seeds)} seeds of each training. Accuracies in % with",
        "95 % intervals, resampled by person; differences are paired, p adjusted by Holm over all gains on one arm.",
        "What differs from the paper, and why, stands at the end.",
        "",
    ]
    for title, make in FINDINGS:
        lines += [f"## {title}", "", *make(study)]
    used = table.environments[0]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(used.packages.items()))
    lines += [f"Measured on {used.device} with {packages}.", ""]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Write the text above the marker of a file, or print it."""
    if len(arguments) not in {1, 2}:
        raise SystemExit(__doc__)
    text = findings(Study(Path(arguments[0])))
    if len(arguments) == 1:
        print(text)
        return
    file = Path(arguments[1])
    kept = file.read_text(encoding="utf-8").partition(MARKER)[2] if file.is_file() else "\n"
    file.write_text(f"{text}\n{MARKER}{kept}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
