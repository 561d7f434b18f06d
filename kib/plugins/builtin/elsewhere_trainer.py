"""The trainer `elsewhere`, which declares a training text for a model that kib cannot train."""

from typing import Any, ClassVar, NoReturn

from kib.errors import InputError
from kib.interfaces import Options as BaseOptions

__all__ = ["Elsewhere"]


class Elsewhere:
    """A trainer whose text is exported by `kib export`, for example for a hosted service; it trains nothing here."""

    class Options(BaseOptions):
        """`[trainers.NAME]` with `plugin = "elsewhere"` has no options."""

    revision: ClassVar[int] = 1
    text_only: ClassVar[bool] = True

    def __init__(self, options: "Elsewhere.Options") -> None:
        self.options = options

    def fingerprint(self) -> str:
        """Return "", because the trainer reads no files."""
        return ""

    def train(self, *_: Any, **__: Any) -> NoReturn:
        """Raise InputError, because the text is trained on elsewhere."""
        raise InputError("a trainer with the plugin `elsewhere` trains nothing; export its text with `kib export`")
