"""The keys of `[retrievers.NAME]` with `plugin = "elasticsearch"`."""

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

__all__ = ["ElasticsearchOptions", "check_url"]

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
PREFIX = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_url(url: str) -> str:
    """An address without what could be a secret; ValueError says what is wrong and repeats nothing of it.

    kib adds the value to what a validator says, but not where that says by itself what it got.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError("expected an address such as http://127.0.0.1:9200, got one that is none") from error
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("expected an address alone, got one with a name, password or key; they come by `password_env`")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise ValueError("expected an address with scheme and port, such as http://127.0.0.1:9200, got one without")
    return url.rstrip("/")


def _read_encoder(value: Any, info: ValidationInfo) -> Any:
    """The options of kib-dense's encoder; they are known only where it is installed."""
    if value is None or isinstance(value, Options):
        return value
    try:
        from kib_dense.encoder import EncoderOptions
    except ImportError as error:
        raise ValueError(f"needs kib-dense: pip install 'kib-elasticsearch[dense]' ({error})") from error
    try:
        return EncoderOptions.model_validate_json(json.dumps(value), context=info.context)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ValueError("; ".join(faults)) from error


Encoder = Annotated[
    SerializeAsAny[Options],
    BeforeValidator(_read_encoder),
    WithJsonSchema({"type": "object", "description": "The options of kib-dense's encoder."}),
]


class ElasticsearchOptions(Options):
    """How passages are found, which server finds them, and how patient kib is with it."""

    mode: Literal["bm25", "knn"] = Field(
        default="bm25", description="How passages are found: by the words they share with the query, or by vectors."
    )
    analyzer: str = Field(
        default="english",
        min_length=1,
        description="Analyzer of passages and queries: a built-in one, or of `analysis`.",
    )
    analysis: dict[str, Any] = Field(
        default={}, description="Analyzers, tokenizers and filters of your own, as in an index's settings."
    )
    k1: float = Field(default=0.9, ge=0, allow_inf_nan=False, description="How slowly a repeated word saturates.")
    b: float = Field(
        default=0.4, ge=0, le=1, description="How much long passages are held back: 0 not at all, 1 fully."
    )
    encoder: Encoder | None = Field(
        default=None, description='With mode = "knn": what makes the vectors, the options of the encoder of kib-dense.'
    )
    index: Literal["exact", "hnsw", "int8_hnsw"] = Field(
        default="exact",
        description="How vectors are searched: all of them, or by a graph, whole or in 8 bits a number.",
    )
    candidates: int = Field(
        default=200, ge=1, le=10_000, description="With a graph: passages looked at for a query, and the most it finds."
    )
    m: int = Field(default=16, ge=2, le=512, description="With a graph: neighbours of a passage.")
    ef_construction: int = Field(
        default=100, ge=2, le=3200, description="With a graph: candidates for a passage's neighbours."
    )
    shards: int = Field(
        default=1, ge=1, le=1024, description="Parts of the index; scores are computed over all of them."
    )
    replicas: Annotated[int, NotInIdentity] = Field(default=0, ge=0, le=100, description="Further copies of the index.")
    url: Annotated[str | tuple[str, ...] | None, NotInIdentity] = Field(
        default=None,
        description="The server, or several nodes of a cluster; else KIB_ELASTICSEARCH_URL (commas between several), "
        "else http://127.0.0.1:9200.",
    )
    ca_certs: Annotated[InputPath | None, NotInIdentity] = Field(
        default=None, description="A file with the certificates to trust; else KIB_ELASTICSEARCH_CA_CERTS."
    )
    user: Annotated[str | None, NotInIdentity] = Field(
        default=None, min_length=1, description="The user; else KIB_ELASTICSEARCH_USER."
    )
    password_env: Annotated[str, NotInIdentity] = Field(
        default="KIB_ELASTICSEARCH_PASSWORD", description="The environment variable that holds the user's password."
    )
    api_key_env: Annotated[str, NotInIdentity] = Field(
        default="KIB_ELASTICSEARCH_API_KEY", description="The environment variable that holds an API key (encoded)."
    )
    prefix: Annotated[str, NotInIdentity] = Field(
        default="kib-", description="What the names of indexes on the server begin with."
    )
    bulk_passages: Annotated[int, NotInIdentity] = Field(
        default=1000, ge=1, le=100_000, description="Passages sent together at most."
    )
    bulk_bytes: Annotated[int, NotInIdentity] = Field(
        default=8_000_000,
        ge=1000,
        le=100_000_000,
        description="Bytes sent together at most; a longer passage goes alone.",
    )
    concurrency: Annotated[int, NotInIdentity] = Field(
        default=2, ge=1, le=64, description="Bulks on their way at the same time."
    )
    queries: Annotated[int, NotInIdentity] = Field(default=64, ge=1, le=1000, description="Queries asked together.")
    timeout: Annotated[float, NotInIdentity] = Field(
        default=60.0, gt=0, allow_inf_nan=False, description="Seconds to the answer of one request."
    )
    patience: Annotated[float, NotInIdentity] = Field(
        default=120.0, ge=0, allow_inf_nan=False, description="Seconds that a server may be away or too busy."
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if isinstance(url, tuple):
            if not url:
                raise ValueError("expected at least one address")
            return tuple(map(check_url, url))
        return url if url is None else check_url(url)

    @field_validator("password_env", "api_key_env")
    @classmethod
    def _is_variable(cls, name: str) -> str:
        if not VARIABLE.fullmatch(name):
            raise ValueError("expected the name of an environment variable, got what is none; no secret stands here")
        return name

    @field_validator("prefix")
    @classmethod
    def _is_prefix(cls, prefix: str) -> str:
        if not PREFIX.fullmatch(prefix):
            raise ValueError("expected up to 64 of a-z, 0-9, `.`, `_` and `-`, a letter or digit first")
        return prefix

    @model_validator(mode="after")
    def _fits(self) -> "ElasticsearchOptions":
        fields = type(self).model_fields
        given = {name for name, field in fields.items() if getattr(self, name) != field.default}
        if {"user", "api_key_env"} <= given:
            raise ValueError("`user` and `api_key_env` are two ways to log in; give one")
        if self.mode == "knn" and self.encoder is None:
            raise ValueError('mode = "knn" needs `encoder`: which model makes the vectors')
        words = sorted(given & {"analyzer", "analysis", "k1", "b"}) if self.mode == "knn" else []
        vectors = (
            sorted(given & {"encoder", "index", "candidates", "m", "ef_construction"}) if self.mode == "bm25" else []
        )
        graph = sorted(given & {"candidates", "m", "ef_construction"}) if self.index == "exact" else []
        for keys, why in ((words, 'mode = "knn"'), (vectors, 'mode = "bm25"'), (graph, 'index = "exact"')):
            if keys:
                raise ValueError(f"{', '.join(f'`{key}`' for key in keys)}: no such choice with {why}")
        return self
