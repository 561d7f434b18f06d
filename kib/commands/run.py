"""The message that `kib run` prints about failed cells."""

from collections import Counter
from collections.abc import Mapping

from kib.store.result_records import Failure
from kib.support.phrases import counted

__all__ = ["failure_message"]


def failure_message(failures: Mapping[str, Failure], cells: int) -> str:
    """Return each reason for a failure once, with the number of failed cells and the number of all planned `cells`."""
    counts = Counter(f"{failure.step}: {failure.error}" for failure in failures.values())
    lines = [f"{reason} ({counted(count, 'cell')})" for reason, count in counts.items()]
    rest = "none was measured" if len(failures) == cells else "all other cells were measured"
    return f"{counted(len(failures), 'cell')} failed, {rest}:\n" + "\n".join(lines)
