"""The retriever plugin `oracle`: returns the gold passages (the upper bound of retrieval) and optional distractors."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import Options as BaseOptions
from kib.plugins.builtin.random_draws import draw, shuffled
from kib.records import Hit

__all__ = ["Oracle"]


class Oracle:
    """Returns the gold passages of a question and `others` non-gold passages, shuffled for each question.

    No other passage repeats the gold text.
    """

    class Options(BaseOptions):
        """The keys of `[retrievers.NAME]` with `plugin = "oracle"`."""

        others: int = Field(0, ge=0, description="the number of additional non-gold passages")
        most: int = Field(
            5, ge=1, description="the maximum number of gold passages; the first gold passages in the document are used"
        )
        seed: int = Field(0, description="the random seed for the choice and order of the passages")

    revision: ClassVar[int] = 2
    needs_gold: ClassVar[bool] = True
    role: ClassVar[Literal["ceiling", "control"]] = "ceiling"

    def __init__(self, options: "Oracle.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return "", because the retriever reads no files."""
        return ""

    def fixed_k(self) -> int | None:
        """Return the number of passages for a question with one gold passage."""
        return 1 + self.options.others

    def choose(self, question: str, gold: Sequence[str], passages: Sequence[str], k: int) -> list[Hit]:
        """Return the gold passages and the other passages; raise InputError for a question without a gold passage."""
        return self.choose_apart(question, gold, passages, k, lambda _: False)

    def choose_apart(
        self,
        question: str,
        gold: Sequence[str],
        passages: Sequence[str],
        k: int,  # noqa: ARG002 - the gold passages determine the number
        repeats: Callable[[str], bool],
    ) -> list[Hit]:
        """Return the hits of `choose`, without other passages that repeat the gold text."""
        if not gold:
            raise InputError(
                f"question {question}: the corpus contains no gold passage, but the oracle needs at least one"
            )
        others = draw(passages, self.options.others, set(gold), question, self.options.seed, refused=repeats)
        # The shuffle needs a salt of its own: with the salt of the draw, the gold passage would nearly always come
        # last.
        order = shuffled([*gold[: self.options.most], *others], "order", question, self.options.seed)
        return [Hit(passage, float(len(order) - rank)) for rank, passage in enumerate(order)]
