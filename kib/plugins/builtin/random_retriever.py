"""`random`: passages drawn by chance, never a gold one: what a longer prompt does without the knowledge in it."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from kib.interfaces import Options as BaseOptions
from kib.plugins.builtin.random_draws import draw
from kib.records import Hit

__all__ = ["Random"]


class Random:
    """K passages that hold no gold, drawn anew for each question."""

    class Options(BaseOptions):
        """Keys of `[retrievers.NAME]` with `plugin = "random"`."""

        seed: int = Field(0, description="of the draw")

    revision: ClassVar[int] = 1
    needs_gold: ClassVar[bool] = True
    role: ClassVar[Literal["ceiling", "control"]] = "control"

    def __init__(self, options: "Random.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """It points at nothing."""
        return ""

    def fixed_k(self) -> int | None:
        """None: a method says how many."""
        return None

    def choose(self, question: str, gold: Sequence[str], passages: Sequence[str], k: int) -> list[Hit]:
        """`k` passages that are not gold, fewer where the corpus has no more."""
        drawn = draw(passages, k, set(gold), question, self.options.seed)
        return [Hit(passage, float(len(drawn) - rank)) for rank, passage in enumerate(drawn)]
