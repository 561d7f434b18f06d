"""Options shared by all table corpora: the file, its field names, and the origin of the documents."""

from typing import Literal

from pydantic import Field

from kib.interfaces import InputPath, Options

__all__ = ["Empty", "Fields", "Origin", "TableOptions"]

Empty = Literal["error", "skip"]


class Fields(Options):
    """The names of the fields that contain the parts of a document."""

    id: str = Field(
        default="id", min_length=1, description="field with the id: text or a whole number, unique in the file"
    )
    title: str = Field(default="title", min_length=1, description="optional field with the title")
    text: str = Field(default="text", min_length=1, description="field with the text")
    source: str = Field(default="source", min_length=1, description="optional field with the source")
    licence: str = Field(default="licence", min_length=1, description="optional field with the licence")


class Origin(Options):
    """The origin of the documents, recorded with the corpus."""

    source: str = Field(default="", description="source of all documents without a source of their own")
    licence: str = Field(default="", description="licence of all documents without a licence of their own")
    date: str = Field(default="", description="date or version of the documents, recorded with the corpus")


class TableOptions(Origin):
    """Options of a table corpus: the file, its field names, and the treatment of documents without text."""

    path: InputPath = Field(description="the file")
    fields: Fields = Field(default=Fields(), description="field names of id, title, text, source and licence")
    empty: Empty = Field(
        default="error", description="treatment of documents without text: `error`, or `skip` to leave them out"
    )
