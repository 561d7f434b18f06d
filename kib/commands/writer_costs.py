"""The cost forecast for a paid writer, for `kib check` and `kib questions`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from kib.interfaces import Forecast
from kib.plugins.resolve import Locked
from kib.progress import duration
from kib.run.speeds import read_speed, writing_key
from kib.spec.load import PriceTable
from kib.store.paid_answers import PaidAnswers
from kib.store.work import Work
from kib.support.phrases import counted

__all__ = ["describe_cost", "stored_answers", "writing_seconds"]

TIME_UNKNOWN = "time unknown before the first answers"
"""The time in a forecast for a writer that has not yet answered requests of this kind in this work folder."""


@contextmanager
def stored_answers(path: Path, say: Callable[[str], None]) -> Iterator[Mapping[str, str]]:
    """Open the paid answers of earlier runs read-only; if the file does not exist, return an empty mapping.

    `say` receives a message with the number of damaged answers.
    """
    if not path.is_file():
        yield {}
        return
    with PaidAnswers.open(path, say) as answers:
        yield answers


def writing_seconds(
    work: Work, writer: Locked, calls: int, what: Literal["text", "questions"] = "text"
) -> float | None:
    """Return the time for a number of requests at the speed of an earlier run, or None without an earlier run."""
    speed = read_speed(work, writing_key(writer, what))
    return 0.0 if not calls else speed.time_for(calls) if speed else None


def describe_cost(cost: Forecast, prices: PriceTable | None, seconds: float | None) -> str:
    """Return a forecast in words, including its time, and its price if the benchmark declares prices."""
    read, written = cost.input_tokens, cost.output_tokens
    tokens = f"{counted(read, 'input token')} and {counted(written, 'output token')}"
    text = f"{counted(cost.calls, 'request')}, about {tokens}"
    if cost.calls:
        text += f", {TIME_UNKNOWN if seconds is None else f'about {duration(seconds)} at the speed of an earlier run'}"
    if prices is None or prices.input_tokens_million is None or prices.output_tokens_million is None:
        return text
    money = (read * prices.input_tokens_million + written * prices.output_tokens_million) / 1e6
    return f"{text}, about {money:,.2f} with [prices]"
