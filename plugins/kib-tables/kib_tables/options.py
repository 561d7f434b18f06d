"""Options shared by all table corpora: the file, its field names, and the origin of the documents."""

from typing import Annotated, Literal

from pydantic import Field

from kib.interfaces import InputPath, NotInIdentity, Options
from kib_tables.limited_lines import MAX_UNPACKED_MB

__all__ = ["Empty", "Fields", "Origin", "TableOptions"]

Empty = Literal["error", "skip"]


class Fields(Options):
    """The names of the fields that contain the parts of a document."""

    id: str = Field(
        default="id",
        min_length=1,
        description="name of the field that contains the id, a string or whole number that is unique in the file",
    )
    title: str = Field(
        default="title", min_length=1, description="name of the field that contains the title; the field may be missing"
    )
    text: str = Field(default="text", min_length=1, description="name of the field that contains the text")
    source: str = Field(
        default="source",
        min_length=1,
        description="name of the field that contains the source; the field may be missing",
    )
    licence: str = Field(
        default="licence",
        min_length=1,
        description="name of the field that contains the licence; the field may be missing",
    )


class Origin(Options):
    """The origin of the documents, recorded with the corpus."""

    source: str = Field(default="", description="source for documents that do not specify one")
    licence: str = Field(default="", description="licence for documents that do not specify one")
    date: str = Field(default="", description="date or version of the documents, recorded with the corpus")


class TableOptions(Origin):
    """Options of a table corpus: the file, its field names, and the treatment of documents without text."""

    path: InputPath = Field(description="path of the file")
    fields: Fields = Field(
        default=Fields(),
        description="names of the fields that contain the id, title, text, source and licence of a document",
    )
    empty: Empty = Field(
        default="error", description="how to treat documents without text: report an `error`, or `skip` and count them"
    )
    max_unpacked_mb: Annotated[int, NotInIdentity] = Field(
        default=MAX_UNPACKED_MB, ge=1, le=2047, description="maximum size of one row; a larger row raises an error"
    )
