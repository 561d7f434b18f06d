"""Plugins that work, one of each kind that the core itself does not have; small enough to be read at once."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.identity import digest_file
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.records import Document, Hit, Text


class Fields(Options):
    title: str = Field("title", description="field of the title")
    cache: Annotated[str, NotInIdentity] = Field("", description="where it is kept")


class ShelfOptions(Options):
    path: InputPath = Field(description="the documents, one a line")
    more: tuple[InputPath, ...] = Field((), description="further files")
    by_language: dict[str, InputPath] = Field(default_factory=dict, description="files by language")
    spare: InputPath | None = Field(None, description="a file to fall back on")
    fields: Fields = Field(Fields(), description="names of fields")
    sort: Literal["title", "line"] = Field("line", description="the order of the documents")
    depth: int = Field(3, ge=1, le=9, description="how far to look")
    weight: float = Field(0.5, gt=0, description="how much it counts")
    tags: frozenset[str] = Field(frozenset(), description="what it is about")
    size: int | Literal["all"] = Field("all", description="how many documents")
    device: Annotated[str, NotInIdentity] = Field("cpu", description="where it runs")
    trust_remote_code: bool = Field(False, description="run code that comes with the data")


class Shelf:
    Options: ClassVar[type[Options]] = ShelfOptions
    revision: ClassVar[int] = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        if not self.options.path.is_file():
            raise InputError(f"{self.options.path}: no such file; expected one document a line")
        return digest_file(self.options.path)

    def documents(self):
        for number, line in enumerate(self.options.path.read_text().splitlines()):
            yield Document(str(number), "", line)


class ToyOptions(Options):
    path: InputPath | None = Field(None, description="weights")
    args: dict[str, str | int | float | bool] = Field(default_factory=dict, description="whatever")
    fault: str = Field("", description="raises an error of that name")


class Toy:
    Options: ClassVar[type[Options]] = ToyOptions
    revision: ClassVar[int] = 2

    def __init__(self, options):
        self.options = options
        if options.fault == "built":
            raise LookupError("not built")
        if options.fault == "refused":
            raise InputError("expected another fault")

    def fingerprint(self):
        if self.options.fault == "print":
            raise ZeroDivisionError("division by zero")
        if self.options.fault == "read":
            raise PermissionError(13, "Permission denied", "weights.bin")
        return digest_file(self.options.path) if self.options.path else ""

    def tokens(self):
        return lambda text: list(text.encode())

    def context_length(self):
        return None

    def weights(self):
        return None

    def load(self, weights=None):
        raise InputError("a toy cannot be scored")


class FuseOptions(Options):
    of: tuple[str, ...] = Field(min_length=1, description="the retrievers whose hits are fused")


class Fuse:
    Options: ClassVar[type[Options]] = FuseOptions
    revision: ClassVar[int] = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        return ""

    def sources(self):
        if "nothing" in self.options.of:
            raise LookupError("nothing")
        return dict.fromkeys(self.options.of, 10)

    def rerank(self, query, hits, passages, k):
        return [Hit(passage, 1.0) for passage in sorted(passages)[:k]]


class EchoOptions(Options):
    loud: bool = Field(False, description="in capitals")


class Echo:
    Options: ClassVar[type[Options]] = EchoOptions
    revision: ClassVar[int] = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        return ""

    def write(self, passages, count, seed, kept=None):
        for passage in passages:
            for _ in range(count):
                yield Text(passage.id, "paraphrase", passage.text)


class TurnOptions(Options):
    rank: int = Field(ge=1, description="how much may change")
    rate: float = Field(1e-4, gt=0, description="how fast it changes")
    target: str = Field("all", description="what changes")
    device: Annotated[str, NotInIdentity] = Field("cpu", description="where it runs")

    @model_validator(mode="after")
    def _together(self):
        if self.rank == 7 and self.target == "seven":
            raise ValueError("seven has no rank 7")
        return self


class Turn:
    Options: ClassVar[type[Options]] = TurnOptions
    revision: ClassVar[int] = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        return ""

    def train(self, start, text, folder, seed, log, validation=(), held_out=()):
        return start
