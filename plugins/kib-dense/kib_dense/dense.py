"""The retriever `dense`: the passages whose vectors have the largest dot product with the query's."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.interfaces import Options
from kib.records import Hit, Passage, Query
from kib_dense.encoder import Encoder, EncoderOptions
from kib_dense.index import FILE as INDEX
from kib_dense.index import Approximate, Exact, HnswOptions, IvfPqOptions, Kind, Searcher, build, open_vectors

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Dense", "DenseOptions", "passage_text"]

VECTORS, ABOUT = "vectors.f32", "index.json"
WINDOW = 512
"""Passages that are read before those of them that are new are encoded."""
FAISS = """@misc{douze2024faiss,
  title = {The {Faiss} library},
  author = {Douze, Matthijs and Guzhva, Alexandr and Deng, Chengqi and Johnson, Jeff and Szilvasy, Gergely and
    Mazar{\\'e}, Pierre-Emmanuel and Lomeli, Maria and Hosseini, Lucas and J{\\'e}gou, Herv{\\'e}},
  year = {2024},
  eprint = {2401.08281},
  archivePrefix = {arXiv}
}"""
NAMED = 5
"""Long passages that a remark names."""


class DenseOptions(EncoderOptions):
    """Which encoder, and how its vectors are searched."""

    index: Kind = Field(
        default="flat",
        description='"flat" compares with every passage; "hnsw" and "ivf-pq" of FAISS approximate, for large corpora.',
    )
    hnsw: HnswOptions | None = Field(default=None, description='Settings of index = "hnsw".')
    ivf_pq: IvfPqOptions | None = Field(default=None, description='Settings of index = "ivf-pq".')
    exact_below: int = Field(
        default=10_000, ge=0, description="Corpora of fewer passages are searched exactly, whatever `index` says."
    )

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        for key, kind in (("hnsw", "hnsw"), ("ivf_pq", "ivf-pq")):
            if getattr(self, key) is not None and self.index != kind:
                raise ValueError(f'`{key}` belongs to index = "{kind}", but index is "{self.index}"')
        return self


def passage_text(passage: Passage) -> str:
    """What is encoded of a passage: its title, where it has one, and its text."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


class Dense:
    """The retriever `dense`."""

    Options: ClassVar[type[Options]] = DenseOptions
    revision: ClassVar[int] = 1

    def __init__(self, options: DenseOptions) -> None:
        self.options = options
        self._opened: tuple[Path, _Opened] | None = None

    def fingerprint(self) -> str:
        """Digest of the encoder's files, or its commit on the hub; InputError where it is not there."""
        return self.encoder.fingerprint()

    def online(self) -> list[str]:
        """The encoder on the hub, where it is no folder."""
        return self.encoder.source.online()

    def bibtex(self) -> str:
        """The encoder's works, and FAISS where it approximates."""
        return "\n".join([self.encoder.bibtex(), *([] if self.options.index == "flat" else [FAISS])])

    def memory(self) -> str:
        """The name of the memory: what decides a passage's vector."""
        return self.encoder.memory()

    def build(self, passages: Iterable[Passage], folder: Path, memory: Path | None = None) -> None:
        """Encode what `memory` does not know and write the vectors, ids and, where wanted, FAISS's index."""
        folder.mkdir(parents=True, exist_ok=True)
        self._opened = None
        (folder / ABOUT).unlink(missing_ok=True)
        ids: list[str] = []
        long: list[tuple[int, str]] = []
        width, limit = 0, None
        with (folder / VECTORS).open("wb") as file:
            for some in _windows(passages):
                embedded = self.encoder.embed([passage_text(passage) for passage in some], memory)
                file.write(embedded.vectors.astype("<f4").tobytes())
                width = embedded.vectors.shape[1]
                ids += [passage.id for passage in some]
                limit = self.encoder.max_tokens()
                pairs = zip(embedded.tokens, some, strict=True)
                long += [(tokens, passage.id) for tokens, passage in pairs if limit and tokens > limit]
        kind = self._write_index(open_vectors(folder / VECTORS, width, len(ids)), folder / INDEX)
        named = sorted(long, key=lambda one: (-one[0], one[1]))[:NAMED]
        told = {"count": len(long), "limit": limit, "named": named}
        about = {"passages": ids, "dimension": width, "index": kind, "long": told}
        (folder / ABOUT).write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")

    def remarks(self, folder: Path) -> list[str]:
        """Which passages are longer than what the encoder reads."""
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        long = about["long"]
        if not long["count"]:
            return []
        named = ", ".join(f"{passage} ({tokens:,})" for tokens, passage in long["named"])
        more = ", …" if long["count"] > NAMED else ""
        remark = (
            f"{long['count']:,} of {len(about['passages']):,} passages have more than the {long['limit']:,} tokens "
            f"that the encoder reads, and what follows counts for nothing: {named}{more}; "
            "`chunk` cuts documents into shorter passages"
        )
        return [remark]

    def search(self, folder: Path, queries: Sequence[Query], k: int) -> list[list[Hit]]:
        """The `k` passages with the largest dot product; none for a query without a visible sign.

        InputError where the index is of another encoder, or an approximate one looks at fewer candidates than `k`.
        """
        opened = self._open(folder)
        asked = [query for query in queries if query.text.strip()]
        if not asked or not opened.ids or k < 1:
            return [[] for _ in queries]
        vectors = self.encoder.queries([query.text for query in asked])
        if vectors.shape[1] != opened.dimension:
            raise InputError(
                f"{folder}: the index holds vectors of length {opened.dimension}, but the encoder "
                f"{self.encoder.source} gives {vectors.shape[1]}; another one built it: delete it and run again"
            )
        found = opened.searcher.best(vectors, k, opened.rank)
        hits = iter([[Hit(opened.ids[place], score) for place, score in best] for best in found])
        return [next(hits) if query.text.strip() else [] for query in queries]

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of the options."""
        return Encoder(self.options)

    def _write_index(self, vectors: Any, path: Path) -> Kind:
        o = self.options
        path.unlink(missing_ok=True)
        if o.index == "flat" or len(vectors) < max(1, o.exact_below):
            return "flat"
        build(vectors, path, self._settings())
        return o.index

    def _settings(self) -> HnswOptions | IvfPqOptions:
        o = self.options
        return (o.hnsw or HnswOptions()) if o.index == "hnsw" else (o.ivf_pq or IvfPqOptions())

    def _open(self, folder: Path) -> "_Opened":
        if self._opened is None or self._opened[0] != folder:
            self._opened = (folder, _Opened(folder, self._settings()))
        return self._opened[1]


class _Opened:
    """An index as it lies in its folder."""

    def __init__(self, folder: Path, settings: HnswOptions | IvfPqOptions) -> None:
        import numpy as np

        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / ABOUT}: damaged or lost; delete its folder and run again") from error
        self.ids: list[str] = about["passages"]
        self.dimension: int = about["dimension"]
        self.rank: npt.NDArray[np.int64] = np.empty(len(self.ids), dtype=np.int64)
        self.rank[sorted(range(len(self.ids)), key=self.ids.__getitem__)] = np.arange(len(self.ids))
        vectors = open_vectors(folder / VECTORS, self.dimension, len(self.ids))
        self.searcher: Searcher
        if about["index"] == "flat":
            self.searcher = Exact(vectors)
        elif isinstance(settings, HnswOptions):
            self.searcher = Approximate(vectors, folder / INDEX, settings.ef_search, None)
        else:
            self.searcher = Approximate(vectors, folder / INDEX, settings.candidates, settings.probes)


def _windows(passages: Iterable[Passage]) -> Iterator[list[Passage]]:
    source = iter(passages)
    while some := list(islice(source, WINDOW)):
        yield some
