"""Dense retrieval with sentence-transformers encoders and FAISS, and reranking with cross-encoders."""

from kib_dense.encoder import Embedded, Encoder, EncoderOptions

__all__ = ["Embedded", "Encoder", "EncoderOptions"]
