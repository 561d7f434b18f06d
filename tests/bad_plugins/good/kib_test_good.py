"""Working plugins of several kinds that cover every type of option."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.identity import digest_file
from kib.interfaces import InputPath, NotInIdentity, Options
from kib.records import Document, Hit, Text


class Fields(Options):
    title: str = Field("title", description="field of the title")
    cache: Annotated[str, NotInIdentity] = Field("", description="cache folder")


class ShelfOptions(Options):
    path: InputPath = Field(description="file with one document per line")
    more: tuple[InputPath, ...] = Field((), description="additional files")
    by_language: dict[str, InputPath] = Field(default_factory=dict, description="files by language")
    spare: InputPath | None = Field(None, description="file that replaces a missing one")
    fields: Fields = Field(Fields(), description="names of the fields")
    sort: Literal["title", "line"] = Field("line", description="order of the documents")
    depth: int = Field(3, ge=1, le=9, description="search depth")
    weight: float = Field(0.5, gt=0, description="weight of the documents")
    tags: frozenset[str] = Field(frozenset(), description="subjects of the documents")
    size: int | Literal["all"] = Field("all", description="number of documents")
    device: Annotated[str, NotInIdentity] = Field("cpu", description="device for the computation")
    trust_remote_code: bool = Field(False, description="run code downloaded with the data")


class Shelf:
    Options: ClassVar[type[Options]] = ShelfOptions
    revision: ClassVar[int] = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        if not self.options.path.is_file():
            raise InputError(f"{self.options.path}: no such file; expected one document per line")
        return digest_file(self.options.path)

    def documents(self):
        for number, line in enumerate(self.options.path.read_text().splitlines()):
            yield Document(str(number), "", line)


class ToyOptions(Options):
    path: InputPath | None = Field(None, description="file of weights")
    args: dict[str, str | int | float | bool] = Field(default_factory=dict, description="arguments with any values")
    fault: str = Field("", description="error to raise")


class Toy:
    Options: ClassVar[type[Options]] = ToyOptions
    revision: ClassVar[int] = 2

    def __init__(self, options):
        self.options = options
        if options.fault == "built":
            raise LookupError("not built")
        if options.fault == "refused":
            raise InputError("expected a different fault")

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
    of: tuple[str, ...] = Field(min_length=1, description="retrievers to fuse")


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
    loud: bool = Field(False, description="write capital letters")


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
    rank: int = Field(ge=1, description="rank of the update")
    rate: float = Field(1e-4, gt=0, description="learning rate")
    target: str = Field("all", description="layers to train")
    device: Annotated[str, NotInIdentity] = Field("cpu", description="device for the computation")

    @model_validator(mode="after")
    def _together(self):
        if self.rank == 7 and self.target == "seven":
            raise ValueError("seven does not support rank 7")
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
