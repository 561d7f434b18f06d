"""Remarks on measured results: models trained elsewhere, changed judges, examples, empty answers, changes to texts."""

from collections.abc import Iterable

from kib.leaderboard.compute.arms import Arm
from kib.support.phrases import counted, join, pairs_that_repeat

__all__ = ["measured_remarks"]


def measured_remarks(arms: Iterable[Arm]) -> list[str]:
    """Return the remarks stored with the results of arms; equal remarks on several tasks or methods are combined."""
    by_note: dict[str, dict[str, None]] = {}
    served: dict[str, dict[str, None]] = {}  # what the server of each judge reported about itself
    for arm in arms:
        if arm.method.trained_as:
            note = f"the model {arm.method.trained_as} gave the answers; it was trained elsewhere from {arm.cell.model}"
            by_note.setdefault(note, {})[arm.cell.method] = None
        for result in arm.results:
            if result.judging:
                served.setdefault(result.judging.judge, {}).update(dict.fromkeys(result.judging.served))
            for note in result.task_notes:
                by_note.setdefault(note, {})[arm.cell.task] = None
            if count := result.text.get("repeated questions"):
                note = f"{pairs_that_repeat(count)} {'was' if count == 1 else 'were'} removed from the training text"
                by_note.setdefault(note, {})[arm.cell.method] = None
        if note := _empty_answers(arm):
            by_note.setdefault(note, {})[arm.place] = None
    changed = [
        f"judge {judge}: the server reported {join(list(names))}, so a gain may contain a change of the judge"
        for judge, names in served.items()
        if len(names) > 1
    ]
    return [*(f"{join(list(names))}: {note}" for note, names in by_note.items()), *changed]


def _empty_answers(arm: Arm) -> str:
    """Return a sentence about the empty answers to test questions over all seeds, or "" if there are none."""
    empty, total = sum(result.empty_answers for result in arm.results), sum(result.n for result in arm.results)
    if arm.cell.split != "test" or not empty:
        return ""
    verb = "is" if empty == 1 else "are"
    return f"{empty:,} of {counted(total, 'answer')} {verb} empty; `kib show` prints the reason, if a server states one"
