"""Text to vectors by sentence-transformers: the same text gives the same vector, and none is computed twice."""

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
from kib_dense.loading import batch_tokens, batches, by_itself, load
from kib_dense.memory import Embeddings, key_of
from kib_dense.source import ModelOptions, Source, bundled_encoder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sentence_transformers import SentenceTransformer

    from kib_dense.memory import PaidAnswers

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
"""From here on a limit of tokens is a way of saying that there is none."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A model of the hub with the prompts that belong to it."""

    hub: str
    revision: str
    query_prompt: str
    passage_prompt: str
    source: str


PRESETS = {
    "paper": Preset(
        hub="BAAI/bge-large-en",
        revision="abe7d9d814b775ca171121fb03f394dc42974275",
        query_prompt="Represent this sentence for searching relevant passages: ",
        passage_prompt="",
        source='Ovadia et al., "Fine-Tuning or Retrieval?" (2024); the prompt is that of the model\'s card',
    )
}
"""Ready encoders by name: what a paper measured with, to be had in one line of a spec."""


class EncoderOptions(ModelOptions):
    """Which encoder, what it reads before a text, how it is run; by default all-MiniLM-L6-v2, which pip installs."""

    preset: Literal["paper"] | None = Field(
        default=None,
        description='"paper": BAAI/bge-large-en with its instruction for queries; `path` may name a folder with it.',
    )
    query_prompt: str | None = Field(
        default=None, description="Text put before a query; by default the model's own prompt for queries, if any."
    )
    passage_prompt: str | None = Field(
        default=None, description="Text put before a passage; by default the model's own prompt for passages, if any."
    )
    normalize: bool = Field(
        default=False, description="Scale vectors to length 1, so that the dot product is the cosine."
    )

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.path is not None and self.hub is not None:
            raise ValueError("`path` and `hub` name two models; expected one of them, or neither for the small encoder")
        if self.preset is not None and self.hub is not None:
            raise ValueError("`preset` brings its own `hub`; expected one of them")
        if self.revision is not None and self.hub is None:
            raise ValueError("`revision` belongs to `hub`; a folder's weights are known by their bytes")
        return self


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts, float32 of shape (texts, dimension), and how many tokens each text has, prompt included."""

    vectors: "Vectors"
    tokens: tuple[int, ...]


class Encoder:
    """An encoder; nothing is read before it is asked for, and the model is loaded once.

    A vector depends on its text alone where texts are computed one by one: queries always, passages unless
    `batch_tokens` or a GPU puts several together. Then it depends on the others by rounding.
    """

    def __init__(self, options: EncoderOptions) -> None:
        self.options = options
        preset = PRESETS[options.preset] if options.preset else None
        self._path, self._hub, self._revision = options.path, options.hub, options.revision
        if preset and not options.path:
            self._hub, self._revision = preset.hub, preset.revision
        self._query_prompt, self._passage_prompt = options.query_prompt, options.passage_prompt
        if preset:
            self._query_prompt = _either(options.query_prompt, preset.query_prompt)
            self._passage_prompt = _either(options.passage_prompt, preset.passage_prompt)

    def fingerprint(self) -> str:
        """Digest of the model's files or its commit on the hub; InputError where it is not there."""
        return self.source.fingerprint()

    def bibtex(self) -> str:
        """The model, where kib knows its id on the hub, and the library that runs it."""
        preset = PRESETS[self.options.preset] if self.options.preset else None
        return "\n".join([*of_model(preset.hub if preset else self.options.hub or ""), SENTENCE_TRANSFORMERS])

    def memory(self) -> str:
        """A name for what decides a passage's vector: encoders of one name may share a memory."""
        o = self.options
        how = [o.dtype, o.max_tokens, o.normalize, o.trust_remote_code, self._passage_prompt]
        return f"embeddings-{digest(['kib-dense', 1, self.fingerprint(), how])[:32]}"

    def dimension(self) -> int:
        """Numbers in a vector."""
        known = self._model.get_embedding_dimension()
        return int(known) if known else int(self.queries(["?"]).shape[1])

    def max_tokens(self) -> int | None:
        """How many tokens of a text are read, prompt included; what follows is cut off. None: all."""
        cut = getattr(self._model.tokenizer, "truncation", None)  # of a model without a transformer
        limit = cut["max_length"] if cut else self._model.max_seq_length
        return int(limit) if limit and limit < UNLIMITED else None

    def queries(self, texts: Sequence[str]) -> "Vectors":
        """Vectors of queries, float32 of shape (texts, dimension), each computed by itself."""
        import numpy as np

        prompt = _either(self._query_prompt, self._own_prompt("query"))
        rows = [self._encode([text], prompt, "query") for text in texts]
        return np.concatenate(rows) if rows else np.zeros((0, self.dimension()), np.float32)

    def passages(self, texts: Sequence[str], memory: Path | None = None) -> "Vectors":
        """Vectors of passages, float32 of shape (texts, dimension); see `embed`."""
        return self.embed(texts, memory).vectors

    def embed(
        self, texts: Sequence[str], memory: Path | None = None, advance: Callable[[int], None] | None = None
    ) -> Embedded:
        """Vectors of passages and the lengths of their texts, equal texts computed once.

        `memory` is a folder that outlives the call, one for each `memory()`: what is in it is not computed again, and
        each batch is in it before the next. `advance` takes how many texts more are done.
        """
        import numpy as np

        keys = [key_of(text) for text in texts]
        by_key = dict(zip(keys, texts, strict=True))
        with Embeddings.open(memory) if memory else nullcontext() as kept:
            known: dict[bytes, PaidAnswers] = kept.get(list(by_key)) if kept is not None else {}
            missing = {key: text for key, text in by_key.items() if key not in known}
            if advance:
                advance(len(texts) - len(missing))
            for some in self._computed(missing):
                known |= some
                if kept is not None:
                    kept.add(some)
                if advance:
                    advance(len(some))
        width = self.dimension()
        found = [known[key] for key in keys]
        if any(len(vector) != width for _, vector in found):
            raise InputError(f"{memory}: holds vectors of another length than {width}; delete it and run again")
        vectors = np.stack([vector for _, vector in found]) if found else np.zeros((0, width), np.float32)
        return Embedded(vectors.astype(np.float32, copy=False), tuple(tokens for tokens, _ in found))

    def _computed(self, texts: dict[bytes, str]) -> Iterator["dict[bytes, PaidAnswers]"]:
        """The vectors of texts by key, batch by batch; a rest that an interruption left makes the same batches."""
        if not texts:
            return
        prompt = _either(self._passage_prompt, self._own_prompt("document", "passage", "corpus"))
        order = sorted(texts)
        lengths = self._lengths([prompt + texts[key] for key in order])
        limit = self.max_tokens()
        read = [min(length, limit) if limit else length for length in lengths]
        for places in batches(read, batch_tokens(self._model, self.options)):
            vectors = self._encode([texts[order[place]] for place in places], prompt, "document")
            yield {order[place]: (lengths[place], vector) for place, vector in zip(places, vectors, strict=True)}

    def _encode(self, texts: list[str], prompt: str, task: Literal["query", "document"]) -> "Vectors":
        import numpy as np

        with by_itself(self.source):
            vectors = self._model.encode(
                texts,
                prompt=prompt,
                batch_size=len(texts),
                show_progress_bar=False,
                normalize_embeddings=self.options.normalize,
                task=task,
            )
        if not np.isfinite(vectors).all():
            raise InputError(f"{self.source}: gave a vector that is not finite in {self.options.dtype}; try float32")
        return np.asarray(vectors, dtype=np.float32)

    def _lengths(self, texts: list[str]) -> list[int]:
        """Tokens of each text, special ones included, nothing cut."""
        tokenizer = self._model.tokenizer
        if hasattr(tokenizer, "encode_batch"):
            whole = type(tokenizer).from_str(tokenizer.to_str())
            whole.no_truncation()
            whole.no_padding()
            return [len(encoding.ids) for encoding in whole.encode_batch(texts, add_special_tokens=False)]
        return [len(ids) for ids in tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]]

    def _own_prompt(self, *names: str) -> str:
        """The first of the model's own prompts by name, else its default one, else nothing."""
        prompts = self._model.prompts
        default = self._model.default_prompt_name
        return str(next((prompts[name] for name in names if name in prompts), prompts.get(default, "")))

    @cached_property
    def source(self) -> Source:
        """Where the model lies."""
        path = self._path or (None if self._hub else bundled_encoder())
        return Source("SentenceTransformer", path, self._hub, self._revision)

    @cached_property
    def _model(self) -> "SentenceTransformer":
        model: SentenceTransformer = load(self.source, self.options)
        return model


def _either(given: str | None, otherwise: str) -> str:
    return otherwise if given is None else given
