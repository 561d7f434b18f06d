"""Text encoding with sentence-transformers and an embedding cache, so that no vector is computed twice."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from kib.errors import InputError
from kib.identity import digest
from kib.support.literature import of_model
from kib_dense.batching import batch_tokens, split_into_batches
from kib_dense.embedding_cache import EmbeddingCache, cache_key
from kib_dense.encoder_location import EncoderLocation, bundled_encoder
from kib_dense.model_loading import load_model, run_quietly
from kib_dense.model_options import ModelOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sentence_transformers import SentenceTransformer

    from kib_dense.embedding_cache import Embedding

    Vectors = npt.NDArray[np.float32]

__all__ = ["SENTENCE_TRANSFORMERS", "Embedded", "Encoder", "EncoderOptions", "Preset"]


SENTENCE_TRANSFORMERS = """@inproceedings{reimers2019sentencebert,
  title = {Sentence-{BERT}: Sentence Embeddings using {Siamese} {BERT}-Networks},
  author = {Reimers, Nils and Gurevych, Iryna},
  booktitle = {Proceedings of the 2019 Conference on Empirical Methods in Natural Language Processing and the 9th
    International Joint Conference on Natural Language Processing (EMNLP-IJCNLP)},
  pages = {3982--3992},
  year = {2019},
  doi = {10.18653/v1/D19-1410}
}"""

UNLIMITED = 1 << 30
"""Smallest token limit that means "no limit"."""


@dataclass(frozen=True, slots=True)
class Preset:
    """An encoder on the hub and its prompts."""

    hub: str
    revision: str
    query_prompt: str
    passage_prompt: str


PRESETS = {
    # Ovadia et al., "Fine-Tuning or Retrieval?" (2024); the query prompt comes from the model card.
    "paper": Preset(
        hub="BAAI/bge-large-en",
        revision="abe7d9d814b775ca171121fb03f394dc42974275",
        query_prompt="Represent this sentence for searching relevant passages: ",
        passage_prompt="",
    )
}
"""Encoders used in published experiments, by name, so that one line of a spec selects such an encoder."""


class EncoderOptions(ModelOptions):
    """The encoder, its prompts and its runtime settings; the default is all-MiniLM-L6-v2, installed with kib-dense."""

    preset: Literal["paper"] | None = Field(
        default=None,
        description=(
            '"paper" selects BAAI/bge-large-en and its query instruction; `path` may name a local copy of this model.'
        ),
    )
    query_prompt: str | None = Field(
        default=None, description="Text to insert before each query (default: the model's own query prompt, if any)."
    )
    passage_prompt: str | None = Field(
        default=None,
        description="Text to insert before each passage (default: the model's own passage prompt, if any).",
    )
    normalize: bool = Field(default=False, description="Scale vectors to length 1, so that dot products are cosines.")

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.path is not None and self.hub is not None:
            raise ValueError(
                "`path` and `hub` both select a model; set only one of them, or neither to use the default encoder"
            )
        if self.preset is not None and self.hub is not None:
            raise ValueError("`preset` and `hub` both select a model; set only one of them")
        if self.revision is not None and self.hub is None:
            raise ValueError(
                "`revision` applies only to `hub`; a model folder is identified by the digest of its files"
            )
        return self


@dataclass(frozen=True, slots=True)
class Embedded:
    """Float32 vectors of shape (texts, dimension), and the number of tokens per text, including the prompt."""

    vectors: "Vectors"
    tokens: tuple[int, ...]


class Encoder:
    """An encoder that loads its model on first use.

    If texts are encoded one by one, each vector depends only on its text. Queries are always encoded one by one;
    passages are encoded in batches only if `batch_tokens` is set or a GPU is used. Batching changes the rounding errors
    in the vectors.
    """

    def __init__(self, options: EncoderOptions) -> None:
        self.options = options
        preset = PRESETS[options.preset] if options.preset else None
        self._path, self._hub, self._revision = options.path, options.hub, options.revision
        if preset and not options.path:
            self._hub, self._revision = preset.hub, preset.revision
        self._query_prompt, self._passage_prompt = options.query_prompt, options.passage_prompt
        if preset:
            self._query_prompt = _or_default(options.query_prompt, preset.query_prompt)
            self._passage_prompt = _or_default(options.passage_prompt, preset.passage_prompt)

    def fingerprint(self) -> str:
        """Return a digest of the model's files or its commit on the hub; raise InputError if the model is missing."""
        return self.location.fingerprint()

    def bibtex(self) -> str:
        """Return the BibTeX entries for the library and, if the model's hub id is known, for the model."""
        preset = PRESETS[self.options.preset] if self.options.preset else None
        return "\n".join([*of_model(preset.hub if preset else self.options.hub or ""), SENTENCE_TRANSFORMERS])

    def memory(self) -> str:
        """Return the name of the cache shared by all encoders that compute identical passage vectors."""
        o = self.options
        settings = [o.dtype, o.max_tokens, o.normalize, o.trust_remote_code, self._passage_prompt]
        return f"embeddings-{digest(['kib-dense', 1, self.fingerprint(), settings])[:32]}"

    def dimension(self) -> int:
        """Return the number of components in each of the encoder's vectors."""
        known = self._model.get_embedding_dimension()
        return int(known) if known else int(self.queries(["?"]).shape[1])

    def max_tokens(self) -> int | None:
        """Return the maximum number of tokens read from a text and its prompt, or None if there is no limit."""
        truncation = getattr(self._model.tokenizer, "truncation", None)  # used if the model has no transformer
        limit = truncation["max_length"] if truncation else self._model.max_seq_length
        return int(limit) if limit and limit < UNLIMITED else None

    def queries(self, texts: Sequence[str]) -> "Vectors":
        """Return float32 query vectors of shape (texts, dimension), computed one by one."""
        import numpy as np

        prompt = _or_default(self._query_prompt, self._model_prompt("query"))
        rows = [self._encode([text], prompt, "query") for text in texts]
        return np.concatenate(rows) if rows else np.zeros((0, self.dimension()), np.float32)

    def passages(self, texts: Sequence[str], memory: Path | None = None) -> "Vectors":
        """Return float32 passage vectors of shape (texts, dimension), computed with `embed`."""
        return self.embed(texts, memory).vectors

    def embed(
        self, texts: Sequence[str], memory: Path | None = None, advance: Callable[[int], None] | None = None
    ) -> Embedded:
        """Return passage vectors and the token counts of the texts; encode identical texts only once.

        `memory` is the embedding cache's folder; each name returned by `memory()` has its own folder. Cached vectors
        are reused, and each batch is cached before the next batch starts. `advance` receives the number of texts
        finished since the previous call.
        """
        import numpy as np

        keys = [cache_key(text) for text in texts]
        by_key = dict(zip(keys, texts, strict=True))
        with EmbeddingCache.open(memory) if memory else nullcontext() as cache:
            known: dict[bytes, Embedding] = cache.get(list(by_key)) if cache is not None else {}
            missing = {key: text for key, text in by_key.items() if key not in known}
            if advance:
                advance(len(texts) - len(missing))
            for batch in self._compute(missing):
                known |= batch
                if cache is not None:
                    cache.add(batch)
                if advance:
                    advance(len(batch))
        dimension = self.dimension()
        found = [known[key] for key in keys]
        if any(len(vector) != dimension for _, vector in found):
            raise InputError(
                f"{memory}: expected cached vectors with {dimension} components, as the encoder computes; delete this "
                "folder and run again"
            )
        vectors = np.stack([vector for _, vector in found]) if found else np.zeros((0, dimension), np.float32)
        return Embedded(vectors.astype(np.float32, copy=False), tuple(tokens for tokens, _ in found))

    def _compute(self, texts: dict[bytes, str]) -> Iterator["dict[bytes, Embedding]"]:
        """Yield embeddings by key, batch by batch; an interrupted computation resumes with the same batches."""
        if not texts:
            return
        prompt = _or_default(self._passage_prompt, self._model_prompt("document", "passage", "corpus"))
        order = sorted(texts)
        lengths = self._count_tokens([prompt + texts[key] for key in order])
        limit = self.max_tokens()
        read = [min(length, limit) if limit else length for length in lengths]
        for batch in split_into_batches(read, batch_tokens(self._model, self.options)):
            vectors = self._encode([texts[order[position]] for position in batch], prompt, "document")
            yield {
                order[position]: (lengths[position], vector) for position, vector in zip(batch, vectors, strict=True)
            }

    def _encode(self, texts: list[str], prompt: str, task: Literal["query", "document"]) -> "Vectors":
        import numpy as np

        with run_quietly(self.location):
            vectors = self._model.encode(
                texts,
                prompt=prompt,
                batch_size=len(texts),
                show_progress_bar=False,
                normalize_embeddings=self.options.normalize,
                task=task,
            )
        if not np.isfinite(vectors).all():
            raise InputError(
                f'{self.location}: a vector computed in {self.options.dtype} is not finite; set dtype = "float32", or '
                "check the weights"
            )
        return np.asarray(vectors, dtype=np.float32)

    def _count_tokens(self, texts: list[str]) -> list[int]:
        """Return the number of tokens per text, including special tokens, without truncation."""
        tokenizer = self._model.tokenizer
        if hasattr(tokenizer, "encode_batch"):
            unlimited = type(tokenizer).from_str(tokenizer.to_str())
            unlimited.no_truncation()
            unlimited.no_padding()
            return [len(encoding.ids) for encoding in unlimited.encode_batch(texts, add_special_tokens=False)]
        return [len(ids) for ids in tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]]

    def _model_prompt(self, *names: str) -> str:
        """Return the prompt for the first given name that the model defines, or else its default prompt or ""."""
        prompts = self._model.prompts
        default = self._model.default_prompt_name
        return str(next((prompts[name] for name in names if name in prompts), prompts.get(default, "")))

    @cached_property
    def location(self) -> EncoderLocation:
        """The location of the encoder's model files."""
        path = self._path or (None if self._hub else bundled_encoder())
        return EncoderLocation("SentenceTransformer", path, self._hub, self._revision)

    @cached_property
    def _model(self) -> "SentenceTransformer":
        model: SentenceTransformer = load_model(self.location, self.options)
        return model


def _or_default(option: str | None, default: str) -> str:
    return default if option is None else option
