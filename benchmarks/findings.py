"""Write the findings of the lab study as Markdown, with all numbers and verdicts computed from the results folder.

    kib run benchmarks/lab-study.toml
    python benchmarks/findings.py results/lab-study docs/findings.md

The text below the marker in the Markdown file is written by hand and stays unchanged.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

from kib.leaderboard import make_table
from kib.leaderboard.number_format import interval, p_value, percent, points
from kib.leaderboard.table_records import ArmRow, Table
from kib.store.results import Results

MARKER = "<!-- below this line: written by hand -->"
MODEL, MAIN, CONTROL = "tiny", "new-people", "known-people"
RAG_1, RAG_3, GOLD = "rag,k=1", "rag,k=3", "gold"
TEN_PARAPHRASES = "ft-par,text.count=10"
BY_PARAPHRASES = {0: "ft-reg", 1: "ft-par,text.count=1", 5: "ft-par,text.count=5", 10: TEN_PARAPHRASES}
TRAINED = (*BY_PARAPHRASES.values(), "ft-reg-long", "lora", "sft", "mix", "replay")
OTHER_TASKS = ("reworded", "reverse", "two-hop")
SIGNIFICANCE_LEVEL = 0.05


class Study:
    """The leaderboards of the study, with gains over base or over any other arm."""

    def __init__(self, folder: Path) -> None:
        self.results = Results(folder)
        self.table = cache(self._table)
        missing = self.table(None).missing
        if missing:
            raise SystemExit(
                f"{len(missing)} cells are missing, starting with {missing[0].cell}; measure the missing cells with "
                "kib run"
            )

    def _table(self, against: str | None) -> Table:
        return make_table([self.results], against=against)

    def row(self, arm: str, task: str = MAIN, against: str | None = None) -> ArmRow:
        """Return the row of an arm on a task, with its gain over the arm `against` (by default base)."""
        for row in self.table(against).rows:
            if (row.arm, row.task, row.model) == (arm, task, MODEL):
                return row
        raise SystemExit(f"{self.results.folder}: the arm {arm} has no result on the task {task}")


def with_rag(arm: str) -> str:
    """Return the name of a trained arm combined with retrieval, such as `ft-par+rag,text.count=5,k=3`."""
    method, comma, settings = arm.partition(",")
    return f"{method}+rag{comma}{settings},k=3"


def with_gold(arm: str) -> str:
    """Return the name of a trained arm combined with the gold passage, such as `ft-par+gold,text.count=5`."""
    method, comma, settings = arm.partition(",")
    return f"{method}+gold{comma}{settings}"


def significant_sign(row: ArmRow) -> int:
    """Return the sign of a significant gain (1 or -1), or 0 if the gain is not significant."""
    if row.gain is None or row.p is None or row.p >= SIGNIFICANCE_LEVEL:
        return 0
    return 1 if row.gain.absolute > 0 else -1


def difference(row: ArmRow) -> str:
    """Format a gain with its interval and p value, such as `+12.0 points [9.0, 15.0], p <.001`."""
    if row.gain is None:
        return "no difference available"
    return f"{points(row.gain.absolute)} points {interval(row.gain.interval)}, p {p_value(row.p)}"


def accuracy(row: ArmRow) -> str:
    """Format an accuracy with its interval, such as `95.0 [93.0, 96.5]`."""
    return f"{percent(row.accuracy.mean)} {interval(row.accuracy.interval)}" if row.accuracy else "–"


def grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---'] * len(head))}|"
    yield from (f"| {' | '.join(line)} |" for line in lines)
    yield ""


def listed(arms: Sequence[str]) -> str:
    """Join arm names for use in a sentence, such as `a`, `b` and `c`."""
    quoted = [f"`{arm}`" for arm in arms]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def grouped(rows: Sequence[ArmRow], start: str) -> str:
    """Write one sentence per result (higher, not different, lower), with the arms that have this result."""
    results = {1: "significantly higher", 0: "not significantly different", -1: "significantly lower"}
    groups = {sign: [row.arm for row in rows if significant_sign(row) == sign] for sign in results}
    return " ".join(f"{start} {results[sign]} for {listed(arms)}." for sign, arms in groups.items() if arms)


def negative(rows: Sequence[ArmRow]) -> int:
    """Count the negative gains, significant or not."""
    return sum(row.gain is not None and row.gain.absolute < 0 for row in rows)


def retrieval_and_training(study: Study) -> Iterator[str]:
    """Compare retrieval with every kind of training."""
    for arm, passages in ((RAG_1, "one passage"), (RAG_3, "three passages")):
        row, trained = study.row(arm), [study.row(trained, against=arm) for trained in TRAINED]
        chosen = " (the number chosen on validation questions)" if row.chosen else ""
        yield f"Retrieval with {passages}{chosen} reaches an accuracy of {accuracy(row)} %."
        yield f"The gain of retrieval with {passages} over base is {difference(row)}."
        yield grouped(trained, f"Compared with retrieval with {passages}, the accuracy is")
        yield ""
    rows = [study.row(arm) for arm in ("base", RAG_1, RAG_3, GOLD, *TRAINED)]
    cells = [
        (f"`{row.arm}`", accuracy(row), points(row.gain.absolute) if row.gain else "–", seed_accuracies(row))
        for row in rows
    ]
    yield from grid(("arm", "accuracy, %", "points over base", "accuracy per seed, %"), cells)


def seed_accuracies(row: ArmRow) -> str:
    """List the accuracy of each seed, or return a dash if there is only one seed."""
    return ", ".join(map(percent, row.seed_accuracies)) if len(row.seed_accuracies) > 1 else "–"


def copies(study: Study) -> Iterator[str]:
    """Compare training on ten paraphrases with training on an equal number of tokens from the documents themselves."""
    tasks = (MAIN, *OTHER_TASKS)
    rows = [study.row(TEN_PARAPHRASES, task, "ft-reg-long") for task in tasks]
    verdict = {1: "Yes", 0: "Not significantly", -1: "No, copies are better"}[significant_sign(rows[0])]
    yield f"{verdict}. Training on ten paraphrases is compared with training on the documents, which are repeated up to"
    yield f"the same number of tokens. The difference in accuracy is {difference(rows[0])}."
    yield ""
    cells = [
        (task, accuracy(study.row("ft-reg-long", task)), accuracy(row), difference(row))
        for task, row in zip(tasks, rows, strict=True)
    ]
    yield from grid(("task", "copies, %", "paraphrases, %", "difference"), cells)


def growth(study: Study) -> Iterator[str]:
    """Show the accuracy by number of paraphrases."""
    results = {1: "rises significantly", 0: "does not change significantly", -1: "falls significantly"}
    yield "Each number of paraphrases is compared with the previous number:"
    yield ""
    for (low, arm), (high, next_arm) in pairwise(BY_PARAPHRASES.items()):
        step = study.row(next_arm, against=arm)
        yield f"- From {low} to {high} paraphrases, the accuracy {results[significant_sign(step)]}: {difference(step)}."
    yield ""
    cells = [
        (str(count), accuracy(study.row(arm)), difference(study.row(arm)), accuracy(study.row(with_rag(arm))))
        for count, arm in BY_PARAPHRASES.items()
    ]
    yield from grid(("paraphrases per passage", "accuracy, %", "over base", "with retrieval, %"), cells)


def both(study: Study) -> Iterator[str]:
    """Compare trained arms with untrained arms, first with retrieved passages and then with the gold passage."""
    rag = [study.row(with_rag(arm), against=RAG_3) for arm in TRAINED]
    gold = [study.row(with_gold(arm), against=GOLD) for arm in TRAINED]
    yield grouped(rag, "Compared with retrieval alone, the accuracy is")
    yield f"With retrieval, {negative(rag)} of {len(rag)} differences are negative, whether significant or not."
    yield ""
    yield grouped(gold, "Compared with the gold passage alone, the accuracy is")
    yield f"With the gold passage among three passages, {negative(gold)} of {len(gold)} differences are negative."
    yield ""
    cells = [
        (f"`{arm}`", accuracy(with_hits), difference(with_hits), accuracy(with_right), difference(with_right))
        for arm, with_hits, with_right in zip(TRAINED, rag, gold, strict=True)
    ]
    head = ("trained", "with retrieval, %", "over retrieval alone", "with gold, %", "over gold alone")
    yield from grid(head, cells)


def forgotten(study: Study) -> Iterator[str]:
    """Show the results on the control task and on held-out text after training, and the effect of replay."""
    rows = [study.row(arm, CONTROL) for arm in TRAINED]
    replay = study.row("replay", CONTROL, TEN_PARAPHRASES)
    target = study.row("replay", MAIN, TEN_PARAPHRASES)
    marked = listed([row.arm for row in rows if row.mark])
    yield f"The accuracy on questions about known people falls significantly for {marked or 'none of the arms'}."
    yield "With replay, three of ten training tokens come from documents about known people. Compared with the same"
    yield "training without replay, replay changes the accuracy on questions about known people by"
    yield f"{difference(replay)}, and the accuracy on questions about new people by {difference(target)}."
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
    head = ("arm", "known people, %", "over base", "perplexity of documents about known people", "mark")
    yield from grid(head, cells)


def perplexity(row: ArmRow) -> str:
    """Format the perplexity of held-out text before and after training."""
    return "–" if row.perplexity is None else f"{row.perplexity[0]:.2f} → {row.perplexity[1]:.2f}"


def kinds(study: Study) -> Iterator[str]:
    """Compare question/answer pairs, their mix with paraphrases, and LoRA with full training on running text."""
    ten = TEN_PARAPHRASES
    for arm, other in (("sft", BY_PARAPHRASES[0]), ("sft", ten), ("mix", ten), ("lora", ten)):
        row = study.row(arm, against=other)
        yield f"- `{arm}` reaches {accuracy(row)} %. The difference between `{arm}` and `{other}` is {difference(row)}."
    yield ""
    tasks = (MAIN, *OTHER_TASKS, CONTROL)
    cells = [(f"`{arm}`", *(difference(study.row(arm, task, ten)) for task in tasks)) for arm in ("sft", "mix", "lora")]
    yield from grid((f"compared with `{ten}`", *tasks), cells)


def transfer(study: Study) -> Iterator[str]:
    """Show the accuracy on reworded, reverse and two-hop questions."""
    for task in OTHER_TASKS:
        rows = [study.row(arm, task) for arm in (RAG_3, *TRAINED)]
        yield f"- {grouped(rows, f'Compared with base, the accuracy on {task} questions is')}"
    yield ""
    cells = [
        (f"`{arm}`", *(percent(row.accuracy.mean) if (row := study.row(arm, task)).accuracy else "–" for task in tasks))
        for tasks in [(MAIN, *OTHER_TASKS)]
        for arm in ("base", RAG_3, GOLD, *TRAINED)
    ]
    yield from grid(("arm", MAIN, *OTHER_TASKS), cells)


SECTIONS: Sequence[tuple[str, Callable[[Study], Iterator[str]]]] = (
    ("Does retrieval gain the most?", retrieval_and_training),
    ("Are paraphrases better than copies with the same number of tokens?", copies),
    ("How does the gain grow with the number of paraphrases?", growth),
    ("Does training on top of retrieval help or hurt?", both),
    ("What is forgotten, and does replay prevent it?", forgotten),
    ("How do question/answer pairs, the mix and LoRA compare?", kinds),
    ("Does the knowledge transfer to reworded, reverse and two-hop questions?", transfer),
)


def findings(study: Study) -> str:
    """Return the generated part of the findings page."""
    table = study.table(None)
    row, seeds = study.row("base"), len(study.row(TEN_PARAPHRASES).seeds)
    lines = [
        "# What the lab's study says",
        "",
        "`python benchmarks/findings.py` writes the numbers on this page from the results of the command",
        "`kib run benchmarks/lab-study.toml`.",
        f"The study has {table.cells} cells, {row.n} questions about new people and {seeds} seeds per training run.",
        "Accuracies are percentages with 95 % intervals, which treat the questions about a person as one unit.",
        "Intervals and p values of trained arms cover other seeds as well as other questions.",
        "All differences are paired.",
        "Holm's method adjusts the p values over all gains that are measured against the same arm.",
        f"A difference is significant if its adjusted p value is below {SIGNIFICANCE_LEVEL}.",
        "The last section explains how the results differ from the paper, and why.",
        "",
    ]
    for title, section in SECTIONS:
        lines += [f"## {title}", "", *section(study)]
    environment = table.environments[0]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(environment.packages.items()))
    lines += [f"All results were measured on the device `{environment.device}` with {packages}.", ""]
    return "\n".join(lines)


def write_page(text: str, file: Sequence[str]) -> None:
    """Write the generated text above the marker in the named Markdown file, or print the text if no file is named."""
    if not file:
        print(text)
        return
    page = Path(file[0])
    handwritten = page.read_text(encoding="utf-8").partition(MARKER)[2] if page.is_file() else "\n"
    page.write_text(f"{text}\n{MARKER}{handwritten}", encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Write the generated part above the marker in a Markdown file, or print this part if no file is specified."""
    if len(arguments) not in {1, 2}:
        raise SystemExit(__doc__)
    write_page(findings(Study(Path(arguments[0]))), arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
