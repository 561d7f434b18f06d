"""`oracle`: the gold passages themselves, among others where asked: the most that retrieval can give."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from kib.errors import InputError
from kib.interfaces import Options as BaseOptions
from kib.plugins.builtin.random_draws import draw, shuffled
from kib.records import Hit

__all__ = ["Oracle"]


class Oracle:
    """Every gold passage of a question and `others` that are not gold, in an order shuffled per question."""

    class Options(BaseOptions):
        """Keys of `[retrievers.NAME]` with `plugin = "oracle"`."""

        others: int = Field(0, ge=0, description="passages that are not gold beside the gold ones")
        most: int = Field(5, ge=1, description="gold passages at the most, the document's first ones first")
        seed: int = Field(0, description="of the choice and order of the passages")

    revision: ClassVar[int] = 1
    needs_gold: ClassVar[bool] = True
    role: ClassVar[Literal["ceiling", "control"]] = "ceiling"

    def __init__(self, options: "Oracle.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """It points at nothing."""
        return ""

    def fixed_k(self) -> int | None:
        """Passages that a question with one gold passage gets."""
        return 1 + self.options.others

    def choose(self, question: str, gold: Sequence[str], passages: Sequence[str], k: int) -> list[Hit]:  # noqa: ARG002 - the number follows from the gold
        """Gold passages and others; InputError for a question without any gold passage."""
        if not gold:
            raise InputError(f"question {question} has no gold passage in this corpus; the oracle gives nothing else")
        others = draw(passages, self.options.others, set(gold), question, self.options.seed)
        # A salt of its own: by that of the draw the others would come first, and the gold passage nearly always last.
        order = shuffled([*gold[: self.options.most], *others], "order", question, self.options.seed)
        return [Hit(passage, float(len(order) - rank)) for rank, passage in enumerate(order)]
