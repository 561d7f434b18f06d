"""The retriever plugin `random`: returns random non-gold passages, to measure the effect of a longer prompt alone."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from kib.interfaces import Options as BaseOptions
from kib.plugins.builtin.random_draws import draw
from kib.records import Hit

__all__ = ["Random"]


class Random:
    """Returns K random non-gold passages, which differ between questions and do not repeat the gold text."""

    class Options(BaseOptions):
        """The keys of `[retrievers.NAME]` with `plugin = "random"`."""

        seed: int = Field(0, description="the seed for the random choice of passages")

    revision: ClassVar[int] = 2
    needs_gold: ClassVar[bool] = True
    role: ClassVar[Literal["ceiling", "control"]] = "control"

    def __init__(self, options: "Random.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return "", because the retriever reads no files."""
        return ""

    def fixed_k(self) -> int | None:
        """Return None, because the method specifies the number of passages."""
        return None

    def choose(self, question: str, gold: Sequence[str], passages: Sequence[str], k: int) -> list[Hit]:
        """Return `k` non-gold passages, or fewer if the corpus is too small."""
        return self.choose_apart(question, gold, passages, k, lambda _: False)

    def choose_apart(
        self,
        question: str,
        gold: Sequence[str],
        passages: Sequence[str],
        k: int,
        repeats: Callable[[str], bool],
    ) -> list[Hit]:
        """Return the hits of `choose`, without passages that repeat the gold text."""
        drawn = draw(passages, k, set(gold), question, self.options.seed, refused=repeats)
        return [Hit(passage, float(len(drawn) - rank)) for rank, passage in enumerate(drawn)]
