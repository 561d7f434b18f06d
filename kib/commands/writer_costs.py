"""The cost forecast for a paid writer, for `kib check` and `kib questions`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kib.interfaces import Forecast
from kib.spec.load import PriceTable
from kib.store.paid_answers import PaidAnswers

__all__ = ["describe_cost", "stored_answers"]


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


def describe_cost(cost: Forecast, prices: PriceTable | None) -> str:
    """Return a forecast in words, including the monetary cost if the benchmark declares token prices."""
    read, written = cost.input_tokens, cost.output_tokens
    text = f"{cost.calls:,} requests, about {read:,} input tokens and {written:,} output tokens"
    if prices is None or prices.input_tokens_million is None or prices.output_tokens_million is None:
        return text
    money = (read * prices.input_tokens_million + written * prices.output_tokens_million) / 1e6
    return f"{text}, about {money:,.2f} with [prices]"
