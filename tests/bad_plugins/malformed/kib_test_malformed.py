"""Plugins that can be loaded but contain exactly one fault each."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from kib.interfaces import Options as BaseOptions


class Whole:
    class Options(BaseOptions):
        pass

    revision = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        return ""

    def documents(self):
        return iter(())


def no_class(options):
    return Whole(options)


class NoOptions(Whole):
    Options = None


class OtherBase(Whole):
    class Options(BaseModel):
        depth: int = Field(1, description="search depth")


class Lenient(Whole):
    class Options(BaseOptions):
        model_config = ConfigDict(extra="ignore")


class NoRevision(Whole):
    revision = "1"


class Clash(Whole):
    class Options(BaseOptions):
        chunk: int = Field(1, description="size of a chunk")


class AliasClash(Whole):
    class Options(BaseOptions):
        size: int = Field(1, alias="chunk", description="size of a chunk")


class Undescribed(Whole):
    class Options(BaseOptions):
        depth: int = 1


class Inner(BaseModel):
    depth: int = Field(1, description="search depth")


class Leaky(Whole):
    class Options(BaseOptions):
        inner: Inner | None = Field(None, description="inner options")


class NoSchema(Whole):
    class Options(BaseOptions):
        call: Callable[[], int] = Field(description="function to call")


class NoDocuments:
    class Options(BaseOptions):
        pass

    revision = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        return ""


class Greedy(Whole):
    def documents(self, language):
        return iter(())


class NoArgument(Whole):
    def __init__(self):
        self.options = None


class Half:
    class Options(BaseOptions):
        pass

    revision = 1

    def __init__(self, options):
        self.options = options

    def fingerprint(self):
        return ""

    def search(self, folder, queries, k):
        return []
