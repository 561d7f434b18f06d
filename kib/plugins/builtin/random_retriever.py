"""The retriever plugin `random`: random passages without gold, to measure the effect of a longer prompt alone."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from kib.interfaces import Options as BaseOptions
from kib.plugins.builtin.random_draws import draw
from kib.records import Hit

__all__ = ["Random"]


class Random:
    """K random passages that are not gold, different for each question."""

    class Options(BaseOptions):
        """Keys of `[retrievers.NAME]` with `plugin = "random"`."""

        seed: int = Field(0, description="seed of the random choice")

    revision: ClassVar[int] = 1
    needs_gold: ClassVar[bool] = True
    role: ClassVar[Literal["ceiling", "control"]] = "control"

    def __init__(self, options: "Random.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return "": the retriever reads no files."""
        return ""

    def fixed_k(self) -> int | None:
        """Return None: the method gives the number of passages."""
        return None

    def choose(self, question: str, gold: Sequence[str], passages: Sequence[str], k: int) -> list[Hit]:
        """Return `k` passages that are not gold, or fewer if the corpus is too small."""
        drawn = draw(passages, k, set(gold), question, self.options.seed)
        return [Hit(passage, float(len(drawn) - rank)) for rank, passage in enumerate(drawn)]
