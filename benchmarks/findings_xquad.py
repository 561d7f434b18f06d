"""Write the findings of the XQuAD benchmarks as Markdown, with all numbers and verdicts computed from the results.

    kib run benchmarks/xquad.toml
    kib run benchmarks/xquad-open.toml
    python benchmarks/findings_xquad.py results/xquad results/xquad-open docs/findings-xquad.md

Run the script on the machine that ran the benchmark, because the page names the processor of the machine. The text
below the marker in the Markdown file is written by hand and stays unchanged.
"""

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from findings import SIGNIFICANCE_LEVEL, accuracy, difference, grid, perplexity, significant_sign, write_page

from kib.leaderboard import make_table
from kib.leaderboard.number_format import byte_size, percent, points, three_digits
from kib.leaderboard.table_records import ArmRow, Cost, Table
from kib.store.results import Results

MAIN, CONTROL = "xquad", "other-articles"
VERDICTS = {1: "Yes", 0: "Not significantly", -1: "No, the accuracy falls significantly"}
Rows = dict[tuple[str, str], ArmRow]
"""The rows of a table by arm and task."""


def read(folder: Path, against: str | None = None) -> Table:
    """Return the table of a results folder with costs and times; exit if a cell is missing."""
    table = make_table([Results(folder)], against=against, cost=True, times=True)
    if table.missing:
        raise SystemExit(f"{len(table.missing)} cells are missing, starting with {table.missing[0].cell}")
    return table


def by_arm(table: Table) -> Rows:
    """Return the rows of a table by arm and task."""
    return {(row.arm, row.task): row for row in table.rows}


def chosen(rows: Rows) -> ArmRow:
    """Return the row of `rag` with the number of passages that was chosen on validation questions."""
    return next(row for (_, task), row in rows.items() if task == MAIN and row.method == "rag" and row.chosen)


def retrieval(rows: Rows, folder: Path) -> Iterator[str]:
    """State the gain from retrieval, beside the upper bound and the effect of an unrelated passage."""
    best, dense = chosen(rows), rows["dense,k=1", MAIN]
    yield f"- `{best.arm}` (K chosen on validation questions): {VERDICTS[significant_sign(best)]}. {difference(best)}."
    yield f"- `{dense.arm}`: {VERDICTS[significant_sign(dense)]}. {difference(dense)}."
    for arm, what in (("oracle", "the paragraph of the question"), ("random,k=1", "an unrelated paragraph")):
        yield f"- `{arm}`, {what}: {difference(rows[arm, MAIN])}."
    yield ""
    compared = by_arm(read(folder, against="rag,k=1"))
    yield f"The difference between `dense,k=1` and `rag,k=1` is {difference(compared['dense,k=1', MAIN])}."
    yield ""


def training(rows: Rows, folder: Path) -> Iterator[str]:
    """State the gain from LoRA on the documents, alone and together with retrieval."""
    row = rows["ft-reg", MAIN]
    yield f"{VERDICTS[significant_sign(row)]}. The gain of `ft-reg` over base is {difference(row)}."
    both = by_arm(read(folder, against="rag,k=1"))["ft-reg+rag,k=1", MAIN]
    yield "With one retrieved passage, the difference between the trained and the untrained model is"
    yield f"{difference(both)}."
    yield ""


def forgotten(rows: Rows, _folder: Path) -> Iterator[str]:
    """State how training changes the results on questions and text from articles that are not documents."""
    trained = rows["ft-reg", CONTROL]
    yield f"On questions about the other articles, the difference between `ft-reg` and base is {difference(trained)}."
    yield f"The perplexity of the other articles changes as follows: {perplexity(trained)}."
    yield ""


def table_of(rows: Rows, task: str) -> Iterator[str]:
    """Yield a table with the accuracy, the gain and the recall of each arm."""
    cells = [
        (
            f"`{row.arm}`",
            accuracy(row),
            points(row.gain.absolute) if row.gain else "–",
            "–" if row.recall is None else percent(row.recall),
        )
        for (_, name), row in rows.items()
        if name == task
    ]
    yield from grid(("arm", "accuracy, %", "points over base", "recall, %"), cells)


def cost(rows: Rows) -> Iterator[str]:
    """Yield a table with the tokens, the time and the peak memory of each arm."""
    cells = [
        (
            f"`{row.arm}`",
            three_digits(row.cost.prompt_tokens),
            three_digits(row.cost.asking),
            whole(row.cost.trained_tokens),
            three_digits(row.cost.training) if row.cost.trained_tokens else "–",
            memory(row.cost),
        )
        for (_, task), row in rows.items()
        if task == MAIN and row.cost
    ]
    head = ("arm", "prompt tokens per question", "seconds per question", "trained tokens", "training, s", "peak memory")
    yield from grid(head, cells)


def written(folder: Path) -> Iterator[str]:
    """State what changes if the model writes the answers instead of choosing one of four options."""
    table = read(folder)
    rows = list(by_arm(table).values())
    (best,) = [row for row in rows if row.arm == "rag,k=1"]
    yield f"`kib run benchmarks/xquad-open.toml` asks {best.n} test questions without options. An answer is right"
    yield "if it contains the accepted answer as words (`contains`); F1 compares the words of the whole first line."
    yield f"Does one retrieved passage gain? {VERDICTS[significant_sign(best)]}. {difference(best)}."
    yield ""
    cells = [
        (
            f"`{row.arm}`",
            accuracy(row),
            percent(row.other_metrics["f1"]),
            points(row.gain.absolute) if row.gain else "–",
            "–" if row.recall is None else percent(row.recall),
        )
        for row in rows
    ]
    yield from grid(("arm", "contains, %", "F1, %", "points over base", "recall, %"), cells)


def whole(count: float | None) -> str:
    """Format a number of tokens, or return a dash if the arm is not trained."""
    return "–" if count is None else f"{count:,.0f}"


def memory(found: Cost) -> str:
    """Format the peak memory of an arm."""
    return "–" if found.peak_bytes is None else byte_size(found.peak_bytes)


def processor() -> str:
    """Return the name of this machine's processor and the number of its cores."""
    file = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", file.read_text("utf-8"), re.MULTILINE) if file.is_file() else None
    return f"{found[1] if found else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


SECTIONS: Sequence[tuple[str, Callable[[Rows, Path], Iterator[str]]]] = (
    ("Does retrieval gain?", retrieval),
    ("Does LoRA gain?", training),
    ("What is forgotten?", forgotten),
)


def findings(folder: Path, open_folder: Path) -> str:
    """Return the generated part of the page, from the results with options and the results without options."""
    table = read(folder)
    rows = by_arm(table)
    base, control = rows["base", MAIN], rows["base", CONTROL]
    lines = [
        "# Retrieval and LoRA for a real model: XQuAD",
        "",
        "`python benchmarks/findings_xquad.py` writes the numbers on this page from the results of the command",
        "`kib run benchmarks/xquad.toml`.",
        f"The model is Gemma 3 270M (base). The benchmark has {table.cells} cells, {base.n} test questions about 24",
        f"articles, and {control.n} control questions about 24 other articles.",
        "Accuracies are percentages with 95 % intervals, which are computed by paragraph. All differences are paired.",
        "Holm's method adjusts the p values over all gains that are measured against the same arm.",
        f"A difference is significant if its adjusted p value is below {SIGNIFICANCE_LEVEL}.",
        "",
        *table_of(rows, MAIN),
    ]
    for title, section in SECTIONS:
        lines += [f"## {title}", "", *section(rows, folder)]
    lines += ["Questions about the other articles:", "", *table_of(rows, CONTROL)]
    lines += ["## Can the model write the answer?", "", *written(open_folder)]
    lines += ["## What does each method cost?", "", *cost(rows)]
    environment = table.environments[0]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(environment.packages.items()))
    lines += [f"Measured on {processor()}, device `{environment.device}`, with {packages}.", ""]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Write the generated part above the marker in a Markdown file, or print this part if no file is specified."""
    if len(arguments) not in {2, 3}:
        raise SystemExit(__doc__)
    write_page(findings(Path(arguments[0]), Path(arguments[1])), arguments[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
