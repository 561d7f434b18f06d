"""Dense retrieval: encoders of sentence-transformers, FAISS, and cross-encoders that rerank."""

from kib_dense.encoder import Embedded, Encoder, EncoderOptions

__all__ = ["Embedded", "Encoder", "EncoderOptions"]
