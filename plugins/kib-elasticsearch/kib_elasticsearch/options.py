"""The options that a `[retrievers.NAME]` table with `plugin = "elasticsearch"` may contain."""

import json
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from kib.interfaces import InputPath, NotInIdentity, Options
from kib.support.recipients import parse_address

__all__ = ["ElasticsearchOptions", "check_url"]

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
PREFIX = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_url(url: str) -> str:
    """Return a server address without a trailing slash; raise ValueError if it is invalid or contains a secret.

    kib appends the invalid value to an error message unless the message contains "got". This function's error messages
    contain "got", so that no secret is printed.
    """
    parse_address(url)
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise ValueError("expected an address without credentials, got one with a query; set `user` and `password_env`")
    if not parts.port:
        raise ValueError("expected an address with a port, such as http://127.0.0.1:9200, got one without a port")
    return url.rstrip("/")


def _read_encoder(value: Any, info: ValidationInfo) -> Any:
    """Validate the encoder options with kib-dense, which must be installed."""
    if value is None or isinstance(value, Options):
        return value
    try:
        from kib_dense.encoder import EncoderOptions
    except ImportError as error:
        raise ValueError(
            f"the option requires kib-dense; run `pip install 'kib-elasticsearch[dense]'` ({error})"
        ) from error
    try:
        return EncoderOptions.model_validate_json(json.dumps(value), context=info.context)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ValueError("; ".join(faults)) from error


Encoder = Annotated[
    SerializeAsAny[Options],
    BeforeValidator(_read_encoder),
    WithJsonSchema({"type": "object", "description": "Options of kib-dense's encoder."}),
]


class ElasticsearchOptions(Options):
    """Options of the retriever `elasticsearch`: the kind of search, the server, and the size and timing of requests."""

    mode: Literal["bm25", "knn"] = Field(
        default="bm25",
        description="Kind of search: `bm25` ranks passages by shared words, `knn` by the similarity of vectors.",
    )
    analyzer: str = Field(
        default="english",
        min_length=1,
        description="Name of the analyzer for passages and queries: a built-in analyzer, or one defined in `analysis`.",
    )
    analysis: dict[str, Any] = Field(
        default={},
        description="Custom analyzers, tokenizers and filters, in the format of Elasticsearch's index settings.",
    )
    k1: float = Field(
        default=0.9,
        ge=0,
        allow_inf_nan=False,
        description="BM25 term saturation: a higher value gives repeated words more weight.",
    )
    b: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description=(
            "BM25 length normalization: 0 ignores the length of a passage, 1 applies the full penalty to long passages."
        ),
    )
    encoder: Encoder | None = Field(
        default=None,
        description='Encoder that computes the vectors if mode = "knn"; takes the encoder options of kib-dense.',
    )
    index: Literal["exact", "hnsw", "int8_hnsw"] = Field(
        default="exact",
        description=(
            "Search method for vectors: `exact` compares all vectors, `hnsw` searches a graph, and `int8_hnsw` "
            "searches a graph of 8-bit vectors."
        ),
    )
    candidates: int = Field(
        default=200,
        ge=1,
        le=10_000,
        description="Number of candidates per query in a graph search, and thus the maximum number of hits.",
    )
    m: int = Field(
        default=16, ge=2, le=512, description="Number of neighbours linked to each passage in the search graph."
    )
    ef_construction: int = Field(
        default=100,
        ge=2,
        le=3200,
        description="Number of candidate neighbours considered for each passage that is added to the search graph.",
    )
    shards: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="Number of shards in the index; scores use word statistics from all shards.",
    )
    replicas: Annotated[int, NotInIdentity] = Field(
        default=0, ge=0, le=100, description="Number of additional copies of the index."
    )
    url: Annotated[str | tuple[str, ...] | None, NotInIdentity] = Field(
        default=None,
        description=(
            "Address of the server, or addresses of a cluster's nodes (default: the comma-separated addresses in "
            "KIB_ELASTICSEARCH_URL or, if this variable is not set, http://127.0.0.1:9200)."
        ),
    )
    ca_certs: Annotated[InputPath | None, NotInIdentity] = Field(
        default=None,
        description="File with trusted CA certificates (default: the file named in KIB_ELASTICSEARCH_CA_CERTS).",
    )
    user: Annotated[str | None, NotInIdentity] = Field(
        default=None, min_length=1, description="User name (default: the value of KIB_ELASTICSEARCH_USER)."
    )
    password_env: Annotated[str, NotInIdentity] = Field(
        default="KIB_ELASTICSEARCH_PASSWORD",
        description="Name of the environment variable that contains the user's password.",
    )
    api_key_env: Annotated[str, NotInIdentity] = Field(
        default="KIB_ELASTICSEARCH_API_KEY",
        description="Name of the environment variable that contains an API key in its `encoded` form.",
    )
    prefix: Annotated[str, NotInIdentity] = Field(
        default="kib-", description="Prefix of the index names on the server."
    )
    bulk_passages: Annotated[int, NotInIdentity] = Field(
        default=1000, ge=1, le=100_000, description="Maximum number of passages per bulk request."
    )
    bulk_bytes: Annotated[int, NotInIdentity] = Field(
        default=8_000_000,
        ge=1000,
        le=100_000_000,
        description="Maximum number of bytes of text per bulk request; a longer passage is sent in its own request.",
    )
    concurrency: Annotated[int, NotInIdentity] = Field(
        default=2, ge=1, le=64, description="Number of concurrent bulk requests."
    )
    queries: Annotated[int, NotInIdentity] = Field(
        default=64, ge=1, le=1000, description="Number of queries per search request."
    )
    timeout: Annotated[float, NotInIdentity] = Field(
        default=60.0, gt=0, allow_inf_nan=False, description="Seconds to wait for the answer to one request."
    )
    patience: Annotated[float, NotInIdentity] = Field(
        default=120.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds to keep retrying a request while the server is unavailable or too busy.",
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if isinstance(url, tuple):
            if not url:
                raise ValueError("expected at least one server address")
            return tuple(map(check_url, url))
        return url if url is None else check_url(url)

    @field_validator("password_env", "api_key_env")
    @classmethod
    def _is_variable(cls, name: str) -> str:
        if not VARIABLE.fullmatch(name):
            raise ValueError(
                "expected the name of an environment variable, got an invalid name; never put the secret itself here"
            )
        return name

    @field_validator("prefix")
    @classmethod
    def _is_prefix(cls, prefix: str) -> str:
        if not PREFIX.fullmatch(prefix):
            raise ValueError(
                "expected at most 64 of the characters a-z, 0-9, `.`, `_` and `-`, starting with a letter or digit"
            )
        return prefix

    @model_validator(mode="after")
    def _fits(self) -> "ElasticsearchOptions":
        fields = type(self).model_fields
        changed = {name for name, field in fields.items() if getattr(self, name) != field.default}
        if {"user", "api_key_env"} <= changed:
            raise ValueError("`user` and `api_key_env` both select a login; set only one of them")
        if self.mode == "knn" and self.encoder is None:
            raise ValueError('mode = "knn" requires `encoder`, the model that computes the vectors')
        graph_options = {"candidates", "m", "ef_construction"}
        for applies, without_effect, choice in (
            (self.mode == "knn", {"analyzer", "analysis", "k1", "b"}, 'mode = "knn"'),
            (self.mode == "bm25", {"encoder", "index", *graph_options}, 'mode = "bm25"'),
            (self.index == "exact", graph_options, 'index = "exact"'),
        ):
            if applies and changed & without_effect:
                names = ", ".join(f"`{name}`" for name in sorted(changed & without_effect))
                raise ValueError(f"these options have no effect if {choice}: {names}")
        return self
